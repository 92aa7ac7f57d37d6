"""Records as they are made: the netlink group of events."""

from __future__ import annotations

import pytest

from .machine import Machine
from .modules import find_module, put_back, require
from .netlink import Step, ask, step
from .parameters import set_parameter
from .readers.tracer_page import Row
from .script import TRACER, Answer, beside, call, nonce, read, script, write
from .script import step as helper_step
from .test_tracer_netlink import CLEAR, page_of, play

pytestmark = pytest.mark.syscall_tracer

RETURNED, ENFORCED = 1 << 0, 1 << 2
ENOUGH = 256 << 20
"""Bytes that a socket may hold, where a test wants it never to overflow."""
AT_ONCE = ("chrt", "--fifo", "50")
"""Runs a command with a priority that lets no thread of the kernel's in between."""


def listener(name: str = "a", receive_bytes: int = ENOUGH, group: str = "events") -> list[Step]:
    """Open a socket and join a group."""
    return [step("open", name=name, receive_bytes=receive_bytes), step("join", name=name, group=group)]


def listen(comm: str, *steps: str, name: str = "a") -> Step:
    """Receive while these steps of the helper in C run, and keep the records of one command name."""
    return step("listen", name=name, comms=[comm], play=script(*steps))


def check_account(answer: Answer) -> None:
    """Each call of each CPU, from the joining to the last that was received, was received or counted as lost."""
    assert answer["overdue"] == answer["overflows"] == 0
    assert answer["untrue"] == 0, "batches say something else than what is in them"
    for cpu, account in answer["cpus"].items():
        assert account["back"] == 0, f"CPU {cpu}: a record came twice, or late"
        assert account["unheard"] == 0, f"CPU {cpu}: its records are numbered as if others had been sent"
        told = account["last"] - account["first"] + 1
        assert told == account["count"] + account["gap"]
        # Those before the first that came are no gap between two.
        before, after = (max(0, account["first"] - issued) for issued in account["joined"])
        assert after <= account["lost"] - account["gap"] <= before, f"CPU {cpu}: lost are others than did not come"


def accounted(answer: Answer) -> int:
    """Return how many calls a listener was told of: those that came, and those that were counted as lost."""
    return sum(int(account["count"] + account["lost"]) for account in answer["cpus"].values())


def _lost(answer: Answer) -> int:
    return sum(int(account["lost"]) for account in answer["cpus"].values())


def _is_realtime(machine: Machine) -> bool:
    return "PREEMPT_RT" in machine.once("version", lambda: machine.sh("uname -v"))


def check_lost(machine: Machine, answer: Answer) -> None:
    """Nothing was lost to a listener that reads; on a real-time kernel what was is counted, which the account shows.

    There a thread sends, which sleeps for a lock, and who fills its ring goes on meanwhile.
    """
    assert _lost(answer) == 0 or _is_realtime(machine)


def check_overwritten(machine: Machine, answer: Answer) -> None:
    """Where threads of the kernel's are not let in between, a real-time kernel has lost some; no other loses any."""
    assert (_lost(answer) > 0) == _is_realtime(machine)


def as_row(record: Answer, call_name: str) -> tuple[object, ...]:
    """Return of a record what a row of the page has too."""
    return (
        call_name, record["pid"], record["jiffies"], ("ALLOWED", "BLOCKED")[record["status"]], record["tid"],
        record["uid"], record["cpu"], record["comm"], record["seq"],
    )  # fmt: skip


def of_row(row: Row) -> tuple[object, ...]:
    """Return the same of a row."""
    return (row.call, row.pid, row.timestamp, row.status, row.tid, row.uid, row.cpu, row.comm, row.seq)


def test_events_are_the_records_of_the_page(tracer: Machine) -> None:
    """Each call comes as a record: the same as its row, with times, arguments, parent and what they point to."""
    comm = nonce("events")
    *_, calls, heard = tracer.talk(
        *listener(), ask("call-get"), listen(comm, call("openat:2,read,close,unlinkat", comm), read(TRACER))
    )
    names = {each["id"]: each["name"] for each in calls["replies"]}
    rows = page_of(heard).of(comm)
    records = heard["records"]
    assert [as_row(record, names[record["call"]]) for record in records] == [of_row(row) for row in rows]
    assert [names[record["call"]] for record in records] == ["openat", "openat", "read", "close", "unlinkat"]
    assert all(record["ppid"] not in (0, record["pid"]) for record in records)
    clocks = [record["clock"] for record in records]
    assert clocks == sorted(clocks)
    assert clocks[0] > 0
    assert {(record["flags"], record["latency"], record["ret"]) for record in records} == {(0, 0, 0)}
    opened, *_, unlinked = records
    ((index, path),) = opened["items"]
    assert index == 1
    assert rows[0].arguments[1] == f'"{path}"'
    assert records[2]["args"][2] == 8
    assert unlinked["items"][0][1].startswith(path.rsplit("/", 1)[0])


def test_records_say_what_became_of_the_call(tracer: Machine) -> None:
    """A blocked call has its status, flag and errno; one that returned its value and latency."""
    blocked, returned = nonce("blocked"), nonce("returned")
    *_, first, _, second, _ = tracer.talk(
        *listener(),
        play(write(f"mkdir block errno=EXDEV comm={blocked}"), set_parameter("enforce", 1)),
        listen(blocked, call("mkdirat", blocked)),
        play(set_parameter("enforce", 0), write("clear", "untrace mkdir"), set_parameter("returns", 1)),
        listen(returned, call("read,unlinkat:2", returned)),
        play(set_parameter("returns", 0)),
    )
    (record,) = first["records"]
    assert (record["status"], record["flags"], record["ret"]) == (1, ENFORCED, -18)
    values = [(record["flags"], record["ret"], record["latency"] > 0) for record in second["records"]]
    assert values == [(RETURNED, 8, True), (RETURNED, 0, True), (RETURNED, -2, True)]


def test_a_batch_says_what_is_in_it(tracer: Machine) -> None:
    """A batch tells how many records it has, the first and last number, and the earliest and latest time of entry."""
    naps = "i=0; while [ $i -lt 20 ]; do sleep 0.02; i=$((i+1)); done; : >/run/naps-done"
    done = "until [ -e /run/naps-done ]; do sleep 0.05; done; rm /run/naps-done"
    *_, heard, _ = tracer.talk(
        play(write("trace =timer_getoverrun", "trace nanosleep"), set_parameter("returns", 1)),
        *listener(),
        step(
            "listen",
            name="a",
            play=script(
                helper_step("sh", f"({naps}) >/dev/null 2>&1 &"),
                helper_step("flood", 10_000, 2),
                helper_step("sh", done),
            ),
        ),
        play(set_parameter("returns", 0), write("untrace =timer_getoverrun", "untrace nanosleep")),
    )
    check_account(heard)
    assert accounted(heard) > 20_000
    assert heard["mixed"] > 0, "each batch began with its earliest call: this shows nothing"


def test_a_batch_has_the_generation_of_its_time(tracer: Machine) -> None:
    """So that who listens learns of a call by the first batch that may have it."""
    comm = nonce("generation")
    *_, before, first, _, after, second, _ = tracer.talk(
        *listener(),
        ask("status-get"),
        listen(comm, call("close", comm)),
        play(write("trace mkdir")),
        ask("status-get"),
        listen(comm, call("mkdirat", comm)),
        play(write("untrace mkdir")),
    )
    told = [each["replies"][0]["generation"] for each in (before, after)]
    assert told[0] != told[1]
    assert [heard["generation"] for heard in (first, second)] == told


def test_a_single_call_comes_without_company(tracer: Machine) -> None:
    """A batch does not wait to be full: one call comes, and no quarter of a ring with it."""
    comm = nonce("single")
    *_, heard = tracer.talk(*listener(), listen(comm, call("close", comm)))
    assert heard["overdue"] == 0
    assert len(heard["records"]) == 1


def test_batches_come_ten_times_a_second(tracer: Machine) -> None:
    """While little happens batches come ten times a second from a CPU: a listener that traces itself makes no storm."""
    *_, taken, _, cpus = tracer.talk(
        *listener(),
        play(write("untrace open read write close unlink", "trace recv", "trace recvfrom", "trace recvmsg")),
        step("take", name="a", seconds=3),
        play(write("untrace recv", "trace open read write close unlink")),
        ask("cpu-get"),
    )
    assert 1 <= taken["batches"] <= len(cpus["replies"]) * (10 * taken["seconds"] + 3) + taken["count"] / 256


def test_no_record_is_lost_to_who_reads(tracer: Machine) -> None:
    """A hundred thousand calls at full speed: a listener that reads gets every one."""
    *_, heard, _ = tracer.talk(
        play(write("trace =timer_getoverrun")),
        *listener(),
        step("listen", name="a", play=script(helper_step("flood", 100_000, 1))),
        play(write("untrace =timer_getoverrun")),
    )
    check_account(heard)
    check_lost(tracer, heard)
    assert accounted(heard) >= 100_000


SUCCESSORS = "bcdefghijklm"


def test_a_successor_hears_all_from_its_joining(tracer: Machine) -> None:
    """Who joins just after another has left gets every call, though batches went to nobody in between."""
    # A mark that outlives the joining does so for a tenth of a second at most: not each try falls into it.
    steps = [
        one
        for name in SUCCESSORS
        for one in (
            play(call("close:600", "nobody")),
            *listener(name),
            step("listen", name=name, play=script(helper_step("flood", 5_000, 2))),
            step("close", name=name),
        )
    ]
    answers = tracer.talk(play(write("trace =timer_getoverrun")), *listener(), step("close", name="a"), *steps)
    tracer.play(write("untrace =timer_getoverrun"))
    heard = [answer for answer in answers if "count" in answer]
    assert len(heard) == len(SUCCESSORS)
    for each in heard:
        check_account(each)
        check_lost(tracer, each)
        assert accounted(each) >= 10_000


def test_what_is_overwritten_is_counted_as_lost(machine: Machine) -> None:
    """Calls at full speed and a real-time priority, with the smallest log: nothing is lost.

    A real-time kernel has records overwritten before they are sent: they are counted, the gaps in the numbers exactly.
    """
    module = find_module(machine, "syscall_tracer")
    try:
        require(*machine.play(module.unload(), module.load("log_entries=16")))
        *_, heard = machine.talk(
            play(write("trace =timer_getoverrun")),
            *listener(),
            step("listen", name="a", play=script(helper_step("flood", 30_000, 4)), before=AT_ONCE),
        )
        check_account(heard)
        assert accounted(heard) >= 120_000
        check_overwritten(machine, heard)
    finally:
        put_back(machine, module)


def test_a_listener_that_never_reads_holds_nobody_up(tracer: Machine) -> None:
    """A listener that never reads holds no more than its buffer, and sees a gap; another one gets everything."""
    *_, heard, held, late = tracer.talk(
        play(write("trace =timer_getoverrun")),
        *listener("deaf", 65536),
        *listener(),
        step("listen", name="a", play=script(helper_step("flood", 50_000, 1))),
        step("memory", name="deaf"),
        step("listen", name="deaf", play=script(write("untrace =timer_getoverrun"))),
    )
    check_account(heard)
    check_lost(tracer, heard)
    assert accounted(heard) >= 50_000
    assert held["drops"] > 0
    assert held["held"] <= 2 * held["limit"]
    assert late["overflows"] >= 1
    assert sum(account["gap"] for account in late["cpus"].values()) > 0
    assert sum(account["unheard"] for account in late["cpus"].values()) > 0
    assert late["count"] + sum(account["gap"] for account in late["cpus"].values()) >= 50_000


def test_listeners_hear_the_same(tracer: Machine) -> None:
    """Two listeners get the same records; one that joins later gets those made since."""
    first, second = nonce("first"), nonce("second")
    comms = [first, second]
    *_, a, b = tracer.talk(
        *listener("a"),
        play(call("close:5", first)),
        step("listen", name="a", comms=[first]),
        *listener("b"),
        play(call("close:7", second)),
        step("listen", name="a", comms=comms),
        step("listen", name="b", comms=comms),
    )
    assert len(a["records"]) == len(b["records"]) == 7
    assert [record["seq"] for record in a["records"]] == [record["seq"] for record in b["records"]]


def test_who_comes_hears_of_new_calls_only(tracer: Machine) -> None:
    """Calls that were made while nobody listened are not sent to who comes later."""
    before, after = nonce("before"), nonce("after")
    tracer.talk(*listener(), step("close", name="a"))
    tracer.talk(play(call("close:9", before)))
    *_, heard = tracer.talk(*listener(), play(call("close:3", after)), step("listen", name="a", comms=[before, after]))
    assert [record["comm"] for record in heard["records"]] == [after] * 3
    check_account(heard)


def test_unloading_with_listeners(machine: Machine) -> None:
    """Listeners do not keep the module: they get what was made until then, and hear nothing of the next one."""
    module = find_module(machine, "syscall_tracer")
    last, anew = nonce("last"), nonce("anew")
    try:
        *_, taken, gone, loaded, _, silent, again = machine.talk(
            *listener("a"),
            *listener("deaf", 65536),
            play(call("close:5", last), module.unload()),
            step("take", name="a", seconds=0.5),
            ask("status-get"),
            play(module.load()),
            play(call("close:4", anew)),
            step("take", name="a", seconds=0.5),
            step("resolve", name="a"),
        )
    finally:
        put_back(machine, module)
    assert taken["count"] >= 5
    assert gone["errno"] == 2
    require(*loaded["play"])
    assert silent["count"] == 0
    assert again["errno"] == 0


def test_unloading_while_everything_happens(machine: Machine) -> None:
    """The module unloads and loads three times while calls are made, listeners come and go, and operations run."""
    module = find_module(machine, "syscall_tracer")
    mine = [step("join", name="a", look=False, group="blocked"), ask("leave-out", name="a")]
    talking = machine.netlink_command(*listener("a", 0), *mine, ask("call-get"), CLEAR)
    loops = ("ls / >/dev/null", f"{talking} >/dev/null 2>&1")
    again = f"until rmmod {module.called} 2>/dev/null; do :; done; insmod {module.file} || rc=1"
    try:
        (answer,) = machine.play(beside(loops, f"for i in 1 2 3; do {again}; done"))
        require(answer)
    finally:
        put_back(machine, module)

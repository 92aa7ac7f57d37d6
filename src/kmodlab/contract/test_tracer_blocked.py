"""Calls that a filter blocks, as they are made: the netlink group of these alone."""

from __future__ import annotations

import pytest

from .machine import Machine
from .modules import find_module, put_back, require
from .netlink import SPEC, Step, ask, step
from .parameters import set_parameter
from .script import TRACER, Answer, call, nonce, read, script, write
from .script import step as helper_step
from .test_tracer_delivery import AT_ONCE, ENFORCED, ENOUGH, as_row, check_lost, check_overwritten, listener, of_row
from .test_tracer_netlink import flood, page_of, play

pytestmark = pytest.mark.syscall_tracer

MARKED = "mkdir block path=/proc/"
"""Has what the client ends its listening with blocked."""
ONLINE = "/sys/devices/system/cpu/cpu1/online"
AS_BEFORE = play(write("clear", "untrace mkdir", "untrace =timer_getoverrun"))


def of_blocked(name: str = "b", receive_bytes: int = ENOUGH) -> list[Step]:
    """Open a socket and join the group."""
    return listener(name, receive_bytes, "blocked")


def listen(*steps: str, comms: tuple[str, ...] = (), name: str = "b", before: tuple[str, ...] = ()) -> Step:
    """Receive while these steps of the helper in C run, and until a block of each CPU that was made afterwards."""
    return step("listen", name=name, comms=list(comms), play=script(*steps), before=before, blocked=True)


def marks(answer: Answer) -> int:
    """Return how many calls the client itself made, to know when it has heard all: one on each CPU."""
    return len(answer["cpus"])


def total(answer: Answer, field: str) -> int:
    """Return the sum of all CPUs."""
    return sum(int(cpu[field]) for cpu in answer["cpus"].values())


def check(answer: Answer) -> None:
    """All that is blocked came, or was told to be lost."""
    assert answer["overdue"] == answer["overflows"] == answer["untrue"] == 0
    assert [cpu["unheard"] for cpu in answer["cpus"].values()] == [0] * len(answer["cpus"])
    assert all(cpu["back"] == 0 for cpu in answer["cpus"].values())


def test_what_is_blocked_comes_alone(tracer: Machine) -> None:
    """The group has each record of a call that a filter blocks, in both modes, and no other; so has that of all."""
    comm = nonce("blocked")
    *_, calls, heard, both, _ = tracer.talk(
        play(write("clear", MARKED, f"mkdir block comm={comm}", f"close allow comm={comm}")),
        *of_blocked(),
        *listener("a"),
        ask("call-get"),
        listen(
            call("mkdirat:3,close:2,openat", comm, cpu=0),
            set_parameter("enforce", 1),
            call("mkdirat:2", comm, cpu=0),
            set_parameter("enforce", 0),
            read(TRACER),
            comms=(comm,),
        ),
        step("listen", name="a", comms=[comm]),
        AS_BEFORE,
    )
    check(heard)
    names = {each["id"]: each["name"] for each in calls["replies"]}
    rows = [row for row in page_of(heard).of(comm) if row.blocked]
    assert [as_row(record, names[record["call"]]) for record in heard["records"]] == [of_row(row) for row in rows]
    assert [record["flags"] & ENFORCED for record in heard["records"]] == [0, 0, 0, ENFORCED, ENFORCED]
    assert heard["count"] == 5 + marks(heard), "some other call came"
    assert heard["commands"] == [SPEC.operations["blocked"].number]
    assert both["commands"] == [SPEC.operations["event"].number]
    assert [record for record in both["records"] if record["status"]] == heard["records"]


def test_every_block_comes_though_the_log_overflows(machine: Machine) -> None:
    """While a loop of other calls overwrites what was not sent yet, nothing of what is blocked is lost."""
    module = find_module(machine, "syscall_tracer")
    comm = nonce("blocked")
    blocks = [call("mkdirat:40", comm, cpu=0), flood(30_000, 4), call("mkdirat:40", comm, cpu=0)]
    try:
        require(*machine.play(module.unload(), module.load("log_entries=16")))
        *_, heard, all_of_them = machine.talk(
            play(write(MARKED, f"mkdir block comm={comm}", "trace =timer_getoverrun")),
            *of_blocked(),
            *listener("a"),
            listen(*blocks, comms=(comm,), before=AT_ONCE),
            step("listen", name="a"),
        )
    finally:
        put_back(machine, module)
    check(heard)
    assert len(heard["records"]) == 80
    assert total(heard, "lost") == 0
    check_overwritten(machine, all_of_them)


def test_blocks_that_are_overwritten_are_counted_as_lost(tracer: Machine) -> None:
    """Blocks at full speed and a real-time priority: what a real-time kernel does not send in time is counted."""
    *_, heard, _ = tracer.talk(
        play(write(MARKED, "timer_getoverrun block")),
        *of_blocked(),
        listen(flood(20_000, 4), before=AT_ONCE),
        AS_BEFORE,
    )
    check(heard)
    assert heard["count"] + total(heard, "lost") == 80_000 + marks(heard)
    check_overwritten(tracer, heard)


def test_a_cpu_that_goes_away_and_comes_back_loses_nothing(tracer: Machine) -> None:
    """Who joins while a CPU is away hears it once it is back; what it recorded comes though it goes again."""
    if not tracer.sh(f"test -w {ONLINE} && echo yes || true"):
        pytest.skip("the machine has no second CPU that can go offline")
    comm, made = nonce("back"), 20_000
    away, back = (helper_step("sh", f"echo {online} >{ONLINE}") for online in (0, 1))
    leaves = helper_step("sh", f"(echo 0 >{ONLINE}; echo >/run/away) >/dev/null 2>&1 &")
    gone = helper_step("sh", "until [ -e /run/away ]; do sleep 0.05; done; rm /run/away; nproc")
    *_, joined, left, _, _ = tracer.talk(
        play(write(MARKED, "timer_getoverrun block", f"mkdir block comm={comm}"), away),
        *of_blocked(),
        play(back),
        listen(call("mkdirat:3", comm, cpu=1), comms=(comm,)),
        listen(leaves, flood(made, 2), gone, before=("taskset", "--cpu-list", "1")),
        play(back),
        AS_BEFORE,
    )
    check(joined)
    assert [record["cpu"] for record in joined["records"]] == [1, 1, 1]
    check(left)
    others = int(left["play"][-1]["text"])
    assert left["count"] + total(left, "lost") == 2 * made + others


def test_what_a_full_socket_has_missed_is_seen_by_the_numbers(tracer: Machine) -> None:
    """A listener that does not read knows by the numbers how many blocks it has missed; another one gets all."""
    made = 40_000
    *_, heard, late, _ = tracer.talk(
        play(write(MARKED, "timer_getoverrun block")),
        *of_blocked("deaf", 65536),
        *of_blocked(),
        listen(flood(made, 1)),
        listen(helper_step("sh", "true"), name="deaf"),
        AS_BEFORE,
    )
    check(heard)
    check_lost(tracer, heard)
    assert heard["count"] + total(heard, "lost") == made + marks(heard)
    assert (late["overdue"], late["untrue"]) == (0, 0)
    assert late["overflows"] >= 1
    missed = late["cpus"]["0"]
    assert missed["unheard"] > 0
    told = missed["count"] + missed["lost"]
    assert told + missed["unheard"] == made + 2, "the calls on this CPU, and what each listener ended with"

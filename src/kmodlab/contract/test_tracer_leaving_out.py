"""Calls of listeners that are left out: who may ask for it, what it costs them, and where it ends."""

from __future__ import annotations

import errno
import operator
import re

import pytest

from .machine import Machine
from .modules import find_module, put_back, require
from .netlink import Step, ask, step
from .parameters import set_parameter
from .script import TRACER, TRACER_STATS, Answer, call, nonce, read, write
from .script import step as helper_step
from .test_tracer_netlink import page_of, play, refusal, stats_of

pytestmark = pytest.mark.syscall_tracer

ONLY_MKDIR = write("clear", "untrace open read write close unlink", "trace mkdir")
AS_BEFORE = write("clear", "untrace mkdir", "trace open read write close unlink")
PLACES = 8
"""Processes that can be left out at a time."""


def leave_out(name: str = "a") -> list[Step]:
    """Open a socket, and have the calls of its process left out."""
    return [step("open", name=name), ask("leave-out", name=name)]


def strive(path: str, times: int = 1, thread: bool = False) -> Step:
    """Have the client itself try to make a directory there is no place for."""
    return step("strive", path=path, times=times, thread=thread)


def nowhere(name: str) -> str:
    """Return a path that nothing can be made at, and that nobody else knows."""
    return f"/proc/{nonce(name)}"


def recorded(answer: Answer, path: str) -> list[str]:
    """Return what became of the calls with this path, as the page has them."""
    return [row.status for row in page_of(answer).rows if f'"{path}"' in row.arguments]


def excluded(answers: list[Answer]) -> list[int]:
    """Return how many calls had been excluded on all CPUs, each time it was asked."""
    dumps = [
        answer["replies"] for answer in answers if any("overwritten" in reply for reply in answer.get("replies", []))
    ]
    return [sum(cpu["excluded"] for cpu in dump) for dump in dumps]


def left_out(answer: Answer, before: Answer | None = None) -> list[int]:
    """Return who is left out, as the status says; without those who were `before`, for the machine may be watched."""
    (status,) = answer["replies"]
    known = left_out(before) if before else []
    return [pid for pid in status.get("left-out", []) if pid not in known]


@pytest.mark.parametrize("returns", [0, 1])
def test_a_listener_is_left_out_and_counted(tracer: Machine, returns: int) -> None:
    """The calls of its own process, whatever the thread, are excluded: not in the log, not issued, and counted."""
    path, other = nowhere("own"), nonce("other")
    answers = tracer.talk(
        play(ONLY_MKDIR, set_parameter("returns", returns)),
        *leave_out(),
        ask("cpu-get"),
        strive(path, 30),
        strive(path, 10, thread=True),
        ask("cpu-get"),
        play(call("mkdirat:3", other), read(TRACER), read(TRACER_STATS)),
        ask("status-get"),
        play(set_parameter("returns", 0), AS_BEFORE),
    )
    page, status = answers[-3], answers[-2]
    before, after = excluded(answers[:-2])
    assert after - before == 40
    assert recorded({"play": page["play"][:2]}, path) == []
    assert len(page_of({"play": page["play"][:2]}).of(other)) == 3, "a child of who is left out is not"
    stats = stats_of(page)
    assert stats.counters["Excluded"] == status["replies"][0]["excluded"] == after
    shown = sum(
        int(number) for number in re.findall(r"^CPU .* excluded (\d+)$", page["play"][-1]["text"], re.MULTILINE)
    )
    assert shown == after
    assert stats.counters["In flight"] == 0


def test_who_is_left_out_is_told(tracer: Machine) -> None:
    """status-get names each process that is left out, once, to everybody who may read."""
    before, _, _, twice, me, told, _, _, both, *_, nobody = tracer.talk(
        ask("status-get"),
        *leave_out(),
        ask("leave-out", name="a"),
        step("me"),
        ask("status-get"),
        *leave_out("b"),
        ask("status-get"),
        step("close", name="a"),
        step("close", name="b"),
        ask("status-get"),
    )
    assert twice["errno"] == 0
    assert left_out(told, before) == left_out(both, before) == [me["pid"]]
    assert left_out(nobody, before) == []


ORDERLY = (
    "rm -f /run/orders*; mkfifo /run/orders; (exec 3<>/run/orders; while read -r line <&3; do "
    "true 2>/dev/null >/proc/$line; echo $line >>/run/orders-done; done) >/dev/null 2>&1 & echo $!"
)
"""A shell that opens what it is told to, which fails, and says when it has; it prints its process id."""


def order(path: str) -> str:
    """Have it open a path below /proc, and wait until it has."""
    word = path.removeprefix("/proc/")
    return helper_step(
        "sh", f"echo {word} >/run/orders; until grep -qx {word} /run/orders-done 2>/dev/null; do sleep 0.05; done"
    )


def test_a_process_may_be_left_out_by_another(tracer: Machine) -> None:
    """Who hands records on may have left out whom it hands them to, until its socket is closed."""
    paths = [nowhere(name) for name in ("before", "left", "behind")]
    (started,) = tracer.talk(play(helper_step("sh", ORDERLY)))
    pid = int(started["play"][0]["text"])
    before, _, first, done, status, counted, second, after, _, third, _ = tracer.talk(
        ask("status-get"),
        step("open", name="a"),
        play(order(paths[0]), read(TRACER)),
        ask("leave-out", name="a", pid=pid),
        ask("status-get"),
        ask("cpu-get"),
        play(order(paths[1]), read(TRACER)),
        ask("cpu-get"),
        step("close", name="a"),
        play(order(paths[2]), read(TRACER)),
        play(helper_step("sh", f"kill {pid}; rm -f /run/orders*")),
    )
    assert done["errno"] == 0
    assert left_out(status, before) == [pid]
    assert [bool(recorded(one, path)) for one, path in zip((first, second, third), paths, strict=True)] == [
        True, False, True
    ]  # fmt: skip
    assert operator.gt(*reversed(excluded([counted, after])))


@pytest.mark.parametrize(("pid", "error"), [(0, errno.ERANGE), (4_194_304, errno.ESRCH), (4_294_967_295, errno.ESRCH)])
def test_who_is_not_there_cannot_be_left_out(tracer: Machine, pid: int, error: int) -> None:
    """0 is no process, and a number that nobody has is refused; nobody else is left out instead."""
    before, _, answer, after = tracer.talk(
        ask("status-get"), step("open", name="a"), ask("leave-out", name="a", pid=pid), ask("status-get")
    )
    assert answer["errno"] == error
    assert answer["errno"] != errno.ESRCH or refusal(answer)[1] == "no such process"
    assert left_out(after, before) == []


THREADED = (
    "python3 -c 'import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()' >/dev/null 2>&1 & "
    'until set -- /proc/$!/task/*; [ -e "$2" ]; do sleep 0.1; done; echo $! ${1##*/} ${2##*/}'
)
"""A process with two threads; its number is printed, and those of its threads."""


def test_a_thread_is_no_process(tracer: Machine) -> None:
    """Only the number of a process is one, not that of another thread of it."""
    (found,) = tracer.talk(play(helper_step("sh", THREADED)))
    pid, *threads = map(int, found["play"][0]["text"].split())
    (thread,) = set(threads) - {pid}
    _, answer, process, _ = tracer.talk(
        step("open", name="a"),
        ask("leave-out", name="a", pid=thread),
        ask("leave-out", name="a", pid=pid),
        play(helper_step("sh", f"kill {pid}")),
    )
    assert (answer["errno"], process["errno"]) == (errno.ESRCH, 0)


@pytest.mark.parametrize("predicate", ["comm=python3", "path=/proc/"])
def test_filters_hold_for_who_is_left_out(tracer: Machine, predicate: str) -> None:
    """A call that a filter blocks does not run and is recorded, also where its process is left out; others are not."""
    blocked, marked, passed = nowhere("held"), nowhere("marked"), nowhere("passed")
    answers = tracer.talk(
        play(ONLY_MKDIR, write(f"mkdir block errno=EXDEV {predicate}"), set_parameter("enforce", 1)),
        *leave_out(),
        ask("cpu-get"),
        strive(blocked, 3),
        play(set_parameter("enforce", 0)),
        strive(marked, 2),
        play(write("clear", "mkdir block comm=nobody", "mkdir block path=/srv/")),
        strive(passed, 4),
        ask("cpu-get"),
        play(read(TRACER)),
        ask("call-get"),
        play(AS_BEFORE),
    )
    _, _, _, _, held, _, permitted, _, free, _, page, calls, _ = answers
    assert held["errors"] == [errno.EXDEV] * 3
    assert permitted["errors"] == [errno.ENOENT] * 2
    assert free["errors"] == [errno.ENOENT] * 4
    assert recorded(page, blocked) == ["BLOCKED"] * 3
    assert recorded(page, marked) == ["BLOCKED"] * 2
    assert recorded(page, passed) == []
    before, after = excluded(answers)[:2]
    assert after - before == 4
    assert all(each["blocked"] <= each["issued"] for each in calls["replies"])


def test_it_ends_with_the_socket(tracer: Machine) -> None:
    """The process is recorded again once the socket is closed by which it asked; another one changes nothing."""
    path, again = nowhere("still"), nowhere("again")
    before, _, _, _, _, _, still, _, _, _, page, _ = tracer.talk(
        ask("status-get"),
        play(ONLY_MKDIR),
        *leave_out(),
        step("open", name="b"),
        step("close", name="b"),
        ask("status-get"),
        strive(path),
        step("close", name="a"),
        strive(again, 2),
        play(read(TRACER)),
        play(AS_BEFORE),
    )
    assert len(left_out(still, before)) == 1
    assert recorded(page, path) == []
    assert recorded(page, again) == ["ALLOWED"] * 2


def test_it_ends_with_the_process(tracer: Machine) -> None:
    """A process that asks by a socket it has inherited is left out itself, and until it ends, not until that closes."""
    path = nowhere("parent")
    before, _, _, child, status, _, page, _ = tracer.talk(
        ask("status-get"),
        play(ONLY_MKDIR),
        step("open", name="a"),
        step("as", who={}, steps=[ask("leave-out", name="a"), step("me"), ask("status-get")]),
        ask("status-get"),
        strive(path),
        play(read(TRACER)),
        play(AS_BEFORE),
    )
    _, me, told = child["inner"]
    assert left_out(told, before) == [me["pid"]]
    assert left_out(status, before) == []
    assert recorded(page, path) == ["ALLOWED"]


def test_few_can_be_left_out(tracer: Machine) -> None:
    """There is room for so many, and whoever comes then is refused, until one of them has gone."""
    (before,) = tracer.talk(ask("status-get"))
    names = [f"n{number}" for number in range(PLACES - len(left_out(before)))]
    taken = [one for name in names for one in leave_out(name)]
    *answers, extra, _, free, _ = tracer.talk(
        *taken,
        *leave_out("one too many"),
        step("close", name="n3"),
        ask("leave-out", name="one too many"),
        ask("cpu-get"),
    )
    assert {answer["errno"] for answer in answers} == {0}
    assert refusal(extra) == (errno.ENOSPC, "too many processes are left out")
    assert free["errno"] == 0


def test_a_module_that_is_loaded_anew_leaves_out_nobody(machine: Machine) -> None:
    """Who is left out does not keep the module from being unloaded, and is recorded by the next one."""
    module = find_module(machine, "syscall_tracer")
    path = nowhere("anew")
    try:
        before, _, _, reloaded, status, _, page, closed, after = machine.talk(
            ask("status-get"),
            *leave_out(),
            play(module.unload(), module.load(), write("trace mkdir")),
            ask("status-get"),
            strive(path),
            play(read(TRACER)),
            step("close", name="a"),
            ask("status-get"),
        )
    finally:
        put_back(machine, module)
    require(*reloaded["play"][:2])
    # Who watches the machine may be back already.
    assert left_out(status, before) == []
    assert recorded(page, path) == ["ALLOWED"]
    assert (closed["errno"], after["errno"]) == (0, 0)

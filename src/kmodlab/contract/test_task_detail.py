"""/proc/task_detail says of every process what /proc says, whatever its layout is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .machine import Machine
from .proc_measure import Process
from .readers.tables import unescaped
from .readers.task_pages import SHOWN_AS, STATES, Task
from .readers.wording import require_none, wrong
from .script import DETAIL
from .zoo import PLAIN, Picture, Zoo, about_equal, named, visit

pytestmark = pytest.mark.task_lister

TICK_MS = 10
TICK_NS = TICK_MS * 1_000_000
FEW = 20
"""Blocks that there have to be before anything can be said of a key."""


@pytest.fixture(scope="module")
def zoo(machine: Machine) -> Zoo:
    """Processes of every kind, and pictures of task_detail."""
    return visit(machine, PLAIN, DETAIL)


def still(picture: Picture) -> Iterator[tuple[Task, Process]]:
    """Give the block and the process of those that did not run between the two looks at /proc."""
    pids = [pid for pid, process in picture.still.items() if process.state not in "RZ" and pid in picture.blocks]
    if len(pids) < FEW:
        wrong("/proc/task_detail has a block for each process.", f"{len(pids)} blocks of processes were found.")
    for pid in pids:
        yield picture.blocks[pid], picture.still[pid]


def block_of(picture: Picture, zoo: Zoo, what: str) -> Task:
    """Return an animal's block."""
    if (pid := zoo.pids[what]) not in picture.blocks:
        seen = f"{named(picture.before[pid])} has none."
        wrong(f"/proc/task_detail has a block for each process, {what} among them.", seen)
    return picture.blocks[pid]


def compare(picture: Picture, key: str, expected: Callable[[Process], int], hint: str, slack: int = 0) -> None:
    """Fail where a number in the blocks is not that of /proc, which was the same in both looks."""
    seen = [
        f"{named(process)}: {SHOWN_AS.get(key, key)} is {block.number(key)}, expected {expected(process)}"
        for block, process in still(picture)
        # Since 6.12 who has gone to sleep stays on a run queue for a while, and goes to another CPU with it.
        if expected(picture.after[process.pid]) == expected(process)
        and abs(block.number(key) - expected(process)) > slack
    ]
    require_none(seen, f"`{SHOWN_AS.get(key, key)}:` is what /proc/PID says.", hint)


@pytest.mark.quick
def test_every_process_has_a_block(zoo: Zoo) -> None:
    """task_detail has a block for every process, and for nothing else."""
    for picture in zoo.pictures:
        missing = [f"{named(process)} has none" for pid, process in picture.steady.items() if pid not in picture.blocks]
        require_none(missing, "/proc/task_detail has a block `PID: n` for every process.", "for_each_process()")
        strangers = sorted(picture.strangers(picture.blocks))
        require_none([f"PID {pid} has a block, and is none" for pid in strangers], "Only processes have a block.")


def test_names_and_states_agree(zoo: Zoo) -> None:
    """`Command:` and `State:` are the process's."""
    for picture in zoo.pictures:
        seen = []
        for block, process in still(picture):
            name = block.text("Command")
            begins = process.kernel_thread and name and process.comm.startswith(unescaped(name))
            if not begins and not block.is_named(process.comm):
                seen.append(f"{named(process)}: Command is `{name}`")
            if not process.kernel_thread and block.state != STATES[process.state]:
                seen.append(f"{named(process)}: State is {block.state}, expected {STATES[process.state]}")
        require_none(seen, "`Command:` and `State:` are those of the process.", "as in task_lister")


def test_a_zombie_has_its_block(zoo: Zoo) -> None:
    """The block of a zombie says ZOMBIE."""
    for picture in zoo.pictures:
        if (state := block_of(picture, zoo, "a zombie").state) != "ZOMBIE":
            wrong("The State of a process that has ended and is not reaped is ZOMBIE.", f"It was {state}.")


def test_parents_and_ids_agree(zoo: Zoo) -> None:
    """`Parent PID:`, `UID:` and `GID:` are the process's."""
    for picture in zoo.pictures:
        block_of(picture, zoo, "a process of another user")
        compare(picture, "Parent", lambda process: process.ppid, "task->real_parent")
        compare(picture, "UID", lambda process: process.uid, "the real id: task->cred->uid")
        compare(picture, "GID", lambda process: process.gid, "the real id: task->cred->gid")


def test_threads_agree(zoo: Zoo) -> None:
    """`Number of Threads:` is that of the process."""
    for picture in zoo.pictures:
        block_of(picture, zoo, "a process with 20 threads")
        compare(picture, "Threads", lambda process: process.threads, "get_nr_threads()")


def test_memory_agrees(zoo: Zoo) -> None:
    """`Virtual Memory:` and `Resident Memory (RSS):` are in KB; 0 for those without."""
    for picture in zoo.pictures:
        block_of(picture, zoo, "a process with 24 MiB")
        seen = []
        for block, process in still(picture):
            for key, expected in (("VM", process.vm_kb), ("RSS", process.rss_kb)):
                if not about_equal(shown := block.number(key), expected) or (shown and not process.vm_kb):
                    seen.append(f"{named(process)}: {SHOWN_AS[key]} is {shown}, expected {expected} KB")
        require_none(seen, "Memory is in KB, as in /proc/PID/status.", "total_vm counts pages: times PAGE_SIZE / 1024")


def test_scheduling_agrees(zoo: Zoo) -> None:
    """Priority (on the kernel's scale), nice value and CPU are those of /proc/PID/stat."""
    for picture in zoo.pictures:
        compare(picture, "Priority", lambda process: process.priority, "task->prio: 120 is nice 0")
        compare(picture, "Nice", lambda process: process.nice, "task_nice()")
        compare(picture, "CPU", lambda process: process.cpu, "task_cpu()")


def test_priorities_of_the_zoo(zoo: Zoo) -> None:
    """Nice 0 is priority 120, nice 7 is 127, real-time 42 is 57."""
    for what, expected in (("a nice process", 127), ("a real-time process", 57), ("a batch process", 120)):
        if (shown := block_of(zoo.pictures[0], zoo, what).number("Priority")) != expected:
            asked = "Priority is the kernel's: 120 + nice, or 99 - the real-time priority."
            wrong(asked, f"That of {what} is {shown}.")


def test_times_agree(zoo: Zoo) -> None:
    """Start Time is since boot in ns; User and System Time of a process at rest are those of its main thread."""
    for picture in zoo.pictures:
        compare(picture, "Start", lambda process: process.start_ticks * TICK_NS, "task->start_boottime", TICK_NS)
        for block, process in still(picture):
            shown = block.number("User") + block.number("System")
            measured = (process.user_ticks + process.system_ticks) * TICK_MS
            if not 0 <= shown - measured <= 2 * TICK_MS:
                seen = f"{named(process)}: they are {shown} ms together, expected {measured}"
                wrong("User and System Time are those of the main thread, in ms.", seen, "task_cputime_adjusted()")


def test_a_burning_process_uses_user_time(zoo: Zoo) -> None:
    """The user time of a process that burns CPU grows; that of a leader whose thread burns does not."""
    first, last = zoo.pictures[0], zoo.pictures[-1]
    grown = block_of(last, zoo, what := "a running process").number("User") - block_of(first, zoo, what).number("User")
    if grown <= 0:
        wrong("The User Time of a process that computes grows.", f"It grew by {grown} ms.")
    pid, shown = zoo.pids[what], block_of(last, zoo, what).number("User")
    if shown > last.after[pid].user_ticks * TICK_MS + 2 * TICK_MS:
        wrong("User Time is in ms.", f"{named(last.after[pid])}: it is {shown}, more than it has had.")
    what = "a process whose thread burns"
    grown = block_of(last, zoo, what).number("User") - block_of(first, zoo, what).number("User")
    if grown > TICK_MS:
        wrong("User Time is that of the main thread alone.", f"It grew by {grown} ms where another thread computes.")


def test_switches_agree(zoo: Zoo) -> None:
    """Voluntary and involuntary switches are those of /proc/PID/status."""
    for picture in zoo.pictures:
        compare(picture, "Voluntary", lambda process: process.voluntary, "task->nvcsw")
        compare(picture, "Involuntary", lambda process: process.involuntary, "task->nivcsw")


@pytest.mark.parametrize("what", list(PLAIN))
def test_policies_agree(what: str, zoo: Zoo) -> None:
    """The block of {what} says its scheduling policy."""
    for picture in zoo.pictures:
        if (shown := block_of(picture, zoo, what).text("Policy")) != PLAIN[what].policy:
            seen = f"{named(picture.before[zoo.pids[what]])}: it is {shown}, expected {PLAIN[what].policy}"
            wrong(f"Scheduling Policy of {what} is {PLAIN[what].policy}.", seen, "task->policy")

"""/proc/task_detail agrees, field by field, with /proc/PID/stat and status, and with task_lister."""

from __future__ import annotations

import pytest

from .machine import Machine
from .proc_measure import Process
from .task_pages import Task
from .zoo import ZOO, Picture, Zoo, visit

pytestmark = pytest.mark.task_lister

SLACK_KB = 1024
TICK_MS = 10
TICK_NS = TICK_MS * 1_000_000


@pytest.fixture(scope="module")
def zoo(machine: Machine) -> Zoo:
    """Processes of every kind, and pictures of them."""
    return visit(machine)


def still(picture: Picture) -> dict[int, Process]:
    """Return the processes that did not even run between the two looks at /proc."""
    return {
        pid: process
        for pid, process in picture.steady().items()
        if (process.voluntary, process.involuntary) == (picture.after[pid].voluntary, picture.after[pid].involuntary)
        and process.state not in "RZ"
    }


def as_detail(row: Task) -> dict[str, str]:
    """Return what the block must say of what the list's row says."""
    return {
        "Command": row.comm,
        "State": row.state,
        "Parent PID": str(row.ppid),
        "UID": str(row.uid),
        "GID": str(row.gid),
        "Virtual Memory": str(row.vm_kb),
        "Resident Memory (RSS)": str(row.rss_kb),
        "Number of Threads": str(row.threads),
    }


@pytest.mark.quick
def test_every_block_agrees_with_the_list(zoo: Zoo) -> None:
    """task_detail has a block for every process, and says the same as task_lister, field by field."""
    for picture in zoo.pictures:
        rows = picture.listed.by_pid()
        assert set(picture.steady()) <= set(picture.detail)
        for pid in still(picture):
            block = picture.detail[pid]
            assert {key: block[key] for key in as_detail(rows[pid])} == as_detail(rows[pid]), f"PID {pid}"


@pytest.mark.parametrize("what", list(ZOO))
def test_the_block_of_an_odd_process(what: str, zoo: Zoo) -> None:
    """The block of {what} says what the list says, and its scheduling policy."""
    pid = zoo.pids[what]
    for picture, row in zip(zoo.pictures, zoo.rows(what), strict=True):
        block = dict(picture.detail[pid])
        expected = as_detail(row) | {"Scheduling Policy": ZOO[what].policy}
        rss, listed = int(block.pop("Resident Memory (RSS)")), int(expected.pop("Resident Memory (RSS)"))
        assert {key: block[key] for key in expected} == expected
        assert abs(rss - listed) <= SLACK_KB


def test_scheduling_agrees(zoo: Zoo) -> None:
    """Priority (on the kernel's scale), nice value and CPU are those of /proc/PID/stat."""
    for picture in zoo.pictures:
        for pid, process in still(picture).items():
            block = picture.detail[pid]
            shown = (int(block["Priority"]), int(block["Nice Value"]), int(block["CPU"]))
            assert shown == (process.priority, process.nice, process.cpu), f"{block} is not {process}"


def test_priorities_of_the_zoo(zoo: Zoo) -> None:
    """Nice 0 is priority 120, nice 7 is 127, real-time 42 is 57."""
    blocks = zoo.pictures[0].detail
    shown = {what: blocks[zoo.pids[what]]["Priority"] for what in ("a nice process", "a real-time process")}
    assert shown == {"a nice process": "127", "a real-time process": "57"}
    assert blocks[zoo.pids["a batch process"]]["Priority"] == "120"


def test_times_agree(zoo: Zoo) -> None:
    """Start Time is since boot in ns; User and System Time of a process at rest are those of its main thread."""
    for picture in zoo.pictures:
        for pid, process in still(picture).items():
            block = picture.detail[pid]
            assert abs(int(block["Start Time"]) - process.start_ticks * TICK_NS) <= TICK_NS, f"{block} is not {process}"
            shown = int(block["User Time"]) + int(block["System Time"])
            measured = (process.user_ticks + process.system_ticks) * TICK_MS
            assert 0 <= shown - measured <= 2 * TICK_MS, f"{block} is not {process}"


def test_a_burning_process_uses_user_time(zoo: Zoo) -> None:
    """The user time of a process that burns CPU grows; that of a leader whose thread burns does not."""
    first, last = (zoo.pictures[i].detail for i in (0, -1))
    burner, leader = zoo.pids["a running process"], zoo.pids["a process whose thread burns"]
    assert int(first[burner]["User Time"]) < int(last[burner]["User Time"])
    assert int(last[leader]["User Time"]) - int(first[leader]["User Time"]) <= TICK_MS
    shown, now = int(last[burner]["User Time"]), zoo.pictures[-1].after[burner].user_ticks * TICK_MS
    assert shown <= now + 2 * TICK_MS


def test_switches_agree(zoo: Zoo) -> None:
    """Voluntary and involuntary switches are those of /proc/PID/status."""
    for picture in zoo.pictures:
        for pid, process in still(picture).items():
            block = picture.detail[pid]
            shown = (int(block["Voluntary Switches"]), int(block["Involuntary Switches"]))
            assert shown == (process.voluntary, process.involuntary), f"{block} is not {process}"

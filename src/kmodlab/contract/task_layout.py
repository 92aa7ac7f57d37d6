"""Strict readers of /proc/task_lister, task_detail, task_stats and task_tree."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .readers.task_pages import STATES, Node
from .readers.tracer_page import Lines, Malformed, is_escaped

TITLE = "=" * 20 + " {} " + "=" * 20
INDENTED = 64
"""Generations that task_tree shows by blanks."""
RULE = "=" * 132
HEADER = "PID      PPID     COMMAND              STATE        VM(KB)     RSS(KB)    THREADS  UID      GID"
ROW = "%-8d %-8d %-20s %-12s %-10d %-10d %-8d %-8d %-8d"
DETAIL_KEYS = (
    "Command", "State", "Parent PID", "UID", "Virtual Memory", "Resident Memory (RSS)", "Number of Threads", "Priority",
    "Nice Value", "CPU", "Start Time", "User Time", "System Time", "Voluntary Switches", "Involuntary Switches",
    "Scheduling Policy",
)  # fmt: skip
DETAIL_UNITS = {"Virtual Memory": "KB", "Resident Memory (RSS)": "KB"}
DETAIL_UNITS |= {"Start Time": "ns", "User Time": "ms", "System Time": "ms"}
STATS_STATES = ("Running", "Sleeping", "Stopped", "Zombie", "Other", "Total")


@dataclass(frozen=True)
class Task:
    """One row of task_lister."""

    pid: int
    ppid: int
    comm: str
    state: str
    vm_kb: int
    rss_kb: int
    threads: int
    uid: int
    gid: int


@dataclass(frozen=True)
class TaskList:
    """The whole of task_lister."""

    tasks: tuple[Task, ...]
    page_size: int

    def by_pid(self) -> dict[int, Task]:
        """Return the rows by PID."""
        return {task.pid: task for task in self.tasks}


@dataclass(frozen=True)
class Stats:
    """The whole of task_stats."""

    states: dict[str, int]
    vm_mb: int
    rss_mb: int


def parse_task(line: str) -> Task:
    """Read one row of task_lister, byte for byte in the format of the contract; columns may follow on the right."""
    words = line.split()
    if len(words) < 9:
        raise Malformed("a row with too few columns", line)
    try:
        pid, ppid, vm, rss, threads, uid, gid = (int(words[i]) for i in (0, 1, 4, 5, 6, 7, 8))
    except ValueError:
        raise Malformed("a row with a column that is no number", line) from None
    task = Task(pid, ppid, words[2], words[3], vm, rss, threads, uid, gid)
    expected = ROW % (pid, ppid, task.comm, task.state, vm, rss, threads, uid, gid)
    if line != expected and not line.startswith(expected + " "):
        raise Malformed(f"a row that is not of the format {ROW!r}", line)
    if task.state not in {*STATES.values(), "UNKNOWN"} or not is_escaped(task.comm):
        raise Malformed("a row with a bad state or command", line)
    return task


def _parse_total(lines: Lines, rows: int) -> None:
    lines.expect(f"Total processes listed: {rows}")


def parse_list(text: str) -> TaskList:
    """Read task_lister.

    Raises:
        Malformed: some line is not what the contract says, or the PIDs do not ascend; the message shows it.
    """
    lines = Lines(text)
    lines.expect(TITLE.format("LINUX KERNEL TASK LISTER"))
    if not (header := lines.next("the header")).startswith(HEADER):
        raise Malformed("the header was expected", header)
    lines.expect(RULE)
    tasks: list[Task] = []
    while (line := lines.next("a row or the rule")) != RULE:
        task = parse_task(line)
        if tasks and task.pid <= tasks[-1].pid:
            raise Malformed(f"this row comes after PID {tasks[-1].pid}", line)
        tasks.append(task)
    _parse_total(lines, len(tasks))
    match = re.fullmatch(r"Page size: (\d+) bytes", line := lines.next("the page size"))
    if not match:
        raise Malformed("the page size was expected", line)
    lines.end()
    return TaskList(tuple(tasks), int(match[1]))


def _parse_detail_line(lines: Lines, key: str) -> str:
    line = lines.next(key)
    if key == "UID":
        match = re.fullmatch(r"  UID: (\d+, GID: \d+)", line)
    elif key in ("Command", "State", "Scheduling Policy"):
        match = re.fullmatch(rf"  {key}: (\S+)", line)
    else:
        unit = f" {DETAIL_UNITS[key]}" if key in DETAIL_UNITS else ""
        match = re.fullmatch(rf"  {re.escape(key)}: (-?\d+){unit}", line)
    if not match:
        raise Malformed(f"`  {key}:` was expected", line)
    return match[1]


def _parse_block(lines: Lines) -> tuple[int, dict[str, str]]:
    match = re.fullmatch(r"PID: (\d+)", line := lines.next("a PID"))
    if not match:
        raise Malformed("`PID: n` was expected", line)
    block = {key: _parse_detail_line(lines, key) for key in DETAIL_KEYS}
    block["UID"], block["GID"] = block["UID"].split(", GID: ")
    while lines.peek():
        if not re.fullmatch(r"  [^:]+: .+", line := lines.next("another line")):
            raise Malformed("`  Key: value` was expected", line)
    lines.expect("")
    return int(match[1]), block


def parse_detail(text: str) -> dict[int, dict[str, str]]:
    """Read task_detail: the values of each process by their keys, units removed.

    Raises:
        Malformed: some line is not what the contract says, or the PIDs do not ascend; the message shows it.
    """
    lines = Lines(text)
    lines.expect(TITLE.format("DETAILED TASK INFORMATION"))
    lines.expect("")
    blocks: dict[int, dict[str, str]] = {}
    while lines.peek() is not None:
        pid, block = _parse_block(lines)
        if blocks and pid <= max(blocks):
            raise Malformed(f"this block comes after PID {max(blocks)}", f"PID: {pid}")
        blocks[pid] = block
    return blocks


def _parse_number(lines: Lines, key: str, unit: str, column: int) -> int:
    line = lines.next(key)
    match = re.fullmatch(rf"  {key}: +(\d+){unit}", line)
    if not match or line.index(match[1], len(key) + 4) != column:
        raise Malformed(f"`  {key}: N{unit}` was expected, N in column {column}", line)
    return int(match[1])


def parse_stats(text: str) -> Stats:
    """Read task_stats.

    Raises:
        Malformed: some line is not what the contract says; the message shows it.
    """
    lines = Lines(text)
    for wanted in (TITLE.format("TASK STATISTICS"), "", "Process States:"):
        lines.expect(wanted)
    states = {key: _parse_number(lines, key, "", 15) for key in STATS_STATES}
    for wanted in ("", "Memory Usage:"):
        lines.expect(wanted)
    vm = _parse_number(lines, "Total Virtual Memory", " MB", 24)
    rss = _parse_number(lines, "Total RSS", " MB", 24)
    lines.expect("")
    lines.end()
    return Stats(states, vm, rss)


def _depth(line: str, indented: int, said: str | None) -> int:
    """Return how deep a line of the tree is: beyond what is shown by blanks it says so itself."""
    if said is None and indented <= INDENTED:
        return indented
    if said is None or indented != INDENTED or int(said) <= INDENTED:
        raise Malformed(f"{INDENTED} generations are indented, and deeper ones have a number in brackets", line)
    return int(said)


def parse_tree(text: str) -> list[Node]:
    """Read task_tree.

    Raises:
        Malformed: some line is not what the contract says; the message shows it.
    """
    lines = Lines(text)
    lines.expect(TITLE.format("TASK TREE"))
    nodes: list[Node] = []
    while (line := lines.next("a process or the rule")) != RULE:
        match = re.fullmatch(r"((?:  )*)(?:\[(\d+)\] )?(\S*)\((\d+)\)", line)
        if not match or not is_escaped(match[3]):
            raise Malformed("an indented `COMMAND(PID)` was expected", line)
        nodes.append(Node(_depth(line, len(match[1]) // 2, match[2]), match[3], int(match[4])))
    _parse_total(lines, len(nodes))
    lines.end()
    return nodes

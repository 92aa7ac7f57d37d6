"""Tolerant readers of /proc/task_lister, task_detail, task_stats and task_tree: what is said, however it is laid out.

What a page lacks is the failure of the tests that ask for it, and of no others: columns, keys and totals are looked for
when they are asked for. The layout is checked by task_layout.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .tables import FITTED, Header, header_of, meaning, means, number_in, plain, synonyms, total_of
from .wording import begins, wrong

COLUMNS = synonyms(
    PID="pid, tgid",
    PPID="ppid, parent, parent pid",
    COMMAND="command, comm, name, cmd, task, process",
    STATE="state, status, stat",
    VM="vm, vsz, vmsize, virt, virtual, vsize",
    RSS="rss, res, resident, vmrss",
    THREADS="threads, thr, nlwp, nthreads",
    UID="uid, user",
    GID="gid, group",
)
KEYS = synonyms(
    Command="command, comm, name, cmd, process name, task name, process",
    State="state, status",
    Parent="parent pid, ppid, parent, parent process, parent process id",
    UID="uid, user id, user",
    GID="gid, group id, group",
    VM="virtual memory, vm, vm size, vmsize, virtual memory size, vsz, virtual, total vm",
    RSS="resident memory, rss, resident, resident set size, rss memory, resident memory size, vmrss",
    Threads="number of threads, threads, thread count, num threads, no of threads",
    Priority="priority, prio",
    Nice="nice value, nice",
    CPU="cpu, on cpu, last cpu, processor, current cpu",
    Start="start time, started",
    User="user time, utime",
    System="system time, stime, kernel time",
    Voluntary="voluntary switches, voluntary context switches, nvcsw",
    Involuntary="involuntary switches, involuntary context switches, nonvoluntary context switches, nivcsw",
    Policy="scheduling policy, policy",
)
SHOWN_AS = {
    "Parent": "Parent PID", "VM": "Virtual Memory", "RSS": "Resident Memory (RSS)", "Threads": "Number of Threads",
    "Nice": "Nice Value", "Start": "Start Time", "User": "User Time", "System": "System Time",
    "Voluntary": "Voluntary Switches", "Involuntary": "Involuntary Switches", "Policy": "Scheduling Policy",
}  # fmt: skip
"""What the handout calls a key, where that is something else."""
COUNTS = synonyms(
    Running="running",
    Sleeping="sleeping, interruptible",
    Stopped="stopped",
    Zombie="zombie, zombies",
    Other="other, others",
    Total="total, total processes, total tasks, processes, tasks",
    VM="total virtual memory, total vm, virtual memory, total virtual",
    RSS="total rss, total resident memory, resident memory, rss, total resident, total physical memory",
)
STATES = {
    "R": "RUNNING", "S": "SLEEPING", "D": "DISK_SLEEP", "T": "STOPPED", "t": "TRACED",
    "Z": "ZOMBIE", "X": "DEAD", "I": "IDLE", "P": "PARKED",
}  # fmt: skip
"""The letters of /proc/PID/stat and the contract's words."""
_PAGE_SIZE = re.compile(r"\W*page size\W+(\d+)", re.IGNORECASE)
_PID = ("pid", "process id", "process")
_TWO_WORDS = re.compile(r"\b(disk)[ -](sleep)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Task:
    """What one row or block says of a process.

    Attributes:
        pid: of it.
        cells: all of it, by column or key.
        where: the file.
    """

    pid: int
    cells: Mapping[str, str]
    where: str

    def text(self, key: str) -> str:
        """Return a cell.

        Raises:
            AssertionError: there is no such column or key.
        """
        if key not in self.cells:
            form = "a column {}" if self.where.endswith("lister") else "a line `{}:` in each block"
            there = ", ".join(self.cells)
            wrong(f"{self.where} has {form.format(self._shown(key))}.", f"PID {self.pid} has: {there}.")
        return self.cells[key]

    def number(self, key: str) -> int:
        """Return a number.

        Raises:
            AssertionError: there is no such column or key, or it has no number.
        """
        return number_in(self.text(key), f"{self.where}: {self._shown(key)} of PID {self.pid}")

    def _shown(self, key: str) -> str:
        """Return what the handout calls a column, or a key."""
        return key if self.where.endswith("lister") else SHOWN_AS.get(key, key)

    @property
    def state(self) -> str:
        """The state, in capitals."""
        return self.text("STATE" if "STATE" in self.cells else "State").split("(")[0].strip().upper().replace(" ", "_")

    def is_named(self, name: bytes) -> bool:
        """Whether it shows this name, escaped or not."""
        return means(self.text("COMMAND" if "COMMAND" in self.cells else "Command"), name)


@dataclass(frozen=True)
class TaskList:
    """The whole of task_lister: its rows, in their order, and the total, where there is one."""

    tasks: tuple[Task, ...]
    total: int | None
    page_size: int | None

    def by_pid(self) -> dict[int, Task]:
        """Return the rows by PID."""
        return {task.pid: task for task in self.tasks}


@dataclass(frozen=True)
class Node:
    """One line of task_tree."""

    depth: int
    comm: str
    pid: int


@dataclass(frozen=True)
class Stats:
    """What task_stats counts, by what it means."""

    counts: Mapping[str, int]

    def of(self, key: str) -> int:
        """Return a count.

        Raises:
            AssertionError: it is not there.
        """
        if key not in self.counts:
            label = {"VM": "Total Virtual Memory", "RSS": "Total RSS"}.get(key, key)
            wrong(f"/proc/task_stats has a line `{label}: N`.", f"It has: {', '.join(self.counts) or 'no such lines'}.")
        return self.counts[key]


def _task(header: Header, line: str) -> Task | None:
    cells = header.cells(_TWO_WORDS.sub(r"\1_\2", line))
    if cells is None or not re.fullmatch(r"\d+", cells["PID"]):
        return None
    return Task(int(cells["PID"]), cells, "/proc/task_lister")


def parse_list(text: str) -> TaskList:
    """Read task_lister.

    Raises:
        AssertionError: it has no line with the names of the columns.
    """
    header: Header | None = None
    tasks: list[Task] = []
    others: list[str] = []
    lines = text.split("\n")
    for at, line in enumerate(lines):
        # Until there is a row, what was taken for the names of the columns may have been a title.
        named = None if tasks else header_of(line, COLUMNS, {"PID", "COMMAND"}, "COMMAND", lines[at + 1 : at + FITTED])
        if named and (header is None or named.names(COLUMNS) > header.names(COLUMNS)):
            header = named
        elif header and (task := _task(header, line)):
            tasks.append(task)
        elif header:
            others.append(line)
    if header is None:
        wrong("/proc/task_lister has a line with the columns PID, PPID, COMMAND, STATE ...", begins(text))
    sizes = [int(found[1]) for line in others if (found := _PAGE_SIZE.match(line))]
    return TaskList(tuple(tasks), total_of(others, "process|task"), sizes[-1] if sizes else None)


_WORDS = {*_PID, *(word for words in KEYS.values() for word in words)}
_KEY = "|".join(word.replace(" ", "[ _]") for word in sorted(_WORDS, key=len, reverse=True))
_NEXT = re.compile(rf"(?:[,;|/]|\s)\s*((?:{_KEY})(?:\s*[(\[][^)\]]*[)\]])?)\s*[:=](.*)$", re.IGNORECASE)
"""A further key in the same line: behind a sign, or behind blanks."""


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """Return the keys and values of a line: one, or some; a command may be called anything, and is the last one."""
    line = line.strip().strip("|") if line.strip().startswith("|") else line
    key, _, value = re.sub(r"^([^:=]*)=", r"\1:", line, count=1).partition(":")
    while meaning(key, KEYS) != "Command" and (match := _NEXT.search(value)):
        yield key, value[: match.start()].strip()
        key, value = match[1], match[2]
    yield key, value.strip()


def parse_detail(text: str) -> dict[int, Task]:
    """Read task_detail: its blocks by PID; one that is there twice is kept as the last one.

    Raises:
        AssertionError: it has no line `PID: n`.
    """
    blocks: dict[int, dict[str, str]] = {}
    block: dict[str, str] = {}
    for line in text.split("\n"):
        for key, value in _pairs(line) if re.search(r"[:=]", line) else ():
            known = meaning(key, KEYS)
            if plain(key) in _PID and re.match(r"\d+", value):
                block = blocks[int(re.match(r"\d+", value)[0])] = {}  # type: ignore[index]
            elif known and (value or known == "Command"):
                block.setdefault(known, value)
    if not blocks:
        wrong("Each block of /proc/task_detail begins with a line `PID: n`.", begins(text))
    return {pid: Task(pid, cells, "/proc/task_detail") for pid, cells in blocks.items()}


def parse_stats(text: str) -> Stats:
    """Read task_stats."""
    found: dict[str, int] = {}
    for label, value in re.findall(r"([A-Za-z][\w ()/\[\]-]*?)[ \t.]*[:=|][ \t|:=\[]*\+?(\d+)", text):
        found.setdefault(meaning(label, COUNTS), int(value))
    return Stats({key: value for key, value in found.items() if key in COUNTS})


def parse_tree(text: str) -> list[Node]:
    """Read task_tree: lines that end in `COMMAND(PID)`; how deep each is tells how far it is indented, however wide."""
    nodes: list[Node] = []
    indents: list[int] = []
    for line in text.split("\n"):
        match = re.fullmatch(r"([\s|`+\\─-╿-]*)(?:\[(\d+)\] )?(.*?)\s*\((\d+)\)\s*", line)
        if not match:
            continue
        while indents and indents[-1] >= len(match[1]):
            indents.pop()
        depth = int(match[2]) if match[2] else len(indents)
        indents.append(len(match[1]))
        nodes.append(Node(depth, match[3], int(match[4])))
    return nodes

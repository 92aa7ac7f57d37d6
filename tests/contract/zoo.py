"""The zoo: processes of every kind, made on the machine, and pictures of them by the task files and by /proc."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from .machine import Machine
from .proc_measure import Process, parse_procs
from .script import DETAIL, LISTER, STATS, TREE, Answer, Word, read, step
from .task_pages import Node, Stats, Task, TaskList, parse_detail, parse_list, parse_stats, parse_tree

PICTURES = 3


@dataclass(frozen=True)
class Animal:
    """What a process of the zoo is, and what it must be seen as."""

    kind: str
    comm: bytes
    options: dict[str, Word]
    state: str = "SLEEPING"
    threads: int = 1
    uid: int = 0
    gid: int = 0
    policy: str = "NORMAL"

    @property
    def start(self) -> str:
        """The step that makes it."""
        return step("spawn", self.kind, self.comm, **self.options)


ZOO = {
    "a zombie": Animal("zombie", b"zombie", {}, "ZOMBIE"),
    "a stopped process": Animal("stopped", b"stopped", {}, "STOPPED"),
    "a traced process": Animal("traced", b"traced", {}, "TRACED"),
    "a process in uninterruptible sleep": Animal("vfork", b"vfork parent", {}, "DISK_SLEEP"),
    "a running process": Animal("burner", b"burner", {}, "RUNNING"),
    "a process with 20 threads": Animal("sleeper", b"threads", {"threads": 20}, threads=20),
    "a process whose thread burns": Animal("sleeper", b"burnthread", {"threads": 2, "burn": 1}, threads=2),
    "a process traced by another": Animal("sleeper", b"victim", {}, "TRACED"),
    "the process that traces it": Animal("tracer", b"tracer", {}),
    "a dead leader with live threads": Animal("leaderdead", b"headless", {"threads": 3}, "ZOMBIE", threads=3),
    "a process of another user": Animal("sleeper", b"other", {"uid": 1234, "gid": 2345}, uid=1234, gid=2345),
    "a set-user-id process": Animal("sleeper", b"suid", {"uid": 77, "euid": 78, "gid": 88, "egid": 89}, uid=77, gid=88),
    "a user id above 2^31": Animal(
        "sleeper", b"biguid", {"uid": 3000000000, "gid": 4000000000}, uid=3000000000, gid=4000000000
    ),
    "a name with a newline": Animal("sleeper", b"new\nline\n1 0", {}),
    "a name with an escape sequence": Animal("sleeper", b"\x1b[31mred\x07", {}),
    "a name in UTF-8": Animal("sleeper", "naïve→".encode(), {}),
    "a name with blanks and tabs": Animal("sleeper", b" a  b\tc ", {}),
    "a name with backslashes": Animal("sleeper", b"\\040\\n\\\\", {}),
    "a name with parentheses": Animal("sleeper", b") S 1 (x)(2", {}),
    "a name of format directives": Animal("sleeper", b"%s%n%d%%", {}),
    "a name of 15 blanks": Animal("sleeper", b" " * 15, {}),
    "an empty name": Animal("sleeper", b"", {}),
    "a renamed process": Animal("sleeper", b"after", {"was": "before"}),
    "a process with 24 MiB": Animal("sleeper", b"memory", {"mem": 24}),
    "a nice process": Animal("sleeper", b"nice", {"nice": 7}),
    "a real-time process": Animal("sleeper", b"fifo", {"policy": 1, "rt": 42}, policy="FIFO"),
    "a batch process": Animal("sleeper", b"batch", {"policy": 3}, policy="BATCH"),
    "an idle-class process": Animal("sleeper", b"idleclass", {"policy": 5}, policy="IDLE"),
}
CHAIN = 12
"""Links of the chain of ancestors that the zoo also has."""


@dataclass(frozen=True)
class Picture:
    """The task files, read one after the other, between two looks at /proc; each is parsed when a test looks at it."""

    answers: list[Answer]

    @cached_property
    def before(self) -> dict[int, Process]:
        """What /proc showed before."""
        return parse_procs(self.answers[0]["procs"])

    @cached_property
    def stats_before(self) -> Stats:
        """The statistics, before the list was read."""
        return parse_stats(self.answers[1]["text"])

    @cached_property
    def listed(self) -> TaskList:
        """The list."""
        return parse_list(self.answers[2]["text"])

    @cached_property
    def stats_after(self) -> Stats:
        """The statistics, after the list was read."""
        return parse_stats(self.answers[3]["text"])

    @cached_property
    def detail(self) -> dict[int, dict[str, str]]:
        """The blocks of task_detail."""
        return parse_detail(self.answers[4]["text"])

    @cached_property
    def tree(self) -> list[Node]:
        """The lines of task_tree."""
        return parse_tree(self.answers[5]["text"])

    @cached_property
    def after(self) -> dict[int, Process]:
        """What /proc showed afterwards."""
        return parse_procs(self.answers[6]["procs"])

    def strangers(self, pids: Iterable[int]) -> set[int]:
        """Return which of these processes neither was there before nor is afterwards, nor can have lived in between.

        PIDs are given in ascending order: who was born after the first look has a higher one than all whom it saw.
        """
        return {pid for pid in pids if pid not in self.before and pid not in self.after and pid <= max(self.before)}

    def steady(self) -> dict[int, Process]:
        """Return the processes that /proc shows the same, before and after, as to state, name, parent and ids."""
        return {
            pid: process
            for pid, process in self.before.items()
            if pid in self.after and _face(process) == _face(self.after[pid])
        }


def switches(process: Process) -> tuple[int, int]:
    """Return how often the main thread of a process has gone off its CPU: who did not run has not changed its state."""
    return process.voluntary, process.involuntary


def _face(process: Process) -> tuple[object, ...]:
    return (process.comm, process.state, process.ppid, process.uid, process.gid, process.threads)


@dataclass(frozen=True)
class Zoo:
    """The animals' PIDs, and pictures of them all. They are gone by now."""

    pids: dict[str, int]
    chain: list[int]
    views: list[list[Answer]]

    @cached_property
    def pictures(self) -> list[Picture]:
        """What was read. A file that is malformed, or not there, is the failure of the tests that look at it."""
        return [Picture(view) for view in self.views]

    def rows(self, what: str) -> list[Task]:
        """Return what each picture's list shows of one animal; it is in each exactly once, or this fails."""
        rows = [[task for task in picture.listed.tasks if task.pid == self.pids[what]] for picture in self.pictures]
        assert all(len(found) == 1 for found in rows), f"{what}, PID {self.pids[what]}, is not listed just once: {rows}"
        return [found[0] for found in rows]


def visit(machine: Machine) -> Zoo:
    """Make the zoo, take pictures, and let it go: one remote command a session."""
    return machine.once("zoo", lambda: _visit(machine))


def _visit(machine: Machine) -> Zoo:
    chain = step("spawn", "chain", "chain", depth=CHAIN)
    look = [read(STATS), read(LISTER), read(STATS), read(DETAIL), read(TREE), step("procs")]
    starts = [animal.start for animal in ZOO.values()]
    answers = machine.play(*starts, chain, step("procs"), *look * PICTURES)
    pids = {what: answer["pid"] for what, answer in zip(ZOO, answers, strict=False)}
    links = answers[len(ZOO)]
    views = answers[len(ZOO) + 1 :]
    cuts = range(0, len(views) - 1, len(look))
    return Zoo(pids, [links["pid"], *links["links"]], [views[i : i + len(look) + 1] for i in cuts])

"""The zoo: processes of every kind, made on the machine, and pictures of them by the task files and by /proc."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from .machine import Machine
from .proc_measure import Process, parse_procs
from .readers.task_pages import Node, Stats, Task, TaskList, parse_detail, parse_list, parse_stats, parse_tree
from .readers.wording import text_of
from .script import DETAIL, LISTER, STATS, TREE, Answer, Word, read, step

PICTURES = 2


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


PLAIN = {
    "a zombie": Animal("zombie", b"zombie", {}, "ZOMBIE"),
    "a stopped process": Animal("stopped", b"stopped", {}, "STOPPED"),
    "a traced process": Animal("traced", b"traced", {}, "TRACED"),
    "a process in uninterruptible sleep": Animal("vfork", b"vfork.parent", {}, "DISK_SLEEP"),
    "a running process": Animal("burner", b"burner", {}, "RUNNING"),
    "a process with 20 threads": Animal("sleeper", b"threads", {"threads": 20}, threads=20),
    "a process whose thread burns": Animal("sleeper", b"burnthread", {"threads": 2, "burn": 1}, threads=2),
    "a process of another user": Animal("sleeper", b"other", {"uid": 1234, "gid": 2345}, uid=1234, gid=2345),
    "a set-user-id process": Animal("sleeper", b"suid", {"uid": 77, "euid": 78, "gid": 88, "egid": 89}, uid=77, gid=88),
    "a renamed process": Animal("sleeper", b"after", {"was": "before"}),
    "a process with 24 MiB": Animal("sleeper", b"memory", {"mem": 24}),
    "a nice process": Animal("sleeper", b"nice", {"nice": 7}),
    "a real-time process": Animal("sleeper", b"fifo", {"policy": 1, "rt": 42}, policy="FIFO"),
    "a batch process": Animal("sleeper", b"batch", {"policy": 3}, policy="BATCH"),
    "an idle-class process": Animal("sleeper", b"idleclass", {"policy": 5}, policy="IDLE"),
}
"""Processes of every kind, with ordinary names."""
ODD = {
    "a process traced by another": Animal("sleeper", b"victim", {}, "TRACED"),
    "the process that traces it": Animal("tracer", b"tracer", {}),
    "a dead leader with live threads": Animal("leaderdead", b"headless", {"threads": 3}, "ZOMBIE", threads=3),
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
}
"""Processes that are easily shown as what they are not, and names that are text of any kind."""
ZOO = PLAIN | ODD
SLACK_KB = 1024
"""The kernel counts resident pages in batches for each thread; what is not yet added up may be missing."""
COMPUTED = """
ticks() { read -r line <"$p/stat"; set -- ${line##*)}; echo "${12}"; }
p=$(grep -lxs burner /proc/[0-9]*/comm | head -n 1)
p=${p%/comm}
[ -z "$p" ] || { from=$(ticks); until [ "$(ticks)" -gt "$from" ]; do sleep 0.02; done; }
"""
"""Waits until who computes has some more time, as /proc has it: on a busy machine that may take a while."""
CHAIN = 12
"""Links of the chain of ancestors that the zoo also has."""


@dataclass(frozen=True)
class Picture:
    """Some of the task files, read between two looks at /proc; each is parsed when a test looks at it."""

    pages: Mapping[str, Answer]
    first: Answer
    last: Answer

    def text(self, path: str) -> str:
        """Return what was read of a file; where it could not be read the test fails."""
        return text_of(self.pages[path], path)

    @cached_property
    def before(self) -> dict[int, Process]:
        """What /proc showed before."""
        return parse_procs(self.first["procs"])

    @cached_property
    def after(self) -> dict[int, Process]:
        """What /proc showed afterwards."""
        return parse_procs(self.last["procs"])

    @cached_property
    def listed(self) -> TaskList:
        """The list."""
        return parse_list(self.text(LISTER))

    @cached_property
    def rows(self) -> dict[int, Task]:
        """The rows of the list."""
        return self.listed.by_pid()

    @cached_property
    def blocks(self) -> dict[int, Task]:
        """The blocks of task_detail."""
        return parse_detail(self.text(DETAIL))

    @cached_property
    def stats(self) -> Stats:
        """The statistics."""
        return parse_stats(self.text(STATS))

    @cached_property
    def tree(self) -> list[Node]:
        """The lines of task_tree."""
        return parse_tree(self.text(TREE))

    def strangers(self, pids: Iterable[int]) -> set[int]:
        """Return which of these processes neither was there before nor is afterwards, nor can have lived in between.

        PIDs are given in ascending order: who was born after the first look has a higher one than all whom it saw.
        """
        return {pid for pid in pids if pid not in self.before and pid not in self.after and pid <= max(self.before)}

    @cached_property
    def steady(self) -> dict[int, Process]:
        """The processes that /proc shows the same, before and after, as to state, name, parent and ids."""
        return {
            pid: process
            for pid, process in self.before.items()
            if pid in self.after and _face(process) == _face(self.after[pid])
        }

    @cached_property
    def still(self) -> dict[int, Process]:
        """The processes that did not even run between the two looks: who did not has not changed its state."""
        return {pid: one for pid, one in self.steady.items() if _switches(one) == _switches(self.after[pid])}


def named(process: Process) -> str:
    """Return what messages call a process."""
    return f"PID {process.pid} (`{comm_of(process)}`)"


def comm_of(process: Process) -> str:
    """Return the name of a process as text of one line: what has no shape is a backslash and its number in octal."""
    text = process.comm.decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else f"\\{ord(letter):03o}" for letter in text)


def about_equal(shown_kb: int, *measured_kb: int) -> bool:
    """Memory as it was at some time between the measurements, give or take the kernel's own batches."""
    slack = SLACK_KB + max(measured_kb) // 20
    return min(measured_kb) - slack <= shown_kb <= max(measured_kb) + slack


def _switches(process: Process) -> tuple[int, int]:
    """Return how often the main thread of a process has gone off its CPU."""
    return process.voluntary, process.involuntary


def _face(process: Process) -> tuple[object, ...]:
    return (process.comm, process.state, process.ppid, process.uid, process.gid, process.threads)


@dataclass(frozen=True)
class Zoo:
    """The animals' PIDs, and pictures of them all. They are gone by now."""

    pids: dict[str, int]
    chain: list[int]
    pictures: list[Picture]


def visit(machine: Machine, animals: Mapping[str, Animal], *paths: str, number: int = 0) -> Zoo:
    """Make some animals, take pictures of some files, and let them go: one remote command a session.

    Args:
        machine: where.
        animals: whom to make.
        paths: what to read; a file that breaks when it is read costs those that look at it, and nobody else.
        number: of the visit: another one has other pictures.
    """
    key = f"zoo {number} {' '.join(paths)} {hash(tuple(animals))}"
    return machine.once(key, lambda: _visit(machine, animals, paths))


def _visit(machine: Machine, animals: Mapping[str, Animal], paths: Sequence[str]) -> Zoo:
    chain = step("spawn", "chain", "chain", depth=CHAIN)
    look = [step("procs"), *map(read, paths), step("procs")]
    looks = [*look, *[step("sh", COMPUTED), *look] * (PICTURES - 1)]
    answers = machine.play(*(animal.start for animal in animals.values()), chain, *looks)
    pids = {what: answer["pid"] for what, answer in zip(animals, answers, strict=False)}
    links, *views = answers[len(animals) :]
    cuts = range(0, len(looks), len(look) + 1)
    pictures = [
        Picture(dict(zip(paths, views[i + 1 :], strict=False)), views[i], views[i + len(look) - 1]) for i in cuts
    ]
    return Zoo(pids, [links["pid"], *links["links"]], pictures)

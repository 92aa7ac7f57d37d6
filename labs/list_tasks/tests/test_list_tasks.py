"""The kernel log of a module that lists all tasks when it is loaded, against processes that are made for it."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import pytest
from testinfra.host import Host

from kmodlab.grading.expect import quoted, require

#: kernel log that is looked at, at most, in bytes
LOG = 2_000_000
MARK = "--- kmodlab ---"
#: lines of the log that a student is shown
SHOWN = 3
NUMBER = re.compile(r"(?<![\w.])\d{1,7}(?!\w|\.\d)")


@dataclass(frozen=True)
class Logged:
    """What was there, and what the module logged of it.

    Attributes:
        parents: of each process that was there before and after: its parent's PID.
        pids: of the processes made for this, by name.
        lines: of the log.
    """

    parents: dict[int, int]
    pids: dict[str, int]
    lines: list[str]

    def numbers(self) -> list[set[int]]:
        """Return the numbers of each line that might be PIDs."""
        return [{int(word) for word in NUMBER.findall(line)} for line in self.lines]

    def ours(self) -> list[int]:
        """Return the PIDs of the processes made for this, in the order of the log."""
        return [pid for pid in self.order() if pid in self.pids.values()]

    def order(self) -> list[int]:
        """Return the PIDs in the order of the log: of each line the number that stands where PIDs stand in most."""
        return best_column(self.lines, set(self.parents))

    def about_ours(self) -> str:
        """Return the first lines of the log that are about processes made for this."""
        pids = set(self.pids.values())
        pairs = zip(self.lines, self.numbers(), strict=True)
        lines = [line for line, numbers in pairs if numbers & pids or any(name in line for name in self.pids)]
        return quoted("\n".join(lines[:SHOWN])) if lines else "no line with their PIDs or names"


def best_column(lines: list[str], known: set[int]) -> list[int]:
    """Return one number a line: that at the place among the line's numbers where most lines have a PID."""
    rows = [[int(word) for word in NUMBER.findall(line)] for line in lines]
    rows = [row for row in rows if row]
    width = max((len(row) for row in rows), default=0)
    columns = [[row[at] for row in rows if len(row) > at] for at in range(width)]
    return max(columns, key=lambda column: len(set(column) & known), default=[])


@pytest.fixture(scope="module")
def logged(host: Host, submission: dict[str, str], seed: int) -> Logged:
    """Two chains of three processes each, whose PIDs alternate, and the log of loading the modules then."""
    dice = random.Random(seed)  # noqa: S311
    names = [f"{letter}{depth}{dice.getrandbits(32):08x}" for depth in range(3) for letter in "ab"]
    unload = "; ".join(f"rmmod {name}" for name in reversed(submission))
    load = "; ".join(f"insmod {file}" for file in submission.values())
    tasks = "cat /proc/[0-9]*/stat 2>/dev/null"
    text = host.run(
        f"{unload}; cd /tmp && {chains(names)} && {tasks}; echo '{MARK}'; dmesg -c >/dev/null; {load}; {tasks};"
        f" echo '{MARK}'; dmesg | head -c {LOG}; for name in {' '.join(names)}; do pkill -x $name; done"
    ).stdout
    before, after, log = text.split(f"{MARK}\n", 2)
    there, still = stats(before), stats(after)
    parents = {pid: parent for pid, (parent, _) in there.items() if still.get(pid, (0, ""))[0] == parent}
    pids = {name: pid for pid, (_, name) in there.items() if name in names}
    if len(pids) != len(names):
        raise RuntimeError(f"only {pids} of {names} run")
    return Logged(parents, dict(sorted(pids.items(), key=lambda item: names.index(item[0]))), log.splitlines())


def chains(names: list[str]) -> str:
    """Return the commands that start two chains of processes, a link of one and a link of the other in turn.

    Each link waits for a file before it starts the next, so that PIDs alternate between the chains.
    """
    script = (
        'n=$1; shift; while [ -n "$1" ] && [ ! -e go.$1 ]; do sleep 0.05; done; [ -z "$1" ] || ./$1 link.sh "$@" & '
    )
    script += "while :; do sleep 100; done"
    make = "; ".join(f"cp /bin/dash {name}" for name in names)
    starts = []
    for first in (0, 1):
        chain = names[first::2]
        starts.append(f"./{chain[0]} link.sh {' '.join(chain)} >/dev/null 2>&1 & sleep 0.1")
    go = "; ".join(f"touch go.{name}; sleep 0.3" for name in names[2:])
    return f"{{ {make}; printf '%s' '{script}' >link.sh; {'; '.join(starts)}; {go}; sleep 0.3; }}"


def stats(text: str) -> dict[int, tuple[int, str]]:
    """Return parent and name of each process, by PID, from lines of /proc/PID/stat."""
    found = re.findall(r"^(\d+) \((.*)\) \S (\d+)", text, re.MULTILINE)
    return {int(pid): (int(parent), name) for pid, name, parent in found}


def told(pids: list[int]) -> str:
    """Return PIDs for a sentence."""
    return ", ".join(map(str, pids)) or "nothing"


def test_every_process_is_in_the_log(logged: Logged) -> None:
    """Those that were there before and after."""
    missing = sorted(set(logged.parents) - set().union(*logged.numbers()))
    hint = "for_each_process() visits every process; print each from your init function."
    seen = f"{len(missing)} are not there, the first are {told(missing[:3])}"
    require(not missing, f"the PIDs of all {len(logged.parents)} processes in the kernel log", seen, hint)


def test_a_new_process_is_shown_with_pid_and_name(logged: Logged) -> None:
    """In one line, whatever else is in it."""
    pairs = list(zip(logged.lines, logged.numbers(), strict=True))
    hint = "Print `comm` and `pid` of a task with one call of printk()."
    for name, pid in logged.pids.items():
        shown = any(name in line and pid in numbers for line, numbers in pairs)
        require(shown, f"a line with PID {pid} and command `{name}`", logged.about_ours(), hint)


def appears(wanted: list[int], logged: Logged) -> bool:
    """Whether our processes appear in this order somewhere in the log, others between them or not."""
    ours = logged.ours()
    return any(ours[at : at + len(wanted)] == wanted for at in range(len(ours)))


def test_the_list_is_in_the_order_of_starting(logged: Logged) -> None:
    """As the kernel's list of tasks is."""
    wanted = list(logged.pids.values())
    hint = "for_each_process() gives them in this order."
    require(appears(wanted, logged), f"the PIDs in the order {told(wanted)}", f"the order {told(logged.ours())}", hint)


def test_the_tree_is_depth_first(logged: Logged) -> None:
    """Somewhere in the log, the two chains appear one after the other, each from its first to its last."""
    first, second = list(logged.pids.values())[::2], list(logged.pids.values())[1::2]
    found = appears(first + second, logged) or appears(second + first, logged)
    what = f"{told(first)} and {told(second)}, each the child of the one before it, one family after the other"
    hint = "Go down to a task's children before you go on to its next sibling."
    require(found, what, f"the order {told(logged.ours())}", hint)

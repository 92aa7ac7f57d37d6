"""Each neighbour, in every order and mode: whether a blocked call runs, what its caller gets, what is recorded."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from ..kernel_log import trouble
from ..readers.tracer_page import parse_row
from .conftest import ORDERS, Beside

Step = dict[str, Any]

pytestmark = pytest.mark.syscall_tracer

NEIGHBOURS = (
    "kprobe event", "kretprobe event", "function", "function_graph", "trace events", "BPF fentry", "BPF fexit",
    "BPF kprobe", "BPF kretprobe", "BPF kprobe.multi", "BPF kretprobe.multi", "BPF sys_enter", "perf trace", "bpftrace",
    "strace", "seccomp errno", "seccomp allow", "redirect",
)  # fmt: skip
Answer = list[object]

STOPPED: Answer = [-1, errno.EDQUOT, False]
RUN: Answer = [0, 0, True]
"""What the call came to: its return value, its errno, whether it had its effect."""
INSTEAD: dict[str, Answer] = {"redirect": [-1, errno.EUCLEAN, False], "seccomp errno": [-1, errno.EXDEV, False]}
"""What it comes to where a neighbour answers in its place, and no filter of ours is asked."""
TOLD = {"strace": "= -1 EDQUOT", "perf trace": "(Disk quota exceeded)"}
"""What neighbours show of a call that is blocked; newer ones of perf do not know the name of the errno."""
SHARED_SINCE = (6, 0)
"""Before, the kernel took a trampoline of BPF for one who redirects."""


def excludes(beside: Beside, neighbour: str) -> bool:
    """Whether nobody but one of us and this neighbour can have the function: the second one is refused."""
    return neighbour == "redirect" or (neighbour in ("BPF fentry", "BPF fexit") and beside.kernel < SHARED_SINCE)


def read_rows(lines: list[str]) -> list[tuple[str, str, int | None]]:
    """Return what records say: the call, the verdict, and what it returned."""
    return [(row.call, row.status, row.returned) for row in map(parse_row, lines)]


class Expected:
    """What each step has to come to: who is there, and who was refused."""

    def __init__(self, beside: Beside, neighbour: str, *, enforcing: bool) -> None:
        self.neighbour = neighbour
        self.excludes = excludes(beside, neighbour)
        self.enforcing = enforcing
        self.allowed = 0 if beside.returns else None
        self.us = self.them = False

    def refusal(self, action: str) -> int:
        """Return the errno of this step; who comes is there unless it is refused."""
        refused = self.excludes and (self.us or self.them) and action in ("+us", "+them")
        if action == "+them":
            self.them = not refused
        elif action == "+us":
            self.us = not refused
        elif action == "-them":
            self.them = False
        else:
            self.us = False
        return errno.EBUSY if refused else 0

    def answer(self) -> tuple[Answer, bool]:
        """Return what the call comes to now, and whether there is a record of it."""
        if self.them and self.neighbour in INSTEAD:
            return INSTEAD[self.neighbour], False
        return (STOPPED if self.us and self.enforcing else RUN), self.us

    def check(self, step: Step) -> None:
        """Compare a step; the call was made while permissive, and again while enforcing."""
        assert step["refused"] == self.refusal(step["action"])
        answer, recorded = self.answer()
        assert step["enforcing" if self.enforcing else "permissive"] == answer
        returned = (self.allowed, -errno.EDQUOT)
        wanted = [("mkdirat", "BLOCKED", each) for each in returned if recorded]
        # The two calls may be of one tick, on two CPUs: which was first is not said.
        assert sorted(read_rows(step["rows"]), key=str) == sorted(wanted, key=str)


def count(lines: list[str], wanted: Callable[[str], bool]) -> int:
    """Return how many lines are wanted."""
    return sum(map(wanted, lines))


@pytest.mark.parametrize("mode", ["enforcing", "permissive"])
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("returns", [0, 1])
def test_a_block_beside(beside: Beside, returns: int, order: str, neighbour: str, mode: str) -> None:
    """Beside {neighbour}, where {order}, {mode}: effect, answer, record and dmesg of a blocked call are right."""
    tried = beside.tries(neighbour, returns)[order]
    expected = Expected(beside, neighbour, enforcing=mode == "enforcing")
    for each in tried["steps"]:
        expected.check(each)
    assert not trouble(tried["said"])
    ours_refused = [each for each in tried["steps"] if each["action"] == "+us" and each["refused"]]
    assert count(tried["said"], lambda line: 'syscall_tracer: refused "' in line) == len(ours_refused)
    if mode == "enforcing" and neighbour in TOLD:
        assert TOLD[neighbour] in tried["saw"]

"""Who is told, step by step, how the examination of a submission goes on: whoever shows it live.

They are told in the thread that examines, so none of these may take long, wait for anything, or raise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Test
from kmodlab.grading.result import TestResult

Phase = Literal["build", "slot", "load", "tests", "unload"]


class Recording(Protocol):
    """A machine's console while it is recorded; `vm.console.BoundedConsole` is one."""

    def listen(self, news: Callable[[], None]) -> None:
        """Have something called, in the recording thread, whenever more was printed."""

    def since(self, offset: int, most: int) -> tuple[int, bytes]:
        """Return how much was printed so far, in bytes, and the end of what came after an offset."""


class Follower(Protocol):
    """Who is told of one submission."""

    def phase(self, name: Phase) -> None:
        """Take note that a phase begins."""

    def machine(self, console: Recording) -> None:
        """Take note of a machine that the submission has from now on."""

    def test(self, test: Test) -> None:
        """Take note that a test begins."""

    def tested(self, result: TestResult) -> None:
        """Take note of what a test came to."""


class Unseen:
    """A follower that looks away."""

    def phase(self, name: Phase) -> None:
        """Look away."""

    def machine(self, console: Recording) -> None:
        """Look away."""

    def test(self, test: Test) -> None:
        """Look away."""

    def tested(self, result: TestResult) -> None:
        """Look away."""


Follow = Callable[[Submission], Follower]
"""Gives who is told of a submission; called when its examination begins."""


def unseen(submission: Submission) -> Follower:
    """Have nobody told."""
    del submission
    return Unseen()

"""What there is to see of a running class: its slots, its results, how far it is. Bounded, whatever students print.

The grader tells it (`Watcher`, `Follower`) in its own threads, which it never holds up; whoever shows it asks for a
`frame`, always in the same thread.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from kmodlab.grading.follow import Follower, Phase, Recording, Unseen
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab, Test
from kmodlab.grading.live.scroll import Console
from kmodlab.grading.result import GradingResult, Outcome, TestResult, Verdict

State = Literal["preparing", "grading", "finished", "broken off"]
NAME_LETTERS = 200
REASON_LETTERS = 400


@dataclass
class Cursor:
    """What one browser has been told.

    Attributes:
        results: how many.
        slots: by their number: how often each had changed, which submission it had, and the place in its console.
    """

    results: int = 0
    slots: dict[int, tuple[int, int, int]] = field(default_factory=dict)


@dataclass
class _Slot:
    """A place in which one submission at a time is examined.

    Attributes:
        number: from 1 on.
        turn: how many submissions it has had.
        changes: how often anything but its console has changed.
        phase: what the submission is at; empty where it is at none yet.
        since: when that began, or the test that runs.
        result: what it came to, once that is known.
    """

    number: int
    console: Console
    turn: int = 0
    changes: int = 0
    submission: Submission | None = None
    phase: Phase | Literal[""] = ""
    began: float = 0.0
    since: float = 0.0
    test: Test | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    result: GradingResult | None = None

    @property
    def busy(self) -> bool:
        return self.submission is not None and self.result is None

    def has(self, student: str, name: str) -> bool:
        one = self.submission
        return self.busy and one is not None and (one.student, one.name) == (student, name)


class Board:
    """A watcher of `grade` that keeps what there is to see.

    Args:
        lab: by which is graded.
        clock: seconds that never step.
        pace: seconds between two looks at the consoles, however many browsers ask.
    """

    def __init__(self, lab: Lab, clock: Callable[[], float] = time.monotonic, pace: float = 0.0) -> None:
        self._lab, self._clock, self._pace = lab, clock, pace
        self._read = float("-inf")
        self._lock = threading.Lock()
        self._told: Callable[[], None] = _nobody
        self._slots: list[_Slot] = []
        self._results: list[dict[str, Any]] = []
        self._counts: Counter[Verdict] = Counter()
        self._examined = 0
        self._seconds = 0.0
        self._total = 0
        self._began = clock()
        self._ended: float | None = None
        self._state: State = "preparing"
        self._note = ""
        self._elsewhere = False

    def listen(self, told: Callable[[], None]) -> None:
        """Have something called, in whatever thread, when there is something new; it may not take long, nor raise."""
        self._told = told

    # -- what the grader tells ---------------------------------------------------------------------------------

    def machines(self, slots: int, *, elsewhere: bool = False) -> None:
        """Take note of how many submissions are examined at a time; `elsewhere`: on other hosts, which tell less."""
        with self._lock:
            self._elsewhere = elsewhere
            self._slots = [_Slot(number, Console(self._wake)) for number in range(1, slots + 1)]
        self._wake()

    def begins(self, total: int) -> None:
        """Take note of how many submissions there are."""
        with self._lock:
            self._total, self._state, self._began = total, "grading", self._clock()
        self._wake()

    def starts(self, submission: Submission) -> None:
        """Give a submission a slot."""
        with self._lock:
            slot = next((one for one in self._slots if not one.busy), None)
            if slot is None:
                slot = _Slot(len(self._slots) + 1, Console(self._wake))
                self._slots.append(slot)
            slot.console = Console(self._wake)
            slot.submission, slot.result, slot.test, slot.phase = submission, None, None, ""
            slot.outcomes = {}
            slot.turn += 1
            slot.changes += 1
            slot.began = slot.since = self._clock()
        self._wake()

    def follow(self, submission: Submission) -> Follower:
        """Return who is told how the examination of a submission goes on."""
        with self._lock:
            slot = next((one for one in self._slots if one.has(submission.student, submission.name)), None)
            return _Following(self, slot, slot.turn) if slot else Unseen()

    def ends(self, result: GradingResult, *, known: bool) -> None:
        """Take note of a result."""
        with self._lock:
            now = self._clock()
            slot = next((one for one in self._slots if one.has(result.student, result.submission)), None)
            seconds = None
            if slot and not known:
                seconds = now - slot.began
                self._examined += 1
                self._seconds += seconds
                slot.result, slot.test, slot.since = result, None, now
                slot.changes += 1
            self._counts[result.verdict] += 1
            self._results.append(self._row(result, known, seconds, now))
        self._wake()

    def finish(self, state: Literal["finished", "broken off"], note: str = "") -> None:
        """Take note that it is over.

        Args:
            state: all was done, or not.
            note: what there is to say of it.
        """
        with self._lock:
            self._state, self._note, self._ended = state, note, self._clock()
        self._wake()

    def now(self) -> float:
        """Return the time by the board's clock."""
        return self._clock()

    def change(self, slot: _Slot, turn: int, **to: object) -> None:
        """Change a slot, unless another submission has it by now."""
        with self._lock:
            if slot.turn != turn:
                return
            for name, value in to.items():
                setattr(slot, name, value)
            slot.changes += 1
        self._wake()

    def _wake(self) -> None:
        self._told()

    def _row(self, result: GradingResult, known: bool, seconds: float | None, now: float) -> dict[str, Any]:
        return {
            "number": len(self._results) + 1,
            "student": result.student[:NAME_LETTERS],
            "verdict": str(result.verdict),
            "score": result.score,
            "most": result.max_score,
            "late": result.late,
            "known": known,
            "seconds": None if seconds is None else round(seconds, 1),
            "at": round(now - self._began, 1),
            "reason": result.reason[:REASON_LETTERS],
        }

    # -- what is shown -----------------------------------------------------------------------------------------

    def frame(self, seen: Cursor) -> dict[str, Any]:
        """Return what a browser has not been told yet, and take note that it is.

        However seldom it asks: what it missed in between is in it, as far as it still matters.
        """
        with self._lock:
            now = self._clock() if self._ended is None else self._ended
            head = self._head(now)
            results, seen.results = self._results[seen.results :], len(self._results)
            slots = [(self._shown(slot, now), slot.changes, slot.turn, slot.console) for slot in self._slots]
        self._refresh(now)
        return {**head, "slots": list(_news(slots, seen)), "results": results}

    def _refresh(self, now: float) -> None:
        """Read the consoles, unless that was just done for another browser; what is left unread is `pending`."""
        if now - self._read < self._pace and self._ended is None:
            return
        self._read = now
        for slot in self._slots:
            slot.console.refresh()

    @property
    def pending(self) -> bool:
        """Whether a console has something that was not read yet."""
        return any(slot.console.news for slot in self._slots)

    def _head(self, now: float) -> dict[str, Any]:
        busy = sum(slot.busy for slot in self._slots)
        return {
            "lab": self._lab.name,
            "title": self._lab.title,
            "state": self._state,
            "note": self._note[:REASON_LETTERS],
            "elapsed": round(now - self._began, 1),
            "left": self._left(now),
            "total": self._total,
            "graded": len(self._results),
            "running": busy,
            "waiting": max(0, self._total - len(self._results) - busy),
            "counts": {str(verdict): count for verdict, count in self._counts.items()},
        }

    def _left(self, now: float) -> float | None:
        """Return the seconds that it will take, if each takes what a result has taken so far; None before the first.

        What is under way counts, too: a class that hangs is not soon over because one submission was.
        """
        if not self._examined or self._ended is not None:
            return None
        spent = [now - slot.began for slot in self._slots if slot.busy]
        mean = (self._seconds + sum(spent)) / self._examined
        rest = [mean - one if one < mean else mean for one in spent]
        rest += [mean] * max(0, self._total - len(self._results) - len(spent))
        return round(max([*rest[: len(spent)], sum(rest) / len(self._slots)]), 1)

    def _shown(self, slot: _Slot, now: float) -> dict[str, Any]:
        plain = {"slot": slot.number, "turn": slot.turn, "student": "", "phase": self._phase(slot)}
        if slot.submission is None:
            return plain
        result, outcomes = slot.result, list(slot.outcomes.values())
        return {
            **plain,
            "student": slot.submission.student[:NAME_LETTERS],
            "submission": slot.submission.name[:NAME_LETTERS],
            "seconds": round(now - slot.since, 1),
            "all": round((slot.since if result else now) - slot.began, 1),
            "limit": self._limit(slot),
            "test": slot.test.id if slot.test else None,
            "title": slot.test.title if slot.test else None,
            "passed": outcomes.count("passed"),
            "done": len(outcomes),
            "tests": len(self._lab.tests),
            "verdict": str(result.verdict) if result else None,
            "score": result.score if result else None,
            "most": result.max_score if result else None,
            "reason": result.reason[:REASON_LETTERS] if result else None,
        }

    def _phase(self, slot: _Slot) -> str:
        if slot.submission is None:
            return "free"
        if slot.result:
            return "done"
        return slot.phase or ("elsewhere" if self._elsewhere else "starts")

    def _limit(self, slot: _Slot) -> float | None:
        """Return the seconds that the lab gives what is under way."""
        limits = self._lab.limits
        if not slot.busy:
            return None
        known = {"build": limits.build, "load": limits.load, "unload": limits.unload}
        return limits.test if slot.test else known.get(slot.phase)


def _nobody() -> None:
    """Tell nobody."""


def _news(slots: list[tuple[dict[str, Any], int, int, Console]], seen: Cursor) -> list[dict[str, Any]]:
    """Return the slots that have changed since somebody looked, with what is new in their consoles."""
    found = []
    for shown, changes, turn, console in slots:
        scroll = console.scroll
        before = seen.slots.get(shown["slot"])
        if before == (changes, turn, scroll.written):
            continue
        text = scroll.since(before[2]) if before and before[1] == turn else None
        printed = {"anew": text is None, "text": scroll.text if text is None else text, "size": console.size}
        seen.slots[shown["slot"]] = (changes, turn, scroll.written)
        found.append({**shown, "console": {**printed, "kept": len(scroll.text.encode("utf-16-le")) // 2}})
    return found


class _Following:
    """Tells the board of one submission."""

    def __init__(self, board: Board, slot: _Slot, turn: int) -> None:
        self._board, self._slot, self._turn = board, slot, turn
        self._console, self._outcomes = slot.console, slot.outcomes

    def phase(self, name: Phase) -> None:
        """Note what it is at."""
        self._board.change(self._slot, self._turn, phase=name, test=None, since=self._board.now())

    def machine(self, console: Recording) -> None:
        """Note the machine that it has."""
        self._console.attach(console)

    def test(self, test: Test) -> None:
        """Note the test that runs."""
        self._board.change(self._slot, self._turn, test=test, since=self._board.now())

    def tested(self, result: TestResult) -> None:
        """Note what a test came to."""
        # Replaced, not changed: whoever shows it may be counting.
        self._outcomes = {**self._outcomes, result.id: result.outcome}
        self._board.change(self._slot, self._turn, outcomes=self._outcomes)

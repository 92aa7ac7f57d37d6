"""Grading a class: each submission once, some at a time, in an order that is always the same, and never for nothing.

What is already in the store is not graded again; submissions of the same content are graded once. A grader that
breaks breaks one result, and that one is no zero: it is not graded (`infra-error`).
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from kmodlab.errors import Fault
from kmodlab.faults import told
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab
from kmodlab.grading.names import clean
from kmodlab.grading.result import GradingResult, Verdict, key_of
from kmodlab.grading.store import Store

Grader = Callable[[Submission], GradingResult]


class Watcher(Protocol):
    """Who is told how the work goes on."""

    def begins(self, total: int) -> None:
        """Take note of how many submissions there are."""

    def starts(self, submission: Submission) -> None:
        """Take note that the examination of one starts."""

    def ends(self, result: GradingResult, *, known: bool) -> None:
        """Take note of a result; `known`: it was there already, or needed no machine."""


class Nobody:
    """A watcher that looks away."""

    def begins(self, total: int) -> None:
        """Look away."""

    def starts(self, submission: Submission) -> None:
        """Look away."""

    def ends(self, result: GradingResult, *, known: bool) -> None:
        """Look away."""


class Several:
    """Watchers that all hear the same."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def begins(self, total: int) -> None:
        """Tell them how many submissions there are."""
        for watcher in self._watchers:
            watcher.begins(total)

    def starts(self, submission: Submission) -> None:
        """Tell them that the examination of one starts."""
        for watcher in self._watchers:
            watcher.starts(submission)

    def ends(self, result: GradingResult, *, known: bool) -> None:
        """Tell them of a result."""
        for watcher in self._watchers:
            watcher.ends(result, known=known)


@dataclass(frozen=True)
class Order:
    """What is to be graded, and how.

    Attributes:
        lab: by which.
        image: what names the images, for the results' keys.
        jobs: how many at a time.
        only: patterns of students or submissions to examine now; empty: all of them.
        regrade: examine also what has a result.
    """

    lab: Lab
    image: str
    jobs: int = 1
    only: tuple[str, ...] = ()
    regrade: bool = False

    def key(self, submission: Submission) -> str:
        """Return the key of a submission's result."""
        return key_of(submission.digest, self.lab.digest, self.image)

    def chosen(self, submission: Submission) -> bool:
        """Return whether a submission is among those to examine now."""
        names = (submission.student.casefold(), submission.name.casefold())
        return not self.only or any(
            fnmatch.fnmatchcase(name, pattern.casefold()) for name in names for pattern in self.only
        )


def grade(
    submissions: Sequence[Submission], order: Order, grader: Grader, store: Store, watcher: Watcher | None = None
) -> list[GradingResult]:
    """Return the results of submissions, in their order; those that are not chosen, and have none yet, are left out.

    Args:
        submissions: of one lab.
        order: what is to be done.
        examine: gives a result; called in several threads at once.
        store: where results are kept.
        watcher: is told how it goes on, in this thread.
    """
    watcher = watcher or Nobody()
    watcher.begins(sum(1 for submission in submissions if order.chosen(submission)))
    found: dict[str, GradingResult] = {}
    work: dict[str, Submission] = {}
    for submission in submissions:
        key = order.key(submission)
        if submission.problems or key in found or key in work:
            continue
        known = None if order.regrade and order.chosen(submission) else store.get(key)
        if known:
            found[key] = known
        elif order.chosen(submission):
            work[key] = submission
    for submission in submissions:
        if order.chosen(submission) and (result := _known(submission, order, found)):
            watcher.ends(result, known=True)
    _examine_all(work, order, _keeping(grader, order.lab, store), found, submissions, watcher)
    results = [_known(submission, order, found) for submission in submissions]
    return [result for result in results if result]


def _known(submission: Submission, order: Order, found: dict[str, GradingResult]) -> GradingResult | None:
    if submission.problems:
        return _labelled(_refused(submission, order), submission, order.lab)
    result = found.get(order.key(submission))
    return _labelled(result, submission, order.lab) if result else None


def _labelled(result: GradingResult, submission: Submission, lab: Lab) -> GradingResult:
    """Put a student's name on a result: the same content may have been handed in by another one, and in time."""
    penalty = lab.late.penalty if submission.late else 0.0
    return replace(
        result, student=submission.student, submission=submission.name, late=submission.late,
        penalty=penalty, notes=(*submission.notes, *result.build_notes), form=submission.form,
        files=listing(submission.files),
    )  # fmt: skip


def listing(folder: Path) -> tuple[tuple[str, int], ...]:
    """Return the files of a submission, as it was taken: name and size in bytes, sorted by name."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return tuple(sorted((str(file.relative_to(folder)), file.stat().st_size) for file in files))


def _refused(submission: Submission, order: Order) -> GradingResult:
    return GradingResult(
        key=order.key(submission), student=submission.student, submission=submission.name, lab=order.lab.name,
        image="", verdict=Verdict.BUILD_ERROR, reason=" ".join(submission.problems), tests=order.lab.nothing_ran(),
        attempts=0, graded_at=now(),
    )  # fmt: skip


def now() -> str:
    """Return the time as results have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _keeping(grader: Grader, lab: Lab, store: Store) -> Callable[[str, Submission], GradingResult]:
    """Return an examination that keeps its result at once, and gives one whatever happens."""

    def examined(key: str, submission: Submission) -> GradingResult:
        try:
            result = _checked(grader(submission), lab)
        except Exception as error:  # whatever breaks here breaks one result, not the class's
            result = _broken(error, submission, lab)
        result = replace(result, key=key, graded_at=result.graded_at or now())
        store.put(result)
        return result

    return examined


def _checked(result: GradingResult, lab: Lab) -> GradingResult:
    """Return the result if its tests are the lab's, each with the points that the lab gives."""
    if result.verdict is Verdict.INFRA_ERROR and not any(test.outcome == "infra-error" for test in result.tests):
        return replace(result, tests=lab.nothing_ran())
    given = [(test.id, test.points, test.bonus, test.visibility) for test in result.tests]
    if given != [(test.id, test.points, test.bonus, test.visibility) for test in lab.tests]:
        raise ValueError("the examination gave results of other tests than the lab's")
    return result


def _broken(error: Exception, submission: Submission, lab: Lab) -> GradingResult:
    known = told(error)
    reason = f"{known.message} (details: {known.log})" if isinstance(known, Fault) and known.log else known.message
    return GradingResult(
        key="", student=submission.student, submission=submission.name, lab=lab.name, image="",
        verdict=Verdict.INFRA_ERROR, reason=f"The lab itself broke, not the submission: {clean(reason)[:500]}",
        tests=lab.nothing_ran(), console=str(known)[-4000:],
    )  # fmt: skip


def _examine_all(
    work: dict[str, Submission],
    order: Order,
    examined: Callable[[str, Submission], GradingResult],
    found: dict[str, GradingResult],
    submissions: Iterable[Submission],
    watcher: Watcher,
) -> None:
    same: dict[str, list[Submission]] = {}
    for submission in submissions:
        if order.chosen(submission) and not submission.problems:
            same.setdefault(order.key(submission), []).append(submission)
    waiting, running = list(work.items()), 0
    ended: SimpleQueue[tuple[str, GradingResult | BaseException]] = SimpleQueue()
    while waiting or running:
        while waiting and running < order.jobs:
            key, submission = waiting.pop(0)
            watcher.starts(submission)
            # Daemons, and no pool: nothing is waited for when interrupted. A machine ends with the thread that took it.
            threading.Thread(target=_work, args=(examined, key, submission, ended), daemon=True).start()
            running += 1
        key, result = _next(ended)
        running -= 1
        if isinstance(result, BaseException):
            raise result
        found[key] = result
        for submission in same[key]:
            watcher.ends(_labelled(result, submission, order.lab), known=False)


def _next(ended: SimpleQueue[tuple[str, GradingResult | BaseException]]) -> tuple[str, GradingResult | BaseException]:
    # A signal that another thread took wakes nobody here: look up once a second.
    while True:
        try:
            return ended.get(timeout=1)
        except Empty:
            continue


def _work(
    examined: Callable[[str, Submission], GradingResult],
    key: str,
    submission: Submission,
    ended: SimpleQueue[tuple[str, GradingResult | BaseException]],
) -> None:
    try:
        ended.put((key, examined(key, submission)))
    except BaseException as error:  # raised again in the main thread: the store's disk is full, say
        ended.put((key, error))


def store_of(out: Path) -> Store:
    """Return the store of an output folder."""
    return Store(out / ".kmodlab" / "results")

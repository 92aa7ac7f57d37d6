"""Holding a lab to its own submissions.

Its solution scores full marks, its starter little, every mutant of the solution loses a test, and every deviation of it
those tests alone that it names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kmodlab import paths
from kmodlab.errors import UsageError
from kmodlab.grading.deviation import Deviation
from kmodlab.grading.grade import Grader, Order, Watcher, grade
from kmodlab.grading.intake import Submission, digest_of
from kmodlab.grading.lab import Lab
from kmodlab.grading.report.text import number
from kmodlab.grading.result import GradingResult, Verdict
from kmodlab.grading.store import Store
from kmodlab.grading.unpack import Extraction, take_folder
from kmodlab.process import run

_LIMITS = {"megabytes": 256, "files": 5000}


@dataclass(frozen=True)
class Finding:
    """What one of the lab's own submissions came to.

    Attributes:
        name: `solution`, `starter`, the mutant's, or the deviation's.
        good: it came to what it has to.
        sentence: what it came to.
    """

    name: str
    good: bool
    sentence: str


def self_check(lab: Lab, order: Order, grader: Grader, work: Path, watcher: Watcher | None = None) -> list[Finding]:
    """Grade the lab's own submissions, and judge what they come to.

    Args:
        lab: to be proved.
        order: what to grade of it, and how.
        grader: grades each.
        work: an empty folder.
        watcher: is told how it goes on.

    Raises:
        UsageError: there is no solution, or a patch does not apply or says nothing.
    """
    known = {deviation.name: deviation for deviation in deviations(lab)}
    submissions = list(own_submissions(lab, work))
    results = grade(submissions, order, grader, Store(work / "results"), watcher)
    return [_judged(result, lab, known.get(result.student)) for result in results]


def own_submissions(lab: Lab, work: Path) -> Iterator[Submission]:
    """Make what a lab is proved by: its solution, its starter, its mutants and its deviations.

    Args:
        lab: to be proved.
        work: an empty folder, where their files go.

    Raises:
        UsageError: there is no solution, or a patch does not apply or says nothing.
    """
    if not lab.place(lab.solution.folder).is_dir():
        raise UsageError(f"{lab.name} has no solution: no folder {lab.place(lab.solution.folder)}")
    yield _own("solution", _tree(lab, work / "solution", None))
    if (starter := lab.folder / "starter").is_dir():
        take_folder(starter, Extraction(work / "starter", megabytes=_LIMITS["megabytes"], files=_LIMITS["files"]))
        yield _own("starter", work / "starter")
    for patch in mutants(lab):
        yield _own(patch.stem, _tree(lab, work / "mutants" / patch.stem, patch))
    for one in deviations(lab):
        yield _own(one.name, _tree(lab, work / "deviations" / one.patch.stem, one.patch))


def mutants(lab: Lab) -> list[Path]:
    """Return the patches that the lab names."""
    return _patches(lab, lab.mutants)


def deviations(lab: Lab) -> list[Deviation]:
    """Return the lab's table of single faults.

    Raises:
        UsageError: one of them does not say what it costs.
    """
    return [Deviation.read(patch, lab) for patch in _patches(lab, lab.deviations)]


def _patches(lab: Lab, patterns: tuple[str, ...]) -> list[Path]:
    return sorted(patch for pattern in patterns for patch in _root(lab, pattern).glob(pattern))


def _root(lab: Lab, folder: str) -> Path:
    return paths.project_dir() if lab.place(folder) == paths.project_dir() / folder else lab.folder


def _own(name: str, files: Path) -> Submission:
    return Submission(student=name, name=name, files=files, digest=f"{name} {digest_of(files)}")


def _tree(lab: Lab, place: Path, patch: Path | None) -> Path:
    """Copy the solution, patched, as it lies from its root on; what lies beside it comes to lie inside."""
    beside = [str(Path(lab.solution.folder).parent / name) for name in lab.solution.beside]
    for folder in (lab.solution.folder, *beside):
        take_folder(
            lab.place(folder), Extraction(place / folder, megabytes=_LIMITS["megabytes"], files=_LIMITS["files"])
        )
    if patch:
        hint = "a patch is relative to the lab's folder, or to the project's where the solution is in kernel/"
        words = ["patch", "--quiet", "--fuzz=0", "--strip=1", f"--directory={place}", f"--input={patch.resolve()}"]
        run(words, what=f"the patch {patch.name} does not apply to the solution", hint=hint)
    target = place / lab.solution.folder
    for folder in beside:
        (place / folder).rename(target / Path(folder).name)
    return target


def _judged(result: GradingResult, lab: Lab, deviation: Deviation | None = None) -> Finding:
    if result.score is None:
        return Finding(result.student, False, f"could not be graded: {result.reason}")
    points = f"{number(result.score)} of {number(result.max_score)} points, {result.verdict}"
    lost = [test.id for test in result.tests if test.outcome != "passed"]
    if result.student == "solution":
        good = not lost and result.verdict is Verdict.PASS
        said = f"{points}; it has to have all. {result.reason} {', '.join(lost)}"
        return Finding("solution", good, points if good else said)
    if deviation:
        wrong = deviation.wrong(set(lost), result.verdict)
        said = f"{points}; it costs {', '.join(lost) or 'nothing'}"
        return Finding(result.student, not wrong, f"{said}; {wrong}: {result.reason}" if wrong else said)
    if result.student == "starter":
        most = lab.starter_at_most * lab.max_score
        good = result.score <= most
        return Finding("starter", good, points if good else f"{points}; no more than {number(most)} are allowed")
    good = bool(lost) or result.verdict is not Verdict.PASS
    return Finding(result.student, good, points if good else f"{points}: no test notices what is broken in it")

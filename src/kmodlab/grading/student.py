"""What a student asks for: the tests of a lab that everybody may see, run on the student's own module."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from kmodlab.errors import LabError, UsageError
from kmodlab.grading.grade import Order, grade
from kmodlab.grading.grader import GraderFactory, make_grader
from kmodlab.grading.intake import Submission, collect
from kmodlab.grading.lab import Lab
from kmodlab.grading.result import GradingResult
from kmodlab.grading.store import Store


def check_own(
    lab: str, folder: Path, *, seed: int | None = None, make_grader: GraderFactory = make_grader
) -> GradingResult:
    """Return what a student's module comes to in the tests that everybody may see.

    Args:
        lab: a lab's folder, or the name of one in labs/.
        folder: the student's: with a Makefile, or with the lab's files in it; an archive or a .c file will do.
        seed: of what tests choose by chance, to have them choose the same again.
        make_grader: what has the machines.

    Raises:
        UsageError: there is no such lab or folder, the lab shows no test, or the folder has several submissions.
        LabError: the lab itself broke.
    """
    what = visible(Lab.load(lab))
    with tempfile.TemporaryDirectory(prefix="kmodlab-check-") as temporary:
        work = Path(temporary)
        submission = _only(collect(folder.resolve(), what, work / "files").submissions, folder)
        grader, image = make_grader(what, 1, seed=seed)
        (result,) = grade([submission], Order(what, image), grader, Store(work / "results"))
    if result.score is None:
        raise LabError(result.reason, hint="that is no fault of your module: tell your instructor")
    return result


def visible(lab: Lab) -> Lab:
    """Return a lab with those of its tests alone that everybody may see.

    Raises:
        UsageError: there is none.
    """
    shown = tuple(test for test in lab.tests if test.visibility == "visible")
    if not shown:
        raise UsageError(f"the lab {lab.name} has no tests that may be seen", hint="hand in, and wait for the feedback")
    return lab.model_copy(update={"tests": shown})


def _only(found: Sequence[Submission], folder: Path) -> Submission:
    if len(found) != 1:
        hint = "name the folder that your .c file and your Makefile are in"
        raise UsageError(f"{folder} has {len(found)} submissions, and one is checked", hint=hint)
    return found[0]

"""From a folder as it arrived to submissions: one for each student, a clean copy each, refused by name where need be.

What is found: a folder, an archive or a .c file a student; downloads of Moodle, Canvas, Blackboard and ILIAS, unpacked
or still the zip; clones of GitHub Classroom; a class that was packed by hand; one submission alone. Nothing of it is
run, and no git is asked: a clone's configuration can name programs.

    classes.py     what a download is, and where in it the students are
    tries.py       which files are one student's, and which of several tries counts
    copy.py        the clean copy of one
    sources.py     what make and the compiler would not take, and which folder is built
    submission.py  what comes out
"""

from __future__ import annotations

import shutil
from pathlib import Path

from kmodlab.errors import UsageError
from kmodlab.grading.intake.classes import understood
from kmodlab.grading.intake.copy import digest_of, take
from kmodlab.grading.intake.submission import Arrived, Submission
from kmodlab.grading.intake.tries import of_students
from kmodlab.grading.lab import Lab
from kmodlab.grading.names import natural, slug

__all__ = ["Arrived", "Submission", "collect", "digest_of"]


def collect(source: Path, lab: Lab, work: Path, form: str = "") -> Arrived:
    """Return the submissions of a class, one for each student, sorted by student.

    Args:
        source: a folder, an archive or a .c file.
        lab: its rules say which of several submissions counts, and how large one may be.
        work: a folder for the copies; it is made anew.
        form: of what download it is, one of `names.FORMS`; empty: whatever it looks like.

    Raises:
        UsageError: there is nothing to grade, or it is unclear whether it is a class.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    if not source.exists():
        raise UsageError(f"there is no {source}", hint="name a folder of submissions, or one submission")
    found = understood(source, lab, work / "download", form)
    arrivals = of_students(found.entries, found.form, lab)
    arrivals.sort(key=lambda one: (natural(one.origin.student), one.name))
    if not arrivals:
        raise UsageError(
            f"there is nothing to grade in {source}", hint="expected is a folder, an archive or a .c file a student"
        )
    taken = {"download"}
    places = [work / _unique(slug(one.origin.student), taken) for one in arrivals]
    return Arrived(found.form, [take(one, lab, place) for one, place in zip(arrivals, places, strict=True)])


def _unique(slug: str, taken: set[str]) -> str:
    number, name = 1, slug
    while name.casefold() in taken:
        number += 1
        name = f"{slug}-{number}"
    taken.add(name.casefold())
    return name

"""What intake gives: one submission of one student, and those of a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kmodlab.grading.names import Form

TITLES: dict[Form, str] = {
    "moodle": "Moodle download",
    "canvas": "Canvas download",
    "blackboard": "Blackboard download",
    "ilias": "ILIAS download",
    "classroom": "Clones of GitHub Classroom",
    "folders": "A folder, an archive or a file a student",
    "one": "One submission",
}


#: of the column of names: who has a longer one has a line that is not in order
_WIDTH = 40


@dataclass(frozen=True)
class Submission:
    """What one student handed in.

    Attributes:
        student: for people.
        name: of the folder or file, as it arrived.
        files: a clean copy, in a folder of ours.
        late: it is marked late.
        problems: why it cannot be graded, each a sentence for the student; empty where it can.
        notes: what else the student should know.
        digest: of the files' names and content.
        form: of what download it is.
        place: the folder in `files` where it is built; empty for `files` itself.
        tries: how often it was handed in.
    """

    student: str
    name: str
    files: Path
    late: bool = False
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    digest: str = ""
    form: str = ""
    place: str = ""
    tries: int = 1


@dataclass(frozen=True)
class Arrived:
    """The submissions of a class.

    Attributes:
        form: what they were taken for.
        submissions: one for each student, sorted by student.
    """

    form: Form
    submissions: Sequence[Submission]

    @property
    def sentence(self) -> str:
        """What was recognised, in a line: `Canvas download: 34 students, 3 late, 2 handed in twice`."""
        found = self.submissions
        counts = (
            (sum(one.late for one in found), "late"),
            (sum(one.tries > 1 for one in found), "handed in twice"),
            (sum(bool(one.problems) for one in found), "cannot be graded"),
        )
        students = f"{len(found)} student{'s'[: len(found) != 1]}"
        return f"{TITLES[self.form]}: {', '.join([students, *(f'{n} {what}' for n, what in counts if n)])}"

    def lines(self) -> list[str]:
        """Return a line for each submission: whose it is, what it came as, and what there is to say of it."""
        width = min(_WIDTH, max((len(one.student) for one in self.submissions), default=0))
        return [_line(one, width) for one in self.submissions]


def _line(one: Submission, width: int) -> str:
    said = " ".join((*one.problems, *one.notes))
    marks = "".join(f"  {word}" for word, holds in (("late", one.late), ("refused", one.problems)) if holds)
    return f"{one.student:<{width}}  {one.name}{marks}{f'  ({said})' if said else ''}"

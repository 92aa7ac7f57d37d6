"""What grading one submission came to: the one thing that every report, gradebook and store is made of."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Literal, get_args

Outcome = Literal["passed", "failed", "crashed", "not-run", "infra-error"]
Visibility = Literal["visible", "hidden", "after-due"]

#: raised when the written form changes: a store's older results are then graded anew
FORMAT = 2


class Verdict(StrEnum):
    """What became of a submission, in one word."""

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    BUILD_ERROR = "build-error"
    LOAD_ERROR = "load-error"
    OOPS = "oops"
    PANIC = "panic"
    HANG = "hang"
    LEAK = "leak"
    INFRA_ERROR = "infra-error"


@dataclass(frozen=True)
class TestResult:
    """What one test came to.

    Attributes:
        id: as the lab names it.
        title: one sentence: what holds if it passed.
        points: the most it gives.
        earned: what it gave.
        outcome: `passed`, `failed`, `crashed` (the machine broke meanwhile), `not-run`, or `infra-error` (the test
            itself broke, which is no fault of the student's).
        expected: what the controller asked for.
        seen: what it saw instead.
        hint: where to look.
        fault: what broke in the lab's own test, for the instructor alone.
        bonus: it is beyond the core, and its points are counted apart.
        visibility: who may see it: `visible` and `after-due` are for students, the latter when the lab is over.
        seconds: how long it took.
    """

    __test__: ClassVar[bool] = False  # for pytest, which takes the name for one of its own

    id: str
    title: str
    points: float
    earned: float
    outcome: Outcome
    expected: str = ""
    seen: str = ""
    hint: str = ""
    fault: str = ""
    bonus: bool = False
    visibility: Visibility = "visible"
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.outcome not in get_args(Outcome):
            raise ValueError(f"test {self.id}: no such outcome: {self.outcome}")
        if self.visibility not in get_args(Visibility):
            raise ValueError(f"test {self.id}: no such visibility: {self.visibility}")
        if not (math.isfinite(self.points) and 0 <= self.earned <= self.points):
            raise ValueError(f"test {self.id}: {self.earned} of {self.points} points")


@dataclass(frozen=True)
class GradingResult:
    """What one submission came to.

    Attributes:
        key: of what was graded: `key_of` its content, the lab and the image.
        student: whose it is.
        submission: the folder's or file's name, as it arrived.
        lab: the lab's name.
        image: the guest image that it was graded on; empty where it came to none.
        verdict: in one word.
        reason: in one sentence, for the student.
        tests: of the lab, in its order, all of them, run or not.
        build_log: what the compiler printed.
        console: the last of what the machine printed.
        oops: the kernel's report of what broke, or empty.
        phases: seconds that each phase took.
        attempts: how many machines it took; more than one where the lab itself broke.
        graded_at: ISO 8601, UTC.
        late: it came after the lab's due date.
        penalty: the part of the points that being late costs, 0 to 1.
        notes: what else the student should know: what was left out of the archive, which version counts.
        files: that were handed in and taken: name, and size in bytes.
        seed: of what the tests chose by chance: with the same one they choose the same.
        build_notes: those of them that the build made; whoever handed in the same files gets them, too.
        form: of what download the submission is, one of `names.FORMS`; empty where that is not known.
    """

    key: str
    student: str
    submission: str
    lab: str
    image: str
    verdict: Verdict
    reason: str
    tests: tuple[TestResult, ...] = ()
    build_log: str = ""
    console: str = ""
    oops: str = ""
    phases: Mapping[str, float] = field(default_factory=dict)
    attempts: int = 1
    graded_at: str = ""
    late: bool = False
    penalty: float = 0.0
    notes: tuple[str, ...] = ()
    files: tuple[tuple[str, int], ...] = ()
    seed: int = 0
    build_notes: tuple[str, ...] = ()
    form: str = ""

    def __post_init__(self) -> None:
        # Whoever made it: what is called a pass has passed every test of the core, or it is no result at all.
        core = [test for test in self.tests if not test.bonus]
        if self.verdict is Verdict.PASS and not (core and all(test.outcome == "passed" for test in core)):
            raise ValueError(f"{self.student}: a pass in which not every test passed")
        if not 0 <= self.penalty <= 1:
            raise ValueError(f"{self.student}: a penalty of {self.penalty}")

    @property
    def score(self) -> float | None:
        """Points earned in the core; None where the lab itself broke: that is no zero, it is not graded.

        Bonus is apart: it would hide what a fault has cost.
        """
        if self.verdict is Verdict.INFRA_ERROR:
            return None
        return round(sum(test.earned for test in self.tests if not test.bonus) * (1 - self.penalty), 2)

    @property
    def max_score(self) -> float:
        """Points that the lab gives: those of the core."""
        return round(sum(test.points for test in self.tests if not test.bonus), 2)

    @property
    def bonus(self) -> float:
        """Points earned beyond the core."""
        return round(sum(test.earned for test in self.tests if test.bonus) * (1 - self.penalty), 2)

    @property
    def max_bonus(self) -> float:
        """Points that the lab gives beyond the core."""
        return round(sum(test.points for test in self.tests if test.bonus), 2)

    def to_json(self) -> str:
        """Return it as JSON, from which `from_json` makes an equal one."""
        # ASCII: what a machine printed may hold halves of surrogate pairs, which UTF-8 has no way to write.
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> GradingResult:
        """Return what `to_json` wrote.

        Raises:
            ValueError: it is no such text, or of another version.
        """
        known = json.loads(text)
        if not isinstance(known, dict) or known.pop("format", None) != FORMAT:
            raise ValueError("no result, or of another version")
        try:
            return cls(**_read(known))
        except (TypeError, KeyError) as error:
            raise ValueError(f"no result: {error}") from error


def _read(known: dict[str, Any]) -> dict[str, Any]:
    tests = tuple(TestResult(**test) for test in known["tests"])
    notes: dict[str, Any] = {key: tuple(known[key]) for key in ("notes", "build_notes") if key in known}
    files = tuple((str(name), int(size)) for name, size in known["files"])
    return {**known, "verdict": Verdict(known["verdict"]), "tests": tests, "files": files, **notes}


def key_of(content: str, lab: str, image: str) -> str:
    """Return the key of a result.

    Args:
        content: digest of the submission's files.
        lab: digest of the lab.
        image: of the guest, or of all that the lab may use.
    """
    return hashlib.sha256("\n".join((str(FORMAT), content, lab, image)).encode()).hexdigest()[:32]

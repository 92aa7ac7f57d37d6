"""Results for tests to work with: hostile in every text."""

from __future__ import annotations

from typing import Any

from kmodlab.grading.result import Result, TestResult, Verdict


def one_test(name: str = "a", **changes: Any) -> TestResult:
    known: dict[str, Any] = {"id": name, "title": f"Test {name} holds", "points": 2.5, "earned": 2.5}
    return TestResult(**{**known, "outcome": "passed", **changes})


def one_result(**changes: Any) -> Result:
    known: dict[str, Any] = {
        "key": "k",
        "student": "Zoë 张 \udcff",
        "submission": "Zoë_1_assignsubmission_file_",
        "lab": "task_lister",
        "image": "debian-12",
        "verdict": Verdict.FAIL,
        "reason": "One of two tests failed.",
        "tests": (one_test(), one_test("b", earned=0.0, outcome="failed", expected="\x00 1", seen='"<2>"\u2028')),
        "console": "[ 0.1] \x1b[1mbroken \ud800",
        "phases": {"build": 1.25, "boot": 0.1},
        "notes": ("a note",),
    }
    return Result(**{**known, **changes})

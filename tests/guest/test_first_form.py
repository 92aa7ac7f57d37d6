"""What a student hands in who does what a handout's first page asks, in the form of the system that came before."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmodlab.grading.instructor import grade_class
from kmodlab.grading.lab import Lab
from kmodlab.grading.result import GradingResult
from kmodlab.paths import project_dir

FORMS = project_dir() / "tests" / "grading" / "first_form"
LOSES = {"task_lister": set[str](), "syscall_tracer": set[str]()}
"""Tests of the core that the modules fail, for real faults: none."""


@pytest.mark.parametrize("lab", list(LOSES))
def test_the_first_systems_form_earns_its_points(lab: str, tmp_path: Path) -> None:
    grade_class(lab, FORMS / lab, tmp_path / "out", jobs=1)
    (kept,) = (tmp_path / "out" / ".kmodlab").rglob("*.json")
    result = GradingResult.from_json(kept.read_text())
    core = {test.id for test in Lab.load(lab).tests if not test.bonus}
    lost = {test.id for test in result.tests if test.outcome != "passed"} & core
    assert lost == LOSES[lab], [(test.id, test.seen) for test in result.tests if test.id in lost]
    assert result.score is not None
    assert result.score >= 85

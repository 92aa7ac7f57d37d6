"""The benchmark of the grader without a machine: how a class is mixed, and the table of the modules' labs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from bench.grading import CLASSES, Big, Graded, big_class, big_table, mixed

from kmodlab.grading.lab import Lab
from kmodlab.grading.result import Verdict
from kmodlab.paths import project_dir

from .grading_results import one_result, one_test


def test_a_class_is_mixed_evenly_and_always_alike() -> None:
    names = mixed({"good": 6, "bad": 3, "one": 1}, 1)
    assert Counter(names) == {"good": 6, "bad": 3, "one": 1}
    assert names == mixed({"good": 6, "bad": 3, "one": 1}, 1)
    assert max(len(run) for run in "".join("g" if name == "good" else " " for name in names).split()) <= 2
    assert Counter(mixed({"good": 6, "one": 1}, 0.5)) == {"good": 3, "one": 1}


@pytest.mark.parametrize("name", CLASSES)
def test_the_class_of_a_modules_lab_is_made_of_the_labs_own(name: str, tmp_path: Path) -> None:
    found = big_class(Lab.load(project_dir() / "labs" / name), tmp_path, 1)
    assert len(found) == len({one.student for one in found}) == 20
    assert Counter(one.name for one in found) == CLASSES[name]
    assert all(list(one.files.rglob("*.c")) for one in found)


def test_the_table_tells_what_one_that_passes_takes() -> None:
    good = one_result(verdict=Verdict.PASS, tests=(one_test(),), phases={"build": 1.5, "tests": 6.0})
    class_of_three = [
        Graded(good, 0, 10),
        Graded(replace(good, phases={"build": 2.5, "tests": 8.0}), 10, 24),
        Graded(one_result(verdict=Verdict.HANG, phases={}), 0, 72),
    ]
    table = big_table([Big("one", class_of_three, 17.4), Big("two", class_of_three[:1], 29.6)])
    rows = dict(line.strip("| ").split(" | ", 1) for line in table.splitlines() if not line.startswith("|---"))
    assert rows["what"] == "`one` | `two` | aim"
    assert rows["submissions an hour"] == "150 | 360 | 500"
    assert rows["seconds of one that passes, median"] == "12.0 | 10.0 | 12"
    assert rows["of these: build"].split(" | ")[:2] == ["2.0", "1.5"]
    assert rows["seconds to the first verdict on the screen"] == "17 | 30 | 30"

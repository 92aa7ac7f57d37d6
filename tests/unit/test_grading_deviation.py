"""Deviations: what a patch says it may cost, and whether a submission with it keeps to that."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmodlab.errors import UsageError
from kmodlab.grading.deviation import Deviation
from kmodlab.grading.lab import Lab
from kmodlab.grading.result import Verdict
from kmodlab.grading.self_check import deviations, own_submissions

from .grading_labs import LABS, OF_THE_MODULES, load_lab

DIFF = "\n--- a/solution/x.c\n+++ b/solution/x.c\n@@ -1 +1 @@\n-Costs: nothing\n+Costs: secret\n"


def read(tmp_path: Path, head: str) -> Deviation:
    """Read a patch of a lab with the tests there, moves and secret."""
    lab = load_lab(tmp_path / "jiffies")
    (patch := tmp_path / "one.patch").write_text(head + DIFF)
    return Deviation.read(patch, lab)


def test_a_patch_says_what_it_costs(tmp_path: Path) -> None:
    found = read(tmp_path, "One.\n\nVerdict: oops\nCosts: there, moves\n")
    assert (found.name, found.costs, found.verdicts) == (
        "deviation-one",
        frozenset({"there", "moves"}),
        frozenset({Verdict.OOPS}),
    )
    assert read(tmp_path, "One.\n\nCosts: nothing\n").costs == frozenset()


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("One.\n", "costs no test of jiffies"),
        ("Costs: there, other\n", "costs no test of jiffies: other"),
        ("Verdict: bad\nCosts: there\n", "there is no verdict bad"),
        ("Verdict: oops|bad\nCosts: there\n", "there is no verdict bad"),
    ],
)
def test_a_patch_that_does_not_say_so(tmp_path: Path, head: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, head)


@pytest.mark.parametrize(
    ("head", "lost", "verdict", "wrong"),
    [
        ("Costs: there, moves\n", {"moves"}, Verdict.FAIL, ""),
        ("Costs: there\n", {"there", "moves"}, Verdict.FAIL, "it may not cost moves"),
        ("Costs: there\n", set(), Verdict.PASS, "no test notices it"),
        ("Costs: nothing\n", set(), Verdict.PASS, ""),
        ("Costs: nothing\n", {"there"}, Verdict.FAIL, "it may not cost there"),
        ("Costs: there\n", {"there"}, Verdict.OOPS, "it should come to pass or fail"),
        ("Verdict: oops\nCosts: there\n", {"there"}, Verdict.OOPS, ""),
        ("Verdict: oops\nCosts: there\n", {"there"}, Verdict.FAIL, "it should come to oops"),
        ("Verdict: leak|oops\nCosts: there\n", {"there"}, Verdict.LEAK, ""),
        ("Verdict: leak|oops\nCosts: there\n", {"there"}, Verdict.PANIC, "it should come to oops or leak"),
    ],
)
def test_a_fault_costs_what_it_names_and_no_more(
    tmp_path: Path, head: str, lost: set[str], verdict: Verdict, wrong: str
) -> None:
    assert read(tmp_path, head).wrong(lost, verdict) == wrong


@pytest.mark.parametrize("name", LABS)
def test_every_lab_can_be_proved(name: str, tmp_path: Path) -> None:
    """Its solution is there, every patch of it applies and says what it has to, and none has two of one name."""
    lab = Lab.load(name)
    names = [one.name for one in own_submissions(lab, tmp_path)]
    faults = deviations(lab)
    assert names[0] == "solution"
    assert len(names) == len(set(names)) > len(faults) >= (25 if name in OF_THE_MODULES else 1)
    assert any(not one.costs for one in faults)

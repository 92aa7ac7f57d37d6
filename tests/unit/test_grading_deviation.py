"""Deviations: what a patch says it may cost, and whether a submission with it keeps to that."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmodlab.errors import UsageError
from kmodlab.grading.deviation import Deviation
from kmodlab.grading.lab import Lab
from kmodlab.grading.prove import deviations
from kmodlab.grading.result import Verdict

from .grading_labs import load_lab

DIFF = "\n--- a/solution/x.c\n+++ b/solution/x.c\n@@ -1 +1 @@\n-Costs: nothing\n+Costs: secret\n"


def read(tmp_path: Path, head: str) -> Deviation:
    """Read a patch of a lab with the tests there, moves and secret."""
    lab = load_lab(tmp_path / "jiffies")
    (patch := tmp_path / "one.patch").write_text(head + DIFF)
    return Deviation.read(patch, lab)


def test_a_patch_says_what_it_costs(tmp_path: Path) -> None:
    found = read(tmp_path, "One.\n\nVerdict: oops\nCosts: there, moves\n")
    assert (found.name, found.costs, found.verdict) == ("deviation-one", frozenset({"there", "moves"}), Verdict.OOPS)
    assert read(tmp_path, "One.\n\nCosts: nothing\n").costs == frozenset()


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("One.\n", "costs no test of jiffies"),
        ("Costs: there, other\n", "costs no test of jiffies: other"),
        ("Verdict: bad\nCosts: there\n", "there is no verdict bad"),
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
    ],
)
def test_a_fault_costs_what_it_names_and_no_more(
    tmp_path: Path, head: str, lost: set[str], verdict: Verdict, wrong: str
) -> None:
    assert read(tmp_path, head).wrong(lost, verdict) == wrong


@pytest.mark.parametrize("name", ["task_lister", "syscall_tracer"])
def test_the_big_labs_have_a_table_of_faults(name: str) -> None:
    found = deviations(Lab.load(name))
    assert len(found) >= 25
    assert any(not one.costs for one in found)
    assert any(one.verdict for one in found)

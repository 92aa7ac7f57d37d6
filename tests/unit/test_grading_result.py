"""Results: the exact round trip, and what a result can never claim."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from kmodlab.grading.result import GradingResult, Verdict, key_of

from .grading_results import one_result, one_test


def test_round_trip_is_exact() -> None:
    before = one_result()
    assert GradingResult.from_json(before.to_json()) == before
    assert GradingResult.from_json(before.to_json().encode("ascii")) == before


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_makes_the_round_trip(verdict: Verdict) -> None:
    before = one_result(verdict=verdict, tests=(one_test(),))
    assert GradingResult.from_json(before.to_json()) == before


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": 0}', '{"format": 1, "key": "k"}', "{"])
def test_what_is_no_result_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"no result|Expecting"):
        GradingResult.from_json(text)


def test_a_cut_result_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|Invalid"):
        GradingResult.from_json(one_result().to_json()[:-40])


def test_score() -> None:
    assert (one_result().score, one_result().max_score) == (2.5, 5.0)


def test_bonus_is_counted_apart() -> None:
    """It hides nothing that was lost in the core, and being late costs it, too."""
    core, lost = one_test("a"), one_test("b", earned=0.0, outcome="failed")
    bonus = one_test("c", bonus=True, points=9.0, earned=8.0)
    result = one_result(tests=(core, lost, bonus))
    assert (result.score, result.max_score, result.bonus, result.max_bonus) == (2.5, 5.0, 8.0, 9.0)
    late = replace(result, penalty=0.5)
    assert (late.score, late.bonus) == (1.25, 4.0)


def test_a_pass_needs_every_test_of_the_core() -> None:
    failed = one_test("c", bonus=True, earned=0.0, outcome="failed")
    assert one_result(verdict=Verdict.PASS, tests=(one_test("a"), failed)).score == 2.5
    with pytest.raises(ValueError, match="a pass in which not every test passed"):
        one_result(verdict=Verdict.PASS, tests=(one_test("c", bonus=True),))


def test_an_infra_error_has_no_score() -> None:
    broken = one_result(verdict=Verdict.INFRA_ERROR)
    assert broken.score is None
    assert broken.max_score == 5.0


def test_a_penalty_costs_its_part() -> None:
    assert one_result(late=True, penalty=0.2).score == 2.0


@pytest.mark.parametrize("outcome", ["failed", "crashed", "not-run"])
def test_what_did_not_pass_is_never_a_pass(outcome: str) -> None:
    with pytest.raises(ValueError, match="not every test passed"):
        one_result(verdict=Verdict.PASS, tests=(one_test(), one_test("b", outcome=outcome, earned=0.0)))


def test_nothing_is_never_a_pass() -> None:
    with pytest.raises(ValueError, match="not every test passed"):
        one_result(verdict=Verdict.PASS, tests=())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"earned": 3.0}, r"3\.0 of 2\.5"),
        ({"earned": float("nan")}, "nan of"),
        ({"points": float("inf")}, "of inf"),
        ({"outcome": "great"}, "no such outcome"),
        ({"visibility": "all"}, "no such visibility"),
    ],
)
def test_a_test_cannot_claim(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        one_test(**changes)


def test_a_penalty_is_a_part() -> None:
    with pytest.raises(ValueError, match="penalty"):
        one_result(penalty=1.5)


def test_the_key_is_of_all_that_decides() -> None:
    keys = {key_of(*words) for words in (("a", "b", "c"), ("x", "b", "c"), ("a", "x", "c"), ("a", "b", "x"))}
    assert len(keys) == 4
    assert key_of("a", "b", "c") == key_of("a", "b", "c")


def test_results_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        one_result().student = "me"  # type: ignore[misc]

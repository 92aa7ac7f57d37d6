"""Numbers, times and bars as the terminal shows them."""

from __future__ import annotations

import pytest

from kmodlab.top import words
from kmodlab.top.words import Clock

NOON = 1_700_000_000.0
"""2023-11-14 22:13:20 UTC."""


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (0.4, "0.40"), (12.34, "12.3"), (418, "418"), (999.4, "999"), (999.6, "1.00k"), (9870, "9.87k")],
)
def test_a_rate_has_three_digits(number: float, shown: str) -> None:
    assert words.short(number) == shown


@pytest.mark.parametrize(
    ("ns", "shown"),
    [(None, "\u2013"), (0, "0 ns"), (999, "999 ns"), (1500, "1.50 \u00b5s"), (45_600_000, "45.6 ms"), (2e9, "2.00 s")],
)
def test_a_latency_has_its_unit(ns: float | None, shown: str) -> None:
    assert words.duration(ns) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"), [(0, 0, "\u2013"), (0, 5, "0 %"), (1, 5000, "<0.1 %"), (3, 40, "7.5 %"), (1, 3, "33 %")]
)
def test_a_share(part: float, whole: float, shown: str) -> None:
    assert words.percent(part, whole) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(45, "45 s"), (720, "12 min"), (12_000, "3 h 20 min"), (345_600, "4 d")]
)
def test_a_span(seconds: float, shown: str) -> None:
    assert words.span(seconds) == shown


def test_what_a_call_returned() -> None:
    assert [words.returned(value) for value in (None, 3, -2, -4095)] == ["\u2013", "3", "ENOENT", "-4095"]


def test_a_quantile_lies_in_its_bucket() -> None:
    histogram = [0.0] * 64
    assert words.quantile(histogram, 0.5) is None
    histogram[11] = 100
    assert words.quantile(histogram, 0.5) == 1536, "half of the way from 1024 to 2048"
    histogram[20] = 1
    assert words.quantile(histogram, 0.99) == pytest.approx(1024 * 1.9999)


def test_a_line_of_bars_has_the_newest_at_the_right() -> None:
    assert words.sparkline([1, None, 0, 4, 8], 4) == "\u00b7 \u2585\u2588"
    assert words.sparkline([8], 3) == "  \u2588"
    assert words.sparkline([0, 0], 2) == "  ", "nothing is no bar"


def test_times_are_of_a_zone() -> None:
    assert Clock("utc").full(NOON) == "2023-11-14 22:13:20"
    assert Clock("server", -5400).time(NOON) == "20:43:20"
    assert Clock("server", -5400).label == "UTC-01:30"
    assert Clock("utc", 3600).label == "UTC"
    assert Clock("utc").exact(NOON + 0.0426) == "22:13:20.043"
    assert Clock("utc").exact(NOON + 0.9999) == "22:13:21.000", "it is rounded once"

"""A call is in the page soon after it was made, in its order, and none is left out; how soon is printed."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from live.delay import KINDS, delays, median

SAME_FRAME = 100
"""Milliseconds: frames are at least twice that apart."""


@pytest.mark.parametrize("number", [20, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", KINDS)
def test_each_call_comes_in_its_order(
    kind: str, number: int, chromium: Browser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rate, blocked = KINDS[kind]
    found = delays(tmp_path / "daemon", chromium, number, rate, blocked)
    with capsys.disabled():
        print(
            f"\n{kind}: {median(found):.0f} ms, the median of {number}; {max(one.ms for one in found):.0f} ms at most"
        )
    assert [one.seq for one in found] == list(range(number)), "all are there"
    # Of one frame the newest stands first, and the browser's clock goes on by tenths of milliseconds meanwhile.
    latest = itertools.accumulate((one.shown_at for one in found), max)
    assert all(one.shown_at > before - SAME_FRAME for one, before in zip(found, latest, strict=True)), (
        "none comes before an older one"
    )
    assert min(one.ms for one in found) > 0, "none is shown before it was made"

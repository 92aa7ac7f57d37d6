"""Somebody sets the clock, of the machine or of the browser: a chart has neither a hole nor a second twice."""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from browser.view import View
from playwright.sync_api import Browser, expect

from live.daemon import Daemon, serving, wait
from live.looking import looking
from live.machine import CALLS, NS, Running

WINDOW = 180
"""Seconds of the live chart."""
YEAR = 365 * 86400
UNKNOWN = "\u2013"
A_SECOND = 10 * len(CALLS)
"""Calls of each second of the machine's clock that never steps: one of each name in each tenth."""
WHOLE = 5
"""Seconds that are looked at, before and after the clock was set."""
#: of a browser whose clock is an hour ahead
AHEAD = """(() => { const Real = Date, by = 3600000; Date = class extends Real {
    constructor(...given) { given.length ? super(...given) : super(Real.now() + by); }
    static now() { return Real.now() + by; } }; })()"""


class Worker:
    """Makes calls with the regularity of a clock: what a busy machine is late with has the time that it was due."""

    def __init__(self, machine: Running) -> None:
        self._machine, self._stop = machine, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.began = 0

    def _run(self) -> None:
        step = NS // 10
        due = self.began = (time.monotonic_ns() // NS + 1) * NS
        while not self._stop.wait(max(0.0, (due - time.monotonic_ns()) / NS)):
            # A call is counted in the second in which it ends.
            self._machine.call(at=due + step // 2)
            due += step

    @property
    def seconds(self) -> int:
        """Whole seconds of calls."""
        return max(0, (time.monotonic_ns() - self.began) // NS) if self.began else 0

    def __enter__(self) -> Worker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def machine(tmp_path: Path) -> Running:
    one = Running(tmp_path / "machine")
    one.load()
    return one


def now(view: View) -> datetime:
    """What the page says that the time is."""
    text = view.page.locator("footer .now").inner_text()
    found = re.match(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", text)
    assert found, text
    return datetime.fromisoformat(found[1]).replace(tzinfo=UTC)


def seconds_of(daemon: Daemon, machine: Running, began: int) -> list[int]:
    """Calls of each second since the first, by the history, at the times that the clock has given them last."""
    clock = machine.clock()
    offset = (clock.real - clock.monotonic) / NS
    begin, end = began / NS + offset, time.monotonic() + offset
    found = daemon.get(f"/api/v1/rates?begin={begin - 60}&end={end + 60}&step=1&by=call")
    assert found["step"] == 1
    sums = [sum(values) for values in zip(*(one["n"] for one in found["series"]), strict=True)]
    called = [index for index, n in enumerate(sums) if n]
    return sums[called[0] : called[-1] + 1] if called else []


def chart(view: View) -> list[str]:
    """What the live chart says of each second, as a table, the newest first."""
    rows: list[str] = view.table("Calls a second as a table").evaluate_all(
        "rows => rows.map(row => [...row.cells].slice(1).map(cell => cell.innerText.trim()).join(' '))"
    )
    return rows


def has_no_hole(view: View) -> None:
    """From the first second with calls on, the live chart knows of each."""
    expect(view.table("Calls a second as a table")).to_have_count(WINDOW)
    rows = [set(row.split()) for row in chart(view)]
    begun = max(at for at, row in enumerate(rows) if row - {"0", UNKNOWN})
    assert begun >= 2 * WHOLE - 2
    assert [at for at, row in enumerate(rows[:begun]) if row == {UNKNOWN}] == [], "\n".join(chart(view)[: begun + 1])


@pytest.mark.parametrize("by", [-YEAR, YEAR], ids=["back", "ahead"])
def test_a_clock_that_is_set_by_a_year(by: int, machine: Running, chromium: Browser, tmp_path: Path) -> None:
    with (
        # A look at the tasks would tell the clock of this host, which nobody sets.
        serving(tmp_path / "daemon", machine.feed, has_lister=False) as daemon,
        looking(chromium, daemon, timezone_id="UTC") as view,
    ):
        wait(lambda: daemon.get("/api/v1/machine")["state"] == "recording", "it records")
        with Worker(machine) as worker:
            wait(lambda: worker.seconds > WHOLE, "calls are made")
            machine.set_by = by * NS
            wanted = datetime.now(UTC).year + (1 if by > 0 else -1)
            view.until(lambda: now(view).year == wanted)
            then = worker.seconds
            wait(lambda: worker.seconds > then + WHOLE, "calls are made after it")
        total = sum(machine.sent.values())
        books = daemon.books(total)
        assert [one for one in books["equations"] if not one["closes"]] == []
        assert round(daemon.get("/api/v1/machine")["clock_set"]) == by
        _is_even(daemon, machine, worker.began, total)
        view.page.keyboard.press("t")
        has_no_hole(view)
        expect(view.page.locator("footer")).to_contain_text("the books close")


def _is_even(daemon: Daemon, machine: Running, began: int, total: int) -> None:
    """Hold each second of the history against what was made in it, once all is on the disk."""
    sums: Any = wait(
        lambda: (found := seconds_of(daemon, machine, began)) and sum(found) == total and found,
        "the sums are on the disk",
        lambda: seconds_of(daemon, machine, began),
    )
    # A second of the history begins where the time of day has one: the ends are parts of one.
    assert len(sums) >= 2 * WHOLE
    assert set(sums[1:-1]) == {A_SECOND}, sums
    assert sums[0] <= A_SECOND >= sums[-1]


def test_a_browser_that_is_an_hour_ahead(machine: Running, chromium: Browser, tmp_path: Path) -> None:
    """Times are the machine's, and so is what the history is asked for."""
    with (
        serving(tmp_path / "daemon", machine.feed) as daemon,
        looking(chromium, daemon, script=AHEAD, timezone_id="UTC") as view,
    ):
        wait(lambda: daemon.get("/api/v1/machine")["state"] == "recording", "it records")
        with Worker(machine) as worker:
            wait(lambda: worker.seconds > 2 * WHOLE, "calls are made")
        assert view.page.evaluate("Date.now()") / 1000 > time.time() + 3000, "its clock is wrong"
        assert abs(now(view).timestamp() - time.time()) < 1000
        view.page.keyboard.press("t")
        has_no_hole(view)
        total = sum(machine.sent.values())
        daemon.books(total)
        _is_even(daemon, machine, worker.began, total)
        view.go("history").page.get_by_role("button", name="1 min", exact=True).click()
        expect(view.table("Calls of that time").first).to_be_visible()

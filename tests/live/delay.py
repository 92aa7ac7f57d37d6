"""How long it takes from a call to the page: the call's own clock, and a MutationObserver in a browser."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from browser.view import View
from playwright.sync_api import Browser
from unit.daemon_tape import batch, begin, ids, record
from unit.test_daemon_station import Hand

from kmodlab.daemon.kernel import clock
from live.daemon import serving, wait
from live.looking import looking

PAUSE = 0.15
"""Seconds between two calls that are looked for: no two come at the same moment of a tick."""
KINDS = {"alone": (0, False), "blocked, alone": (0, True), "blocked, beside 10,000/s": (10_000, True)}
"""Rate of others, and whether the call is blocked: of what is not, beside so many the newest alone come one by one."""
OBSERVED, NOBODY = 5_100_000, 5_000_000
BATCH = 100
"""Calls of others in a batch."""
#: notes when each row of a table first is in the page, in ms since 1970
WATCH = """() => { window.came = new Map();
    const look = () => document.querySelectorAll("table.calls tr[data-key]").forEach((row) => {
        if (!came.has(row.dataset.key)) came.set(row.dataset.key, performance.timeOrigin + performance.now()); });
    const what = {childList: true, subtree: true, attributes: true, attributeFilter: ["data-key"]};
    new MutationObserver(look).observe(document.body, what);
    look(); }"""


@dataclass(frozen=True)
class Delay:
    """One call: its number on CPU 1, and the ms from its end until it was in the page."""

    seq: int
    shown_at: float
    ms: float


class Machine:
    """Makes calls at the time that it is: those that are looked for on CPU 1, and others on CPU 0."""

    def __init__(self, feed: Hand, rate: int) -> None:
        self._feed, self._rate = feed, rate
        self._stop = threading.Event()
        self._others = threading.Thread(target=self._make_others)
        self._seq = 0
        self.made: dict[int, float] = {}

    def begin(self) -> None:
        self._feed.give(begin("delay", {0: 0, 1: 0}), clock())

    def _make_others(self) -> None:
        due = time.monotonic()
        while self._rate and not self._stop.wait(max(0.0, due - time.monotonic())):
            due += BATCH / self._rate
            now = time.monotonic_ns()
            records = [
                record(ids()["read"], seq=self._seq + n, at=now - (BATCH - n) * 1000, pid=NOBODY, comm=b"others")
                for n in range(BATCH)
            ]
            self._seq += BATCH
            self._feed.give(batch(records))

    def make(self, number: int, blocked: bool) -> None:
        """Make a call that is looked for."""
        now = time.monotonic_ns()
        self.made[number] = time.time()
        call = ids()["unlinkat"]
        one = record(call, path=b"/looked/for", seq=number, at=now, pid=OBSERVED, comm=b"it", cpu=1, blocked=blocked)
        self._feed.give(batch([one], cpu=1))

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Make others for as long as the block runs."""
        self._others.start()
        try:
            yield
        finally:
            self._stop.set()
            self._others.join()


def delays(folder: Path, chromium: Browser, number: int, rate: int, blocked: bool) -> list[Delay]:
    """Make calls, and return how long each took to be in a page; all have to be there.

    Args:
        folder: for what the daemon writes.
        chromium: the browser.
        number: of calls that are looked for.
        rate: calls a second that others make meanwhile.
        blocked: whether those that are looked for are blocked ones.
    """
    feed = Hand()
    machine = Machine(feed, rate)
    with serving(folder, feed) as daemon, looking(chromium, daemon, "blocked" if blocked else "events") as view:
        machine.begin()
        wait(lambda: daemon.get("/api/v1/machine")["state"] == "recording", "it records")
        view.page.evaluate(WATCH)
        with machine.busy():
            for one in range(number):
                machine.make(one, blocked)
                time.sleep(PAUSE)
            wait(lambda: len(_came(view)) == number, "all are in the page", lambda: len(_came(view)))
        came = _came(view)
        assert daemon.get("/api/v1/ledger")["totals"]["lost_socket"] == 0
    return [Delay(seq, at, at - machine.made[seq] * 1000) for seq, at in sorted(came.items())]


def _came(view: View) -> dict[int, float]:
    """When each call that is looked for came, by its number."""
    found = view.page.evaluate("[...came]")
    return {int(key.split(":")[2]): at for key, at in found if key.split(":")[1] == "1"}


def median(found: Sequence[Delay]) -> float:
    """The middle one, ms."""
    return sorted(one.ms for one in found)[len(found) // 2]

"""The books close from the kernel's numbers to two browsers, and who loses one record on the way is seen in both."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser.view import View
from playwright.sync_api import Browser, expect
from unit.daemon_tape import NS, WALL, Tape
from unit.test_daemon_books import _feed_loses_a_record, _recorder_drops_a_batch, _recorder_loses_a_row

from kmodlab.paths import project_dir
from live.daemon import PROGRAM, Daemon, serving, wait
from live.feeds import Player
from live.looking import counted, looking

MILLION = 1_000_000
SUMS = {"kernel", "delivery", "gaps", "journal", "roll-up", "history", "blocked"}
#: process ids that no process has
NOBODY = 5_000_000
#: of the process that serves: what Python runs before it is that process
SERVER = {
    "roller_skips_a_record": "from unit.test_daemon_books import _roller_skips_a_record as lose",
    "frame_loses_a_call": "from live.test_books import frame_loses_a_call as lose",
    "frame_loses_a_tick": "from live.test_books import frame_loses_a_tick as lose",
    "stream_merges_and_loses": "from live.test_books import stream_merges_and_loses as lose",
}
#: of the one that records -> the loss that is told where no sum is open: of a tape that has none
RECORDER: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    _recorder_drops_a_batch: "",
    _recorder_loses_a_row: "damaged before they were read",
    _feed_loses_a_record: "lost in the socket",
}


# -- mutants of what goes over the stream: each loses one record, once ------------------------------------------------


def frame_loses_a_call(patch: pytest.MonkeyPatch) -> None:
    """The first frame of each client that has calls brings one less than it says."""
    from kmodlab.daemon.api import frames

    frame, seen = frames.frame, set[int]()

    def losing(tick: Any, views: Any, sums: Any, opened: Any = ()) -> dict[str, Any]:
        found = frame(tick, views, sums, opened)
        if tick.calls and id(sums) not in seen:
            seen.add(id(sums))
            found["calls"]["n"][0] -= 1
        return found

    patch.setattr(frames, "frame", losing)


def frame_loses_a_tick(patch: pytest.MonkeyPatch) -> None:
    from kmodlab.daemon.api.hub import Client

    offer, seen = Client.offer, set[Client]()

    def offering(self: Client, tick: Any) -> None:
        if tick.calls and self not in seen:
            seen.add(self)
        else:
            offer(self, tick)

    patch.setattr(Client, "offer", offering)


def stream_merges_and_loses(patch: pytest.MonkeyPatch) -> None:
    """Every tick is merged with another one, as for a slow client, and one call of the older is forgotten."""
    from kmodlab.daemon import tick
    from kmodlab.daemon.api import hub

    def merging(older: tick.Tick, newer: tick.Tick) -> tick.Tick:
        found = tick.merged(older, newer)
        if older.calls:
            key = next(iter(older.calls))
            return replace(found, calls={**found.calls, key: replace(found.calls[key], n=found.calls[key].n - 1)})
        return found

    patch.setattr(hub, "merged", merging)
    take = hub.Client.take

    def every_second(self: hub.Client) -> tick.Tick | None:
        if self.sums.offered % 2:
            return take(self)
        self.seen()
        return None

    patch.setattr(hub.Client, "take", every_second)


# -- the chain --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def played(
    folder: Path, chromium: Browser, records: int, code: str = PROGRAM, lossy: bool = True
) -> Iterator[tuple[Daemon, Tape, Any]]:
    """A daemon that has recorded so many calls while two browsers looked."""
    player, tape = Player(), Tape(seed=3, pids=NOBODY, lossy=lossy)
    with (
        serving(folder, player, code=code) as daemon,
        looking(chromium, daemon) as one,
        looking(chromium, daemon, "health") as other,
    ):
        wait(lambda: daemon.get("/api/v1/ledger")["server"]["clients"] == 2, "both have a stream")
        player.play(tape.begin(), tape.batches(records), (tape.counters(unsent=7) for _ in range(1)))
        yield daemon, tape, (one, other)


def is_told(view: View, records: int) -> None:
    """Wait until a page has heard of so many calls in the sums."""
    expect(view.page.locator("footer")).to_contain_text(re.compile(r"in the sums "))
    view.until(lambda: counted(view)[0] >= records)


@pytest.mark.parametrize("records", [20_000, pytest.param(MILLION, marks=pytest.mark.long)])
def test_every_sum_closes_on_each_cpu_and_in_both_browsers(records: int, chromium: Browser, tmp_path: Path) -> None:
    with played(tmp_path, chromium, records) as (daemon, tape, views):
        books = daemon.books(records)
        assert [one for one in books["equations"] if not one["closes"]] == []
        for cpu in (0, 1):
            of = {one["name"]: one for one in books["equations"] if one["scope"] == f"epoch 1 CPU {cpu}"}
            assert set(of) == SUMS
            assert of["journal"]["number"] == of["history"]["number"] == tape.came[cpu] == records // 2
            assert of["delivery"]["right"]["not_yet_sent"] == 7
            lost = {"lost_ring": tape.ring[cpu], "lost_dropped": tape.dropped[cpu], "lost_socket": tape.socket[cpu]}
            assert of["gaps"]["right"] == {**lost, "away": 0}
        for view in views:
            is_told(view, records)
            assert counted(view) == (records, 0, records)
            expect(view.page.locator("footer")).to_contain_text("the books close")
        expect(views[1].page.locator(".verdict")).to_contain_text("The books close.")
        wait(lambda: by_name(daemon) == totals(tape), "the sums are on the disk", lambda: by_name(daemon))


def by_name(daemon: Daemon) -> dict[str, int]:
    """What the page's busiest calls are, of all the time."""
    found = daemon.get(f"/api/v1/top?by=call&begin={WALL / NS}&end={WALL / NS + 9e6}&limit=100")
    return dict(zip(found["name"], found["n"], strict=True))


def totals(tape: Tape) -> dict[str, int]:
    """The same of the tape."""
    found: dict[str, int] = {}
    for (name, _), n in tape.calls.items():
        found[name] = found.get(name, 0) + n
    return found


# -- who loses one ----------------------------------------------------------------------------------------------------


def is_seen(views: tuple[View, View]) -> None:
    """Wait until both pages say that one is missing; the second by a verdict of its own."""
    for view in views:
        expect(view.page.locator("footer")).to_contain_text("the books do not close")
    expect(views[1].page.locator(".verdict")).to_contain_text("The books do not close.")


@pytest.mark.parametrize(
    ("mutant", "records"),
    [("frame_loses_a_call", 20_000), *(pytest.param(one, MILLION, marks=pytest.mark.long) for one in SERVER)],
)
def test_who_serves_loses_one(
    mutant: str, records: int, chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(project_dir() / "tests"))
    code = f"import pytest; {SERVER[mutant]}; lose(pytest.MonkeyPatch()); {PROGRAM}"
    with played(tmp_path, chromium, records, code, lossy=False) as (_, _, views):
        is_seen(views)


@pytest.mark.parametrize(
    ("mutant", "records"),
    [
        (_recorder_drops_a_batch, 20_000),
        *(pytest.param(one, MILLION, marks=pytest.mark.long, id=f"{one.__name__}-{MILLION}") for one in RECORDER),
    ],
)
def test_who_records_loses_one(
    mutant: Callable[[pytest.MonkeyPatch], None],
    records: int,
    chromium: Browser,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sum is open, or one call is told as lost."""
    mutant(monkeypatch)
    with played(tmp_path, chromium, records, lossy=False) as (_, _, views):
        if words := RECORDER[mutant]:
            losses = views[1].panel("Not kept, by place and cause")
            expect(losses.locator("dt", has_text=words).locator("+ dd")).to_have_text("1")
            expect(views[0].page.locator(".tile", has_text="Lost since load").locator("dd")).to_have_text("1")
        else:
            is_seen(views)


def test_a_tape_without_a_mutant_has_no_loss(chromium: Browser, tmp_path: Path) -> None:
    with played(tmp_path, chromium, 20_000, lossy=False) as (daemon, _, views):
        daemon.books(20_000)
        for view in views:
            is_told(view, 20_000)
            expect(view.page.locator("footer")).to_contain_text("the books close")
        expect(views[1].panel("Not kept, by place and cause")).not_to_contain_text("lost")
        assert views[0].tile("Lost since load") == "0"

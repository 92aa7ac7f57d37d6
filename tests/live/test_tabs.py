"""A browser with many tabs, one that is open for long, and one that is far away: each is right, and costs little."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser.view import View
from playwright.sync_api import Browser, CDPSession, expect
from unit.daemon_tape import Tape

from live.daemon import Daemon, serving
from live.feeds import Player
from live.looking import counted, looking

TABS = 8
NOBODY = 5_000_000
MIB = 1 << 20
FRAMES = 60
"""Of which each has its share of the calls: what a page keeps of a frame shows by their number."""
HEAP = 80 * MIB
"""What a page may take, however long it is open."""
MOST = 150
"""Frames that may be on their way to a browser that is slow; the kernel by itself takes some hundreds."""
SLOW = {"offline": False, "latency": 300, "downloadThroughput": 25_000, "uploadThroughput": 25_000}
"""200 kbit/s."""


def server(daemon: Daemon) -> dict[str, int]:
    """What the server says of its streams."""
    found: dict[str, int] = daemon.get("/api/v1/ledger")["server"]
    return found


def clients(daemon: Daemon) -> int:
    return server(daemon)["clients"]


def told(view: View, records: int) -> None:
    """Wait until a tab has heard of so many; hold its sums against them."""
    view.until(lambda: counted(view)[0] == records)
    total, before, came = counted(view)
    assert total == before + came
    expect(view.page.locator("footer")).to_contain_text("the books close")


def test_eight_tabs_have_one_stream_and_all_are_right(chromium: Browser, tmp_path: Path) -> None:
    player, tape = Player(), Tape(size=200, lossy=False, pids=NOBODY)
    with serving(tmp_path / "daemon", player) as daemon, looking(chromium, daemon) as first:
        player.play(tape.begin(), tape.batches(2_000))
        told(first, 2_000)
        tabs = [first]
        for _ in range(TABS - 1):
            tab = View(first.page.context.new_page(), first.origin)
            tab.page.goto(f"{tab.origin}/#events")
            expect(tab.page.locator(".link")).to_have_text("live")
            tabs.append(tab)
        first.until(lambda: clients(daemon) == 1)
        player.play(tape.batches(20_000))
        for tab in tabs:
            told(tab, 22_000)
        assert clients(daemon) == 1
        # Half of them are not looked at, the one that has the stream among them, and are right when they are again.
        for tab in tabs[: TABS // 2]:
            tab.look("hidden")
        first.until(lambda: clients(daemon) == 1)
        player.play(tape.batches(40_000))
        for tab in tabs[TABS // 2 :]:
            told(tab, 62_000)
        for tab in tabs[: TABS // 2]:
            tab.look("visible")
            told(tab, 62_000)
        player.play(tape.batches(2_000))
        for tab in tabs:
            told(tab, 64_000)
            assert tab.errors == []
        first.until(lambda: clients(daemon) == 1)


def heap(session: CDPSession) -> int:
    """Bytes of a page's objects, behind a collection."""
    session.send("HeapProfiler.collectGarbage")
    found = session.send("Performance.getMetrics")["metrics"]
    return int(next(one["value"] for one in found if one["name"] == "JSHeapUsedSize"))


@pytest.mark.parametrize(
    ("records", "more"), [(48_000, 0.7 * MIB), pytest.param(9_600_000, 8 * MIB, marks=pytest.mark.long)]
)
def test_a_page_that_is_open_for_long_takes_no_more(
    records: int, more: float, chromium: Browser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What comes takes the place of what is older, but for blocked calls, of which it keeps some thousand."""
    player, tape = Player(), Tape(size=200, pids=NOBODY)
    with serving(tmp_path / "daemon", player) as daemon, looking(chromium, daemon, "events") as view:
        session = view.page.context.new_cdp_session(view.page)
        session.send("Performance.enable")
        session.send("HeapProfiler.enable")
        player.play(tape.begin())
        before = 0
        for part in range(1, FRAMES + 1):
            player.play(tape.batches(records // FRAMES))
            daemon.books(records // FRAMES * part)
            told(view, records // FRAMES * part)
            before = heap(session) if part == FRAMES // 6 else before
        after = heap(session)
        with capsys.disabled():
            print(f"\n{records:,} calls: {before / MIB:.1f} MiB after a sixth, {after / MIB:.1f} MiB after all")
        assert after < min(HEAP, before + more)


def test_a_slow_network_loses_no_sum(chromium: Browser, tmp_path: Path) -> None:
    """Frames wait, and are merged, before many of them are on their way; what they say is as much as ever."""
    player, tape = Player(), Tape(size=200, lossy=False, pids=NOBODY)
    with serving(tmp_path / "daemon", player) as daemon, looking(chromium, daemon, "events") as view:
        player.play(tape.begin(), tape.batches(2_000))
        told(view, 2_000)
        session = view.page.context.new_cdp_session(view.page)
        session.send("Network.enable")
        session.send("Network.emulateNetworkConditions", SLOW)
        # What is open already stays as fast as it was.
        view.page.reload()
        told(view, 2_000)
        total, before = 2_000, server(daemon)
        while (now := server(daemon))["coalesced"] < before["coalesced"] + 10:
            assert now["sent"] - before["sent"] < MOST, "so many are on the way that the page shows what was long ago"
            player.play(tape.batches(400))
            total += 400
            daemon.books(total)
        told(view, total)
        session.send("Network.emulateNetworkConditions", {**SLOW, "latency": 0, "downloadThroughput": -1})
        view.go("health")
        expect(view.page.locator(".verdict")).to_contain_text("The books close.")
        merged = view.panel("Streams").locator("dt", has_text="merged for slow ones").locator("+ dd")
        expect(merged).not_to_have_text("0")

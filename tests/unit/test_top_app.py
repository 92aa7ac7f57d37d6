"""The program itself in 80x24, driven by keys against the real server; what is seen is what is asserted."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from kmodlab.daemon.api import frames
from kmodlab.daemon.api.hub import Sums
from kmodlab.daemon.api.sessions import Caller, Role
from kmodlab.daemon.ledger import Books
from kmodlab.daemon.tick import Change, Count, Filter, Process, Ranked
from kmodlab.top import facts, tables, words
from kmodlab.top.app import Top
from kmodlab.top.client import Client, TcpWay, UnixWay
from kmodlab.top.feed import Link
from kmodlab.top.model import Model
from unit.live_server import Live, running
from unit.live_source import BEGAN, histogram, row, terms, tick
from unit.top_screen import Screen, driven

HOSTILE = {
    "\x1b[2J\x1b[1;31m": r"\u{1b}[2J\u{1b}[1;31m",
    "\x9b31m": r"\u{9b}31m",
    "a\x00b": r"a\u{0}b",
    "\u202egpj.exe": r"\u{202e}gpj.exe",
    "\u2066x": r"\u{2066}x",
    "a\r\nb\tc": r"a\u{d}\u{a}b\u{9}c",
    "\udcff\udc80": r"\u{dcff}\u{dc80}",
    "[bold red]x[/]": "[bold red]x[/]",
    "[@click=app.quit]x": "[@click=app.quit]x",
    "\ue000": r"\u{e000}",
    "\u2028": r"\u{2028}",
}
"""What a process may call itself, or a file, and how it is shown."""


def busy(live: Live, number: int = 1, seconds: int = 12) -> int:
    """Some seconds of a machine: 40 openat a second, 3 of them missing, and 10 unlink, 2 of them blocked."""
    rolled = 0
    for second in range(seconds):
        rolled += 50
        calls = {
            ("openat", "LOGGED"): Count(37, 0, 0, histogram(11, 37)),
            ("openat", "FAILED"): Count(3, 3),
            ("unlink", "LOGGED"): Count(8),
            ("unlink", "BLOCKED"): Count(2, 2),
        }
        rows = [row(second * 10 + 1), row(second * 10 + 2, "unlink", "BLOCKED", enforced=True, comm="rm", pid=4242)]
        at = number + second
        ledger = {"rolled": rolled, "received": rolled, "stored": rolled}
        live.tell(tick(at, rows, calls=calls, clock=100.0 + second, seconds=1.0, ledger=ledger, wall=BEGAN + second))
    return rolled


# -- the views -----------------------------------------------------------------------------------------------------


def test_live(live: Live, way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await screen.until("Waiting for the daemon" if not screen.app.model.machine else "kmodlab")
        await screen.until(lambda: screen.app.model.machine)
        busy(live)
        text = await screen.until("✓ the books close  received 600 = stored 600 + on the way 0 + let go 0")
        await screen.until("50 calls/s")
        lines = screen.lines
        assert re.match(r"kmodlab  lab  6\.1\.0-x  permissive +live  \d\d:\d\d:\d\d UTC", lines[0])
        assert lines[1].startswith("[1 Live] 2 Events  3 Top  4 Blocked 12  5 Filters  6 Health")
        assert "50 calls/s  2 blocked/s  10 % failed  1.54 µs median  0 lost  0 s behind" in text
        rates = {line.split()[0]: line for line in lines[4:13] if line.strip()}
        assert re.match(r"openat +40 .*█{9,} +7\.5 % +0 +1\.54 µs +2\.0\d µs", rates["openat"]), rates
        assert re.match(rf"unlink +10 .*█{{9,}} +20 % +20 +{words.DASH} +{words.DASH}", rates["unlink"])
        newest = next(line for line in lines if " rm " in line)
        assert re.search(r"unlink +blocked +rm +4242 AT_FDCWD, \"/etc/file-1", newest)
        assert sum("blocked     rm" in line for line in lines) >= 5, "among the newest, and below them"
        assert lines[-1].startswith("✓ the books close"), "the foot is the last row"

    driven(way, script)


def test_events_are_filtered_by_the_server(live: Live, way: UnixWay) -> None:
    live.source.rows = [row(5, "unlink", wall=BEGAN, comm="BEFORE")]

    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        busy(live)
        await screen.press("slash")
        await screen.press(*"call=unlink", "enter")
        await screen.until("Filter: call=unlink")
        await screen.until("BEFORE")
        live.tell(tick(13, [row(701), row(702, "unlink", comm="SINCE")], ledger={"rolled": 602}))
        shown = await screen.until("SINCE")
        assert "openat" not in shown
        assert "Filter: call=unlink  1 of 602 calls came one by one." in shown
        await screen.press("slash")
        await screen.press(*["backspace"] * 11, "enter")
        await screen.until("No filter.")

    driven(way, script)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("status=x[b]", "there is no status 'x[b]'  logged, blocked, failed"),
        ("pid=abc", "pid=abc is no number"),
        ('"a', "the filter has a quotation mark too few"),
    ],
)
def test_a_filter_that_is_refused_is_said_and_the_stream_goes_on(
    live: Live, way: UnixWay, typed: str, said: str
) -> None:
    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        await screen.press("slash", *typed, "enter")
        await screen.until(said)
        await screen.until("The filter is not understood.")
        live.tell(tick(2, more=5, ledger={"rolled": 5, "received": 5}))
        await screen.until("received 5")
        assert screen.app.link is Link.OPEN

    driven(way, script)


def test_a_pause_holds_and_goes_on(live: Live, way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        live.tell(tick(1, [row(1)], ledger={"rolled": 1}))
        await screen.press("2")
        await screen.until("file-1")
        await screen.press("p")
        await screen.until("Held. 0 calls since")
        assert "[2 Events held]" in screen.lines[1]
        before = screen.lines[3:-1]
        live.tell(tick(2, [row(2), row(3)], more=5, ledger={"rolled": 8, "received": 8}))
        await screen.until("Held. 7 calls since; p goes on.")
        await screen.until("received 8")
        assert screen.lines[3:-1] == before
        await screen.press("p")
        await screen.until("file-3")
        assert "held" not in screen.text

    driven(way, script)


def test_what_is_seen_is_held_and_not_what_came_since(live: Live, way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        live.tell(tick(1, [row(1)], ledger={"rolled": 1}))
        await screen.press("2")
        await screen.until("file-1")
        before = screen.lines[3:-1]
        late = frames.frame(tick(2, [row(2)], ledger={"rolled": 2}), {"": Filter()}, Sums())
        screen.app.model.apply(json.loads(json.dumps(late)))
        screen.app.action_pause()
        await screen.until("Held. 0 calls since")
        assert screen.lines[3:-1] == before

    driven(way, script)


def test_all_of_a_call(live: Live, way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        rows = [row(1), row(2, "unlink", "FAILED", returned=-13, latency=2_500_000)]
        live.tell(tick(1, rows, ledger={"rolled": 2}))
        await screen.press("2")
        await screen.until("file-2")
        await screen.press("enter")
        text = await screen.until("Argument 4")
        for fact in (
            "Returned           EACCES (-13)",
            "Latency            2.50 ms (2,500,000 ns)",
            "Ran                yes",
        ):
            assert fact in text
        assert 'Argument 2         "/etc/file-2"' in text
        await screen.press("escape", "down", "enter")
        assert 'Argument 2         "/etc/file-1"' in await screen.until("Argument 4")

    driven(way, script)


def test_top(live: Live, way: UnixWay) -> None:
    nginx = Ranked(
        "nginx[641]", Count(750, 75, 1_500_000, histogram(11, 750)), 0, Process(1, 1, 641, "nginx", 33, 1, BEGAN)
    )
    others = Ranked("other", Count(250), 5, Process(0, 0, 0, "other", 0, 0, 0))
    live.source.ranked = [nginx, others]

    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        await screen.press("3")
        await screen.until("nginx")
        lines = screen.lines
        line = next(line for line in lines if line.startswith("nginx"))
        assert re.match(r"nginx +641 +33 +750 █+ +75 % +10 % +0 +2\.00 µs", line)
        assert any(re.match(rf"all others +250 █+ +25 % +0 % +5 +{words.DASH}", line) for line in lines)
        assert [asked[3] for asked in live.source.asked if asked[0] == "top"][:2] == ["process", "call"]
        begin, end = next(asked[1:3] for asked in live.source.asked if asked[0] == "top")
        assert end - begin == pytest.approx(60)
        await screen.press("s")
        await screen.until("The last 15 min")
        await screen.press("enter")
        await screen.until("Filter: pid=641")

    driven(way, script)


def test_blocked_calls_are_those_that_came_and_those_of_before(live: Live, way: UnixWay) -> None:
    live.source.rows = [row(7, "unlink", "BLOCKED", wall=BEGAN - 5, comm="old")]

    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        live.tell(tick(1, [row(9, "unlink", "BLOCKED", comm="new")], blocked_more=4, ledger={"rolled": 1}))
        await screen.press("4")
        await screen.until("old")
        text = await screen.until("new")
        assert "The module is permissive: these ran.  4 more were too many to come one by one." in text
        rows = [line for line in screen.lines if "would block" in line]
        assert [line.split()[4] for line in rows] == ["new", "old"]

    driven(way, script)


def test_what_became_of_a_call() -> None:
    """Whose result nobody has recorded is not said to have gone well."""
    said = {
        status: [str(tables.status(vars(row(1, status=status, returned=returned)))) for returned in (3, None)]
        for status in ("LOGGED", "FAILED", "BLOCKED")
    }
    assert said == {
        "LOGGED": ["ok", "allowed"],
        "FAILED": ["failed", "failed"],
        "BLOCKED": ["would block", "would block"],
    }
    assert str(tables.status(vars(row(1, status="BLOCKED", enforced=True)))) == "blocked"


def test_filters_and_who_changed_what(live: Live, way: UnixWay) -> None:
    live.source.filters = ("unlink BLOCK path=/etc/[x]", "open ALLOW uid=0")
    live.source.changed = [Change(BEGAN, "ada", "unlink block", "", "unlink BLOCK")]

    async def script(screen: Screen) -> None:
        await screen.press("5")
        text = await screen.until("unlink BLOCK path=/etc/[x]")
        assert "permissive  A call that a filter blocks is told, and runs." in text
        assert "openat unlink" in text
        await screen.until(r"ada")
        await screen.press("c")
        await screen.press(*"nonsense block", "enter")
        await screen.until("syscall_tracer: no such system call: nonsense  see /proc/kallsyms")
        await screen.press("c")
        await screen.press(*"rmdir block", "enter")
        text = await screen.until("Done: rmdir block")
        await screen.until("  rmdir block")

    driven(way, script)
    assert live.source.changed[0].what == "rmdir block"


def test_a_reader_is_told_that_changes_are_not_theirs(live: Live) -> None:
    way = TcpWay(live.port)
    way.enter(live.sessions.invite(Caller("eve", Role.READER)))

    async def script(screen: Screen) -> None:
        await screen.press("5")
        await screen.until("permissive")
        await screen.press("c")
        await screen.until("Changes take the role admin.")
        assert not screen.app.query_one("#asked").has_class("open")

    driven(way, script)


def test_health(live: Live, way: UnixWay) -> None:
    live.source.books = Books(
        {(1, 0): terms(10), (1, 1): terms(7, received=9, lost_ring=3)}, troubles=("the disk is full",)
    )

    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        live.tell(tick(1, more=3, ledger={"rolled": 103}))
        await screen.press("6")
        await screen.until("epoch 1 CPU 0")
        text = screen.text
        assert re.search(r"epoch 1 CPU 0  Journal +10 10 stored +yes", text)
        await screen.press("end")
        text = await screen.until("this program")
        assert re.search(r"epoch 1 CPU 1  Journal +9 7 stored +no: 2", text)
        assert "overwritten before sending" in text
        await screen.until(lambda: re.search(r"this program +Stream +103 100 before \+ 3 came +yes", screen.text))

    driven(way, script)


# -- the verdict ---------------------------------------------------------------------------------------------------


def test_books_that_do_not_close_are_red_with_the_sums_that_are_open(live: Live, way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        bad = {(1, 0): terms(10, stored=8)}
        live.tell(tick(1, more=10, ledger={"rolled": 10, "received": 10, "stored": 8}, cpus=bad))
        text = await screen.until("✗ the books do not close")
        assert re.search(r"epoch 1 CPU 0: .*received 10", text), text
        foot = facts.verdict(screen.app.model)
        assert {str(span.style) for span in foot[1].spans} | {str(foot[1].style)} == {"bold red"}
        live.tell(tick(2, cpus={(1, 0): terms(10)}, ledger={"rolled": 10, "received": 10, "stored": 10}))
        await screen.until("✓ the books close")

    driven(way, script)


def test_a_stream_that_misses_something_does_not_close() -> None:
    model = Model()
    head = {"ledger": {"rolled": 10}, "troubles": [], "open": [], "epoch": 1, "clock": 1.0, "wall": BEGAN}
    model.begin({"machine": None, "base": head})
    assert str(facts.verdict(model)[0]).startswith("✓ the books close")
    model.latest = {**head, "ledger": {"rolled": 12}}
    assert "+ 2 that are nowhere" in str(facts.verdict(model)[-1])
    model.latest = {**head, "ledger": {"rolled": 8}}
    assert "- 2 that came twice" in str(facts.verdict(model)[-1])


# -- what is hostile -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", HOSTILE, ids=ascii)
def test_what_a_process_chose_is_written_out(live: Live, way: UnixWay, given: str) -> None:
    live.source.changed = [Change(BEGAN, given, given, "", "")]
    live.source.ranked = [Ranked("x", Count(9), 0, Process(1, 1, 641, given, 33, 1, BEGAN))]

    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        rows = [row(1, "unlink", "BLOCKED", comm=given[:15], arguments=("AT_FDCWD", given))]
        live.tell(tick(1, rows, ledger={"rolled": 1}, troubles=(f"no room for {given}",)))
        shown = HOSTILE[given]
        for key in "136":
            await screen.press(key)
            await screen.until(f"No room for {shown}")
        await screen.press("2")
        await screen.until(lambda: any("would block" in line for line in screen.lines))
        line = next(line for line in screen.lines if "would block" in line)
        assert line[32:46] == words.plain(given[:15])[:14].ljust(14), "the process, as wide as its column"
        await screen.press("enter")
        await screen.until(f"Argument 2         {shown}")
        assert not [letter for letter in screen.text if words.plain(letter) != letter and letter != "\n"]
        if "\udcff" in given:
            # The daemon's answers have no half letters: the kernel escapes what is no UTF-8. A stream might.
            return
        await screen.press("escape", "3")
        await screen.until("641")
        await screen.press("5")
        await screen.until("2023-11-14")
        assert not [letter for letter in screen.text if words.plain(letter) != letter and letter != "\n"]
        assert screen.app.is_running, "nothing was clicked"

    driven(way, script)


def test_wide_letters_stay_in_their_columns(live: Live, way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        live.tell(tick(1, [row(1, comm="統計"), row(2, comm="cat")], ledger={"rolled": 2}))
        await screen.press("2")
        await screen.until("file-2")
        wide, narrow = (next(line for line in screen.lines if name in line) for name in ("統計", "cat"))
        assert wide.index("977") + 2 == narrow.index("977")

    driven(way, script)


# -- what happens to it --------------------------------------------------------------------------------------------


def test_keys_are_listed(way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await screen.press("question_mark")
        text = await screen.until("pause the events, and go on")
        assert "call=openat,unlinkat  these calls" in text
        await screen.press("question_mark")
        await screen.until("1 Live")

    driven(way, script)


def test_it_is_drawn_anew_at_any_size(live: Live, way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        busy(live)
        await screen.until("50 calls/s")
        await screen.pilot.resize_terminal(40, 10)
        await screen.until("This terminal is 40x10: top takes 60x12")
        await screen.pilot.resize_terminal(160, 50)
        text = await screen.until("each to its own highest")
        assert "Latency" in text
        await screen.pilot.resize_terminal(60, 12)
        await screen.until("✓ the books close")
        assert max(len(line) for line in screen.lines) <= 60

    driven(way, script)


def test_a_daemon_that_goes_away_and_comes_back_is_said(tmp_path: Any) -> None:
    async def script(screen: Screen) -> None:
        await screen.until("live")
        first.serving.should_exit = True
        await screen.until("reconnecting")
        await screen.until("The daemon does not answer: Connection refused. It is tried again.")
        with running(tmp_path) as again:
            again.tell(tick(1, more=3, ledger={"rolled": 3, "received": 3}))
            await screen.until("received 3")
            assert "does not answer" not in screen.text

    with running(tmp_path) as first:
        driven(UnixWay(tmp_path / "s"), script)


def test_a_session_that_ends_is_said(live: Live) -> None:
    way = TcpWay(live.port)
    way.enter(live.sessions.invite(Caller("ada", Role.ADMIN)))

    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        live.run(live.sessions._sessions.clear)
        live.tell(tick(1, more=1, ledger={"rolled": 1}))
        await screen.until("The session has ended: start kmodlab top again.")
        assert "session ended" in screen.lines[0]

    driven(way, script)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("no module", ["The module is not loaded: nothing is recorded."]),
        ("no recorder", ["The recorder does not run: nothing is recorded."]),
        ("a\x1b[1mnew reason", [r"Nothing is recorded: a\u{1b}[1mnew reason."]),
        ("recording", []),
    ],
)
def test_a_machine_on_which_nothing_is_recorded_says_so(state: str, said: list[str]) -> None:
    model = Model()
    model.begin({"machine": {"state": state}, "base": None})
    assert [str(one) for one in facts.troubles(Link.OPEN, "", model)] == said


def test_a_fault_of_its_own_is_handed_on(way: UnixWay, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Model) -> Any:
        raise ZeroDivisionError("drawing")

    monkeypatch.setattr(facts, "tiles", broken)
    client = Client(way)
    app = Top(client, client.get("session"))

    async def run() -> None:
        async with app.run_test() as pilot:
            await Screen(app, pilot).until(lambda: app.fault)

    with pytest.raises(ZeroDivisionError, match="drawing"):
        asyncio.run(run())
    assert isinstance(app.fault, ZeroDivisionError)


def test_it_quits(way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        await screen.press("q")
        await screen.until(lambda: not screen.app.is_running)

    assert driven(way, script).return_code == 0

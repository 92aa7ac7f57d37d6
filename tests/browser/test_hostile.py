"""What a machine can say that it should not: names that are code, sums that do not close, a module that goes away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from patience import SECONDS
from playwright.sync_api import Browser, expect
from unit.live_server import Live, running
from unit.live_source import BEGAN, row, terms, tick

from browser.view import VIEWS, View
from kmodlab.daemon.api.sessions import Caller, Role
from kmodlab.daemon.ledger import Books
from kmodlab.daemon.tick import Change, Count, Process, ProcessCount, Ranked

HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\">",
    "</script><script>document.title='owned'</script>",
    "javascript:document.title='owned'",
    "\u202egnp.exe\u2066",
    "nul\0 bell\a escape\x1b[31m",
    "=cmd|' /C calc'!A0",
    "${document.title='owned'}`",
    "\U000e0041tag \u200b\ufeff",
    "x" * 4096,
)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with running(tmp_path) as one:
        yield one


@pytest.fixture
def view(live: Live, chromium: Browser) -> Iterator[View]:
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        context.set_default_timeout(SECONDS * 1000)
        one = View(context.new_page(), live.origin)
        token = live.sessions.invite(Caller("<b>anna</b>", Role.ADMIN))
        one.page.goto(f"{live.origin}/#token={token}")
        expect(one.page.get_by_role("navigation")).to_be_visible()
        live.wait_until(lambda: len(live.hub.clients) == 1)
        yield one
        assert one.errors == []


def escaped(text: str) -> str:
    """A name as a lister would have it that escapes no more than it must for a row to be one."""
    return re.sub(r"[\s\x1c-\x1f\x85]", lambda found: f"\\{ord(found[0]):03o}", text)


def _say(live: Live, number: int) -> None:
    """Have the machine say all of it, everywhere."""
    calls = [row(n + number * 100, call=text, comm=text, arguments=(text, text)) for n, text in enumerate(HOSTILE)]
    refused = [replace(one, seq=one.seq + 50, status="BLOCKED") for one in calls]
    processes = [Process(n, 1, n, text, 0, 1, BEGAN) for n, text in enumerate(HOSTILE, 1)]
    live.source.rows = calls + refused
    live.source.ranked = [Ranked(one.comm, Count(5), 1, process) for one in processes for process in (one, None)]
    live.source.filters = tuple(f"{text} block comm={text}" for text in HOSTILE)
    live.source.mode = "".join(HOSTILE)
    live.source.changed = [Change(BEGAN, text, text, text, text) for text in HOSTILE]
    live.source.books = Books({(1, 0): terms(2)}, troubles=HOSTILE)
    # The lister escapes what separates fields; all else is as the process has it.
    live.source.task_rows = [f"{pid} 1 {escaped(text)} SLEEPING 9 9 1 0 0" for pid, text in enumerate(HOSTILE, 10)]
    counts = tuple(ProcessCount(process, 2, 0, 1, 0) for process in processes)
    made = 2 * len(HOSTILE)
    ledger = {"rolled": made * number}
    live.tell(tick(number, calls + refused, processes=counts, troubles=HOSTILE, ledger=ledger))


@pytest.mark.parametrize("name", VIEWS)
def test_names_are_only_text(live: Live, view: View, name: str) -> None:
    _say(live, 1)
    view.page.goto(f"{view.origin}/#{name}")
    view.page.reload()
    live.wait_until(lambda: len(live.hub.clients) == 1)
    for number in (2, 3):
        _say(live, number)
        expect(view.page.locator("footer")).to_contain_text(f"{2 * len(HOSTILE) * number} =")
    if name in ("live", "events", "blocked"):
        expect(view.page.locator("table.calls tbody tr").nth(8)).to_be_visible()
    if name == "tasks":
        expect(view.table("Tasks").nth(8)).to_contain_text("x" * 100)
        assert view.table("Tasks").filter(has_text="onerror").count() == 1
    shown = view.page.locator("body").inner_text()
    assert "onerror" in shown, "it is shown"
    assert view.page.title() == f"{name.title()} \u00b7 kmodlab"
    assert view.page.locator("img, iframe, main script, a[href^='javascript']").count() == 0
    assert not set("\u202e\u2066\u200b\ufeff\0\a\x1b\U000e0041") & set(shown)
    assert view.wider() == []


def test_whose_result_nobody_recorded_has_not_gone_well(live: Live, view: View) -> None:
    view.page.keyboard.press("2")
    live.tell(tick(1, [row(1, comm="known"), row(2, comm="unknown", returned=None, latency=None)]))
    rows = view.table("Newest calls")
    expect(rows.filter(has_text="unknown").locator(".status")).to_have_text("allowed")
    expect(rows.filter(has_not_text="unknown").locator(".status")).to_have_text("ok")


def test_what_cannot_be_seen_is_written_out(live: Live, view: View) -> None:
    view.page.keyboard.press("2")
    live.tell(tick(1, [row(1, comm="a\u202eb\0", arguments=("\u2066<i>",))]))
    cells = view.table("Newest calls").first.locator("td")
    expect(cells.nth(3)).to_have_text(r"a\u{202e}b\u{0}")
    expect(cells.last).to_have_text(r"\u{2066}<i>")


def test_the_policy_is_kept_by_the_browser(view: View) -> None:
    view.expected += ("TrustedHTML", "Content Security Policy", "This document requires")
    said = view.page.evaluate("try { document.body.innerHTML = '<b>x</b>'; 'let in' } catch (error) { error.name }")
    assert said == "TypeError"
    inline = "const s = document.createElement('script'); try { s.text = 'document.title = 1' } catch (e) { e.name }"
    assert view.page.evaluate(inline) == "TypeError"
    assert view.page.evaluate("fetch('https://example.org').then(() => 'let out', () => 'kept in')") == "kept in"
    view.elsewhere.clear()


def test_sums_that_do_not_close_are_red(live: Live, view: View) -> None:
    live.tell(tick(1, more=5, ledger={"rolled": 5}, cpus={(1, 0): terms(5)}))
    footer = view.page.locator("footer")
    expect(footer).to_contain_text("the books close")
    live.tell(tick(2, more=5, ledger={"rolled": 11}, cpus={(1, 0): terms(10)}))
    expect(footer).to_contain_text("the books do not close: this page misses 1")
    live.tell(tick(3, more=5, ledger={"rolled": 15}, cpus={(1, 0): terms(15, stored=14)}))
    expect(footer).to_contain_text("the books do not close: 2 sums are open")
    live.source.books = Books({(1, 0): terms(15, stored=14)}, troubles=("the disk is full",))
    view.page.keyboard.press("7")
    expect(view.page.locator(".verdict")).to_contain_text(
        "The books do not close. epoch 1 CPU 0, Journal: 1 are nowhere."
    )
    expect(view.page.get_by_role("alert")).to_have_text("the disk is full")
    expect(view.table("Ledger").filter(has_text="Journal")).to_contain_text("no: 1")
    assert footer.evaluate("one => getComputedStyle(one).backgroundColor") != view.page.locator("header.top").evaluate(
        "one => getComputedStyle(one).backgroundColor"
    )


def test_nothing_is_said_to_close_before_anything_was_heard(view: View) -> None:
    expect(view.page.locator("footer")).to_have_text("waiting for the ledger")


def test_a_reboot_under_the_page(live: Live, view: View) -> None:
    live.tell(tick(1, [row(1)], ledger={"rolled": 1}))
    live.tell(tick(2, [row(1, "unlink", epoch=2)], epoch=2, clock=3.0, ledger={"rolled": 2}))
    expect(view.table("Newest calls")).to_have_count(2)
    expect(view.page.locator("footer")).to_contain_text("the books close")
    view.page.keyboard.press("7")
    expect(view.panel("What this is")).to_contain_text("began anew 1 times")


def test_a_clock_that_is_set_back_a_year_moves_times_and_makes_no_hole(live: Live, view: View) -> None:
    year = 365 * 86400.0
    for number in range(1, 25):
        live.tell(tick(number, more=100, ledger={"rolled": number * 100}))
    for number in range(25, 60):
        live.tell(tick(number, more=100, ledger={"rolled": number * 100}, wall=BEGAN + number / 4 - year))
    view.page.get_by_label("Times").select_option("UTC")
    expect(view.page.locator("footer .now")).to_contain_text("2022-11-14")
    view.page.keyboard.press("t")
    rows = view.table("Calls a second as a table")
    expect(rows).to_have_count(180)
    values = [text.split("\t")[1] for text in rows.all_inner_texts()]
    told = [value for value in values if value != "\u2013"]
    assert values[: len(told)] == told, "there is no hole"
    assert len(told) >= 13
    assert set(told[:-1]) == {"400"}


def test_more_blocked_calls_than_can_be_told_are_counted(live: Live, view: View) -> None:
    refused = [row(number, "unlink", "BLOCKED") for number in range(200)]
    live.tell(tick(1, refused, blocked_more=1234, ledger={"rolled": 200}))
    view.page.keyboard.press("4")
    expect(view.table("Blocked calls")).to_have_count(200)
    expect(view.page.locator(".said")).to_contain_text("1\u202f234 more were too many to come one by one")


def test_a_stream_that_says_nothing_is_not_called_live(live: Live, view: View) -> None:
    live.tell(tick(1, more=1, ledger={"rolled": 1}))
    link = view.page.locator(".link")
    expect(link).to_have_text("live")
    expect(link).to_have_text(re.compile(r"silent for \d+ s"))
    live.tell(tick(2, more=1, ledger={"rolled": 2}))
    expect(link).to_have_text("live")

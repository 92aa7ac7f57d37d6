"""Each feature of the page, used once as a user does, on the machine that is made up."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, expect

from browser.conftest import Demo, started
from browser.view import View

NUMBER = re.compile(r"[\d\s\u202f]+")


def number(text: str) -> int:
    return int(re.sub(r"[^\d]", "", text) or "0")


# -- in and out ----------------------------------------------------------------------------------------------------


def test_the_token_is_in_no_address_and_opens_once(demo: Demo, another: Callable[[], View], chromium: Browser) -> None:
    page = another().page
    page.goto(demo.address)
    expect(page).to_have_url(f"{demo.origin}/#live")
    expect(page.locator(".link")).to_have_text("live")
    assert "token" not in page.evaluate("document.cookie + localStorage.length + Object.values(localStorage)")
    page.close()
    with chromium.new_context() as context:
        other = context.new_page()
        other.goto(demo.address)
        expect(other.get_by_role("alert")).to_contain_text("this token is none, or was used")
        expect(other.get_by_role("heading", name="Calls a second")).to_have_count(0)


def test_a_reader_looks_and_an_invitation_is_enough(view: View, chromium: Browser) -> None:
    make = """() => fetch("api/v1/invitations", {method: "POST", headers: {"content-type": "application/json"},
        body: JSON.stringify({role: "reader"})}).then((answer) => answer.json())"""
    token = view.page.evaluate(make)["token"]
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(view.origin)
        page.get_by_label("Address or token").fill(f"{view.origin}/#token={token}")
        page.get_by_role("button", name="Open").click()
        page.get_by_role("link", name="Filters").click()
        expect(page.get_by_text("You may look. Changes take the role admin.")).to_be_visible()
        expect(page.get_by_role("button", name=re.compile("Delete|Enforce|Add|Be permissive"))).to_have_count(0)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Address or token")).to_be_visible()


def test_a_session_that_ends_is_said(view: View, chromium: Browser) -> None:
    make = """() => fetch("api/v1/invitations", {method: "POST", headers: {"content-type": "application/json"},
        body: JSON.stringify({role: "reader"})}).then((answer) => answer.json())"""
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(f"{view.origin}/#token={view.page.evaluate(make)['token']}")
        expect(page.locator(".link")).to_have_text("live")
        page.evaluate("fetch('api/v1/session', {method: 'DELETE'})")
        expect(page.get_by_label("Address or token")).to_be_visible()


def test_ctrl_c_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    one = started(tmp_path)
    assert list(tmp_path.iterdir())
    status, output = one.end()
    assert status == 0, output
    assert "rror" not in output
    assert list(tmp_path.iterdir()) == []


# -- live ----------------------------------------------------------------------------------------------------------


def test_live(view: View) -> None:
    chart = view.panel("Calls a second")
    expect(view.table("Newest calls").first).to_be_visible()
    expect(view.table("Calls of the chart").filter(has_text="openat")).to_be_visible()
    view.until(lambda: view.tile("Calls a second") != "0")
    view.until(lambda: view.painted(chart) > 5)
    assert view.tile("Lost since load") == "0"
    view.until(lambda: view.tile("Latency, median").endswith("s"))
    newest = view.table("Newest calls").first
    before = newest.get_attribute("data-key")
    view.until(lambda: newest.get_attribute("data-key") != before)


def test_nothing_moves_for_ever(view: View) -> None:
    """For anything that does, a browser paints sixty times a second for as long as the page is open."""
    times = "one => getComputedStyle(one).animationIterationCount"
    assert view.page.locator(".link.good i").evaluate(times) == "3", "the mark breathes three times, and rests"


def test_the_pointer_shows_a_second_of_the_chart(view: View) -> None:
    view.panel("Calls a second").locator(".u-over").hover(position={"x": 300, "y": 50})
    expect(view.page.get_by_role("columnheader", name=re.compile(r"^Call, \d\d:\d\d:\d\d$"))).to_be_visible()
    view.page.get_by_role("heading", name="kmodlab").hover()
    expect(view.page.get_by_role("columnheader", name="Call, last 10 s")).to_be_visible()


def test_a_chart_is_a_table_by_one_key(view: View) -> None:
    view.page.keyboard.press("t")
    rows = view.table("Calls a second as a table")
    expect(rows).to_have_count(180)
    heads = view.page.locator(".chart-table thead th")
    view.until(lambda: {"openat", "close"} <= set(heads.all_inner_texts()))
    view.page.keyboard.press("t")
    expect(rows).to_have_count(0)
    expect(view.panel("Calls a second").locator("canvas")).to_be_visible()


# -- events --------------------------------------------------------------------------------------------------------


def test_events_are_filtered(view: View) -> None:
    view.page.keyboard.press("/")
    view.page.keyboard.type("call=openat status=failed")
    view.page.keyboard.press("Enter")
    rows = view.table("Newest calls")
    view.only(rows, "openat", "failed")
    expect(rows.filter(has_text="ENOENT").first).to_be_visible()
    assert "filter=call" in view.page.url, "it can be handed on"
    view.page.get_by_role("button", name="Everything").click()
    expect(rows.filter(has_text="close").first).to_be_visible()


def test_a_filter_that_is_none_is_said(view: View) -> None:
    view.expected += ("400",)
    view.go("events").page.get_by_label("Filter").fill("status=odd")
    view.page.keyboard.press("Enter")
    expect(view.page.locator("#filter-said")).to_contain_text("there is no status 'odd'")
    view.page.get_by_role("button", name="Everything").click()


def test_a_pause_holds(view: View) -> None:
    view.go("events")
    rows = view.table("Newest calls")
    expect(rows.nth(20)).to_be_visible()
    view.page.keyboard.press("p")
    said = view.page.locator("#filter-said")
    expect(said).to_contain_text("Held.")
    held = rows.all_inner_texts()
    view.until(lambda: number(said.inner_text()) > 300)
    assert rows.all_inner_texts() == held
    view.go("live").go("events")
    expect(view.page.get_by_label("Filter")).to_be_visible()
    assert rows.all_inner_texts() == held, "it holds while one looks elsewhere"
    view.page.get_by_role("button", name="Go on").click()
    expect(said).not_to_contain_text("Held.")
    view.until(lambda: rows.first.inner_text() != held[0])


def test_every_argument_of_a_call_by_the_keyboard(view: View) -> None:
    view.page.goto(f"{view.origin}/#events?filter=call%3Dopenat")
    rows = view.table("Newest calls")
    expect(view.page.get_by_label("Filter")).to_have_value("call=openat")
    expect(rows.nth(3)).to_be_visible()
    view.page.keyboard.press("p")
    rows.first.get_by_role("button").focus()
    view.page.keyboard.press("ArrowDown")
    view.page.keyboard.press("Enter")
    dialog = view.page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("openat")
    wanted = rows.nth(1).locator("td").last.inner_text().split(", ")
    facts = dict(zip(dialog.locator("dt").all_inner_texts(), dialog.locator("dd").all_inner_texts(), strict=True))
    assert [facts[f"Argument {index + 1}"] for index in range(4)] == wanted
    assert facts["PID, TID, parent"].startswith(rows.nth(1).locator("td").nth(4).inner_text())
    view.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    rows.nth(1).click()
    pid = facts["PID, TID, parent"].partition(",")[0]
    view.page.get_by_role("button", name="Only this process").click()
    expect(view.page.get_by_label("Filter")).to_have_value(f"pid={pid}")
    view.page.get_by_role("button", name="Everything").click()


# -- top, blocked --------------------------------------------------------------------------------------------------


def test_top(view: View) -> None:
    view.go("top")
    expect(view.table("Processes").filter(has_text="nginx").first).to_be_visible()
    expect(view.table("Calls").filter(has_text="openat")).to_be_visible()
    calls = view.table("Calls").filter(has_text="openat").locator("td").first
    minute = number(calls.inner_text())
    view.page.get_by_label("Over the").select_option("last hour")
    view.until(lambda: number(calls.inner_text()) > minute * 1.5)
    view.table("Processes").filter(has_text="postgres").get_by_role("button").first.click()
    expect(view.table("Newest calls").first).to_contain_text("postgres")
    view.page.get_by_role("button", name="Everything").click()


def test_blocked_calls_are_all_there(view: View) -> None:
    view.go("blocked")
    rows = view.table("Blocked calls")
    told = view.ask("blocked?begin=0&end=4000000000&limit=1000")["rows"]["seq"]
    view.until(lambda: rows.count() >= min(len(told), 200))
    assert len(told) > 5
    assert {row.split("\t")[2].strip() for row in rows.all_inner_texts()} <= {"blocked", "would block"}
    assert "/etc/" in rows.filter(has_text="unlinkat").first.inner_text()


# -- history -------------------------------------------------------------------------------------------------------


def test_history_of_a_time(view: View) -> None:
    view.go("history")
    chart = view.page.locator("section.wide-chart")
    expect(view.table("Calls of that time").nth(50)).to_be_visible()
    view.until(lambda: view.painted(chart) > 5)
    view.page.get_by_role("button", name="1 h", exact=True).click()
    expect(chart).to_contain_text("a point is")
    view.page.get_by_label("by", exact=True).select_option("process")
    expect(view.table("Busiest of that time").filter(has_text="nginx").first).to_be_visible()
    view.page.get_by_label("by", exact=True).select_option("status")
    expect(view.table("Busiest of that time").filter(has_text="BLOCKED")).to_be_visible()
    for words in ("1 min", "1 d", "7 d", "30 d", "1 y", "2 y"):
        view.page.get_by_role("button", name=words, exact=True).click()
        expect(view.page.get_by_role("button", name=words, exact=True)).to_have_attribute("aria-pressed", "true")
        expect(view.table("Calls of that time").first).to_be_visible()


def test_history_one_by_one(view: View) -> None:
    view.go("history")
    rows = view.table("Calls of that time")
    expect(rows).to_have_count(100)
    view.page.get_by_role("button", name="Older ones").click()
    expect(rows).to_have_count(200)
    keys = rows.evaluate_all("rows => rows.map((row) => row.dataset.key)")
    assert len(set(keys)) == 200, "none comes twice"
    view.page.get_by_label("Filter").fill("comm=nginx status=failed")
    view.page.keyboard.press("Enter")
    view.only(rows, "nginx", "failed")
    expect(rows.filter(has_text="ENOENT").first).to_be_visible()


def test_a_time_is_picked_and_dragged(view: View) -> None:
    view.go("history")
    begin, end = view.page.get_by_label("From", exact=True), view.page.get_by_label("to", exact=True)
    expect(view.table("Calls of that time").first).to_be_visible()
    first, last = begin.input_value(), end.input_value()
    box = view.page.locator("section.wide-chart .u-over").bounding_box()
    assert box
    view.page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 40)
    view.page.mouse.down()
    view.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 40, steps=4)
    view.page.mouse.up()
    expect(begin).not_to_have_value(first)
    assert first < begin.input_value() < end.input_value() < last
    expect(view.page.get_by_role("button", name="15 min")).to_have_attribute("aria-pressed", "false")
    begin.fill(last)
    end.fill(first)
    view.page.get_by_role("button", name="Show").first.click()
    expect(view.page.get_by_role("alert")).to_have_text("The time has to begin before it ends.")
    begin.fill(first)
    end.fill(last)
    view.page.get_by_role("button", name="Show").first.click()
    expect(view.page.get_by_role("alert")).to_have_count(0)
    expect(view.table("Calls of that time").first).to_be_visible()


def test_times_in_three_zones(view: View) -> None:
    now = view.page.locator("footer .now")
    zone = view.page.get_by_label("Times")
    shown = {}
    for name in ("UTC", "server time", "browser time"):
        zone.select_option(name)
        expect(now).to_have_text(re.compile({"UTC": "UTC$", "browser time": r"\+05:30$"}.get(name, r"\+00:00$")))
        shown[name] = now.inner_text()
    assert shown["browser time"].endswith("UTC+05:30")
    hours = [int(shown[name][11:13]) * 60 + int(shown[name][14:16]) for name in ("UTC", "browser time")]
    assert (hours[1] - hours[0]) % 1440 in (330, 331)
    machine = view.ask("machine")["wall"]
    zone.select_option("UTC")
    expect(now).to_have_text(re.compile("UTC$"))
    assert abs(time.strptime(now.inner_text()[:19], "%Y-%m-%d %H:%M:%S").tm_min - time.gmtime(machine).tm_min) in (
        0,
        1,
        59,
    )


# -- filters, health -----------------------------------------------------------------------------------------------


def test_filters_and_mode_are_changed_and_it_is_known_who(view: View) -> None:
    view.go("filters")
    panel = view.panel("Filters")
    view.page.get_by_label("Call", exact=True).fill("openat")
    view.page.get_by_label("Error").fill("EACCES")
    view.page.get_by_label("Path begins with").fill("/var/no such place/")
    view.page.get_by_role("button", name="Add", exact=True).first.click()
    line = panel.get_by_role("listitem").filter(has_text="openat")
    expect(line).to_contain_text(r"/var/no\040such\040place/")
    line.get_by_role("button", name="Delete").click()
    expect(line).to_have_count(0)
    mode = view.page.locator(".mode strong")
    before = mode.inner_text()
    view.panel("Mode").get_by_role("button").click()
    expect(mode).not_to_have_text(before)
    expect(view.page.locator("header .mode")).to_have_text(mode.inner_text())
    view.panel("Mode").get_by_role("button").click()
    expect(mode).to_have_text(before)
    log = view.table("Changes")
    expect(log.filter(has_text="openat delete")).to_be_visible()
    expect(log.filter(has_text="enforce=").first).to_be_visible()
    assert view.ask("session")["who"] in log.first.inner_text()


def test_what_the_module_refuses_is_said_in_its_words(view: View) -> None:
    view.expected += ("400", "409", "503")
    view.go("filters")
    view.page.get_by_label("Call", exact=True).fill("nonsense")
    view.page.get_by_role("button", name="Add", exact=True).first.click()
    expect(view.page.locator(".result")).to_contain_text("no system call nonsense")


def test_health(view: View) -> None:
    view.go("health")
    expect(view.page.locator(".verdict")).to_contain_text("The books close.")
    rows = view.table("Ledger")
    for cpu in (0, 1):
        expect(rows.filter(has_text=f"CPU {cpu}")).to_have_count(7)
    # Both sides at once: the page draws four times a second.
    both = "row => [row.querySelectorAll('td')[1].innerText, row.querySelector('.terms').innerText]"
    for row in rows.all():
        calls, terms = row.evaluate(both)
        assert number(calls) == sum(number(part) for part in terms.split(" + ")), (calls, terms)
    page = rows.filter(has_text="this page").locator("td").nth(1)
    expect(page).not_to_have_text("0")
    facts = view.panel("What this is")
    for word in ("demo", "ftrace", "6.1.0"):
        expect(facts).to_contain_text(word)


# -- tabs ----------------------------------------------------------------------------------------------------------


def streams(view: View) -> int:
    """How many streams the server has: none or two for a moment, while one follows another."""
    found: int = view.ask("ledger")["server"]["clients"]
    return found


def test_all_tabs_of_a_browser_have_one_stream(view: View, another: Callable[[], View]) -> None:
    tabs = [another().open("events") for _ in range(3)]
    tabs[0].page.evaluate("location.hash = 'events?filter=call%3Dclose'")
    tabs[1].page.evaluate("location.hash = 'events?filter=call%3Dread'")
    for tab, call in ((tabs[0], "close"), (tabs[1], "read")):
        expect(tab.table("Newest calls").first).to_contain_text(call)
    # A tab that asks for other calls has the stream begin anew.
    view.until(lambda: streams(view) == 1)
    # Whichever has the stream, another one takes over when it is gone.
    for tab in tabs[:2]:
        tab.page.close()
        last = tabs[2].page.locator("footer").inner_text()
        expect(tabs[2].page.locator("footer")).not_to_have_text(last)
        expect(tabs[2].page.locator("footer")).to_contain_text("the books close")
    view.page.goto("about:blank")
    last = tabs[2].page.locator("footer span").first.inner_text()
    expect(tabs[2].page.locator("footer span").first).not_to_have_text(last)
    view.until(lambda: streams(tabs[2]) == 1)
    assert tabs[2].errors == []


def test_a_tab_that_nobody_looks_at_has_no_stream_and_is_right_again(view: View) -> None:
    def rolled() -> int:
        found: int = view.ask("ledger")["totals"]["rolled"]
        return found

    view.look("hidden")
    view.until(lambda: streams(view) == 0)
    before = rolled()
    view.until(lambda: rolled() > before + 500)
    view.look("visible")
    view.until(lambda: streams(view) == 1)
    last = view.page.locator("footer span").first.inner_text()
    expect(view.page.locator("footer span").first).not_to_have_text(last)
    expect(view.page.locator("footer")).to_contain_text("the books close")


def test_a_tab_that_was_away_goes_on_from_what_another_hands_on(view: View, another: Callable[[], View]) -> None:
    other = another().open()
    for tab, rest in ((other, view), (view, other)):
        tab.look("hidden")
        last = rest.page.locator("footer span").first.inner_text()
        expect(rest.page.locator("footer span").first).not_to_have_text(last)
        tab.look("visible")
        for _ in range(3):
            last = tab.page.locator("footer span").first.inner_text()
            expect(tab.page.locator("footer span").first).not_to_have_text(last)
            assert "the books close" in tab.page.locator("footer").inner_text()


def test_keys(view: View) -> None:
    for key, title in zip("1234567", ("Live", "Events", "Top", "Blocked", "History", "Filters", "Health"), strict=True):
        view.page.keyboard.press(key)
        expect(view.page.locator("nav [aria-current]")).to_contain_text(title)
    view.page.keyboard.press("?")
    dialog = view.page.get_by_role("dialog", name="Keys")
    expect(dialog).to_be_visible()
    dialog.get_by_role("checkbox").uncheck()
    dialog.get_by_role("button", name="Close").click()
    view.page.keyboard.press("1")
    expect(view.page.locator("nav [aria-current]")).to_contain_text("Health")
    view.page.get_by_role("button", name="Keys").click()
    dialog.get_by_role("checkbox").check()
    dialog.get_by_role("button", name="Close").click()
    view.page.keyboard.press("Tab")
    view.page.keyboard.press("1")
    expect(view.page.locator("nav [aria-current]")).to_contain_text("Live")

"""The view of tasks: each thing that it does, done once; and machines whose tasks are many, hostile, or not seen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import SECONDS
from playwright.sync_api import Browser, Locator, expect
from unit.live_server import Live, running
from unit.live_source import TASKS, tick

from browser.view import View
from kmodlab.daemon.api.sessions import Caller, Role
from kmodlab.errors import ModuleUnavailable

GONE = ModuleUnavailable("the module task_lister is not loaded on this machine", hint="`modprobe task_lister`")


def cells(view: View, column: int) -> list[str]:
    """What a column of the table says."""
    found: list[str] = view.table("Tasks").locator(f"td:nth-child({column})").all_inner_texts()
    return [text.strip() for text in found]


def numbers(view: View) -> list[int]:
    """The PIDs that are shown, all of one look."""
    return [int(text) for text in cells(view, 2)]


def _rise(found: list[int]) -> bool:
    return len(found) > 1 and found == sorted(found)


def names(view: View) -> list[str]:
    """The commands that are shown."""
    found: list[str] = view.table("Tasks").locator("td.name bdi").all_inner_texts()
    return found


def row(view: View, name: str) -> Locator:
    """The first row of a command."""
    return view.table("Tasks").filter(has=view.page.get_by_text(name, exact=True)).first


@pytest.fixture
def tasks(view: View) -> View:
    """The demo's."""
    view.go("tasks")
    expect(view.table("Tasks").nth(5)).to_be_visible()
    return view


# -- the demo ------------------------------------------------------------------------------------------------------


def test_the_charts_of_the_past_and_their_tables(tasks: View) -> None:
    for title in ("Tasks by state", "Started and ended", "Memory in use", "Address space"):
        expect(tasks.panel(title).locator("canvas")).to_be_visible()
    tasks.until(lambda: tasks.painted(tasks.panel("Tasks by state")) > 4)
    expect(tasks.panel("Tasks by state").locator(".legend-line")).to_contain_text(re.compile(r"sleeping \d\d"))
    expect(tasks.panel("Memory in use").locator(".legend-line")).to_contain_text(re.compile(r"\d MiB\s+most \d+ MiB"))
    tasks.page.keyboard.press("t")
    rows = tasks.table("Tasks by state as a table")
    expect(rows.nth(200)).to_be_attached()
    told = [text.split("\t") for text in rows.all_inner_texts()]
    assert len([one for one in told if one[2] not in ("\u2013", "0")]) > 150, "the demo has a past"
    expect(tasks.table("Memory in use as a table").first.locator("td")).to_have_text(re.compile(r"^\d+(\.\d)? [MG]$"))
    tasks.page.keyboard.press("t")


def test_what_started_and_ended(tasks: View) -> None:
    panel = tasks.panel("Started and ended")
    expect(panel.locator(".legend-line")).to_contain_text(re.compile(r"started \d+(\.\d+)?/s\s*ended \d+(\.\d+)?/s"))
    expect(panel).to_contain_text("tasks that live between two looks are not seen")
    tasks.until(lambda: tasks.painted(panel) > 1)
    tasks.page.keyboard.press("t")
    rows = tasks.table("Started and ended as a table")
    expect(rows.nth(200)).to_be_attached()
    told = [text.split("\t")[1:] for text in rows.all_inner_texts()]
    assert len([one for one in told if "\u2013" not in one]) > 150, "the demo has a past"
    # A build of the demo begins a compiler, and what it calls, each second.
    assert any(one[0] == "2" for one in told)
    assert any(one[1] == "2" for one in told)
    tasks.page.keyboard.press("t")


def test_a_time_is_picked_and_followed(tasks: View) -> None:
    page = tasks.page
    begin = page.get_by_label("From").input_value()
    expect(page.get_by_label("From")).not_to_have_value(begin)
    page.get_by_role("button", name="1 min", exact=True).click()
    expect(tasks.panel("Tasks by state").locator("header")).to_contain_text("a point is 1 s")
    page.get_by_label("From").fill("2026-01-01T00:00:00")
    page.get_by_label("to", exact=True).fill("2026-01-01T01:00:00")
    page.locator(".picker").get_by_role("button", name="Show").click()
    expect(tasks.panel("Tasks by state").locator("header")).to_contain_text("nobody saw them in this time")
    page.get_by_label("From").fill("2026-01-01T02:00:00")
    page.locator(".picker").get_by_role("button", name="Show").click()
    expect(page.get_by_role("alert")).to_contain_text("The time has to begin before it ends.")


def test_it_is_sorted_by_a_click_and_by_a_key(tasks: View) -> None:
    heads = tasks.page.locator("table.tasks thead th")
    heads.filter(has_text="PID").get_by_role("button").click()
    expect(heads.filter(has_text="PID")).to_have_attribute("aria-sort", "ascending")
    expect(tasks.table("Tasks").first).to_contain_text("systemd")
    tasks.until(lambda: _rise(numbers(tasks)))
    heads.filter(has_text="PID").get_by_role("button").press("Enter")
    expect(heads.filter(has_text="PID")).to_have_attribute("aria-sort", "descending")
    tasks.until(lambda: _rise(numbers(tasks)[::-1]))
    heads.filter(has_text="Threads").get_by_role("button").click()
    expect(tasks.table("Tasks").first).to_contain_text(r"snapshot\040saver")
    expect(heads.filter(has_text="PID")).not_to_have_attribute("aria-sort", re.compile(""))


def test_what_is_searched_for_is_found_or_refused(tasks: View) -> None:
    search = tasks.page.get_by_label("Search")
    said = tasks.page.locator(".tasks-panel .said")
    search.fill("POSTGRES uid=105")
    search.press("Enter")
    expect(said).to_contain_text("7 of them match")
    tasks.until(lambda: set(names(tasks)) == {"postgres"})
    tasks.expected += ("400",)
    search.fill("pid=x")
    search.press("Enter")
    expect(said).to_contain_text("pid=x is no number")
    tasks.page.get_by_role("button", name="state=zombie").click()
    expect(search).to_have_value("state=zombie")
    tasks.page.get_by_role("button", name="Everything").click()
    expect(tasks.table("Tasks").nth(9)).to_be_visible()


def walk_to(view: View, name: str) -> None:
    """Go down by keys to the first row of a command, once there is one."""
    view.until(lambda: name in names(view))
    view.page.locator("table.tasks").focus()
    view.page.keyboard.press("Home")
    view.until(lambda: view.page.locator("tr.current").get_attribute("aria-rowindex") == "2")
    for _ in range(names(view).index(name)):
        view.page.keyboard.press("ArrowDown")


CURRENT = """() => {
  const table = document.activeElement;
  const row = table.querySelector("tr.current[aria-selected=true]");
  return [table.getAttribute("aria-activedescendant"), row?.id ?? null];
}"""


def current(view: View) -> str | None:
    """The row that keys are about, as the table that has the focus says; None while it is not drawn."""
    pointed, shown = view.page.evaluate(CURRENT)
    assert pointed == shown
    found: str | None = pointed
    return found


def test_a_tree_with_its_sums_is_walked_by_keys(tasks: View) -> None:
    page = tasks.page
    page.get_by_role("button", name="Tree").click()
    page.locator("table.tasks thead th").filter(has_text="PID").get_by_role("button").click()
    first = tasks.table("Tasks").first
    expect(first).to_contain_text("systemd")
    expect(first).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_role("treegrid", name="Tasks below their parents")).to_be_visible()
    said = page.locator(".tasks-panel .said")
    tasks.until(lambda: 20 < int((cells(tasks, 10) or ["0"])[0]) < int(re.findall(r"\d+", said.inner_text())[0]))
    walk_to(tasks, "nginx")
    page.keyboard.press("ArrowLeft")
    tasks.until(lambda: names(tasks).count("nginx") == 1)
    expect(row(tasks, "nginx").locator("td").nth(9)).to_have_text("5")
    page.keyboard.press("ArrowRight")
    tasks.until(lambda: names(tasks).count("nginx") == 5)
    page.keyboard.press("ArrowDown")
    tasks.until(lambda: current(tasks) == "task-641")
    page.keyboard.press("ArrowLeft")
    tasks.until(lambda: current(tasks) == "task-640")
    page.keyboard.press("Home")
    tasks.until(lambda: current(tasks) == "task-1")
    row(tasks, "systemd").get_by_role("button", name="Close systemd").click()
    tasks.until(lambda: "sshd" not in names(tasks))
    page.get_by_label("Search").fill("vim")
    page.get_by_label("Search").press("Enter")
    tasks.until(lambda: names(tasks) == ["systemd", "sshd", "sshd", "bash", "vim"])


def test_all_of_one_task_and_its_calls(tasks: View) -> None:
    page = tasks.page
    page.get_by_label("Search").fill("977")
    page.get_by_label("Search").press("Enter")
    tasks.until(lambda: names(tasks) == ["sshd"])
    page.locator("table.tasks").press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("977, 402")
    dialog.get_by_role("button", name="Its children").click()
    tasks.until(lambda: names(tasks) == ["bash"])
    tasks.table("Tasks").first.click()
    dialog.get_by_role("button", name="Its calls").click()
    expect(page.get_by_label("Filter", exact=True)).to_have_value("pid=1104")


def test_the_tasks_of_then(tasks: View) -> None:
    page = tasks.page
    said = page.locator(".tasks-panel .said")
    expect(said).to_contain_text("as of")
    tasks.panel("Tasks by state").locator(".u-over").click(position={"x": 300, "y": 40})
    expect(said).to_contain_text("by the snapshot of")
    expect(tasks.table("Tasks").nth(5)).to_be_visible()
    then = page.get_by_label("as of").input_value()
    assert then
    page.get_by_role("button", name="Now", exact=True).click()
    expect(said).not_to_contain_text("snapshot")
    expect(page.get_by_label("as of")).to_have_value("")
    page.get_by_label("as of").fill(then)
    page.get_by_role("button", name="Show the tasks of then").click()
    expect(said).to_contain_text("by the snapshot of")


def test_a_tab_that_nobody_looks_at_asks_nothing(tasks: View) -> None:
    asked: list[str] = []
    tasks.page.on("request", lambda request: asked.append(request.url))
    tasks.until(lambda: sum("tasks" in url for url in asked) > 2)
    hide = "Object.defineProperty(document, 'visibilityState', {configurable: true, get: () => '%s'})"
    tasks.page.evaluate(hide % "hidden")
    tasks.page.wait_for_timeout(3000)
    asked.clear()
    tasks.page.wait_for_timeout(5000)
    assert [url for url in asked if "tasks" in url] == []
    tasks.page.evaluate(hide % "visible")
    tasks.until(lambda: any("tasks" in url for url in asked))


# -- other machines ------------------------------------------------------------------------------------------------


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with running(tmp_path) as one:
        yield one


@pytest.fixture
def other(live: Live, chromium: Browser) -> Iterator[View]:
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        context.set_default_timeout(SECONDS * 1000)
        one = View(context.new_page(), live.origin)
        token = live.sessions.invite(Caller("anna", Role.READER))
        one.page.goto(f"{live.origin}/#token={token}")
        live.wait_until(lambda: len(live.hub.clients) == 1)
        live.tell(tick(1, more=1))
        one.page.keyboard.press("8")
        yield one
        assert one.errors == []


def test_of_a_hundred_thousand_tasks_those_in_sight_are_asked_for(live: Live, other: View) -> None:
    live.source.task_rows = [f"{pid} 0 c{pid} SLEEPING 4 {100_001 - pid} 1 0 0" for pid in range(1, 100_001)]
    expect(other.table("Tasks").nth(20)).to_be_visible()
    expect(other.page.locator(".tasks-panel .said")).to_contain_text("100\u202f000 tasks")
    other.until(lambda: names(other)[:1] == ["c1"])
    table = other.page.locator("table.tasks")
    expect(table).to_have_attribute("aria-rowcount", "100001")
    assert table.locator("tr").count() < 60
    # The second key comes before the row that the first one has gone to.
    table.focus()
    other.page.keyboard.press("End")
    other.page.keyboard.press("Enter")
    expect(other.page.get_by_role("dialog")).to_contain_text("c100000")
    other.page.keyboard.press("Escape")
    other.until(lambda: current(other) == "task-100000")
    expect(other.page.locator("tr.current")).to_have_attribute("aria-rowindex", "100001")
    assert table.locator("tr").count() < 60
    other.page.locator(".tasks-scroll").evaluate("one => one.scrollTo(0, 50000 * 27)")
    expect(row(other, "c50005")).to_be_visible()
    other.page.locator("table.tasks thead th").filter(has_text="PID").get_by_role("button").click()
    other.page.get_by_label("Search").fill("c99999")
    other.page.get_by_label("Search").press("Enter")
    other.until(lambda: names(other) == ["c99999"])


def test_the_row_that_keys_are_about_stays_it_where_others_come_before_it(live: Live, other: View) -> None:
    walk_to(other, "bash")
    other.until(lambda: current(other) == "task-977")
    for place, rss in ((0, 10**6), (3, 1), (0, 10**6)):
        live.source.task_rows = [
            f"977 402 bash SLEEPING 9000 {rss} 1 0 0" if " bash " in one else one for one in live.source.task_rows
        ]
        expect(other.table("Tasks").nth(place)).to_contain_text("bash")
        assert current(other) == "task-977"
    live.source.task_rows = [one for one in live.source.task_rows if " bash " not in one]
    expect(other.table("Tasks").filter(has_text="bash")).to_have_count(0)
    assert current(other) == "task-1200", "who ends leaves its place to the next"


KEYS = """(keys) => {
  const pressed = (key) => new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true});
  for (const key of keys) document.activeElement.dispatchEvent(pressed(key));
}"""
"""Keys that come one after the other before anything is drawn."""


def test_no_key_is_lost_while_rows_are_drawn_anew(live: Live, other: View) -> None:
    live.source.task_rows = [f"{pid} 0 c{pid} SLEEPING 4 {1000 - pid} 1 0 0" for pid in range(1, 500)]
    other.until(lambda: names(other)[:1] == ["c1"])
    walk_to(other, "c1")
    other.page.evaluate(KEYS, ["ArrowDown"] * 7)
    other.until(lambda: current(other) == "task-8")
    other.page.evaluate(KEYS, ["PageDown"] * 20 + ["ArrowUp"] * 2)
    other.until(lambda: int((current(other) or "task-0")[5:]) > 300)
    other.page.evaluate("() => { window.kept = document.activeElement; }")
    # All rows are others, and in another order, and the one that keys are about is gone.
    live.source.task_rows = [f"{pid} 0 d{pid} SLEEPING 4 {pid} 1 0 0" for pid in range(1000, 1500)]
    expect(other.table("Tasks").filter(has_text="d1")).not_to_have_count(0)
    assert other.page.evaluate("() => window.kept === document.activeElement && window.kept.isConnected")
    other.page.evaluate(KEYS, ["Home", "ArrowDown", "ArrowDown"])
    other.until(lambda: current(other) == "task-1497")


def test_a_table_that_was_gone_has_the_focus_again(live: Live, other: View) -> None:
    walk_to(other, "bash")
    live.source.no_tasks = GONE
    expect(other.table("Tasks")).to_have_count(0)
    live.source.no_tasks = None
    expect(other.page.locator("table.tasks")).to_be_focused()
    other.until(lambda: current(other) == "task-977")


def test_a_lister_that_is_not_there_goes_and_comes(live: Live, other: View) -> None:
    expect(other.table("Tasks")).to_have_count(len(TASKS))
    live.source.no_tasks = GONE
    said = other.page.locator("p.note[role=status]")
    expect(said).to_have_text(
        "Tasks are not seen: the module task_lister is not loaded on this machine. `modprobe task_lister`"
    )
    expect(other.table("Tasks")).to_have_count(0)
    expect(other.panel("Tasks by state").locator("canvas")).to_be_visible()
    expect(other.page.locator(".link")).to_have_text(re.compile("live|silent"))
    live.source.no_tasks = None
    expect(other.table("Tasks")).to_have_count(len(TASKS))
    expect(said).to_have_count(0)


def test_an_older_lister_is_said_to_lack_what_it_lacks(live: Live, other: View) -> None:
    live.source.task_head = "PID PPID COMMAND STATE"
    live.source.task_rows = [" ".join(one.split()[:4]) for one in TASKS]
    expect(other.page.locator("p.note[role=status]")).to_have_text(
        "The task lister of this machine is older: it does not tell VM(KB), RSS(KB), THREADS, UID, GID."
    )
    heads = other.page.locator("table.tasks thead th")
    expect(heads).to_have_count(4)
    other.page.get_by_role("button", name="Tree").click()
    expect(row(other, "systemd")).to_have_attribute("aria-expanded", "true")

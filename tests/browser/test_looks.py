"""How the page looks: dark, light, on a phone, in the user's own colours; with axe, and with a picture of each view."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from browser.audit import FEW_ROWS, is_clean
from browser.conftest import Demo
from browser.view import VIEWS, View

WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 360, "height": 780}
LOOKS = {"dark": ("dark", WIDE), "light": ("light", WIDE), "phone": ("light", PHONE), "forced": ("dark", WIDE)}
READY = {
    "live": "Calls of the chart",
    "events": "Newest calls",
    "top": "Processes",
    "blocked": "Blocked calls",
    "history": "Calls of that time",
    "filters": None,
    "health": "Ledger",
    "tasks": "Tasks",
}


def _drawn(view: View) -> bool:
    return view.painted(view.page.locator("section.wide-chart").first) > 4


def _show(view: View, look: str) -> None:
    theme, size = LOOKS[look]
    view.page.set_viewport_size(size)  # type: ignore[arg-type]
    view.page.emulate_media(forced_colors="active" if look == "forced" else "none")
    view.page.get_by_label("Colours").select_option(theme)


@pytest.mark.parametrize("look", LOOKS)
def test_a_look(view: View, look: str, shots: Path) -> None:
    _show(view, look)
    for name in VIEWS:
        view.page.evaluate("name => { location.hash = name; }", name)
        expect(view.page.locator("nav [aria-current]")).to_contain_text(name.title())
        if region := READY[name]:
            expect(view.table(region).nth(3)).to_be_visible()
        # The user's own colours are three or four.
        if name in ("live", "history", "tasks") and look != "forced":
            view.until(functools.partial(_drawn, view))
        long = look == "phone" and name not in ("events", "blocked", "history")
        view.page.screenshot(path=shots / f"{name}-{look}.png", full_page=long)
        assert view.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            f"{name} is wider than the window"
        )
        if look != "forced":  # the colours are the user's, so there is nothing to find that dark and light have not
            is_clean(view.page, look, FEW_ROWS)


def test_a_call_in_full_and_the_keys(view: View, shots: Path) -> None:
    _show(view, "dark")
    view.page.goto(f"{view.origin}/#events?filter=call%3Dopenat")
    view.table("Newest calls").first.get_by_role("button").click()
    expect(view.page.get_by_role("dialog")).to_be_visible()
    view.page.screenshot(path=shots / "details-dark.png")
    is_clean(view.page)
    view.page.keyboard.press("Escape")
    view.page.get_by_role("button", name="Everything").click()
    view.page.keyboard.press("1")
    view.page.keyboard.press("t")
    view.page.screenshot(path=shots / "table-dark.png")
    view.page.keyboard.press("t")
    view.page.keyboard.press("?")
    view.page.screenshot(path=shots / "keys-dark.png")


@pytest.mark.parametrize("look", ["dark", "phone", "forced"])
def test_tasks_as_a_tree_and_one_of_them_in_full(view: View, look: str, shots: Path) -> None:
    _show(view, look)
    view.page.evaluate("() => { location.hash = 'tasks'; }")
    view.page.get_by_role("button", name="Tree").click()
    expect(view.page.locator("table.tree tbody tr").nth(9)).to_be_visible()
    view.page.screenshot(path=shots / f"tree-{look}.png", full_page=look == "phone")
    assert view.wider() == []
    is_clean(view.page, context=FEW_ROWS)
    view.page.locator("table.tree td.name bdi").first.click()
    expect(view.page.get_by_role("dialog")).to_be_visible()
    view.page.screenshot(path=shots / f"task-{look}.png")
    is_clean(view.page)
    view.page.keyboard.press("Escape")
    view.page.emulate_media(forced_colors="none")


def test_the_door(demo: Demo, chromium: Browser, shots: Path) -> None:
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(demo.origin)
        expect(page.get_by_label("Address or token")).to_be_visible()
        page.screenshot(path=shots / "door.png")
        is_clean(page)


def test_forced_colours_are_used_by_the_chart(view: View) -> None:
    _show(view, "forced")
    expect(view.panel("Calls a second").locator("canvas")).to_be_visible()
    colours = view.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--hue-1').trim()")
    assert colours == "CanvasText"
    view.page.emulate_media(forced_colors="none")

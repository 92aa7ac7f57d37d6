"""The module goes and comes back, and the machine boots, under two browsers: no call gets the name of another one."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from browser.view import View
from playwright.sync_api import Browser, expect

from kmodlab.daemon.api.keys import FILE
from live.daemon import Daemon, free_port, made_keys, recording, served, serving, wait
from live.looking import counted, looking
from live.machine import CALLS, Running

GONE = "The module is not loaded: nothing is recorded."
EACH = 60
"""Calls of each name in one load."""


@pytest.fixture
def machine(tmp_path: Path) -> Running:
    one = Running(tmp_path / "machine")
    one.load()
    return one


def work(machine: Running) -> None:
    """Make calls on both CPUs."""
    for number in range(EACH):
        machine.call(cpu=number % 2)


def right(rows: dict[str, list[Any]]) -> None:
    """Hold the name of each call against who made it."""
    assert rows["call"], "there are some"
    assert [f"does-{name}" for name in rows["call"]] == rows["comm"]


def busiest(daemon: Daemon) -> dict[str, int]:
    """Calls of the last hour by name; what was counted is on the disk a second later."""
    found = daemon.get("/api/v1/top?by=call&limit=100")
    return dict(zip(found["name"], found["n"], strict=True))


def whole(daemon: Daemon, machine: Running, epochs: int) -> None:
    """Hold the books, the sums and each call against what was made."""
    total = sum(machine.sent.values())
    books = daemon.books(total)
    assert [one for one in books["equations"] if not one["closes"]] == []
    scopes = {one["scope"] for one in books["equations"]}
    assert scopes == {"all", *(f"epoch {epoch} CPU {cpu}" for epoch in range(1, epochs + 1) for cpu in (0, 1))}
    wait(lambda: busiest(daemon) == machine.sent, "the sums are on the disk", lambda: busiest(daemon))
    rows = daemon.get(f"/api/v1/events?limit={total}")["rows"]
    right(rows)
    assert len(rows["seq"]) == total
    assert sorted(set(rows["epoch"])) == list(range(1, epochs + 1))


def shown(view: View) -> set[tuple[str, str]]:
    """Names of calls and of who made them, as a page has them."""
    cells = "rows => rows.map(row => [row.cells[1].innerText.trim(), row.cells[3].innerText.trim()])"
    return {(call, process) for call, process in view.table("Newest calls").evaluate_all(cells)}


def is_right(view: View, total: int) -> None:
    """Wait until a page has all; hold the names of what it shows against who made it."""
    view.until(lambda: counted(view)[0] == total)
    expect(view.page.locator("footer")).to_contain_text("the books close")
    view.until(lambda: shown(view) == {(name, f"does-{name}") for name in CALLS})


def test_another_load_has_other_numbers_for_its_calls(machine: Running, chromium: Browser, tmp_path: Path) -> None:
    with (
        serving(tmp_path / "daemon", machine.feed) as daemon,
        looking(chromium, daemon, "events") as one,
        looking(chromium, daemon, "events") as other,
    ):
        wait(lambda: daemon.get("/api/v1/machine")["state"] == "recording", "it records")
        work(machine)
        for view in (one, other):
            is_right(view, len(CALLS) * EACH)
        machine.unload()
        for view in (one, other):
            expect(view.page.locator("p.note[role=status]")).to_have_text(GONE)
        machine.load("DEF", reversed(CALLS))
        wait(lambda: daemon.get("/api/v1/machine")["epoch"] == 2, "the second load is there")
        for view in (one, other):
            expect(view.page.locator("p.note[role=status]")).to_have_count(0)
        work(machine)
        for view in (one, other):
            is_right(view, 2 * len(CALLS) * EACH)
            view.go("health")
            expect(view.panel("What this is")).to_contain_text("2, began anew 1 times since this page was opened")
        whole(daemon, machine, 2)


def test_a_load_between_two_looks(machine: Running, chromium: Browser, tmp_path: Path) -> None:
    """Nobody sees that the module was away: other numbers are other names all the same."""
    with serving(tmp_path / "daemon", machine.feed) as daemon, looking(chromium, daemon, "events") as view:
        wait(lambda: daemon.get("/api/v1/machine")["state"] == "recording", "it records")
        work(machine)
        daemon.books(len(CALLS) * EACH)
        machine.unload()
        machine.load("ABC", [*CALLS[3:], *CALLS[:3]])
        wait(lambda: daemon.get("/api/v1/machine")["epoch"] == 2, "the second load is there")
        work(machine)
        is_right(view, 2 * len(CALLS) * EACH)
        whole(daemon, machine, 2)


def test_a_boot_ends_the_server_and_the_session(machine: Running, chromium: Browser, tmp_path: Path) -> None:
    """The page says that it is gone; whoever is invited anew finds both boots, each with its own names."""
    folder, port = tmp_path / "daemon", str(free_port())
    pair = made_keys(folder / "history" / FILE)
    looks = contextlib.ExitStack()
    with looks:
        with recording(folder / "history", machine.feed), served(folder, pair, "--port", port) as daemon:
            views = [looks.enter_context(looking(chromium, daemon, "events")) for _ in range(2)]
            wait(lambda: daemon.get("/api/v1/machine")["state"] == "recording", "it records")
            work(machine)
            for view in views:
                is_right(view, len(CALLS) * EACH)
                # What a browser says of a server that is gone, and of a session that no server knows any more.
                view.expected += ("Failed to load resource", "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED")
        for view in views:
            expect(view.page.locator(".link")).to_have_text("reconnecting")
        machine.reboot()
        with recording(folder / "history", machine.feed), served(folder, pair, "--port", port) as daemon:
            for view in views:
                expect(view.page.get_by_label("Address or token")).to_be_visible()
            assert daemon.get("/api/v1/machine")["state"] == "no module"
            machine.load("ABC", reversed(CALLS))
            wait(lambda: daemon.get("/api/v1/machine")["epoch"] == 2, "the second boot is there")
            for view in views:
                view.page.get_by_label("Address or token").fill(daemon.token())
                view.page.get_by_role("button", name="Open").click()
                expect(view.page.locator(".link")).to_have_text("live")
            work(machine)
            for view in views:
                is_right(view, 2 * len(CALLS) * EACH)
            whole(daemon, machine, 2)

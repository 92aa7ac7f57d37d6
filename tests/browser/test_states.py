"""What the page says while nothing is recorded: the two processes as they are on a machine that has no module."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patience import SECONDS
from playwright.sync_api import Browser, expect

from browser.view import VIEWS, View

PROGRAM = (sys.executable, "-c", "from kmodlab.daemon.program import program; program()")


@contextmanager
def running(*words: object) -> Iterator[None]:
    """One of the processes, for as long as the block."""
    process = subprocess.Popen([*PROGRAM, *map(str, words)], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)


def invited(at: Path) -> str:
    """The address that the server gives root, once it answers."""
    end = time.monotonic() + SECONDS
    while True:
        done = subprocess.run(
            [*PROGRAM, "invite", "--json", "--socket", at], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            found = json.loads(done.stdout)
            return f"http://127.0.0.1:{found['port']}/#token={found['token']}"
        assert time.monotonic() < end, done.stderr


def test_who_is_missing_is_said_and_who_comes_is_seen(chromium: Browser, tmp_path: Path) -> None:
    recorder, at = tmp_path / "recorder", tmp_path / "socket"
    places = ("--folder", tmp_path / "history", "--recorder", recorder)
    with running("serve", *places, "--socket", at, "--port", 0), chromium.new_context() as context:
        address = invited(at)
        page = context.new_page()
        page.set_default_timeout(SECONDS * 1000)
        page.goto(address)
        view = View(page, address.partition("/#")[0])
        said = page.locator("p.note[role=status]")
        expect(said).to_have_text("The recorder does not run: nothing is recorded.")
        with running("record", *places):
            expect(said).to_have_text("The module is not loaded: nothing is recorded.")
        expect(said).to_have_text("The recorder does not run: nothing is recorded.")
        # Every view stands without anything to show.
        for name in VIEWS:
            view.go(name)
            expect(page.locator("nav [aria-current=page]")).to_have_attribute("href", re.compile(f"#{name}"))
            expect(page.locator("footer")).to_contain_text("the books close")
        assert view.errors == []

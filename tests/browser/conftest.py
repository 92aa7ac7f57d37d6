"""What the tests of the page share: `kmodlab dashboard --demo` as a user starts it, and Debian's Chromium."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from patience import SECONDS
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from browser.view import View

# The machine may be busy: what is waited for is an event, not a time.
expect.set_options(timeout=SECONDS * 1000)
# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shots", type=Path, help="Keep a picture of each view in this folder.")
    late = "Have each answer come up to SECONDS later to a page: a test that looks too early fails."
    parser.addoption("--late", type=float, default=0.0, metavar="SECONDS", help=late)
    slow = "Have each act of a test come SECONDS after the last: one that takes two looks for one fails."
    parser.addoption("--slow", type=float, default=0.0, metavar="SECONDS", help=slow)


def pytest_configure(config: pytest.Config) -> None:
    View.late, View.slow = config.getoption("--late"), config.getoption("--slow")


@pytest.fixture(scope="session")
def shots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = request.config.getoption("--shots") or tmp_path_factory.mktemp("shots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass
class Demo:
    """A running `kmodlab dashboard --demo`."""

    process: subprocess.Popen[str]
    address: str
    folder: Path

    @property
    def origin(self) -> str:
        return self.address.partition("/#")[0]

    def end(self) -> tuple[int, str]:
        """Press Ctrl-C; the exit status, and what was printed since."""
        self.process.send_signal(signal.SIGINT)
        output, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, output


def started(folder: Path, *words: str, before: Sequence[str] = (), **more: str) -> Demo:
    """Start it, with a folder for what it writes; `before` is a command that starts another, `more` its environment."""
    env = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", **more}
    program = "from kmodlab.start import main; main()"
    argv = [*before, sys.executable, "-c", program, "dashboard", "--demo", "--no-browser", *words]
    process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    head = ""
    for line in process.stdout:
        head += line
        if found := re.search(r"http://127\.0\.0\.1:\d+/#token=\S+", head):
            return Demo(process, found.group(), folder)
    raise AssertionError(f"no address was printed:\n{head}")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    one = started(tmp_path_factory.mktemp("demo"))
    yield one
    if one.process.poll() is None:
        one.process.kill()
        one.process.wait()


def launched(playwright: Playwright, *words: str, by: Path | None = None) -> Browser:
    """Chromium, which asks nobody by itself; `by` is a script that starts it.

    Debian has its engine without the browser's own windows, which are pages, too, and take as much as all of ours.
    """
    program = by or shutil.which("chromium-headless-shell") or shutil.which("chromium")
    assert program, "chromium is not installed: `.config/setup test` installs what the tests need"
    quiet = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    return playwright.chromium.launch(executable_path=program, args=[*quiet, *words], slow_mo=View.slow * 1000)


_running: list[Playwright] = []


@contextlib.contextmanager
def one_playwright() -> Iterator[Playwright]:
    """Playwright, of which a thread has one: who comes second has the first one's."""
    if _running:
        yield _running[0]
        return
    with sync_playwright() as playwright:
        _running.append(playwright)
        try:
            yield playwright
        finally:
            _running.clear()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with one_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def admin(demo: Demo, chromium: Browser) -> Iterator[BrowserContext]:
    """A browser that has opened the address which was printed."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB", timezone_id="Asia/Kolkata")
    context.set_default_timeout(SECONDS * 1000)
    page = context.new_page()
    page.goto(demo.address)
    page.get_by_role("heading", name="Calls a second").wait_for()
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(admin: BrowserContext) -> Iterator[Page]:
    one = admin.new_page()
    yield one
    one.close()


@pytest.fixture
def another(admin: BrowserContext, demo: Demo) -> Iterator[Callable[[], View]]:
    """Opens one more tab of the admin's, which ends with the test, however that does: it may have the stream."""
    with contextlib.ExitStack() as stack:

        def opened() -> View:
            page = admin.new_page()
            stack.callback(page.close)
            return View(page, demo.origin)

        yield opened


@pytest.fixture
def view(page: Page, demo: Demo) -> Iterator[View]:
    """A new tab of the admin's, whose errors fail the test."""
    one = View(page, demo.origin)
    one.open()
    yield one
    assert one.errors == []
    assert one.elsewhere == [], "the page asks nobody but its server"

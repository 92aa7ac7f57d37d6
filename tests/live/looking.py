"""A browser of its own that looks at a daemon."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from browser.view import View
from patience import SECONDS
from playwright.sync_api import Browser, expect

from live.daemon import Daemon

_NUMBER = re.compile(r"in the sums ([\d\s]+) = ([\d\s]+) before \+ ([\d\s]+) on this page")


@contextlib.contextmanager
def looking(chromium: Browser, daemon: Daemon, name: str = "live", script: str = "", **how: Any) -> Iterator[View]:
    """A browser whose errors fail the test; `script` runs in each page before the page's own."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, **how)
    context.set_default_timeout(SECONDS * 1000)
    if script:
        context.add_init_script(script)
    try:
        view = View(context.new_page(), daemon.way.origin)
        view.page.goto(f"{view.origin}/#token={daemon.token()}")
        expect(view.page.locator(".link")).to_have_text("live")
        if name != "live":
            view.go(name)
        yield view
        assert (view.errors, view.elsewhere) == ([], [])
    finally:
        context.close()


def counted(view: View) -> tuple[int, int, int]:
    """What the foot says: calls in the sums, those of them from before this page, those that came to it; or nothing."""
    text = view.page.locator("footer").inner_text()
    found = _NUMBER.search(text)
    if not found:
        return 0, 0, 0
    total, before, came = (int(re.sub(r"\s", "", part)) for part in found.groups())
    return total, before, came

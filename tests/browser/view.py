"""The page as a test uses it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, Route, expect

LATE = """seconds => {
    const real = window.fetch;
    window.fetch = async (...given) => {
        await new Promise((begin) => setTimeout(begin, Math.random() * seconds * 1000));
        return real(...given);
    };
}"""
"""What has answers come later to a page, each by a time of its own."""
VIEWS = ("live", "events", "top", "blocked", "history", "filters", "health", "tasks")


class View:
    """A tab.

    Attributes:
        errors: what its console complained of, violations of the policy among it.
        elsewhere: other hosts that it asked; all are blocked.
        late: seconds by which each answer comes later at most, for all tabs: who looks too early sees what was.
        slow: seconds between two acts of a test, for all tabs: who looks twice sees two states.
    """

    late, slow = 0.0, 0.0

    def __init__(self, page: Page, origin: str) -> None:
        self.page, self.origin = page, origin
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        # What `painted` does is slow, and Chromium says so.
        self.expected: tuple[str, ...] = ("willReadFrequently",)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._heard)
        page.route(re.compile(f"^(?!{re.escape(origin)}/)"), self._block)
        if self.late:
            page.add_init_script(f"({LATE})({self.late})")

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(word in message.text for word in self.expected):
            self.errors.append(message.text)

    def _block(self, route: Route, request: Request) -> None:
        if not request.url.startswith(("data:", "blob:")):
            self.elsewhere.append(request.url)
        route.abort()

    def open(self, name: str = "live") -> View:
        """Go to a view, in a new page, and wait until it is live."""
        self.page.goto(f"{self.origin}/#{name}")
        expect(self.page.locator(".link")).to_have_text("live")
        expect(self.page.locator("footer")).to_contain_text("the books close")
        return self

    def go(self, name: str) -> View:
        """Go to a view by its link."""
        self.page.get_by_role("navigation").get_by_role("link", name=name.title()).click()
        return self

    def table(self, label: str) -> Locator:
        """The rows of a table, by the name of its region."""
        return self.page.get_by_role("region", name=label, exact=True).locator("tbody tr")

    def panel(self, title: str) -> Locator:
        """A part of the page, by its heading."""
        heading = self.page.get_by_role("heading", name=title, exact=True)
        return self.page.locator("section.panel").filter(has=heading)

    def tile(self, name: str) -> str:
        """What a figure at the top says."""
        return self.page.locator(".tile").filter(has=self.page.get_by_text(name, exact=True)).locator("dd").inner_text()

    def ask(self, path: str) -> Any:
        """What the server answers to this page."""
        return self.page.evaluate("path => fetch(`api/v1/${path}`).then((answer) => answer.json())", path)

    def painted(self, chart: Locator) -> int:
        """How many colours a chart has."""
        script = """canvas => {
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const colours = new Map();
            for (let at = 0; at < data.length; at += 4)
                if (data[at + 3] === 255) {
                    const key = (data[at] << 16) + (data[at + 1] << 8) + data[at + 2];
                    colours.set(key, (colours.get(key) ?? 0) + 1);
                }
            return [...colours.values()].filter((pixels) => pixels > 30).length;
        }"""
        found: int = chart.locator("canvas").evaluate(script)
        return found

    def look(self, how: str) -> None:
        """Have the tab be `hidden` or `visible`, as a browser tells a page that another one is looked at."""
        self.page.evaluate(
            """how => { Object.defineProperty(document, "visibilityState", {get: () => how, configurable: true});
            document.dispatchEvent(new Event("visibilitychange")); }""",
            how,
        )

    def until(self, happened: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until something is so, looking again whenever the page may have drawn."""
        until = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < until, "it did not happen"
            self.page.wait_for_timeout(50)

    def only(self, rows: Locator, *words: str) -> None:
        """Wait until a table has rows, and each has these words: one alone may have had them before."""

        def happened() -> bool:
            texts = rows.all_inner_texts()
            return bool(texts) and all(word in text for word in words for text in texts)

        self.until(happened)

    def wider(self) -> list[str]:
        """What makes the page wider than its window; what scrolls by itself does not."""
        script = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
            [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1
                && !one.closest(".scroll, nav")).map((one) => `${one.localName}.${one.className}`).slice(0, 5)"""
        found: list[str] = self.page.evaluate(script)
        return found

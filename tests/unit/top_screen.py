"""`kmodlab top` driven by keys, and what is on its screen."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable

import pytest
from patience import SECONDS
from rich.console import Console
from textual.pilot import Pilot

from kmodlab.top.app import Top
from kmodlab.top.client import Client, Way

Script = Callable[["Screen"], Awaitable[None]]


class Screen:
    """The program, and what it shows."""

    def __init__(self, app: Top, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def text(self) -> str:
        """All of the screen, as it was drawn."""
        width, height = self.app.size
        console = Console(file=io.StringIO(), record=True, width=width, height=height, legacy_windows=False)
        console.print(self.app.screen._compositor.render_update(full=True))
        return console.export_text()

    @property
    def lines(self) -> list[str]:
        return self.text.rstrip("\n").split("\n")

    async def until(self, what: str | Callable[[], object]) -> str:
        """Wait until a text is seen, or something is so."""
        happened = what if callable(what) else lambda: what in self.text
        try:
            async with asyncio.timeout(SECONDS):
                while not happened():
                    await self.pilot.pause(0.05)
        except TimeoutError:
            pytest.fail(f"{what!r} was not seen:\n{self.text}")
        return self.text

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)


def driven(way: Way, script: Script, size: tuple[int, int] = (80, 24)) -> Top:
    """Run the program with a script, and end it."""
    client = Client(way)
    app = Top(client, client.get("session"))

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await script(Screen(app, pilot))

    asyncio.run(run())
    assert not app.feed._thread.is_alive()
    return app

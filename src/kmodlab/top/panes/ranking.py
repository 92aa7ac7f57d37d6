"""Top: the busiest processes and calls of a time."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult

from .. import tables
from ..lines import Lines
from ..model import Row, rows
from ..words import span
from .base import Pane, Program, refusal

SPANS = (60, 900, 3600, 86400)
LIMIT = 50


class TopPane(Pane):
    """Two rankings."""

    VIEW: ClassVar[str] = "top"

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._seconds = SPANS[0]
        self._ranked: dict[str, list[Row]] = {"process": [], "call": []}

    def compose(self) -> ComposeResult:
        """Make it."""
        yield self.static("span")
        yield Lines("processes", "Nothing in this time.")
        yield Lines("calls", "Nothing in this time.")

    def turn(self) -> None:
        """Rank over another time."""
        self._seconds = SPANS[(SPANS.index(self._seconds) + 1) % len(SPANS)]

    def ask(self) -> None:
        """Ask for both."""
        client, end, seconds = self.program.client, self.program.model.now, self._seconds

        def ask() -> dict[str, list[Row]]:
            found = {}
            for by in ("process", "call"):
                found[by] = rows(client.get("top", begin=max(0, end - seconds), end=end, by=by, limit=LIMIT))
            return found

        def then(found: dict[str, list[Row]]) -> None:
            self._ranked = found

        self.program.ask("top", ask, then)

    def draw(self) -> None:
        """Draw both."""
        problem = self.program.problems.get("top")
        said = Text(f"The last {span(self._seconds)}; s takes another time.", tables.DIM)
        self.say("span", [refusal(problem) if problem else said])
        for name, by in (("processes", "process"), ("calls", "call")):
            self._rank(name, self._ranked[by], by == "process")

    def _rank(self, name: str, found: list[Row], processes: bool) -> None:
        highest = max((one["n"] for one in found), default=0)
        total = sum(one["n"] for one in found)
        line = lambda one, width: tables.ranking_line(one, highest, total, width)  # noqa: E731
        self.lines(name).show(found, line, lambda width: tables.head(tables.ranking_columns(processes), width))

    def picked(self, name: str, item: Any) -> None:  # noqa: ANN401
        """Show the calls of what was chosen."""
        if name == "calls":
            self.program.calls_of(f"call={item['name']}")
        elif item["pid"]:
            self.program.calls_of(f"pid={item['pid']}")

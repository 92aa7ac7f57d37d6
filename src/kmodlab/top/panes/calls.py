"""Calls as they come: Live, Events, Blocked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult

from .. import facts, tables
from ..client import Problem
from ..lines import Lines
from ..model import Row, View, identity, rows
from ..words import plain, whole
from .base import Pane, Program, refusal

BEFORE_SECONDS, BEFORE_ROWS = 900, 100
MONTH_SECONDS = 31 * 86400
BLOCKED_ROWS = 200
HINT = "call=openat status=blocked pid=1 uid=0 comm=bash, or a part of an argument"


class EventsPane(Pane):
    """The newest calls that match a filter.

    Args:
        program: around it.
        want: has the stream bring the rows of a filter.

    Attributes:
        filter: as it was typed.
        held: the rows that are shown while they are held; None where they go on.
    """

    VIEW: ClassVar[str] = "events"

    def __init__(self, program: Program, want: Callable[[str], None]) -> None:
        super().__init__(program)
        self._want = want
        self.filter = ""
        self.held: list[Row] | None = None
        self._problem: Problem | None = None
        self._seen: list[Row] = []
        self._held_events = 0

    def compose(self) -> ComposeResult:
        """Make it."""
        yield self.static("said")
        yield Lines("rows")

    @property
    def mark(self) -> str:
        """Whether it is held."""
        return " held" if self.held is not None else ""

    @property
    def found(self) -> View:
        """What has come for the filter."""
        return self.program.model.views.get(self.filter, View())

    def search(self) -> None:
        """Ask for a filter."""
        self.program.prompt("Filter: ", self.filter, HINT)

    def submitted(self, text: str) -> None:
        """Take a filter."""
        self.filtered(text)

    def filtered(self, text: str) -> None:
        """Show the calls that match; what came before somebody asked is there, too. The server says what it refuses."""
        self.filter, self._problem, self.held = text, None, None
        self.run_worker(self._ask_before(text), group="filter", exclusive=True)
        self.program.draw(now=True)

    async def _ask_before(self, text: str) -> None:
        client, end = self.program.client, self.program.model.now
        begin = max(0, end - BEFORE_SECONDS)
        try:
            found = await asyncio.to_thread(
                lambda: client.get("events", filter=text, begin=begin, end=end, limit=BEFORE_ROWS)
            )
        except Problem as problem:
            if text == self.filter and problem.code == 400:
                self._problem = problem
        else:
            self.program.model.prefill(text, rows(found["rows"]))
        # One that the server refuses would take the stream from us.
        if text == self.filter and not self._problem:
            self._want(text)
        self.program.touch()

    def pause(self, seen: bool) -> None:
        """Hold the events, for as long as it takes, or go on; what comes meanwhile is counted.

        Args:
            seen: whether they are on the screen: then what is seen is held, not what has come since it was drawn.
        """
        shown = self._seen if seen else self.found.rows
        self.held = shown if self.held is None else None
        self._held_events = self.program.model.events
        self.program.draw(now=True)

    def draw(self) -> None:
        """Draw them."""
        self.say("said", [self._said()])
        empty = "The filter is not understood." if self._problem else "No call that matches yet."
        self._seen = self.found.rows if self.held is None else self.held
        self.show_calls("rows", self._seen, "Time", empty)

    def _said(self) -> Text:
        """What is not among the rows, in numbers."""
        if self._problem:
            return refusal(self._problem)
        only = (
            Text.assemble("Filter: ", (plain(self.filter), tables.BOLD), "  ") if self.filter else Text("No filter.  ")
        )
        events = self.program.model.events
        if self.held is not None:
            since = f" {whole(events - self._held_events)} calls since; p goes on."
            return Text.assemble(only, ("Held.", tables.WARN), since)
        came = f"{whole(self.found.shown)} of {whole(events)} calls came one by one."
        return Text.assemble(only, (came, tables.DIM))

    def picked(self, name: str, item: Any) -> None:  # noqa: ANN401
        """Show all of a call."""
        del name
        self.program.tell(tables.details(item, self.program.clock))


class BlockedPane(Pane):
    """Every blocked call."""

    VIEW: ClassVar[str] = "blocked"

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._older: list[Row] = []

    def compose(self) -> ComposeResult:
        """Make it."""
        yield self.static("left-out")
        yield Lines("all-blocked", "No call was blocked.")

    @property
    def mark(self) -> str:
        """How many have come."""
        model = self.program.model
        blocked = len(model.blocked) + model.blocked_more
        return f" {whole(blocked)}" if blocked else ""

    def ask_older(self) -> None:
        """Ask for those of before."""
        client, end = self.program.client, self.program.model.now

        def then(found: Mapping[str, Any]) -> None:
            self._older = rows(found["rows"])

        begin = max(0, end - MONTH_SECONDS)
        self.program.ask("blocked", lambda: client.get("blocked", begin=begin, end=end, limit=BLOCKED_ROWS), then)

    @property
    def found(self) -> list[Row]:
        """The blocked calls that came, and behind them the history's."""
        came = self.program.model.blocked
        seen = {identity(row) for row in came}
        return [*came, *(row for row in self._older if identity(row) not in seen)]

    def draw(self) -> None:
        """Draw them."""
        model = self.program.model
        enforcing = (model.machine or {}).get("mode") == "enforcing"
        ran = "The module enforces: these did not run." if enforcing else "The module is permissive: these ran."
        more = model.blocked_more
        left = Text(f"  {whole(more)} more were too many to come one by one.", tables.WARN) if more else ""
        self.say("left-out", [Text.assemble((ran, tables.DIM), left)])
        self.show_calls("all-blocked", self.found, "Time", "No call was blocked.")

    def picked(self, name: str, item: Any) -> None:  # noqa: ANN401
        """Show all of a call."""
        del name
        self.program.tell(tables.details(item, self.program.clock))


class LivePane(Pane):
    """Rates, the newest calls, and the newest that were blocked.

    Args:
        program: around it.
        events: whose filter is that of the newest, too.
        blocked: see there.
    """

    VIEW: ClassVar[str] = "live"

    def __init__(self, program: Program, events: EventsPane, blocked: BlockedPane) -> None:
        super().__init__(program)
        self._events, self._blocked = events, blocked

    def compose(self) -> ComposeResult:
        """Make it."""
        yield self.static("tiles")
        yield Lines("rates", "No call yet.")
        yield Lines("newest", "No call yet.")
        yield Lines("stopped", "No call was blocked.")

    def draw(self) -> None:
        """Draw them."""
        model = self.program.model
        self.say("tiles", [facts.tiles(model)])
        rated = lambda one, width: tables.rate_line(one, model, width)  # noqa: E731
        head = lambda width: tables.head(tables.rate_columns(width), width)  # noqa: E731
        self.lines("rates").show(model.recent(), rated, head)
        empty = "No call matches the filter of the events." if self._events.filter else "No call yet."
        self.show_calls("newest", self._events.found.rows, "Newest", empty)
        self.show_calls("stopped", self._blocked.found, "Blocked", "No call was blocked.")

    def picked(self, name: str, item: Any) -> None:  # noqa: ANN401
        """Show all of a call, or the calls of a name."""
        if name == "rates":
            self.program.calls_of(f"call={item[0]}")
        else:
            self.program.tell(tables.details(item, self.program.clock))

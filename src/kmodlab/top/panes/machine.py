"""How the machine is set, and whether its books close: Filters, Health."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult

from .. import facts, tables
from ..client import Problem
from ..lines import Lines
from ..model import Row, rows
from ..words import plain
from .base import Pane, Program, refusal
from .calls import MONTH_SECONDS


class FiltersPane(Pane):
    """The mode, the filters, and who has changed what."""

    VIEW: ClassVar[str] = "filters"

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._changes: list[Row] = []
        self._result: Text | None = None

    def compose(self) -> ComposeResult:
        """Make it."""
        yield self.static("result")
        yield Lines("settings")
        yield Lines("changes", "Nothing was changed in the last month.")

    def ask(self) -> None:
        """Ask for the changes."""
        client, end = self.program.client, self.program.model.now + 60

        def then(found: Mapping[str, Any]) -> None:
            self._changes = rows(found)

        begin = max(0, end - MONTH_SECONDS)
        self.program.ask("changes", lambda: client.get("changes", begin=begin, end=end), then)

    def change(self) -> None:
        """Ask for a change, of who may make one."""
        if self.program.admin:
            self.program.prompt("Change: ", "", "unlink block uid=1000, unlink delete, trace connect, enforce=0")
            return
        self._result = Text("Changes take the role admin.", tables.WARN)
        self.program.draw(now=True)

    def submitted(self, text: str) -> None:
        """Take a change."""
        if text:
            self._result = Text(f"Asked: {plain(text)}", tables.DIM)
            self.run_worker(self._make(text), group="change")
            self.program.draw(now=True)

    async def _make(self, command: str) -> None:
        try:
            found = await asyncio.to_thread(self.program.client.post, "control", {"command": command})
        except Problem as problem:
            self._result = refusal(problem)
        else:
            self.program.model.machine = found
            self._result = Text(f"Done: {plain(command)}", tables.GOOD)
            self.program.look()
            self.ask()
        self.program.touch()

    def draw(self) -> None:
        """Draw them."""
        self.say("result", [self._result] if self._result else [])
        width = self.app.size.width - 1
        self.lines("settings").show(facts.settings(self.program.model.machine, self.program.admin, width))
        line = lambda one, width: facts.change(one, self.program.clock, width)  # noqa: E731
        self.lines("changes").show(self._changes, line, lambda width: tables.head(facts.CHANGES, width))


class HealthPane(Pane):
    """The ledger.

    Args:
        program: around it.
        session: who asks.
    """

    VIEW: ClassVar[str] = "health"

    def __init__(self, program: Program, session: Mapping[str, Any]) -> None:
        super().__init__(program)
        self._session = session
        self._books: Mapping[str, Any] | None = None

    def compose(self) -> ComposeResult:
        """Make it."""
        yield Lines("books", "Looking.")
        yield Lines("parts", "Looking.")

    def ask(self) -> None:
        """Ask for the ledger."""
        client = self.program.client

        def then(found: Mapping[str, Any]) -> None:
            self._books = found

        self.program.ask("ledger", lambda: client.get("ledger"), then)

    def draw(self) -> None:
        """Draw it."""
        books, model = self._books, self.program.model
        if books is None:
            return
        found = facts.equations(books, model, self.app.size.width - 1)
        self.lines("books").show(found, None, lambda width: tables.head(facts.equation_columns(), width))
        self.lines("parts").show(facts.health(books, model, self._session, self.program.clock))

"""What all views have in common, and what they have of the program around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from rich.text import Text
from textual.containers import Vertical
from textual.widgets import Static

from .. import tables
from ..client import Client, Problem
from ..lines import Lines
from ..model import Model, Row
from ..words import Clock, plain


class Program(Protocol):
    """What a view has of the program.

    Attributes:
        model: what the stream has told.
        client: asks the server.
        clock: as which times are shown.
    """

    model: Model
    client: Client
    clock: Clock

    @property
    def problems(self) -> Mapping[str, Problem]:
        """Why what was asked for is not there, by the names of questions."""

    @property
    def admin(self) -> bool:
        """Whether changes may be asked for."""

    def ask(self, name: str, what: Callable[[], Any], then: Callable[[Any], None]) -> bool:
        """Ask something in a thread, and go on with the answer; return whether it is: a name is once at a time."""

    def look(self) -> None:
        """Ask how the machine is set."""

    def touch(self) -> None:
        """Have what has changed drawn with the next frame."""

    def draw(self, now: bool = False) -> None:
        """Draw what has changed; `now` whatever has."""

    def prompt(self, what: str, value: str, hint: str) -> None:
        """Let the user type a line; the view that is shown gets it."""

    def tell(self, text: Text, keys: Mapping[str, Callable[[], None]] = MappingProxyType({})) -> None:
        """Show a text over the views; some keys close it, and do something."""

    def calls_of(self, text: str) -> None:
        """Show the calls that match a filter."""


class Pane(Vertical):
    """A view.

    Args:
        program: around it.
    """

    VIEW: ClassVar[str]
    """Its id."""

    def __init__(self, program: Program) -> None:
        super().__init__(id=self.VIEW)
        self.program = program

    @property
    def mark(self) -> str:
        """What stands behind its name among the views."""
        return ""

    def ask(self) -> None:
        """Ask for what it shows beside the stream."""

    def draw(self) -> None:
        """Draw what is known."""

    def submitted(self, text: str) -> None:
        """Take what was typed."""

    def picked(self, name: str, item: Any) -> None:  # noqa: ANN401  # what a line is about
        """Go on with a line of the list of this name."""

    def on_lines_picked(self, event: Lines.Picked) -> None:
        """Take what was chosen."""
        self.picked(str(event.lines.id), event.item)

    @staticmethod
    def static(name: str) -> Static:
        """Return a place for lines, which takes no markup."""
        return Static(id=name, markup=False)

    def say(self, name: str, lines: Iterable[Text]) -> None:
        """Put lines into such a place."""
        self.query_one(f"#{name}", Static).update(Text("\n").join(lines))

    def lines(self, name: str) -> Lines:
        """Return a list."""
        return self.query_one(f"#{name}", Lines)

    def show_calls(self, name: str, found: list[Row], title: str, empty: str) -> None:
        """Show calls one by one in a list."""
        head = lambda width: tables.head(tables.call_columns(width, title), width)  # noqa: E731
        self.lines(name).show(found, lambda row, width: tables.call_line(row, self.program.clock, width), head, empty)


def refusal(problem: Problem) -> Text:
    """Return what is not done, as the kernel or the server says it, and what can be done."""
    return Text.assemble((plain(problem.message), tables.BAD), f"  {plain(problem.hint)}" if problem.hint else "")

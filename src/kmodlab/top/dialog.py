"""A text over the views."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Static


class Dialog(ModalScreen["str | None"]):
    """A text over the views, until a key closes it.

    Args:
        text: what it says.
        keys: close it as well, and are its result.
    """

    DEFAULT_CSS = """
    Dialog { align: center middle; }
    #dialog { width: 90%; max-width: 100; height: auto; max-height: 90%; border: round $primary; padding: 0 1; }
    #dialog-text { width: 100%; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q,question_mark,space", "dismiss"),
        Binding("up", "scroll(-1)"),
        Binding("down", "scroll(1)"),
    ]

    def __init__(self, text: Text, keys: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self._text, self._keys = text, keys

    def compose(self) -> ComposeResult:
        """Make it."""
        with VerticalScroll(id="dialog"):
            yield Static(self._text, id="dialog-text", markup=False)

    def on_key(self, event: Key) -> None:
        """Close it by a key of its own."""
        if event.key in self._keys:
            event.stop()
            self.dismiss(event.key)

    def action_scroll(self, step: int) -> None:
        """Go up or down."""
        self.query_one("#dialog").scroll_relative(y=step, animate=False)

"""A widget of lines: it asks for those that are seen, and for no other, so ten thousand cost what twenty do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

CURSOR = Style(reverse=True)


class Lines(ScrollView, can_focus=True):
    """Lines below a head that stays.

    A line that is chosen stays chosen by its place: what comes in moves past it.
    """

    DEFAULT_CSS = """
    Lines { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)"),
        Binding("down", "move(1)"),
        Binding("pageup", "page(-1)"),
        Binding("pagedown", "page(1)"),
        Binding("home", "ends(0)"),
        Binding("end", "ends(1)"),
        Binding("enter", "pick"),
    ]

    class Picked(Message):
        """A line was chosen.

        Attributes:
            lines: where.
            item: what it is about.
        """

        def __init__(self, lines: Lines, item: Any) -> None:  # noqa: ANN401  # the view knows
            super().__init__()
            self.lines, self.item = lines, item

    def __init__(self, id: str, empty: str = "Nothing yet.") -> None:  # noqa: A002  # as widgets have it
        super().__init__(id=id)
        self.items: Sequence[Any] = ()
        self.empty = empty
        self.cursor = 0
        self._chooses = True
        self._head: Callable[[int], Text] | None = None
        self._line: Callable[[Any, int], Text] = lambda item, _: item

    def show(
        self,
        items: Sequence[Any],
        line: Callable[[Any, int], Text] | None = None,
        head: Callable[[int], Text] | None = None,
        empty: str | None = None,
    ) -> None:
        """Show these.

        Args:
            items: one for each line.
            line: makes a line of an item and a width; without, an item is one, and there is nothing to choose.
            head: makes the line that stays above.
            empty: said where there is no item.
        """
        self.items, self._head = items, head
        self._line, self._chooses = line or (lambda item, _: item), line is not None
        self.empty = self.empty if empty is None else empty
        self.cursor = max(0, min(self.cursor, len(items) - 1))
        self.virtual_size = Size(0, len(items) + self._above)
        self.refresh()

    @property
    def _width(self) -> int:
        """Columns beside the scroll bar."""
        return self.scrollable_content_region.width

    @property
    def _above(self) -> int:
        return 1 if self._head else 0

    @property
    def item(self) -> Any:  # noqa: ANN401
        """What the chosen line is about, or None."""
        return self.items[self.cursor] if self.items else None

    def render_line(self, y: int) -> Strip:
        """Return what is at a row of the widget."""
        width = self._width
        return self._strip(self._text(y, width), width)

    def _text(self, y: int, width: int) -> Text:
        if y < self._above and self._head:
            return self._head(width)
        at = y - self._above + self.scroll_offset.y
        if not self.items and y == self._above:
            return Text(self.empty, "dim")
        if at >= len(self.items):
            return Text()
        text = self._line(self.items[at], width)
        if self.has_focus and self._chooses and at == self.cursor:
            return Text(text.plain.ljust(width), CURSOR)
        return text

    def _strip(self, text: Text, width: int) -> Strip:
        text = text.copy()
        text.no_wrap, text.end = True, ""
        # Rendered as it is, a text without spans would lose its own style.
        text.stylize_before(text.style)
        segments = list(text.render(self.app.console))
        return Strip(segments).adjust_cell_length(width).apply_style(self.rich_style)

    # -- keys --------------------------------------------------------------------------------------------------------

    @property
    def _rows(self) -> int:
        return max(1, self.size.height - self._above)

    def _go(self, at: int) -> None:
        self.cursor = max(0, min(at, len(self.items) - 1))
        top = self.scroll_offset.y
        if not self._chooses:
            self.cursor = max(0, min(at, len(self.items) - self._rows))
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + self._rows:
            self.scroll_to(y=self.cursor - self._rows + 1, animate=False)
        self.refresh()

    def action_move(self, step: int) -> None:
        """Go to another line."""
        self._go(self.cursor + step)

    def action_page(self, step: int) -> None:
        """Go as many lines as are seen."""
        self._go(self.cursor + step * self._rows)

    def action_ends(self, which: int) -> None:
        """Go to the first line, or the last."""
        self._go(which * len(self.items))

    def action_pick(self) -> None:
        """Tell the view which line was chosen."""
        if self.items:
            self.post_message(self.Picked(self, self.item))

    def on_click(self, event: Any) -> None:  # noqa: ANN401  # textual's
        """Choose a line; chosen again, it is picked."""
        at = event.y - self._above + self.scroll_offset.y
        if event.y < self._above or at >= len(self.items):
            return
        again = at == self.cursor
        self._go(at)
        if again:
            self.action_pick()

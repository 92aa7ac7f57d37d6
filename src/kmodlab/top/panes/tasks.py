"""Tasks: all that there are, sorted, searched, as a tree."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message

from .. import tables, tasks
from ..client import Problem
from ..lines import Lines
from ..model import Row
from ..tasks import Order, Window
from ..words import plain
from .base import Pane, Program, refusal

HINT = "a part of the name, a PID, state=running, uid=0, ppid=1"
BAD_REQUEST = 400
NOTHING = Window({"offset": 0, "rows": {}, "shown": 0})


class TaskLines(Lines):
    """Lines of tasks: one that was chosen stays chosen wherever it moves."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("left", "fold(1)"), Binding("right", "fold(0)")]

    class Pressed(Message):
        """The head was clicked, at a place from the left."""

        def __init__(self, x: int) -> None:
            super().__init__()
            self.x = x

    class Scrolled(Message):
        """Other rows are in sight."""

    class Folded(Message):
        """The children of the chosen task are not to be shown, or are."""

        def __init__(self, close: bool) -> None:
            super().__init__()
            self.close = close

    def __init__(self, id: str, empty: str) -> None:  # noqa: A002  # as widgets have it
        super().__init__(id, empty)
        self._has_chosen = False

    @property
    def sight(self) -> tuple[int, int]:
        """The first row in sight, and the last that there is room for."""
        first = self.scroll_offset.y
        return first, first + self._rows - 1

    def show(
        self,
        items: Sequence[Any],
        line: Callable[[Any, int], Text] | None = None,
        head: Callable[[int], Text] | None = None,
        empty: str | None = None,
    ) -> None:
        """Show these, and go with the task that was chosen to where it is now, if it was in sight.

        Where none was chosen, the first line stays it.
        """
        row: Row | None = self.item
        place = items.place(row["pid"]) if row and self._has_chosen and isinstance(items, Window) else None
        seen = self._sees(self.cursor)
        self.cursor = self.cursor if place is None else place
        super().show(items, line, head, empty)
        if place is not None and seen and not self._sees(place):
            self._go(place)

    def _sees(self, at: int) -> bool:
        first, last = self.sight
        return first <= at <= last

    def _go(self, at: int) -> None:
        self._has_chosen = True
        super()._go(at)

    def climb(self) -> None:
        """Go to the parent."""
        above = self.items.parent(self.cursor) if isinstance(self.items, Window) else None
        if above is not None:
            self._go(above)

    def watch_scroll_y(self, old: float, new: float) -> None:
        """Tell of it."""
        super().watch_scroll_y(old, new)
        self.post_message(self.Scrolled())

    def action_fold(self, close: int) -> None:
        """Have the children of the chosen task not shown, or shown."""
        self.post_message(self.Folded(bool(close)))

    def on_click(self, event: Any) -> None:  # noqa: ANN401  # textual's
        """Tell of a click on the head; rows are `Lines`'."""
        if event.y < self._above:
            self.post_message(self.Pressed(event.x))


class TasksPane(Pane):
    """The tasks of now."""

    VIEW: ClassVar[str] = "tasks"

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._order = Order()
        self._stale = False
        self._answer: Mapping[str, Any] | None = None
        self._found = NOTHING
        self._answered = Order()
        self._came = 0.0
        self._age = 0.0

    def compose(self) -> ComposeResult:
        """Make it."""
        yield self.static("task-sums")
        yield self.static("task-said")
        yield TaskLines("all-tasks", "Looking.")

    @property
    def _lines(self) -> TaskLines:
        return self.query_one(TaskLines)

    # -- what is asked for -------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Ask for the rows in sight, and those around them."""
        order, client = self._order, self.program.client
        query = order.query(tasks.offset(*self._lines.sight))

        def then(answer: Mapping[str, Any]) -> None:
            self._take(answer, order)

        if self.program.ask("tasks", lambda: client.get("tasks", **query), then):
            self._stale = False

    def _take(self, answer: Mapping[str, Any], order: Order) -> None:
        self._answer, self._answered = answer, order
        self._came = time.monotonic()
        self._age = max(0.0, self.program.model.now - answer["wall"])
        self._found = Window(answer)

    def _change(self, order: Order) -> None:
        self._order, self._stale = order, True
        self.program.draw(now=True)

    def on_task_lines_scrolled(self) -> None:
        """Ask for rows that are not there."""
        if not self._found.covers(*self._lines.sight):
            self._stale = True
            self.program.touch()

    # -- keys --------------------------------------------------------------------------------------------------------

    def search(self) -> None:
        """Ask for words."""
        self.program.prompt("Search: ", self._order.search, HINT)

    def submitted(self, text: str) -> None:
        """Take words."""
        self._change(replace(self._order, search=text))

    def act(self, what: str) -> None:
        """Do what a key says: see `keys.TASK_ACTIONS`."""
        if what == "search":
            self.search()
            return
        columns = self._columns(self._order, self.size.width)
        orders: dict[str, Callable[[], Order]] = {
            "tree": self._order.reshaped,
            "turn": self._order.turned,
            "memory": lambda: replace(self._order, sort="rss", down=True),
            "pid": lambda: replace(self._order, sort="pid", down=False),
            "left": lambda: self._order.beside(-1, columns),
            "right": lambda: self._order.beside(1, columns),
        }
        self._change(orders[what]())

    def on_task_lines_pressed(self, event: TaskLines.Pressed) -> None:
        """Sort by a column, or turn its order."""
        width = self._lines.scrollable_content_region.width
        if name := tasks.at(self._columns(self._answered, width), event.x, width):
            self._change(self._order.by(name))

    def on_task_lines_folded(self, event: TaskLines.Folded) -> None:
        """Close what is open, or go to the parent; open what is closed."""
        row: Row | None = self._lines.item
        if not (row and "children" in row):
            return
        is_open = bool(row["children"]) and row["pid"] not in self._order.closed and not self._order.search
        if is_open or not event.close:
            self._change(self._order.toggled(row["pid"], event.close))
        else:
            self._lines.climb()

    def picked(self, name: str, item: Any) -> None:  # noqa: ANN401
        """Show all of a task."""
        del name
        if item is None:
            return
        pid = item["pid"]
        keys = {
            "e": lambda: self.program.calls_of(f"pid={pid}"),
            "c": lambda: self.submitted(f"ppid={pid}"),
        }
        self.program.tell(tasks.details(item), keys)

    # -- what is drawn -----------------------------------------------------------------------------------------------

    def _columns(self, order: Order, width: int) -> list[str]:
        return tasks.names(order, width, self._answer["missing"] if self._answer else ())

    def draw(self) -> None:
        """Draw them."""
        if self._stale:
            self.ask()
        width = self.app.size.width
        sums, said = self._said(width)
        self.say("task-sums", [sums])
        self.say("task-said", [said])
        order = self._answered
        line = lambda row, width: tasks.task_line(row, order, self._columns(order, width), width)  # noqa: E731
        head = lambda width: tables.head(tasks.columns(order, self._columns(order, width)), width)  # noqa: E731
        self._lines.show(self._shown, line, head if len(self._shown) else None, self._empty())

    @property
    def _problem(self) -> Problem | None:
        return self.program.problems.get("tasks")

    @property
    def _is_refused(self) -> bool:
        return self._problem is not None and self._problem.code == BAD_REQUEST

    @property
    def _shown(self) -> Window:
        return NOTHING if self._is_refused else self._found

    def _said(self, width: int) -> tuple[Text, Text]:
        """Return what stands above the table: sums, and of when they are; or why there is none."""
        answer, problem = self._answer, refusal(self._problem) if self._problem else None
        if answer is None:
            return problem or Text(""), Text("")
        if trouble := answer["trouble"]:
            seen = Text(f"Tasks are not seen: {plain(trouble['detail'])}.", tables.WARN)
            return seen, problem or Text(plain(trouble.get("hint", "")), tables.DIM)
        if problem and self._is_refused:
            return tasks.sums(answer, width), problem
        when = tasks.age(answer["wall"], self._age + time.monotonic() - self._came, self.program.clock)
        when = Text.assemble(when, "; ", problem) if problem else when
        return tasks.sums(answer, width), tasks.said(answer, self._answered, when, width)

    def _empty(self) -> str:
        if self._is_refused:
            return "The search is not understood."
        if self._answer is None:
            return "Looking."
        if self._answer["trouble"]:
            return "Nobody sees them."
        return "No task matches." if self._answered.search else "There is no task."

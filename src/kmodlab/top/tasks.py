"""Tasks as a table of text, of which only some rows are there; the server sorts, searches, and makes the tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

from rich.text import Text

from kmodlab.daemon.tasks import COLUMNS

from .model import Row, rows
from .tables import BAD, BOLD, DIM, GOOD, WARN, WIDE, Cell, Column, fitted, line, listed
from .words import DASH, Clock, plain, size, span, whole

AT_ONCE = 500
"""Rows that are asked for: those in sight, and as many as there is room for around them."""
MOST_CLOSED = 150
"""The interface takes 2,048 letters of PIDs."""
OLD_SECONDS = 10.0
DEEPEST = 16
SUMS = ("tasks", "rss_sum")
_TITLES = {
    "pid": Column("PID", 7, right=True),
    "ppid": Column("Parent", 7, right=True),
    "uid": Column("UID", 6, right=True),
    "gid": Column("GID", 6, right=True),
    "state": Column("State", 10),
    "rss": Column("Memory", 7, right=True),
    "vm": Column("Address space", 14, right=True),
    "threads": Column("Threads", 8, right=True),
    "tasks": Column("Subtree", 8, right=True),
    "rss_sum": Column("Its memory", 11, right=True),
    "comm": Column("Command"),
}
_NARROW = {False: ("pid", "ppid", "uid", "state", "rss", "threads", "comm"),
           True: ("pid", "uid", "state", "rss", *SUMS, "comm")}  # fmt: skip
_SIZES = ("rss", "vm", "rss_sum")
_UP = ("pid", "ppid", "state", "comm")
"""Columns that begin with the smallest."""
_TONES = {"running": GOOD, "disk_sleep": WARN, "stopped": WARN, "traced": WARN, "zombie": BAD, "dead": BAD}
_TOLD = ("running", "disk_sleep", "stopped", "traced", "zombie", "dead", "sleeping", "idle", "parked", "unknown")
"""States in the order of what one looks for: what has no room is at the end."""


@dataclass(frozen=True)
class Order:
    """What is asked for, and how it is shown.

    Attributes:
        sort: a column.
        down: the largest first.
        is_tree: below their parents.
        search: words, as docs/live.md has them.
        closed: PIDs whose children are not shown, in the order in which they were closed.
    """

    sort: str = "rss"
    down: bool = True
    is_tree: bool = False
    search: str = ""
    closed: tuple[int, ...] = ()

    def by(self, column: str) -> Order:
        """Return this by a column: by its own anew, the other way round."""
        return replace(self, sort=column, down=not self.down if column == self.sort else column not in _UP)

    def beside(self, step: int, columns: Sequence[str]) -> Order:
        """Return this by a column that is so many to the right of its own."""
        at = columns.index(self.sort) if self.sort in columns else 0
        column = columns[(at + step) % len(columns)]
        return replace(self, sort=column, down=column not in _UP)

    def turned(self) -> Order:
        """Return this the other way round."""
        return replace(self, down=not self.down)

    def reshaped(self) -> Order:
        """Return this as a tree, or as none; sums of subtrees are there in a tree alone."""
        order = replace(self, is_tree=not self.is_tree)
        return replace(order, sort="rss", down=True) if self.is_tree and self.sort in SUMS else order

    def toggled(self, pid: int, close: bool) -> Order:
        """Return this with the children of a task not shown, or shown."""
        others = tuple(one for one in self.closed if one != pid)
        return replace(self, closed=(*others, pid)[-MOST_CLOSED:] if close else others)

    def query(self, offset: int) -> dict[str, object]:
        """Return the parameters of the question, from a row on."""
        return {
            "filter": self.search or None,
            "sort": self.sort,
            "order": "down" if self.down else "up",
            "shape": "tree" if self.is_tree else "flat",
            "closed": ",".join(map(str, self.closed)) if self.is_tree and self.closed else None,
            "offset": offset or None,
            "limit": AT_ONCE,
        }


class Window(Sequence["Row | None"]):
    """All rows, of which only some are known; others are None.

    Args:
        answer: the interface's.
    """

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self._offset, self._rows, self._shown = answer["offset"], rows(answer["rows"]), answer["shown"]

    def __len__(self) -> int:
        return int(self._shown)

    @overload
    def __getitem__(self, at: int) -> Row | None: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Row | None]: ...
    def __getitem__(self, at: int | slice) -> Row | Sequence[Row | None] | None:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        place = at - self._offset
        return self._rows[place] if 0 <= place < len(self._rows) else None

    def place(self, pid: int) -> int | None:
        """Return at which row a task is, where that is known."""
        return next((self._offset + at for at, row in enumerate(self._rows) if row["pid"] == pid), None)

    def parent(self, at: int) -> int | None:
        """Return at which row of a tree the parent of a row is, where that is known."""
        row = self[at]
        above = range(at - 1, self._offset - 1, -1)
        return next((one for one in above if row and self._depth(one) < row.get("depth", 0)), None)

    def _depth(self, at: int) -> int:
        row = self[at]
        return int(row["depth"]) if row else 0

    def covers(self, first: int, last: int) -> bool:
        """Tell whether all rows from one to another are known, as far as there are such."""
        end = min(last, len(self) - 1)
        return first > end or (self._offset <= first and end < self._offset + len(self._rows))


def offset(first: int, last: int) -> int:
    """Return the first row to ask for, that those in sight are in the middle of what comes."""
    return max(0, first - max(0, AT_ONCE - (last - first)) // 2)


# -- the table -----------------------------------------------------------------------------------------------------


def names(order: Order, width: int, missing: Sequence[str]) -> list[str]:
    """Return the columns for which there is room.

    Args:
        order: see there.
        width: columns of the terminal.
        missing: those that the lister does not have, by its own names. What is not known is no zero.
    """
    lacking = {COLUMNS[title] for title in missing}
    if "rss" in lacking:
        lacking.add("rss_sum")
    wide = [name for name in _TITLES if order.is_tree or name not in SUMS]
    return [name for name in (wide if width >= WIDE else _NARROW[order.is_tree]) if name not in lacking]


def columns(order: Order, found: Sequence[str]) -> list[Column]:
    """Return columns with their titles, that which is sorted by with an arrow."""
    arrow = "\u25bc" if order.down else "\u25b2"
    titles = {name: _TITLES[name] for name in found}
    if order.sort in titles:
        titles[order.sort] = replace(titles[order.sort], title=titles[order.sort].title + arrow)
    return [*titles.values()]


def at(found: Sequence[str], x: int, width: int) -> str | None:
    """Return the column that has a place of the screen, or None where there is none."""
    end = 0
    for name in found:
        end += _TITLES[name].width or max(1, width - end)
        if x < end:
            return name
        end += 1
    return None


def task_line(row: Row | None, order: Order, found: Sequence[str], width: int) -> Text:
    """Return one task."""
    if row is None:
        return Text("\u2026", DIM)
    shown = columns(order, found)
    left = max(1, width - sum(one.width for one in shown) - len(shown) + 1)
    cells = [_command(row, order, left) if name == "comm" else _cell(name, row) for name in found]
    return line(shown, cells, width)


def _cell(name: str, row: Row) -> Cell:
    value = row.get(name)
    if name == "state":
        return state(str(value))
    return size(value) if name in _SIZES else DASH if value is None else str(value)


def state(word: str) -> Text:
    """Return a state in small letters, coloured where one looks for it."""
    return Text(plain(word).lower().replace("_", " "), _TONES.get(word.lower(), DIM))


def _command(row: Row, order: Order, width: int) -> Text:
    name = plain(row["comm"])
    if not order.is_tree:
        return Text(name)
    mark = "  " if not row["children"] else "\u25b8 " if row["pid"] in order.closed and not order.search else "\u25be "
    deepest = min(DEEPEST, width // 4)
    far = f"[{row['depth']}] " if row["depth"] > deepest else ""
    return Text.assemble("  " * min(row["depth"], deepest), (far, DIM), (mark, DIM), name)


# -- what is said --------------------------------------------------------------------------------------------------


def sums(answer: Mapping[str, Any], width: int) -> Text:
    """Return how many tasks there are, in how much memory, and in which states."""
    found = answer["states"]
    order = [*(one for one in _TOLD if one in found), *sorted(set(found) - {*_TOLD})]
    states = Text(", ").join([Text.assemble(f"{whole(found[one])} ", state(one)) for one in order])
    many = f"{whole(answer['n'])} {'task' if answer['n'] == 1 else 'tasks'}"
    memory = "" if answer["rss"] is None else f", {size(answer['rss'])} of memory"
    return fitted(Text.assemble((many, BOLD), f"{memory}: ", states), width)


def said(answer: Mapping[str, Any], order: Order, when: Text, width: int) -> Text:
    """Return of when that is, how it is sorted, and what was searched for.

    Args:
        answer: the interface's.
        order: that was asked for.
        when: see `age`.
        width: columns of the terminal.
    """
    parts = [when]
    if order.search:
        below = ", below their parents" if order.is_tree else ""
        parts.append(
            Text.assemble("search: ", (plain(order.search), BOLD), f", {whole(answer['matched'])} found{below}")
        )
    if answer["missing"]:
        told = ", ".join(plain(one) for one in answer["missing"])
        parts.append(Text(f"its lister is older and does not tell {told}", WARN))
    title = _TITLES[order.sort].title
    parts.append(Text(f"by {title if title.isupper() else title.lower()}{', as a tree' if order.is_tree else ''}", DIM))
    return fitted(Text("; ").join(parts), width)


def age(wall: float, seconds: float, clock: Clock) -> Text:
    """Return of when something is, seconds since 1970, and how long ago that was."""
    ago = "now" if seconds < 1 else f"{span(seconds)} ago"
    return Text.assemble(f"as of {clock.time(wall)}, ", (ago, WARN if seconds >= OLD_SECONDS else ""))


def details(row: Row) -> Text:
    """Return all of one task, a fact a line."""
    told: list[tuple[str, Cell]] = [
        ("PID, parent", f"{row['pid']}, {_known(row, 'ppid')}"),
        ("State", state(str(row["state"]))),
        ("Memory in use", size(row.get("rss"))),
        ("Address space", size(row.get("vm"))),
        ("Threads", _known(row, "threads")),
        ("User, group", f"{_known(row, 'uid')}, {_known(row, 'gid')}"),
    ]
    if "tasks" in row:
        many = f"{whole(row['tasks'])} {'task' if row['tasks'] == 1 else 'tasks'}"
        told.append(("With all below it", f"{many}, {size(row.get('rss_sum'))} in memory"))
    told.append(("", Text("e its calls   c its children   Esc back", DIM)))
    return listed(told, plain(row["comm"]))


def _known(row: Row, name: str) -> str:
    return str(row[name]) if name in row else DASH

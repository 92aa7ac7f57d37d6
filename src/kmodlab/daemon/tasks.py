"""What the task lister tells, read strictly: how many processes are in which state, and the table of all of them.

The formats are those of /proc/task_stats and /proc/task_lister, as docs/abi.md has them.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from kmodlab.errors import KmodlabError

STATES = ("running", "sleeping", "stopped", "zombie", "other")
"""What /proc/task_stats tells apart; together they are all processes."""
COLUMNS = {
    "PID": "pid", "PPID": "ppid", "COMMAND": "comm", "STATE": "state", "VM(KB)": "vm", "RSS(KB)": "rss",
    "THREADS": "threads", "UID": "uid", "GID": "gid",
}  # fmt: skip
"""The columns of /proc/task_lister, and their names here."""
TEXTS = frozenset({"comm", "state"})
SUMS = ("tasks", "rss_sum")
"""Of a process and all below it: how many they are, and what they have in memory, KiB."""
_NEEDED = ("pid", "comm", "state")
_AT_ONCE = 4096
_COUNT = re.compile(r"^\s*([A-Z][A-Za-z ]*):\s+(\d+)(?: MB)?$", re.MULTILINE)
_TOTAL = "Total processes listed: "
_HINT = "it is older or newer than this program: deploy both again"


@dataclass(frozen=True)
class Sample:
    """The processes of one moment: how many in each of `STATES`; address space and memory of all, MiB."""

    states: tuple[int, ...]
    vm: int
    rss: int

    @property
    def total(self) -> int:
        """All processes."""
        return sum(self.states)


def sample(text: str) -> Sample:
    """Read /proc/task_stats.

    Raises:
        KmodlabError: a line is missing.
    """
    found = {name.lower(): int(number) for name, number in _COUNT.findall(text)}
    wanted = (*STATES, "total virtual memory", "total rss")
    for name in wanted:
        if name not in found:
            raise KmodlabError(f"/proc/task_stats of this machine has no line for {name!r}", hint=_HINT)
    *states, vm, rss = (found[name] for name in wanted)
    return Sample(tuple(states), vm, rss)


Column: TypeAlias = "array[int] | list[str]"


@dataclass(frozen=True)
class Listing:
    """All processes, by columns.

    Attributes:
        wall: when, seconds since 1970.
        columns: by their names here, by ascending PID; sizes are KiB. A column that the lister does not have is not
            there.
    """

    wall: float
    columns: Mapping[str, Column]

    @property
    def n(self) -> int:
        """How many."""
        return len(self.columns["pid"])

    @property
    def missing(self) -> tuple[str, ...]:
        """The columns that the lister does not have, by its own names."""
        return tuple(title for title, name in COLUMNS.items() if name not in self.columns)

    @cached_property
    def states(self) -> dict[str, int]:
        """How many are in which state, by the lister's own words in small letters."""
        return {str(word).lower(): n for word, n in Counter(self.columns["state"]).items()}

    def total(self, name: str) -> int | None:
        """Return the sum of a column of numbers; None where the lister does not have it."""
        return sum(self.numbers(name)) if name in self.columns else None

    def numbers(self, name: str) -> Sequence[int]:
        """Return a column of numbers; zeros where the lister does not have it."""
        column = self.columns.get(name)
        return column if isinstance(column, array) else array("q", bytes(8 * self.n))


def listing(text: str, wall: float) -> Listing:
    """Read /proc/task_lister.

    Raises:
        KmodlabError: it is not what the contract says, or not whole.
    """
    lines = text.split("\n")
    at, names = _header(lines)
    rows, total = _rows(lines, at + 1)
    columns: dict[str, Column] = {
        name: [] if name in TEXTS else array("q") for name in names if name in COLUMNS.values()
    }
    for start in range(0, len(rows), _AT_ONCE):
        _take(columns, names, rows[start : start + _AT_ONCE])
    _check_total(len(rows), total)
    return Listing(wall, columns)


def pids(text: str) -> list[int]:
    """Read the PIDs of /proc/task_lister alone, which takes a tenth of the time that all takes.

    Raises:
        KmodlabError: it is not what the contract says, or not whole.
    """
    lines = text.split("\n")
    at, names = _header(lines)
    rows, total = _rows(lines, at + 1)
    place = names.index("pid")
    _check_total(len(rows), total)
    try:
        return [int(row.split(None, place + 1)[place]) for row in rows]
    except (ValueError, IndexError) as error:
        raise KmodlabError("/proc/task_lister has a row without a pid", hint=_HINT) from error


def _check_total(n: int, total: int | None) -> None:
    if total is not None and total != n:
        raise KmodlabError(f"/proc/task_lister has {n} rows and says {total}", hint=_HINT)


def _header(lines: Sequence[str]) -> tuple[int, list[str]]:
    for at, line in enumerate(lines[:8]):
        words = line.split()
        if "PID" in words and "COMMAND" in words:
            names = [COLUMNS.get(word, word) for word in words]
            for name in _NEEDED:
                if name not in names:
                    raise KmodlabError(f"/proc/task_lister of this machine has no column for {name!r}", hint=_HINT)
            return at, names
    raise KmodlabError("/proc/task_lister of this machine has no line with the names of its columns", hint=_HINT)


def _rows(lines: Sequence[str], at: int) -> tuple[list[str], int | None]:
    found: list[str] = []
    for line in lines[at:]:
        if line.startswith(_TOTAL) and line[len(_TOTAL) :].isdecimal():
            return found, int(line[len(_TOTAL) :])
        if line and not line.startswith("="):
            found.append(line)
    return found, None


def _take(columns: Mapping[str, Column], names: Sequence[str], rows: Sequence[str]) -> None:
    cells = [row.split() for row in rows]
    strange = next((row for row, words in zip(rows, cells, strict=True) if len(words) != len(names)), None)
    if strange is not None:
        raise KmodlabError(f"/proc/task_lister has a row that is none: {strange[:120]!r}", hint=_HINT)
    for name, values in zip(names, zip(*cells, strict=True), strict=True):
        column = columns.get(name)
        if isinstance(column, list):
            column.extend(map(sys.intern, values))
        elif column is not None:
            try:
                column.extend(map(int, values))
            except (ValueError, OverflowError) as error:
                raise KmodlabError(f"/proc/task_lister has a {name} that is no number", hint=_HINT) from error


@dataclass(frozen=True)
class Only:
    """Which processes one wants; None is all.

    Attributes:
        states: in small letters.
        pid: a process.
        ppid: the children of a process.
        uid: a user.
        words: each a part of the command name, or a whole PID; whether letters are small does not matter.
    """

    states: frozenset[str] | None = None
    pid: int | None = None
    ppid: int | None = None
    uid: int | None = None
    words: tuple[str, ...] = ()

    @property
    def all(self) -> bool:
        """Whether every process is wanted."""
        return self == Only()

    def among(self, found: Listing) -> list[int]:
        """Return the places of those that are wanted."""
        places: list[int] = list(range(found.n))
        for name in ("pid", "ppid", "uid"):
            wanted, column = getattr(self, name), found.numbers(name)
            if wanted is not None:
                places = [at for at in places if column[at] == wanted]
        if self.states is not None:
            states = found.columns["state"]
            places = [at for at in places if str(states[at]).lower() in self.states]
        pids, names = found.numbers("pid"), found.columns["comm"]
        for word in map(str.lower, self.words):
            places = [at for at in places if word in str(names[at]).lower() or word == str(pids[at])]
        return places


@dataclass(frozen=True)
class Order:
    """How processes are shown.

    Attributes:
        sort: a column, or one of `SUMS` in a tree.
        descending: the largest first.
        tree: below their parents.
        closed: PIDs whose children are not shown; all are where `only` leaves some out.
        only: see there. In a tree the parents of those that are wanted are shown, too.
    """

    sort: str = "pid"
    descending: bool = False
    tree: bool = False
    closed: frozenset[int] = frozenset()
    only: Only = field(default_factory=Only)


class Tree:
    """Who is whose child, and what all below a process come to. A parent that is not in the listing is none.

    The lister makes no picture of one moment, so parents may form a circle: it is cut where its lowest PID is.
    """

    def __init__(self, found: Listing) -> None:
        pids, ppids = found.numbers("pid"), found.numbers("ppid")
        place = {pid: at for at, pid in enumerate(pids)}
        self.parents = [place.get(ppid, -1) if ppid != pid else -1 for pid, ppid in zip(pids, ppids, strict=True)]
        self._cut_circles()
        self.tasks = array("q", [1]) * found.n
        self.rss_sum = array("q", found.numbers("rss"))
        self.children = array("q", bytes(8 * found.n))
        for at in reversed(self._downwards()):
            if (parent := self.parents[at]) >= 0:
                self.tasks[parent] += self.tasks[at]
                self.rss_sum[parent] += self.rss_sum[at]
                self.children[parent] += 1

    def _cut_circles(self) -> None:
        seen = [0] * len(self.parents)
        for start in range(len(self.parents)):
            at = start
            while at >= 0 and not seen[at]:
                seen[at] = start + 1
                at = self.parents[at]
            if at >= 0 and seen[at] == start + 1:
                self.parents[min(self._circle(at))] = -1

    def _circle(self, at: int) -> list[int]:
        found = [at]
        while (at := self.parents[at]) != found[0]:
            found.append(at)
        return found

    def _downwards(self) -> list[int]:
        """Return all places, every parent before its children."""
        return [at for at, _ in self.walk(range(len(self.parents)))]

    def walk(self, order: Sequence[int], closed: frozenset[int] = frozenset()) -> Iterator[tuple[int, int]]:
        """Yield places with their depths, parents first.

        Args:
            order: the places that are shown, with the parents of each; siblings come in this order.
            closed: places whose children are left out.
        """
        below: dict[int, list[int]] = {}
        for at in reversed(order):
            below.setdefault(self.parents[at], []).append(at)
        waiting = [(at, 0) for at in below.get(-1, ())]
        while waiting:
            at, depth = waiting.pop()
            yield at, depth
            if at not in closed:
                waiting += [(child, depth + 1) for child in below.get(at, ())]

    def with_parents(self, places: Sequence[int]) -> set[int]:
        """Return places, and those of all above them."""
        found: set[int] = set()
        for place in places:
            at = place
            while at >= 0 and at not in found:
                found.add(at)
                at = self.parents[at]
        return found


class Arranged:
    """A listing in an order, of which one then takes some rows.

    Args:
        found: the listing.
        order: see there.

    Attributes:
        matched: how many processes are wanted.
        shown: how many rows there are.
    """

    def __init__(self, found: Listing, order: Order) -> None:
        self._found = found
        self._tree = Tree(found) if order.tree else None
        wanted = order.only.among(found)
        self.matched = len(wanted)
        self._depths: array[int] | None = None
        if self._tree is None:
            self._places = array("q", self._sorted(wanted, order))
        else:
            self._places, self._depths = self._arrange(self._tree, wanted, order)
        self.shown = len(self._places)

    def _arrange(self, tree: Tree, wanted: list[int], order: Order) -> tuple[array[int], array[int]]:
        places = self._sorted(wanted if order.only.all else sorted(tree.with_parents(wanted)), order)
        pids = self._found.numbers("pid")
        closed = frozenset(at for at in places if pids[at] in order.closed) if order.only.all else frozenset()
        rows = list(tree.walk(places, closed))
        return array("q", [at for at, _ in rows]), array("q", [depth for _, depth in rows])

    def _sorted(self, places: list[int], order: Order) -> list[int]:
        """Return places in order; those that are equal by their PIDs."""
        column = self._column(order.sort)
        if column is None:
            return places
        if isinstance(column, list):
            return sorted(places, key=lambda at: column[at].lower(), reverse=order.descending)
        return sorted(places, key=column.__getitem__, reverse=order.descending)

    def _column(self, name: str) -> Column | None:
        if name in SUMS:
            found: Column | None = getattr(self._tree, name) if self._tree else None
            return found
        return self._found.columns.get(name)

    def rows(self, names: Sequence[str], offset: int, limit: int) -> dict[str, list[int] | list[str]]:
        """Return some rows, by columns; those that the lister does not have are left out.

        Args:
            names: of the columns.
            offset: the first row.
            limit: how many at most.
        """
        places = self._places[offset : offset + limit]
        found: dict[str, list[int] | list[str]] = {}
        for name in names:
            if (column := self._column(name)) is not None:
                found[name] = [column[at] for at in places]  # type: ignore[assignment]  # a column is of one type
        if self._tree and self._depths is not None:
            found["depth"] = list(self._depths[offset : offset + limit])
            found["children"] = [self._tree.children[at] for at in places]
        return found

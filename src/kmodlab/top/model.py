"""What the stream has told: bins of a second, the newest rows, and the sums that have to come out.

It is the page's (`daemon/web/model.js`), merged in the same way: a state, then ticks. Nothing here draws or asks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kmodlab.daemon.ledger import LOSSES

WINDOW = 180
"""Seconds that the live view shows."""
MOST_ROWS = 200
MOST_BLOCKED = 2000
RECENT = 10
"""Seconds over which the numbers beside a sparkline are taken."""
BUCKETS = 64
LOST = tuple(term for term in LOSSES if term not in ("away", "expired_age", "expired_size"))
"""Terms of the ledger that are gone for good, against its will."""

Row = Mapping[str, Any]
Columns = Mapping[str, list[Any]]


def rows(columns: Columns) -> list[Row]:
    """Return the rows of a table of columns."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def identity(row: Row) -> tuple[int, int, int]:
    """Return what tells a call from all others."""
    return row["epoch"], row["cpu"], row["seq"]


@dataclass
class Sum:
    """What some calls came to."""

    n: float = 0
    errors: float = 0
    blocked: float = 0
    histogram: list[float] = field(default_factory=lambda: [0.0] * BUCKETS)

    def add(self, n: float, errors: float, blocked: float, histogram: Iterable[float] = ()) -> None:
        """Add what others came to."""
        self.n += n
        self.errors += errors
        self.blocked += blocked
        for bucket, count in enumerate(histogram):
            self.histogram[bucket] += count


@dataclass
class View:
    """The newest rows that match a filter; how many matched, and how many of those came one by one."""

    rows: list[Row] = field(default_factory=list)
    matched: int = 0
    shown: int = 0


@dataclass(frozen=True)
class Sums:
    """What came in, held against what the ledger says.

    Attributes:
        known: whether anything was heard: before that nothing is said to close.
        base: calls that were counted before.
        events: calls that came.
        rolled: calls that the server has counted.
        open: sums of the server's ledger that do not close.
    """

    known: bool
    base: int
    events: int
    rolled: int
    open: tuple[str, ...]

    @property
    def missing(self) -> int:
        """Calls that were counted and did not come; below zero are those that came twice."""
        return self.rolled - self.base - self.events

    @property
    def closes(self) -> bool:
        """Whether every call is accounted for."""
        return self.known and not self.missing and not self.open


class Model:
    """What is known of a machine.

    Args:
        clock: seconds that only go on.

    Attributes:
        machine: as the interface has it; None before the first state.
        latest: the newest tick, or what the state said of it.
        bins: second of the machine's clock -> call -> what it came to.
        first: the first second of which something came by the stream.
        views: filter -> its rows.
        blocked: blocked calls, newest first, and how many more there were.
        events: calls that came since the state.
        epochs: how often the module, or the machine, began anew meanwhile.
        troubles: what is wrong just now, one sentence each.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.machine: Mapping[str, Any] | None = None
        self._reset()

    def _reset(self) -> None:
        """Forget everything but the machine."""
        self.latest: Mapping[str, Any] | None = None
        self.bins: dict[int, dict[str, Sum]] = {}
        self.first: int | None = None
        self.views: dict[str, View] = {}
        self.blocked: list[Row] = []
        self.blocked_more = 0
        self.base = 0
        self.events = 0
        self.epochs = 0
        self.arrived = self._clock()
        self.troubles: list[str] = []

    # -- what comes --------------------------------------------------------------------------------------------------

    def begin(self, state: Mapping[str, Any]) -> None:
        """Begin, or begin anew, with what the server knows."""
        self._reset()
        self.machine = state["machine"]
        if state["base"]:
            self._anchor(state["base"], state["base"]["ledger"].get("rolled", 0))

    def _anchor(self, head: Mapping[str, Any], base: int) -> None:
        self.latest, self.base, self.troubles = head, base, head["troubles"]
        self.arrived = self._clock()

    def apply(self, tick: Mapping[str, Any]) -> None:
        """Take a tick. Times are the machine's own clock, which never steps; what it is called may change."""
        if self.latest is None:
            self._anchor(tick, tick["ledger"].get("rolled", 0) - tick["events"])
        elif tick["epoch"] != self.latest["epoch"]:
            self.epochs += 1
        self.latest, self.troubles = tick, tick["troubles"]
        self.arrived = self._clock()
        self.events += sum(tick["calls"]["n"])
        self._count(tick)
        for view in tick["views"]:
            self._keep(view)
        self.blocked = [*reversed(rows(tick["blocked"])), *self.blocked][:MOST_BLOCKED]
        self.blocked_more += tick["blocked_more"]

    def _count(self, tick: Mapping[str, Any]) -> None:
        """Put the sums of a tick into the seconds that it ends, and the one that it is in: no second is without one."""
        last = math.ceil(tick["clock"]) - 1
        bins = max(1, min(WINDOW, last + 1 - math.ceil(tick["clock"] - tick["seconds"])))
        if self.first is None:
            self.first = last - bins + 1
        for back in range(bins):
            for one in rows(tick["calls"]):
                blocked = one["n"] if one["status"] == "BLOCKED" else 0
                histogram = () if back else one["histogram"]
                self._bin(last - back, one["call"]).add(
                    one["n"] / bins, one["errors"] / bins, blocked / bins, histogram
                )
            self.bins.setdefault(last - back, {})
        self.bins = {second: kept for second, kept in self.bins.items() if second >= last - WINDOW - 2}

    def _bin(self, second: int, call: str) -> Sum:
        return self.bins.setdefault(second, {}).setdefault(call, Sum())

    def _keep(self, view: Mapping[str, Any]) -> None:
        kept = self.views.setdefault(view["filter"], View())
        # Each CPU sends its own: together they are in the order of time only where they are put into it.
        newest = sorted(rows(view["rows"]), key=_wall, reverse=True)
        kept.rows = [*newest, *kept.rows][:MOST_ROWS]
        kept.matched += view["matched"]
        kept.shown += view["shown"]

    # -- what was before ---------------------------------------------------------------------------------------------

    def prime(self, rates: Mapping[str, Any]) -> None:
        """Fill the seconds before the first tick, from the history's sums by call; again, when it knows more.

        The history has seconds only some seconds later.
        """
        if self.latest is None:
            return
        offset = self.latest["wall"] - self.latest["clock"]
        first = math.floor(self.latest["clock"]) if self.first is None else self.first
        self.bins = {second: kept for second, kept in self.bins.items() if second >= first}
        for series in rates["series"]:
            for step, (n, errors) in enumerate(zip(series["n"], series["errors"], strict=True)):
                second = math.floor(rates["begin"] + step * rates["step"] - offset)
                if n and first - WINDOW < second < first:
                    self._bin(second, series["name"]).add(n, errors, 0)

    def prefill(self, text: str, older: Iterable[Row]) -> None:
        """Put rows of the history behind those that came for a filter."""
        kept = self.views.setdefault(text, View())
        seen = {identity(row) for row in kept.rows}
        every = [*kept.rows, *(row for row in older if identity(row) not in seen)]
        kept.rows = sorted(every, key=_wall, reverse=True)[:MOST_ROWS]

    # -- what is asked -----------------------------------------------------------------------------------------------

    @property
    def second(self) -> int:
        """The last second that is whole."""
        return math.floor(self.latest["clock"]) - 1 if self.latest else 0

    @property
    def now(self) -> float:
        """The machine's time of day, seconds since 1970: this machine's own clock may be wrong.

        It will have to do while nothing was ever recorded.
        """
        if self.latest and self.latest["wall"]:
            return float(self.latest["wall"]) + self._clock() - self.arrived
        return float(self.machine["wall"] or time.time()) if self.machine else time.time()

    @property
    def silence(self) -> float:
        """Seconds for which nothing was heard."""
        return self._clock() - self.arrived if self.latest else 0.0

    def recent(self, seconds: int = RECENT) -> list[tuple[str, Sum, float]]:
        """Return each call of the last seconds with its sum and its rate a second, busiest first."""
        sums: dict[str, Sum] = {}
        found = [self.bins[second] for second in self._last(seconds)]
        for each in found:
            for call, one in each.items():
                sums.setdefault(call, Sum()).add(one.n, one.errors, one.blocked, one.histogram)
        ranked = sorted(sums.items(), key=lambda item: (-item[1].n, item[0]))
        return [(call, one, one.n / max(1, len(found))) for call, one in ranked]

    def rates(self, seconds: int = 3) -> Sum:
        """Return what comes in a second, as of the last ones."""
        last = self._last(seconds)
        found, most = Sum(), max(1, len(last))
        for second in last:
            for one in self.bins[second].values():
                found.add(one.n, one.errors, one.blocked)
        return Sum(found.n / most, found.errors / most, found.blocked / most)

    def _last(self, seconds: int) -> list[int]:
        return [second for second in range(self.second, self.second - seconds, -1) if second in self.bins]

    def series(self, call: str | None = None, seconds: int = WINDOW) -> list[float | None]:
        """Return the calls of each second, oldest first: of one name, or all; None where nothing is known."""
        found: list[float | None] = []
        for second in range(self.second - seconds + 1, self.second + 1):
            kept = self.bins.get(second)
            counted = None if kept is None else [one.n for name, one in kept.items() if call in (None, name)]
            found.append(None if counted is None else sum(counted))
        return found

    @property
    def lost(self) -> int:
        """Calls that are gone for good."""
        ledger = self.latest["ledger"] if self.latest else {}
        return sum(ledger.get(term, 0) for term in LOST)

    @property
    def sums(self) -> Sums:
        """The stream's own sum, and those of the server that are open."""
        if self.latest is None:
            return Sums(False, 0, 0, 0, ())
        rolled = self.latest["ledger"].get("rolled", 0)
        return Sums(True, self.base, self.events, rolled, tuple(self.latest["open"]))


def _wall(row: Row) -> float:
    return float(row["wall"])

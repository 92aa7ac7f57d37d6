"""Questions about the past, each within a time limit. They read, and never hold a reader's lock for long."""

from __future__ import annotations

import abc
import contextlib
import heapq
import json
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from kmodlab.errors import KmodlabError, UsageError
from kmodlab.modules.record import SEQ, made_at, rows

from . import histogram, segments, task_history
from .epochs import Epoch, status_of
from .ledger import Books, Equation
from .segments import Head
from .store import NAME, functions, read_epochs
from .tally import NS
from .tasks import Listing
from .tick import (
    OTHER,
    STATUSES,
    TOP,
    Change,
    Count,
    Events,
    Filter,
    Hole,
    Process,
    Ranked,
    Rates,
    Row,
    TaskRates,
)

log = logging.getLogger(__name__)

SECONDS = 1.0
"""How long a question may take, of its thread's processor: what else runs on the machine takes nothing of it."""
SLOW = 10
"""How many times as long it may take by the clock, where a disk is slow."""
LAST = 9e9
"""The year 2255: in nanoseconds a number of SQLite's holds hardly more."""
MOST = 2**63 - 1
"""SQLite's largest number."""
FIRST_SECONDS = 0.25
"""How long to look for blocks in a segment, whatever is left of that."""
MOST_STEPS = 3600
MOST_ROWS = 10_000
MOST_SERIES = TOP
_EVERY = 2000
"""Instructions of SQLite's machine between two looks at the clock."""
_BY_TIER = ((2 * 3600.0, "s", 1), (4 * 86400.0, "m", 60), (float("inf"), "h", 3600))
"""Up to how many seconds which tier answers, and its seconds."""
_SPANS = "select name, epoch, min(begin), max(end) from segment_cpu group by name, epoch"
By = Literal["call", "status", "process"]


class OutOfTime(Exception):
    """The time limit has ended a search."""


class Deadline:
    """When a question of this thread has taken too long.

    Args:
        seconds: of the processor; `SLOW` times as much by the clock.
    """

    def __init__(self, seconds: float) -> None:
        self._busy, self._end = time.thread_time() + seconds, time.monotonic() + SLOW * seconds

    def over(self) -> bool:
        """Return whether that is so."""
        return time.thread_time() > self._busy or time.monotonic() > self._end


def out_of_time(seconds: float) -> KmodlabError:
    """Return what is said of a question that took too long."""
    hint = "ask for a shorter time, or for a longer step"
    return KmodlabError(f"the question took longer than {seconds:g} s", hint=hint)


def checked(begin: float, end: float) -> tuple[float, float]:
    """Return a time that can be asked about.

    Raises:
        UsageError: it is none.
    """
    if not begin < end:
        raise UsageError(f"from {begin:.0f} to {end:.0f} is no time", hint="the end has to be behind the beginning")
    return min(max(begin, 0.0), LAST - 1), min(end, LAST)


class Answer(Protocol):
    """What a database has found."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows."""

    def fetchall(self) -> list[Any]:
        """Return the rows."""

    def fetchone(self) -> Any:  # noqa: ANN401  # a row's values are of any type
        """Return the first row that is left, or None."""


class Base(Protocol):
    """A database, as far as questions go: SQLite's, or one that takes the same words."""

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Answer:
        """Ask; a `?` stands for each value."""


class Questions(abc.ABC):
    """The questions about the past that are the same wherever it is kept.

    Args:
        seconds: how long one may take.
    """

    _slot = "cast((t + ? - ?) / ? as integer)"
    """Which step a second belongs to."""
    _hists = "hist_sum(hist)"
    """The sum of histograms, or all of them."""
    _kept = "select epoch, min(begin) from segment_cpu group by epoch"
    """When the records begin."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    @abc.abstractmethod
    def _base(self) -> contextlib.AbstractContextManager[Base]:
        """Return a connection that a clock is held to; it is gone behind the question, and with it what it holds."""

    @abc.abstractmethod
    def _epochs(self, base: Base) -> dict[int, Epoch]:
        """Return the epochs that are asked about, by number."""

    @abc.abstractmethod
    def _order(self, epochs: dict[int, Epoch]) -> Order | None:
        """Return what calls are ordered by, newest last; None where it is their places."""

    @abc.abstractmethod
    def ledger(self) -> Books:
        """Return the books, and what in the history adds up to them."""

    @abc.abstractmethod
    def events(
        self,
        begin: float,
        end: float,
        only: Filter | None = None,
        limit: int = 100,
        before: str | None = None,
        matches: Callable[[Row], bool] | None = None,
    ) -> Events:
        """Return the newest calls of a time; see `tick.Source`."""

    @abc.abstractmethod
    def export(self, begin: float, end: float, only: Filter | None = None) -> Iterator[Row]:
        """Yield all calls of a time that are still there one by one, oldest first.

        Nothing is held between two rows: whoever takes them slowly holds up nobody. What is removed meanwhile is left
        out.
        """

    # -- sums --------------------------------------------------------------------------------------------------------

    def rates(self, begin: float, end: float, step: float, by: By = "call") -> Rates:
        """Return the sums of each step; see `tick.Source`."""
        begin, end = checked(begin, end)
        with self._base() as base:
            tier, seconds = self._tier(base, begin, end)
            wanted = max(step, (end - begin) / MOST_STEPS)
            step = max(seconds, -(-wanted // seconds) * seconds)
            epochs = self._epochs(base)
            shift = max(epochs.values(), key=lambda one: one.number).offset / NS % step if epochs else 0.0
            start = (begin - shift) // step * step + shift
            steps = int(-(-(end - start) // step))
            series = self._series(base, epochs, (tier, start, end, step, steps), by)
            holes = _holes(base, epochs, start, end)
        return Rates(start, step, steps, series, holes, seconds)

    def _series(
        self,
        base: Base,
        epochs: dict[int, Epoch],
        shape: tuple[str, float, float, float, int],
        by: By,
    ) -> dict[str, tuple[Count, ...]]:
        tier, start, end, step, steps = shape
        columns = {"call": "roll_{}, call", "status": "roll_{}, status", "process": "proc_{}, proc"}[by]
        table, key = columns.format(tier).split(", ")
        key = _BUSIEST.format(table) if by == "process" else key
        found: dict[str, list[Count]] = {}
        names = _process_names(base, epochs) if by == "process" else {}
        for number, epoch in epochs.items():
            offset = epoch.offset / NS
            query = (
                f"select {self._slot} as slot, {key} as it, sum(n), sum(err), sum(lat_sum) from {table}"
                " where epoch = ? and t >= ? and t < ? group by slot, it"
            )
            of = number, math.ceil(start - offset), math.ceil(min(start + steps * step, end) - offset)
            shown = of if by == "process" else ()
            for slot, which, n, err, lat in base.execute(query, (offset, start, step, *shown, *of)):
                name = _name(by, epoch, which, names)
                counts = found.setdefault(name, [Count()] * steps)
                if 0 <= slot < steps:
                    counts[slot] += Count(n, err, lat)
        return {name: tuple(counts) for name, counts in sorted(_bounded(found).items())}

    def top(self, begin: float, end: float, by: By, limit: int = TOP) -> list[Ranked]:
        """Return the busiest; see `tick.Source`."""
        begin, end = checked(begin, end)
        with self._base() as base:
            tier, _ = self._tier(base, begin, end)
            found: dict[object, Ranked] = {}
            for number, epoch in self._epochs(base).items():
                each = _top_processes if by == "process" else self._top_calls
                for part, low, high in parts_of(tier, begin - epoch.offset / NS, end - epoch.offset / NS):
                    for key, one in each(base, epoch, part, (number, math.ceil(low), math.ceil(high)), by):
                        before = found.get(key)
                        found[key] = _together(before, one) if before else one
            ranked = sorted(found.values(), key=lambda one: (one.process is OTHER, -one.count.n, one.name))
        return ranked[: min(limit, MOST_ROWS)]

    def _tier(self, base: Base, begin: float, end: float) -> tuple[str, int]:
        """Return the finest tier that has few enough rows of a time, and still has that time."""
        for most, tier, seconds in _BY_TIER:
            if end - begin <= most:
                # Seconds are kept for a day only: what is older is in the minutes alone.
                oldest = self._oldest(base, tier)
                if tier == "h" or (
                    oldest is not None and oldest <= max(begin, self._oldest(base, "h") or begin) + 3600
                ):
                    return tier, seconds
        return "h", 3600

    def _oldest(self, base: Base, tier: str) -> float | None:
        times = []
        for number, epoch in self._epochs(base).items():
            row = base.execute(f"select t from roll_{tier} where epoch = ? order by t limit 1", (number,)).fetchone()
            if row:
                times.append(row[0] + epoch.offset / NS)
        return min(times, default=None)

    def _top_calls(
        self, base: Base, epoch: Epoch, tier: str, span: tuple[int, int, int], by: By
    ) -> Iterator[tuple[object, Ranked]]:
        key = "call" if by == "call" else "status"
        query = (
            f"select {key}, sum(n), sum(err), sum(lat_sum), {self._hists}, sum(case when status = 1 then n else 0 end)"
            f" from roll_{tier} where epoch = ? and t >= ? and t < ? group by {key}"
        )
        for which, n, err, lat, hist, blocked in base.execute(query, span):
            name = _name(by, epoch, which, {})
            buckets = buckets_of(hist)
            yield name, Ranked(name, Count(n, err, lat, buckets), blocked)

    # -- one by one ----------------------------------------------------------------------------------------------------

    def blocked(self, begin: float, end: float, limit: int = 100, before: str | None = None) -> Events:
        """Return the newest blocked calls; see `tick.Source`."""
        begin, end = checked(begin, end)
        limit, cursor = max(1, min(limit, MOST_ROWS)), cursor_of(before)
        found: list[tuple[Cursor, Row]] = []
        with self._base() as base:
            epochs = self._epochs(base)
            order = self._order(epochs)
            for number, epoch in sorted(epochs.items(), reverse=True):
                if order is None and (len(found) > limit or (cursor and number > cursor[0])):
                    continue
                low, high = int(begin * NS) - epoch.offset, int(end * NS) - epoch.offset
                at = min((high, -1, -1), _below(cursor, epoch, epochs, order))
                query = (
                    "select * from blocked where epoch = ? and t >= ? and t < ? and (t, cpu, seq) < (?, ?, ?)"
                    " order by t desc, cpu desc, seq desc limit ?"
                )
                for row in base.execute(query, (number, low, high, *at, limit + 1)):
                    found.append(((number, row[1], row[2], row[3]), _blocked_row(epoch, row)))
        found.sort(key=lambda one: order(one[0]) if order else one[0], reverse=True)
        more = found[limit - 1][0] if len(found) > limit else None
        return Events(tuple(row for _, row in found[:limit]), text_of(more) if more else None)

    def changes(self, begin: float, end: float) -> list[Change]:
        """Return what was changed; see `tick.Source`."""
        begin, end = checked(begin, end)
        with self._base() as base:
            epochs = self._epochs(base)
            query = (
                f"select epoch, t, who, what, before, after from change where epoch in ({_marks(epochs)})"
                " order by id desc limit ?"
            )
            rows_of = base.execute(query, (*epochs, MOST_ROWS))
            found = [Change(epochs[epoch].wall(t), *words) for epoch, t, *words in rows_of]
        if self._order(epochs):
            found.sort(key=lambda one: one.wall, reverse=True)
        return [one for one in found if begin <= one.wall < end]

    def holes(self, begin: float, end: float) -> tuple[Hole, ...]:
        """Return what is not there."""
        begin, end = checked(begin, end)
        with self._base() as base:
            return _holes(base, self._epochs(base), begin, end)

    def reach(self) -> tuple[float | None, float | None]:
        """Return when the sums begin, and when the records do; None where there are none. Seconds since 1970."""
        with self._base() as base:
            epochs = self._epochs(base)
            sums = base.execute("select epoch, min(t) from roll_h group by epoch").fetchall()
            kept = base.execute(self._kept).fetchall()
            first = base.execute("select epoch, min(first) from proc group by epoch").fetchall()
        since = [epochs[epoch].wall(t) for epoch, t in first if epoch in epochs]
        hours = [epochs[epoch].wall(t * NS) for epoch, t in sums if epoch in epochs]
        raw = [epochs[epoch].wall(t) for epoch, t in kept if epoch in epochs]
        return min(since, default=min(hours, default=None)), min(raw, default=None)


class History(Questions):
    """A history as it can be read, by any number of threads and processes beside its writer.

    Args:
        folder: of the history.
        seconds: of a processor, how long a question may take.

    Raises:
        UsageError: there is none.
    """

    def __init__(self, folder: Path, seconds: float = SECONDS) -> None:
        super().__init__(seconds)
        self.folder = folder
        self.suspects: set[str] = set()
        self._snapshot: tuple[task_history.Place, Listing] | None = None
        if not (folder / NAME).exists():
            hint = "where does the daemon keep its own? name that folder with --folder"
            raise UsageError(f"there is no history in {folder}", hint=hint)

    @contextlib.contextmanager
    def _base(self) -> Iterator[sqlite3.Connection]:
        try:
            base = sqlite3.connect(f"file:{self.folder / NAME}?mode=rw", uri=True, isolation_level=None, timeout=1.0)
        except sqlite3.Error as error:
            raise KmodlabError(f"the history in {self.folder} cannot be read: {error}") from error
        deadline = Deadline(self.seconds)
        try:
            base.execute("pragma query_only = 1")
            functions(base)
            base.set_progress_handler(deadline.over, _EVERY)
            yield base
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
                raise out_of_time(self.seconds) from error
            raise KmodlabError(f"the history in {self.folder} cannot be read: {error}") from error
        except sqlite3.DatabaseError as error:
            hint = "the daemon sets a damaged index aside when it starts, and begins another"
            raise KmodlabError(f"the index in {self.folder} is damaged: {error}", hint=hint) from error
        finally:
            base.close()

    def _epochs(self, base: Base) -> dict[int, Epoch]:
        assert isinstance(base, sqlite3.Connection)  # noqa: S101  # it is what `_base` gives
        return read_epochs(base)

    def _order(self, epochs: dict[int, Epoch]) -> None:
        del epochs

    def events(
        self,
        begin: float,
        end: float,
        only: Filter | None = None,
        limit: int = 100,
        before: str | None = None,
        matches: Callable[[Row], bool] | None = None,
    ) -> Events:
        """Return the newest calls of a time; see `tick.Source`."""
        begin, end = checked(begin, end)
        search = _Search(self, only or Filter(), matches, max(1, min(limit, MOST_ROWS)), cursor_of(before))
        with self._base() as base:
            epochs = read_epochs(base)
            spans = base.execute(
                "select name, epoch, min(begin), max(end) from segment_cpu group by name, epoch"
            ).fetchall()
        spans.sort(key=lambda row: (row[1], row[3]), reverse=True)
        return search.run(epochs, spans, begin, end)

    def export(self, begin: float, end: float, only: Filter | None = None) -> Iterator[Row]:
        """Yield all calls of a time that are still there one by one, oldest first.

        Nothing is held between two rows: whoever takes them slowly holds up nobody. What is removed meanwhile is left
        out.
        """
        begin, end = checked(begin, end)
        with self._base() as base:
            epochs = read_epochs(base)
            spans = base.execute(_SPANS).fetchall()
        waiting: list[tuple[Cursor, Row]] = []
        for name, number, low, high in sorted(spans, key=lambda row: (row[1], row[2])):
            epoch = epochs.get(number)
            if epoch and epoch.wall(high) >= begin and epoch.wall(low) < end:
                times = int(begin * NS) - epoch.offset, int(end * NS) - epoch.offset
                for head, data in self._blocks(name, number, times, only):
                    while waiting and waiting[0][0] < (number, head.begin, 0, 0):
                        yield heapq.heappop(waiting)[1]
                    for cursor, row in read(epoch, head, data, times):
                        if only is None or only.matches(row):
                            heapq.heappush(waiting, (cursor, row))
        while waiting:
            yield heapq.heappop(waiting)[1]

    def _blocks(
        self, name: str, epoch: int, times: tuple[int, int], only: Filter | None
    ) -> Iterator[tuple[Head, bytes]]:
        """Yield the blocks of a segment, earliest beginnings first."""
        try:
            base = segments.connect(self.folder / "raw" / name)
        except sqlite3.Error:
            return  # it is gone meanwhile, and the books say why
        try:
            found = list(segments.heads(base, *times, only.pid if only else None))
            for head in sorted(found, key=lambda one: (one.begin, one.cpu)):
                if head.epoch == epoch:
                    try:
                        yield head, segments.data(base, head)
                    except KmodlabError as error:
                        self.suspect(name, error)
        except sqlite3.DatabaseError as error:
            self.suspect(name, error)
        finally:
            base.close()

    def suspect(self, name: str, error: Exception) -> None:
        """Note that a segment seems to be damaged: its writer looks at it when it is told."""
        log.error("the segment %s cannot be read: %s", name, error)
        self.suspects.add(name)

    # -- tasks -------------------------------------------------------------------------------------------------------

    def task_rates(self, begin: float, end: float, step: float) -> TaskRates:
        """Return tasks by state, and their memory; see `tick.Source`."""
        begin, end = checked(begin, end)
        with self._base() as base:
            return task_history.rates(base, begin, end, step)

    def task_snapshot(self, at: float) -> Listing:
        """Return all processes as of the snapshot nearest to a time, seconds since 1970."""
        with self._base() as base:
            place = task_history.nearest(base, min(max(at, 0.0), LAST))
            known = self._snapshot
            if known is None or known[0] != place:
                # Who scrolls in one asks for it again and again.
                known = self._snapshot = place, task_history.snapshot(base, place)
        return known[1]

    # -- the books -----------------------------------------------------------------------------------------------------

    def ledger(self) -> Books:
        """Return the books as the index has them, and as what is in it and in the segments adds up."""
        with self._base() as base:
            base.execute("begin")
            rows_of = base.execute("select epoch, cpu, terms from ledger")
            cpus = {(epoch, cpu): json.loads(terms) for epoch, cpu, terms in rows_of}
            sums = {name: sum(terms.get(name, 0) for terms in cpus.values()) for name in ("rolled", "kept")}
            ((forgotten,),) = base.execute("select forgotten from state").fetchall()
            ((counted,),) = base.execute("select coalesce(sum(n), 0) from roll_h").fetchall()
            ((told,),) = base.execute("select coalesce(sum(n), 0) from proc_h").fetchall()
            ((kept,),) = base.execute("select coalesce(sum(n), 0) from segment_cpu").fetchall()
        checks = (
            Equation("calls in sums", ("rolled", sums["rolled"]), {"hours": counted, "forgotten": forgotten}),
            Equation("processes in sums", ("hours", counted), {"processes": told}),
            Equation("records in segments", ("kept", sums["kept"]), {"segments": kept}),
        )
        return Books(cpus, checks)


_BUSIEST = f"""case when proc in (select proc from {{}} where epoch = ? and t >= ? and t < ? and proc <> 0
    group by proc order by sum(n) desc limit {MOST_SERIES}) then proc else 0 end"""
"""A process, if it is among those of an epoch that are shown: a day may have thousands, each in a few steps."""


def _bounded(found: dict[str, list[Count]]) -> dict[str, list[Count]]:
    """Return the series with the largest sums; the rest is added up in `other`."""
    other = found.pop(OTHER.comm, [])
    ranked = sorted(found, key=lambda name: -sum(count.n for count in found[name]))
    if len(ranked) > MOST_SERIES:
        rest = [found.pop(name) for name in ranked[MOST_SERIES:]]
        columns = zip(*rest, *([other] if other else []), strict=True)
        other = [sum(column, Count()) for column in columns]
    return {**found, OTHER.comm: other} if other else found


def parts_of(tier: str, low: float, high: float) -> list[tuple[str, float, float]]:
    """Return a stretch of minutes as the whole hours in it, and the minutes before and behind."""
    first, last = -(-low // 3600) * 3600, high // 3600 * 3600
    if tier != "m" or first >= last:
        return [(tier, low, high)]
    return [("m", low, first), ("h", first, last), ("m", last, high)]


def _name(by: By, epoch: Epoch, which: int, names: dict[int, str]) -> str:
    if by == "call":
        return epoch.name(which)
    return STATUSES[which] if by == "status" else names.get(which, OTHER.comm)


def _marks(values: Collection[object]) -> str:
    """Return what stands for some values in `in (...)`."""
    return ", ".join("?" * len(values)) or "null"


def _process_names(base: Base, epochs: Collection[int]) -> dict[int, str]:
    rows_of = base.execute(f"select id, pid, comm from proc where epoch in ({_marks(epochs)})", tuple(epochs))
    return {number: f"{comm}[{pid}]" for number, pid, comm in rows_of}


def buckets_of(hist: bytes | list[bytes] | None) -> tuple[int, ...]:
    """Return the sum of encoded histograms; nothing where nothing is in them."""
    each = [hist] if isinstance(hist, bytes) else [bytes(one) for one in hist or ()]
    return tuple(histogram.summed(each)) if any(each) else ()


def _together(one: Ranked, other: Ranked) -> Ranked:
    return Ranked(one.name, one.count + other.count, one.blocked + other.blocked, one.process)


def _top_processes(
    base: Base, epoch: Epoch, tier: str, span: tuple[int, int, int], by: By
) -> Iterator[tuple[object, Ranked]]:
    del by
    query = (
        "select s.proc, s.n, s.err, s.lat, s.blocked, p.pid, p.comm, p.uid, p.ppid, p.first from ("
        f"select proc, sum(n) n, sum(err) err, sum(lat_sum) lat, sum(blocked) blocked from proc_{tier}"
        " where epoch = ? and t >= ? and t < ? group by proc) s left join proc p on p.id = s.proc"
        f" order by s.n desc limit {MOST_ROWS}"
    )
    for number, n, err, lat, blocked, pid, comm, uid, ppid, first in base.execute(query, span):
        one = OTHER
        if number and comm is not None:
            one = Process(number, epoch.number, pid, comm, uid, ppid, epoch.wall(first))
        name = f"{one.comm}[{one.pid}]" if one.id else one.comm
        yield one.id, Ranked(name, Count(n, err, lat), blocked, one)


def _holes(base: Base, epochs: dict[int, Epoch], begin: float, end: float) -> tuple[Hole, ...]:
    found = []
    query = (
        f'select epoch, cpu, begin, "end", first, last, n, reason from hole where epoch in ({_marks(epochs)})'
        ' order by "end" desc limit ?'
    )
    for number, cpu, low, high, first, last, n, reason in base.execute(query, (*epochs, MOST_ROWS)):
        if epoch := epochs.get(number):
            one = Hole(epoch.wall(low), epoch.wall(high), number, cpu, first, last, n, reason)
            if one.end >= begin and one.begin < end:
                found.append(one)
    return tuple(reversed(found))


def _blocked_row(epoch: Epoch, row: tuple[Any, ...]) -> Row:
    number, t, cpu, seq, clock, pid, tid, ppid, uid, comm, call, arguments, enforced, returned, latency = row
    wall = epoch.wall(t - (latency or 0))
    words = tuple(json.loads(arguments))
    name = epoch.name(call)
    ids = (pid, tid, ppid, uid, comm)
    return Row(
        number, cpu, seq, clock, wall, *ids, name, words, status_of(True, returned), bool(enforced), returned, latency
    )


Cursor = tuple[int, int, int, int]
"""Epoch, when complete (ns of CLOCK_BOOTTIME), CPU, number: the place of a call, and in one history the order, too."""
Order = Callable[[Cursor], tuple[int, int, int, int]]
"""What several histories are put together by: the time of day, then as above."""


def by_wall(epochs: dict[int, Epoch]) -> Order:
    """Return an order by the time of day."""

    def order(cursor: Cursor) -> tuple[int, int, int, int]:
        number, t, cpu, seq = cursor
        return t + epochs[number].offset if number in epochs else 0, number, cpu, seq

    return order


def _below(cursor: Cursor | None, epoch: Epoch, epochs: dict[int, Epoch], order: Order | None) -> tuple[int, int, int]:
    """Return the place (time, CPU, number) that the calls of an epoch have to be before to be older than another."""
    if cursor is None or (order is None and cursor[0] != epoch.number):
        return MOST, -1, -1
    if order is None or cursor[0] == epoch.number:
        return cursor[1:]
    wall = order(cursor)[0] if cursor[0] in epochs else 0
    return (wall - epoch.offset, *((1 << 31) - 1, MOST)) if epoch.number < cursor[0] else (wall - epoch.offset, -1, -1)


def cursor_of(text: str | None) -> Cursor | None:
    """Return the place that `text_of` has made a text of.

    Raises:
        UsageError: it is none.
    """
    if text is None:
        return None
    try:
        epoch, t, cpu, seq = (_whole(word) for word in text.split("."))
    except ValueError as error:
        raise UsageError(f"{text!r} is no place in a list", hint="take `before` from the page before") from error
    return epoch, t, cpu, seq


def _whole(word: str) -> int:
    """Return a number as SQLite has them."""
    if not word.isascii() or not word.isdecimal() or int(word[:20]) > MOST:
        raise ValueError(word)
    return int(word)


def text_of(cursor: Cursor | tuple[int, ...]) -> str:
    """Return a place as a text."""
    return ".".join(map(str, cursor))


class _Search:
    """A search for calls, newest first, through the blocks of the segments."""

    def __init__(
        self,
        history: History,
        only: Filter,
        matches: Callable[[Row], bool] | None,
        limit: int,
        before: Cursor | None,
    ) -> None:
        self._history, self._only, self._matches, self._limit, self._before = history, only, matches, limit, before
        self._deadline = Deadline(history.seconds)
        self._found: list[tuple[Cursor, Row]] = []
        self._reached: Cursor | None = None

    def run(self, epochs: dict[int, Epoch], spans: list[tuple[str, int, int, int]], begin: float, end: float) -> Events:
        """Return what is found.

        Args:
            epochs: by number.
            spans: of the segments: name, epoch, begin, end, newest end first.
            begin: where the search ends, seconds since 1970.
            end: where it begins.
        """
        stopped = False
        try:
            for name, number, low, high in spans:
                epoch = epochs.get(number)
                if epoch is None or self._is_enough((number, high, 1 << 31, MOST)):
                    continue
                if epoch.wall(high) >= begin and epoch.wall(low) < end:
                    self._segment(name, epoch, int(begin * NS) - epoch.offset, int(end * NS) - epoch.offset)
        except OutOfTime:
            stopped = True
        self._found.sort(key=lambda one: one[0], reverse=True)
        if stopped and not self._reached:
            raise out_of_time(self._history.seconds)
        if stopped and self._reached:
            # What is older than where the search came may lack some of what lies between.
            self._found = [one for one in self._found if one[0] >= self._reached]
        page = self._found[: self._limit]
        more = len(self._found) > self._limit
        before = page[-1][0] if more else self._reached if stopped else None
        return Events(tuple(row for _, row in page), text_of(before) if before else None, stopped and not more)

    def _is_enough(self, newest: Cursor) -> bool:
        """Return whether nothing that is as new as this, or older, belongs on the page any more."""
        return len(self._found) > self._limit and self._found_at_limit() >= newest

    def _found_at_limit(self) -> Cursor:
        return heapq.nlargest(self._limit + 1, (cursor for cursor, _ in self._found))[-1]

    def _segment(self, name: str, epoch: Epoch, low: int, high: int) -> None:
        try:
            base = segments.connect(self._history.folder / "raw" / name)
        except sqlite3.Error:
            return  # it is gone meanwhile, and the books say why
        try:
            base.execute("pragma query_only = 1")
            first = Deadline(FIRST_SECONDS)
            base.set_progress_handler(lambda: self._deadline.over() and first.over(), _EVERY)
            self._walk(base, name, epoch, low, high)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
                raise OutOfTime from error
            self._history.suspect(name, error)
        finally:
            base.close()

    def _walk(self, base: sqlite3.Connection, name: str, epoch: Epoch, low: int, high: int) -> None:
        if self._before and self._before[0] == epoch.number:
            high = min(high, self._before[1] + 1)
        for head in list(segments.heads(base, low, high, self._only.pid)):
            if head.epoch != epoch.number:
                continue
            newest = (epoch.number, head.end, 1 << 31, MOST)
            if self._is_enough(newest):
                break
            # A page that ends here has to be further than the one before, or there would be no end of pages.
            if self._reached and newest < self._reached and self._deadline.over():
                self._reached = newest
                raise OutOfTime
            self._block(base, name, epoch, head, low, high)
            if head.end < high:
                self._reached = newest

    def _block(self, base: sqlite3.Connection, name: str, epoch: Epoch, head: Head, low: int, high: int) -> None:
        try:
            data = segments.data(base, head)
        except KmodlabError as error:
            self._history.suspect(name, error)
            return
        for cursor, row in read(epoch, head, data, (low, high)):
            if self._before and cursor >= self._before:
                continue
            if self._only.matches(row) and (self._matches is None or self._matches(row)):
                self._found.append((cursor, row))


def read(epoch: Epoch, head: Head, data: bytes, times: tuple[int, int]) -> Iterator[tuple[Cursor, Row]]:
    """Yield the records of a block that are of a time (ns of CLOCK_BOOTTIME), with their places."""
    for raw in rows(data):
        t = made_at(raw) + head.asleep
        if times[0] <= t < times[1]:
            yield (epoch.number, t, head.cpu, raw[SEQ]), epoch.row(raw, head.asleep)

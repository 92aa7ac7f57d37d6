"""The questions about the past to a fleet's database: of one host, or of all of them together."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kmodlab.errors import KmodlabError, UsageError

from . import postgres, segments, task_history, task_store
from .epochs import Epoch
from .hosts import HostState, ranked
from .items import CallInfo
from .ledger import Books, Equation
from .postgres import Address, source_of
from .queries import (
    LAST,
    MOST,
    MOST_ROWS,
    SLOW,
    Answer,
    Base,
    Cursor,
    Deadline,
    Order,
    Questions,
    buckets_of,
    by_wall,
    checked,
    cursor_of,
    out_of_time,
    read,
    text_of,
)
from .roster import Roster
from .segments import Head
from .tally import NS
from .task_history import Place
from .task_store import Boot
from .tasks import Listing
from .tick import STATUSES, Count, Events, Filter, Row, Status, TaskRates

if TYPE_CHECKING:
    from .postgres import Connection

log = logging.getLogger(__name__)

SECONDS = 2.0
_HEADS = 'source, id, epoch, cpu, first, last, n, begin, "end", asleep, crc'
_AT_ONCE = 200
"""Heads of blocks that are asked for at once."""
NEW_SECONDS = 60
"""Of an epoch that was not there before so much is new."""
_NO_CPU = 1 << 31


@dataclass(frozen=True)
class Host:
    """A machine of a fleet: its name, when it was last heard of (s since 1970), whether all it had was copied then."""

    name: str
    seen: float
    complete: bool


class _Asked:
    """A connection that takes the words of SQLite."""

    def __init__(self, base: Connection) -> None:
        self._base = base

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Answer:
        """Ask."""
        answer: Answer = self._base.execute(query.replace("?", "%s").encode(), values)
        return answer


class Fleet(Questions):
    """A fleet's database as it can be read, by any number of threads and processes beside its writers.

    Args:
        where: the database.
        host: of which host; None: of all of them together.
        seconds: how long a question may take.
        remember: seconds for which what epochs there are is not asked for again.
    """

    _slot = "floor((t + ? - ?) / ?)::bigint"
    _hists = "array_agg(hist)"
    _kept = "select epoch, min(begin) from block group by epoch"

    def __init__(
        self, where: Address, host: str | None = None, seconds: float = SECONDS, remember: float = 0.0
    ) -> None:
        super().__init__(seconds)
        self._where, self.host, self._remember = where, host, remember
        self._known: tuple[float, dict[int, Epoch]] = (0.0, {})
        self._snapshot: tuple[Place, Listing] | None = None

    @contextlib.contextmanager
    def _connected(self, seconds: float) -> Iterator[Connection]:
        error_of = postgres.driver()
        try:
            with contextlib.closing(postgres.connect(self._where, seconds)) as base:
                if not postgres.version(base):
                    raise UsageError(
                        f"there is no history in the database {self._where.shown}",
                        hint="a host copies its own there with `kmodlabd serve --fleet FILE`",
                    )
                yield base
        except error_of.errors.QueryCanceled as error:
            raise out_of_time(self.seconds) from error
        except error_of.Error as error:
            said = " ".join(str(error).split())
            raise KmodlabError(
                f"the fleet's database, {self._where.shown}, cannot be read: {said}",
                hint="what hosts have recorded is in their own histories, too",
            ) from error

    @contextlib.contextmanager
    def _base(self) -> Iterator[Base]:
        with self._connected(SLOW * self.seconds) as base:
            yield _Asked(base)

    def hosts(self) -> list[Host]:
        """Return all hosts, by name."""
        with self._base() as base:
            query = (
                "select host, max(extract(epoch from seen)::float8), bool_and(complete) from source"
                " group by host order by host"
            )
            return [Host(*row) for row in base.execute(query)]

    def newest(self) -> tuple[str, str, str]:
        """Return boot id, release of the kernel and version of the module as of the newest epoch; nothing of none."""
        with self._base() as base:
            query = "select boot, kernel, version from epoch where id = ?"
            row = base.execute(query, (max(self._epochs(base), default=-1),)).fetchone()
        return row or ("", "", "")

    def states(self) -> list[HostState]:
        """Return all hosts with what is known of each, those on top that something is wrong with."""
        with self._connected(SLOW * self.seconds) as base, base.transaction():
            base.execute("set transaction isolation level repeatable read, read only")
            return ranked(Roster(_Asked(base)).hosts())

    def _sources(self, base: Base) -> list[int]:
        if self.host is None:
            return [number for (number,) in base.execute("select id from source")]
        found = [number for (number,) in base.execute("select id from source where host = ?", (self.host,))]
        if not found:
            names = ", ".join(
                name for (name,) in base.execute("select distinct host from source order by host limit 20")
            )
            raise UsageError(f"the fleet has no host {self.host!r}", hint=f"known: {names or 'none yet'}")
        return found

    def _epochs(self, base: Base) -> dict[int, Epoch]:
        at, known = self._known
        if known and time.monotonic() < at + self._remember:
            return known
        found = self._read_epochs(base, self._sources(base))
        self._known = time.monotonic(), found
        return found

    @staticmethod
    def _read_epochs(base: Base, sources: list[int]) -> dict[int, Epoch]:
        clocks = {boot: clock for boot, *clock in base.execute('select boot, "offset", asleep from clock order by t')}
        found: dict[int, Epoch] = {}
        query = f"select id, boot, data_bytes from epoch where id >> {postgres.EPOCH_BITS} = any(?) order by id"
        for number, boot, size in base.execute(query, (sources,)):
            offset, asleep = clocks.get(boot, (0, 0))
            found[number] = Epoch(number, boot, size, offset=offset, asleep=asleep)
        for epoch, *call in base.execute("select * from call where epoch = any(?)", (list(found),)):
            found[epoch].learn([CallInfo(*call)])
        return found

    def _order(self, epochs: dict[int, Epoch]) -> Order:
        return by_wall(epochs)

    def since(self, counted_to: dict[int, int] | None) -> tuple[dict[tuple[str, Status], Count], dict[int, int]]:
        """Return what the hosts have counted behind some seconds, as far as these are whole, and the seconds now.

        Args:
            counted_to: by epoch, the last second of CLOCK_BOOTTIME; None: nothing is new yet.
        """
        with self._base() as base:
            epochs = self._epochs(base)
            newest: dict[int, int] = {}
            for number in epochs:
                newest[source_of(number)[0].id] = max(newest.get(source_of(number)[0].id, 0), number)
            query = "select k.e, (select max(t) from roll_s r where r.epoch = k.e) from unnest(?::bigint[]) as k(e)"
            # The newest second may still grow.
            there = {number: t - 1 for number, t in base.execute(query, (list(newest.values()),)) if t is not None}
            # Of one that was not there, all but the newest is history: a host may bring years.
            known = {number: t if counted_to is None else max(-1, t - NEW_SECONDS) for number, t in there.items()}
            known.update(counted_to or {})
            spans = [(number, known[number], t) for number, t in there.items()]
            query = (
                "select r.epoch, call, status, sum(n), sum(err), sum(lat_sum), array_agg(hist) from roll_s r"
                " join unnest(?::bigint[], ?::bigint[], ?::bigint[]) as k(e, a, b)"
                " on r.epoch = k.e and r.t > k.a and r.t <= k.b group by r.epoch, call, status"
            )
            columns = [list(column) for column in zip(*spans, strict=True)] or [[], [], []]
            found: dict[tuple[str, Status], Count] = {}
            for number, call, status, n, err, lat, hists in base.execute(query, columns):
                key = epochs[number].name(call), STATUSES[status]
                found[key] = found.get(key, Count()) + Count(n, err, lat, buckets_of(hists))
        return found, {number: max(t, known[number]) for number, t in there.items()}

    # -- one by one ----------------------------------------------------------------------------------------------------

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
        cursor = cursor_of(before)
        with self._connected(SLOW * self.seconds) as base:
            search = _Search(base, self._epochs(_Asked(base)), self.seconds, max(1, min(limit, MOST_ROWS)), cursor)
            return search.run(int(begin * NS), int(end * NS), only or Filter(), matches)

    def export(self, begin: float, end: float, only: Filter | None = None) -> Iterator[Row]:
        """Yield all calls of a time that are still there one by one, oldest first; see `Questions`."""
        begin, end = checked(begin, end)
        with self._connected(0.0) as base:
            epochs = self._epochs(_Asked(base))
            order = by_wall(epochs)
            waiting: list[tuple[tuple[int, ...], Row]] = []
            low, high = int(begin * NS), int(end * NS)
            pid = only.pid if only else None
            parts = [_heads(base, one, (low, high), pid, oldest=True) for one in _touched(base, epochs, low, high)]
            for source, head in heapq.merge(*parts, key=lambda one: order((one[1].epoch, one[1].begin, 0, 0))):
                epoch = epochs[head.epoch]
                first = order((head.epoch, head.begin, 0, 0))
                while waiting and waiting[0][0] < first:
                    yield heapq.heappop(waiting)[1]
                if data := _data(base, source, head):
                    for place, row in read(epoch, head, data, (low - epoch.offset, high - epoch.offset)):
                        if only is None or only.matches(row):
                            heapq.heappush(waiting, (order(place), row))
            while waiting:
                yield heapq.heappop(waiting)[1]

    # -- tasks -------------------------------------------------------------------------------------------------------

    def task_rates(self, begin: float, end: float, step: float) -> TaskRates:
        """Return tasks by state, and their memory, of one host or summed up over all; see `tick.Source`."""
        begin, end = checked(begin, end)
        with self._base() as base:
            hosts = self._task_boots(base)
            if not hosts:
                return task_history.none(begin, end, step)
            return task_history.rates(base, begin, end, step, list(hosts.values()), self._slot)

    def task_snapshot(self, at: float) -> Listing:
        """Return all processes of a host as of the snapshot nearest to a time, seconds since 1970.

        Raises:
            KmodlabError: there is none; or it is of several hosts, of which each has its own.
        """
        with self._base() as base:
            hosts = self._task_boots(base)
            if self.host is None and len(hosts) > 1:
                raise KmodlabError("the tasks one by one are those of a host", hint="the list of hosts shows one alone")
            boots = [boot for one in hosts.values() for boot in one]
            place = task_history.nearest(base, min(max(at, 0.0), LAST), boots)
            known = self._snapshot
            if known is None or known[0] != place:
                # Who scrolls in one asks for it again and again.
                known = self._snapshot = place, task_history.snapshot(base, place)
        return known[1]

    def _task_boots(self, base: Base) -> dict[str, list[Boot]]:
        """Return the boots in which tasks were seen, by host; none where hosts are of before tasks were copied."""
        ((there,),) = base.execute("select to_regclass('kmodlab.task_boot') is not null")
        hosts = dict(base.execute("select id, host from source where id = any(?)", (self._sources(base),)))
        found: dict[str, list[Boot]] = {}
        for boot in task_store.boots(base) if there else ():
            if (number := source_of(boot.id)[0].id) in hosts:
                found.setdefault(hosts[number], []).append(boot)
        return found

    # -- the books -----------------------------------------------------------------------------------------------------

    def ledger(self) -> Books:
        """Return the books as the hosts told them last, and as what is here adds up; how far hosts are behind."""
        with self._connected(SLOW * self.seconds) as base, base.transaction():
            base.execute("set transaction isolation level repeatable read, read only")
            asked = _Asked(base)
            sources = self._sources(asked)
            shift = postgres.EPOCH_BITS
            rows = asked.execute(f"select epoch, cpu, terms from ledger where epoch >> {shift} = any(?)", (sources,))
            cpus = {(epoch, cpu): json.loads(terms) for epoch, cpu, terms in rows}
            whole = asked.execute("select id from source where id = any(?) and complete", (sources,))
            complete = [number for (number,) in whole]
            checks = (*self._sums(asked, cpus, complete), self._blocks(asked, sources))
            query = (
                "select host, extract(epoch from now() - seen)::float8 from source where id = any(?) and not complete"
            )
            late = [f"{host} is being copied" for host, _ in asked.execute(query, (sources,))]
        return Books(cpus, checks, tuple(late))

    @staticmethod
    def _sums(base: Base, cpus: dict[tuple[int, int], dict[str, int]], sources: list[int]) -> tuple[Equation, ...]:
        """Return the sums of those hosts of which all is here that there was; in between they are no sums."""
        rolled = sum(terms.get("rolled", 0) for (epoch, _), terms in cpus.items() if source_of(epoch)[0].id in sources)
        where = f"where epoch >> {postgres.EPOCH_BITS} = any(?)"

        def one(query: str) -> int:
            return int(base.execute(query, (sources,)).fetchone()[0])

        forgotten = one("select coalesce(sum(forgotten), 0) from source where id = any(?)")
        counted = one(f"select coalesce(sum(n), 0) from roll_h {where}")
        told = one(f"select coalesce(sum(n), 0) from proc_h {where}")
        return (
            Equation("calls in sums", ("rolled", rolled), {"hours": counted, "forgotten": forgotten}),
            Equation("processes in sums", ("hours", counted), {"processes": told}),
        )

    @staticmethod
    def _blocks(base: Base, sources: list[int]) -> Equation:
        query = "select sum(shipped), sum(expired_age), sum(expired_size) from source where id = any(?)"
        shipped, by_age, by_size = (int(n or 0) for n in base.execute(query, (sources,)).fetchone())
        row = base.execute("select coalesce(sum(n), 0) from block where source = any(?)", (sources,)).fetchone()
        right = {"here": int(row[0]), "expired_age": by_age, "expired_size": by_size}
        return Equation("records in blocks", ("shipped", shipped), right)


# -- blocks ----------------------------------------------------------------------------------------------------------


def _touched(base: Connection, epochs: dict[int, Epoch], begin: int, end: int) -> list[Epoch]:
    """Return the epochs that have blocks of a time, ns since 1970."""
    rows = [(one.number, begin - one.offset, end - one.offset) for one in epochs.values()]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    query = (
        "select k.e from unnest(%s::bigint[], %s::bigint[], %s::bigint[]) as k(e, a, b) where exists"
        ' (select 1 from block where epoch = k.e and "end" >= k.a and begin < k.b)'
    )
    return [epochs[number] for (number,) in base.execute(query.encode(), columns)]


def _heads(
    base: Connection, epoch: Epoch, times: tuple[int, int], pid: int | None, oldest: bool = False
) -> Iterator[tuple[int, Head]]:
    """Yield the blocks of an epoch that reach into a time (ns since 1970), with their source, newest ends first.

    Args:
        base: the database.
        epoch: whose.
        times: from and to.
        pid: only blocks with records of this process.
        oldest: earliest beginnings first instead.
    """
    column, sign, way = ("begin", ">", "asc") if oldest else ('"end"', "<", "desc")
    low, high = times[0] - epoch.offset, times[1] - epoch.offset
    of = "" if pid is None else "and id in (select block from who where (source, pid) = (%(source)s, %(pid)s))"
    query = (
        f'select {_HEADS} from block where epoch = %(epoch)s and "end" >= %(low)s and begin < %(high)s {of}'
        f" and ({column}, id) {sign} (%(at)s, %(id)s) order by {column} {way}, id {way} limit {_AT_ONCE}"
    )
    at, last = (-1, -1) if oldest else (MOST, MOST)
    source = source_of(epoch.number)[0].id
    while True:
        values = {"epoch": epoch.number, "low": low, "high": high, "at": at, "id": last, "source": source, "pid": pid}
        found = base.execute(query.encode(), values).fetchall()
        for whose, *numbers in found:
            yield whose, Head(*numbers)
        if len(found) < _AT_ONCE:
            return
        head = Head(*found[-1][1:])
        at, last = head.begin if oldest else head.end, head.id


def _data(base: Connection, source: int, head: Head) -> bytes:
    """Return the records of a block, or none where it is gone meanwhile, or damaged."""
    row = base.execute("select data from block where (source, id) = (%s, %s)", (source, head.id)).fetchone()
    if row is None:
        return b""
    # What the host has written, by the numbers that it had there.
    own = replace(head, epoch=source_of(head.epoch)[1])
    if own.checksum(row[0]) != head.crc:
        log.error("block %d of source %d is damaged: its checksum is wrong", head.id, source)
        return b""
    return segments.unpack(row[0], head.n)


class _Search:
    """A search for calls, newest first, through the blocks of all epochs that are asked about."""

    def __init__(
        self, base: Connection, epochs: dict[int, Epoch], seconds: float, limit: int, before: Cursor | None
    ) -> None:
        self._base, self._epochs, self._limit, self._seconds = base, epochs, limit, seconds
        self._order = by_wall(epochs)
        self._before = self._order(before) if before else None
        self._deadline = Deadline(seconds)
        self._found: list[tuple[tuple[int, ...], Cursor, Row]] = []

    def run(self, begin: int, end: int, only: Filter, matches: Callable[[Row], bool] | None) -> Events:
        """Return what is found, from one time to another, ns since 1970."""
        if self._before:
            end = min(end, self._before[0] + 1)
        touched = _touched(self._base, self._epochs, begin, end)
        parts = [_heads(self._base, one, (begin, end), only.pid) for one in touched]
        newest_first = heapq.merge(*parts, key=lambda one: self._newest(one[1]), reverse=True)
        reached: Cursor | None = None
        for done, (source, head) in enumerate(newest_first):
            newest = self._newest(head)
            if self._is_enough(newest):
                break
            # A page that ends here has to be further than the one before, or there would be no end of pages.
            if done and self._deadline.over() and (self._before is None or newest < self._before):
                reached = (head.epoch, head.end, _NO_CPU, MOST)
                break
            self._block(source, head, (begin, end), only, matches)
        return self._page(reached)

    def _newest(self, head: Head) -> tuple[int, ...]:
        return self._order((head.epoch, head.end, _NO_CPU, MOST))

    def _is_enough(self, newest: tuple[int, ...]) -> bool:
        """Return whether nothing that is as new as this, or older, belongs on the page any more."""
        if len(self._found) <= self._limit:
            return False
        return heapq.nlargest(self._limit + 1, (key for key, _, _ in self._found))[-1] >= newest

    def _block(
        self, source: int, head: Head, times: tuple[int, int], only: Filter, matches: Callable[[Row], bool] | None
    ) -> None:
        epoch = self._epochs[head.epoch]
        data = _data(self._base, source, head)
        span = times[0] - epoch.offset, times[1] - epoch.offset
        for place, row in read(epoch, head, data, span) if data else ():
            key = self._order(place)
            if (self._before is None or key < self._before) and only.matches(row) and (matches is None or matches(row)):
                self._found.append((key, place, row))

    def _page(self, reached: Cursor | None) -> Events:
        self._found.sort(key=lambda one: one[0], reverse=True)
        if reached:
            # What is older than where the search came may lack some of what lies between.
            oldest = self._order(reached)
            self._found = list(itertools.takewhile(lambda one: one[0] >= oldest, self._found))
        page = self._found[: self._limit]
        more = len(self._found) > self._limit
        before = page[-1][1] if more else reached
        rows = tuple(row for _, _, row in page)
        return Events(rows, text_of(before) if before else None, reached is not None and not more)

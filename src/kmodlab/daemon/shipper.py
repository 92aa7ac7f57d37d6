"""What a host has recorded is copied into the fleet's database: in order, each change once, whoever is killed when.

The host's own history stays the truth, and goes on while the database is away. A transaction of the database has some
changes and how far they reach (`source.cursor`, `source.block`), so what was committed is known from it alone: a
connection that breaks in a commit is no riddle. What the host removes before it was copied is counted by its cause.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmodlab.errors import KmodlabError

from . import outbox, postgres
from .ledger import KEPT, Copied, Equation
from .outbox import PROCS, ROLLS, TASK_TIERS, TIERS, Gone, Load
from .postgres import Address, Source
from .retention import DAY, Keep
from .store import NAME
from .tally import NS
from .task_store import sums_of

if TYPE_CHECKING:
    from .postgres import Connection

log = logging.getLogger(__name__)

IDLE_SECONDS = 2.0
"""Between two copies, where one has all that there was."""
RETRY_SECONDS = (0.5, 15.0)
"""Between two tries to reach the database: at first, and at most."""
KEEP_SECONDS = 60.0
BEAT_SECONDS = 30.0
"""So often the database hears of a host on which nothing happens."""
LATE_SECONDS = 10.0
"""So far behind is a trouble."""
KEEP = Keep(
    bytes=16 << 30, records=366 * DAY, blocked=3660 * DAY, tiers=(7 * DAY, 366 * DAY, 3660 * DAY), snapshots=2 << 30
)
"""Of each host. Sums are kept longer than by hosts: one that copies all anew brings nothing that was removed."""
_GONE_AT_ONCE = 500
"""Blocks that are removed in one transaction."""


class Contended(Exception):
    """Another process copies the same history."""


class Shipper:
    """Copies a history, in a thread of its own.

    Args:
        where: the database.
        folder: of the history.
        acknowledge: called with the key of an index and the number of its last change that the database has.
        suspect: called with the name of a segment that cannot be read.
        changed: returns another number whenever something was written.
        now: the host's time of day, seconds since 1970, as far as it is to be trusted; else 0: nothing is too old then.
        keep: how much of this host the database keeps.
        clock: seconds that only go on.
    """

    def __init__(
        self,
        where: Address,
        folder: Path,
        acknowledge: Callable[[str, int], None],
        suspect: Callable[[str, Exception], None],
        changed: Callable[[], int],
        now: Callable[[], float],
        keep: Keep | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._where, self._folder, self._clock = where, folder, clock
        self._acknowledge, self._suspect, self._changed, self._now = acknowledge, suspect, changed, now
        self._keep = keep or KEEP
        self._keep_at = clock() + KEEP_SECONDS
        self._beat_at = 0.0
        self._trouble = ""
        self._figures = Copied()
        self._complete_at = clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ship", daemon=True)
        self._patience = 0.0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float = 0.0) -> None:
        """End; what there still is may be copied within so many seconds, where the database is there."""
        self._patience = self._clock() + (0.0 if self._trouble else seconds)
        self._stop.set()
        # A network that swallows everything is waited for no longer than that.
        self._thread.join(seconds + 2 * postgres.CONNECT_SECONDS)

    @property
    def figures(self) -> Copied:
        """How far it is, as of now."""
        behind = max(0.0, self._clock() - self._complete_at)
        return replace(self._figures, behind=behind if behind > 3 * IDLE_SECONDS or self._trouble else 0.0)

    @property
    def trouble(self) -> str:
        """What is wrong just now, as a sentence."""
        behind = self.figures.behind
        if not self._trouble and behind < LATE_SECONDS:
            return ""
        why = self._trouble or "it takes less than there is"
        return f"the fleet's database is {behind:.0f} s behind: {why}"

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = RETRY_SECONDS[0]
        while not self._ending:
            before = self._complete_at
            try:
                self._session()
            except Exception as error:
                self._failed(error)
            pause = RETRY_SECONDS[0] if self._complete_at != before else min(2 * pause, RETRY_SECONDS[1])
            if not self._stop.wait(pause):
                continue
            # Who ends it waits: it is tried until that one's patience is over.
            time.sleep(max(0.0, min(pause, self._patience - self._clock())))

    @property
    def _ending(self) -> bool:
        return self._stop.is_set() and self._clock() >= self._patience

    def _failed(self, error: Exception) -> None:
        expected = isinstance(error, KmodlabError | Contended | sqlite3.Error | OSError | postgres.driver().Error)
        said = error.message if isinstance(error, KmodlabError) else " ".join(str(error).split())
        said = said or type(error).__name__
        if not self._trouble or not expected:
            log.warning("nothing reaches the fleet's database, %s: %s", self._where.shown, said, exc_info=not expected)
        self._trouble = said

    def _fine(self) -> None:
        if self._trouble:
            log.warning("the fleet's database, %s, is reached again", self._where.shown)
        self._trouble = ""

    def _session(self) -> None:
        with postgres.connect(self._where) as base:
            postgres.migrate(base)
            key, host = outbox.key_of(self._folder / NAME)
            copy = Copy(base, key, host)
            self._acknowledge(copy.key, copy.cursor)
            seen = -1
            while not self._ending:
                changed = self._changed()
                if changed != seen or self._is_due():
                    seen = changed
                    if self._step(copy):
                        seen = -1
                        continue
                self._complete_at = self._clock()
                # Who ends it has written its last before.
                if self._stop.wait(IDLE_SECONDS) and self._changed() == seen:
                    self._patience = 0.0

    def _is_due(self) -> bool:
        """Return whether there is something to do though nothing was written."""
        return self._clock() >= min(self._beat_at, self._keep_at)

    def _step(self, copy: Copy) -> bool:
        """Copy what is next; return whether there is more at once."""
        try:
            load = outbox.read(self._folder / "raw", self._folder / NAME, copy.cursor, copy.block)
        except outbox.Unreadable as error:
            self._suspect(error.name, error.error)
            self._trouble = str(error)
            self._stop.wait(IDLE_SECONDS)
            return not self._stop.is_set()
        if load.key != copy.key:
            raise KmodlabError("the index has begun anew")
        if not load.empty or not self._figures.check or self._clock() >= self._beat_at:
            copy.put(load)
            self._acknowledge(copy.key, copy.cursor)
            self._beat_at = self._clock() + BEAT_SECONDS
        self._fine()
        if load.complete:
            self._figures = copy.figures(load)
        if self._clock() >= self._keep_at:
            self._keep_at = self._clock() + KEEP_SECONDS
            copy.expire(self._keep, self._now())
        return load.more or not load.complete


class Copy:
    """What the database has of one index. One process has it at a time.

    Args:
        base: the database.
        key: of the index.
        host: name of its machine.

    Raises:
        Contended: another process copies this index.
    """

    def __init__(self, base: Connection, key: str, host: str) -> None:
        self.base, self.key = base, key
        base.execute(
            "insert into source (key, host) values (%s, %s) on conflict (key) do nothing", (key, host or "unknown")
        )
        row = base.execute('select id, "cursor", block, host from source where key = %s', (key,)).fetchone()
        assert row  # noqa: S101
        self.source, self.cursor, self.block, self._host = Source(row[0]), row[1], row[2], row[3]
        self._fresh = not self.cursor and not self.block
        if not postgres.hold(base, self.source):
            raise Contended("another process copies this history, or a connection that broke is not given up yet")

    # -- writing ---------------------------------------------------------------------------------------------------

    def put(self, load: Load) -> None:
        """Write it all, or nothing.

        Raises:
            Contended: somebody else has written.
            psycopg.Error: it could not be written; or it was, and that is not known.
        """
        with self.base.transaction():
            query = 'select 1 from source where (id, "cursor", block) = (%s, %s, %s) for update'
            if not self.base.execute(query, (self.source.id, self.cursor, self.block)).fetchone():
                raise Contended("another process has copied this history meanwhile")
            self._put_late(load)
            self._put_rows(load)
            self._put_blocks(load)
            self._put_gone(load)
            self._put_ledger(load)
            block = self._put_position(load)
        self.cursor, self.block, self._fresh = load.upto, block, False

    def _put_rows(self, load: Load) -> None:
        of, source = self.source.epoch, self.source
        rows = load.rows
        for tier in TIERS:
            self._replace(tier, load)
        self._upsert("epoch", "id", [(of(row[0]), *row[1:]) for row in rows.get("epoch", ())])
        self._upsert("call", "epoch, id", [(of(row[0]), *row[1:]) for row in rows.get("call", ())])
        self._upsert("clock", "boot, t", rows.get("clock", ()))
        procs = [(source.process(row[0]), of(row[1]), *row[2:]) for row in rows.get("proc", ())]
        self._upsert("proc", "id", procs)
        self._upsert("blocked", "epoch, t, cpu, seq", [(of(row[0]), *row[1:]) for row in rows.get("blocked", ())])
        for table in ("hole", "change"):
            own = [(source.id, row[0], of(row[1]), *row[2:]) for row in rows.get(table, ())]
            self._upsert(table, "source, id", own)
        self._put_tasks(load)

    def _put_tasks(self, load: Load) -> None:
        of, rows = self.source.epoch, load.rows
        self._upsert("task_boot", "id", [(of(row[0]), *row[1:]) for row in rows.get("task_boot", ())])
        for table in TASK_TIERS:
            self._upsert(table, "boot, t", [(of(row[0]), *row[1:]) for row in rows.get(table, ())])
        snapshots = [(of(row[0]), *row[1:]) for row in rows.get("task_snap", ())]
        if snapshots:
            self._remove_snapshots("(boot, t) in (select * from unnest(%s::bigint[], %s::bigint[]))",
                                   [[row[at] for row in snapshots] for at in (0, 1)])  # fmt: skip
            self._copy("task_snap", snapshots)
            self._add_snapshots(sum(len(row[3]) for row in snapshots))

    def _remove_snapshots(self, which: str, values: Iterable[Any]) -> bool:
        """Remove snapshots of tasks; return whether there were any."""
        query = f"delete from task_snap where {which} returning octet_length(data)"
        sizes = [size for (size,) in self.base.execute(query.encode(), list(values))]
        self._add_snapshots(-sum(sizes))
        return bool(sizes)

    def _add_snapshots(self, size: int) -> None:
        query = "update source set snapshots = snapshots + %s where id = %s"
        self.base.execute(query, (size, self.source.id))

    def _replace(self, tier: str, load: Load) -> None:
        """Write the sums of seconds, say, in the place of those that are there. What the host has no more stays."""
        of = self.source.epoch
        rolls = load.rows.get(ROLLS[tier], [])
        there = list({(of(row[0]), row[1]) for row in rolls})
        if not there:
            return
        columns = [list(column) for column in zip(*there, strict=True)]
        for table in (ROLLS[tier], PROCS[tier]):
            self.base.execute(
                f"delete from {table} r using unnest(%s::bigint[], %s::bigint[]) as k(e, s)"
                " where r.epoch = k.e and r.t = k.s",
                columns,
            )
        self._copy(ROLLS[tier], [(of(row[0]), *row[1:]) for row in rolls])
        process = self.source.process
        procs = [(of(row[0]), row[1], process(row[2]), *row[3:]) for row in load.rows.get(PROCS[tier], ())]
        self._copy(PROCS[tier], procs)

    def _put_late(self, load: Load) -> None:
        """Count what the host removed before it was copied, as far as the database has less of it."""
        for kind, epoch, t, n in load.late:
            of = self.source.epoch(epoch)
            if kind == "blocked":
                query = "select count(*) from blocked where epoch = %s and t >= %s and t < %s"
                row = self.base.execute(query, (of, t * NS, (t + 1) * NS)).fetchone()
            elif kind.startswith("task_"):
                # Of a snapshot there is all or nothing.
                had = "count(*)" if kind == "task_snap" else f"sum({outbox.amount(kind)})"
                query = f"select {had} from {kind} where (boot, t) = (%s, %s)"
                row = self.base.execute(query.encode(), (of, t)).fetchone()
            else:
                row = self.base.execute(
                    f"select sum(n) from roll_{kind} where (epoch, t) = (%s, %s)", (of, t)
                ).fetchone()
            lost = n - int((row and row[0]) or 0)
            if lost > 0:
                self._count("late", (kind,), lost)
                if kind == "h":
                    self.base.execute(
                        "update source set forgotten = forgotten + %s where id = %s", (lost, self.source.id)
                    )

    def _count(self, table: str, key: tuple[object, ...], n: int) -> None:
        marks = ", ".join(["%s"] * (len(key) + 2))
        keys = {"late": "source, kind", "unshipped": "source, epoch, cpu, term", "segment": "source, name, epoch, cpu"}
        self.base.execute(
            f"insert into {table} as x values ({marks}) on conflict ({keys[table]}) do update set n = x.n + excluded.n",
            (self.source.id, *key, n),
        )

    def _put_blocks(self, load: Load) -> None:
        source, of = self.source.id, self.source.epoch
        rows, sums = [], dict[tuple[str, int, int], int]()
        for head, name, packed in load.blocks:
            numbers = (head.first, head.last, head.n, head.begin, head.end, head.asleep, head.crc)
            rows.append((source, head.id, of(head.epoch), head.cpu, *numbers, packed))
            key = (name, of(head.epoch), head.cpu)
            sums[key] = sums.get(key, 0) + head.n
        self._copy("block", rows)
        self._copy("who", [(source, *row) for row in load.pids])
        for key, n in sums.items():
            self._count("segment", key, n)
        self.base.execute(
            "update source set shipped = shipped + %s, bytes = bytes + %s where id = %s",
            (sum(sums.values()), sum(len(packed) for _, _, packed in load.blocks), source),
        )

    def _put_gone(self, load: Load) -> None:
        for gone in load.gone:
            whose = (gone.segment, self.source.epoch(gone.epoch), gone.cpu)
            query = "select n from segment where (source, name, epoch, cpu) = (%s, %s, %s, %s)"
            row = self.base.execute(query, (self.source.id, *whose)).fetchone()
            shipped = int(row[0]) if row else 0
            lost = gone.n - shipped if gone.all else self._lost(gone, load, shipped)
            if gone.all:
                query = "delete from segment where (source, name, epoch, cpu) = (%s, %s, %s, %s)"
                self.base.execute(query, (self.source.id, *whose))
            else:
                self._count("segment", whose, lost - gone.n)
            if lost:
                self._count("unshipped", (*whose[1:], gone.term), lost)

    def _lost(self, gone: Gone, load: Load, shipped: int) -> int:
        """Return how many of the records that were taken out of a segment had not been copied."""
        if gone.block is not None:
            return gone.n if gone.block > self.block else 0
        # Which they were is not known: as many as the database has more than there are left were copied.
        left = load.segments.get((gone.segment, gone.epoch, gone.cpu), 0)
        return max(0, gone.n - max(0, shipped - left))

    def _put_ledger(self, load: Load) -> None:
        if self._fresh:
            self._put_before(load)
        if load.complete:
            rows = [(self.source.epoch(epoch), cpu, json.dumps(terms)) for (epoch, cpu), terms in load.ledger.items()]
            self._upsert("ledger", "epoch, cpu", rows)

    def _put_before(self, load: Load) -> None:
        """Count what the host had removed before the database knew of it."""
        for (epoch, cpu), terms in load.ledger.items():
            for term in KEPT[1:]:
                if before := terms.get(term, 0) - load.told.get((epoch, cpu, term), 0):
                    self._count("unshipped", (self.source.epoch(epoch), cpu, term), before)
        query = "update source set forgotten = forgotten + %s where id = %s"
        self.base.execute(query, (load.forgotten, self.source.id))

    def _put_position(self, load: Load) -> int:
        block = load.blocks[-1][0].id if load.blocks else self.block
        self.base.execute(
            'update source set "cursor" = %s, block = %s, position = %s, complete = %s, seen = now(),'
            " host = case when %s = '' then host else %s end where id = %s",
            (load.upto, block, load.position, load.complete, load.host, load.host, self.source.id),
        )
        return block

    def _upsert(self, table: str, key: str, rows: Iterable[tuple[Any, ...]]) -> None:
        given = [_clean(row) for row in rows]
        if not given:
            return
        columns = _COLUMNS[table]
        names = ", ".join(f'"{name}"' for name in columns)
        others = ", ".join(f'"{name}" = excluded."{name}"' for name in columns if name not in key.split(", "))
        query = f"insert into {table} ({names}) values ({', '.join(['%s'] * len(columns))}) on conflict ({key})"
        with self.base.cursor() as cursor:
            cursor.executemany(f"{query} do update set {others}", given)

    def _copy(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            with self.base.cursor() as cursor, cursor.copy(f"copy {table} from stdin") as copy:
                for row in rows:
                    copy.write_row(_clean(row))

    # -- how far it is, and what goes --------------------------------------------------------------------------------

    def figures(self, load: Load) -> Copied:
        """Return how far the copying is, as of a load that was complete, and was written."""
        source = self.source.id
        row = self.base.execute("select shipped from source where id = %s", (source,)).fetchone()
        shipped = int(row[0]) if row else 0
        query = "select term, sum(n) from unshipped where source = %s group by term"
        unshipped = {term: int(n) for term, n in self.base.execute(query, (source,))}
        late = {kind: int(n) for kind, n in self.base.execute("select kind, n from late where source = %s", (source,))}
        query = "select name, epoch, cpu, n from segment where source = %s"
        there = {(name, epoch, cpu): int(n) for name, epoch, cpu, n in self.base.execute(query, (source,))}
        of = self.source.epoch
        waiting = sum(n - there.get((name, of(epoch), cpu), 0) for (name, epoch, cpu), n in load.segments.items())
        rolled = sum(terms.get("rolled", 0) for terms in load.ledger.values())
        check = Equation(
            "copied to the fleet", ("rolled", rolled), {"shipped": shipped, **unshipped, "not_copied_yet": waiting}
        )
        return Copied(0.0, shipped, waiting, unshipped, late, check)

    def expire(self, keep: Keep, now: float) -> None:
        """Remove what is too old or too much of this index.

        Args:
            keep: how much is kept.
            now: see `Shipper`.
        """
        query = (
            'select e.id, (select c."offset" from clock c where c.boot = e.boot order by c.t desc limit 1)'
            " from epoch e where e.id >= %s and e.id < %s"
        )
        epochs = self.base.execute(query, (self.source.epoch(0), Source(self.source.id + 1).epoch(0))).fetchall()
        for epoch, offset in epochs:
            if offset and now:
                self._by_age(epoch, int(offset), now, keep)
        while self._by_size(keep.bytes):
            pass
        self._expire_tasks(keep, now)

    def _expire_tasks(self, keep: Keep, now: float) -> None:
        own = (self.source.epoch(0), Source(self.source.id + 1).epoch(0))
        query = (
            'select b.id, (select c."offset" from clock c where c.boot = b.boot order by c.t desc limit 1)'
            " from task_boot b where b.id >= %s and b.id < %s"
        )
        for boot, offset in self.base.execute(query, own).fetchall():
            if offset and now:
                for tier, age in zip(TIERS, keep.tiers, strict=True):
                    cut = (boot, int(now - age - offset / NS))
                    for table in sums_of(tier):
                        self.base.execute(f"delete from {table} where boot = %s and t < %s".encode(), cut)
                with self.base.transaction():
                    cut = (boot, int(now - keep.records - offset / NS))
                    self._remove_snapshots("boot = %s and t < %s", cut)
        while self._limit_snapshots(keep.snapshots, own):
            pass

    def _limit_snapshots(self, most: int, own: tuple[int, int]) -> bool:
        """Remove the oldest snapshots of tasks, where all have more bytes than that; return whether there were any."""
        row = self.base.execute("select snapshots from source where id = %s", (self.source.id,)).fetchone()
        if not row or row[0] <= most:
            return False
        oldest = (
            "(boot, t) in (select boot, t from (select boot, t, sum(octet_length(data)) over (order by boot, t)"
            " - octet_length(data) as before from (select * from task_snap where boot >= %s and boot < %s"
            " order by boot, t limit %s) y) x where before < %s)"
        )
        with self.base.transaction():
            return self._remove_snapshots(oldest, (*own, _GONE_AT_ONCE, row[0] - most))

    def _by_age(self, epoch: int, offset: int, now: float, keep: Keep) -> None:
        for tier, age in zip(TIERS, keep.tiers, strict=True):
            cut = (epoch, int(now - age - offset / NS))
            with self.base.transaction():
                if tier == "h":
                    query = "select coalesce(sum(n), 0) from roll_h where epoch = %s and t < %s"
                    row = self.base.execute(query, cut).fetchone()
                    query = "update source set forgotten = forgotten + %s where id = %s"
                    self.base.execute(query, (int(row[0]) if row else 0, self.source.id))
                self.base.execute(f"delete from roll_{tier} where epoch = %s and t < %s", cut)
                self.base.execute(f"delete from proc_{tier} where epoch = %s and t < %s", cut)
        self.base.execute(
            "delete from blocked where epoch = %s and t < %s", (epoch, int((now - keep.blocked) * NS) - offset)
        )
        cut = (epoch, int((now - keep.tiers[-1]) * NS) - offset)
        self.base.execute("delete from proc where epoch = %s and last < %s", cut)
        self.base.execute('delete from hole where epoch = %s and "end" < %s', cut)
        query = 'select id from block where epoch = %s and "end" < %s order by "end" limit %s'
        while self._remove(query, (epoch, int((now - keep.records) * NS) - offset, _GONE_AT_ONCE), "expired_age"):
            pass

    def _by_size(self, most: int) -> bool:
        row = self.base.execute("select bytes from source where id = %s", (self.source.id,)).fetchone()
        if not row or row[0] <= most:
            return False
        query = (
            "select id from (select id, sum(length(data)) over (order by id) - length(data) as before from block"
            " where source = %s order by id limit %s) x where before < %s"
        )
        return self._remove(query, (self.source.id, _GONE_AT_ONCE, int(row[0]) - most), "expired_size")

    def _remove(self, query: str, values: tuple[Any, ...], term: str) -> bool:
        """Remove blocks; return whether there were any."""
        source = self.source.id
        with self.base.transaction():
            found = [number for (number,) in self.base.execute(query, values)]
            query = "delete from block where source = %s and id = any(%s) returning n, length(data)"
            gone = self.base.execute(query, (source, found)).fetchall()
            self.base.execute("delete from who where source = %s and block = any(%s)", (source, found))
            query = f"update source set {term} = {term} + %s, bytes = bytes - %s where id = %s"
            self.base.execute(query, (sum(n for n, _ in gone), sum(size for _, size in gone), source))
        return bool(gone)


_COLUMNS = {
    "epoch": ("id", "key", "host", "boot", "kernel", "version", "data_bytes", "began", "settings"),
    "call": ("epoch", "id", "name", "letters", "compat"),
    "clock": ("boot", "t", "offset", "asleep"),
    "ledger": ("epoch", "cpu", "terms"),
    "hole": ("source", "id", "epoch", "cpu", "begin", "end", "first", "last", "n", "reason"),
    "proc": ("id", "epoch", "pid", "comm", "uid", "ppid", "first", "last", "ended"),
    "blocked": (
        "epoch", "t", "cpu", "seq", "clock", "pid", "tid", "ppid", "uid", "comm", "call", "arguments", "enforced",
        "returned", "latency",
    ),
    "change": ("source", "id", "epoch", "t", "who", "what", "before", "after"),
    "task_boot": ("id", "boot"),
    **{table: tuple(columns.split(", ")) for table, columns in TASK_TIERS.items()},
}  # fmt: skip


def _clean(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row without what PostgreSQL has in no text."""
    return tuple(one.replace("\0", "\\000") if isinstance(one, str) else one for one in row)

"""The index (`index.db`): roll-ups, blocked calls, the ledger, and which segments there are. One process writes it.

Times (`t`, `begin`, `end`) are of CLOCK_BOOTTIME of their boot, in seconds in the roll-ups and in nanoseconds
elsewhere; `clock` has how far the time of day is ahead of it. A clock that is set changes one number and no row.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kmodlab.errors import KmodlabError

from . import histogram, outbox, task_store
from .epochs import Epoch
from .items import Begin, CallInfo, Settings
from .journal import Recalled
from .ledger import BLOCKED, KERNEL, RECORDER, SHED
from .recorded import settings_of
from .segments import set_aside
from .tally import NS
from .tick import BUCKETS, TOP

log = logging.getLogger(__name__)

NAME = "index.db"
TIERS = {"s": 1, "m": 60, "h": 3600}
"""Of the roll-ups: the end of their tables' names, and their seconds."""
_COUNTS = "n integer not null, err integer not null, lat_sum integer not null"
_ROLL = f"""create table roll_%s (
    epoch integer, t integer, call integer, status integer, {_COUNTS}, hist blob not null,
    primary key (t, epoch, call, status)
) strict, without rowid;
create table proc_%s (
    epoch integer, t integer, proc integer, {_COUNTS}, blocked integer not null, primary key (t, epoch, proc)
) strict, without rowid;
"""
_FIRST = f"""
create table epoch (
    id integer primary key, key text not null, host text not null, boot text not null, kernel text not null,
    version text not null, data_bytes integer not null, began integer not null, settings text not null
) strict;
create table call (
    epoch integer, id integer, name text not null, letters text not null, compat text not null, primary key (epoch, id)
) strict, without rowid;
create table clock (
    boot text, t integer, offset integer not null, asleep integer not null, primary key (boot, t)
) strict, without rowid;
create table state (one integer primary key, position integer not null, forgotten integer not null) strict;
insert into state values (1, 0, 0);
create table ledger (epoch integer, cpu integer, terms text not null, primary key (epoch, cpu)) strict, without rowid;
create table segment (name text primary key, begin integer not null, end integer not null) strict, without rowid;
create table segment_cpu (
    name text, epoch integer, cpu integer, n integer not null, first integer not null, last integer not null,
    begin integer not null, end integer not null, primary key (name, epoch, cpu)
) strict, without rowid;
create table hole (
    id integer primary key, epoch integer not null, cpu integer not null, begin integer not null, end integer not null,
    first integer not null, last integer not null, n integer not null, reason text not null
) strict;
create index hole_end on hole (end);
{"".join(_ROLL % (tier, tier) for tier in TIERS)}
create table proc (
    id integer primary key, epoch integer not null, pid integer not null, comm text not null, uid integer not null,
    ppid integer not null, first integer not null, last integer not null, ended integer not null
) strict;
create index proc_pid on proc (epoch, pid);
create table blocked (
    epoch integer, t integer, cpu integer, seq integer, clock integer not null, pid integer not null,
    tid integer not null, ppid integer not null, uid integer not null, comm text not null, call integer not null,
    arguments text not null, enforced integer not null, returned integer, latency integer,
    primary key (t, epoch, cpu, seq)
) strict, without rowid;
create index blocked_pid on blocked (pid, t);
create table change (
    id integer primary key, epoch integer not null, t integer not null, who text not null, what text not null,
    before text not null, after text not null
) strict;
"""
Migration = str | Callable[[sqlite3.Connection], None]
MIGRATIONS: tuple[Migration, ...] = (
    _FIRST, task_store.SCHEMA, outbox.SCHEMA, task_store.TURN_SCHEMA, outbox.TASKS,
)  # fmt: skip
"""What takes a file from each version (`user_version`) to the next: statements, or a function. None is ever changed."""

Sums = dict[tuple[int, ...], list[int]]
"""Numbers by epoch, second, and what else tells them apart."""


Ledger = dict[tuple[int, int], dict[str, int]]
"""Terms by epoch and CPU."""
HoleRow = tuple[int, int, int, int, int, int, int, str]
"""Epoch, CPU, begin and end (ns of CLOCK_BOOTTIME), first and last number, how many, why."""


@dataclass
class Known:
    """A process as the index has it: see `tick.Process`; `ended` says that its PID is free again."""

    id: int
    epoch: int
    pid: int
    comm: str
    uid: int
    ppid: int
    first: int
    last: int
    ended: bool = False


@dataclass
class Delta:
    """What is to be written in one transaction.

    Attributes:
        rolls: by call and status (its index in `tick.STATUSES`): n, errors, sum of latencies, `BUCKETS` of a histogram.
        procs: by id of the process: n, errors, sum of latencies, blocked.
        known: processes that are new or have changed.
        blocked: rows of the table.
        holes: rows of the table, without their ids.
        segments: rows of `segment_cpu`: what was added to it.
        ledger: terms by epoch and CPU.
        position: the last journal item that is in it.
    """

    rolls: Sums = field(default_factory=dict)
    procs: Sums = field(default_factory=dict)
    known: dict[int, Known] = field(default_factory=dict)
    blocked: list[tuple[object, ...]] = field(default_factory=list)
    holes: list[HoleRow] = field(default_factory=list)
    segments: list[tuple[str, int, int, int, int, int, int, int]] = field(default_factory=list)
    ledger: Ledger = field(default_factory=dict)
    epochs: list[tuple[int, Begin, int]] = field(default_factory=list)
    calls: list[tuple[int, tuple[CallInfo, ...]]] = field(default_factory=list)
    settings: list[tuple[int, Settings]] = field(default_factory=list)
    clocks: list[tuple[str, int, int, int]] = field(default_factory=list)
    changes: list[tuple[int, int, str, str, str, str]] = field(default_factory=list)
    position: int = 0


def migrate(base: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    """Bring a file to the newest schema, or leave it as it is.

    Raises:
        KmodlabError: it is of a newer version than this program, and is left alone.
    """
    (version,) = base.execute("pragma user_version").fetchone()
    if version > len(migrations):
        raise KmodlabError(
            f"{path} has the schema {version}, this program knows {len(migrations)}",
            hint="a newer kmodlab wrote it: use that one, or record into another folder",
        )
    for number, step in enumerate(migrations[version:], version + 1):
        log.info("%s: schema %d", path, number)
        base.execute("begin immediate")
        try:
            if isinstance(step, str):
                for statement in step.split(";\n"):
                    base.execute(statement)
            else:
                step(base)
            base.execute(f"pragma user_version = {number}")
            base.execute("commit")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                base.execute("rollback")
            raise


def functions(base: sqlite3.Connection) -> None:
    """Give a connection the functions that the queries use."""
    base.create_function("hist_add", 2, histogram.both, deterministic=True)
    base.create_aggregate("hist_sum", 1, histogram.Sum)  # type: ignore[arg-type]


class Index:
    """The index, for its one writer.

    Args:
        folder: of the history.
        migrations: see `MIGRATIONS`.

    Raises:
        KmodlabError: it is of a newer program.
        sqlite3.Error: it is damaged, or cannot be made.
    """

    def __init__(self, folder: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
        self.path = folder / NAME
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.base = sqlite3.connect(self.path, isolation_level=None, timeout=5.0, check_same_thread=False)
        try:
            (version,) = self.base.execute("pragma user_version").fetchone()
            if not version:
                self.base.execute("pragma auto_vacuum = incremental")
            self.base.execute("pragma journal_mode = wal")
            for pragma in ("synchronous = normal", f"journal_size_limit = {4 << 20}", "foreign_keys = off"):
                self.base.execute(f"pragma {pragma}")
            functions(self.base)
            migrate(self.base, self.path, migrations)
            self._inode = self.path.stat().st_ino
        except BaseException:
            self.base.close()
            raise
        self._open_buckets: dict[tuple[str, int, int], None] = {}
        self._newest: dict[int, int] = {}
        self.ships = False
        self._snapshot_bytes: int | None = None
        self._reopen()

    def _reopen(self) -> None:
        """Take up the buckets of the latest hours that have more than they may: nobody has come to that before."""
        for tier in TIERS:
            query = (
                f"select epoch, t from proc_{tier} where t >= (select max(t) from proc_{tier}) - 7200"
                f" group by t, epoch having count(*) > {TOP + 1}"
            )
            for epoch, t in self.base.execute(query).fetchall():
                self._open_buckets[tier, epoch, t] = None
                self._newest[epoch] = max(self._newest.get(epoch, 0), t)

    # -- what a fleet's database is to have ------------------------------------------------------------------------

    def ship(self, ships: bool) -> None:
        """Note from now on what changes, for a fleet's database to get it; or no more."""
        with self._transaction():
            outbox.begin(self.base, ships)
        self.ships = ships

    def acknowledge(self, number: int, key: str | None = None) -> None:
        """Take notice that a fleet's database has what has changed up to a number.

        Args:
            number: of the change.
            key: of the index that is meant; where this is another one, which was begun meanwhile, nothing is done.
        """
        with self._transaction():
            if key in (None, *self.base.execute("select key from state").fetchone()):
                outbox.acknowledge(self.base, number)

    def _mark(self, kind: str, units: Iterable[tuple[int, int]]) -> None:
        if self.ships:
            outbox.mark(self.base, kind, units)

    def is_there(self) -> bool:
        """Return whether the file is still the one that was opened."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Close it."""
        self.base.close()

    # -- what was --------------------------------------------------------------------------------------------------

    def position(self) -> int:
        """Return the number of the last journal item that is in the index."""
        return int(self.base.execute("select position from state").fetchone()[0])

    def ledger(self) -> Ledger:
        """Return the terms by epoch and CPU."""
        rows = self.base.execute("select epoch, cpu, terms from ledger")
        return {(epoch, cpu): json.loads(terms) for epoch, cpu, terms in rows}

    def epochs(self) -> dict[int, Epoch]:
        """Return the epochs by number, with their calls."""
        return read_epochs(self.base)

    def begins(self) -> dict[int, Begin]:
        """Return what was told of each epoch, by number; without their calls."""
        query = "select id, settings, data_bytes, key, host, boot, kernel, version from epoch"
        return {
            number: Begin(key, host, boot, kernel, version, size, (), {}, {}, settings_of(json.loads(settings)))
            for number, settings, size, key, host, boot, kernel, version in self.base.execute(query)
        }

    def settings(self, epoch: int) -> Settings:
        """Return how the tracer is set, as far as it was told."""
        row = self.base.execute("select settings from epoch where id = ?", (epoch,)).fetchone()
        return settings_of(json.loads(row[0])) if row else Settings()

    def processes(self, epoch: int) -> dict[int, Known]:
        """Return the latest process of each PID of an epoch, by PID."""
        query = "select id, epoch, pid, comm, uid, ppid, first, last, ended from proc where epoch = ? order by id"
        return {row[2]: Known(*row) for row in self.base.execute(query, (epoch,))}

    def next_process(self) -> int:
        """Return the first id that no process has."""
        return int(self.base.execute("select coalesce(max(id), 0) + 1 from proc").fetchone()[0])

    def segments(self) -> dict[str, dict[tuple[int, int], int]]:
        """Return how many records each segment has, by its name, then by epoch and CPU."""
        found: dict[str, dict[tuple[int, int], int]] = {}
        for name, epoch, cpu, n in self.base.execute("select name, epoch, cpu, n from segment_cpu order by name"):
            found.setdefault(name, {})[epoch, cpu] = n
        return found

    def segment_ends(self) -> dict[str, float]:
        """Return when each segment ends, seconds since 1970, as far as is known today."""
        epochs = self.epochs()
        found: dict[str, float] = {}
        for name, epoch, end in self.base.execute("select name, epoch, max(end) from segment_cpu group by name, epoch"):
            found[name] = max(found.get(name, 0.0), epochs[epoch].wall(end) if epoch in epochs else 0.0)
        return found

    def stretch(self, name: str, epoch: int, cpu: int) -> tuple[int, int, int, int]:
        """Return the first and the last number of a CPU in a segment, and when it begins and ends."""
        query = "select first, last, begin, end from segment_cpu where (name, epoch, cpu) = (?, ?, ?)"
        first, last, begin, end = self.base.execute(query, (name, epoch, cpu)).fetchone()
        return first, last, begin, end

    def forget_segment(self, name: str, term: str, ledger: Ledger, holes: list[HoleRow]) -> None:
        """Write that a segment is gone; `term` of the ledger says why."""
        with self._transaction():
            if self.ships:
                rows = self.base.execute("select epoch, cpu, n from segment_cpu where name = ?", (name,)).fetchall()
                for epoch, cpu, n in rows:
                    outbox.note_gone(self.base, outbox.Gone(epoch, cpu, name, n, term, None))
            self.base.execute("delete from segment_cpu where name = ?", (name,))
            self.base.execute("delete from segment where name = ?", (name,))
            self._write_ledger(ledger)
            self._write_holes(holes)

    def lose(
        self, whose: tuple[str, int, int], n: int, ledger: Ledger, hole: HoleRow, block: int | None = None
    ) -> None:
        """Write that so many records of an epoch and CPU are in a segment no more: a block, where that is known."""
        with self._transaction():
            if self.ships:
                name, epoch, cpu = whose
                outbox.note_gone(self.base, outbox.Gone(epoch, cpu, name, n, "damaged", block, all=False))
            self.base.execute("update segment_cpu set n = n - ? where (name, epoch, cpu) = (?, ?, ?)", (n, *whose))
            self._write_ledger(ledger)
            self._write_holes([hole])

    def expire(self, tiers: Mapping[str, float], blocked: float) -> None:
        """Remove what is older.

        Args:
            tiers: of the sums, by tier, seconds since 1970.
            blocked: of the blocked calls.
        """
        with self._transaction():
            for number, epoch in self.epochs().items():
                for tier, before in tiers.items():
                    cut = (number, int(before - epoch.offset / NS))
                    if self.ships:
                        outbox.note_late(self.base, tier, *cut)
                    if tier == "h":
                        sums = "select coalesce(sum(n), 0) from roll_h where epoch = ? and t < ?"
                        self.base.execute(f"update state set forgotten = forgotten + ({sums})", cut)
                    self.base.execute(f"delete from roll_{tier} where epoch = ? and t < ?", cut)
                    self.base.execute(f"delete from proc_{tier} where epoch = ? and t < ?", cut)
                cut = (number, (int(blocked * NS) - epoch.offset) // NS * NS)
                if self.ships:
                    outbox.note_late(self.base, "blocked", number, cut[1] // NS)
                self.base.execute("delete from blocked where epoch = ? and t < ?", cut)
                cut = (number, int(tiers["h"] * NS) - epoch.offset)
                self.base.execute("delete from proc where epoch = ? and last < ?", cut)
                self.base.execute("delete from hole where epoch = ? and end < ?", cut)
        self.base.execute("pragma incremental_vacuum(1000)").fetchall()

    def write_tasks(self, kept: task_store.Kept) -> None:
        """Write samples and snapshots of tasks, all or nothing. Raises sqlite3.Error."""
        with self._transaction():
            self._mark("clock", [(0, t) for t in task_store.write(self.base, kept)])
            for kind, units in task_store.parts(self.base, kept) if self.ships else ():
                self._mark(kind, units)
        if self._snapshot_bytes is not None:
            self._snapshot_bytes += sum(len(one.data) for one in kept.snapshots)

    def expire_tasks(self, tiers: Mapping[str, float], snapshots: float) -> None:
        """Remove sums and snapshots of tasks that are older; see `task_store.expire`."""
        with self._transaction():
            for boot in task_store.boots(self.base) if self.ships else ():
                for tier, before in tiers.items():
                    for kind in task_store.sums_of(tier):
                        outbox.note_late(self.base, kind, boot.id, before - boot.offset / NS)
            task_store.expire(self.base, tiers, snapshots)
            self._note_snapshots()

    def limit_snapshots(self, most: int) -> None:
        """Remove the oldest snapshots of tasks, as far as all have more bytes than that."""
        if self._snapshot_bytes is None or self._snapshot_bytes > most:
            with self._transaction():
                self._snapshot_bytes = task_store.limit(self.base, most)
                self._note_snapshots()

    def _note_snapshots(self) -> None:
        if self.ships:
            outbox.note_snapshots(self.base)

    def begin_again(self, forgotten: int) -> None:
        """Take notice that the sums of so many records were in an index that is gone."""
        self.base.execute("update state set forgotten = ?", (forgotten,))

    def empty_log(self) -> bool:
        """Bring all into the file itself and empty the log; return False where a reader does not let that be."""
        self.base.execute("pragma busy_timeout = 0")
        try:
            ((busy, _, _),) = self.base.execute("pragma wal_checkpoint(truncate)").fetchall()
        finally:
            self.base.execute("pragma busy_timeout = 5000")
        return not busy

    def settle(self) -> None:
        """Have what was written reach the disk, as far as readers let it."""
        self.base.execute("pragma wal_checkpoint(passive)").fetchall()

    # -- what comes ------------------------------------------------------------------------------------------------

    def flush(self, delta: Delta) -> None:
        """Write it all, or nothing.

        Raises:
            sqlite3.Error: it could not be written.
        """
        with self._transaction():
            self._write(delta)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self.base.execute("begin immediate")
        try:
            yield
            self.base.execute("commit")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self.base.execute("rollback")
            raise

    def _write(self, delta: Delta) -> None:
        self._write_epochs(delta)
        for tier, seconds in TIERS.items():
            self._write_rolls(tier, _coarser(delta.rolls, seconds))
            self._write_procs(tier, _trimmed(_coarser(delta.procs, seconds)))
        self._prune()
        self._write_lists(delta)
        self._write_segments(delta)
        self._write_ledger(delta.ledger)
        self.base.execute("update state set position = max(position, ?)", (delta.position,))

    def _write_ledger(self, ledger: Ledger) -> None:
        rows = [(*whose, json.dumps(terms)) for whose, terms in ledger.items()]
        self.base.executemany("insert or replace into ledger values (?, ?, ?)", rows)
        self._mark("ledger", [(epoch, 0) for epoch, _ in ledger])

    def _write_holes(self, holes: list[HoleRow]) -> None:
        self._append("hole", holes)

    def _append(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Write rows that begin with their epoch into a table that numbers them."""
        for row in rows:
            query = f"insert into {table} values (null, {', '.join('?' * len(row))})"
            self._mark(table, [(row[0], self.base.execute(query, row).lastrowid or 0)])  # type: ignore[list-item]

    def _write_epochs(self, delta: Delta) -> None:
        for number, begin, at in delta.epochs:
            head = (number, begin.key, begin.host, begin.boot, begin.kernel, begin.version, begin.data_bytes, at)
            self.base.execute(
                "insert into epoch values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " on conflict do update set settings = excluded.settings",
                (*head, json.dumps(asdict(begin.settings))),
            )
        numbers = (*(one for one, *_ in delta.epochs), *(one for one, _ in (*delta.calls, *delta.settings)))
        self._mark("epoch", [(number, 0) for number in numbers])
        self._mark("clock", [(0, t) for _, t, _, _ in delta.clocks])
        for number, calls in delta.calls:
            rows = [(number, one.id, one.name, one.arguments, one.compat_arguments) for one in calls]
            self.base.executemany("insert or replace into call values (?, ?, ?, ?, ?)", rows)
        for number, settings in delta.settings:
            self.base.execute("update epoch set settings = ? where id = ?", (json.dumps(asdict(settings)), number))
        self.base.executemany("insert or replace into clock values (?, ?, ?, ?)", delta.clocks)

    def _write_rolls(self, tier: str, rolls: Sums) -> None:
        # Every call is in both, so these are all that change.
        self._mark(tier, [(key[0], key[1]) for key in rolls])
        rows = [(*key, *sums[:3], histogram.encode(sums[3 : 3 + BUCKETS])) for key, sums in rolls.items()]
        self.base.executemany(
            f"insert into roll_{tier} values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do update set n = n + excluded.n,"
            " err = err + excluded.err, lat_sum = lat_sum + excluded.lat_sum, hist = hist_add(hist, excluded.hist)",
            rows,
        )

    def _write_procs(self, tier: str, procs: Sums) -> None:
        self.base.executemany(
            f"insert into proc_{tier} values (?, ?, ?, ?, ?, ?, ?) on conflict do update set n = n + excluded.n,"
            " err = err + excluded.err, lat_sum = lat_sum + excluded.lat_sum, blocked = blocked + excluded.blocked",
            [(*key, *sums) for key, sums in procs.items()],
        )
        for epoch, t, _ in procs:
            self._open_buckets[tier, epoch, t] = None
            self._newest[epoch] = max(self._newest.get(epoch, 0), t)

    def _prune(self) -> None:
        """Keep the busiest of each bucket: of those that are over, and of those that have become large."""
        for bucket in list(self._open_buckets):
            tier, epoch, t = bucket
            over = t + TIERS[tier] <= self._newest[epoch]
            self._keep_busiest(tier, epoch, t, TOP if over else 8 * TOP)
            if over:
                del self._open_buckets[bucket]

    def _keep_busiest(self, tier: str, epoch: int, t: int, slack: int) -> None:
        where = f"from proc_{tier} where t = ? and epoch = ? and proc <> 0"
        (count,) = self.base.execute(f"select count(*) {where}", (t, epoch)).fetchone()
        if count <= slack:
            return
        self._mark(tier, [(epoch, t)])
        rest = f"select proc {where} order by n desc, proc limit -1 offset {TOP}"
        self.base.execute(
            f"insert into proc_{tier} select epoch, t, 0, sum(n), sum(err), sum(lat_sum), sum(blocked) {where}"
            f" and proc in ({rest}) group by epoch, t on conflict do update set n = n + excluded.n,"
            " err = err + excluded.err, lat_sum = lat_sum + excluded.lat_sum, blocked = blocked + excluded.blocked",
            (t, epoch, t, epoch),
        )
        self.base.execute(
            f"delete from proc_{tier} where t = ? and epoch = ? and proc in ({rest})",
            (t, epoch, t, epoch),
        )

    def _write_lists(self, delta: Delta) -> None:
        known = [
            (one.id, one.epoch, one.pid, one.comm, one.uid, one.ppid, one.first, one.last, int(one.ended))
            for one in delta.known.values()
        ]
        self.base.executemany("insert or replace into proc values (?, ?, ?, ?, ?, ?, ?, ?, ?)", known)
        self._mark("proc", [(one.epoch, one.id) for one in delta.known.values()])
        marks = ", ".join("?" * 15)
        self.base.executemany(f"insert or ignore into blocked values ({marks})", delta.blocked)
        self._mark("blocked", [(row[0], row[1] // NS) for row in delta.blocked])  # type: ignore[operator, misc]
        self._write_holes(delta.holes)
        self._append("change", delta.changes)

    def _write_segments(self, delta: Delta) -> None:
        self.base.executemany(
            "insert into segment_cpu values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do update set n = n + excluded.n,"
            " first = min(first, excluded.first), last = max(last, excluded.last),"
            " begin = min(begin, excluded.begin), end = max(end, excluded.end)",
            delta.segments,
        )
        self.base.executemany(
            "insert into segment values (?, ?, ?) on conflict do update set"
            " begin = min(begin, excluded.begin), end = max(end, excluded.end)",
            [(row[0], *row[-2:]) for row in delta.segments],
        )


def is_damaged(error: Exception) -> bool:
    """Return whether it is the file that is wrong, not the moment."""
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def opened(folder: Path) -> Index:
    """Return the index of a folder; one that is damaged is set aside, and another is begun.

    Raises:
        KmodlabError: it is of a newer program.
        sqlite3.Error: it cannot be made.
    """
    try:
        index = Index(folder)
        try:
            ((said,),) = index.base.execute("pragma quick_check(1)").fetchall()
            if said == "ok":
                return index
        except sqlite3.DatabaseError as error:
            said = str(error)
        index.close()
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise
        said = str(error)
    target = set_aside(folder / NAME, folder / "damaged")
    log.error("%s was damaged (%s): it is %s, and another is begun", folder / NAME, said, target)
    return Index(folder)


def _coarser(sums: Sums, seconds: int) -> Sums:
    """Return sums of seconds by the minute, say; the second is the second number of the key."""
    if seconds == 1:
        return sums
    found: Sums = {}
    for (epoch, t, *rest), numbers in sums.items():
        key = (epoch, t - t % seconds, *rest)
        before = found.get(key)
        found[key] = [a + b for a, b in zip(before, numbers, strict=True)] if before else numbers
    return found


def _trimmed(procs: Sums, most: int = 8 * TOP) -> Sums:
    """Return the sums with the least of very many processes summed up: what a flush writes is bounded."""
    if len(procs) <= most:
        return procs
    buckets: dict[tuple[int, ...], list[tuple[int, list[int]]]] = {}
    for (epoch, t, proc), numbers in procs.items():
        buckets.setdefault((epoch, t), []).append((proc, numbers))
    found: Sums = {}
    for bucket, each in buckets.items():
        each.sort(key=lambda one: (-one[1][0], one[0]))
        for rank, (proc, numbers) in enumerate(each):
            key = (*bucket, proc if rank < most else 0)
            before = found.get(key)
            found[key] = [a + b for a, b in zip(before, numbers, strict=True)] if before else numbers
    return found


def recalled(folder: Path) -> Recalled | None:
    """Return what the index knows of the recording before, or None where there is none that can be read."""
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=5.0)) as base:
            (position,) = base.execute("select position from state").fetchone()
            epoch, key = base.execute("select id, key from epoch order by id desc").fetchone() or (0, "")
            rows = base.execute("select epoch, cpu, terms from ledger where epoch = ?", (epoch,))
            ledger = {(each, cpu): _recorders(json.loads(terms)) for each, cpu, terms in rows}
    except (sqlite3.Error, ValueError) as error:
        log.error("%s cannot be read: %s", path, error)
        return None
    return Recalled(position + 1, epoch, key, ledger)


def _recorders(terms: Mapping[str, int]) -> dict[str, int]:
    """Return the terms that the recorder counts, out of all."""
    return {name: terms[name] for name in (*KERNEL, *RECORDER, *BLOCKED, *SHED) if name in terms}


def read_epochs(base: sqlite3.Connection) -> dict[int, Epoch]:
    """Return the epochs by number, with their calls and what the time of day is in each."""
    clocks = {boot: clock for boot, *clock in base.execute("select boot, offset, asleep from clock order by t")}
    found: dict[int, Epoch] = {}
    for number, boot, size in base.execute("select id, boot, data_bytes from epoch"):
        offset, asleep = clocks.get(boot, (0, 0))
        found[number] = Epoch(number, boot, size, offset=offset, asleep=asleep)
    for epoch, *call in base.execute("select epoch, id, name, letters, compat from call"):
        if epoch in found:
            found[epoch].learn([CallInfo(*call)])
    return found

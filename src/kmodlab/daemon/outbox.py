"""What of the index has changed since a fleet's database had it: the table `outbox`, and what it stands for.

A row says which part of the index is to be copied, not what is in it: a second that grows ten times is one row, with
the number of the latest change. So what waits has a bound, however long the database is away, and copying a part twice
comes to the same. Numbers are never used twice; the database keeps how far it is, in the transaction that copies.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kmodlab.errors import KmodlabError

from . import segments
from .segments import Head
from .tally import NS

SCHEMA = """
create table outbox (
    id integer primary key autoincrement, kind text not null, epoch integer not null, t integer not null,
    what text not null, unique (kind, epoch, t)
) strict;
alter table state add column key text not null default '';
alter table state add column ships integer not null default 0;
alter table state add column acknowledged integer not null default 0;
"""
"""Migration of the index. `key` names this index and no other, `ships` says whether changes are noted."""
TASKS = "".join(
    f"insert or replace into outbox (kind, epoch, t, what) select '{table}', boot, t, '' from {table}"
    " where (select ships from state);\n"
    for table in (*(f"task_{tier}" for tier in "hms"), *(f"task_turn_{tier}" for tier in "hms"), "task_snap")
)
"""Migration of the index: tasks are copied, too."""
TIERS = ("s", "m", "h")
ROLLS, PROCS = {tier: f"roll_{tier}" for tier in TIERS}, {tier: f"proc_{tier}" for tier in TIERS}
TASK_TIERS = {
    **{f"task_{tier}": "boot, t, n, running, sleeping, stopped, zombie, other, vm, rss, rss_most" for tier in TIERS},
    **{f"task_turn_{tier}": "boot, t, ms, started, ended" for tier in TIERS},
}
"""Sums of tasks, and the columns of them that are copied."""
MOST = 2000
"""Parts that are read at once."""
BLOCK_BYTES = 4 << 20
"""Of packed records that are read at once, about."""
Unit = tuple[int, int]
"""Epoch, and what else tells a part of its kind from others."""


def amount(kind: str) -> str:
    """Return what is counted of sums of tasks that are lost: samples, or tasks that came and went."""
    return "started + ended" if "_turn_" in kind else "n"


def mark(base: sqlite3.Connection, kind: str, units: Iterable[Unit]) -> None:
    """Note that parts have changed, in a transaction of the caller's.

    Args:
        base: the index.
        kind: `s`, `m`, `h`: the sums of a second, minute, hour; `blocked`: the blocked calls of a second; or one row of
            `epoch` (with its calls), `ledger`, `clock`, `proc`, `hole`, `change`; or of `TASK_TIERS` or
            `task_snap`, which have a boot for an epoch.
        units: which.
    """
    query = "insert or replace into outbox (kind, epoch, t, what) values (?, ?, ?, '')"
    base.executemany(query, [(kind, *unit) for unit in dict.fromkeys(units)])


@dataclass(frozen=True)
class Gone:
    """Records that are in a segment no more.

    Attributes:
        epoch: whose.
        cpu: whose.
        segment: which.
        n: how many.
        term: of the ledger: why.
        block: the one that they were, where that is known.
        all: whether no others are left there.
    """

    epoch: int
    cpu: int
    segment: str
    n: int
    term: str
    block: int | None
    all: bool = True


def note_gone(base: sqlite3.Connection, gone: Gone) -> None:
    """Note that records are in a segment no more."""
    query = "insert into outbox (kind, epoch, t, what) select 'gone', ?, coalesce(max(t), 0) + 1, ? from outbox"
    base.execute(query, (gone.epoch, json.dumps(asdict(gone))))


def note_late(base: sqlite3.Connection, kind: str, epoch: int, before: float) -> None:
    """Note of parts that are about to be removed for their age how much they have, if they were not copied yet.

    Args:
        base: the index.
        kind: one of `TIERS`, `blocked`, or sums of tasks.
        epoch: whose; of tasks, the boot.
        before: what begins earlier is removed, s of CLOCK_BOOTTIME.
    """
    if kind == "blocked":
        had = (
            "select count(*) from blocked b where b.epoch = o.epoch and b.t >= o.t * 1000000000"
            " and b.t < (o.t + 1) * 1000000000"
        )
    elif kind in TASK_TIERS:
        had = f"select coalesce(sum({amount(kind)}), 0) from {kind} r where r.boot = o.epoch and r.t = o.t"
    else:
        had = f"select coalesce(sum(n), 0) from roll_{kind} r where r.epoch = o.epoch and r.t = o.t"
    base.execute(
        f"insert or replace into outbox (kind, epoch, t, what) select ?, epoch, t, ({had}) from outbox o"
        " where kind = ? and epoch = ? and t < ?",
        (f"late_{kind}", kind, epoch, before),
    )
    base.execute("delete from outbox where kind = ? and epoch = ? and t < ?", (kind, epoch, before))


def note_snapshots(base: sqlite3.Connection) -> None:
    """Note of snapshots of tasks that were removed just now that they were not copied yet."""
    gone = "kind = 'task_snap' and not exists (select 1 from task_snap s where s.boot = epoch and s.t = outbox.t)"
    base.execute(
        "insert or replace into outbox (kind, epoch, t, what)"
        f" select 'late_task_snap', epoch, t, '1' from outbox where {gone}"
    )
    base.execute(f"delete from outbox where {gone}")


_ALL = {
    "epoch": "select id, 0 from epoch",
    "ledger": "select distinct epoch, 0 from ledger",
    "clock": "select 0, t from clock",
    "proc": "select epoch, id from proc",
    "h": "select distinct epoch, t from roll_h",
    "m": "select distinct epoch, t from roll_m",
    "s": "select distinct epoch, t from roll_s",
    "blocked": "select distinct epoch, t / 1000000000 from blocked",
    "hole": "select epoch, id from hole",
    "change": "select epoch, id from change",
    **{table: f"select boot, t from {table}" for table in (*TASK_TIERS, "task_snap")},
}


def fill(base: sqlite3.Connection) -> None:
    """Note all that there is as changed."""
    for kind, query in _ALL.items():
        units = f"with x(epoch, t) as ({query}) select '{kind}', epoch, t, '' from x"
        base.execute(f"insert or replace into outbox (kind, epoch, t, what) {units}")


def begin(base: sqlite3.Connection, ships: bool) -> None:
    """Have changes noted from now on, and all that is there; or no more."""
    key, before = base.execute("select key, ships from state").fetchone()
    if bool(before) == ships:
        return
    base.execute("update state set ships = ?, key = ?", (int(ships), key or uuid.uuid4().hex))
    base.execute("delete from outbox")
    if ships:
        fill(base)


def acknowledge(base: sqlite3.Connection, number: int) -> None:
    """Forget what the database has: all up to a number. Where it has less than it once said, all is noted anew."""
    (known,) = base.execute("select acknowledged from state").fetchone()
    (newest,) = base.execute("select seq from sqlite_sequence where name = 'outbox'").fetchone() or (0,)
    if number < known or number > newest:
        # The database, or this index, is an older copy of itself; what lies in between says nothing.
        base.execute("delete from outbox where kind in (select value from json_each(?))", (json.dumps(list(_ALL)),))
        base.execute("update sqlite_sequence set seq = ? where name = 'outbox'", (max(number, newest),))
        fill(base)
    else:
        base.execute("delete from outbox where id <= ?", (number,))
    base.execute("update state set acknowledged = ?", (number,))


# -- what is to be copied --------------------------------------------------------------------------------------------


@dataclass
class Load:
    """What is copied in one transaction.

    Attributes:
        key: of the index.
        upto: number of the last change that is in it.
        complete: whether no others were there.
        host: name of the machine, as of its newest epoch.
        position: of the index; no block of a lower number is yet to come.
        units: by kind, the parts whose rows replace those that are there.
        rows: by table.
        gone: see there.
        late: kind, epoch (of tasks, boot), t and how much was in what was removed before it was copied.
        ledger: terms by epoch and CPU.
        segments: records by segment, epoch, CPU.
        told: of a first one: records by epoch, CPU and term that `gone` of this or a later one tells of.
        forgotten: records whose sums the index has no more, but for those that `late` tells of.
        blocks: heads, with the segment and the packed records.
        pids: process, block, records.
        more: whether there are further blocks.
    """

    key: str = ""
    upto: int = 0
    complete: bool = True
    host: str = ""
    position: int = 0
    units: dict[str, list[Unit]] = field(default_factory=dict)
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    gone: list[Gone] = field(default_factory=list)
    late: list[tuple[str, int, int, int]] = field(default_factory=list)
    ledger: dict[tuple[int, int], dict[str, int]] = field(default_factory=dict)
    segments: dict[tuple[str, int, int], int] = field(default_factory=dict)
    told: dict[tuple[int, int, str], int] = field(default_factory=dict)
    forgotten: int = 0
    blocks: list[tuple[Head, str, bytes]] = field(default_factory=list)
    pids: list[tuple[int, int, int]] = field(default_factory=list)
    more: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to copy."""
        return not (self.units or self.gone or self.late or self.blocks)


_ROWS: dict[str, tuple[tuple[str, str], ...]] = {
    "epoch": (("epoch", "id = ? and 0 = ?"), ("call", "epoch = ? and 0 = ?")),
    "clock": (("clock", "0 = ? and t = ?"),),
    "proc": (("proc", "epoch = ? and id = ?"),),
    "hole": (("hole", "epoch = ? and id = ?"),),
    "change": (("change", "epoch = ? and id = ?"),),
    **{kind: ((kind, "boot = ? and t = ?"),) for kind in (*TASK_TIERS, "task_snap")},
    **{tier: tuple((table, "epoch = ? and t = ?") for table in (ROLLS[tier], PROCS[tier])) for tier in TIERS},
}
"""The tables of a kind, and which rows of them are a part."""


def read(folder: Path, index: Path, after: int, block: int) -> Load:
    """Return what is to be copied next; nothing is held then.

    Args:
        folder: of the segments.
        index: the file.
        after: number of the last change that was copied.
        block: number of the last block.

    Raises:
        sqlite3.Error: it cannot be read just now.
        Unreadable: a segment cannot.
    """
    with _opened(index) as base:
        base.execute("begin")
        load = _read_index(base, after)
    _read_blocks(folder, load, block)
    return load


@contextlib.contextmanager
def _opened(index: Path) -> Iterator[sqlite3.Connection]:
    base = sqlite3.connect(f"file:{index}?mode=rw", uri=True, isolation_level=None, timeout=5.0)
    with contextlib.closing(base):
        base.execute("pragma query_only = 1")
        yield base


def key_of(index: Path) -> tuple[str, str]:
    """Return what names an index, and its machine's name."""
    with _opened(index) as base:
        (key,) = base.execute("select key from state").fetchone()
        return str(key), _host(base)


def _host(base: sqlite3.Connection) -> str:
    row = base.execute("select host from epoch order by id desc limit 1").fetchone()
    return str(row[0]) if row else ""


def _read_index(base: sqlite3.Connection, after: int) -> Load:
    load = Load(upto=after, host=_host(base))
    load.key, load.position, load.forgotten = base.execute("select key, position, forgotten from state").fetchone()
    query = "select id, kind, epoch, t, what from outbox where id > ? order by id limit ?"
    found = base.execute(query, (after, MOST + 1)).fetchall()
    some = found[: _fitting(base, found[:MOST])]
    load.complete = len(found) == len(some)
    for number, kind, epoch, t, what in some:
        load.upto = number
        if kind == "gone":
            load.gone.append(Gone(**json.loads(what)))
        elif kind.startswith("late_"):
            load.late.append((kind.removeprefix("late_"), epoch, t, int(what)))
        else:
            load.units.setdefault(kind, []).append((epoch, t))
    for kind, units in load.units.items():
        _read_units(base, load, kind, units)
    if any(kind.startswith("task_") for kind in load.units):
        load.rows["task_boot"] = base.execute("select id, boot from task_boot").fetchall()
    # The names are needed at once, for a block has none.
    for name, epoch, cpu, n in base.execute("select name, epoch, cpu, n from segment_cpu"):
        load.segments[name, epoch, cpu] = n
    rows = base.execute("select epoch, cpu, terms from ledger")
    load.ledger = {(epoch, cpu): json.loads(terms) for epoch, cpu, terms in rows}
    if not after:
        _read_told(base, load)
    return load


def _fitting(base: sqlite3.Connection, found: list[Any]) -> int:
    """Return how many of some parts are copied at once: snapshots may be large."""
    size = 0
    for at, (_, kind, boot, t, _) in enumerate(found):
        if kind == "task_snap":
            row = base.execute("select length(data) from task_snap where boot = ? and t = ?", (boot, t)).fetchone()
            size += row[0] if row else 0
            if size > BLOCK_BYTES and at:
                return at
    return len(found)


def _read_told(base: sqlite3.Connection, load: Load) -> None:
    """Read what the database will be told of: all else that is gone was so before it knew of this index."""
    for kind, what in base.execute("select kind, what from outbox where kind in ('gone', 'late_h')"):
        if kind == "late_h":
            load.forgotten -= int(what)
        else:
            gone = Gone(**json.loads(what))
            key = gone.epoch, gone.cpu, gone.term
            load.told[key] = load.told.get(key, 0) + gone.n


def _read_units(base: sqlite3.Connection, load: Load, kind: str, units: list[Unit]) -> None:
    if kind == "blocked":
        rows = load.rows.setdefault("blocked", [])
        for epoch, second in units:
            query = "select * from blocked where epoch = ? and t >= ? and t < ?"
            rows += base.execute(query, (epoch, second * NS, (second + 1) * NS))
        return
    for table, where in _ROWS.get(kind, ()):
        rows = load.rows.setdefault(table, [])
        for unit in units:
            rows += base.execute(f"select {TASK_TIERS.get(table, '*')} from {table} where {where}", unit)


class Unreadable(Exception):
    """A segment cannot be read: it was removed just now, and the index will say so, or it is damaged."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(f"the segment {name} cannot be read: {error}")
        self.name, self.error = name, error


def _read_blocks(folder: Path, load: Load, after: int) -> None:
    """Read the blocks behind a number, oldest first."""
    names = sorted({name for name, _, _ in load.segments})
    size = 0
    for at, name in enumerate(names):
        if at + 1 < len(names) and int(names[at + 1].removesuffix(".db")) <= after + 1:
            continue
        for head, content in _blocks(folder / name, after, load.position):
            load.blocks.append((head, name, content))
            load.pids += [(pid, head.id, n) for pid, n in segments.processes(content, head.n).items()]
            size += len(content)
            if size >= BLOCK_BYTES:
                load.more = True
                return


def _blocks(path: Path, after: int, position: int) -> Iterator[tuple[Head, bytes]]:
    try:
        with contextlib.closing(segments.connect(path)) as base:
            yield from segments.packed(base, after, position)
    except (sqlite3.Error, KmodlabError) as error:
        raise Unreadable(path.name, error) from error

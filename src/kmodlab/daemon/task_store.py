"""The index's tables of tasks: sums of samples by second, minute and hour, and snapshots of all processes.

A time (`t`) is of CLOCK_BOOTTIME of its boot, in seconds; `clock` has how far the time of day is ahead, as for calls.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .lister import Moment
from .tally import NS, SET_NS
from .tasks import STATES, Sample
from .turnover import Turnover

TIERS = {"s": 1, "m": 60, "h": 3600}
SUMS = (*STATES, "vm", "rss")
_SUMS = ", ".join(f"{name} integer not null" for name in SUMS)
_TIER = f"""create table task_%s (
    boot integer, t integer, n integer not null, {_SUMS}, rss_most integer not null, primary key (t, boot)
) strict, without rowid;
"""
SCHEMA = f"""
create table task_boot (id integer primary key, boot text not null unique) strict;
{"".join(_TIER % tier for tier in TIERS)}
create table task_snap (
    boot integer, t integer, n integer not null, data blob not null, primary key (t, boot)
) strict;
"""
"""`n` is how many samples were summed up; memory is in MiB, `rss_most` the most of one sample."""
_TURN = """create table task_turn_%s (
    boot integer, t integer, ms integer not null, started integer not null, ended integer not null,
    primary key (t, boot)
) strict, without rowid;
"""
TURN_SCHEMA = "".join(_TURN % tier for tier in TIERS)
"""How many tasks came and went, and over how many milliseconds that is known: see `turnover.Turnover`."""


def sums_of(tier: str) -> tuple[str, str]:
    """Return the tables of a tier: sums of samples, and what came and went."""
    return f"task_{tier}", f"task_turn_{tier}"


class Answering(Protocol):
    """A database that is asked: an index, or one that takes the same words."""

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Iterable[Any]:
        """Ask; a `?` stands for each value."""


@dataclass(frozen=True)
class Snapshot:
    """What /proc/task_lister said, compressed by zlib; `n` is how many processes there were."""

    moment: Moment
    n: int
    data: bytes


@dataclass(frozen=True)
class Kept:
    """What is to be written: samples, snapshots, what came and went; each oldest first."""

    samples: tuple[tuple[Moment, Sample], ...]
    snapshots: tuple[Snapshot, ...]
    turnovers: tuple[Turnover, ...] = ()

    @property
    def moments(self) -> list[Moment]:
        """Of when all of that is."""
        later = [*(one.moment for one in self.snapshots), *(one.moment for one in self.turnovers)]
        return [*(at for at, _ in self.samples), *later]


@dataclass(frozen=True)
class Boot:
    """A boot of the machine: its id here, its boot id, how far the time of day is ahead of its clock, ns."""

    id: int
    boot: str
    offset: int


def boots(base: Answering) -> list[Boot]:
    """Return the boots in which tasks were seen, oldest first."""
    offsets = dict(base.execute('select boot, "offset" from clock order by t'))
    rows = base.execute("select id, boot from task_boot order by id")
    return [Boot(number, boot, offsets.get(boot, 0)) for number, boot in rows]


def parts(base: sqlite3.Connection, kept: Kept) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield by table the rows that `write` has written: the boot, and when, s."""
    numbers = {boot: number for number, boot in base.execute("select id, boot from task_boot")}
    for tier, seconds in TIERS.items():
        yield f"task_{tier}", [(numbers[at.boot], _begun(at, seconds)) for at, _ in kept.samples]
        turned = [one.moment for one in kept.turnovers]
        yield f"task_turn_{tier}", [(numbers[at.boot], _begun(at, seconds)) for at in turned]
    yield "task_snap", [(boot, t) for boot, t, _, _ in _snapshots(numbers, kept.snapshots)]


def write(base: sqlite3.Connection, kept: Kept) -> list[int]:
    """Write samples and snapshots, within a transaction of the caller's.

    Returns:
        When (ns of CLOCK_BOOTTIME) the rows of `clock` are of that it has written, too.
    """
    numbers = {boot: _boot(base, boot) for boot in {one.boot for one in kept.moments}}
    clocks = [moment.t for moment in kept.moments if _set_clock(base, moment)]
    for tier, seconds in TIERS.items():
        _write_tier(base, tier, [(numbers[at.boot], _begun(at, seconds), found) for at, found in kept.samples])
        _write_turns(
            base, tier, [(numbers[one.moment.boot], _begun(one.moment, seconds), one) for one in kept.turnovers]
        )
    base.executemany("insert or replace into task_snap values (?, ?, ?, ?)", _snapshots(numbers, kept.snapshots))
    return clocks


def _begun(moment: Moment, seconds: int) -> int:
    return moment.t // NS // seconds * seconds


def _snapshots(numbers: Mapping[str, int], found: Sequence[Snapshot]) -> Iterator[tuple[int, int, int, bytes]]:
    for one in found:
        yield numbers[one.moment.boot], one.moment.t // NS, one.n, one.data


def _boot(base: sqlite3.Connection, boot: str) -> int:
    base.execute("insert or ignore into task_boot (boot) values (?)", (boot,))
    return int(base.execute("select id from task_boot where boot = ?", (boot,)).fetchone()[0])


def _set_clock(base: sqlite3.Connection, moment: Moment) -> bool:
    """Write what the time of day is, where nobody has, or it was set since; return whether that was so."""
    row = base.execute("select offset, asleep from clock where boot = ? order by t desc limit 1", (moment.boot,))
    known, asleep = row.fetchone() or (None, 0)
    offset = moment.wall - moment.t
    if known is not None and abs(offset - known) <= SET_NS:
        return False
    base.execute("insert or replace into clock values (?, ?, ?, ?)", (moment.boot, moment.t, offset, asleep))
    return True


def _write_tier(base: sqlite3.Connection, tier: str, samples: Sequence[tuple[int, int, Sample]]) -> None:
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
    marks = ", ".join("?" * (len(SUMS) + 4))
    base.executemany(
        f"insert into task_{tier} values ({marks}) on conflict do update set n = n + excluded.n, {sums},"
        " rss_most = max(rss_most, excluded.rss_most)",
        [(boot, t, 1, *one.states, one.vm, one.rss, one.rss) for boot, t, one in samples],
    )


def _write_turns(base: sqlite3.Connection, tier: str, found: Sequence[tuple[int, int, Turnover]]) -> None:
    base.executemany(
        f"insert into task_turn_{tier} values (?, ?, ?, ?, ?) on conflict do update set ms = ms + excluded.ms,"
        " started = started + excluded.started, ended = ended + excluded.ended",
        [(boot, t, one.ms, one.started, one.ended) for boot, t, one in found],
    )


def expire(base: sqlite3.Connection, tiers: Mapping[str, float], snapshots: float) -> None:
    """Remove what is older, within a transaction of the caller's.

    Args:
        base: the index.
        tiers: of the sums, by tier, seconds since 1970.
        snapshots: of the snapshots.
    """
    for boot in boots(base):
        for tier, before in tiers.items():
            for table in sums_of(tier):
                base.execute(f"delete from {table} where boot = ? and t < ?", (boot.id, before - boot.offset / NS))
        base.execute("delete from task_snap where boot = ? and t < ?", (boot.id, snapshots - boot.offset / NS))


def limit(base: sqlite3.Connection, most: int) -> int:
    """Remove the oldest snapshots, as far as all of them have more bytes than `most`; return how many are left."""
    total = 0
    # Those that were written last are the newest, whatever the clock says.
    for number, size in base.execute("select rowid, length(data) from task_snap order by rowid desc").fetchall():
        if total + size > most:
            base.execute("delete from task_snap where rowid <= ?", (number,))
            break
        total += size
    return total

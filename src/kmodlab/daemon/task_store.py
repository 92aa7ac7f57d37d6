"""The index's tables of tasks: sums of samples by second, minute and hour, and snapshots of all processes.

A time (`t`) is of CLOCK_BOOTTIME of its boot, in seconds; `clock` has how far the time of day is ahead, as for calls.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .lister import Moment
from .tally import NS
from .tasks import STATES, Sample

TIERS = {"s": 1, "m": 60, "h": 3600}
STEP = NS // 20
"""A clock that is off by more than this was set, ns."""
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


@dataclass(frozen=True)
class Snapshot:
    """What /proc/task_lister said, compressed by zlib; `n` is how many processes there were."""

    moment: Moment
    n: int
    data: bytes


@dataclass(frozen=True)
class Kept:
    """What is to be written: samples and snapshots, oldest first."""

    samples: tuple[tuple[Moment, Sample], ...]
    snapshots: tuple[Snapshot, ...]


@dataclass(frozen=True)
class Boot:
    """A boot of the machine: its id here, its boot id, how far the time of day is ahead of its clock, ns."""

    id: int
    boot: str
    offset: int


def boots(base: sqlite3.Connection) -> list[Boot]:
    """Return the boots in which tasks were seen."""
    offsets = dict(base.execute("select boot, offset from clock order by t"))
    return [Boot(number, boot, offsets.get(boot, 0)) for number, boot in base.execute("select id, boot from task_boot")]


def write(base: sqlite3.Connection, kept: Kept) -> None:
    """Write samples and snapshots, within a transaction of the caller's."""
    moments = [moment for moment, _ in kept.samples] + [one.moment for one in kept.snapshots]
    numbers = {boot: _boot(base, boot) for boot in {one.boot for one in moments}}
    for moment in moments:
        _set_clock(base, moment)
    for tier, seconds in TIERS.items():
        _write_tier(base, tier, [(numbers[at.boot], _begun(at, seconds), found) for at, found in kept.samples])
    base.executemany("insert or replace into task_snap values (?, ?, ?, ?)", _snapshots(numbers, kept.snapshots))


def _begun(moment: Moment, seconds: int) -> int:
    return moment.t // NS // seconds * seconds


def _snapshots(numbers: Mapping[str, int], found: Sequence[Snapshot]) -> Iterator[tuple[int, int, int, bytes]]:
    for one in found:
        yield numbers[one.moment.boot], one.moment.t // NS, one.n, one.data


def _boot(base: sqlite3.Connection, boot: str) -> int:
    base.execute("insert or ignore into task_boot (boot) values (?)", (boot,))
    return int(base.execute("select id from task_boot where boot = ?", (boot,)).fetchone()[0])


def _set_clock(base: sqlite3.Connection, moment: Moment) -> None:
    """Write what the time of day is, where nobody has, or it was set since."""
    row = base.execute("select offset, asleep from clock where boot = ? order by t desc limit 1", (moment.boot,))
    known, asleep = row.fetchone() or (None, 0)
    offset = moment.wall - moment.t
    if known is None or abs(offset - known) > STEP:
        base.execute("insert or replace into clock values (?, ?, ?, ?)", (moment.boot, moment.t, offset, asleep))


def _write_tier(base: sqlite3.Connection, tier: str, samples: Sequence[tuple[int, int, Sample]]) -> None:
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
    marks = ", ".join("?" * (len(SUMS) + 4))
    base.executemany(
        f"insert into task_{tier} values ({marks}) on conflict do update set n = n + excluded.n, {sums},"
        " rss_most = max(rss_most, excluded.rss_most)",
        [(boot, t, 1, *one.states, one.vm, one.rss, one.rss) for boot, t, one in samples],
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
            base.execute(f"delete from task_{tier} where boot = ? and t < ?", (boot.id, before - boot.offset / NS))
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

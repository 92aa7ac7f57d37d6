"""Questions about the tasks of the past, to an index that is open; `queries` holds them to their time."""

from __future__ import annotations

import sqlite3
import zlib
from dataclasses import dataclass

from kmodlab.errors import KmodlabError

from . import task_store
from .tally import NS
from .task_store import SUMS, TIERS, Boot
from .tasks import STATES, Listing, listing
from .tick import TaskRates

_UP_TO = (("s", 2 * 3600.0), ("m", 4 * 86400.0), ("h", float("inf")))
"""Up to how many seconds which tier answers."""
MOST_STEPS = 3600


def rates(base: sqlite3.Connection, begin: float, end: float, step: float) -> TaskRates:
    """Return how many tasks were in which state, and their memory; see `tick.Source`.

    Args:
        base: the index.
        begin: seconds since 1970.
        end: the same.
        step: seconds; made longer where the tier does not have it.
    """
    boots = task_store.boots(base)
    tier = _tier(base, boots, begin, end)
    seconds = TIERS[tier]
    step = max(seconds, -(-max(step, (end - begin) / MOST_STEPS) // seconds) * seconds)
    shift = boots[-1].offset / NS % step if boots else 0.0
    start = (begin - shift) // step * step + shift
    steps = int(-(-(end - start) // step))
    found = _Sums(steps)
    for boot in boots:
        found.add(base, tier, boot, start, step)
    states = {name: found.means(name) for name in STATES}
    return TaskRates(start, step, steps, seconds, states, found.means("vm"), found.means("rss"), tuple(found.most))


class _Sums:
    """Sums of samples by steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.n = [0] * steps
        self.sums = {name: [0] * steps for name in SUMS}
        self.most: list[int | None] = [None] * steps

    def add(self, base: sqlite3.Connection, tier: str, boot: Boot, start: float, step: float) -> None:
        """Add those of a boot."""
        offset = boot.offset / NS
        columns = ", ".join(f"sum({name})" for name in SUMS)
        query = (
            f"select cast((t + ? - ?) / ? as integer) as slot, sum(n), max(rss_most), {columns} from task_{tier}"
            " where boot = ? and t >= ? and t < ? group by slot"
        )
        low = start - offset
        for slot, n, most, *sums in base.execute(query, (offset, start, step, boot.id, low, low + self.steps * step)):
            if 0 <= slot < self.steps:
                self.n[slot] += n
                self.most[slot] = max(most, self.most[slot] or 0)
                for name, number in zip(SUMS, sums, strict=True):
                    self.sums[name][slot] += number

    def means(self, name: str) -> tuple[float | None, ...]:
        """Return the mean of each step; None where nobody has looked."""
        return tuple(round(number / n, 2) if n else None for number, n in zip(self.sums[name], self.n, strict=True))


def _tier(base: sqlite3.Connection, boots: list[Boot], begin: float, end: float) -> str:
    """Return the finest tier that has few enough rows of a time, and still has that time."""
    for tier, most in _UP_TO:
        if tier == "h":
            break
        oldest = _oldest(base, boots, tier)
        if end - begin <= most and oldest is not None:
            first = _oldest(base, boots, "h")
            if oldest <= max(begin, first if first is not None else begin) + TIERS["h"]:
                return tier
    return "h"


def _oldest(base: sqlite3.Connection, boots: list[Boot], tier: str) -> float | None:
    times = []
    for boot in boots:
        (t,) = base.execute(f"select min(t) from task_{tier} where boot = ?", (boot.id,)).fetchone()
        if t is not None:
            times.append(t + boot.offset / NS)
    return min(times, default=None)


@dataclass(frozen=True)
class Place:
    """Where a snapshot is: id of its boot, seconds of CLOCK_BOOTTIME, and the time of day, seconds since 1970."""

    boot: int
    t: int
    wall: float


def nearest(base: sqlite3.Connection, at: float) -> Place:
    """Return the snapshot that is nearest to a time, seconds since 1970.

    Raises:
        KmodlabError: there is none.
    """
    found: list[Place] = []
    for boot in task_store.boots(base):
        offset = boot.offset / NS
        for query in (
            "select t from task_snap where boot = ? and t <= ? order by t desc limit 1",
            "select t from task_snap where boot = ? and t > ? order by t limit 1",
        ):
            found += [Place(boot.id, t, t + offset) for (t,) in base.execute(query, (boot.id, at - offset))]
    if not found:
        hint = "one is taken each minute while the task lister is loaded and the dashboard runs"
        raise KmodlabError("there is no snapshot of the tasks yet", hint=hint)
    return min(found, key=lambda one: abs(one.wall - at))


def snapshot(base: sqlite3.Connection, place: Place) -> Listing:
    """Return what a snapshot has.

    Raises:
        KmodlabError: it is gone, or damaged.
    """
    row = base.execute("select data from task_snap where (boot, t) = (?, ?)", (place.boot, place.t)).fetchone()
    try:
        return listing(zlib.decompress(row[0]).decode(), place.wall)
    except (TypeError, zlib.error, UnicodeDecodeError) as error:
        raise KmodlabError("the snapshot of the tasks is gone or damaged", hint="take another time") from error

"""Questions about the tasks of the past, to an index that is open; `queries` holds them to their time."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from kmodlab.errors import KmodlabError

from . import task_store
from .tally import NS
from .task_store import SUMS, TIERS, Answering, Boot
from .tasks import STATES, Listing, listing
from .tick import TaskRates

_UP_TO = (("s", 2 * 3600.0), ("m", 4 * 86400.0), ("h", float("inf")))
"""Up to how many seconds which tier answers."""
MOST_STEPS = 3600
BRIDGED_SECONDS = 10.0
"""Without a sample that are no gap: a machine with very many tasks is looked at less often."""


SLOT = "cast((t + ? - ?) / ? as integer)"
"""Which step a second belongs to, in SQLite's words."""


def rates(
    base: Answering, begin: float, end: float, step: float, hosts: Sequence[list[Boot]] | None = None, slot: str = SLOT
) -> TaskRates:
    """Return how many tasks were in which state, their memory, and how many came and went; see `tick.Source`.

    Args:
        base: the index, or a copy of some.
        begin: seconds since 1970.
        end: the same.
        step: seconds; made longer where the tier does not have it.
        hosts: the boots of each machine, where there are several: their means are added up.
        slot: see `SLOT`.
    """
    each = [task_store.boots(base)] if hosts is None else hosts
    boots = [boot for one in each for boot in one]
    tier = _tier(base, boots, begin, end)
    found = []
    for one in each or [[]]:
        sums = _Sums(begin, end, step, TIERS[tier], boots[-1].offset if boots else 0)
        for boot in one:
            sums.add(base, tier, boot, slot)
        found.append(sums.rates())
    return found[0] if len(found) == 1 else together(found)


def together(hosts: Sequence[TaskRates]) -> TaskRates:
    """Return the sums over some hosts; one that has not looked for a few seconds had what it had before."""
    first = hosts[0]
    states = {name: _added([one.states[name] for one in hosts], first.step) for name in STATES}
    memory = (_added([getattr(one, name) for one in hosts], first.step) for name in ("vm", "rss", "rss_most"))
    looked = tuple(round(fmean(known), 3) if known else None for known in _known([one.looked for one in hosts]))
    turned = (_summed([getattr(one, name) for one in hosts]) for name in ("started", "ended"))
    shape = first.begin, first.step, first.steps, first.tier
    return TaskRates(*shape, states, *memory, looked, *turned)  # type: ignore[arg-type, call-arg]


def _known(series: Sequence[Sequence[float | None]]) -> list[list[float]]:
    """Return for each step the values of those that have one."""
    return [[value for value in column if value is not None] for column in zip(*series, strict=True)]


def _summed(series: Sequence[Sequence[float | None]]) -> tuple[float | None, ...]:
    """Return the sum of each step; what came and went in a gap is in the step after it."""
    return tuple(sum(values) if values else None for values in _known(series))


def _added(series: Sequence[Sequence[float | None]], step: float) -> tuple[float | None, ...]:
    known = _known([_bridged(one, int(BRIDGED_SECONDS // step)) for one in series])
    return tuple(round(sum(values), 2) if values else None for values in known)


def _bridged(series: Sequence[float | None], most: int) -> list[float | None]:
    """Return a series in which a gap of some steps at most has what was before it."""
    found, last = list(series), -1
    for at, value in enumerate(series):
        if value is None:
            continue
        if last >= 0 and at - last - 1 <= most:
            found[last + 1 : at] = [found[last]] * (at - last - 1)
        last = at
    return found


def none(begin: float, end: float, step: float) -> TaskRates:
    """Return what `rates` does where nobody has looked."""
    return _Sums(begin, end, step, TIERS["h"], 0).rates()


class _Sums:
    """Sums of samples by steps.

    Args:
        begin: seconds since 1970.
        end: the same.
        step: seconds; made longer where the tier does not have it.
        seconds: of the tier.
        offset: how far the time of day is ahead of the clock that steps are whole by, ns.
    """

    def __init__(self, begin: float, end: float, step: float, seconds: int, offset: int) -> None:
        self.seconds = seconds
        self.step = step = max(seconds, -(-max(step, (end - begin) / MOST_STEPS) // seconds) * seconds)
        shift = offset / NS % step
        self.start = (begin - shift) // step * step + shift
        self.steps = steps = int(-(-(end - self.start) // step))
        self.n = [0] * steps
        self.sums = {name: [0] * steps for name in SUMS}
        self.most: list[int | None] = [None] * steps
        self.turned = [[0, 0, 0] for _ in range(steps)]

    def add(self, base: Answering, tier: str, boot: Boot, slot: str = SLOT) -> None:
        """Add those of a boot."""
        offset = boot.offset / NS
        low = self.start - offset
        between = boot.id, math.ceil(low), math.ceil(low + self.steps * self.step)
        span = (offset, self.start, self.step, *between)
        self._add_turns(base, tier, span, slot)
        columns = ", ".join(f"sum({name})" for name in SUMS)
        query = (
            f"select {slot} as slot, sum(n), max(rss_most), {columns} from task_{tier}"
            " where boot = ? and t >= ? and t < ? group by slot"
        )
        for at, n, most, *sums in base.execute(query, span):
            if 0 <= at < self.steps:
                self.n[at] += n
                self.most[at] = max(most, self.most[at] or 0)
                for name, number in zip(SUMS, sums, strict=True):
                    self.sums[name][at] += number

    def _add_turns(self, base: Answering, tier: str, span: tuple[float, ...], slot: str) -> None:
        query = (
            f"select {slot} as slot, sum(ms), sum(started), sum(ended) from task_turn_{tier}"
            " where boot = ? and t >= ? and t < ? group by slot"
        )
        for at, *numbers in base.execute(query, span):
            if 0 <= at < self.steps:
                self.turned[at] = [one + more for one, more in zip(self.turned[at], numbers, strict=True)]

    def rates(self) -> TaskRates:
        """Return the means of all steps."""
        states = {name: self.means(name) for name in STATES}
        memory = self.means("vm"), self.means("rss"), tuple(self.most)
        known = [one if one[0] else (None, None, None) for one in self.turned]
        looked = tuple(None if ms is None else ms / 1000 for ms, _, _ in known)
        turned = looked, tuple(one[1] for one in known), tuple(one[2] for one in known)
        return TaskRates(self.start, self.step, self.steps, self.seconds, states, *memory, *turned)

    def means(self, name: str) -> tuple[float | None, ...]:
        """Return the mean of each step; None where nobody has looked."""
        return tuple(round(number / n, 2) if n else None for number, n in zip(self.sums[name], self.n, strict=True))


def _tier(base: Answering, boots: list[Boot], begin: float, end: float) -> str:
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


def _oldest(base: Answering, boots: list[Boot], tier: str) -> float | None:
    times = []
    for boot in boots:
        ((t,),) = base.execute(f"select min(t) from task_{tier} where boot = ?", (boot.id,))
        if t is not None:
            times.append(t + boot.offset / NS)
    return min(times, default=None)


@dataclass(frozen=True)
class Place:
    """Where a snapshot is: id of its boot, seconds of CLOCK_BOOTTIME, and the time of day, seconds since 1970."""

    boot: int
    t: int
    wall: float


def nearest(base: Answering, at: float, boots: Sequence[Boot] | None = None) -> Place:
    """Return the snapshot that is nearest to a time, seconds since 1970; of some boots, or of all.

    Raises:
        KmodlabError: there is none.
    """
    found: list[Place] = []
    for boot in task_store.boots(base) if boots is None else boots:
        offset = boot.offset / NS
        for query in (
            "select t from task_snap where boot = ? and t <= ? order by t desc limit 1",
            "select t from task_snap where boot = ? and t > ? order by t limit 1",
        ):
            found += [Place(boot.id, t, t + offset) for (t,) in base.execute(query, (boot.id, math.floor(at - offset)))]
    if not found:
        hint = "one is taken each minute while the task lister is loaded and the dashboard runs"
        raise KmodlabError("there is no snapshot of the tasks yet", hint=hint)
    return min(found, key=lambda one: abs(one.wall - at))


def snapshot(base: Answering, place: Place) -> Listing:
    """Return what a snapshot has.

    Raises:
        KmodlabError: it is gone, or damaged.
    """
    rows = base.execute("select data from task_snap where (boot, t) = (?, ?)", (place.boot, place.t))
    try:
        ((data,),) = rows
        return listing(zlib.decompress(data).decode(), place.wall)
    except (ValueError, zlib.error, UnicodeDecodeError) as error:
        raise KmodlabError("the snapshot of the tasks is gone or damaged", hint="take another time") from error

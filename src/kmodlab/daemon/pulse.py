"""Ticks in the making: what was counted since the last one."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import overload

from kmodlab.modules.record import rows

from .epochs import Epoch
from .store import Known
from .tally import BLK, ERR, HIST, LAT_SUM, NS, N
from .tick import BLOCKED_A_SECOND, BUCKETS, STATUSES, Count, Process, ProcessCount, Row, Status, Tick, busiest

NEWEST = 256
"""Rows in a tick."""
AHEAD = 15.0
"""Seconds that the clock of a tick runs on while nothing comes that tells the time: the feed of a machine on which
nothing is called tells it each ten."""


def count_of(sums: list[int]) -> Count:
    """Return sums of a call as a count."""
    return Count(sums[N], sums[ERR], sums[LAT_SUM], tuple(sums[HIST : HIST + BUCKETS]) if any(sums[HIST:]) else ())


def told(one: Known, epoch: Epoch) -> Process:
    """Return a process as a tick has it."""
    return Process(one.id, one.epoch, one.pid, one.comm, one.uid, one.ppid, epoch.wall(one.first))


Stretch = tuple[Epoch, int, bytes]
"""The end of a block, and how far CLOCK_BOOTTIME was ahead then, ns."""


class Newest(Sequence[Row]):
    """The newest calls of some blocks, made of them when somebody asks: most ticks nobody looks at."""

    def __init__(self, blocks: tuple[Stretch, ...]) -> None:
        self._blocks = blocks

    @cached_property
    def _rows(self) -> tuple[Row, ...]:
        found: list[Row] = []
        for epoch, asleep, data in reversed(self._blocks):
            if len(found) >= NEWEST:
                break
            found += [epoch.row(raw, asleep) for raw in rows(data)]
        found.sort(key=lambda row: (row.clock + (row.latency or 0), row.cpu, row.seq))
        return tuple(found[-NEWEST:])

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | Sequence[Row]:
        return self._rows[at]


class Pulse:
    """Makes the ticks of one run of the collector."""

    def __init__(self) -> None:
        self.number = 0
        self._made_at = 0.0
        self._clock = 0.0
        self._known_at = (0.0, 0.0)
        self._blocks: deque[Stretch] = deque(maxlen=64)
        self._room = 0.0
        self._begin()

    def _begin(self) -> None:
        self._calls: dict[tuple[str, Status], Count] = {}
        self._procs: dict[int, tuple[Known, Epoch, list[int]]] = {}
        self._blocked: list[Row] = []
        self._blocked_more = 0
        self._spans: dict[int, tuple[int, int]] = {}
        self._blocks.clear()

    def reset(self) -> None:
        """Forget what belongs to an epoch that is over."""
        self._begin()
        self._clock, self._known_at = 0.0, (0.0, 0.0)

    def at(self, t: int, now: float) -> None:
        """Take notice of what the machine's clock says: CLOCK_BOOTTIME, ns, at `now`."""
        if t / NS > self._known_at[0]:
            self._known_at = (t / NS, now)

    def clock(self, now: float) -> float:
        """Return what the machine's clock is taken to say at `now`: CLOCK_BOOTTIME, seconds; it never goes back."""
        known, known_at = self._known_at
        self._clock = max(self._clock, known + min(max(now - known_at, 0.0), AHEAD) if known else 0.0)
        return self._clock

    def block(self, epoch: Epoch, cpu: int, first: int, last: int, data: bytes, starts: Sequence[int]) -> None:
        """Take notice of a block that was counted, whose records begin at `starts`."""
        self._blocks.append((epoch, epoch.asleep, data[starts[-NEWEST:][0] :]))
        before = self._spans.get(cpu)
        self._spans[cpu] = (before[0], last) if before else (first, last)

    def gap(self, cpu: int, first: int, last: int) -> None:
        """Take notice of numbers that never came."""
        before = self._spans.get(cpu)
        self._spans[cpu] = (before[0], last) if before else (first, last)

    def call(self, name: str, status: int, sums: list[int]) -> None:
        """Add what a call came to."""
        key = name, STATUSES[status]
        before = self._calls.get(key)
        self._calls[key] = before + count_of(sums) if before else count_of(sums)

    def process(self, one: Known, epoch: Epoch, sums: list[int]) -> None:
        """Add what a process did."""
        before = self._procs.get(one.id)
        self._procs[one.id] = (one, epoch, [a + b for a, b in zip(before[2], sums, strict=True)] if before else sums[:])

    @property
    def wants_blocked(self) -> bool:
        """Whether another blocked row is shown."""
        return len(self._blocked) < BLOCKED_A_SECOND and self._room >= 1

    def blocked(self, row: Row | None) -> None:
        """Add a blocked call, which is shown (see `wants_blocked`) or only counted."""
        if row is None:
            self._blocked_more += 1
        else:
            self._blocked.append(row)
            self._room -= 1

    def tick(
        self,
        epoch: Epoch | None,
        now: float,
        behind: float,
        ledger: Mapping[str, int],
        cpus: Mapping[tuple[int, int], Mapping[str, int]],
        troubles: tuple[str, ...],
    ) -> Tick:
        """Return what has come since the last one, and begin the next."""
        self.number += 1
        seconds = now - self._made_at if self._made_at else 0.0
        clock = self.clock(now)
        made = Tick(
            number=self.number,
            epoch=epoch.number if epoch else 0,
            clock=clock,
            wall=clock + epoch.offset / NS if epoch else 0.0,
            seconds=seconds,
            calls=self._calls,
            processes=busiest([_counted(*each) for each in self._procs.values()]),
            rows=Newest(tuple(self._blocks)),
            blocked=tuple(self._blocked),
            blocked_more=self._blocked_more,
            spans=self._spans,
            ledger=ledger,
            cpus=cpus,
            behind=behind,
            troubles=troubles,
        )
        self._made_at = now
        self._room = min(BLOCKED_A_SECOND, self._room + seconds * BLOCKED_A_SECOND) if seconds else BLOCKED_A_SECOND
        self._begin()
        return made


def _counted(one: Known, epoch: Epoch, sums: list[int]) -> ProcessCount:
    return ProcessCount(told(one, epoch), sums[N], sums[ERR], sums[BLK], sums[LAT_SUM])

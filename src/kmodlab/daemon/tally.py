"""Counting: each record is looked at once, and its calls and processes are summed up by the second."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from kmodlab.modules.record import ENFORCED, LAYOUT, RETURNED

from .tick import BUCKETS

log = logging.getLogger(__name__)

NS = 1_000_000_000
SET_NS = NS // 20
"""A clock that is off by more than this was set."""
LOGGED, BLOCKED, FAILED = range(3)
"""As in `tick.STATUSES`."""
N, ERR, LAT_SUM, HIST = range(4)
"""Where sums of a call have what; the histogram is the rest. Those of a process have `BLK` in place of it."""
BLK = 3
ERRORS = 4096
"""A call that returns more than minus this much, and less than 0, has failed."""
_SLIM = struct.Struct("=8xQQq56x16sHxxBBH16s")
"""Of a record: clock, latency, ret, the four ids (process, thread, parent, user), call, status, flags, size, comm."""
assert _SLIM.size == LAYOUT.size  # noqa: S101

Who = tuple[bytes, bytes]
"""The four ids and the command name, as a record has them."""


@dataclass
class Second:
    """What was counted in one second of one epoch: by call << 2 | status, and by who made it, first seen first."""

    calls: dict[int, list[int]] = field(default_factory=dict)
    whos: dict[Who, list[int]] = field(default_factory=dict)


@dataclass
class Found:
    """What was found in a block.

    Attributes:
        starts: where records begin.
        end: where the last one ends, which has to be the end of the block.
        blocked: where the blocked ones begin.
        ended: which processes have ended, and when.
    """

    end: int = 0
    starts: list[int] = field(default_factory=list)
    blocked: list[int] = field(default_factory=list)
    ended: list[tuple[Who, int]] = field(default_factory=list)


def tally(  # a function for each step would double what a record costs
    data: bytes, turn: Callable[[int], tuple[Second, int, int]], ending: int
) -> Found:
    """Count the records of a block.

    This is the one loop that sees every record: it is written for speed.

    Args:
        data: the records.
        turn: returns for a time (CLOCK_MONOTONIC, ns) its second, and when that begins and ends.
        ending: id of the call that ends a process.

    Returns:
        What was found; where the data ends in the middle of a record, this is told of those before.
    """
    found = Found()
    unpack, head, begin_at = _SLIM.unpack_from, LAYOUT.size, found.starts.append
    returned, known, hist, least = RETURNED, RETURNED | ENFORCED, HIST, -ERRORS
    at, size_of, low, high = 0, len(data), 0, 0
    calls: dict[int, list[int]] = {}
    whos: dict[Who, list[int]] = {}
    try:
        while at < size_of:
            clock, latency, ret, ids, call, status, flags, size, comm = unpack(data, at)
            made = clock + latency if flags & returned else clock
            if not low <= made < high:
                second, low, high = turn(made)
                calls, whos = second.calls, second.whos
            err = ret < 0 and ret > least and flags & known
            key = call << 2 | (1 if status else 2 if err else 0)
            try:
                sums = calls[key]
            except KeyError:
                sums = calls[key] = [0] * (hist + BUCKETS + 1)
            try:
                who = whos[ids, comm]
            except KeyError:
                who = whos[ids, comm] = [0, 0, 0, 0]
            sums[0] += 1
            who[0] += 1
            if flags & returned:
                sums[2] += latency
                who[2] += latency
                sums[hist + latency.bit_length()] += 1
            if err:
                sums[1] += 1
                who[1] += 1
            if status:
                who[3] += 1
                found.blocked.append(at)
            if call == ending:
                found.ended.append(((ids, comm), made))
            begin_at(at)
            at += head + (size + 7 & -8) if size else head
    except struct.error:
        log.error("a block of %d bytes ends in the middle of a record", size_of)
    found.end = at
    return found


def add(into: dict[tuple[int, ...], list[int]], key: tuple[int, ...], sums: list[int]) -> None:
    """Add sums to those under a key; the list itself is taken where there are none."""
    before = into.get(key)
    if before is None:
        into[key] = sums
    else:
        for at, number in enumerate(sums):
            if number:
                before[at] += number

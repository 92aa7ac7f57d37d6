"""A tape of records for the daemon's tests: a machine under load whose every loss is known, cheap at a million."""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from kmodlab.daemon.follow import Follower
from kmodlab.daemon.items import Batch, Begin, CallInfo, Clock, Counters, Item, Settings
from kmodlab.daemon.journal import Journal
from kmodlab.daemon.roller import Limits, Roller
from kmodlab.daemon.store import recalled
from kmodlab.modules.record import ENFORCED, LAYOUT, RETURNED

NS = 1_000_000_000
PATIENCE = 60.0
"""Seconds that a question may take where its answer is the subject: a busy machine is slow."""
WALL = 1_780_000_000 * NS
"""What the time of day was when the tape's machine booted."""
SIGNATURES = {
    "openat": "Dpxm", "read": "f*z", "close": "f", "unlinkat": "Dpx", "write": "f*z", "execve": "p**", "connect": "fai",
    "exit_group": "i",
}  # fmt: skip
ENTRIES = 4096
_STAMP = struct.Struct("=QQ")


def calls(first: int = 3) -> tuple[CallInfo, ...]:
    """Return the table of calls, with ids from `first` on."""
    return tuple(CallInfo(number, name, kinds, kinds) for number, (name, kinds) in enumerate(SIGNATURES.items(), first))


def ids(first: int = 3) -> dict[str, int]:
    """Return the ids of the calls by name."""
    return {one.name: one.id for one in calls(first)}


def begin(key: str = "boot-1", issued: dict[int, int] | None = None, first: int = 3, boot: str = "boot-1") -> Begin:
    """Return what a tracer says of itself that was found."""
    counts = issued or {0: 0, 1: 0}
    settings = Settings("ftrace", "enforcing", True, ("unlink: BLOCK path=/etc/",), tuple(SIGNATURES))
    return Begin(key, "tape", boot, "6.1.0", "1.0.0", 128, calls(first), counts, dict.fromkeys(counts, 0), settings)


def clock(at: int, shift: int = 0, asleep: int = 0) -> Clock:
    """Return the clocks `at` ns of CLOCK_MONOTONIC; the time of day is `shift` ns off."""
    return Clock(at, asleep, WALL + at + asleep + shift)


def record(
    call: int, *, path: bytes = b"", pid: int = 500, tid: int = 0, ppid: int = 1, uid: int = 0, comm: bytes = b"load",
    ret: int = 0, latency: int = 1000, blocked: bool = False, seq: int = 0, at: int = 0, cpu: int = 0, arg: int = 1,
    returned: bool = True,
) -> bytes:  # fmt: skip
    """Return one record that is complete `at` ns."""
    data = struct.pack("=HH", arg, len(path)) + path if path else b""
    flags = (RETURNED if returned else 0) | (ENFORCED if blocked else 0)
    head = LAYOUT.pack(
        seq, at - latency if returned else at, latency if returned else 0, ret, 3, 4, 5, 0, 0, 0, at // 4_000_000, pid,
        tid or pid, ppid, uid, call, cpu, int(blocked), flags, len(data), comm,
    )  # fmt: skip
    return head + data + bytes(-len(data) % 8)


def batch(records: list[bytes], cpu: int = 0, lost: int = 0) -> Batch:
    """Return records as the batch that they are."""
    from kmodlab.daemon.items import described

    return described(cpu, lost, b"".join(records))


class Tape:
    """Batches of two CPUs, some numbers of which never come.

    Args:
        size: records in a batch.
        rate: records a second, of the tape's own time.
        lossy: whether any are lost.
        seed: decides what is on it.
        pids: the first process id: one that no process has, where a daemon runs whose own calls are left out.

    Attributes:
        lag: how many records later than the first CPU's the second one's batches begin.
        came: records by CPU; `ring`, `socket` and `dropped` are those that did not come, by cause.
    """

    def __init__(self, size: int = 500, rate: int = 40_000, lossy: bool = True, seed: int = 1, pids: int = 400) -> None:
        self._rng = random.Random(seed)  # noqa: S311
        self._size, self._step, self._lossy, self._pids = size, NS * 2 // rate, lossy, pids
        self._templates = [self._template(cpu) for cpu in (0, 0, 1, 1)]
        self.now = 100 * NS
        self.lag = 0
        self.next = {0: 0, 1: 0}
        self.came: Counter[int] = Counter()
        self.ring: Counter[int] = Counter()
        self.socket: Counter[int] = Counter()
        self.dropped: Counter[int] = Counter()
        self.calls: Counter[tuple[str, str]] = Counter()

    def _template(self, cpu: int) -> tuple[bytearray, list[tuple[int, int]], Counter[tuple[str, str]]]:
        """Return a batch, where its records begin and how long they took, and what they are."""
        rng, table = self._rng, list(ids().items())
        data = bytearray()
        starts: list[tuple[int, int]] = []
        kinds: Counter[tuple[str, str]] = Counter()
        for _ in range(self._size):
            name, call = rng.choice(table[:-1])
            pid = self._pids + rng.choice((rng.randrange(200), rng.randrange(20)))
            blocked = name == "unlinkat" and rng.random() < 0.02
            ret = -13 if blocked else rng.choice((0, 3, 4096, -2)) if rng.random() < 0.2 else 0
            path = b"/srv/data/%d/file" % rng.randrange(40) if name in ("openat", "unlinkat") else b""
            latency = rng.randrange(300, 90_000)
            starts.append((len(data), latency))
            comm = (b"nginx", b"cc1", b"bash")[pid % 3]
            data += record(
                call, path=path, pid=pid, ppid=pid // 7, comm=comm, ret=ret, blocked=blocked, cpu=cpu,
                latency=latency, at=NS,
            )  # fmt: skip
            kinds[name, "BLOCKED" if blocked else "FAILED" if ret < 0 else "LOGGED"] += 1
        return data, starts, kinds

    def begin(self, key: str = "boot-1") -> list[Item]:
        """Return what comes first."""
        return [begin(key, dict(self.next)), clock(self.now)]

    def batches(self, records: int) -> Iterator[Batch]:
        """Yield batches of so many records in all."""
        for number in range(records // self._size):
            yield self._batch(number % 2, number // 2 % 2)

    def _batch(self, cpu: int, which: int) -> Batch:
        template, starts, kinds = self._templates[2 * cpu + which]
        self.calls.update(kinds)
        data, rng, lost, inner = bytearray(template), self._rng, 0, -1
        if self._lossy and rng.random() < 0.02:
            lost = rng.randrange(1, 3000)
            self.ring[cpu] += lost
            self.next[cpu] += lost
        elif self._lossy and rng.random() < 0.02:
            unseen = rng.randrange(1, 2000)
            self.socket[cpu] += unseen
            self.next[cpu] += unseen
        elif self._lossy and rng.random() < 0.1:
            inner = rng.randrange(1, self._size)
        first, seq, now, step, pack = self.next[cpu], self.next[cpu], self.now, self._step, _STAMP.pack_into
        now += cpu * self.lag * step
        begun = now
        for number, (at, latency) in enumerate(starts):
            if number == inner:
                seq += 1
                self.dropped[cpu] += 1
            pack(data, at, seq, now - latency)
            seq += 1
            now += step
        self.next[cpu] = seq
        self.came[cpu] += self._size
        if cpu:
            self.now = now - self.lag * step
        return Batch(cpu, first, seq - 1, self._size, begun, now - step, lost, bytes(data))

    def counters(self, unsent: int = 0) -> Counters:
        """Return what the kernel has counted, of which `unsent` calls of each CPU were not sent yet."""
        found = {}
        for cpu, number in self.next.items():
            issued = number + unsent
            logged = min(ENTRIES, issued - self.dropped[cpu])
            found[cpu] = (issued, logged, issued - self.dropped[cpu] - logged, self.dropped[cpu], 0)
        return Counters(found)


def write(folder: Path, items: Iterable[Item], every: int = 64, **limits: int) -> None:
    """Record items into a folder, as the first stage does, in one go."""
    journal = Journal(folder, recalled(folder), **limits)
    for number, item in enumerate(items):
        journal.take(item)
        if number % every == every - 1:
            journal.commit()
    journal.close()


def roll(folder: Path, limits: Limits | None = None, own: frozenset[int] = frozenset(), most: int = 64) -> Roller:
    """Have the second stage do all that there is, so many blocks at a time; return it, closed."""
    roller = Roller(folder, own, limits)
    drain(roller, most)
    roller.close()
    return roller


def drain(roller: Roller, most: int = 64) -> None:
    """Have a roller do all that there is."""
    while roller.step(most):
        pass
    roller.flush()


__all__ = ["Follower", "Tape", "batch", "begin", "calls", "clock", "drain", "ids", "record", "roll", "write"]

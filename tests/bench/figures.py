"""What a run of the benchmark has measured, as it is kept in docs/benchmarks.json, and the arithmetic on it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

#: the loops, with their numbers of threads, in the order of the page's columns
LOOPS = tuple((workload, threads) for workload in ("getppid", "openat", "unlink", "untraced") for threads in (1, 2))
#: loops that show how many events a second reach a reader, and the call that is counted in each
DELIVERED = {("getppid", 1): "getppid", ("openat", 1): "openat"}
#: plain getppid on the machine on which the aims were set, ns
REFERENCE_NS = 361.0


@dataclass(frozen=True)
class Spread:
    """The median of some figures, and half the distance of their quartiles."""

    median: float
    half: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return that of some figures, at least one."""
        if len(values) < 2:
            return cls(values[0], 0.0)
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(statistics.median(values), (high - low) / 2)


def loop_key(workload: str, threads: int) -> str:
    """Return how a loop is named in the JSON file."""
    return f"{workload}:{threads}"


@dataclass
class Session:
    """One run of a tracer over all loops, and of the loops without it just before.

    Attributes:
        plain: loop -> ns a call without the tracer.
        traced: loop -> ns a call with it.
        rate: loop -> calls a second, over the whole loop; of those loops alone whose delivery is looked at.
        issued: call -> how many were made.
        events: call (or `total`) -> how many the tracer has seen, or its reader got.
        lost: how many the tool admits to have lost; None where it says nothing of it.
    """

    plain: dict[str, float]
    traced: dict[str, float]
    rate: dict[str, float] = field(default_factory=dict)
    issued: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    lost: int | None = None


@dataclass
class Row:
    """A tracer and all its sessions.

    Attributes:
        key: its name in the JSON file.
        label: its name for people.
        group: floor, module or peer.
        sees: what it knows of a call.
        command: what was run.
        version: the tool's.
        reads: whether the events reach a reader.
        absent: why it cannot be measured; empty if it can.
        failures: what went wrong in each session that failed.
        sessions: one for each repetition that did not fail.
    """

    key: str
    label: str
    group: str
    sees: str
    command: str
    version: str = ""
    reads: bool = False
    absent: str = ""
    failures: list[str] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)

    def added(self, workload: str, threads: int) -> Spread | None:
        """Return the ns that it adds to a call, or None if that was not measured.

        The slow-down is applied to the time of one thread alone: where several virtual processors share one of the
        machine's, a loop on two of them takes twice as long without any tracer.
        """
        key, alone = loop_key(workload, threads), loop_key(workload, 1)
        values = [(s.traced[key] / s.plain[key] - 1) * s.plain[alone] for s in self.sessions if key in s.traced]
        return Spread.of(values) if values else None

    def _counted(self, call: str) -> tuple[int, int]:
        """Return how many calls were issued, and how many events of them there are; of all calls where none is told."""
        name = call if any(call in session.events for session in self.sessions) else "total"
        issued = sum(s.issued[call] if name == call else sum(s.issued.values()) for s in self.sessions)
        return issued, sum(session.events.get(name, 0) for session in self.sessions)

    def missing(self, call: str) -> int:
        """Return how many of the issued calls have no event; the tools see other programs' calls too."""
        issued, events = self._counted(call)
        return max(0, issued - events)

    def share(self, call: str) -> float | None:
        """Return which part of the issued calls was delivered, over all sessions; 1.0 is all of them."""
        issued, _ = self._counted(call)
        return 1 - self.missing(call) / issued if issued else None

    def delivered(self, workload: str, threads: int) -> Spread | None:
        """Return the calls a second whose events reached the reader."""
        key = loop_key(workload, threads)
        rates = [session.rate[key] for session in self.sessions if key in session.rate]
        share = self.share(DELIVERED[workload, threads])
        if not rates or share is None:
            return None
        spread = Spread.of(rates)
        return Spread(spread.median * share, spread.half * share)

    def lost(self) -> int | None:
        """Return how many events it admits to have lost, over all sessions."""
        counts = [session.lost for session in self.sessions if session.lost is not None]
        return sum(counts) if counts else None

    def lossless(self, call: str) -> bool:
        """Return whether every event of a call arrived, and nothing was said to be lost."""
        return not self.missing(call) and not self.lost()


@dataclass
class Run:
    """A whole benchmark.

    Attributes:
        date: of the run.
        processor: the machine's.
        qemu: its version, and the accelerator.
        kernel: the guest's.
        repetitions: how many sessions each row was to have.
        rows: in the order of the page.
    """

    date: str
    processor: str
    qemu: str
    kernel: str
    repetitions: int
    rows: list[Row]

    @classmethod
    def read(cls, document: dict[str, Any]) -> Run:
        """Return it from what `dataclasses.asdict` made of it."""
        rows = [Row(**{**row, "sessions": [Session(**s) for s in row["sessions"]]}) for row in document["rows"]]
        return cls(**{**document, "rows": rows})

    def row(self, key: str) -> Row | None:
        """Return the row of that key if it was measured."""
        return next((row for row in self.rows if row.key == key and row.sessions), None)

    def plain(self, workload: str, threads: int = 1) -> Spread | None:
        """Return the ns a call takes without any tracer: over all sessions of all rows."""
        key = loop_key(workload, threads)
        values = [s.plain[key] for row in self.rows for s in row.sessions if key in s.plain]
        return Spread.of(values) if values else None


@dataclass(frozen=True)
class Count:
    """What a call takes: the instructions in the smallest of some chunks, each as long as the others.

    Attributes:
        calls: in a chunk.
        least: instructions in the smallest chunk, its loop included.
        agreed: chunks that came to the same, to a tenth of an instruction a call: the others had a tick of the clock
            in them, a device's interrupt, or a reader.
        chunks: how many there were.
    """

    calls: int
    least: int
    agreed: int
    chunks: int

    @classmethod
    def of(cls, chunks: Sequence[tuple[int, int]]) -> Count:
        """Return that of some chunks: the calls and instructions of each."""
        (calls,) = {calls for calls, _ in chunks}
        counts = [count for _, count in chunks]
        least = min(counts)
        return cls(calls, least, sum(count - least < calls / 10 for count in counts), len(counts))


@dataclass
class Counted:
    """The instructions that a tracer adds.

    Attributes:
        key: its name in the JSON file.
        label: its name for people.
        plain: workload -> a call without it.
        traced: workload -> a call with it.
        failure: why it was not counted; empty if it was.
    """

    key: str
    label: str
    plain: dict[str, Count] = field(default_factory=dict)
    traced: dict[str, Count] = field(default_factory=dict)
    failure: str = ""

    def added(self, workload: str) -> float | None:
        """Return the instructions that it adds to a call, or None if that was not counted."""
        if workload not in self.traced:
            return None
        plain, traced = self.plain[workload], self.traced[workload]
        return (traced.least - plain.least) / traced.calls


@dataclass
class Counting:
    """All that was counted.

    Attributes:
        date: of the run.
        qemu: its version.
        kernel: the guest's.
        rows: in the order of the page.
    """

    date: str
    qemu: str
    kernel: str
    rows: list[Counted]

    @classmethod
    def read(cls, document: dict[str, Any]) -> Counting:
        """Return it from what `dataclasses.asdict` made of it."""
        rows = []
        for row in document["rows"]:
            counts = {part: {name: Count(**count) for name, count in row[part].items()} for part in ("plain", "traced")}
            rows.append(Counted(**{**row, **counts}))
        return cls(**{**document, "rows": rows})

    def added(self, key: str, workload: str = "getppid") -> float | None:
        """Return the instructions that a tracer adds to a call if that was counted."""
        return next((row.added(workload) for row in self.rows if row.key == key), None)

"""A collector that is made up: what a test hands to it is what the server sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kmodlab.daemon.ledger import Books
from kmodlab.daemon.lister import LIST, STATS
from kmodlab.daemon.tasks import STATES, Listing, Sample, listing
from kmodlab.daemon.tick import (
    BUCKETS,
    Change,
    Count,
    Events,
    Filter,
    Machine,
    Process,
    ProcessCount,
    Ranked,
    Rates,
    Row,
    Status,
    TaskRates,
    Tick,
)
from kmodlab.errors import KmodlabError, Refused

BEGAN = 1_700_000_000.0


HEAD = "PID      PPID     COMMAND              STATE        VM(KB)     RSS(KB)    THREADS  UID      GID"
TASKS = (
    "1 0 systemd SLEEPING 168000 12000 1 0 0",
    "2 0 kthreadd SLEEPING 0 0 1 0 0",
    "7 2 kworker/0:0 IDLE 0 0 1 0 0",
    "402 1 sshd SLEEPING 15000 9000 1 0 0",
    "977 402 bash SLEEPING 9000 5000 1 1000 1000",
    "1200 977 cc1 RUNNING 90000 60000 4 1000 1000",
    "1201 977 gone ZOMBIE 0 0 1 1000 1000",
)
"""Rows of /proc/task_lister, whose widths nobody reads."""


def listing_text(rows: Sequence[str], head: str = HEAD) -> str:
    """/proc/task_lister with these rows."""
    return "\n".join(["=" * 20, head, "=" * 132, *rows, "=" * 132, f"Total processes listed: {len(rows)}", ""])


def proc_of(folder: Path, stats: str, listing: str) -> Path:
    """A /proc with a task lister that says this."""
    (folder / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (folder / "sys/kernel/random/boot_id").write_text("b007\n")
    (folder / STATS).write_text(stats)
    (folder / LIST).write_text(listing)
    return folder


def row(seq: int = 0, call: str = "openat", status: Status = "LOGGED", **others: Any) -> Row:
    """A call like many."""
    plain = Row(
        epoch=1, cpu=seq % 2, seq=seq, clock=seq * 1000, wall=BEGAN + seq / 1000, pid=977, tid=977, ppid=1, uid=1000,
        comm="cat", call=call, arguments=("AT_FDCWD", f'"/etc/file-{seq}"', "0x0", "00"), status=status, enforced=False,
        returned=3, latency=1500,
    )  # fmt: skip
    return replace(plain, **others)


def histogram(bucket: int, n: int) -> tuple[int, ...]:
    """As many latencies in one bucket."""
    return tuple(n if index == bucket else 0 for index in range(BUCKETS))


def tick(number: int = 1, rows: Sequence[Row] = (), more: int = 0, **others: Any) -> Tick:
    """A tick in which these calls were made, and some more of openat."""
    calls: dict[tuple[str, Status], Count] = {}
    for one in rows:
        key = one.call, one.status
        calls[key] = calls.get(key, Count()) + Count(1, one.status == "FAILED", one.latency or 0)
    if more:
        calls["openat", "LOGGED"] = calls.get(("openat", "LOGGED"), Count()) + Count(
            more, 0, 1500 * more, histogram(11, more)
        )
    n = len(rows) + more
    process = Process(1, 1, 977, "cat", 1000, 1, BEGAN)
    plain = Tick(
        number=number, epoch=1, clock=100 + number / 4, wall=BEGAN + number / 4, seconds=0.25, calls=calls,
        processes=(ProcessCount(process, n, 0, 0, 0),) if n else (), rows=tuple(rows),
        blocked=tuple(one for one in rows if one.status == "BLOCKED"), ledger={"rolled": n},
        cpus={(1, 0): terms(n)} if n else {},
    )  # fmt: skip
    return replace(plain, **others)


def terms(n: int, **others: int) -> dict[str, int]:
    """The ledger of a CPU on which nothing was lost."""
    plain = {"issued": n, "logged": n, "next": n, "received": n, "stored": n, "rolled": n, "kept": n}
    return {**plain, **others}


@dataclass
class FakeSource:
    """The collector: `tell` has it publish a tick."""

    books: Books = field(default_factory=lambda: Books({(1, 0): terms(10), (1, 1): terms(7)}))
    kept: list[Tick] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    ranked: list[Ranked] = field(default_factory=list)
    filters: tuple[str, ...] = ("unlink block",)
    mode: str = "permissive"
    changed: list[Change] = field(default_factory=list)
    task_rows: list[str] = field(default_factory=lambda: list(TASKS))
    task_head: str = HEAD
    no_tasks: KmodlabError | None = None
    task_clock: Callable[[], float] = lambda: BEGAN
    task_fault: Exception | None = None
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    attended: list[bool] = field(default_factory=list)
    _queues: list[asyncio.Queue[Tick]] = field(default_factory=list)

    def tell(self, one: Tick) -> None:
        """Publish, from the event loop."""
        self.kept = [*self.kept, one][-64:]
        for queue in self._queues:
            queue.put_nowait(one)

    def machine(self) -> Machine:
        return Machine(
            host="lab", epoch=1, boot="b007", kernel="6.1.0-x", version="1.0.0", hook="ftrace", mode=self.mode,
            returns=True, filters=self.filters, traced=("openat", "unlink"), recorded_since=BEGAN, raw_since=BEGAN,
            wall=time.time(), clock=100.0, clock_set=0.0, state="recording",
        )  # fmt: skip

    async def subscribe(self) -> AsyncIterator[Tick]:
        queue: asyncio.Queue[Tick] = asyncio.Queue()
        self._queues.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.remove(queue)

    def attend(self, is_watched: bool) -> None:
        self.attended.append(is_watched)

    def ticks(self, since: int) -> list[Tick] | None:
        behind = [one for one in self.kept if one.number > since]
        whole = self.kept and (since >= self.kept[-1].number or (behind and behind[0].number == since + 1))
        return behind if whole else None

    def rates(self, begin: float, end: float, step: float, by: str = "call") -> Rates:
        self.asked.append(("rates", begin, end, step, by))
        steps = round((end - begin) / step)
        return Rates(begin, step, steps, {"openat": tuple(Count(index % 7, 0, 9) for index in range(steps))})

    def top(self, begin: float, end: float, by: str, limit: int = 64) -> list[Ranked]:
        self.asked.append(("top", begin, end, by, limit))
        return self.ranked[:limit]

    def events(
        self,
        begin: float,
        end: float,
        only: Filter | None = None,
        limit: int = 100,
        before: str | None = None,
        matches: Callable[[Row], bool] | None = None,
    ) -> Events:
        del matches
        self.asked.append(("events", begin, end, only, limit, before))
        return Events(tuple(one for one in self.rows if only is None or only.matches(one))[:limit], None)

    def blocked(self, begin: float, end: float, limit: int = 100, before: str | None = None) -> Events:
        self.asked.append(("blocked", begin, end, limit, before))
        return Events(tuple(one for one in self.rows if one.status == "BLOCKED")[:limit], None)

    def changes(self, begin: float, end: float) -> list[Change]:
        self.asked.append(("changes", begin, end))
        return self.changed

    def tasks(self, at: float | None = None) -> Listing:
        self.asked.append(("tasks", at))
        if self.no_tasks and at is None:
            raise self.no_tasks
        if self.task_fault:
            raise self.task_fault
        return listing(listing_text(self.task_rows, self.task_head), self.task_clock() if at is None else at)

    def task_rates(self, begin: float, end: float, step: float) -> TaskRates:
        self.asked.append(("task_rates", begin, end, step))
        steps = round((end - begin) / step)
        known = [float(index) if index % 9 else None for index in range(steps)]
        return TaskRates(
            begin, step, steps, 1, {name: tuple(known) for name in STATES}, tuple(known), tuple(known),
            tuple(None if one is None else int(one) for one in known),
            tuple(None if one is None else step for one in known),
            tuple(None if one is None else 3 * int(one) for one in known),
            tuple(None if one is None else 2 * int(one) for one in known),
        )  # fmt: skip

    def task_sample(self) -> Sample | None:
        return None if self.no_tasks else Sample((1, 3, 0, 1, 2), 900, 120)

    def task_turnover(self) -> tuple[int, int] | None:
        return None if self.no_tasks else (41, 7)

    def ledger(self) -> Books:
        return self.books

    def control(self, command: str, who: str) -> None:
        if command.startswith("nonsense"):
            raise Refused("syscall_tracer: no such system call: nonsense", errno=2, hint="see /proc/kallsyms")
        before = " ".join(self.filters)
        self.filters = (*self.filters, command)
        self.changed.insert(0, Change(BEGAN, who, command, before, " ".join(self.filters)))

"""What the collector says to whoever shows it: ticks as they are made, and answers about the past.

Nothing here reads or writes; both halves of the daemon import it, and neither the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from .ledger import Books
from .tasks import Listing, Sample

Status = Literal["LOGGED", "BLOCKED", "FAILED"]
STATUSES: tuple[Status, ...] = ("LOGGED", "BLOCKED", "FAILED")
"""A call that a filter blocks is BLOCKED, whether or not that was enforced; of the others FAILED returned an error."""

BUCKETS = 64
"""Bucket b of a histogram counts latencies from 2^(b-1) to 2^b - 1 ns; bucket 0 those of 0 ns."""
TOP = 64
"""How many processes are told apart in a tick, a second, a minute, an hour; the rest is `other`."""
BLOCKED_A_SECOND = 200
"""How many blocked calls a second come one by one; further ones are counted."""


@dataclass(frozen=True)
class Row:
    """One call.

    Attributes:
        epoch: see `Machine`.
        cpu: where it was made; with `epoch` and `seq` it is what identifies the call.
        seq: its number on that CPU.
        clock: CLOCK_MONOTONIC at entry, ns.
        wall: the same as time of day, seconds since 1970.
        pid: process; `tid` thread, `ppid` parent process, in the initial PID namespace.
        uid: real user id.
        comm: command name, escaped: it has neither blanks nor control characters.
        call: its name.
        arguments: each as text, escaped, as the kernel's own log has it.
        status: see `STATUSES`.
        enforced: whether it did not run.
        returned: what it returned (an error is `-errno`); None if that is not known.
        latency: from entry to return, ns; None if that is not known.
    """

    epoch: int
    cpu: int
    seq: int
    clock: int
    wall: float
    pid: int
    tid: int
    ppid: int
    uid: int
    comm: str
    call: str
    arguments: tuple[str, ...]
    status: Status
    enforced: bool
    returned: int | None
    latency: int | None


@dataclass(frozen=True)
class Filter:
    """Which rows one wants; None is all.

    Attributes:
        calls: names.
        statuses: see `STATUSES`.
        pid: a process.
        uid: a user.
        comm: a part of the command name.
        text: a part of any argument.
    """

    calls: frozenset[str] | None = None
    statuses: frozenset[str] | None = None
    pid: int | None = None
    uid: int | None = None
    comm: str | None = None
    text: str | None = None

    def matches(self, row: Row) -> bool:
        """Return whether a row is wanted."""
        return (
            (self.calls is None or row.call in self.calls)
            and (self.statuses is None or row.status in self.statuses)
            and (self.pid is None or row.pid == self.pid)
            and (self.uid is None or row.uid == self.uid)
            and (self.comm is None or self.comm in row.comm)
            and (self.text is None or any(self.text in argument for argument in row.arguments))
        )


@dataclass(frozen=True)
class Count:
    """What calls of one kind came to.

    Attributes:
        n: how many.
        errors: how many of them returned an error, those that were not run among them.
        latency_sum: of those whose latency is known, ns.
        latency_histogram: how many of those in each of `BUCKETS`; empty where none is known.
    """

    n: int = 0
    errors: int = 0
    latency_sum: int = 0
    latency_histogram: tuple[int, ...] = ()

    def __add__(self, other: Count) -> Count:
        return Count(
            self.n + other.n,
            self.errors + other.errors,
            self.latency_sum + other.latency_sum,
            _added(self.latency_histogram, other.latency_histogram),
        )


def _added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    if not one or not other:
        return one or other
    return tuple(a + b for a, b in zip(one, other, strict=True))


@dataclass(frozen=True)
class Process:
    """A process, which is another one where its PID was used again.

    Attributes:
        id: in this history, in all its epochs; 0 is all that are not told apart.
        epoch: see `Machine`.
        pid: its PID, 0 for `other`.
        comm: its command name as of the latest call, escaped; `other` for those not told apart.
        uid: real user id, as of the latest call.
        ppid: parent process, as of the latest call.
        first: wall time of its first call here, seconds since 1970.
    """

    id: int
    epoch: int
    pid: int
    comm: str
    uid: int
    ppid: int
    first: float


OTHER = Process(0, 0, 0, "other", 0, 0, 0.0)


@dataclass(frozen=True)
class ProcessCount:
    """What one process did: calls, errors and blocked calls among them, ns in calls whose latency is known."""

    process: Process
    n: int
    errors: int
    blocked: int
    latency_sum: int

    def __add__(self, other: ProcessCount) -> ProcessCount:
        return ProcessCount(
            other.process,
            self.n + other.n,
            self.errors + other.errors,
            self.blocked + other.blocked,
            self.latency_sum + other.latency_sum,
        )


@dataclass(frozen=True)
class Tick:
    """What has happened since the tick before. Sums are exact; rows are the newest ones.

    Attributes:
        number: counts up by one for each tick of this run of the collector, from 1.
        epoch: see `Machine`; another one than in the tick before says that the module, or the machine, began anew.
        clock: seconds on the machine's clock that never steps (CLOCK_BOOTTIME), at the end of the tick: what a live
            chart is drawn over. It begins anew with a boot.
        wall: the same moment as time of day, seconds since 1970. `wall - clock` changes only where the clock was set,
            and then moves all that is shown of this boot.
        seconds: how long it is.
        calls: (name, status) -> what came to that.
        processes: the busiest `TOP`, busiest first, and last, where there are more, `other`.
        rows: the newest calls, oldest first, at most some hundred.
        blocked: every blocked call, oldest first, up to `BLOCKED_A_SECOND`.
        blocked_more: how many blocked calls are not in `blocked`.
        spans: CPU -> the numbers of the calls that this tick is about: from the first to the last, lost ones included.
        ledger: totals as `Books.totals` has them.
        cpus: (epoch, CPU) -> terms as `Books.cpus` has them, of those that have changed.
        behind: seconds between the newest call that was recorded and the newest that this tick counts.
        troubles: what is wrong just now, one sentence each.
    """

    number: int
    epoch: int
    clock: float
    wall: float
    seconds: float
    calls: Mapping[tuple[str, Status], Count] = field(default_factory=dict)
    processes: tuple[ProcessCount, ...] = ()
    rows: Sequence[Row] = ()
    blocked: tuple[Row, ...] = ()
    blocked_more: int = 0
    spans: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    ledger: Mapping[str, int] = field(default_factory=dict)
    cpus: Mapping[tuple[int, int], Mapping[str, int]] = field(default_factory=dict)
    behind: float = 0.0
    troubles: tuple[str, ...] = ()


def merged(older: Tick, newer: Tick, rows: int = 256) -> Tick:
    """Return one tick for two that follow one another, for whoever is too slow for both: only old rows are left out.

    Args:
        older: a tick, or what some were merged into.
        newer: the one behind it; where its epoch is another, the two are not to be merged.
        rows: how many of the newest calls are kept.
    """
    calls = dict(older.calls)
    for key, count in newer.calls.items():
        calls[key] = calls[key] + count if key in calls else count
    blocked = older.blocked + newer.blocked
    kept = blocked[-BLOCKED_A_SECOND:]
    return replace(
        newer,
        seconds=older.seconds + newer.seconds,
        calls=calls,
        processes=busiest(older.processes + newer.processes),
        rows=(*older.rows, *newer.rows)[-rows:],
        blocked=kept,
        blocked_more=older.blocked_more + newer.blocked_more + len(blocked) - len(kept),
        spans={**newer.spans, **{cpu: _joined(span, newer.spans.get(cpu)) for cpu, span in older.spans.items()}},
        cpus={**older.cpus, **newer.cpus},
    )


def _joined(older: tuple[int, int], newer: tuple[int, int] | None) -> tuple[int, int]:
    return older if newer is None else (older[0], newer[1])


def busiest(counts: Sequence[ProcessCount], most: int = TOP) -> tuple[ProcessCount, ...]:
    """Return the counts of each process, busiest first, those beyond the first `most` summed up in `other`."""
    sums: dict[int, ProcessCount] = {}
    for one in counts:
        sums[one.process.id] = sums[one.process.id] + one if one.process.id in sums else one
    other = sums.pop(OTHER.id, ProcessCount(OTHER, 0, 0, 0, 0))
    ranked = sorted(sums.values(), key=lambda one: (-one.n, one.process.id))
    for one in ranked[most:]:
        other = replace(one + other, process=OTHER)
    return (*ranked[:most], *([other] if other.n else []))


@dataclass(frozen=True)
class Machine:
    """The machine that is recorded.

    Attributes:
        host: its name.
        epoch: number of the boot and load of the module, in this history; 0 while nothing was ever recorded.
        boot: boot id.
        kernel: release.
        version: of the module.
        hook: how calls are hooked.
        mode: `enforcing` or `permissive`.
        returns: whether calls are recorded at their return, with what they returned and how long they took.
        filters: each as a command of `/proc/syscall_tracer` has it.
        traced: calls that are traced.
        recorded_since: wall time of the first call in the history, seconds since 1970; None while there is none.
        raw_since: wall time from which on each call is there, not only sums.
        wall: what the machine's clock says now, seconds since 1970; `clock` the same moment as `Tick.clock` has it.
        clock_set: seconds by which the clock was set since the epoch began.
        state: `recording`, `no module`, `no recorder`, `ended` (a recording was played to its end) or `stopped`; or why
            else nothing is recorded.
        fleet: whether it is several hosts shown as one, or one of these.
    """

    host: str
    epoch: int
    boot: str
    kernel: str
    version: str
    hook: str
    mode: str
    returns: bool
    filters: tuple[str, ...]
    traced: tuple[str, ...]
    recorded_since: float | None
    raw_since: float | None
    wall: float
    clock: float
    clock_set: float
    state: str
    fleet: bool = False


@dataclass(frozen=True)
class Hole:
    """A stretch of one CPU's calls that are not there: wall times, the first and last number, how many, and why."""

    begin: float
    end: float
    epoch: int
    cpu: int
    first: int
    last: int
    n: int
    reason: str


@dataclass(frozen=True)
class Rates:
    """Sums over time.

    Attributes:
        begin: wall time of the first step.
        step: seconds.
        steps: how many.
        series: name -> a count for each step.
        holes: stretches in which calls were lost, or not recorded.
        tier: seconds of the roll-up that it was made of: 1, 60 or 3600; `step` is a multiple of it.
        stopped: whether the time limit ended the search: the oldest are missing.
    """

    begin: float
    step: float
    steps: int
    series: Mapping[str, tuple[Count, ...]]
    holes: tuple[Hole, ...] = ()
    tier: int = 1
    stopped: bool = False


@dataclass(frozen=True)
class TaskRates:
    """Tasks over time: means of the samples of each step, None where there was none.

    Attributes:
        begin: wall time of the first step.
        step: seconds.
        steps: how many.
        tier: see `Rates`.
        states: of `tasks.STATES`, how many were in it.
        vm: address space of all, MiB.
        rss: memory of all, MiB.
        rss_most: the most of one sample.
        looked: seconds before it over which it is known what came and went, of the comparisons that end in the step.
        started: tasks that were not there at the look before.
        ended: tasks that are not there any more.
    """

    begin: float
    step: float
    steps: int
    tier: int
    states: Mapping[str, tuple[float | None, ...]]
    vm: tuple[float | None, ...]
    rss: tuple[float | None, ...]
    rss_most: tuple[int | None, ...]
    looked: tuple[float | None, ...]
    started: tuple[int | None, ...]
    ended: tuple[int | None, ...]


@dataclass(frozen=True)
class Ranked:
    """One line of a ranking: a call, a status or a process (`process` is None but for these)."""

    name: str
    count: Count
    blocked: int
    process: Process | None = None


@dataclass(frozen=True)
class Events:
    """Some rows of the past, newest first.

    Attributes:
        rows: the rows.
        before: where to go on, for the next page; None at the end.
        stopped: whether the time limit ended the search before the page was full; `before` goes on from there.
    """

    rows: tuple[Row, ...]
    before: str | None
    stopped: bool = False


@dataclass(frozen=True)
class Change:
    """What was changed through the daemon, or was seen to be: wall time, who, what, before, after."""

    wall: float
    who: str
    what: str
    before: str
    after: str


class Source(Protocol):
    """What the server asks of the collector. Only `subscribe` belongs to the event loop.

    All else may read a file for up to a second: call it by `asyncio.to_thread`. Times are seconds since 1970. Whatever
    cannot be answered is a `KmodlabError` with a hint.
    """

    def machine(self) -> Machine:
        """Return what is recorded, as of now."""

    def subscribe(self) -> AsyncIterator[Tick]:
        """Return the ticks from now on, for as long as one takes them; close it (`aclosing`) when done.

        Who takes none for some seconds gets those merged into one: its `number` is that of the last.
        """

    def attend(self, is_watched: bool) -> None:
        """Say whether somebody looks: if not, ticks are longer, and what is recorded is written less often.

        It does not wait. Until it is said somebody does.
        """

    def ticks(self, since: int) -> list[Tick] | None:
        """Return the ticks behind number `since`, or None where not all of them are there any more (64 are kept)."""

    def rates(self, begin: float, end: float, step: float, by: Literal["call", "status", "process"] = "call") -> Rates:
        """Return the sums for each step; the step is made longer where the roll-ups do not have it."""

    def top(self, begin: float, end: float, by: Literal["call", "status", "process"], limit: int = TOP) -> list[Ranked]:
        """Return the busiest, busiest first."""

    def events(
        self,
        begin: float,
        end: float,
        only: Filter | None = None,
        limit: int = 100,
        before: str | None = None,
        matches: Callable[[Row], bool] | None = None,
    ) -> Events:
        """Return the newest calls of a time that match both, as far as they are still there one by one.

        A process in `only` is found by an index; `matches` is asked of each row.
        """

    def blocked(self, begin: float, end: float, limit: int = 100, before: str | None = None) -> Events:
        """Return the newest blocked calls, which are kept longer than others."""

    def changes(self, begin: float, end: float) -> list[Change]:
        """Return what was changed, newest first."""

    def tasks(self, at: float | None = None) -> Listing:
        """Return all processes: as of now, a second old at most, or as of the snapshot that is nearest to a time."""

    def task_rates(self, begin: float, end: float, step: float) -> TaskRates:
        """Return tasks by state, and their memory, for each step; it is made longer where the sums do not have it."""

    def task_sample(self) -> Sample | None:
        """Return how many tasks are in which state now, or None where nobody sees them."""

    def task_turnover(self) -> tuple[int, int] | None:
        """Return how many tasks have started, and ended, since the server began to look; None where it has not."""

    def ledger(self) -> Books:
        """Return the books, with what was counted in the files themselves."""

    def control(self, command: str, who: str) -> None:
        """Change filters, traced calls or enforcement, by a line of `/proc/syscall_tracer` or `enforce=0|1`.

        Raises:
            KmodlabError: it is refused; with the kernel's sentence.
        """

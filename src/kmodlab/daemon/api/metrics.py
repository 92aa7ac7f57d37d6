"""`/metrics`: the sums and the ledger for Prometheus. The number of series is bounded: calls, CPUs, terms."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder

from ... import __version__
from ..ledger import Books, explained
from ..tasks import STATES, Sample
from ..tick import BUCKETS, Count, Machine
from .hub import Hub

MOST_CALLS = 512
"""More than any kernel has; names beyond are summed up as `other`."""
_BOUNDS = tuple(range(8, 36, 2))
"""Of the buckets of latencies, as powers of two of 1 ns: 255 ns to 17 s."""


@dataclass(frozen=True, eq=False)
class Metrics:
    """What is told, as of one moment."""

    hub: Hub
    machine: Machine
    books: Books
    sessions: int
    tasks: Sample | None = None
    turnover: tuple[int, int] | None = None

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return the page, and its type, in the format that the client accepts."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        encoder, kind = choose_encoder(accept)
        return encoder(registry), kind

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from self._calls()
        yield from self._ledger()
        yield from self._copied()
        yield from self._server()
        yield from self._tasks()
        yield from self._turnover()
        info = {name: getattr(self.machine, name) for name in ("host", "kernel", "version", "hook", "mode", "state")}
        yield InfoMetricFamily("kmodlab_machine", "What is watched, and how.", value={**info, "server": __version__})

    def _calls(self) -> Iterator[Metric]:
        counts = bounded(self.hub.totals)
        n = CounterMetricFamily("kmodlab_calls", "System calls, since the server began.", labels=("call", "status"))
        errors = CounterMetricFamily("kmodlab_errors", "Those that returned an error.", labels=("call", "status"))
        for key, count in counts.items():
            n.add_metric(key, count.n)
            errors.add_metric(key, count.errors)
        yield from (n, errors, _latencies(counts))

    def _ledger(self) -> Iterator[Metric]:
        ledger = GaugeMetricFamily(
            "kmodlab_ledger_records",
            "Where each record of a CPU is now, by the terms of the ledger.",
            labels=("cpu", "term"),
        )
        for (cpu, term), number in _by_cpu(self.books).items():
            ledger.add_metric((cpu, term), number)
        yield ledger
        yield GaugeMetricFamily(
            "kmodlab_ledger_open", "Sums that do not close; 0 is how it has to be.", len(self.books.open())
        )
        yield GaugeMetricFamily("kmodlab_troubles", "What is wrong just now.", len(self.books.troubles))

    def _copied(self) -> Iterator[Metric]:
        """Yield how far the copying into a fleet's database is, where there is one."""
        copied = self.books.copied
        if copied is None:
            return
        yield GaugeMetricFamily(
            "kmodlab_fleet_behind_seconds", "Since all that there was had been copied into the fleet's.", copied.behind
        )
        records = GaugeMetricFamily(
            "kmodlab_fleet_records",
            "Records by what became of their copy: shipped, waiting, or why they were removed before.",
            labels=("fate",),
        )
        for fate, number in {"shipped": copied.shipped, "waiting": copied.waiting, **copied.unshipped}.items():
            records.add_metric((fate,), number)
        yield records
        late = GaugeMetricFamily(
            "kmodlab_fleet_late",
            "Calls whose sums, or which, were removed before they were copied; samples, snapshots of tasks.",
            labels=("kind",),
        )
        for kind in ("s", "m", "h", "blocked", "task_s", "task_m", "task_h", "task_snap"):
            late.add_metric((kind,), copied.late.get(kind, 0))
        yield late

    def _tasks(self) -> Iterator[Metric]:
        """Yield nothing where nobody sees them: that is no zero."""
        if self.tasks is None:
            return
        states = GaugeMetricFamily("kmodlab_tasks", "Processes, by state.", labels=("state",))
        for name, number in zip(STATES, self.tasks.states, strict=True):
            states.add_metric((name,), number)
        memory = GaugeMetricFamily(
            "kmodlab_tasks_memory_bytes", "Address space and memory of all processes, in whole MiB.", labels=("kind",)
        )
        for kind in ("virtual", "resident"):
            memory.add_metric((kind,), (self.tasks.vm if kind == "virtual" else self.tasks.rss) << 20)
        yield from (states, memory)

    def _turnover(self) -> Iterator[Metric]:
        if self.turnover is None:
            return
        for word, number in zip(("started", "ended"), self.turnover, strict=True):
            text = f"Processes seen to have {word}, since the server began; those between two looks are not seen."
            yield CounterMetricFamily(f"kmodlab_tasks_{word}", text, value=number)

    def _server(self) -> Iterator[Metric]:
        sums = self.hub.sums()
        behind = self.hub.latest.behind if self.hub.latest else 0.0
        yield GaugeMetricFamily("kmodlab_behind_seconds", "How far the roll-ups are behind the journal.", behind)
        yield GaugeMetricFamily("kmodlab_streams", "Streams that are open.", len(self.hub.clients))
        yield GaugeMetricFamily("kmodlab_sessions", "Sessions that are open.", self.sessions)
        frames = CounterMetricFamily(
            "kmodlab_frames", "Frames of all streams, by what became of them.", labels=("fate",)
        )
        for fate in ("offered", "sent", "coalesced"):
            frames.add_metric((fate,), getattr(sums, fate))
        yield frames


def bounded(totals: Mapping[tuple[str, str], Count], most: int = MOST_CALLS) -> dict[tuple[str, str], Count]:
    """Return the sums with at most so many names of calls, the first ones that came, and `other`."""
    names = set(itertools.islice(dict.fromkeys(call for call, _ in totals), most))
    found: dict[tuple[str, str], Count] = {}
    for (call, status), count in totals.items():
        key = (call if call in names else "other", status)
        found[key] = found.get(key, Count()) + count
    return found


def _by_cpu(books: Books) -> dict[tuple[str, str], int]:
    """Return each term of each CPU, and what follows from them, summed over the epochs."""
    found: dict[tuple[str, str], int] = {}
    for (_, cpu), terms in books.cpus.items():
        for term, number in explained(terms).items():
            found[str(cpu), term] = found.get((str(cpu), term), 0) + number
    return found


def _latencies(counts: Mapping[tuple[str, str], Count]) -> Metric:
    family = HistogramMetricFamily(
        "kmodlab_latency_seconds", "From entry to return, where that is known.", labels=("call",)
    )
    calls: dict[str, Count] = {}
    for (call, _), count in counts.items():
        calls[call] = calls.get(call, Count()) + count
    for call, count in calls.items():
        if any(count.latency_histogram):
            family.add_metric((call,), _buckets(count.latency_histogram), count.latency_sum / 1e9)
    return family


def _buckets(histogram: tuple[int, ...]) -> list[tuple[str, float]]:
    """Return how many latencies are at most each bound: bucket b ends at 2^b - 1 ns."""
    sums = list(itertools.accumulate(histogram[:BUCKETS]))
    return [*((f"{(2**bound - 1) / 1e9:.9g}", sums[bound]) for bound in _BOUNDS), ("+Inf", sums[-1])]

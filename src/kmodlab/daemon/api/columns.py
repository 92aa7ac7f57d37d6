"""Rows as columns, which is how they go over the wire: a name is said once, not once a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..hosts import HostState
from ..tick import Change, Count, Process, ProcessCount, Ranked, Rates, Row, TaskRates

Columns = dict[str, list[Any]]
_MAPPINGS = ("losses", "unshipped")

ROW = tuple(Row.__dataclass_fields__)
CHANGE = tuple(Change.__dataclass_fields__)
HOST = (
    "name", "level", "seen", "ago", "behind", "complete", "waiting", "boots", "epochs", "rate", "day", "errors",
    "blocked", "kernel", "version", "boot", "began", "lost", "open",
)  # fmt: skip
_PROCESS = ("pid", "comm", "uid", "ppid", "first")


def columns(objects: Iterable[object], names: Iterable[str]) -> Columns:
    """Return the attributes of some objects, a list for each name."""
    kept = list(objects)
    return {name: [getattr(one, name) for one in kept] for name in names}


def rows(found: Iterable[Row]) -> Columns:
    """Return calls."""
    return columns(found, ROW)


def calls(counts: Mapping[tuple[str, Any], Count]) -> Columns:
    """Return what each call came to, by its status; histograms without the zeros at their end."""
    found = columns(counts.values(), ("n", "errors", "latency_sum"))
    found["call"] = [call for call, _ in counts]
    found["status"] = [status for _, status in counts]
    found["histogram"] = [_trimmed(count.latency_histogram) for count in counts.values()]
    return found


def _trimmed(histogram: tuple[int, ...]) -> list[int]:
    end = max((index + 1 for index, n in enumerate(histogram) if n), default=0)
    return list(histogram[:end])


def processes(counts: Iterable[ProcessCount]) -> Columns:
    """Return what each process did."""
    kept = list(counts)
    found = columns(kept, ("n", "errors", "blocked", "latency_sum"))
    return {**found, **columns((one.process for one in kept), ("id", *_PROCESS))}


def ranking(found: Iterable[Ranked]) -> Columns:
    """Return a ranking; what it ranks is no process where `pid` is null."""
    kept = list(found)
    sums = columns((one.count for one in kept), ("n", "errors", "latency_sum"))
    known = [sum(one.count.latency_histogram) for one in kept]
    who = {name: [_of(one.process, name) for one in kept] for name in _PROCESS}
    return {**columns(kept, ("name", "blocked")), **sums, "latency_known": known, **who}


def task_rates(found: TaskRates) -> dict[str, Any]:
    """Return tasks over time."""
    names = ("begin", "step", "steps", "tier", "vm", "rss", "rss_most", "looked", "started", "ended")
    return {**{name: getattr(found, name) for name in names}, "states": dict(found.states)}


def hosts(found: Iterable[HostState]) -> Columns:
    """Return what is known of each host."""
    kept = list(found)
    told = {"troubles": [list(one.troubles()) for one in kept]}
    return {**columns(kept, HOST), **told, **{name: [dict(getattr(one, name)) for one in kept] for name in _MAPPINGS}}


def _of(process: Process | None, name: str) -> object:
    return None if process is None else getattr(process, name)


def rates(found: Rates) -> dict[str, Any]:
    """Return sums over time."""
    series = [
        {"name": name, **columns(counts, ("n", "errors", "latency_sum"))} for name, counts in found.series.items()
    ]
    holes = columns(found.holes, ("begin", "end", "epoch", "cpu", "first", "last", "n", "reason"))
    plain = {name: getattr(found, name) for name in ("begin", "step", "steps", "tier", "stopped")}
    return {**plain, "series": series, "holes": holes}

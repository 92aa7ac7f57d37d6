"""What the tracer was to cost, and whether it does: the aims of the project, held against a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.figures import REFERENCE_NS, Counting, Row, Run, Spread

#: ns that a complete record may add, on the machine on which a plain getppid takes REFERENCE_NS
RECORD_NS, ENFORCING_NS = 220.0, 280.0
#: instructions that it may add
RECORD_INSTRUCTIONS, ENFORCING_INSTRUCTIONS = 150, 200
#: how far the quartiles of a plain getppid may be from its median on a machine that does nothing else
QUIET = 0.1


@dataclass(frozen=True)
class Finding:
    """One aim.

    Attributes:
        aim: what was to be.
        measured: what is.
        holds: whether that is so; None where it was not measured.
    """

    aim: str
    measured: str
    holds: bool | None

    @property
    def verdict(self) -> str:
        """One word or two for `holds`."""
        return {True: "holds", False: "does not hold", None: "not measured"}[self.holds]


_ABSENT = "-"


def findings(run: Run) -> list[Finding]:
    """Return every aim with its verdict, and how far the record is from the physical limit."""
    return [
        _cost(run, "ftrace", "a complete record", RECORD_NS),
        _cost(run, "enforcing", "while enforcing", ENFORCING_NS),
        _cheaper_than_counting(run),
        *_untraced(run),
        *_threads(run),
        _lossless_openat(run),
        _faster_than_trace_cmd(run),
    ]


def scale(run: Run) -> float | None:
    """Return how many times slower than the aims' machine this one makes a plain getppid."""
    plain = run.plain("getppid")
    return plain.median / REFERENCE_NS if plain else None


def _added(run: Run, key: str, workload: str = "getppid", threads: int = 1) -> Spread | None:
    row = run.row(key)
    return row.added(workload, threads) if row else None


def _ns(spread: Spread) -> str:
    return f"{spread.median:+.0f} ± {spread.half:.0f} ns"


def _cost(run: Run, key: str, what: str, limit: float) -> Finding:
    factor, added = scale(run), _added(run, key)
    aim = f"{what}: at most +{limit:.0f} ns a call where getppid takes {REFERENCE_NS:.0f}"
    if factor is None or added is None:
        return Finding(aim, _ABSENT, None)
    measured = f"{_ns(added)}; scaled by {factor:.2f} the aim is +{limit * factor:.0f}"
    return Finding(aim, measured, added.median <= limit * factor)


def _cheapest(run: Run, what: str) -> tuple[Row, Spread] | None:
    found = [(row, added) for row in run.rows if row.key.endswith(what) and (added := row.added("getppid", 1))]
    return min(found, key=lambda pair: pair[1].median) if found else None


def _cheaper_than_counting(run: Run) -> Finding:
    aim = "a complete record costs less than the cheapest peer's mere counting"
    ours, cheapest = _added(run, "ftrace"), _cheapest(run, "-count")
    if ours is None or cheapest is None:
        return Finding(aim, _ABSENT, None)
    row, peer = cheapest
    return Finding(aim, f"{_ns(ours)} against {_ns(peer)} ({row.label})", ours.median < peer.median)


def _untraced(run: Run) -> Iterator[Finding]:
    """Within noise of zero: the median is above it by no more than the quartiles are apart, or 2 % of the call."""
    for key in ("ftrace", "kprobe"):
        aim = f"calls that are not traced cost nothing (hook={key})"
        added, plain = _added(run, key, "untraced"), run.plain("untraced")
        if added is None or plain is None:
            yield Finding(aim, _ABSENT, None)
            continue
        noise = max(added.half, 0.02 * plain.median)
        yield Finding(aim, f"{_ns(added)} on {plain.median:.0f} ns", added.median <= noise)


def _threads(run: Run) -> Iterator[Finding]:
    """As cheap each: the two medians are no farther apart than the quartiles reach, or a tenth."""
    for key in ("ftrace", "kprobe"):
        aim = f"two threads on two CPUs, as cheap each as one alone (hook={key})"
        alone, together = _added(run, key), _added(run, key, threads=2)
        if alone is None or together is None:
            yield Finding(aim, _ABSENT, None)
            continue
        noise = max(alone.half + together.half, 0.1 * alone.median)
        yield Finding(aim, f"{_ns(together)} against {_ns(alone)}", together.median - alone.median <= noise)


def _lossless_openat(run: Run) -> Finding:
    aim = "netlink to a Python reader loses nothing at the full speed of the openat loop"
    row = run.row("netlink")
    rate = row.delivered("openat", 1) if row else None
    if row is None or rate is None:
        return Finding(aim, _ABSENT, None)
    measured = (
        f"{rate.median:,.0f} events/s, {row.missing('openat') + row.missing('close')} missing, {row.lost() or 0} lost"
    )
    return Finding(aim, measured, row.lossless("openat") and row.lossless("close"))


def _faster_than_trace_cmd(run: Run) -> Finding:
    aim = "netlink to a Python reader delivers at least as many getppid events a second, lossless, as trace-cmd"
    ours, peer = run.row("netlink"), run.row("trace-cmd")
    rates = [row.delivered("getppid", 1) if row else None for row in (ours, peer)]
    if ours is None or peer is None or rates[0] is None or rates[1] is None:
        return Finding(aim, _ABSENT, None)
    measured = (
        f"{rates[0].median:,.0f} ({ours.lost() or 0} lost) against {rates[1].median:,.0f} ({peer.lost() or 0} lost)"
    )
    return Finding(aim, measured, ours.lossless("getppid") and rates[0].median >= rates[1].median)


def limits(run: Run) -> list[str]:
    """Return sentences on the limits: whether the run was quiet, and what the record costs on top of an empty hook."""
    said = []
    plain = run.plain("getppid")
    if plain and plain.half > QUIET * plain.median:
        said.append(
            f"The machine was busy with something else: a plain getppid took {plain.median:.0f} ± {plain.half:.0f} ns. "
            "The verdicts mean little."
        )
    for kind in ("ftrace", "kprobe"):
        floor, ours = _added(run, f"floor-{kind}"), _added(run, kind)
        if floor and ours:
            said.append(
                f"An empty {kind} handler costs {_ns(floor)}; the complete record by that hook {_ns(ours)}, "
                f"{ours.median - floor.median:.0f} ns more."
            )
    record, enforcing, factor = _added(run, "ftrace"), _added(run, "enforcing"), scale(run)
    if record and enforcing and factor:
        said.append(
            f"A filter that looks at a call and lets it pass costs {enforcing.median - record.median:.0f} ns more "
            f"than the record alone; the aims leave {(ENFORCING_NS - RECORD_NS) * factor:.0f} for it."
        )
    return said


def counted_findings(counting: Counting) -> list[Finding]:
    """Return the aims that are told in instructions, with their verdicts."""
    return [
        _counted(counting, "ftrace", "a complete record", RECORD_INSTRUCTIONS),
        _counted(counting, "enforcing", "while enforcing", ENFORCING_INSTRUCTIONS),
        *(_counted(counting, key, f"a call that is not traced ({key})", 0, "untraced") for key in ("ftrace", "kprobe")),
    ]


def _counted(counting: Counting, key: str, what: str, limit: int, workload: str = "getppid") -> Finding:
    aim, added = f"{what}: at most +{limit} instructions", counting.added(key, workload)
    if added is None:
        return Finding(aim, _ABSENT, None)
    return Finding(aim, f"{added:+,.0f}", round(added) <= limit)


def counted_limits(counting: Counting) -> list[str]:
    """Return sentences on the physical limit: what is spent before a record begins, and how far ours is from it."""
    said = []
    floor, clock, record = (counting.added(key) for key in ("floor-ftrace", "floor-clock", "ftrace"))
    if floor is not None and clock is not None and record is not None:
        said.append(
            f"The physical limit: an empty ftrace handler adds {floor:,.0f}, and one that tells when the call was "
            f"{clock:,.0f}. The complete record by that hook, which has the call's arguments, task, user and name, "
            f"and a place in the log, adds {record - clock:,.0f} to that."
        )
    floor, kprobe = counting.added("floor-kprobe"), counting.added("kprobe")
    if floor is not None and kprobe is not None:
        said.append(
            f"An empty kprobe handler adds {floor:,.0f}, the complete record by that hook {kprobe:,.0f}: "
            "ftrace holds the entry point beside the kprobe, so ftrace has two to call each time."
        )
    enforcing = counting.added("enforcing")
    if record is not None and enforcing is not None:
        said.append(f"A filter that looks at a call and lets it pass adds {enforcing - record:,.0f} to the record.")
    return said

"""The law: each call is counted once. issued = logged + overwritten + dropped, on each CPU."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from .machine import Machine
from .modules import find_module, put_back, require
from .parameters import set_parameter
from .readers.tracer_page import Stats, page_of, stats_of
from .readers.wording import listed, require_that
from .script import TRACER, TRACER_STATS, call, read, step, write

pytestmark = pytest.mark.syscall_tracer

ALONE = write("clear", "untrace open read write close unlink", "trace =timer_getoverrun")
AS_BEFORE = write("untrace =timer_getoverrun", "trace open read write close unlink")


def counted(before: Stats, after: Stats) -> int:
    """Return how many calls were counted between two statistics, those the kernel kept from the probe included."""
    return sum(after.counters[name] - before.counters[name] for name in ("Issued", "Missed"))


def span(numbers: Sequence[int]) -> str:
    """Return the first and the last of some numbers."""
    return f"{numbers[0]} to {numbers[-1]}" if numbers else "of none"


@pytest.mark.parametrize("returns", [0, 1])
def test_a_million_calls_are_counted_exactly(tracer: Machine, returns: int) -> None:
    """A million calls of four processes on all CPUs: the sum closes exactly, and each CPU's own."""
    made = 1_000_000 if not returns else 100_000
    before, after = 2, 4
    answers = tracer.play(
        ALONE,
        set_parameter("returns", returns),
        read(TRACER_STATS),
        step("flood", made // 4, 4),
        read(TRACER_STATS),
        set_parameter("returns", 0),
        AS_BEFORE,
    )
    first, last = (stats_of(answers[i]) for i in (before, after))
    assert answers[3]["made"] == made, "all calls were made"
    asked = "After `untrace` of all others only timer_getoverrun is traced."
    require_that(last.traced == {"timer_getoverrun"}, asked, f"`Traced:` has {listed(sorted(last.traced))}.")
    dropped = last.counters["Dropped"] - first.counters["Dropped"]
    require_that(
        dropped == 0, "Calls on other CPUs drop no call.", f"`Dropped` grew by {dropped}.", "a log for each CPU"
    )
    asked, total = f"Of {made} calls on all CPUs each is counted once.", counted(first, last)
    require_that(total == made, asked, f"`Issued` and `Missed` grew by {total}.", "a counter for each CPU")


def test_records_are_numbered_on_their_cpu(tracer: Machine) -> None:
    """The rows of a CPU are the records that are logged there, with consecutive numbers up to issued."""
    *_, page, counts, _ = tracer.play(
        write("clear"), call("close:300,pread64:200", "count"), ALONE, read(TRACER), read(TRACER_STATS), AS_BEFORE
    )
    seen, stats = page_of(page), stats_of(counts)
    for cpu, law in stats.cpus.items():
        numbers = sorted(row.seq for row in seen.rows if row.cpu == cpu)
        wanted = range(law.issued - law.logged, law.issued)
        asked = f"CPU {cpu} has issued {law.issued} and logged {law.logged}: its rows have SEQ {span(wanted)}."
        there = f"It has {len(numbers)} rows, with SEQ {span(numbers)}."
        # Of the range no more than there are rows: a module may print any number.
        right = len(numbers) == law.logged and numbers == list(wanted[: len(numbers)])
        require_that(right, asked, there, "SEQ counts from 0")
    there = f"There are {len(seen.rows)} rows, and `Logged: {stats.counters['Logged']}`."
    require_that(len(seen.rows) == stats.counters["Logged"], "`Logged` is the number of rows.", there)


def test_a_small_log_closes_as_well(machine: Machine) -> None:
    """With log_entries=16 nearly all calls are overwritten, and each of them is counted."""
    module = find_module(machine, "syscall_tracer")
    try:
        require(*machine.play(module.unload(), module.load("log_entries=16")))
        _, before, flood, after, _ = machine.play(
            ALONE, read(TRACER_STATS), step("flood", 2500, 4), read(TRACER_STATS), AS_BEFORE
        )
        first, last = stats_of(before), stats_of(after)
        assert counted(first, last) == flood["made"] == 10_000
        assert last.overwritten - first.overwritten >= 10_000 - 16 * len(last.cpus)
        assert {law.logged for law in last.cpus.values() if law.issued >= 16} == {16}
    finally:
        put_back(machine, module)

"""The law: each call is counted once. issued = logged + overwritten + dropped, on each CPU."""

from __future__ import annotations

import pytest

from .machine import Machine
from .modules import find_module, put_back, require
from .parameters import set_parameter
from .script import TRACER, TRACER_STATS, call, read, step, write
from .tracer_page import Stats, parse_page, parse_stats

pytestmark = pytest.mark.syscall_tracer

ALONE = write("clear", "untrace open read write close unlink", "trace =timer_getoverrun")
AS_BEFORE = write("untrace =timer_getoverrun", "trace open read write close unlink")


def counted(before: Stats, after: Stats) -> int:
    """Return how many calls were counted between two statistics, those the kernel kept from the probe included."""
    return sum(after.counters[name] - before.counters[name] for name in ("Issued", "Missed"))


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
    first, last = (parse_stats(answers[i]["text"]) for i in (before, after))
    assert last.traced == {"timer_getoverrun"}, "others would be counted too"
    assert answers[3]["made"] == made
    assert last.counters["Dropped"] == first.counters["Dropped"]
    assert counted(first, last) == made


def test_records_are_numbered_on_their_cpu(tracer: Machine) -> None:
    """The rows of a CPU are the records that are logged there, with consecutive numbers up to issued."""
    *_, page, counts, _ = tracer.play(
        write("clear"), call("close:300,pread64:200", "count"), ALONE, read(TRACER), read(TRACER_STATS), AS_BEFORE
    )
    seen, stats = parse_page(page["text"]), parse_stats(counts["text"])
    for cpu, law in stats.cpus.items():
        numbers = [row.seq for row in seen.rows if row.cpu == cpu]
        assert sorted(numbers) == list(range(law.issued - law.logged, law.issued)), f"CPU {cpu}"
    assert len(seen.rows) == stats.counters["Logged"]


def test_a_small_log_closes_as_well(machine: Machine) -> None:
    """With log_entries=16 nearly all calls are overwritten, and each of them is counted."""
    module = find_module(machine, "syscall_tracer")
    try:
        require(*machine.play(module.unload(), module.load("log_entries=16")))
        _, before, flood, after, _ = machine.play(
            ALONE, read(TRACER_STATS), step("flood", 2500, 4), read(TRACER_STATS), AS_BEFORE
        )
        first, last = parse_stats(before["text"]), parse_stats(after["text"])
        assert counted(first, last) == flood["made"] == 10_000
        assert last.overwritten - first.overwritten >= 10_000 - 16 * len(last.cpus)
        assert {law.logged for law in last.cpus.values() if law.issued >= 16} == {16}
    finally:
        put_back(machine, module)

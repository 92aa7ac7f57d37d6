"""returns=1: what calls returned, and how long they took."""

from __future__ import annotations

import pytest

from .machine import Machine
from .modules import find_module, put_back, require
from .parameters import PARAMETERS, set_parameter
from .readers.tracer_page import parse_page, parse_stats
from .script import TRACER, TRACER_STATS, call, nonce, read, step, write

pytestmark = pytest.mark.syscall_tracer

SLEEPERS = (
    'all=; for i in 1 2 3; do sleep 1000 & all="$all $!"; done; '
    "until [ $(for each in $all; do cat /proc/$each/status; done 2>/dev/null | grep -c '^State:.S') -ge 3 ]; "
    "do :; done; "
)
FLIGHT = "/run/kmodlab-flight"


def test_return_values_and_latencies_are_recorded(tracer: Machine) -> None:
    """With returns=1 a record has the return value, negative for an error, and the latency; without, neither."""
    comm, before = nonce("back"), nonce("before")
    *_, page, off, _ = tracer.play(
        write("clear"), call("read", before), set_parameter("returns", 1), call("openat,read,unlinkat:2", comm),
        read(TRACER), set_parameter("returns", 0), write("clear"),
    )  # fmt: skip
    assert off["errno"] == 0
    rows = parse_page(page["text"])
    made = rows.of(comm)
    assert [(row.call, row.returned) for row in made][1:] == [("read", 8), ("unlinkat", 0), ("unlinkat", -2)]
    assert (made[0].returned or 0) > 2
    assert all(row.latency for row in made)
    assert (rows.only(before).returned, rows.only(before).latency) == (None, None)


def test_the_latency_is_the_time_the_call_took(tracer: Machine) -> None:
    """A call that sleeps half a second has a latency of at least that."""
    *_, page, _, _ = tracer.play(
        write("clear", "trace nanosleep"), set_parameter("returns", 1), step("sh", "sleep 0.5"), read(TRACER),
        set_parameter("returns", 0), write("untrace nanosleep"),
    )  # fmt: skip
    (latency,) = (row.latency for row in parse_page(page["text"]).of("sleep") if row.call == "clock_nanosleep")
    assert (latency or 0) >= 500_000_000


def test_calls_in_flight_are_counted_and_orphaned(tracer: Machine) -> None:
    """In flight counts calls that have not returned; when returns=1 ends they are Orphaned, and return all the same."""
    wake = "for p in $all; do kill $p; wait $p; echo $?; done"
    shell = f"{SLEEPERS} cat {TRACER_STATS} >{FLIGHT}; echo 0 >{PARAMETERS}/returns; {wake}"
    *_, slept, during, after, _ = tracer.play(
        write("clear", "trace nanosleep", "untrace open read write close unlink"), set_parameter("returns", 1),
        step("sh", shell), read(FLIGHT), read(TRACER_STATS),
        write("untrace nanosleep", "trace open read write close unlink"),
    )  # fmt: skip
    assert slept["text"].replace("Terminated\n", "") == "143\n" * 3, "each was ended by the signal, and by nothing else"
    flying, landed = parse_stats(during["text"]).counters, parse_stats(after["text"]).counters
    assert flying["In flight"] >= 3
    assert landed["In flight"] == 0
    assert landed["Orphaned"] - flying["Orphaned"] >= 3


def test_more_calls_than_returns_max_are_recorded_at_entry(machine: Machine) -> None:
    """With returns_max=1 a second sleeper is recorded at entry without a return value: Returns missed counts it."""
    module = find_module(machine, "syscall_tracer")
    try:
        require(*machine.play(module.unload(), module.load("returns_max=1", "returns=1")))
        *_, page, counts = machine.play(
            write("trace nanosleep"), step("sh", SLEEPERS + "kill $all; wait"), read(TRACER), read(TRACER_STATS)
        )
        made = [row.returned for row in parse_page(page["text"]).of("sleep") if row.call == "clock_nanosleep"]
        assert sorted(value is None for value in made) == [False, True, True]
        assert parse_stats(counts["text"]).counters["Returns missed"] >= 2
    finally:
        put_back(machine, module)


def test_execve_returns(tracer: Machine) -> None:
    """With returns=1 execve is recorded at its return: 0 in the new image, the error in the old one."""
    comm = nonce("exec")
    *_, page, off, _ = tracer.play(
        write("clear", "trace =execve"), set_parameter("returns", 1), step("sh", "exec /bin/true"),
        call("execve", comm), read(TRACER), set_parameter("returns", 0), write("untrace =execve"),
    )  # fmt: skip
    assert off["errno"] == 0
    rows = [row for row in parse_page(page["text"]).rows if row.call == "execve"]
    assert [row.returned for row in rows if row.arguments[0] == '"/bin/true"'] == [0]
    assert [(row.returned, bool(row.latency)) for row in rows if row.comm == comm] == [(-13, True)]


def test_what_does_not_return_is_recorded_at_entry(tracer: Machine) -> None:
    """With returns=1 exit_group is recorded all the same, without a return value, and is not in flight."""
    *_, page, counts, off, _ = tracer.play(
        write("clear", "untrace open read write close unlink", "trace =exit_group"), set_parameter("returns", 1),
        step("sh", "exec /bin/true"), read(TRACER), read(TRACER_STATS), set_parameter("returns", 0),
        write("untrace =exit_group", "trace open read write close unlink"),
    )  # fmt: skip
    assert off["errno"] == 0
    rows = [row for row in parse_page(page["text"]).of("true") if row.call == "exit_group"]
    assert [(row.returned, row.latency, row.args) for row in rows[-1:]] == [(None, None, "0")]
    assert parse_stats(counts["text"]).counters["In flight"] == 0


def test_the_longest_data_goes_with_returns(machine: Machine) -> None:
    """With data_bytes=3968, the most there is, calls can be recorded at their return as well."""
    module = find_module(machine, "syscall_tracer")
    comm = nonce("long")
    *loaded, _, page = machine.play(
        module.unload(), module.load("data_bytes=3968", "returns=1"), call("openat", comm), read(TRACER)
    )
    put_back(machine, module)
    require(*loaded)
    assert (parse_page(page["text"]).only(comm).returned or 0) > 2

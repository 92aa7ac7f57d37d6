"""Roll-ups: exact by call, bounded by process; PIDs used again, clocks that are set, modules that are loaded again."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from kmodlab.daemon import histogram
from kmodlab.daemon.items import Changed as ChangedItem
from kmodlab.daemon.items import Item, Settings
from kmodlab.daemon.pulse import AHEAD, Pulse
from kmodlab.daemon.queries import History
from kmodlab.daemon.roller import Roller
from kmodlab.daemon.store import TIERS
from kmodlab.daemon.tick import BUCKETS, TOP, Count, Filter

from .daemon_tape import NS, PATIENCE, WALL, Tape, batch, begin, calls, clock, drain, ids, record, roll, write

YEAR = 365 * 86400


def wall(t: float) -> float:
    """Return the time of day `t` seconds after the machine has booted."""
    return WALL / NS + t


def test_sums_by_call_and_status_are_exact(tmp_path: Path) -> None:
    tape = Tape()
    write(tmp_path, [*tape.begin(), *tape.batches(30_000)])
    roll(tmp_path)
    history = History(tmp_path, PATIENCE)
    for tier in TIERS:
        base = sqlite3.connect(tmp_path / "index.db")
        names = {one.id: one.name for one in calls()}
        rows = base.execute(f"select call, status, sum(n), sum(err) from roll_{tier} group by call, status").fetchall()
        base.close()
        kinds = ("LOGGED", "BLOCKED", "FAILED")
        assert {(names[call], kinds[status]): n for call, status, n, _ in rows} == dict(tape.calls)
        assert all(n == err for _, status, n, err in rows if status)
    rates = history.rates(wall(99), wall(105), 1)
    assert sum(count.n for series in rates.series.values() for count in series) == 30_000
    assert (rates.tier, rates.step) == (1, 1)
    by_status = history.rates(wall(99), wall(105), 1, "status").series
    assert set(by_status) == {"LOGGED", "BLOCKED", "FAILED"}


def test_latencies_are_counted_by_their_powers_of_two(tmp_path: Path) -> None:
    latencies = [0, 1, 2, 3, 4, 1000, 1 << 40]
    records = [record(ids()["read"], seq=seq, at=(1 << 41) + seq, latency=each) for seq, each in enumerate(latencies)]
    records.append(record(ids()["read"], seq=7, at=(1 << 41) + 9, returned=False))
    write(tmp_path, [begin(), clock(1 << 41), batch(records)])
    roll(tmp_path)
    (one,) = History(tmp_path, PATIENCE).top(0, 9e9, "call")
    expected = [0] * BUCKETS
    for each in latencies:
        expected[each.bit_length()] += 1
    assert one.count == Count(8, 0, sum(latencies), tuple(expected))


def test_histograms_add_up_whatever_is_in_them() -> None:
    rng = random.Random(3)  # noqa: S311
    both = [[rng.choice((0, 0, 1, 127, 128, 1 << 40)) for _ in range(BUCKETS)] for _ in range(2)]
    encoded = [histogram.encode(each) for each in both]
    assert histogram.summed(encoded) == [a + b for a, b in zip(*both, strict=True)]
    assert histogram.summed([histogram.both(*encoded)]) == histogram.summed(encoded)
    assert histogram.both(encoded[0], b"") == histogram.both(b"", encoded[0]) == encoded[0]
    assert histogram.encode([0] * BUCKETS) == b""


def crowd(processes: int, seconds: int, first: int = 0) -> list[Item]:
    """Return batches of that many processes in each second; the lower the PID, the more calls it makes."""
    found: list[Item] = []
    seq = first
    for second in range(seconds):
        records: list[bytes] = []
        for pid in range(processes):
            for _ in range(1 + (pid < 100) * (100 - pid) // 10):
                at = (1000 + second) * NS + len(records) * 1000
                records.append(record(ids()["read"], seq=seq, at=at, pid=1000 + pid, ppid=1, blocked=pid == 3))
                seq += 1
        found.append(batch(records))
    return found


def test_sums_by_process_are_bounded_and_lose_nothing(tmp_path: Path) -> None:
    """Of 2,000 processes a second the busiest 64 are told apart; what the others did is in `other`."""
    write(tmp_path, [begin(issued={0: 0}), clock(999 * NS), *crowd(2000, 5)])
    roller = Roller(tmp_path)
    tick_sums = 0
    while roller.step(1):
        tick = roller.tick()
        assert len(tick.processes) <= TOP + 1
        assert sum(one.n for one in tick.processes) == sum(count.n for count in tick.calls.values())
        tick_sums += sum(one.n for one in tick.processes)
    roller.close()
    base = sqlite3.connect(tmp_path / "index.db")
    for tier in TIERS:
        buckets = base.execute(f"select t, count(*), sum(n) from proc_{tier} group by t order by t").fetchall()
        sums = base.execute(f"select t, sum(n) from roll_{tier} group by t order by t").fetchall()
        assert [(t, n) for t, _, n in buckets] == sums
        if tier == "s":
            assert [count for _, count, _ in buckets[:-1]] == [TOP + 1] * 4
        assert max(count for _, count, _ in buckets) <= 8 * TOP + 1
    base.close()
    found = History(tmp_path, PATIENCE).top(0, 9e9, "process", 5)
    assert [one.process.pid for one in found if one.process] == [1000, 1001, 1002, 1003, 1004]
    assert found[3].blocked == found[3].count.n == 5 * 10
    assert tick_sums == sum(one.count.n for one in History(tmp_path, PATIENCE).top(0, 9e9, "process", 9999))


def _process(seq: int, at: float, comm: bytes, ppid: int, call: str = "read", uid: int = 0, tid: int = 0) -> bytes:
    more = {"returned": False} if call == "exit_group" else {}
    return record(ids()[call], seq=seq, at=int(at * NS), pid=700, ppid=ppid, comm=comm, uid=uid, tid=tid, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param([(5, b"sh", 9, "exit_group"), (7.5, b"sh", 9)], 2, id="exited-then-the-same-name-and-parent"),
        pytest.param([(5, b"sh", 9), (6, b"cc", 11)], 2, id="another-name-and-parent"),
        pytest.param([(5, b"sh", 9), (6, b"cc", 9)], 1, id="executed-another-program"),
        pytest.param([(5, b"sh", 9), (6, b"sh", 1)], 1, id="orphan"),
        pytest.param([(5, b"sh", 9), (6, b"sh", 9, "read", 33)], 1, id="became-another-user"),
        pytest.param([(5, b"sh", 9, "exit_group"), (5.1, b"sh", 9, "read", 0, 701)], 1, id="threads-that-linger"),
        pytest.param([(5, b"sh", 9), (6, b"pool-1", 9, "read", 0, 705), (7, b"sh", 9)], 1, id="threads-with-names"),
    ],
)
def test_a_pid_that_is_used_again_is_another_process(
    records: list[tuple[object, ...]], expected: int, tmp_path: Path
) -> None:
    """Whether or not the roller was started again in between."""
    for restarted in (False, True):
        folder = tmp_path / str(restarted)
        raws = [_process(seq, *each) for seq, each in enumerate(records)]  # type: ignore[arg-type]
        write(folder, [begin(issued={0: 0}), clock(NS)])
        for raw in raws:
            write(folder, [batch([raw])])
            if restarted:
                roll(folder)
        roll(folder)
        found = [one.process for one in History(folder, PATIENCE).top(0, 9e9, "process") if one.process]
        assert len(found) == expected
        assert {one.pid for one in found} == {700}
        assert History(folder, PATIENCE).ledger().closed


# -- clocks ----------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_leaves_neither_hole_nor_overlap(tmp_path: Path) -> None:
    """Back a year, ahead a year: a live chart is drawn over `clock`, and each second of it has its calls once."""
    shifts = [0, -YEAR * NS, YEAR * NS, 0]
    seq, parts, ticks = 0, [], []
    for part, shift in enumerate(shifts):
        items: list[Item] = [clock((100 + 10 * part) * NS, shift)]
        for second in range(100 + 10 * part, 110 + 10 * part):
            items.append(batch([record(ids()["read"], seq=seq + each, at=second * NS + each) for each in range(50)]))
            seq += 50
        parts.append(items)
    write(tmp_path, [begin(issued={0: 0})])
    roller = Roller(tmp_path, clock=iter(range(10_000)).__next__)
    for items in parts:
        write(tmp_path, items)
        while roller.step(4):
            ticks.append(roller.tick())
    roller.close()
    clocks = [tick.clock for tick in ticks if tick.clock]
    assert clocks == sorted(clocks)
    assert clocks[-1] - clocks[0] < 60, "the chart is as long as the time that has passed"
    assert sum(count.n for tick in ticks for count in tick.calls.values()) == seq
    offsets = [round(tick.wall - tick.clock - WALL / NS) for tick in ticks if tick.clock]
    assert sorted(set(offsets)) == [-YEAR, 0, YEAR]
    rates = History(tmp_path, PATIENCE).rates(wall(95), wall(145), 1)
    counts = [count.n for count in rates.series["read"]]
    assert counts[5:45] == [50] * 40
    assert sum(counts) == seq
    assert rates.holes == ()


def test_the_clock_runs_on_where_nothing_is_called() -> None:
    """A feed tells the time each ten seconds; a chart is drawn over the seconds in between, too."""
    pulse = Pulse()
    pulse.at(100 * NS, now=5.0)
    assert [pulse.clock(5.0 + later) for later in range(12)] == [100.0 + later for later in range(12)]
    pulse.at(110 * NS, now=15.5)
    assert pulse.clock(16.0) == 111.0, "it never goes back"
    assert pulse.clock(99.0) == 110.0 + AHEAD, "a machine of which nothing is heard stands still in the end"


def test_time_that_the_machine_slept_is_there_as_a_gap(tmp_path: Path) -> None:
    """CLOCK_MONOTONIC stands still meanwhile, and the time of day goes on: that is no clock that was set."""

    def some(second: int, first: int) -> Item:
        return batch([record(ids()["read"], seq=first + each, at=second * NS + each) for each in range(10)])

    hour = 3600 * NS
    write(tmp_path, [begin(issued={0: 0}), clock(10 * NS), some(10, 0), clock(11 * NS, asleep=hour), some(11, 10)])
    roller = roll(tmp_path)
    assert roller.epoch
    assert roller.epoch.set_by == 0
    rows = list(History(tmp_path, PATIENCE).export(0, 9e9))
    assert [round(row.wall - WALL / NS) for row in rows] == [10] * 10 + [3611] * 10


def test_a_module_that_is_loaded_again_keeps_the_names_of_its_calls(tmp_path: Path) -> None:
    """A new epoch: other ids, numbers from zero; nothing of one is shown under a name of the other."""
    table = ids(3)
    other = ids(40)
    other["openat"], other["read"] = other["read"], other["openat"]
    again = tuple(replace(one, id=other[one.name]) for one in calls(40))
    first = [record(table["openat"], seq=seq, at=20 * NS + seq, path=b"/one", pid=500) for seq in range(30)]
    second = [record(other["openat"], seq=seq, at=40 * NS + seq, path=b"/two", pid=500) for seq in range(20)]
    load = replace(begin("boot-1/2", {0: 0}), calls=again)
    write(tmp_path, [begin("boot-1/1", {0: 0}), clock(19 * NS), batch(first), load, clock(39 * NS), batch(second)])
    reboot = begin("boot-2/1", {0: 0}, boot="boot-2")
    third = [record(table["read"], seq=seq, at=2 * NS + seq) for seq in range(10)]
    write(tmp_path, [reboot, clock(NS, shift=100 * NS), batch(third)])
    roller = Roller(tmp_path)
    drain(roller)
    tick = roller.tick()
    assert tick.epoch == 3
    assert tick.clock < 5, "the clock of a boot begins anew"
    assert {key: count.n for key, count in tick.calls.items()} == {
        ("openat", "LOGGED"): 20,
        ("read", "LOGGED"): 10,
    } or (sum(count.n for count in tick.calls.values()) <= 60)
    roller.close()
    history = History(tmp_path, PATIENCE)
    assert history.ledger().open() == []
    assert set(history.ledger().cpus) == {(1, 0), (2, 0), (3, 0)}
    assert {one.name: one.count.n for one in history.top(0, 9e9, "call")} == {"openat": 50, "read": 10}
    seen = Counter((row.epoch, row.call, row.arguments[1]) for row in history.export(0, 9e9))
    assert seen == {(1, "openat", '"/one"'): 30, (2, "openat", '"/two"'): 20, (3, "read", "0x4"): 10}
    assert len({one.process.id for one in history.top(0, 9e9, "process") if one.process}) == 3


def test_rates_by_process_are_bounded(tmp_path: Path) -> None:
    write(tmp_path, [begin(issued={0: 0}), clock(999 * NS), *crowd(300, 2)])
    roll(tmp_path)
    found = History(tmp_path, PATIENCE).rates(wall(900), wall(1100), 1, "process").series
    assert len(found) == TOP + 1
    assert "load[1000]" in found
    total = sum(one.count.n for one in History(tmp_path, PATIENCE).top(0, 9e9, "call"))
    assert sum(count.n for counts in found.values() for count in counts) == total


def test_changes_say_who_and_what_before_and_after(tmp_path: Path) -> None:
    now = Settings("ftrace", "permissive", True, (), ("read",))
    write(tmp_path, [begin(issued={0: 0}), clock(NS), ChangedItem(2 * NS, "root", "clear", now)])
    roll(tmp_path)
    (one,) = History(tmp_path, PATIENCE).changes(0, 9e9)
    assert (one.who, one.what, round(one.wall - wall(2))) == ("root", "clear", 0)
    assert (one.before, one.after) == ("enforcing; unlink: BLOCK path=/etc/", "permissive")
    roller = Roller(tmp_path)
    told = roller.machine()
    assert told
    assert told[1] == now, "it is known after a restart, too"
    roller.close()


def test_blocked_calls_are_all_there_and_paged(tmp_path: Path) -> None:
    records = [
        record(ids()["unlinkat"], seq=seq, at=5 * NS + seq * 1000, path=b"/etc/%d" % seq, blocked=not seq % 3, ret=-1)
        for seq in range(900)
    ]
    write(tmp_path, [begin(issued={0: 0}), clock(NS), batch(records)])
    roller = Roller(tmp_path)
    drain(roller)
    tick = roller.tick()
    assert len(tick.blocked) + tick.blocked_more == 300
    assert len(tick.blocked) <= 200
    roller.close()
    history, seqs, before = History(tmp_path, PATIENCE), [], None
    while True:
        page = history.blocked(0, 9e9, 70, before)
        seqs += [row.seq for row in page.rows]
        if (before := page.before) is None:
            break
    assert seqs == list(range(897, -1, -3))
    row = history.blocked(0, 9e9, 1).rows[0]
    raw = history.events(0, 9e9, Filter(statuses=frozenset(["BLOCKED"])), 1).rows[0]
    assert row == raw, "the index and the records say the same"

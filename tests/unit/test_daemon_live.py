"""The collector as a server sees it: ticks, subscriptions, questions; and the machine that is made up."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from kmodlab.daemon.collector import TICKS_KEPT, Live
from kmodlab.daemon.demo import FILTERS, SIGNATURES, Demo, Simulation
from kmodlab.daemon.epochs import Epoch
from kmodlab.daemon.items import Batch, Counters, Item
from kmodlab.daemon.journal import Journal
from kmodlab.daemon.recorded import MAGIC, Replay, read
from kmodlab.daemon.recorded import write as save
from kmodlab.daemon.recorder import Recorder
from kmodlab.daemon.tick import (
    OTHER,
    TOP,
    Count,
    Process,
    ProcessCount,
    Source,
    Tick,
    busiest,
    merged,
)
from kmodlab.errors import KmodlabError, UsageError

from .daemon_tape import NS, Tape, batch, record


def live(folder: Path, records: int = 20_000) -> Live:
    """Return a collector of a tape."""
    tape = Tape()
    return Live(Replay([*tape.begin(), *tape.batches(records), tape.counters()]), folder)


def test_the_collector_is_a_source(tmp_path: Path) -> None:
    with live(tmp_path) as one:
        source: Source = one
        tick = one.wait(lambda tick: tick.ledger.get("rolled", 0) == 20_000)
        assert tick.epoch == 1
        machine = source.machine()
        assert (machine.host, machine.hook, machine.mode, machine.returns) == ("tape", "ftrace", "enforcing", True)
        assert machine.state == "the recording is at its end"
        assert source.ledger().open() == []
    again = Live(Replay([]), tmp_path)
    assert again.machine().host == "tape", "it is known without a tracer"
    with again:
        assert again.machine().recorded_since == pytest.approx(1_780_000_100, abs=1)
        assert again.machine().raw_since == pytest.approx(1_780_000_100, abs=1)


def test_ticks_add_up_to_what_was_rolled(tmp_path: Path) -> None:
    """Each tick tells what the ledger has grown by, and its spans follow one another."""
    one, ticks = live(tmp_path, 60_000), []

    async def follow() -> None:
        async with aclosing(one.subscribe()) as stream:
            one.start()
            async for tick in stream:
                ticks.append(tick)
                if tick.ledger.get("rolled", 0) == 60_000:
                    return

    asyncio.run(asyncio.wait_for(follow(), 60))
    one.close()
    rolled = 0
    for tick in ticks:
        rolled += sum(count.n for count in tick.calls.values())
        assert rolled == tick.ledger.get("rolled", 0)
    reached: dict[int, int] = {}
    for tick in ticks:
        for cpu, (first, last) in tick.spans.items():
            assert first > reached.get(cpu, -1)
            reached[cpu] = last
        assert len(tick.rows) <= 256
    assert [tick.number for tick in ticks] == list(range(ticks[0].number, ticks[0].number + len(ticks)))


def test_who_is_too_slow_gets_ticks_merged_and_no_sum_is_lost(tmp_path: Path) -> None:
    one = Live(Demo(rate=2000), tmp_path)

    async def stall() -> tuple[list[Tick], int]:
        async with aclosing(one.subscribe()) as stream:
            one.start()
            await asyncio.to_thread(one.wait, lambda tick: tick.number >= 14)
            one.close()
            found = [tick async for tick in stream]
            return found, len(found)

    found, number = asyncio.run(asyncio.wait_for(stall(), 60))
    assert number <= 9
    assert found[-1].number >= 14
    assert sum(count.n for tick in found for count in tick.calls.values()) == found[-1].ledger["rolled"]


def test_ticks_are_longer_where_nobody_looks(tmp_path: Path) -> None:
    """And what was recorded is there as soon as somebody does; no sum is lost between the two."""
    with Live(Demo(rate=2000), tmp_path) as one:
        one.attend(False)
        calm = one.wait(lambda tick: tick.seconds > 4.5)
        one.attend(True)
        first = one.wait(lambda tick: tick.number > calm.number)
        one.wait(lambda tick: tick.number > first.number and tick.seconds < 4.5)
        ticks = one.ticks(0)
        assert ticks
        assert sum(count.n for tick in ticks for count in tick.calls.values()) == ticks[-1].ledger["rolled"]


def test_rows_are_made_of_records_only_for_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    whole = Epoch.row

    def counted(*args: Any) -> Any:
        made.append(1)
        return whole(*args)

    monkeypatch.setattr(Epoch, "row", counted)
    with live(tmp_path, 2_000) as one:
        one.wait(lambda tick: tick.ledger.get("rolled", 0) == 2_000)
    ticks = one.ticks(0) or []
    assert len(made) <= 2 * sum(len(tick.blocked) for tick in ticks), "one to be kept, one to be shown"
    rows = [row for tick in ticks for row in tick.rows]
    assert 0 < len(rows) <= len(made)
    assert rows == sorted(rows, key=lambda row: row.clock + (row.latency or 0))
    assert {row.wall - row.clock / NS for row in rows[:1]} == {row.wall - row.clock / NS for row in rows[-1:]}


def test_ticks_that_are_gone_are_none(tmp_path: Path) -> None:
    with live(tmp_path, 2_000) as one:
        one.wait(lambda tick: tick.number >= 3)
        latest = one._ticks[-1].number
        assert one.ticks(latest) == [] or one.ticks(latest)
        found = one.ticks(latest - 2)
        assert found
        assert [tick.number for tick in found][:2] == [latest - 1, latest]
        assert one.ticks(latest + 1000) is None
        one._ticks.popleft()
        assert one.ticks(0) is None
    assert one._ticks.maxlen == TICKS_KEPT


def test_merging_is_exact_and_bounded() -> None:
    def tick(number: int, pids: range) -> Tick:
        counts = [ProcessCount(Process(pid, 1, pid, "x", 0, 1, 0.0), pid, 1, 0, 2) for pid in pids]
        calls = {("read", "LOGGED"): Count(number, 1, 5, (1, 2))}
        return Tick(number, 1, number, number, 0.25, calls, busiest(counts), spans={0: (number * 10, number * 10 + 9)})  # type: ignore[arg-type]

    one = merged(tick(1, range(1, 60)), tick(2, range(50, 120)))
    assert one.calls == {("read", "LOGGED"): Count(3, 2, 10, (2, 4))}
    assert len(one.processes) == TOP + 1
    assert one.processes[-1].process is OTHER
    assert sum(each.n for each in one.processes) == sum(range(1, 60)) + sum(range(50, 120))
    assert (one.number, one.seconds, one.spans) == (2, 0.5, {0: (10, 29)})


def test_a_fault_of_the_feed_is_said(tmp_path: Path) -> None:
    class Broken(Replay):
        def receive(self, seconds: float) -> list[Item]:  # noqa: ARG002
            raise ValueError("no such thing")

    with Live(Broken([]), tmp_path) as one:
        tick = one.wait(lambda tick: bool(tick.troubles))
        assert tick.troubles == ("recording has ended: no such thing",)


def test_what_only_the_daemon_did_is_not_written_at_once(tmp_path: Path) -> None:
    """An idle machine is not to be kept busy by being watched: each commit would be another call."""
    journal = Journal(tmp_path)
    recorder = Recorder(Replay([]), journal, frozenset([77]))
    own, other = (batch([record(3, pid=pid, at=NS + seq, seq=seq) for seq in range(5)]) for pid in (77, 78))
    many = batch([record(3, pid=77, at=NS + seq, seq=seq) for seq in range(40)])
    waits = [recorder._can_wait(item) for item in (own, other, many, Counters({}))]
    assert waits == [True, False, False, True]
    journal.close()


def test_no_thread_is_left(tmp_path: Path) -> None:
    with live(tmp_path, 1_000):
        assert "roll" in {thread.name for thread in threading.enumerate()}
    assert {thread.name for thread in threading.enumerate()}.isdisjoint({"receive", "commit", "roll"})


# -- what is recorded, and what is made up ---------------------------------------------------------------------------


def test_a_recording_is_what_was_sent(tmp_path: Path) -> None:
    machine = Simulation(3)
    items: list[Item] = [machine.begun("key"), *machine.advance(machine.now + 3 * NS), machine.counters()]
    path = tmp_path / "recording"
    with path.open("wb") as file:
        save(file, items)
    assert list(read(path)) == items
    cut = path.read_bytes()[:-7]
    path.write_bytes(cut)
    assert list(read(path)) == items[:-1], "what is cut off is left out"
    damaged = bytearray(cut)
    damaged[len(MAGIC)] = 99
    path.write_bytes(damaged)
    with pytest.raises(KmodlabError, match="is damaged at byte"):
        list(read(path))
    path.write_bytes(b"something else")
    with pytest.raises(UsageError, match="is no recording"):
        list(read(path))


def _seconds(seed: int, rate: float = 600, seconds: int = 60) -> list[Batch]:
    machine = Simulation(seed, rate)
    return list(machine.advance(machine.now + seconds * NS))


def test_a_machine_that_is_made_up_is_the_same_for_the_same_seed() -> None:
    assert _seconds(1, seconds=5) == _seconds(1, seconds=5)
    assert _seconds(1, seconds=5) != _seconds(2, seconds=5)


def test_a_machine_that_is_made_up_looks_alive(tmp_path: Path) -> None:
    """Each kind of program is there, rates vary, some calls fail, a few are blocked, processes come and go."""
    machine = Simulation(1)
    items: list[Item] = [machine.begun("key"), *machine.advance(machine.now + 120 * NS), machine.counters()]
    with Live(Replay(items), tmp_path) as one:
        total = sum(item.n for item in items if isinstance(item, Batch))
        tick = one.wait(lambda tick: tick.ledger.get("rolled", 0) == total)
        assert tick.ledger["rolled"] == total
    history = one._history
    rows = list(history.export(0, 9e9))
    comms = {row.comm for row in rows}
    assert {"nginx", "cc1", "cron", "bash", "postgres", "sshd", "logrotate", "make"} <= comms
    assert {row.call for row in rows} == set(SIGNATURES)
    statuses = Counter(row.status for row in rows)
    assert 0 < statuses["BLOCKED"] < 0.01 * total
    assert 0.01 * total < statuses["FAILED"] < 0.2 * total
    per_second = Counter(int(row.clock / NS) for row in rows)
    counts = [per_second[second] for second in range(1000, 1119)]
    assert min(counts) * 1.8 < max(counts), "a flat line is no machine"
    assert 300 * 120 < total < 1500 * 120
    assert len({row.pid for row in rows}) > 50
    assert any(row.latency and row.latency > 1_000_000 for row in rows)
    made: dict[int, int] = {}
    for item in items:
        if isinstance(item, Batch):
            assert item.begin >= made.get(item.cpu, 0)
            made[item.cpu] = item.end


@pytest.mark.parametrize("rate", [60, 6000])
def test_a_machine_that_is_made_up_has_any_rate(rate: int) -> None:
    number = sum(one.n for one in _seconds(1, rate, 10 if rate > 600 else 200))
    assert 0.4 < number / (10 if rate > 600 else 200) / rate < 3


def test_the_demo_takes_commands(tmp_path: Path) -> None:
    with Live(Demo(rate=3000), tmp_path) as one:
        one.wait(lambda tick: tick.epoch == 1)
        assert one.machine().filters == tuple(map(str, FILTERS))
        one.control("read block comm=nginx", "me")
        one.control("untrace close accept4", "me")
        tick = one.wait(lambda tick: ("read", "BLOCKED") in tick.calls and ("close", "LOGGED") not in tick.calls)
        assert {row.comm for row in tick.blocked if row.call == "read"} == {"nginx"}
        assert {row.returned for row in tick.blocked} == {-1}
        one.control("enforce=0", "you")
        one.wait(lambda tick: any(not row.enforced for row in tick.blocked))
        one.control("clear", "you")
        one.wait(lambda tick: bool(tick.calls) and not tick.blocked)
        for command, said in (
            ("nothing block", "no system call nothing"), ("read block path=", "it takes 1 to 255 bytes"),
            ("read delete", "no filter of read"), ("trace nothing", "no system call nothing"), ("", "is no filter"),
        ):  # fmt: skip
            with pytest.raises(KmodlabError, match=said):
                one.control(command, "me")
        machine = one.machine()
        assert (machine.filters, machine.mode) == ((), "permissive")
        assert "close" not in machine.traced
    changes = one.changes(0, 9e9)
    assert [(each.who, each.what) for each in changes] == [
        ("you", "clear"), ("you", "enforce=0"), ("me", "untrace close accept4"), ("me", "read block comm=nginx"),
    ]  # fmt: skip
    assert one._history.ledger().closed


def test_a_demo_has_a_past(tmp_path: Path) -> None:
    with Live(Demo(rate=300, past=600), tmp_path) as one:
        feed = one._station._feed  # type: ignore[attr-defined]
        one.wait(lambda tick: bool(tick.ledger) and feed._machine.now >= feed._now)
        one.wait(lambda _: one.machine().recorded_since is not None)
        machine = one.machine()
        assert machine.recorded_since
        # What a slow machine takes to make it up comes on top.
        assert 590 < machine.wall - machine.recorded_since < 1500

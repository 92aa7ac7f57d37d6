"""What is kept is bounded: by size, by age, under load, and with a reader that never ends."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from kmodlab.daemon.journal import Journal
from kmodlab.daemon.lister import Moment
from kmodlab.daemon.queries import History
from kmodlab.daemon.retention import DAY, TRUSTED_AFTER, Keep, Keeper
from kmodlab.daemon.roller import Limits, Roller
from kmodlab.daemon.segments import size
from kmodlab.daemon.task_store import Kept
from kmodlab.daemon.tasks import Sample

from .daemon_tape import NS, PATIENCE, WALL, Tape, batch, begin, clock, drain, ids, record, roll, write

LIMITS = Limits(flush_bytes=1 << 18, segment_bytes=1 << 15, wal_bytes=1 << 18)


def _logs(folder: Path) -> int:
    return sum(path.stat().st_size for path in [*folder.glob("*-wal"), *folder.glob("raw/*-wal")])


def test_size_is_bounded_at_any_moment_under_load(tmp_path: Path) -> None:
    """The limit, and a segment that is being written: of what was removed the books say how much, and why."""
    keep = Keep(bytes=150 << 10)
    journal, tape = Journal(tmp_path, file_bytes=1 << 16), Tape(size=200, lossy=False)
    roller = Roller(tmp_path, limits=LIMITS)
    keeper = Keeper(roller, keep)
    for one in [*tape.begin(), *tape.batches(20_000)]:
        journal.take(one)
        journal.commit()
        roller.step(1)
        if roller._written[0] == roller.follower.position:
            keeper.expire()
            held = sum(size(path) for path in (tmp_path / "raw").glob("*.db"))
            assert held < keep.bytes + 2 * LIMITS.segment_bytes
    journal.take(tape.counters())
    journal.close()
    drain(roller)
    keeper.expire()
    roller.close()
    history = History(tmp_path, PATIENCE)
    books = history.ledger()
    assert books.open() == []
    assert list(books.losses()) == ["expired_size"]
    assert books.losses()["expired_size"] > 5_000
    left = list(history.export(0, 9e9))
    assert len(left) == books.totals()["kept"]
    for cpu in (0, 1):
        seqs = sorted(row.seq for row in left if row.cpu == cpu)
        assert seqs == list(range(10_000 - len(seqs), 10_000)), "it is the oldest that goes"
    assert sum(one.count.n for one in history.top(0, 9e9, "call")) == 20_000, "sums stay"


def _aged(folder: Path) -> Roller:
    """Record a call a day, ten days long, each day in a segment of its own."""
    for day in range(10):
        at = int(day * DAY) * NS + 100 * NS
        items = [batch([record(ids()["read"], seq=day, at=at, blocked=True)])]
        write(folder, [begin(issued={0: 0}), clock(at - NS), *items] if not day else [clock(at - NS), *items])
        roll(folder)
    return Roller(folder)


def test_what_is_too_old_goes_by_its_kind(tmp_path: Path) -> None:
    roller = _aged(tmp_path)
    roller.pulse.at(int(9 * DAY) * NS + 101 * NS, 0)
    Keeper(roller, Keep(records=3.5 * DAY, blocked=5.5 * DAY, tiers=(1.5 * DAY, 4.5 * DAY, 7.5 * DAY))).expire()
    roller.close()
    history = History(tmp_path, PATIENCE)
    assert history.ledger().open() == []
    assert history.ledger().losses() == {"expired_age": 6}
    assert [row.seq for row in history.export(0, 9e9)] == [6, 7, 8, 9]
    assert [row.seq for row in history.blocked(0, 9e9).rows] == [9, 8, 7, 6, 5, 4]
    base = sqlite3.connect(tmp_path / "index.db")
    kept = {tier: base.execute(f"select count(*) from roll_{tier}").fetchone()[0] for tier in "smh"}
    base.close()
    assert kept == {"s": 2, "m": 5, "h": 8}


def test_nothing_goes_for_its_age_while_the_clock_is_not_to_be_trusted(tmp_path: Path) -> None:
    now = [0.0]
    roller = _aged(tmp_path)
    roller.pulse.at(int(9 * DAY) * NS + 101 * NS, 0)
    keeper = Keeper(roller, Keep(records=20 * DAY), clock=lambda: now[0])
    keeper.expire()
    assert roller.epoch
    kept = len(roller.index.segments())
    other = roller.index.segment_ends()
    roller.epoch.offset += int(400 * DAY) * NS  # as `date` does; the segments of another boot would now be a year old
    roller.index.segment_ends = lambda: other  # type: ignore[method-assign]
    keeper.expire()
    assert len(roller.index.segments()) == kept == 10
    now[0] = TRUSTED_AFTER + 1
    keeper.expire()
    assert len(roller.index.segments()) == 0
    roller.close()


@pytest.mark.parametrize("by", [-400, 400], ids=["back", "ahead"])
@pytest.mark.parametrize("first", ["calls", "tasks"])
def test_nothing_goes_where_calls_and_tasks_tell_another_time_of_day(first: str, by: int, tmp_path: Path) -> None:
    """The clock is set between a look at the tasks and the calls' clock: whoever was told last, all is kept."""
    at, shift = int(DAY) * NS, by * int(DAY) * NS
    write(tmp_path, [begin(issued={0: 0}), clock(at), batch([record(ids()["read"], at=at + NS)])])
    roller = Roller(tmp_path)
    drain(roller)
    keeper = Keeper(roller, Keep())

    def tasks(second: int, shift: int) -> None:
        moment = Moment("b007", at + second * NS, WALL + at + second * NS + shift)
        assert roller.keep_tasks(Kept(((moment, Sample((1, 0, 0, 0, 0), 1, 1)),), ()))

    def calls(second: int, shift: int) -> None:
        write(tmp_path, [clock(at + second * NS, shift)])
        drain(roller)

    tasks(2, 0)
    keeper.expire()
    for tell in (calls, tasks) if first == "calls" else (tasks, calls):
        tell(4, shift)
        keeper.expire()
    roller.close()
    base = sqlite3.connect(tmp_path / "index.db")
    kept = [base.execute(f"select sum(n) from roll_{tier}").fetchone()[0] for tier in "smh"]
    base.close()
    assert kept == [1, 1, 1]
    assert len(list(History(tmp_path, PATIENCE).export(0, 9e9))) == 1


def test_logs_are_bounded_with_an_export_that_never_ends(tmp_path: Path) -> None:
    """Whoever takes rows slowly holds nothing."""
    tape = Tape(size=200, lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(4_000)])
    roller = Roller(tmp_path, limits=LIMITS)
    drain(roller)
    rows = History(tmp_path, PATIENCE).export(0, 9e9)
    next(rows)
    most = 0
    for _ in range(12):
        write(tmp_path, tape.batches(2_000))
        drain(roller, 4)
        most = max(most, _logs(tmp_path))
        next(rows)
    assert most < 2 << 20
    assert roller.index.empty_log()
    roller.close()
    assert sum(1 for _ in rows) >= 4_000 - 13


def test_a_foreign_reader_that_never_ends_stops_the_index_and_not_the_recording(tmp_path: Path) -> None:
    """Somebody with a transaction open in a shell: the log stays within its limit, it is said, and all comes after."""
    tape = Tape(size=200, lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(2_000)])
    roller = Roller(tmp_path, limits=LIMITS)
    drain(roller)
    shell = sqlite3.connect(tmp_path / "index.db", isolation_level=None)
    shell.execute("begin")
    shell.execute("select count(*) from roll_s").fetchall()
    wal = tmp_path / "index.db-wal"
    for _ in range(12):
        write(tmp_path, tape.batches(4_000))
        drain(roller, 4)
    assert wal.stat().st_size < 2 * LIMITS.wal_bytes
    assert "a reader holds it" in roller.troubles["index"]
    tick = roller.tick()
    assert tick.troubles
    shell.close()
    drain(roller)
    assert roller.troubles == {}
    roller.close()
    books = History(tmp_path, PATIENCE).ledger()
    assert books.open() == []
    assert books.totals()["kept"] == 50_000

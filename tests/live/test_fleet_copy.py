"""A host's history in a fleet's database: row for row the same, whoever is killed when; and what is lost is counted."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.daemon_child import QUICK
from unit.daemon_tape import NS, PATIENCE, Tape, batch, begin, clock, drain, ids, record, roll, write
from unit.test_daemon_sums import crowd

from kmodlab.daemon import outbox, postgres
from kmodlab.daemon.collector import Live
from kmodlab.daemon.fleet import Fleet
from kmodlab.daemon.items import Begin, Changed, Counters, Item, Settings
from kmodlab.daemon.lister import Moment
from kmodlab.daemon.postgres import Address, Source
from kmodlab.daemon.queries import History
from kmodlab.daemon.recorded import Replay
from kmodlab.daemon.retention import DAY, Keep, Keeper
from kmodlab.daemon.roller import Limits, Roller
from kmodlab.daemon.shipper import Contended, Copy
from kmodlab.daemon.store import NAME, TIERS
from kmodlab.daemon.task_store import Kept
from kmodlab.daemon.tasks import Sample
from kmodlab.daemon.tick import TOP, Row
from kmodlab.errors import KmodlabError
from kmodlab.paths import project_dir
from live.daemon import file_of, wait
from live.fed import Fed
from live.postgres import Postgres, copied, copy, running

TABLES = ("epoch", "call", "clock", "ledger", "proc", "blocked",
          *(f"{kind}_{tier}" for kind in ("roll", "proc") for tier in TIERS))  # fmt: skip
"""Those that are the same as in the index of the first host."""
TASKS = tuple(f"task_{kind}" for kind in ("boot", *TIERS, *(f"turn_{tier}" for tier in TIERS), "snap"))


def rows(execute: Any, query: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(bytes(one) if isinstance(one, memoryview) else one for one in row) for row in execute(query))


def is_the_same(folder: Path, where: Address) -> int:
    """Hold every row of a host's history against the database's, which has no other host; return how many records."""
    index = sqlite3.connect(folder / NAME)
    assert index.execute("select count(*) from roll_h").fetchone()[0]
    with contextlib.closing(postgres.connect(where)) as base, contextlib.closing(index):
        for table in (*TABLES, *TASKS):
            here = rows(index.execute, f"select * from {table}")
            assert rows(base.execute, f"select * from {table}") == here, table
        for table in ("hole", "change"):
            there = [row[1:] for row in rows(base.execute, f"select * from {table}")]
            assert there == rows(index.execute, f"select * from {table}"), table
        blocks = []
        for path in sorted((folder / "raw").glob("*.db")):
            with contextlib.closing(sqlite3.connect(path)) as segment:
                blocks += rows(segment.execute, "select * from block")
                who = rows(segment.execute, "select pid, block, n from who")
                numbers = [row[1] for row in who]
                query = "select pid, block, n from who where block >= %s and block <= %s"
                found = sorted(base.execute(query, (min(numbers), max(numbers))).fetchall()) if who else []
                assert found == who, path
        assert [row[1:] for row in rows(base.execute, "select * from block")] == sorted(blocks)
        ((shipped,),) = base.execute("select sum(shipped) from source").fetchall()
        assert shipped == sum(row[5] for row in blocks), "nothing twice, nothing left out"
    return int(shipped)


def caught_up(live: Live, records: int) -> None:
    """Wait until the database has so many records, and all else that there is."""

    def done() -> bool:
        with contextlib.suppress(KmodlabError):  # where the index is being made anew
            copied = live.ledger().copied
            return bool(copied and not copied.behind and copied.shipped == records and not copied.waiting)
        return False

    wait(done, f"{records} records are copied", lambda: (live.ledger().copied, live.ledger().troubles))


@pytest.mark.parametrize("rounds", [2, pytest.param(12, marks=pytest.mark.long)])
def test_the_server_is_killed_over_and_over_while_calls_come(tmp_path: Path, rounds: int) -> None:
    """By its immediate stop and by SIGKILL in turn; while it is away more comes, and is told of as waiting."""
    some = 6_000
    tape, feed = Tape(size=200), Fed()
    with running() as server:
        where = postgres.address(server.url)
        with Live(feed, tmp_path, limits=QUICK, fleet=where) as live:
            feed.give(tape.begin())
            for number in range(rounds):
                feed.give(tape.batches(some))
                feed.give([tape.counters()])
                # It is in the middle of it: something of this round is there, and perhaps not all.
                wait(lambda n=number: live.ledger().copied.shipped > n * 2 * some, "a part is copied", live.ledger)  # type: ignore[misc, union-attr]
                server.end(signal.SIGKILL if number % 2 else signal.SIGQUIT)
                feed.give(tape.batches(some))
                come = (number + 1) * 2 * some
                live.wait(lambda tick, come=come: tick.ledger.get("rolled", 0) == come)  # type: ignore[misc]
                if not number:
                    late = wait(lambda: [one for one in live.ledger().troubles if "s behind: " in one], "it is told")
                    assert late[0].startswith("the fleet's database is ")
                server.start()
            caught_up(live, rounds * 2 * some)
            assert live.ledger().open() == []
            assert not live.ledger().troubles
        assert is_the_same(tmp_path, where) == rounds * 2 * some
        assert Fleet(where, seconds=PATIENCE).ledger().open() == []


@pytest.mark.parametrize("rounds", [2, pytest.param(10, marks=pytest.mark.long)])
def test_a_connection_that_breaks_leaves_nothing_twice(
    tmp_path: Path, server: Postgres, database: Address, rounds: int
) -> None:
    tape, feed = Tape(size=200, lossy=False), Fed()
    with Live(feed, tmp_path, limits=QUICK, fleet=database) as live:
        feed.give(tape.begin())
        for number in range(rounds):
            feed.give(tape.batches(4_000))
            wait(lambda n=number: live.ledger().copied.shipped > n * 4_000, "a part is copied", live.ledger)  # type: ignore[misc, union-attr]
            server.kill_connections()
        caught_up(live, rounds * 4_000)
    assert is_the_same(tmp_path, database) == rounds * 4_000


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.long)])
def test_the_host_is_killed_over_and_over(tmp_path: Path, database: Address, kills: int) -> None:
    """Between what the database has committed, and what the host has noted of that, too."""
    file = file_of(tmp_path, "url", database.text)
    folder, first = tmp_path / "history", 0
    env = {**os.environ, "PYTHONPATH": str(project_dir() / "src")}
    for _ in range(kills):
        argv = [sys.executable, str(Path(__file__).with_name("fleet_child.py")), str(folder), str(first), str(file)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env) as child:
            assert child.stdout
            said = [child.stdout.readline() for _ in range(3)]
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
        assert all(said), "it ended by itself"
        first += 1_000_000
    copy(folder, database)
    assert is_the_same(folder, database) > kills * 2_000
    assert Fleet(database, seconds=PATIENCE).ledger().open() == []


def test_what_was_committed_is_known_from_the_database_alone(tmp_path: Path, database: Address) -> None:
    """Of the first copy the host never heard that it was committed."""
    tape = Tape(size=200, lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(2_000)])
    roller = Roller(tmp_path, limits=QUICK, ships=True)
    drain(roller)
    with contextlib.closing(postgres.connect(database)) as base:
        postgres.migrate(base)
        one = Copy(base, *outbox.key_of(tmp_path / NAME))
        one.put(outbox.read(tmp_path / "raw", tmp_path / NAME, one.cursor, one.block))
    roller.close()
    write(tmp_path, [*tape.batches(2_000), tape.counters()])
    copy(tmp_path, database)
    assert is_the_same(tmp_path, database) == 4_000


def test_a_clock_that_only_the_tasks_tell_of_is_copied(tmp_path: Path, database: Address) -> None:
    """Of a machine on which nothing is called they are the only ones that tell the time of day."""
    tape = Tape(size=200, lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(1_000), tape.counters()])
    roll(tmp_path)
    copy(tmp_path, database)
    roller = Roller(tmp_path, ships=True)
    boot = roller.index.base.execute("select boot from epoch").fetchone()[0]
    moment = Moment(boot, 5_000 * NS, 1_900_000_000 * NS)
    assert roller.keep_tasks(Kept(((moment, Sample((1, 2, 0, 0, 0), 900, 120)),), ()))
    roller.close()
    copy(tmp_path, database)
    assert is_the_same(tmp_path, database) == 1_000
    with contextlib.closing(postgres.connect(database)) as base:
        query = 'select "offset" from clock where boot = %s and t = %s'
        assert base.execute(query, (boot, moment.t)).fetchone() == (moment.wall - moment.t,)


def test_what_is_changed_after_it_was_copied_is_copied_again(tmp_path: Path, database: Address) -> None:
    """The least of the processes of a second are summed up once it is over; a process ends; the tracer is changed."""
    write(tmp_path, [begin(issued={0: 0}), clock(999 * NS)])
    first, *others = crowd(200, 4)
    write(tmp_path, [first])
    copy(tmp_path, database)
    with contextlib.closing(postgres.connect(database)) as base:
        assert rows(base.execute, "select count(*) from proc_s where t = 1000") == [(200,)]
        for item in others:
            write(tmp_path, [item])
            copy(tmp_path, database)
        assert rows(base.execute, "select count(*) from proc_s where t = 1000") == [(TOP + 1,)]
        ends = record(ids()["exit_group"], seq=9_999, at=1004 * NS, pid=1000, ppid=1, returned=False)
        now = Settings("ftrace", "permissive", True, (), ("read",))
        write(tmp_path, [batch([ends]), Changed(1004 * NS, "root", "clear", now), clock(1005 * NS, shift=100 * NS)])
        copy(tmp_path, database)
        assert rows(base.execute, "select count(*) from change") == [(1,)]
        assert rows(base.execute, "select pid from proc where ended = 1") == [(1000,)]
        write(tmp_path, [Counters({0: (20_000, 4_096, 15_904, 0, 7)})])
        copy(tmp_path, database)
        assert Fleet(database, seconds=PATIENCE).ledger().totals()["excluded"] == 7, "nothing but the ledger changed"
    assert is_the_same(tmp_path, database) == History(tmp_path, PATIENCE).ledger().totals()["kept"]


# -- what is gone before it was copied -------------------------------------------------------------------------------


def test_what_is_removed_for_room_before_it_was_copied_is_counted(tmp_path: Path, database: Address) -> None:
    tape = Tape(size=200, lossy=False)
    limits = Limits(flush_bytes=1 << 18, segment_bytes=1 << 15)
    write(tmp_path, [*tape.begin(), *tape.batches(4_000)])
    roll(tmp_path, limits, most=4)
    copy(tmp_path, database)
    write(tmp_path, [*tape.batches(16_000), tape.counters()])
    roller = Roller(tmp_path, limits=limits, ships=True)
    while roller.step(4):
        roller.flush()
    Keeper(roller, Keep(bytes=150 << 10)).expire()
    gone = roller.ledger()
    roller.close()
    removed = sum(terms["expired_size"] for terms in gone.values())
    assert removed > 5_000
    figures = _figures(tmp_path, database)
    assert (figures.shipped, figures.waiting) == (20_000 - removed + 4_000, 0)
    assert figures.unshipped == {"expired_size": removed - 4_000}, "what was copied before it was removed is not lost"
    assert figures.check
    assert figures.check.closes
    fleet = Fleet(database, seconds=PATIENCE)
    assert fleet.ledger().open() == []
    assert len(list(fleet.export(0, 9e9))) == figures.shipped
    assert sum(one.count.n for one in fleet.top(0, 9e9, "call")) == 20_000, "of the sums nothing was removed"


def _figures(folder: Path, where: Address) -> Any:
    """Copy what there is; return how far that has come."""
    copy(folder, where)
    with contextlib.closing(postgres.connect(where)) as base:
        one = Copy(base, *outbox.key_of(folder / NAME))
        load = outbox.read(folder / "raw", folder / NAME, one.cursor, one.block)
        assert load.empty
        return one.figures(load)


def test_sums_that_are_too_old_before_they_were_copied_are_counted(tmp_path: Path, database: Address) -> None:
    """A database that comes after ten days: what was kept shorter by the host is named, kind by kind."""
    Roller(tmp_path, ships=True).close()
    for day in range(10):
        at = int(day * DAY) * NS + 100 * NS
        made: list[Item] = [clock(at - NS), batch([record(ids()["read"], seq=day, at=at, blocked=True)])]
        write(tmp_path, [*([] if day else [begin(issued={0: 0})]), *made])
        roller = Roller(tmp_path, ships=True)
        drain(roller)
        roller.close()
    roller = Roller(tmp_path, ships=True)
    roller.pulse.at(int(9 * DAY) * NS + 101 * NS, 0)
    keep = Keep(records=3.5 * DAY, blocked=5.5 * DAY, tiers=(1.5 * DAY, 4.5 * DAY, 7.5 * DAY))
    Keeper(roller, keep).expire()
    roller.close()
    figures = _figures(tmp_path, database)
    assert figures.late == {"s": 8, "m": 5, "h": 2, "blocked": 4}
    assert (figures.shipped, figures.unshipped) == (4, {"expired_age": 6})
    assert figures.check.closes
    fleet = Fleet(database, seconds=PATIENCE)
    assert fleet.ledger().open() == []
    assert [row.seq for row in fleet.blocked(0, 9e9).rows] == [9, 8, 7, 6, 5, 4]
    assert is_the_same(tmp_path, database) == 4


def test_what_was_copied_stays_when_the_host_removes_it(tmp_path: Path, database: Address) -> None:
    tape = Tape(size=200, lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(8_000), tape.counters()])
    roll(tmp_path, QUICK)
    before = list(History(tmp_path, PATIENCE).export(0, 9e9))
    copy(tmp_path, database)
    roller = Roller(tmp_path, ships=True)
    roller.pulse.at(int(900 * DAY) * NS, 0)
    Keeper(roller, Keep(records=DAY, blocked=DAY, tiers=(DAY, DAY, DAY))).expire()
    roller.close()
    assert not list(History(tmp_path, PATIENCE).export(0, 9e9))
    figures = _figures(tmp_path, database)
    assert (figures.shipped, figures.unshipped, figures.late) == (8_000, {}, {})
    assert figures.check.closes
    fleet = Fleet(database, seconds=PATIENCE)
    assert fleet.ledger().open() == []
    assert list(fleet.export(0, 9e9)) == before
    assert sum(one.count.n for one in fleet.top(0, 9e9, "call")) == 8_000


@pytest.mark.parametrize("copied_before", [False, True])
def test_a_block_that_is_damaged_is_lost_unless_it_was_copied(
    tmp_path: Path, database: Address, copied_before: bool
) -> None:
    tape = Tape(size=200, lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(4_000)])
    roller = Roller(tmp_path, limits=QUICK, ships=True)
    while roller.step(2):
        roller.flush()
    roller.close()
    if copied_before:
        copy(tmp_path, database)
    (path,) = (tmp_path / "raw").glob("*.db")
    base = sqlite3.connect(path)
    number, n = base.execute("select id, n from block order by id limit 1 offset 3").fetchone()
    base.execute("update block set data = zeroblob(100) where id = ?", (number,))
    base.commit()
    base.close()
    if not copied_before:
        with pytest.raises(
            outbox.Unreadable, match=f"the segment {path.name} cannot be read: block {number} is damaged"
        ):
            copy(tmp_path, database)
    roller = Roller(tmp_path, ships=True)
    assert [head.id for head in Keeper(roller).scrub(path.name)] == [number]
    roller.close()
    figures = _figures(tmp_path, database)
    assert figures.unshipped == ({} if copied_before else {"damaged": n})
    assert figures.shipped == 4_000 - (0 if copied_before else n)
    assert (figures.waiting, figures.check.closes) == (0, True)


def test_a_damaged_block_does_not_hold_up_the_rest(tmp_path: Path, database: Address) -> None:
    """The daemon looks at the segment, takes the block out, and goes on."""
    tape = Tape(size=200, lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(4_000)])
    roller = Roller(tmp_path, limits=QUICK)
    while roller.step(2):
        roller.flush()
    roller.close()
    (path,) = (tmp_path / "raw").glob("*.db")
    base = sqlite3.connect(path)
    number, n = base.execute("select id, n from block order by id limit 1 offset 3").fetchone()
    base.execute("update block set data = zeroblob(100) where id = ?", (number,))
    base.commit()
    base.close()
    with Live(Replay([]), tmp_path, limits=QUICK, fleet=database) as live:
        caught_up(live, 4_000 - n)
        assert live.ledger().copied.unshipped == {"damaged": n}  # type: ignore[union-attr]
        assert live.ledger().open() == []


# -- what the database keeps -----------------------------------------------------------------------------------------


def test_the_database_keeps_so_much_and_so_long_of_a_host(tmp_path: Path, database: Address) -> None:
    tape = Tape(size=200, lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(20_000), tape.counters()])
    roller = Roller(tmp_path, limits=QUICK, ships=True)
    while roller.step(2):
        roller.flush()
    now = roller.now()
    roller.close()
    fleet = copied(tmp_path, database)
    with contextlib.closing(postgres.connect(database)) as base:
        one = Copy(base, *outbox.key_of(tmp_path / NAME))
        one.expire(Keep(bytes=200 << 10, records=DAY), now)
        ((size, bytes_, by_size),) = base.execute(
            "select (select sum(length(data)) from block), bytes, expired_size from source"
        ).fetchall()
        assert bytes_ == size <= 200 << 10
        assert 0 < by_size < 20_000
        books = fleet.ledger()
        assert books.open() == []
        kept = len(list(fleet.export(0, 9e9)))
        assert kept == 20_000 - by_size
        assert rows(base.execute, "select sum(n) from who") == [(kept,)]
        one.expire(Keep(records=DAY, blocked=DAY, tiers=(DAY, DAY, 2 * DAY)), now + 1.5 * DAY)
        assert not list(fleet.export(0, 9e9))
        assert not fleet.blocked(0, 9e9).rows
        assert fleet.ledger().open() == []
        assert sum(each.count.n for each in fleet.top(0, 9e9, "call")) == 20_000, "hours are kept longer"
        one.expire(Keep(tiers=(DAY, DAY, DAY)), 0.0)
        assert fleet.top(0, 9e9, "call"), "a clock that is not to be trusted removes nothing"
        one.expire(Keep(tiers=(DAY, DAY, 2 * DAY)), now + 3 * DAY)
        assert not fleet.top(0, 9e9, "call")
        assert fleet.ledger().open() == []


# -- many hosts, one database ----------------------------------------------------------------------------------------


def named(folder: Path, host: str, records: int, seed: int) -> None:
    """Record a host."""
    tape = Tape(size=200, lossy=False, seed=seed)
    tape.lag = 90
    first, *others = tape.begin(f"boot-{host}")
    assert isinstance(first, Begin)
    items: list[Item] = [replace(first, host=host, boot=f"boot-{host}"), *others]
    write(folder, [*items, *tape.batches(records), tape.counters()])
    roll(folder, QUICK, most=3)


def test_many_hosts_come_at_once_into_an_empty_database(tmp_path: Path, database: Address) -> None:
    """All find no schema, and write at the same time: each has its own, and together they are all."""
    hosts = {f"host-{number}": 1_000 * (number + 1) for number in range(6)}
    for number, (host, records) in enumerate(hosts.items()):
        named(tmp_path / host, host, records, number + 1)
    errors: list[BaseException] = []

    def one(host: str) -> None:
        try:
            copy(tmp_path / host, database)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    fleet = Fleet(database, seconds=PATIENCE)
    assert [each.name for each in fleet.hosts()] == sorted(hosts)
    assert fleet.ledger().open() == []
    assert sum(each.count.n for each in fleet.top(0, 9e9, "call")) == sum(hosts.values())
    for host, records in hosts.items():
        mine, own = Fleet(database, host, PATIENCE), History(tmp_path / host, PATIENCE)
        assert [(one.name, one.count) for one in mine.top(0, 9e9, "call")] == [
            (one.name, one.count) for one in own.top(0, 9e9, "call")
        ]
        assert mine.rates(0, 9e9, 3600).series == own.rates(0, 9e9, 3600).series
        there = [(row.cpu, row.seq, row.comm, row.arguments, row.wall) for row in mine.export(0, 9e9)]
        assert there == [(row.cpu, row.seq, row.comm, row.arguments, row.wall) for row in own.export(0, 9e9)]
        assert mine.ledger().open() == []
        assert len(there) == records


def test_calls_of_all_hosts_are_one_list_by_the_time_of_day(tmp_path: Path, database: Address) -> None:
    for number, host in enumerate(("one", "two", "three")):
        named(tmp_path / host, host, 2_000, number + 1)
        copy(tmp_path / host, database)
    fleet = Fleet(database, seconds=PATIENCE)
    seen: list[Row] = []
    before, pages = None, 0
    while True:
        page = fleet.events(0, 9e9, None, 700, before)
        seen += page.rows
        pages += 1
        if (before := page.before) is None:
            break
    ends = [row.wall + (row.latency or 0) / NS for row in seen]
    assert all(a >= b - 1e-5 for a, b in itertools.pairwise(ends))
    assert len({(row.epoch, row.cpu, row.seq) for row in seen}) == len(seen) == 6_000
    assert pages == 9
    assert len({row.epoch for row in seen[:100]}) == 3, "they are mixed"
    assert [(row.epoch, row.cpu, row.seq) for row in fleet.export(0, 9e9)] == [
        (row.epoch, row.cpu, row.seq) for row in reversed(seen)
    ]
    blocked: list[Row] = []
    before = None
    while True:
        page = fleet.blocked(0, 9e9, 7, before)
        blocked += page.rows
        if (before := page.before) is None:
            break
    assert blocked == [row for row in seen if row.status == "BLOCKED"]
    assert len(blocked) > 7
    with pytest.raises(KmodlabError, match="the fleet has no host 'four'") as caught:
        Fleet(database, "four").events(0, 9e9)
    assert caught.value.hint == "known: one, three, two"


def test_two_processes_cannot_copy_the_same_history(tmp_path: Path, database: Address) -> None:
    tape = Tape(size=200, lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(1_000)])
    roll(tmp_path)
    copy(tmp_path, database)
    key = outbox.key_of(tmp_path / NAME)
    with (
        contextlib.closing(postgres.connect(database)) as base,
        contextlib.closing(postgres.connect(database)) as other,
    ):
        one = Copy(base, *key)
        with pytest.raises(Contended, match="another process copies this history"):
            Copy(other, *key)
        base.execute("select pg_advisory_unlock_all()")
        second = Copy(other, *key)
        load = outbox.read(tmp_path / "raw", tmp_path / NAME, one.cursor, one.block)
        load.upto += 1
        second.put(load)
        with pytest.raises(Contended, match="has copied this history meanwhile"):
            one.put(load)


# -- what is not as it was -------------------------------------------------------------------------------------------


def test_a_database_that_is_new_gets_all_that_is_still_there(tmp_path: Path, server: Postgres) -> None:
    """Another one, or the same from a backup that was made before the host came."""
    tape = Tape(size=200, lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(4_000), tape.counters()])
    roll(tmp_path, QUICK)
    copy(tmp_path, server.address("before_all"))
    other = server.address("after_all")
    copy(tmp_path, other)
    assert is_the_same(tmp_path, other) == 4_000
    assert Fleet(other, seconds=PATIENCE).ledger().open() == []


def test_a_host_that_was_there_before_the_fleet_says_what_had_gone(tmp_path: Path, database: Address) -> None:
    tape = Tape(size=200, lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(20_000), tape.counters()])
    limits = Limits(flush_bytes=1 << 18, segment_bytes=1 << 15)
    roller = Roller(tmp_path, limits=limits)
    while roller.step(4):
        roller.flush()
    Keeper(roller, Keep(bytes=150 << 10)).expire()
    gone = sum(terms["expired_size"] for terms in roller.ledger().values())
    roller.close()
    figures = _figures(tmp_path, database)
    assert (figures.shipped, figures.unshipped) == (20_000 - gone, {"expired_size": gone})
    assert figures.check.closes
    assert is_the_same(tmp_path, database) == 20_000 - gone
    assert Fleet(database, seconds=PATIENCE).ledger().open() == []


def test_an_index_that_began_anew_is_another_source_of_the_same_host(tmp_path: Path, database: Address) -> None:
    tape, feed = Tape(size=200, lossy=False), Fed()
    with Live(feed, tmp_path, limits=QUICK, fleet=database) as live:
        feed.give([*tape.begin(), *tape.batches(2_000)])
        caught_up(live, 2_000)
        for path in tmp_path.glob("index.db*"):
            path.unlink()
        feed.give([*tape.batches(3_000), tape.counters()])
        caught_up(live, 3_000)
    fleet = Fleet(database, "tape", PATIENCE)
    assert [host.name for host in fleet.hosts()] == ["tape"]
    assert len(list(fleet.export(0, 9e9))) == 5_000
    assert sum(one.count.n for one in fleet.top(0, 9e9, "call")) == 5_000
    assert {row.epoch for row in fleet.export(0, 9e9)} == {Source(0).epoch(1), Source(1).epoch(1)}


def test_a_newer_schema_is_refused_by_version(tmp_path: Path, database: Address) -> None:
    tape = Tape(size=200, lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(1_000)])
    roll(tmp_path)
    copy(tmp_path, database)
    with contextlib.closing(postgres.connect(database)) as base:
        base.execute("insert into about values (99)")
        known = len(postgres.MIGRATIONS)
        with pytest.raises(
            KmodlabError, match=f"the fleet's database has the schema 99, this program knows {known}"
        ) as caught:
            postgres.migrate(base)
        assert caught.value.hint == "a newer kmodlab wrote it: use that one, or another database"
    with pytest.raises(KmodlabError, match="has the schema 99"):
        Fleet(database).top(0, 9e9, "call")
    with Live(Replay([]), tmp_path, fleet=database) as live:
        wait(lambda: [one for one in live.ledger().troubles if "has the schema 99" in one], "it is told")


def test_a_migration_that_fails_leaves_the_old(database: Address) -> None:
    with contextlib.closing(postgres.connect(database)) as base:
        postgres.migrate(base)
        with pytest.raises(postgres.driver().errors.UndefinedTable):
            postgres.migrate(base, (*postgres.MIGRATIONS, "create table new (a integer); drop table gone"))
        assert postgres.version(base) == len(postgres.MIGRATIONS)
        assert base.execute("select to_regclass('kmodlab.new')").fetchone() == (None,)


def test_a_database_without_a_history_says_so(database: Address, server: Postgres) -> None:
    with pytest.raises(KmodlabError, match="there is no history in the database fleet_"):
        Fleet(database).top(0, 9e9, "call")
    gone = postgres.address(f"postgresql:///none?host={server.folder}&user=postgres")
    with pytest.raises(KmodlabError, match=r'cannot be read: .*database "none" does not exist'):
        Fleet(gone).top(0, 9e9, "call")


def test_a_question_has_a_time_limit(tmp_path: Path, database: Address) -> None:
    tape = Tape(size=200, lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(1_000)])
    roll(tmp_path)
    copy(tmp_path, database)
    with contextlib.closing(postgres.connect(database)) as base:
        base.execute("insert into roll_h select 1, 10000 + i, i % 7, 0, 1, 0, 0, '' from generate_series(1, 300000) i")
    with pytest.raises(KmodlabError, match=r"the question took longer than 0.001 s"):
        Fleet(database, seconds=0.001).top(0, 9e9, "call")

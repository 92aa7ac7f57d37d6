"""Tasks in a fleet's database: each sum and each snapshot of a host once, as long as others are kept, and merged."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from unit.daemon_tape import NS, PATIENCE, Tape, roll, write
from unit.live_source import TASKS, listing_text
from unit.test_daemon_tasks import WALL, kept

from kmodlab.daemon import outbox, postgres, shipper
from kmodlab.daemon.collector import Live
from kmodlab.daemon.demo import Demo
from kmodlab.daemon.fleet import Fleet
from kmodlab.daemon.items import Begin
from kmodlab.daemon.ledger import Copied
from kmodlab.daemon.lister import Moment
from kmodlab.daemon.merging import Merged
from kmodlab.daemon.postgres import Address
from kmodlab.daemon.queries import History
from kmodlab.daemon.retention import DAY, Keep, Keeper
from kmodlab.daemon.roller import Roller
from kmodlab.daemon.shipper import Contended, Copy
from kmodlab.daemon.store import MIGRATIONS, NAME, Index
from kmodlab.daemon.task_store import Kept, Snapshot
from kmodlab.daemon.tick import TaskRates
from kmodlab.daemon.turnover import Turnover
from kmodlab.errors import KmodlabError
from live.daemon import wait
from live.fleet import showing
from live.postgres import Postgres, copy
from live.test_fleet_copy import TASKS as TABLES
from live.test_fleet_copy import is_the_same, rows


def machine(folder: Path, host: str, *some: Kept) -> None:
    """Record a host, its tasks among it."""
    tape = Tape(size=200, lossy=False)
    first, *others = tape.begin(f"boot-{host}")
    assert isinstance(first, Begin)
    write(folder, [replace(first, host=host, boot=f"boot-{host}"), *others, *tape.batches(400), tape.counters()])
    roll(folder)
    looked(folder, *some)


def looked(folder: Path, *some: Kept) -> None:
    """Have a host have looked at its tasks, of which `STARTED` came and `ENDED` went each time."""
    roller = Roller(folder, ships=True)
    for one in some:
        turned = tuple(Turnover(at, 1000, STARTED, ENDED) for at, _ in one.samples)
        assert roller.keep_tasks(replace(one, turnovers=turned))
    roller.close()


STARTED, ENDED = 3, 1


def tiers(s: int, m: int, h: int, snap: int, each: int = 1) -> dict[str, int]:
    """So many rows of each table of tasks; or so much of them, where a row of what came and went has `each`."""
    found = {"s": s, "m": m, "h": h}
    sums = {f"task_{tier}": n for tier, n in found.items()}
    return sums | {f"task_turn_{tier}": n * each for tier, n in found.items()} | {"task_snap": snap}


def source(base: postgres.Connection, folder: Path) -> Copy:
    """The source of a host, once the connection that has copied it before is given up."""

    def tried() -> Copy | None:
        with contextlib.suppress(Contended):
            return Copy(base, *outbox.key_of(folder / NAME))
        return None

    found: Copy = wait(tried, "it is given up")
    return found


def figures(folder: Path, where: Address) -> Copied:
    """How far the copying is."""
    copy(folder, where)
    with contextlib.closing(postgres.connect(where)) as base:
        one = source(base, folder)
        load = outbox.read(folder / "raw", folder / NAME, one.cursor, one.block)
        assert load.empty
        return one.figures(load)


def newest(folder: Path) -> int:
    """The last second of which a host's own index has tasks."""
    with contextlib.closing(sqlite3.connect(folder / NAME)) as base:
        return int(base.execute("select max(t) from task_s").fetchone()[0])


def counts(base: postgres.Connection) -> dict[str, int]:
    """How many rows each table of tasks has."""
    return {table: len(rows(base.execute, f"select * from {table}")) for table in TABLES[1:]}


def everything(found: TaskRates) -> tuple[object, ...]:
    """All that an answer has."""
    turned = found.looked, found.started, found.ended
    memory = found.vm, found.rss, found.rss_most
    return found.begin, found.step, found.steps, found.tier, dict(found.states), memory, turned


def test_each_sum_is_copied_as_it_then_is_and_answers_are_the_same(tmp_path: Path, database: Address) -> None:
    """A minute that grows is copied again; a clock that was set, and another boot, move what is there."""
    machine(tmp_path, "one", kept(*range(3600, 3630), snaps=True))
    copy(tmp_path, database)
    looked(tmp_path, kept(*range(3630, 3700), rss=180, snaps=True), kept(3700, wall=WALL + 500, rss=60))
    copy(tmp_path, database)
    looked(tmp_path, kept(10, 11, 99, boot="c0de", wall=WALL + 90_000, snaps=True))
    copy(tmp_path, database)
    assert is_the_same(tmp_path, database) == 400
    own, there = History(tmp_path, PATIENCE), Fleet(database, "one", PATIENCE)
    for begin, end, step in ((4100, 4221, 1), (4000, 4800, 7), (0, 9000, 60), (0, 5 * DAY, 3600), (90_000, 90_120, 1)):
        asked = WALL + begin, WALL + end, step
        assert everything(there.task_rates(*asked)) == everything(own.task_rates(*asked)), asked
        assert any(one is not None for one in own.task_rates(*asked).rss)
        assert any(own.task_rates(*asked).started)
    for at in (0, WALL + 3650, WALL + 50_000, 9e9):
        assert there.task_snapshot(at) == own.task_snapshot(at)
        assert everything(Fleet(database, None, PATIENCE).task_rates(*asked)) == everything(own.task_rates(*asked))


def test_the_collector_copies_what_it_sees_each_second_once(
    tmp_path: Path, server: Postgres, database: Address
) -> None:
    """Whatever becomes of the database, and of the connection, meanwhile."""
    feed = Demo(past=120.0)
    with Live(feed, tmp_path, lister=feed.lister, fleet=database) as live:
        wait(lambda: (one := live.ledger().copied) and one.shipped and not one.waiting, "it is copied", live.ledger)
        with contextlib.closing(postgres.connect(database)) as base:
            wait(lambda: counts(base)["task_s"] > 60, "tasks are copied")
        server.kill_connections()
        server.end()
        before = newest(tmp_path)
        wait(lambda: newest(tmp_path) > before + 2, "it looks on")
        server.start()
        with contextlib.closing(postgres.connect(database)) as base:
            query = "select max(t) from task_s"
            wait(lambda: rows(base.execute, query)[0][0] > before + 2, "tasks are copied again")
    copy(tmp_path, database)
    assert is_the_same(tmp_path, database) > 0


def test_an_index_that_was_copied_before_tasks_were_copies_them_now(tmp_path: Path, database: Address) -> None:
    """What an older daemon has noted, and copied, had no tasks; of its history nothing is left out."""
    older = Index(tmp_path, MIGRATIONS[:3])
    outbox_of = older.base
    outbox_of.execute("update state set ships = 1, key = 'older'")
    outbox_of.execute("insert into task_boot values (1, 'b007')")
    outbox_of.execute("insert into task_h values (1, 3600, 2, 1, 80, 2, 3, 30, 900, 240, 120)")
    outbox_of.execute("insert into task_snap values (1, 3600, 7, x'00')")
    older.close()
    copy(tmp_path, database)
    with contextlib.closing(postgres.connect(database)) as base:
        assert rows(base.execute, "select * from task_h") == [(1, 3600, 2, 1, 80, 2, 3, 30, 900, 240, 120)]
        assert rows(base.execute, "select * from task_snap") == [(1, 3600, 7, b"\0")]


def test_what_is_too_old_before_it_was_copied_is_counted(tmp_path: Path, database: Address) -> None:
    days = [int(day * DAY) for day in range(10)]
    looked(tmp_path, kept(*days, snaps=True))
    roller = Roller(tmp_path, ships=True)
    assert roller.keep_tasks(kept(days[-1] + 1))
    Keeper(roller, Keep(records=3.5 * DAY, tiers=(1.5 * DAY, 4.5 * DAY, 7.5 * DAY))).expire()
    roller.close()
    assert figures(tmp_path, database).late == tiers(8, 5, 2, 6, STARTED + ENDED)
    with contextlib.closing(postgres.connect(database)) as base:
        assert counts(base) == tiers(3, 5, 8, 4) | {
            f"task_turn_{tier}": n for tier, n in zip("smh", (2, 5, 8), strict=True)
        }


def test_what_was_copied_stays_when_the_host_removes_it(tmp_path: Path, database: Address) -> None:
    one = kept(*range(60, 660, 60), snaps=True)
    looked(tmp_path, one)
    copy(tmp_path, database)
    looked(tmp_path, kept(700, 760, snaps=True))
    roller = Roller(tmp_path, ships=True)
    size = len(one.snapshots[0].data)
    Keeper(roller, Keep(snapshots=size + 1)).expire()
    roller.close()
    assert figures(tmp_path, database).late == {"task_snap": 1}, "one of the two that were not copied is gone"
    with contextlib.closing(postgres.connect(database)) as base:
        found = rows(base.execute, "select t, octet_length(data) from task_snap")
        assert [t for t, _ in found] == [*range(60, 660, 60), 760]
        assert rows(base.execute, "select snapshots from source") == [(sum(size for _, size in found),)]


def test_what_was_committed_and_not_acknowledged_is_not_late_when_it_is_removed(
    tmp_path: Path, database: Address
) -> None:
    """The host never heard that it was copied, and tells of it; the database knows better."""
    looked(tmp_path, kept(0, 60, snaps=True))
    with contextlib.closing(postgres.connect(database)) as base:
        postgres.migrate(base)
        one = source(base, tmp_path)
        one.put(outbox.read(tmp_path / "raw", tmp_path / NAME, one.cursor, one.block))
    looked(tmp_path, kept(120, snaps=True))
    roller = Roller(tmp_path, ships=True)
    assert roller.keep_tasks(kept(int(9 * DAY)))
    Keeper(roller, Keep(records=DAY, tiers=(DAY, DAY, DAY))).expire()
    roller.close()
    assert figures(tmp_path, database).late == tiers(1, 1, 1, 1, STARTED + ENDED)


def test_they_are_kept_there_as_long_as_others(
    tmp_path: Path, database: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [int(day * DAY) for day in range(10)]
    looked(tmp_path, kept(*days, snaps=True))
    copy(tmp_path, database)
    with contextlib.closing(postgres.connect(database)) as base:
        one = source(base, tmp_path)
        keep = Keep(records=3.5 * DAY, tiers=(1.5 * DAY, 4.5 * DAY, 7.5 * DAY))
        one.expire(keep, 0.0)
        assert set(counts(base).values()) == {10}, "no clock is trusted"
        one.expire(keep, WALL + 9 * DAY + 60)
        assert counts(base) == tiers(2, 5, 8, 4)
        query = "select snapshots, (select octet_length(data) from task_snap limit 1) from source"
        ((before, size),) = rows(base.execute, query)
        assert before == 4 * size
        monkeypatch.setattr(shipper, "_GONE_AT_ONCE", 1)
        one.expire(replace(keep, snapshots=2 * size + 1), 0.0)
        assert rows(base.execute, "select t from task_snap") == [(days[8],), (days[9],)]
        assert rows(base.execute, "select snapshots from source") == [(2 * size,)]
    assert figures(tmp_path, database).late == {}, "what the database removes is not late"


def test_large_snapshots_come_a_few_at_once(tmp_path: Path, database: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    one = kept(*range(60, 660, 60), snaps=True)
    looked(tmp_path, one)
    monkeypatch.setattr(outbox, "BLOCK_BYTES", 3 * len(one.snapshots[0].data))
    seen = []
    read = outbox.read

    def counted(*given: object) -> outbox.Load:
        load = read(*given)  # type: ignore[arg-type]
        seen.append(len(load.rows.get("task_snap", ())))
        return load

    monkeypatch.setattr(outbox, "read", counted)
    copy(tmp_path, database)
    assert [n for n in seen if n] == [3, 3, 3, 1]
    with sqlite3.connect(tmp_path / NAME) as base:
        assert base.execute("select count(*) from outbox").fetchone() == (0,)


# -- the hub -------------------------------------------------------------------------------------------------------


def test_the_hub_adds_up_hosts_and_shows_one(tmp_path: Path, database: Address) -> None:
    """Of one host there is a second without a sample, and its clock runs half a second ahead: the sum has no dent."""
    data = zlib.compress(listing_text(TASKS).encode())
    snap = Snapshot(Moment("b2", 3610 * NS, (WALL + 3610) * NS), 7, data)
    machine(tmp_path / "one", "one", kept(*range(3600, 3660), boot="b1", rss=100))
    machine(
        tmp_path / "two", "two", kept(*range(3600, 3620), *range(3623, 3640), boot="b2", wall=WALL + 0.5, rss=40),
        Kept((), (snap,)),
    )  # fmt: skip
    for host in ("one", "two"):
        copy(tmp_path / host, database)
    with showing(tmp_path, database) as hub:
        span = f"begin={WALL + 3600}&end={WALL + 3660}&step=1"
        one, two, both = (hub.get(f"/api/v1/tasks/rates?{span}{host}") for host in ("&host=one", "&host=two", ""))
        assert one["rss"] == [100] * 60
        assert (two["rss"][5], two["rss"][20:23]) == (40, [None] * 3)
        assert both["rss"][2:38] == [140] * 36
        assert both["rss"][42:58] == [100] * 16
        assert (both["rss_most"][5], both["vm"][5], both["states"]["sleeping"][5]) == (140, 1800, 160)
        assert (one["started"][5], two["started"][20:23], both["started"][5:24:9]) == (3, [None] * 3, [6, 6, 6])
        assert (both["ended"][21], both["looked"][5], both["looked"][21]) == (1, 1.0, 1.0)
        assert hub.get("/api/v1/tasks/rates?begin=0&end=60&step=1")["rss"] == [None] * 60
        now = hub.get("/api/v1/tasks?host=two")["trouble"]
        assert now == {
            "detail": "the tasks of now are on the host's own page alone",
            "hint": "`as of` takes a snapshot of one host",
        }
        found = hub.get(f"/api/v1/tasks?host=two&at={WALL + 3600}")
        assert (found["n"], found["rows"]["pid"][:2], found["trouble"]) == (7, [1, 2], None)
        assert "no snapshot" in hub.get(f"/api/v1/tasks?host=one&at={WALL + 3600}")["trouble"]["detail"]
        assert hub.get(f"/api/v1/tasks?at={WALL + 3600}")["trouble"] == {
            "detail": "the tasks one by one are those of a host",
            "hint": "the list of hosts shows one alone",
        }


def test_a_database_that_no_host_has_brought_up_to_date_has_none(database: Address) -> None:
    with contextlib.closing(postgres.connect(database)) as base:
        postgres.migrate(base, postgres.MIGRATIONS[:1])
        base.execute("insert into source (key, host) values ('k', 'one')")
    fleet = Fleet(database, seconds=PATIENCE)
    assert set(fleet.task_rates(WALL, WALL + 60, 1).rss) == {None}
    with pytest.raises(KmodlabError, match="there is no snapshot"):
        fleet.task_snapshot(WALL)
    assert Merged(fleet).task_sample() is None

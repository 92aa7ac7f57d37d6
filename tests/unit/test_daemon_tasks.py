"""The tasks of a machine: what its lister says is read strictly, sampled, kept as long as sums are, and asked for."""

from __future__ import annotations

import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kmodlab.daemon import lister, task_store, tasks
from kmodlab.daemon.collector import Live
from kmodlab.daemon.demo import Demo
from kmodlab.daemon.demo_tasks import DemoTasks
from kmodlab.daemon.lister import Moment, Reading, Then
from kmodlab.daemon.queries import History
from kmodlab.daemon.recorded import Replay
from kmodlab.daemon.retention import DAY, Keep, Keeper
from kmodlab.daemon.roller import Roller
from kmodlab.daemon.sampler import FRESH_SECONDS, RETRY_SECONDS, Sampler, until_next
from kmodlab.daemon.store import MIGRATIONS, Index
from kmodlab.daemon.task_store import Kept, Snapshot
from kmodlab.daemon.turnover import Comparison, Turnover
from kmodlab.errors import KmodlabError, ModuleUnavailable
from unit.live_source import HEAD, TASKS, listing_text, proc_of

from .daemon_tape import NS, PATIENCE

STATS = """==================== TASK STATISTICS ====================

Process States:
  Running:     {}
  Sleeping:    80
  Stopped:     2
  Zombie:      3
  Other:       30
  Total:       116

Memory Usage:
  Total Virtual Memory: 900 MB
  Total RSS:            {} MB

"""
WALL = 1_800_000_000


# -- what the files say --------------------------------------------------------------------------------------------


def test_the_counts_are_read_by_their_names() -> None:
    found = tasks.sample(STATS.format(1, 120))
    assert (found.states, found.vm, found.rss, found.total) == ((1, 80, 2, 3, 30), 900, 120, 116)


def test_counts_of_another_lister_are_not_guessed() -> None:
    with pytest.raises(KmodlabError, match=r"no line for 'zombie'"):
        tasks.sample(STATS.format(1, 120).replace("Zombie", "Undead"))


def test_the_list_is_read_by_its_columns() -> None:
    found = tasks.listing(listing_text(TASKS), WALL)
    assert (found.n, found.missing) == (7, ())
    assert list(found.columns["comm"]) == ["systemd", "kthreadd", "kworker/0:0", "sshd", "bash", "cc1", "gone"]
    compiler = {name: column[5] for name, column in found.columns.items()}
    assert compiler == {
        "pid": 1200, "ppid": 977, "comm": "cc1", "state": "RUNNING", "vm": 90000, "rss": 60000, "threads": 4,
        "uid": 1000, "gid": 1000,
    }  # fmt: skip


def test_an_older_lister_lacks_columns_and_a_newer_one_has_more() -> None:
    older = tasks.listing(listing_text(["1 0 systemd SLEEPING"], "PID PPID COMMAND STATE"), WALL)
    assert older.missing == ("VM(KB)", "RSS(KB)", "THREADS", "UID", "GID")
    arranged = tasks.Arranged(older, tasks.Order(sort="rss", tree=True))
    assert arranged.rows(("pid", "rss", "rss_sum"), 0, 9) == {"pid": [1], "rss_sum": [0], "depth": [0], "children": [0]}
    newer = tasks.listing(listing_text([f"{one} 0::/init" for one in TASKS], f"{HEAD} CGROUP"), WALL)
    assert (newer.n, newer.missing, "CGROUP" in newer.columns) == (7, (), False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no line with the names of its columns"),
        (listing_text(TASKS, "PID PPID COMMAND"), "no column for 'state'"),
        (listing_text([*TASKS, "9 1 two words SLEEPING 0 0 1 0 0"]), "a row that is none: '9 1 two words"),
        (listing_text([*TASKS, "x 1 y SLEEPING 0 0 1 0 0"]), "a pid that is no number"),
        (listing_text(TASKS).replace("listed: 7", "listed: 8"), "has 7 rows and says 8"),
    ],
)
def test_what_is_no_list_is_refused(text: str, said: str) -> None:
    with pytest.raises(KmodlabError, match=said):
        tasks.listing(text, WALL)


def test_the_pids_alone_are_those_of_the_list() -> None:
    text = listing_text(TASKS)
    assert tasks.pids(text) == list(tasks.listing(text, WALL).columns["pid"])
    assert tasks.pids(listing_text(["SLEEPING bash 977"], "STATE COMMAND PID")) == [977]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (listing_text([*TASKS, "x 1 y SLEEPING 0 0 1 0 0"]), "a row without a pid"),
        (listing_text(["SLEEPING bash"], "STATE COMMAND PID"), "a row without a pid"),
        (listing_text(TASKS).replace("listed: 7", "listed: 8"), "has 7 rows and says 8"),
        ("", "no line with the names of its columns"),
    ],
)
def test_pids_of_what_is_no_list_are_refused(text: str, said: str) -> None:
    with pytest.raises(KmodlabError, match=said):
        tasks.pids(text)


# -- orders, searches, trees ---------------------------------------------------------------------------------------


def rows(order: tasks.Order, *names: str, offset: int = 0, limit: int = 99) -> list[tuple[object, ...]]:
    """Return rows of the usual tasks."""
    arranged = tasks.Arranged(tasks.listing(listing_text(TASKS), WALL), order)
    found = arranged.rows(names, offset, limit)
    return list(zip(*(found[name] for name in names), strict=True))


def test_it_is_sorted_by_any_column_and_equals_by_pid() -> None:
    assert rows(tasks.Order("rss", True), "pid")[:3] == [(1200,), (1,), (402,)]
    assert rows(tasks.Order("rss", True), "pid")[4:] == [(2,), (7,), (1201,)]
    assert [name for (name,) in rows(tasks.Order("comm"), "comm")] == sorted(row.split()[2] for row in TASKS)
    assert rows(tasks.Order("state"), "state")[0] == ("IDLE",)
    assert rows(tasks.Order("pid"), "pid", offset=2, limit=2) == [(7,), (402,)]


@pytest.mark.parametrize(
    ("only", "pids"),
    [
        (tasks.Only(words=("K",)), [2, 7]),
        (tasks.Only(words=("977",)), [977]),
        (tasks.Only(words=("s", "h")), [402, 977]),
        (tasks.Only(states=frozenset({"running", "zombie"})), [1200, 1201]),
        (tasks.Only(ppid=977), [1200, 1201]),
        (tasks.Only(uid=1000, words=("cc",)), [1200]),
        (tasks.Only(pid=3), []),
    ],
)
def test_what_is_searched_for(only: tasks.Only, pids: list[int]) -> None:
    assert [pid for (pid,) in rows(tasks.Order(only=only), "pid")] == pids


def test_a_tree_has_the_sums_of_all_below() -> None:
    found = rows(tasks.Order(tree=True), "pid", "depth", "children", "tasks", "rss_sum")
    assert found == [
        (1, 0, 1, 5, 86000), (402, 1, 1, 4, 74000), (977, 2, 2, 3, 65000), (1200, 3, 0, 1, 60000), (1201, 3, 0, 1, 0),
        (2, 0, 1, 2, 0), (7, 1, 0, 1, 0),
    ]  # fmt: skip


def test_a_tree_sorts_siblings_closes_and_keeps_the_parents_of_what_is_found() -> None:
    assert rows(tasks.Order("pid", True, tree=True), "pid") == [(2,), (7,), (1,), (402,), (977,), (1201,), (1200,)]
    assert rows(tasks.Order("rss_sum", tree=True, closed=frozenset({402})), "pid") == [(2,), (7,), (1,), (402,)]
    order = tasks.Order(tree=True, closed=frozenset({1}), only=tasks.Only(words=("cc1",)))
    assert rows(order, "pid") == [(1,), (402,), (977,), (1200,)]
    assert tasks.Arranged(tasks.listing(listing_text(TASKS), WALL), order).matched == 1


def test_parents_in_a_circle_are_cut_once() -> None:
    """A list is no picture of one moment: a PID that is used again may be its own grandchild's."""
    text = listing_text(
        ["5 6 a S 0 1 1 0 0", "6 7 b S 0 2 1 0 0", "7 5 c S 0 4 1 0 0", "8 8 d S 0 8 1 0 0", "9 7 e S 0 1 1 0 0"]
    )
    arranged = tasks.Arranged(tasks.listing(text, WALL), tasks.Order(tree=True))
    found = arranged.rows(("pid", "tasks", "rss_sum"), 0, 9)
    assert (found["pid"], found["depth"]) == ([5, 7, 6, 9, 8], [0, 1, 2, 2, 0])
    assert (found["tasks"], found["rss_sum"]) == ([4, 3, 1, 1, 1], [8, 7, 2, 1, 8])


# -- the files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with a task lister."""
    return proc_of(tmp_path / "proc", STATS.format(1, 120), listing_text(TASKS))


def held() -> int:
    """How many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_module_that_goes_and_comes_back(proc: Path) -> None:
    """What was opened before it went cannot be read any more; the next reading opens anew."""
    opened: list[lister.Opened] = []

    def open_them() -> lister.Opened:
        opened.append(lister.opened(proc))
        return opened[-1]

    before = held()
    files = lister.Files(open_them)
    assert files.stats().moment.boot == "b007"
    assert "kworker/0:0" in files.listing().text
    assert len(opened) == 1
    broken, other = os.pipe()
    os.dup2(broken, opened[0].stats)
    (proc / lister.STATS).rename(proc / "gone")
    with pytest.raises(ModuleUnavailable, match="the module task_lister is not loaded on this machine"):
        files.stats()
    (proc / "gone").rename(proc / lister.STATS)
    assert files.stats().text == STATS.format(1, 120)
    for one in (broken, other):
        os.close(one)
    files.close()
    assert held() == before


def test_a_proc_that_hides_processes_is_said(proc: Path) -> None:
    error = lister.unavailable(lister.STATS, PermissionError(1, "no"))
    assert error.message == "/proc/task_stats is hidden from the recorder"
    assert "hidepid=" in str(error.hint)
    (proc / lister.LIST).unlink()
    (proc / lister.LIST).symlink_to("/etc/passwd")
    with pytest.raises(KmodlabError, match="/proc/task_lister cannot be read"):
        lister.opened(proc)


# -- samples -------------------------------------------------------------------------------------------------------


@dataclass
class Hand:
    """A lister that says what it is given, at a clock that a test sets."""

    now: float = 100.5
    boot: str = "b007"
    rss: int = 120
    wall: float = WALL
    cost: float = 0.0
    rows: list[str] = field(default_factory=lambda: list(TASKS))
    error: KmodlabError | None = None
    asked: int = 0
    closed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def moment(self) -> Moment:
        return Moment(self.boot, int(self.now * NS), int((self.wall + self.now) * NS))

    def stats(self) -> Reading:
        if self.error:
            raise self.error
        when = self.moment()
        self.now += self.cost
        return Reading(when, STATS.format(1, self.rss))

    def listing(self) -> Reading:
        with self.lock:
            self.asked += 1
        if self.error:
            raise self.error
        when = self.moment()
        self.now += self.cost
        return Reading(when, listing_text(self.rows))

    def past(self) -> Iterable[Then]:
        return ()

    def close(self) -> None:
        self.closed = True


def sampler(hand: Hand) -> Sampler:
    """Return a sampler that has the clock of a hand."""
    return Sampler(hand, clock=lambda: hand.now)


@pytest.mark.parametrize(
    ("now", "pace", "left"),
    [(10.5, 0.0, 1.0), (10.52, 0.0, 0.98), (10.9, 0.0, 0.6), (10.3, 0.0, 1.2), (10.5, 7.0, 7.0)],
)
def test_samples_are_taken_in_the_middle_of_each_second(now: float, pace: float, left: float) -> None:
    assert until_next(now, pace) == pytest.approx(left)


def test_a_sample_a_second_and_a_snapshot_a_minute() -> None:
    hand = Hand()
    one = sampler(hand)
    for _ in range(121):
        hand.now += one.look()
    kept = one.take()
    assert [at.t // NS for at, _ in kept.samples] == list(range(100, 221))
    assert [snap.moment.t // NS for snap in kept.snapshots] == [100, 160, 220]
    assert kept.snapshots[0].n == 116
    assert zlib.decompress(kept.snapshots[0].data).decode() == listing_text(TASKS)
    assert one.take() == Kept((), ())
    one.give_back(kept)
    assert one.take() == kept


def test_a_machine_on_which_looking_takes_long_is_looked_at_less_often() -> None:
    hand = Hand(cost=0.2)
    one = sampler(hand)
    assert one.look() == pytest.approx(10.0, abs=1)
    one.take()
    hand.cost = 3.0
    hand.now, left = 1000.5, one.look()
    assert left == pytest.approx(150, abs=1)
    hand.now += left
    one.look()
    assert len(one.take().snapshots) == 1, "the next is due after 150 s"
    hand.cost, hand.now = 0.5, 3000.0
    one.listing()
    asked, hand.now = hand.asked, hand.now + 4.4
    one.listing()
    assert hand.asked == asked, "who asks gets one that is five seconds old at most"


# -- what came and went --------------------------------------------------------------------------------------------


def at(second: float, boot: str = "b007") -> Moment:
    return Moment(boot, int(second * NS), int((WALL + second) * NS))


def test_two_looks_differ_by_what_came_and_what_went() -> None:
    one = Comparison()
    assert one.look(at(10), [1, 2, 3]) is None
    assert one.total is None, "nothing is known yet, which is no zero"
    assert one.look(at(11.5), [1, 3, 4, 5]) == Turnover(at(11.5), 1500, 2, 1)
    assert one.look(at(12.5), [1, 3, 4, 5]) == Turnover(at(12.5), 1000, 0, 0)
    assert one.look(at(13.5), []) == Turnover(at(13.5), 1000, 0, 4)
    assert one.total == (2, 5)


def test_what_nobody_saw_is_not_made_up() -> None:
    one = Comparison()
    one.look(at(10), [1, 2])
    one.forget()
    assert one.look(at(20), [3, 4]) is None, "nobody looked in between"
    assert one.look(at(25, "b008"), [1]) is None, "another boot has other tasks"
    assert one.look(at(25, "b008"), [1, 9]) is None, "a clock that stands still measures nothing"
    assert one.total is None


def test_each_second_is_compared_with_the_one_before() -> None:
    hand = Hand()
    one = sampler(hand)
    gone: list[Turnover] = []
    for rows in (TASKS, TASKS[1:], [*TASKS[1:], "3000 1 ls RUNNING 0 0 1 0 0"], TASKS):
        hand.rows = list(rows)
        hand.now += one.look()
        # Who lives between two looks is seen by none of them.
        hand.rows = [*rows, "2999 1 true RUNNING 0 0 1 0 0"]
        gone += one.take().turnovers
    assert [(found.moment.t // NS, found.ms, found.started, found.ended) for found in gone] == [
        (101, 1000, 0, 1), (102, 1000, 1, 0), (103, 1000, 1, 1),
    ]  # fmt: skip
    assert one.turned == (2, 2)
    assert one.take() == Kept((), (), ())


def test_a_module_that_was_away_leaves_a_gap() -> None:
    hand = Hand()
    one = sampler(hand)
    hand.now += one.look()
    hand.error = ModuleUnavailable("the module task_lister is not loaded on this machine")
    hand.now += one.look()
    hand.error, hand.rows = None, []
    hand.now += one.look()
    assert one.take().turnovers == ()
    hand.rows = list(TASKS)
    hand.now += one.look()
    kept = one.take()
    assert [found.started for found in kept.turnovers] == [7]
    one.give_back(kept)
    assert one.take() == kept


def test_comparing_takes_half_a_percent_of_the_time() -> None:
    hand = Hand()
    one = sampler(hand)
    hand.now += one.look()
    listing, hand.asked = hand.listing, 0

    def slow() -> Reading:
        hand.now += 0.05
        return listing()

    hand.listing = slow  # type: ignore[method-assign]
    while hand.now < 201:
        hand.now += one.look()
    assert hand.asked == pytest.approx(100 * 0.005 / 0.05, abs=1)


def test_who_asks_at_once_gets_the_same() -> None:
    hand = Hand()
    one = sampler(hand)
    first = one.listing()
    assert one.listing() is first
    assert hand.asked == 1
    hand.now += 1.0
    assert one.listing() is not first
    assert hand.asked == 2
    assert one.listing().wall == pytest.approx(WALL + 101.5)


def test_why_nothing_is_seen_and_that_it_is_again() -> None:
    hand = Hand(error=ModuleUnavailable("the module task_lister is not loaded on this machine"))
    one = sampler(hand)
    assert one.look() == RETRY_SECONDS
    assert one.latest is None
    for _ in range(3):
        with pytest.raises(ModuleUnavailable, match="is not loaded"):
            one.listing()
    assert hand.asked == 1, "a second passes before it is tried again"
    hand.error = None
    hand.now += 1
    assert one.look() == pytest.approx(1.0)
    assert one.latest == tasks.Sample((1, 80, 2, 3, 30), 900, 120)
    hand.now += FRESH_SECONDS
    assert one.latest is None
    one.stop()
    assert hand.closed


# -- the index -----------------------------------------------------------------------------------------------------


def kept(*seconds: int, boot: str = "b007", wall: float = WALL, rss: int = 120, snaps: bool = False) -> Kept:
    """Return samples of some seconds since a boot, and as many snapshots."""
    moments = [Moment(boot, second * NS, int((wall + second) * NS)) for second in seconds]
    data = zlib.compress(listing_text(TASKS).encode())
    samples = [(at, tasks.Sample((at.t // NS % 4, 80, 2, 3, 30), 900, rss)) for at in moments]
    return Kept(tuple(samples), tuple(Snapshot(at, 7, data) for at in moments) if snaps else ())


def write(folder: Path, *some: Kept) -> History:
    """Write them as the roller does, and return the history."""
    roller = Roller(folder)
    for one in some:
        assert roller.keep_tasks(one)
    roller.close()
    return History(folder, PATIENCE)


def test_samples_are_summed_by_second_minute_and_hour(tmp_path: Path) -> None:
    history = write(tmp_path, kept(*range(3600, 3660)), kept(*range(3660, 3720), rss=180), kept(3720, rss=60))
    found = history.task_rates(WALL + 3600, WALL + 3721, 1)
    assert (found.begin, found.step, found.steps, found.tier) == (WALL + 3600, 1, 121, 1)
    assert found.states["running"][:5] == (0, 1, 2, 3, 0)
    assert (found.rss[0], found.rss[60], found.rss[120], found.vm[0]) == (120, 180, 60, 900)
    minutes = history.task_rates(WALL + 3600, WALL + 3720, 60)
    assert (minutes.states["running"], minutes.rss, minutes.rss_most) == ((1.5, 1.5), (120, 180), (120, 180))
    hour = history.task_rates(WALL, WALL + 5 * DAY, 3600)
    assert (hour.tier, hour.rss[:3], hour.rss_most[1]) == (3600, (None, 149.26, None), 180)


def turned(*seconds: float, ms: int = 1000, started: int = 3, ended: int = 1) -> Kept:
    """Return what came and went at some seconds."""
    return Kept((), (), tuple(Turnover(at(second), ms, started, ended) for second in seconds))


def test_what_came_and_went_is_summed_by_second_minute_and_hour(tmp_path: Path) -> None:
    seconds = kept(*range(3600, 3720))
    history = write(tmp_path, seconds, turned(*range(3600, 3660)), turned(3670, ms=10_000, ended=4))
    found = history.task_rates(WALL + 3600, WALL + 3720, 1)
    assert (found.started[:2], found.ended[:2], found.looked[:2]) == ((3, 3), (1, 1), (1.0, 1.0))
    assert (found.started[60:72], found.looked[70]) == ((None,) * 10 + (3, None), 10.0)
    minutes = history.task_rates(WALL + 3600, WALL + 3720, 60)
    assert (minutes.started, minutes.ended, minutes.looked) == ((180, 3), (60, 4), (60.0, 10.0))
    hour = history.task_rates(WALL, WALL + 5 * DAY, 3600)
    assert (hour.started[:3], hour.ended[1], hour.looked[1]) == ((None, 183, None), 64, 70.0)


def test_an_index_without_what_came_and_went_gets_it_and_keeps_its_own(tmp_path: Path) -> None:
    older = Index(tmp_path, MIGRATIONS[:3])
    older.base.execute("insert into task_boot values (1, 'b007')")
    older.base.execute("insert into task_s values (1, 3600, 1, 1, 80, 2, 3, 30, 900, 120, 120)")
    older.close()
    history = write(tmp_path, kept(3601), turned(3601))
    found = history.task_rates(WALL + 3600, WALL + 3602, 1)
    assert (found.rss, found.started, found.looked) == ((120, 120), (None, 3), (None, 1.0))
    with sqlite3.connect(tmp_path / "index.db") as base:
        assert base.execute("pragma user_version").fetchone() == (len(MIGRATIONS),)


def test_a_clock_that_is_set_moves_what_is_kept_and_another_boot_is_another(tmp_path: Path) -> None:
    later = WALL + 500_000
    history = write(tmp_path, kept(10, 11), kept(12, wall=WALL + 1000), kept(10, 11, boot="c0de", wall=later))
    found = history.task_rates(WALL, WALL + 2000, 1)
    assert [index for index, one in enumerate(found.rss) if one is not None] == [1010, 1011, 1012]
    assert sum(one is not None for one in history.task_rates(later, later + 100, 1).rss) == 2
    base = sqlite3.connect(tmp_path / "index.db")
    assert base.execute("select count(*) from clock").fetchone() == (3,)
    base.close()


def test_the_snapshot_that_is_nearest(tmp_path: Path) -> None:
    history = write(tmp_path, kept(60, 120, 180, snaps=True), kept(60, boot="c0de", wall=WALL + 10_000, snaps=True))
    for at, wall in ((0, 60), (WALL + 91, WALL + 120), (WALL + 89, WALL + 60), (WALL + 9_000, WALL + 10_060), (9e9, 0)):
        found = history.task_snapshot(at)
        assert found.wall == {0: WALL + 60, 9e9: WALL + 10_060}.get(at, wall)
        assert found.n == 7
    assert history.task_snapshot(0) is history.task_snapshot(1)


def test_there_is_no_snapshot_or_a_damaged_one(tmp_path: Path) -> None:
    history = write(tmp_path, kept(60))
    with pytest.raises(KmodlabError, match="there is no snapshot of the tasks yet"):
        history.task_snapshot(WALL)
    write(tmp_path, Kept((), (Snapshot(Moment("b007", 60 * NS, (WALL + 60) * NS), 1, b"no"),)))
    with pytest.raises(KmodlabError, match="is gone or damaged"):
        history.task_snapshot(WALL)


def test_they_are_kept_as_long_as_sums_and_records_are(tmp_path: Path) -> None:
    days = [int(day * DAY) for day in range(10)]
    write(tmp_path, kept(*days, snaps=True), turned(*days))
    roller = Roller(tmp_path)
    assert roller.keep_tasks(kept(days[-1] + 1))
    keeper = Keeper(roller, Keep(records=3.5 * DAY, tiers=(1.5 * DAY, 4.5 * DAY, 7.5 * DAY)))
    keeper.expire()
    left = {
        table: roller.index.base.execute(f"select count(distinct t / 86400) from task_{table}").fetchone()[0]
        for table in ("s", "m", "h", "snap", "turn_s", "turn_m", "turn_h")
    }
    assert left == {"s": 2, "m": 5, "h": 8, "snap": 4, "turn_s": 2, "turn_m": 5, "turn_h": 8}
    roller.close()


def test_snapshots_have_a_limit_of_bytes_whatever_the_clock_says(tmp_path: Path) -> None:
    roller = Roller(tmp_path)
    one = kept(*range(60, 660, 60), snaps=True)
    size = len(one.snapshots[0].data)
    keeper = Keeper(roller, Keep(snapshots=4 * size + 1))
    query = "select t from task_snap order by t"
    assert roller.keep_tasks(one)
    keeper.expire()
    assert [t for (t,) in roller.index.base.execute(query)] == [420, 480, 540, 600]
    assert roller.keep_tasks(kept(660, 720, snaps=True))
    keeper.expire()
    assert [t for (t,) in roller.index.base.execute(query)] == [540, 600, 660, 720]
    roller.close()


def test_an_index_of_before_gets_the_tables_and_keeps_its_own(tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    older = Index(tmp_path, MIGRATIONS[:1])
    older.base.execute("insert into change values (null, 1, 2, 'ada', 'clear', '', '')")
    older.close()
    roller = Roller(tmp_path)
    assert roller.index.base.execute("pragma user_version").fetchone() == (len(MIGRATIONS),)
    assert roller.index.base.execute("select who from change").fetchall() == [("ada",)]
    assert roller.keep_tasks(kept(60, snaps=True))
    roller.close()
    history = History(tmp_path, PATIENCE)
    assert history.task_snapshot(WALL).n == 7
    assert history.ledger().open() == []


def test_what_cannot_be_written_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roller = Roller(tmp_path)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(task_store, "write", full)
        assert not roller.keep_tasks(kept(60))
    assert roller.keep_tasks(kept(60))
    roller.close()


# -- the collector -------------------------------------------------------------------------------------------------


def test_the_collector_keeps_what_it_sees_and_answers(tmp_path: Path) -> None:
    hand = Hand()
    live = Live(Replay([]), tmp_path, lister=hand)
    with live:
        assert live.tasks().n == 7
    assert hand.closed
    again = History(tmp_path, PATIENCE)
    found = again.task_rates(WALL + 100, WALL + 102, 1)
    assert (found.states["sleeping"][0], found.rss[0]) == (80, 120)
    assert again.task_snapshot(WALL).n == 7


def test_a_history_without_a_machine_says_so(tmp_path: Path) -> None:
    with Live(Replay([]), tmp_path) as live:
        with pytest.raises(KmodlabError, match="is not of a machine whose tasks can be seen"):
            live.tasks()
        assert live.task_sample() is None


# -- the machine that is made up -----------------------------------------------------------------------------------


def test_the_demo_has_tasks_and_a_past_of_them(tmp_path: Path) -> None:
    feed = Demo(past=120)
    with Live(feed, tmp_path, lister=feed.lister) as live:
        live.wait(lambda tick: tick.wall > 0 and tick.behind < 2)
        found = live.tasks()
        assert {"systemd", "kthreadd", "snapshot\\040saver"} <= set(map(str, found.columns["comm"]))
        live.wait(lambda _: sum(one is not None for one in live.task_rates(found.wall - 120, found.wall, 1).rss) >= 118)
        past = live.task_rates(found.wall - 120, found.wall, 1)
        assert sum(one is not None for one in past.started) >= 117
        # A build takes 40 of 90 seconds, and begins a compiler, and what it calls, in each of them.
        assert 2 * 30 < sum(filter(None, past.started)) < 2 * 80
        assert set(past.looked[:100]) <= {None, 1.0}
        live.wait(lambda _: live.task_turnover() is not None)
        assert found.wall - 130 < live.tasks(found.wall - 120).wall < found.wall - 50


def test_the_demos_files_are_as_the_contract_has_them() -> None:
    one = DemoTasks(1, "b007", 200)
    for then in one.past():
        counted = tasks.sample(then.stats.text)
        assert len(then.pids) == counted.total
        if then.listing:
            found = tasks.listing(then.listing.text, 0)
            assert list(found.columns["pid"]) == [*then.pids]
            assert found.n == counted.total
            assert sum(found.numbers("rss")) // 1024 == counted.rss
            assert list(found.columns["pid"]) == sorted(found.columns["pid"])

"""The index's schema: newer ones are refused, migrations are whole or not at all; questions have a time limit."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from kmodlab.daemon import queries
from kmodlab.daemon.queries import History
from kmodlab.daemon.roller import Limits
from kmodlab.daemon.store import MIGRATIONS, Index
from kmodlab.daemon.tick import Filter, Row
from kmodlab.errors import KmodlabError, UsageError
from kmodlab.paths import project_dir

from .daemon_tape import PATIENCE, Tape, roll, write

#: a migration that says when it is half done, and waits to be killed
HALF = """
import sys, time
from pathlib import Path
from kmodlab.daemon.roller import Limits
from kmodlab.daemon.store import MIGRATIONS, Index
def half(base):
    base.execute("create table new (a integer) strict")
    base.execute("alter table hole rename to gap")
    base.execute("delete from roll_h")
    print("half", flush=True)
    sys.stdin.read()
Index(Path(sys.argv[1]), (*MIGRATIONS, half))
"""


def recorded(folder: Path, records: int = 4_000) -> None:
    """Record some, in small blocks, which overlap those of the other CPU."""
    tape = Tape(size=250, lossy=False)
    tape.lag = 90
    write(folder, [*tape.begin(), *tape.batches(records), tape.counters()])
    roll(folder, Limits(flush_bytes=1), most=1)


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    recorded(tmp_path)
    base = sqlite3.connect(tmp_path / "index.db")
    base.execute("pragma user_version = 99")
    base.close()
    before = (tmp_path / "index.db").read_bytes()
    with pytest.raises(KmodlabError, match=f"has the schema 99, this program knows {len(MIGRATIONS)}") as caught:
        Index(tmp_path)
    assert caught.value.hint == "a newer kmodlab wrote it: use that one, or record into another folder"
    assert (tmp_path / "index.db").read_bytes() == before


def test_a_migration_that_is_killed_in_the_middle_leaves_the_old(tmp_path: Path) -> None:
    recorded(tmp_path)
    env = {**os.environ, "PYTHONPATH": str(project_dir() / "src")}
    argv = [sys.executable, "-c", HALF, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as child:
        assert child.stdout
        assert child.stdout.readline() == "half\n"
        child.send_signal(signal.SIGKILL)
    index = Index(tmp_path)
    assert index.base.execute("pragma user_version").fetchone() == (len(MIGRATIONS),)
    assert not index.base.execute("select 1 from sqlite_schema where name in ('new', 'gap')").fetchall()
    index.close()
    assert History(tmp_path, PATIENCE).ledger().open() == []
    index = Index(tmp_path, (*MIGRATIONS, "create table new (a integer) strict"))
    assert index.base.execute("pragma user_version").fetchone() == (len(MIGRATIONS) + 1,)
    index.close()


def test_a_migration_that_fails_leaves_the_old(tmp_path: Path) -> None:
    recorded(tmp_path)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        Index(tmp_path, (*MIGRATIONS, "create table new (a integer) strict;\ndrop table gone"))
    Index(tmp_path).close()
    assert History(tmp_path, PATIENCE).ledger().open() == []


def test_there_is_no_history(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no history in"):
        History(tmp_path, PATIENCE)


def test_a_question_has_a_time_limit(tmp_path: Path) -> None:
    recorded(tmp_path)
    base = sqlite3.connect(tmp_path / "index.db")
    rows = ((1, 10_000 + number, number % 7, 0, 1, 0, 0, b"") for number in range(60_000))
    base.executemany("insert into roll_h values (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    base.commit()
    base.close()
    history = History(tmp_path, seconds=0.001)
    begun = time.process_time()
    with pytest.raises(KmodlabError, match=r"the question took longer than 0.001 s") as caught:
        history.top(0, 9e9, "call")
    assert time.process_time() - begun < 0.5
    assert caught.value.hint == "ask for a shorter time, or for a longer step"


def test_a_search_that_is_out_of_time_says_where_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page all is found, though none has any time at all."""
    recorded(tmp_path)
    only = Filter(calls=frozenset(["read"]))
    expected = [row.seq for row in History(tmp_path, PATIENCE).events(0, 9e9, only, 9_999).rows]
    history = History(tmp_path, PATIENCE)
    monkeypatch.setattr(queries._Search, "__setattr__", _no_time, raising=False)
    seqs, before, pages = [], None, 0
    while True:
        page = history.events(0, 9e9, only, 300, before)
        assert page.stopped or page.before is None or len(page.rows) == 300
        seqs += [row.seq for row in page.rows]
        pages += 1
        if (before := page.before) is None:
            break
    assert seqs == expected
    assert pages > len(expected) // 300 + 1


def _no_time(self: object, name: str, value: object) -> None:
    object.__setattr__(self, name, queries.Deadline(-1.0) if name == "_deadline" else value)


@pytest.mark.parametrize(("busy", "clock", "over"), [(0.9, 9.9, False), (1.1, 1.1, True), (0.1, 10.1, True)])
def test_a_question_has_the_time_that_its_own_thread_takes(
    monkeypatch: pytest.MonkeyPatch, busy: float, clock: float, over: bool
) -> None:
    """On a busy machine it takes longer by the clock; a disk that does not answer ends it all the same."""
    times = SimpleNamespace(thread_time=lambda: 7.0, monotonic=lambda: 70.0)
    monkeypatch.setattr(queries, "time", times)
    deadline = queries.Deadline(1.0)
    times.thread_time, times.monotonic = lambda: 7.0 + busy, lambda: 70.0 + clock
    assert deadline.over() is over


def test_pages_of_events_are_each_row_once_newest_first(tmp_path: Path) -> None:
    recorded(tmp_path)
    history = History(tmp_path, PATIENCE)
    pages: list[Row] = []
    before = None
    while True:
        page = history.events(0, 9e9, None, 333, before)
        pages += page.rows
        if (before := page.before) is None:
            break
    made = [row.clock + (row.latency or 0) for row in pages]
    assert made == sorted(made, reverse=True)
    assert len({(row.cpu, row.seq) for row in pages}) == len(pages) == 4_000
    oldest = list(history.export(0, 9e9))
    assert [(row.cpu, row.seq) for row in oldest] == [(row.cpu, row.seq) for row in reversed(pages)]


def test_a_process_is_found_by_its_index_and_rows_by_any_condition(tmp_path: Path) -> None:
    recorded(tmp_path)
    history = History(tmp_path, PATIENCE)
    rows = list(history.export(0, 9e9))
    pid = rows[0].pid
    found = history.events(0, 9e9, Filter(pid=pid), 9_999).rows
    assert {(row.cpu, row.seq) for row in found} == {(row.cpu, row.seq) for row in rows if row.pid == pid}
    found = history.events(0, 9e9, Filter(text="/srv/data/7/"), 9_999, matches=lambda row: row.status == "FAILED").rows
    wanted = [row for row in rows if '"/srv/data/7/file"' in row.arguments and row.status == "FAILED"]
    assert {(row.cpu, row.seq) for row in found} == {(row.cpu, row.seq) for row in wanted}
    assert wanted


@pytest.mark.parametrize(("begin", "end"), [(5.0, 5.0), (6.0, 5.0), (float("nan"), 5.0)])
def test_a_time_that_is_none_is_refused(begin: float, end: float, tmp_path: Path) -> None:
    recorded(tmp_path, 500)
    with pytest.raises(UsageError, match="is no time"):
        History(tmp_path, PATIENCE).rates(begin, end, 1)


@pytest.mark.parametrize("before", ["1.2.drop table", "1.2.3", "", "1.99999999999999999999.1.1", "1.2.-3.4", "1.2.3.٣"])
def test_a_place_that_is_none_is_refused(tmp_path: Path, before: str) -> None:
    recorded(tmp_path, 500)
    for ask in (History(tmp_path, PATIENCE).events, History(tmp_path, PATIENCE).blocked):
        with pytest.raises(UsageError, match="is no place in a list"):
            ask(0, 9e9, before=before)


def test_a_time_beyond_what_a_database_can_count_is_empty(tmp_path: Path) -> None:
    recorded(tmp_path, 500)
    found, times = History(tmp_path, PATIENCE), (2e11, 2.1e11)
    assert (found.events(*times).rows, found.blocked(*times).rows, found.changes(*times)) == ((), (), [])
    assert (found.top(*times, "call"), dict(found.rates(*times, 3600).series)) == ([], {})
    assert found.events(*times, before=f"1.{2**63 - 1}.1.1").rows == ()

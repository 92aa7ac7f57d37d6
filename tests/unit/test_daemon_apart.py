"""Blocked calls come twice, among all and by a way of their own: each is shown once, whichever way has lost it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from kmodlab.daemon import items, recorded
from kmodlab.daemon.items import Blocked, Item
from kmodlab.daemon.journal import Journal
from kmodlab.daemon.ledger import equations
from kmodlab.daemon.queries import History
from kmodlab.daemon.roller import Roller

from .daemon_tape import NS, PATIENCE, batch, begin, clock, drain, ids, record, roll, write

CALL = ids()["unlinkat"]


def call(seq: int, pid: int = 500, cpu: int = 0) -> bytes:
    """Return the record of a blocked call."""
    return record(CALL, seq=seq, at=100 * NS + seq, pid=pid, blocked=True, path=b"/etc/passwd", cpu=cpu)


def apart(number: int, *seqs: int, lost: int = 0, cpu: int = 0, pid: int = 500) -> Blocked:
    """Return what the group of blocked calls is sent."""
    data = b"".join(call(seq, pid, cpu) for seq in seqs)
    return Blocked(cpu, number, len(seqs), lost, data)


def seen(folder: Path) -> list[int]:
    """Return the numbers of the blocked calls that are kept, newest first."""
    return [row.seq for row in History(folder, PATIENCE).blocked(0, 9e9, 1000).rows]


def test_each_is_kept_and_shown_once(tmp_path: Path) -> None:
    """Of 0 to 5 the first two come both ways, in either order; 2 and 3 only apart, 4 and 5 only among all."""
    write(
        tmp_path,
        [
            begin(), clock(99 * NS),
            apart(0, 0), batch([call(0), call(1)]), apart(1, 1), apart(2, 2, 3), batch([call(4), call(5)]),
        ],
    )  # fmt: skip
    roller = Roller(tmp_path)
    roller.tick()  # from the first one on there is room for some
    shown: list[int] = []
    while roller.step(1):
        shown += [row.seq for row in roller.tick().blocked]
    assert sorted(shown) == [0, 1, 2, 3, 4, 5]
    roller.close()
    assert seen(tmp_path) == [5, 4, 3, 2, 1, 0]
    rows = History(tmp_path, PATIENCE).blocked(0, 9e9).rows
    assert {(row.call, row.status, row.pid) for row in rows} == {("unlinkat", "BLOCKED", 500)}
    base = sqlite3.connect(tmp_path / "index.db")
    assert base.execute("select count(*) from blocked").fetchone() == (6,)
    base.close()


def test_the_same_number_of_another_cpu_is_another_call(tmp_path: Path) -> None:
    write(tmp_path, [begin(), clock(99 * NS), apart(0, 7), batch([call(7, cpu=1)], cpu=1)])
    roll(tmp_path)
    assert seen(tmp_path) == [7, 7]


def test_the_daemons_own_are_not_shown(tmp_path: Path) -> None:
    write(tmp_path, [begin(), clock(99 * NS), apart(0, 7, pid=77), apart(1, 8)])
    roller = Roller(tmp_path, frozenset([77]))
    drain(roller)
    roller.close()
    assert seen(tmp_path) == [8]


def test_they_have_books_of_their_own(tmp_path: Path) -> None:
    """The recorder hears from number 7 on, of which 2 were lost; later 4 were, and a full socket has missed 3."""
    write(tmp_path, [begin(), clock(99 * NS), apart(9, 1, 2, lost=2), apart(15, 20, lost=4), apart(19, 30, 31)])
    roll(tmp_path)
    books = History(tmp_path, PATIENCE).ledger()
    assert books.open() == []
    (one,) = [one for one in equations(books.cpus[1, 0]) if one.name == "blocked"]
    assert one.left == ("blocked_next", 21)
    assert one.right == {"blocked_begun": 7, "blocked_came": 5, "blocked_missing": 9, "blocked_let_go": 0}


def test_the_books_go_on_where_the_recorder_comes_back(tmp_path: Path) -> None:
    write(tmp_path, [begin(issued={0: 5}), clock(99 * NS), apart(0, 1, 2)])
    write(tmp_path, [begin(issued={0: 9}), clock(99 * NS), apart(5, 8)])
    roll(tmp_path)
    terms = History(tmp_path, PATIENCE).ledger().cpus[1, 0]
    assert [terms[f"blocked_{name}"] for name in ("begun", "next", "came", "missing")] == [0, 6, 3, 3]


def test_another_load_counts_anew(tmp_path: Path) -> None:
    write(tmp_path, [begin("a"), clock(99 * NS), apart(0, 1, 2), begin("b"), clock(99 * NS), apart(0, 1)])
    roll(tmp_path)
    books = History(tmp_path, PATIENCE).ledger()
    assert [books.cpus[epoch, 0]["blocked_next"] for epoch in (1, 2)] == [2, 1]
    assert seen(tmp_path) == [1, 2, 1]


@pytest.mark.parametrize("pending", [4_000, 1_000])
def test_where_the_disk_is_too_slow_they_are_the_last_to_go(tmp_path: Path, pending: int) -> None:
    """And where not even they have room, it is said how many are gone."""
    journal = Journal(tmp_path, pending_bytes=pending)
    for one in (begin(), clock(99 * NS)):
        journal.take(one)
    for number in range(6):
        journal.take(apart(number, 100 * number))
        journal.take(batch([record(ids()["read"], seq=100 * number + 1 + each, at=NS) for each in range(10)]))
    terms = journal.ledger()[1, 0]
    assert journal.trouble == "the disk is too slow: records are let go"
    assert terms["shed_slow"] > 0
    came, gone = terms["blocked_came"], terms["blocked_let_go"]
    assert (came + gone, gone > 0) == (6, pending == 1_000)
    assert journal.commit()
    journal.close()
    roll(tmp_path)
    assert seen(tmp_path) == [100 * number for number in range(5, gone - 1, -1)]
    assert History(tmp_path, PATIENCE).ledger().open() == []


def test_a_cpu_of_which_nothing_was_known(tmp_path: Path) -> None:
    """It came online meanwhile, and its first call is blocked."""
    first = [record(ids()["read"], seq=10, at=NS, cpu=2), call(11, cpu=2)]
    write(tmp_path, [begin(), clock(99 * NS), apart(0, 11, cpu=2), batch(first, cpu=2)])
    roll(tmp_path)
    books = History(tmp_path, PATIENCE).ledger()
    assert books.open() == []
    assert (books.cpus[1, 2]["received"], books.cpus[1, 2]["missing"]) == (2, 0)


def test_what_comes_by_one_way_only_is_not_waited_for_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmodlab.daemon.roller._AWAITED", 10)
    found: list[Item] = [begin(), clock(99 * NS), *(apart(number, number) for number in range(40))]
    write(tmp_path, found)
    roller = Roller(tmp_path)
    drain(roller)
    assert len(roller._once) == 10
    roller.close()
    assert len(seen(tmp_path)) == 40


def test_a_recording_has_them(tmp_path: Path) -> None:
    one = apart(3, 5, 6, lost=1)
    with (tmp_path / "tape").open("wb") as file:
        recorded.write(file, [one])
    assert list(recorded.read(tmp_path / "tape")) == [one]
    assert isinstance(one, items.Blocked)

"""The ledger closes to zero, from what a CPU has numbered to the disk, and whoever loses a record is seen."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kmodlab.daemon import follow, journal, packer, roller, segments, store
from kmodlab.daemon.items import Batch, described, offsets
from kmodlab.daemon.journal import Account, Journal
from kmodlab.daemon.ledger import LOSSES, TERMS, Books, Equation, equations
from kmodlab.daemon.queries import History
from kmodlab.daemon.retention import Keeper
from kmodlab.daemon.roller import Roller
from kmodlab.daemon.tally import tally

from .daemon_tape import NS, PATIENCE, Tape, batch, begin, clock, drain, ids, record, roll, write

MILLION = 1_000_000


def test_the_books_of_a_million_calls_close_on_each_cpu(tmp_path: Path) -> None:
    """With gaps, with what the ring overwrote, with what the kernel dropped, and with some that were not sent yet."""
    tape = Tape()
    write(tmp_path, [*tape.begin(), *tape.batches(MILLION), tape.counters(unsent=7)])
    roll(tmp_path)
    books = History(tmp_path, PATIENCE).ledger()
    assert books.open() == []
    assert len(list(books.equations())) == 2 * 7 + 3
    for cpu in (0, 1):
        terms = books.cpus[1, cpu]
        assert terms["received"] == terms["rolled"] == terms["kept"] == tape.came[cpu] == MILLION // 2
        named = {one.name: one.right for one in equations(terms)}
        lost = {"lost_ring": tape.ring[cpu], "lost_dropped": tape.dropped[cpu], "lost_socket": tape.socket[cpu]}
        assert named["gaps"] == {**lost, "away": 0}
        assert all(lost.values()), "a tape that loses nothing proves nothing"
        assert named["delivery"]["not_yet_sent"] == 7
    begin_at, end = 100 * NS, tape.now
    ranked = History(tmp_path, PATIENCE).top(
        (1_780_000_000 * NS + begin_at) / NS - 1, (1_780_000_000 * NS + end) / NS + 1, "call"
    )
    by_name: dict[str, int] = {}
    for (name, _), n in tape.calls.items():
        by_name[name] = by_name.get(name, 0) + n
    assert {one.name: one.count.n for one in ranked} == by_name


# -- mutants: each of them loses one record of 20,000, somewhere ---------------------------------------------------


def _recorder_drops_a_batch(patch: pytest.MonkeyPatch) -> None:
    add, state = Account.add, {"left": 9}

    def adding(self: Account, one: Batch) -> None:
        add(self, one)
        state["left"] -= 1
        if not state["left"]:
            self.pending -= one.n  # it forgets that it came

    patch.setattr(Account, "add", adding)


def _recorder_loses_a_row(patch: pytest.MonkeyPatch) -> None:
    block = journal._block
    state = {"left": 9}

    def blocking(number: int, epoch: int, one: Batch, ordinal: int) -> tuple[object, ...]:
        state["left"] -= 1
        if not state["left"]:
            one = dataclasses.replace(one, data=_but_last(one.data))
        return block(number, epoch, one, ordinal)

    patch.setattr(journal, "_block", blocking)


def _but_last(data: bytes) -> bytes:
    return data[: offsets(data)[-1]]


def _feed_loses_a_record(patch: pytest.MonkeyPatch) -> None:
    take, state = Journal.take, {"left": 9}

    def taking(self: Journal, item: Any) -> None:
        if isinstance(item, Batch):
            state["left"] -= 1
            if not state["left"]:
                item = described(item.cpu, item.lost, _but_last(item.data))
        take(self, item)

    patch.setattr(Journal, "take", taking)


def _follower_loses_a_block(patch: pytest.MonkeyPatch) -> None:
    reading, state = follow.Follower._block, {"left": 9}

    def read(self: Any, *row: Any) -> Any:
        state["left"] -= 1
        return reading(self, *row) if state["left"] else None

    patch.setattr(follow.Follower, "_block", read)


def _roller_skips_a_record(patch: pytest.MonkeyPatch, *, honest: bool = False) -> None:
    state = {"left": 9}

    def counting(data: bytes, *more: Any) -> Any:
        state["left"] -= 1
        found = tally(data if state["left"] else _but_last(data), *more)
        found.starts += [0] * (not state["left"] and not honest)
        return found

    patch.setattr(roller, "tally", counting)


def _roller_skips_a_record_and_says_so(patch: pytest.MonkeyPatch) -> None:
    _roller_skips_a_record(patch, honest=True)


def _index_loses_a_sum(patch: pytest.MonkeyPatch) -> None:
    coarser = store._coarser

    def losing(sums: Any, seconds: int) -> Any:
        found = {key: list(each) for key, each in coarser(sums, seconds).items()}
        if seconds == 3600 and found:
            next(iter(found.values()))[0] -= 1
        return found

    patch.setattr(store, "_coarser", losing)


def _index_forgets_a_process(patch: pytest.MonkeyPatch) -> None:
    trimmed = store._trimmed
    patch.setattr(store, "_trimmed", lambda procs: dict(list(trimmed(procs).items())[1:]))


def _packer_loses_a_piece(patch: pytest.MonkeyPatch) -> None:
    joined, state = packer.joined, {"left": 1}

    def losing(pieces: Any) -> Any:
        state["left"] -= 1
        return joined(pieces[1:] if not state["left"] else pieces)

    patch.setattr(packer, "joined", losing)


def _packer_loses_a_record(patch: pytest.MonkeyPatch) -> None:
    pack, state = segments.pack, {"left": 2}

    def packing(data: bytes, starts: list[int]) -> Any:
        state["left"] -= 1
        return pack(data, starts) if state["left"] else pack(_but_last(data), starts[:-1])

    patch.setattr(segments, "pack", packing)


#: -> what shows it: a sum that does not close, or a term that no such run has
MUTANTS: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    _recorder_drops_a_batch: "roll-up: stored",
    _recorder_loses_a_row: "unread 1",
    _feed_loses_a_record: "lost_socket 1",
    _follower_loses_a_block: "unread 500",
    _roller_skips_a_record: "calls in sums: rolled 20000 !=",
    _roller_skips_a_record_and_says_so: "unread 1",
    _index_loses_a_sum: "calls in sums: rolled 20000 !=",
    _index_forgets_a_process: "processes in sums: hours 20000 !=",
    _packer_loses_a_piece: "records in segments: kept 20000 !=",
    _packer_loses_a_record: "damaged ",
}


def _faults(folder: Path) -> list[str]:
    """Record, roll and look at everything; return what is wrong, as the books say it."""
    tape = Tape(lossy=False)
    write(folder, [*tape.begin(), *tape.batches(20_000), tape.counters()])
    one = Roller(folder)
    drain(one)
    Keeper(one).scrub_next()
    one.close()
    books = History(folder, PATIENCE).ledger()
    return books.open() + [f"{name} {n}" for name, n in books.losses().items()]


def test_a_run_without_mutants_has_no_faults(tmp_path: Path) -> None:
    assert _faults(tmp_path) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__.strip("_"))
def test_a_mutant_that_loses_one_record_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    faults = _faults(tmp_path)
    assert any(MUTANTS[mutant] in fault for fault in faults), faults


# -- one by one ------------------------------------------------------------------------------------------------------


def test_a_sum_that_was_made_equal_by_a_negative_number_does_not_close() -> None:
    assert not Equation("gaps", ("missing", 3), {"lost_ring": 5, "lost_socket": -2}).closes
    assert str(Equation("gaps", ("missing", 3), {"lost_ring": 2})) == "gaps: missing 3 != lost_ring 2"


def test_losses_are_told_by_cause_and_those_with_none_are_not() -> None:
    terms = {**dict.fromkeys(TERMS, 0), "shed_full": 4, "received": 4, "missing": 2, "next": 6}
    books = Books({(1, 0): terms})
    assert books.losses() == {"shed_full": 4, "lost_socket": 2}
    assert set(LOSSES) <= set(books.totals())
    assert books.closed


def test_what_was_made_before_the_stream_began_belongs_to_it(tmp_path: Path) -> None:
    """Who joins may hear of calls that were made a moment before: they are neither lost nor counted twice."""
    one = [record(ids()["read"], seq=seq, at=NS + seq) for seq in range(96, 110)]
    write(tmp_path, [begin(issued={0: 100}), clock(NS), batch(one)])
    roll(tmp_path)
    books = History(tmp_path, PATIENCE).ledger()
    assert books.closed
    assert {name: books.cpus[1, 0][name] for name in ("begun", "received", "missing")} == {
        "begun": 96, "received": 14, "missing": 0,
    }  # fmt: skip


@pytest.mark.parametrize("bytes_less", [1, 50, 128, 140])
def test_a_batch_that_ends_in_the_middle_of_a_record(bytes_less: int, tmp_path: Path) -> None:
    """What is whole in it is counted, the rest is a hole, and the next batch is taken as ever."""
    ten = batch([record(ids()["openat"], seq=seq, at=NS + seq, path=b"/a/path") for seq in range(10)])
    cut = dataclasses.replace(ten, data=ten.data[:-bytes_less])
    after = batch([record(ids()["openat"], seq=seq, at=NS + seq, path=b"/a/path") for seq in range(10, 20)])
    write(tmp_path, [begin(issued={0: 0}), clock(NS), cut, after])
    roll(tmp_path)
    history = History(tmp_path, PATIENCE)
    assert history.ledger().open() == []
    seqs = [row.seq for row in history.export(0, 9e9)]
    assert sorted({*range(9), *range(10, 20)} - set(seqs)) == []
    assert history.ledger().losses() == ({} if 9 in seqs else {"unread": 1})


def test_a_batch_that_has_come_before_is_left_out(tmp_path: Path) -> None:
    one = batch([record(ids()["read"], seq=seq, at=NS + seq) for seq in range(9)])
    write(tmp_path, [begin(issued={0: 0}), clock(NS), one, one])
    roll(tmp_path)
    books = History(tmp_path, PATIENCE).ledger()
    assert books.closed
    assert books.cpus[1, 0]["rolled"] == 9


def test_the_daemons_own_calls_are_counted_and_left_out(tmp_path: Path) -> None:
    mixed = [record(ids()["write"], seq=seq, at=NS + seq, pid=77 if seq % 3 else 500) for seq in range(300)]
    own = [record(ids()["write"], seq=seq, at=NS + seq, pid=77) for seq in range(300, 350)]
    write(tmp_path, [begin(issued={0: 0}), clock(NS), batch(mixed), batch(own)])
    roll(tmp_path, own=frozenset([77]))
    history = History(tmp_path, PATIENCE)
    books = history.ledger()
    assert books.closed
    assert (books.cpus[1, 0]["own"], books.cpus[1, 0]["kept"]) == (250, 100)
    assert {row.pid for row in history.export(0, 1e12)} == {500}


def test_files_are_strict_wal_and_have_a_version(tmp_path: Path) -> None:
    write(tmp_path, [*Tape().begin(), *Tape(lossy=False).batches(1000)])
    roll(tmp_path)
    found = [*tmp_path.glob("*.db"), *tmp_path.glob("*/*.db")]
    assert {path.parent.name for path in found} == {tmp_path.name, "journal", "raw"}
    for path in found:
        base = sqlite3.connect(path)
        assert base.execute("pragma journal_mode").fetchone() == ("wal",)
        version = len(store.MIGRATIONS) if path.name == "index.db" else 1
        assert base.execute("pragma user_version").fetchone() == (version,)
        tables = base.execute("select name, strict from pragma_table_list where schema = 'main' and type = 'table'")
        assert {strict for name, strict in tables if not name.startswith("sqlite_")} == {1}
        assert path.stat().st_mode & 0o777 == 0o600
        base.close()

"""Files that are damaged are set aside, the rest goes on, and what was in them is said to be a hole."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from kmodlab.daemon import store
from kmodlab.daemon.collector import Live
from kmodlab.daemon.journal import Journal
from kmodlab.daemon.queries import History
from kmodlab.daemon.recorded import Replay
from kmodlab.daemon.retention import Keeper
from kmodlab.daemon.roller import Limits, Roller

from .daemon_tape import PATIENCE, Tape, batch, begin, drain, ids, record, roll, write

SMALL = Limits(flush_bytes=1 << 18, segment_bytes=1 << 14)


def _truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 + 100)


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flipped(path: Path) -> None:
    """Turn some bits over in each page but the first."""
    data = bytearray(path.read_bytes())
    for at in range(4096 + 1500, len(data), 4096):
        data[at] ^= 0x55
    path.write_bytes(data)


HARMS = [_truncated, _zeros, _empty, _flipped]
harms = pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__.strip("_"))


def recorded(folder: Path, limits: Limits = SMALL) -> Tape:
    """Record some segments."""
    tape = Tape(lossy=False)
    write(folder, [*tape.begin(), *tape.batches(20_000), tape.counters()])
    roll(folder, limits, most=4)
    return tape


def closed(folder: Path) -> None:
    """Bring what is in the logs of segments into the files, as their writer does when it is done with them."""
    for path in folder.glob("raw/*.db"):
        base = sqlite3.connect(path)
        base.execute("pragma wal_checkpoint(truncate)")
        base.close()


@harms
def test_a_damaged_segment_leaves_a_hole(harm: Callable[[Path], None], tmp_path: Path) -> None:
    recorded(tmp_path)
    closed(tmp_path)
    paths = sorted((tmp_path / "raw").glob("*.db"))
    assert len(paths) > 3
    harm(paths[1])
    live = Live(Replay([]), tmp_path, limits=SMALL)
    with live:
        for path in paths:
            live._keeper.scrub(path.name)
    history = History(tmp_path, PATIENCE)
    books = history.ledger()
    assert books.open() == []
    gone = books.losses().pop("damaged")
    assert list(books.losses()) == ["damaged"]
    assert 0 < gone < 20_000
    rows = list(history.export(0, 9e9))
    assert len(rows) == 20_000 - gone
    holes = history.holes(0, 9e9)
    assert sum(hole.n for hole in holes) == gone
    for hole in holes:
        assert not [row for row in rows if row.cpu == hole.cpu and hole.first <= row.seq <= hole.last], "no hole at all"
    assert sum(one.count.n for one in history.top(0, 9e9, "call")) == 20_000, "the sums are whole all the same"
    assert list((tmp_path / "damaged").glob("*.db")) or harm in (_flipped, _truncated)


@harms
def test_a_damaged_journal_leaves_a_hole(harm: Callable[[Path], None], tmp_path: Path) -> None:
    """The recorder is gone, the roller has not begun: of three journals the second one is damaged."""
    tape = Tape(lossy=False)
    for part in range(3):
        write(tmp_path, [*(tape.begin() if not part else []), *tape.batches(5_000), tape.counters()])
    paths = sorted((tmp_path / "journal").glob("*.db"))
    assert len(paths) == 3
    harm(paths[1])
    roll(tmp_path, SMALL)
    books = History(tmp_path, PATIENCE).ledger()
    assert books.open() == []
    gone = books.losses().pop("unread")
    assert list(books.losses()) == ["unread"]
    assert books.totals()["kept"] == 15_000 - gone
    holes = History(tmp_path, PATIENCE).holes(0, 9e9)
    assert sum(hole.n for hole in holes) == gone
    assert {hole.reason for hole in holes} == {"damaged"}


def test_a_block_that_turns_out_to_be_damaged_when_it_is_read_is_a_hole_soon_after(tmp_path: Path) -> None:
    recorded(tmp_path)
    closed(tmp_path)
    _flipped(sorted((tmp_path / "raw").glob("*.db"))[1])
    with Live(Replay([]), tmp_path, limits=SMALL) as live:
        # A search has a time limit: on a busy machine it takes some to come to the damage.
        before: str | None = None
        while (found := live.events(0, 9e9, limit=10_000, before=before)).before:
            before = found.before
        with live._lock:
            live._keep()
        assert live.ledger().losses()["damaged"] > 0
        assert live.ledger().closed


@pytest.mark.parametrize("harm", [_zeros, _flipped, _truncated], ids=lambda harm: harm.__name__.strip("_"))
def test_a_damaged_index_is_set_aside_and_made_again_of_the_journals_that_are_left(
    harm: Callable[[Path], None], tmp_path: Path
) -> None:
    tape = recorded(tmp_path)
    harm(tmp_path / store.NAME)
    with Live(Replay([*tape.begin(), *tape.batches(2_000), tape.counters()]), tmp_path, limits=SMALL) as live:
        live.wait(lambda tick: tick.ledger.get("rolled", 0) >= 22_000)
        assert live.ledger().open() == []
    history = History(tmp_path, PATIENCE)
    assert history.ledger().open() == []
    assert (tmp_path / "damaged" / store.NAME).exists()
    assert sum(1 for _ in history.export(0, 9e9)) == 22_000, "the newest journal has it all once more"
    assert history.ledger().losses() == {}


def test_a_tail_that_was_never_finished_is_cut_off(tmp_path: Path) -> None:
    """A roller that has written a segment, and is killed before the index knows: nothing is there twice."""
    tape = Tape(lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(10_000), tape.counters()])
    roller = Roller(tmp_path, limits=Limits(segment_bytes=1 << 20))
    for _ in range(2):
        roller.flush()
        roller.step(4)
    roller.packer.write(roller._pieces, roller.index.position())
    roller.follower.close()
    roller.packer.close()
    roller.index.close()
    os.close(roller._held)
    again = Roller(tmp_path, limits=SMALL)
    Keeper(again).inspect()
    drain(again)
    again.close()
    seen = [(row.cpu, row.seq) for row in History(tmp_path, PATIENCE).export(0, 9e9)]
    assert len(seen) == len(set(seen)) == 10_000
    assert History(tmp_path, PATIENCE).ledger().open() == []
    assert not (tmp_path / "damaged").exists()


def test_numbers_of_a_block_that_were_changed_are_seen(tmp_path: Path) -> None:
    """SQLite has no checksums of its pages: one of its own is held against the numbers as well."""
    recorded(tmp_path)
    path = min((tmp_path / "raw").glob("*.db"))
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("update block set first = first + 1 where id = (select min(id) from block)")
    base.close()
    history = History(tmp_path, PATIENCE)
    assert sum(1 for _ in history.export(0, 9e9)) < 20_000
    assert history.suspects == {path.name}
    roller = Roller(tmp_path)
    assert len(Keeper(roller).scrub(path.name)) == 1
    roller.close()
    assert History(tmp_path, PATIENCE).ledger().open() == []


def test_what_is_let_go_for_two_reasons_in_turn_is_told_apart(tmp_path: Path) -> None:
    """A hole has its own numbers alone: those in between went for another reason, and have a hole of their own."""
    journal = Journal(tmp_path)
    journal.take(begin(issued={0: 0}))
    for reason, first in (("slow", 0), ("behind", 2), ("slow", 4), ("slow", 6)):
        journal._count_shed(1, batch([record(ids()["read"], seq=first + at, at=10**9) for at in (0, 1)]), reason)
    told = {
        reason: [(hole.first, hole.last, hole.n) for hole in holes] for (_, _, reason), holes in journal._shed.items()
    }
    assert told == {"slow": [(0, 1, 2), (4, 7, 4)], "behind": [(2, 3, 2)]}

"""A disk that is full, takes no writing, or is gone: counting goes on, it is said, and recording goes on by itself."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmodlab.daemon.items import Item
from kmodlab.daemon.journal import Journal
from kmodlab.daemon.queries import History
from kmodlab.daemon.roller import Limits, Roller

from .daemon_tape import PATIENCE, Tape, drain, roll

PENDING = 1 << 20
LIMITS = Limits(flush_bytes=1 << 19)


def _mount(*words: str | Path) -> bool:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Have a folder on a file system of its own."""
    if os.getuid() or not _mount("-t", "tmpfs", "-o", "size=4m,mode=700", "none", folder):
        pytest.skip("only root has file systems of its own")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def short_files(_: Path) -> Iterator[None]:
    """Let no file of this process grow beyond a megabyte: what a full disk is to whoever is not root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


class Pair:
    """Both stages, step by step in this thread."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder, pending_bytes=PENDING)
        self.roller = Roller(folder, limits=LIMITS)
        self.tape = Tape(lossy=False)
        self.take(*self.tape.begin())

    def take(self, *items: Item) -> None:
        """Record these."""
        for item in items:
            self.journal.take(item)
        self.journal.commit()

    def load(self, records: int) -> None:
        """Record and roll so many."""
        for one in self.tape.batches(records):
            self.take(one)
        self.take(self.tape.counters())
        drain(self.roller)

    def close(self) -> None:
        """Write what can be written."""
        self.journal.close()
        drain(self.roller)
        self.roller.close()


def _fill(folder: Path) -> Callable[[], None]:
    stuff = folder / "stuff"
    with contextlib.suppress(OSError), stuff.open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    return stuff.unlink


def test_a_disk_that_takes_nothing_any_more(tmp_path: Path) -> None:
    """What there is room for in memory waits; the oldest of the rest is let go, with its numbers in the ledger."""
    with small_disk(tmp_path):
        pair = Pair(tmp_path)
        pair.load(2_000)
        heal = _fill(tmp_path)
        pair.load(20_000)
        assert "the disk is full" in pair.journal.trouble
        assert pair.roller.tick(pair.journal.ledger(), (pair.journal.trouble,)).troubles
        terms = pair.journal.ledger()[1, 0]
        assert terms["received"] == 11_000, "counting goes on"
        assert terms["shed_full"] > 0
        assert terms["pending"] > 0
        heal()
        pair.load(1_000)
        assert (pair.journal.trouble, pair.roller.troubles) == ("", {})
        pair.close()
        history = History(tmp_path, PATIENCE)
        books = history.ledger()
        assert books.open() == []
        assert list(books.losses()) == ["shed_full"]
        holes = history.holes(0, 9e9)
        assert {hole.reason for hole in holes} == {"shed_full"}
        assert sum(hole.n for hole in holes) == books.losses()["shed_full"]
        assert all(hole.last - hole.first + 1 == hole.n for hole in holes)


def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    """Linux lets none become so while a file is being written: the recorder is between two journals."""
    with small_disk(tmp_path):
        journal, tape = Journal(tmp_path, pending_bytes=PENDING), Tape(lossy=False)
        for one in tape.begin():
            journal.take(one)
        assert journal.commit()
        journal._abandon()
        assert _mount("-o", "remount,ro", tmp_path)
        for one in tape.batches(20_000):
            journal.take(one)
            assert not journal.commit()
        assert "takes no writing" in journal.trouble
        terms = journal.ledger()[1, 0]
        assert terms["received"] == 10_000 == terms["shed_readonly"] + terms["pending"]
        assert _mount("-o", "remount,rw", tmp_path)
        assert journal.commit()
        assert (journal.trouble, journal.ledger()[1, 0]["pending"]) == ("", 0)
        journal.close()
        roll(tmp_path)
        assert History(tmp_path, PATIENCE).ledger().open() == []
        assert list(History(tmp_path, PATIENCE).ledger().losses()) == ["shed_readonly"]


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    """The same for whoever has no file system of his own: another journal is begun, and the rest is let go."""
    pair = Pair(tmp_path)
    with short_files(tmp_path):
        pair.load(30_000)
        assert pair.journal.trouble or pair.journal.ledger()[1, 0].get("shed_failed", 0) == 0
    pair.load(1_000)
    assert pair.journal.trouble == ""
    pair.close()
    books = History(tmp_path, PATIENCE).ledger()
    assert books.open() == []
    assert set(books.losses()) <= {"shed_failed"}


def test_journals_that_nobody_reads_are_bounded(tmp_path: Path) -> None:
    """A second stage that is stopped, or held: what it has not done may take so much, and the rest is let go."""
    journal, tape = (
        Journal(tmp_path, file_bytes=1 << 18, pending_bytes=PENDING, folder_bytes=1 << 20),
        Tape(lossy=False),
    )
    for one in [*tape.begin(), *tape.batches(30_000), tape.counters()]:
        journal.take(one)
        journal.commit()
    assert "too far behind" in journal.trouble
    assert sum(path.stat().st_size for path in (tmp_path / "journal").iterdir()) < 2 << 20
    roller = Roller(tmp_path, limits=LIMITS)
    drain(roller)
    assert journal.commit()
    assert journal.trouble == ""
    journal.close()
    drain(roller)
    roller.close()
    books = History(tmp_path, PATIENCE).ledger()
    assert books.open() == []
    assert list(books.losses()) == ["shed_behind"]
    assert books.totals()["kept"] + books.losses()["shed_behind"] == 30_000


def test_a_folder_that_is_removed_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    pair = Pair(folder)
    pair.load(5_000)
    shutil.rmtree(folder)
    pair.load(3_000)
    assert (pair.journal.trouble, pair.roller.troubles) == ("", {})
    pair.close()
    history = History(folder, PATIENCE)
    books = history.ledger()
    assert books.open() == []
    assert books.losses() == {"damaged": 5_000}, "what was removed is said to be"
    assert sum(1 for _ in history.export(0, 9e9)) == 3_000
    assert {one.name for one in history.top(0, 9e9, "call")} <= {
        "openat",
        "read",
        "close",
        "unlinkat",
        "write",
        "execve",
        "connect",
    }

"""A collector that is killed at any moment: its files are whole, and what is missing is in the ledger."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from kmodlab.daemon.journal import Journal
from kmodlab.daemon.ledger import Books
from kmodlab.daemon.queries import History
from kmodlab.daemon.roller import Roller
from kmodlab.daemon.store import recalled
from kmodlab.errors import KmodlabError
from kmodlab.paths import project_dir

from .daemon_child import QUICK
from .daemon_tape import PATIENCE, Tape, drain, roll, write

CHILD = Path(__file__).with_name("daemon_child.py")


def kill(role: str, folder: Path, first: int, lines: int) -> int:
    """Start a child, kill it behind so many lines, and return the number in the last one."""
    env = {**os.environ, "PYTHONPATH": str(project_dir() / "src")}
    argv = [sys.executable, str(CHILD), role, str(folder), str(first)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env) as child:
        assert child.stdout
        said = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        said += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    whole = [line for line in said if line.endswith("\n")]
    assert len(whole) >= lines, "it ended by itself"
    return int(whole[-1])


def whole(folder: Path) -> None:
    """Hold every file of a folder against SQLite's own check."""
    found = [*folder.glob("*.db"), *folder.glob("*/*.db")]
    assert found
    for path in found:
        base = sqlite3.connect(path)
        assert base.execute("pragma integrity_check").fetchall() == [("ok",)], path
        base.close()


def resumed(folder: Path, first: int) -> Books:
    """Record on in the same epoch, at a number that the kernel has come to meanwhile; roll it all; return the books."""
    tape = Tape(size=200, lossy=False, seed=2)
    tape.next = {0: first, 1: first}
    tape.now += first * 50_000
    write(folder, [*tape.begin(), *tape.batches(2000), tape.counters()])
    roll(folder, QUICK)
    return History(folder, PATIENCE).ledger()


@pytest.mark.parametrize("role", ["record", "both"])
def test_at_most_the_last_commit_is_missing_and_the_ledger_says_so(role: str, tmp_path: Path) -> None:
    first, safe, away = 0, 0, 0
    for lines in (1, 3, 8, 2, 5):
        said = kill(role, tmp_path, first, lines)
        whole(tmp_path)
        journal = Journal(tmp_path, recalled(tmp_path))
        accounts = journal.accounts.values()
        stored = sum(account.stored for account in accounts)
        assert stored >= max(said, safe), "what was said to be safe is not there"
        safe, first = stored, max(account.next for account in accounts) + 10_000
        away = sum(account.away + first - account.next for account in accounts)
        journal.close()
    books = resumed(tmp_path, first)
    assert books.open() == []
    assert books.losses() == {"away": away}
    assert books.totals()["kept"] == safe + 2000


def test_a_roller_that_is_killed_again_and_again_counts_each_record_once(tmp_path: Path) -> None:
    tape = Tape(size=200)
    write(tmp_path, [*tape.begin(), *tape.batches(60_000), tape.counters()], file_bytes=1 << 20)
    for lines in (1, 2, 4, 5, 3, 1, 1, 2, 6, 3):
        kill("roll", tmp_path, 0, lines)
        whole(tmp_path)
    roll(tmp_path, QUICK)
    history = History(tmp_path, PATIENCE)
    assert history.ledger().open() == []
    assert history.ledger().totals()["rolled"] == 60_000
    seen = [(row.cpu, row.seq) for row in history.export(0, 9e9)]
    assert len(seen) == len(set(seen)) == 60_000


def test_a_second_recorder_and_a_second_roller_are_refused(tmp_path: Path) -> None:
    journal, roller = Journal(tmp_path), Roller(tmp_path)
    with pytest.raises(KmodlabError, match="another process records into"):
        Journal(tmp_path)
    with pytest.raises(KmodlabError, match="another process keeps the history in"):
        Roller(tmp_path)
    drain(roller)
    journal.close()
    roller.close()
    Journal(tmp_path).close()

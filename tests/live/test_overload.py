"""Far more calls than can be counted: what is let go goes whole and is said, blocked calls stay, memory is bounded."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
from unit.daemon_tape import PATIENCE

from kmodlab.daemon.api.keys import FILE
from kmodlab.daemon.queries import History
from kmodlab.daemon.tick import Row
from live.daemon import made_keys, served, shed, wait

CHILD = Path(__file__).with_name("flood_child.py")
MOST = 150 << 10
"""KiB that each of the two processes may ever have in memory."""
ROUND = 200_000
"""Calls that are made before it is seen whether it was too much."""


@dataclass(frozen=True)
class Recorder:
    """The recorder under the flood."""

    process: subprocess.Popen[str]

    def make(self, number: int) -> tuple[int, int, float]:
        """Have so many calls made; return how many there were, how many of them were blocked, how long these took."""
        asked, told = self.process.stdin, self.process.stdout
        assert asked
        assert told
        print(number, file=asked, flush=True)
        line = told.readline()
        assert line, "the recorder has ended"
        made, blocked, seconds = json.loads(line)
        return made, blocked, seconds


@contextlib.contextmanager
def flooded(folder: Path, journal_bytes: int, log: IO[bytes]) -> Iterator[Recorder]:
    """A recorder whose journals may take so much."""
    argv = [sys.executable, str(CHILD), str(folder), str(journal_bytes)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            wait(lambda: (folder / "socket").exists() or process.poll() is not None, "it records")
            yield Recorder(process)
        finally:
            process.terminate()


def peak(pid: int) -> int:
    """Return the most that a process ever had in memory, KiB; see proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))


@pytest.mark.parametrize(
    ("journal_bytes", "most"), [(32 << 20, 4_000_000), pytest.param(1 << 30, 40_000_000, marks=pytest.mark.long)]
)
def test_too_much_is_let_go_whole_and_said(
    journal_bytes: int, most: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        (tmp_path / "log").open("wb") as log,
        flooded(tmp_path, journal_bytes, log) as recorder,
        served(tmp_path, made_keys(tmp_path / "history" / FILE)) as daemon,
    ):
        made, seconds, lost = 0, 0.0, 0
        while not lost and made < most:
            made, _, took = recorder.make(ROUND)
            seconds += took
            lost = shed(daemon.get("/api/v1/ledger")["totals"])
        offered = made / seconds
        # As much again, of which it has room for next to nothing.
        made, _, _ = recorder.make(made)
        lost = shed(daemon.books(made)["totals"])
        assert lost, "it kept up: that is no overload"
        memory = peak(recorder.process.pid), peak(daemon.process.pid)
        # What comes when it is over is kept again.
        made, blocked, _ = recorder.make(20_000)
        books = daemon.books(made)
        assert shed(books["totals"]) == lost
    assert [one for one in books["equations"] if not one["closes"]] == []
    with capsys.disabled():
        print(
            f"\n{offered:,.0f} calls a second, {lost / made:.0%} of {made:,} let go, {memory[0] >> 10} and "
            f"{memory[1] >> 10} MiB"
        )
    assert max(memory) < MOST
    holds(tmp_path / "history", made, blocked)


def holds(folder: Path, made: int, blocked: int) -> None:
    """Hold what is kept against what was made: every blocked call, each hole with its numbers."""
    history = History(folder, PATIENCE)
    books = history.ledger()
    losses = books.losses()
    assert books.open() == []
    assert set(losses) <= {"shed_behind", "shed_slow"}
    assert books.totals()["kept"] + sum(losses.values()) == made
    holes = history.holes(0, 9e9)
    assert sum(hole.n for hole in holes) == sum(losses.values())
    assert all(hole.last - hole.first + 1 == hole.n for hole in holes)
    assert sum(1 for _ in every_blocked(history)) == blocked


def every_blocked(history: History) -> Iterator[Row]:
    """Yield the blocked calls, page by page: how many there are nobody knows before."""
    before = None
    while True:
        page = history.blocked(0, 9e9, 10_000, before)
        yield from page.rows
        if not (before := page.before):
            return

"""Who records, who serves, and both, are killed under load, again and again: nothing that was written is gone."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.daemon_tape import PATIENCE, roll

from kmodlab.daemon.api.keys import FILE
from kmodlab.daemon.queries import History
from live.daemon import Daemon, Way, free_port, made_keys, serve_argv, wait

CHILD = Path(__file__).with_name("recording_child.py")
FEW = 20
"""After so few kills each call is looked at; it would take minutes for those of a long run."""
LOSSES = {"away"}
"""What may be told of a tape that loses nothing: calls that were made while nobody recorded."""


class Pair:
    """Both processes, each of which can be killed and started anew."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        pair = made_keys(folder / "history" / FILE)
        (folder / "dashboard").mkdir()
        argv = serve_argv(folder, "--port", str(self.port))
        self._argv = {"record": [sys.executable, str(CHILD), str(folder)], "serve": argv}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._log = (folder / "log").open("wb")
        for name in self._argv:
            self.start(name)
        self.daemon = Daemon(Way(self.port), *pair, folder / "dashboard" / "socket", self._running["serve"])

    def start(self, name: str) -> None:
        self._running[name] = subprocess.Popen(self._argv[name], stderr=self._log, stdin=subprocess.DEVNULL)

    def kill(self, *names: str) -> None:
        """Kill some, at once."""
        for name in names:
            assert self._running[name].poll() is None, (self.folder / "log").read_text()
            self._running[name].send_signal(signal.SIGKILL)
        for name in names:
            assert self._running[name].wait() == -signal.SIGKILL

    def totals(self) -> dict[str, int]:
        """What the ledger says; nothing while nobody answers."""
        with contextlib.suppress(OSError):
            found: dict[str, int] = self.daemon.get("/api/v1/ledger")["totals"]
            return found
        return {}

    def stored(self, least: int) -> int:
        """What the ledger says is stored, once it is so much."""

        def enough() -> int:
            found = self.totals().get("stored", 0)
            return found if found >= least else 0

        return int(wait(enough, f"{least} are stored", (self.folder / "log").read_text))

    def close(self) -> None:
        for one in self._running.values():
            if one.poll() is None:
                one.kill()
                one.wait()
        self._log.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    one = Pair(tmp_path)
    yield one
    one.close()


def whole(folder: Path) -> None:
    """Hold every file of a history against SQLite's own check; who writes may be at it."""
    for path in [*folder.glob("*.db"), *folder.glob("*/*.db")]:
        with contextlib.suppress(FileNotFoundError), contextlib.closing(_opened(path)) as base:
            assert base.execute("pragma integrity_check").fetchall() == [("ok",)], path


def _opened(path: Path) -> sqlite3.Connection:
    """A file that may be removed between two looks, which SQLite says in its own words."""
    try:
        return sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        if path.exists():
            raise
        raise FileNotFoundError(path) from None


@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=pytest.mark.long)])
def test_killed_again_and_again(kills: int, pair: Pair) -> None:
    """What was said to be stored is there after each kill; what was made meanwhile is in the books as that."""
    rng, stored, seen = random.Random(kills), 0, set[Any]()  # noqa: S311
    for number in range(kills):
        who = (("record",), ("serve",), ("record", "serve"))[number % 3]
        seen.add(who)
        safe = pair.stored(stored + rng.randrange(1, 4000))
        pair.kill(*who)
        whole(pair.folder / "history")
        for name in who:
            pair.start(name)
        stored = pair.stored(1)
        assert stored >= safe, "what was said to be stored is not there"
    assert len(seen) == 3
    pair.kill("record", "serve")
    whole(pair.folder / "history")
    closes(pair.folder / "history", kills)


def closes(folder: Path, kills: int) -> None:
    """Count what is still to be counted; hold the books, and each call, against what was recorded."""
    roll(folder)
    history = History(folder, PATIENCE)
    books = history.ledger()
    totals = books.totals()
    assert books.open() == []
    assert set(books.losses()) <= LOSSES
    # Each run of the recorder begins behind calls that were made while there was none.
    assert books.losses()["away"] >= kills // 3 * 2 * 1000
    assert totals["waiting"] == totals["pending"] == 0
    assert totals["rolled"] == totals["kept"] == totals["stored"] > 0
    if kills < FEW:
        seen = [(row.cpu, row.seq) for row in history.export(0, 9e9)]
        assert len(seen) == len(set(seen)) == totals["kept"]

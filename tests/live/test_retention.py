"""What is kept is bounded under load, while an export of everything goes into a socket that is hardly read."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from patience import SECONDS
from unit.daemon_tape import Tape

from kmodlab.daemon.roller import Limits
from live.daemon import PROGRAM, Daemon, serving, wait
from live.feeds import Player

MIB = 1 << 20
SMALL = Limits(flush_bytes=MIB // 4, segment_bytes=MIB // 2, wal_bytes=MIB)
_SMALL = tuple(getattr(SMALL, one.name) for one in fields(SMALL))
#: what Python runs to have a server of small files, so that a short run reaches its bounds
CODE = f"from kmodlab.daemon.roller import Limits; Limits.__init__.__defaults__ = {_SMALL}; {PROGRAM}"
NOBODY = 5_000_000
LOGS = 64 * MIB
"""What all write-ahead logs together may take, the recorder's among them."""
RECORDS, MANY = 150_000, 6_000_000
COMMAND = (sys.executable, "-c", "from kmodlab.start import main; main()", "history", "export")
ALL = ("--from", "0", "--to", "9000000000")


@dataclass
class Sizes:
    """What the segments of a history take, now and at most; the most that all logs, and the index's, have."""

    folder: Path
    kept: int = 0
    logs: int = 0
    index: int = 0
    last: int = 0

    @contextlib.contextmanager
    def looking(self, taken: socket.socket) -> Iterator[None]:
        """Look again and again for as long as the block runs, and take a byte each time."""
        stop = threading.Event()

        def looks() -> None:
            while not stop.wait(0.05):
                self.look()
                taken.recv(1)

        thread = threading.Thread(target=looks)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def look(self) -> None:
        """Look once; files come and go meanwhile."""
        kept = logs = index = 0
        for path in (*self.folder.glob("*"), *self.folder.glob("*/*")):
            with contextlib.suppress(FileNotFoundError):
                logs += path.stat().st_size if path.name.endswith("-wal") else 0
                kept += path.stat().st_size if path.match("raw/*.db") else 0
                index += path.stat().st_size if path.name == "index.db-wal" else 0
        self.index = max(self.index, index)
        self.last, self.kept, self.logs = kept, max(self.kept, kept), max(self.logs, logs)


@contextlib.contextmanager
def slow_export(folder: Path) -> Iterator[socket.socket]:
    """An export of everything into a socket that takes some kilobytes; yield the other end."""
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours.settimeout(SECONDS)
    argv = [*COMMAND, *ALL, "--folder", str(folder)]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=theirs.fileno())
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(SECONDS)


@contextlib.contextmanager
def loaded(folder: Path, records: int, keep: int, code: str = PROGRAM) -> Iterator[tuple[Daemon, Sizes]]:
    """A daemon that has taken so many calls while an export of everything was waiting for its reader."""
    player, tape = Player(), Tape(lossy=False, pids=NOBODY)
    sizes = Sizes(folder / "history")
    with serving(folder, player, "--mib", str(keep // MIB), code=code) as daemon:
        player.play(tape.begin(), tape.batches(20_000))
        daemon.books(20_000)
        wait(lambda: daemon.get("/api/v1/events?begin=0&end=9000000000&limit=1")["rows"]["seq"], "it is on the disk")
        with slow_export(folder / "history") as taken:
            first = taken.recv(1024)
            assert json.loads(first.partition(b"\n")[0])["seq"] == 0
            player.play(tape.batches(records))
            with sizes.looking(taken):
                daemon.books(20_000 + records)
                yield daemon, sizes


def say(capsys: pytest.CaptureFixture[str], records: int, sizes: Sizes) -> None:
    """Print the figures."""
    with capsys.disabled():
        print(f"\n{records:,} calls: {sizes.kept / MIB:.1f} MiB kept, {sizes.logs / MIB:.1f} MiB of logs at most")


def closes(daemon: Daemon, records: int) -> None:
    """Hold the books: of the oldest they say that they were removed for room."""
    books = daemon.books(20_000 + records)
    assert [one for one in books["equations"] if not one["closes"]] == []
    assert books["totals"]["expired_size"] > 0, "a run that removes nothing proves nothing"
    assert books["troubles"] == [], "no reader holds anything"


def test_an_export_that_never_ends_holds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The log begins anew, and the oldest goes, while somebody has begun to read it."""
    with loaded(tmp_path / "daemon", RECORDS, MIB, CODE) as (daemon, sizes):
        wait(lambda: daemon.books(0)["totals"]["expired_size"] > 0, "the oldest goes", lambda: sizes)
        wait(lambda: sizes.last < MIB + SMALL.segment_bytes, "it is small enough", lambda: sizes)
        closes(daemon, RECORDS)
    say(capsys, RECORDS, sizes)
    assert sizes.logs < LOGS
    assert sizes.index < 4 * SMALL.wal_bytes


@pytest.mark.long
def test_it_is_bounded_at_any_moment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it comes out of the box, but for the room."""
    with loaded(tmp_path / "daemon", MANY, 8 * MIB) as (daemon, sizes):
        closes(daemon, MANY)
    say(capsys, MANY, sizes)
    assert sizes.logs < LOGS
    assert sizes.kept < 8 * MIB + Limits().segment_bytes

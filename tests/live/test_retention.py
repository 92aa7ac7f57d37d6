"""What is kept is bounded under load, while an export of everything goes into a socket that is hardly read."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from unit.daemon_tape import Tape

from kmodlab.daemon.roller import Limits
from live.daemon import SECONDS, serving, wait
from live.feeds import Player

MIB = 1 << 20
KEEP = 8 * MIB
LOG = 64 * MIB
"""What all write-ahead logs together may take."""
NOBODY = 5_000_000
COMMAND = (sys.executable, "-c", "from kmodlab.start import main; main()", "history", "export")
ALL = ("--from", "0", "--to", "9000000000")


@dataclass
class Sizes:
    """The most that a history has taken: its segments with what is not counted yet, and its logs."""

    folder: Path
    kept: int = 0
    logs: int = 0
    looks: int = field(default=0)

    def look(self) -> None:
        """Look once; files come and go meanwhile."""
        kept = logs = 0
        for path in (*self.folder.glob("*"), *self.folder.glob("*/*")):
            with contextlib.suppress(FileNotFoundError):
                logs += path.stat().st_size if path.name.endswith("-wal") else 0
                kept += path.stat().st_size if path.match("raw/*.db") else 0
        self.kept, self.logs, self.looks = max(self.kept, kept), max(self.logs, logs), self.looks + 1


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


@pytest.mark.parametrize("records", [100_000, pytest.param(2_500_000, marks=pytest.mark.long)])
def test_an_export_that_never_ends_holds_nothing(
    records: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    player, tape = Player(), Tape(lossy=False, pids=NOBODY)
    history = tmp_path / "daemon" / "history"
    sizes = Sizes(history)
    with serving(tmp_path / "daemon", player, "--mib", str(KEEP // MIB)) as daemon:
        player.play(tape.begin(), tape.batches(20_000))
        daemon.books(20_000)
        wait(lambda: daemon.get("/api/v1/events?begin=0&end=9000000000&limit=1")["rows"]["seq"], "it is on the disk")
        with slow_export(history) as taken:
            first = taken.recv(1024)
            assert json.loads(first.partition(b"\n")[0])["seq"] == 0
            player.play(tape.batches(records))

            def all_is_counted() -> bool:
                sizes.look()
                taken.recv(1)
                return bool(daemon.get("/api/v1/ledger")["totals"]["rolled"] == 20_000 + records)

            wait(all_is_counted, "all is counted", lambda: sizes)
            assert daemon.get("/api/v1/ledger")["troubles"] == []
            books = daemon.books(20_000 + records)
    with capsys.disabled():
        print(f"\n{records:,} calls: {sizes.kept / MIB:.1f} MiB kept, {sizes.logs / MIB:.1f} MiB of logs at most")
    assert [one for one in books["equations"] if not one["closes"]] == []
    assert sizes.logs < LOG
    assert sizes.kept < KEEP + Limits().segment_bytes
    assert sizes.looks > 3
    if records > MIB:
        assert books["totals"]["expired_size"] > 0, "a run that removes nothing proves nothing"

"""`kmodlab top` in a terminal of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pyte
import pytest
from patience import SECONDS

KMODLAB = Path(sys.executable).with_name("kmodlab")
#: what leaves a terminal as it was: the other screen, the cursor, the mouse, brackets around what is pasted
RESTORED = (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l", b"\x1b[?2004l")


class Terminal:
    """A program in a terminal of its own, and what is on the screen."""

    def __init__(self, *words: str | Path, columns: int = 80, rows: int = 24, **variables: str) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.fd, slave = os.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(slave)
        env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLORTERM")}
        env = {**env, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **variables}
        # A session of its own, whose terminal this is: then it is told of another size.
        argv = ["setsid", "--ctty", str(KMODLAB), "top", *map(str, words)]
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env)
        self._slave = slave

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def _read(self, seconds: float) -> bool:
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        with contextlib.suppress(OSError):
            data = os.read(self.fd, 65536)
            self.raw += data
            self._stream.feed(data)
        return True

    def until(self, what: str | Callable[[], object]) -> str:
        """Take what is drawn until a text is seen, or something is so."""
        happened = what if callable(what) else lambda: what in self.text
        end = time.monotonic() + SECONDS
        while not happened():
            self._read(0.1)
            if time.monotonic() > end or (self.process.poll() is not None and not self._read(0) and not happened()):
                pytest.fail(f"{what!r} was not seen (exit status {self.process.poll()}):\n{self.text}")
        return self.text

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def end(self) -> int:
        """Wait for the end, and return the exit status."""
        self.until(lambda: self.process.poll() is not None)
        while self._read(0):
            pass
        return self.process.returncode

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was before."""
        last = self.raw.rpartition(b"\x1b[?1049h")[2]
        return termios.tcgetattr(self._slave) == self.before and all(one in last for one in RESTORED)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._slave)
        os.close(self.fd)

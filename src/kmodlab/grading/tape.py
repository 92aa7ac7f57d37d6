"""A machine's console, recorded: bounded in size however much the machine prints, and trouble never lost."""

from __future__ import annotations

import os
import re
import threading
from typing import IO

from kmodlab.grading.verdict import SIGN

#: after a line that means trouble, this much is kept whatever is printed around it
_EXCERPT = 16 << 10
_EXCERPTS = 6
_CONTROL = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()].|c)|[\x00-\x08\x0b-\x1f\x7f]")


class Tape:
    """Records a stream in a thread of its own, from when it is made until the stream ends.

    Args:
        stream: what the machine prints.
        limit: bytes that are kept of its beginning, and as many of its end.
    """

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._head = bytearray()
        self._tail = bytearray()
        self._excerpts: list[bytearray] = []
        self._line = bytearray()
        self._lock = threading.Lock()
        self.size = 0
        """Bytes printed so far."""
        self.troubled = threading.Event()
        """Set as soon as a line means trouble."""
        self._thread = threading.Thread(target=self._record, name="console", daemon=True)
        self._thread.start()

    def _record(self) -> None:
        while data := os.read(self._stream.fileno(), 1 << 16):
            with self._lock:
                self._keep(data)
        self._stream.close()

    def _keep(self, data: bytes) -> None:
        self.size += len(data)
        room = self._limit - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._limit:
            del self._tail[: -self._limit]
        if self._excerpts and len(self._excerpts[-1]) < _EXCERPT:
            self._excerpts[-1] += data
            return
        self._line += data
        whole = self._line.rfind(b"\n") + 1
        if found := SIGN.search(self._line, 0, whole):
            self.troubled.set()
            if len(self._excerpts) < _EXCERPTS:
                start = self._line.rfind(b"\n", 0, found.start()) + 1
                self._excerpts.append(self._line[start:])
                whole = len(self._line)
        del self._line[:whole]
        # Whoever prints without line ends is not waited for.
        del self._line[: max(0, len(self._line) - 4096)]

    def wait(self, seconds: float) -> None:
        """Wait until the stream has ended, which it does when the machine is gone."""
        self._thread.join(seconds)

    @property
    def text(self) -> str:
        """What was printed: its beginning, its end, and between them what looked like trouble."""
        with self._lock:
            tail = self._tail[-self._limit :]
            lost = self.size - len(self._head) - len(tail)
            parts = [self._head, tail]
            if lost > 0:
                note = f"\n[... {lost} bytes are left out; what looked like trouble follows ...]\n".encode()
                parts = [self._head, bytearray(note), *self._excerpts, bytearray(b"\n[...]\n"), tail]
            return readable(b"".join(parts))


def readable(raw: bytes) -> str:
    """Return text without control characters, for people and for patterns."""
    return _CONTROL.sub("", raw.decode(errors="replace"))

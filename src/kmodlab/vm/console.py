"""A machine's console, recorded in one of two ways, and what in it means that the kernel is in trouble.

A machine that lasts keeps all of it in a file, and trouble in it is an error. One that runs what is not trusted has it
read within bounds, and trouble in it is evidence, which somebody else judges.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from kmodlab.errors import GuestCrashed
from kmodlab.kernel_report import Kind, sign
from kmodlab.process import tail

#: A kernel that prints one of these will not give a test a fair answer any more; after a warning it does.
TROUBLE = sign(kind for kind in Kind if kind > Kind.WARNING)

#: after a line that means trouble, this much is kept whatever is printed around it
_EXCERPT = 16 << 10
_EXCERPTS = 6
_CONTROL = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()].|c)|[\x00-\x08\x0b-\x1f\x7f]")


def readable(raw: bytes) -> str:
    """Return text without control characters, for people and for patterns."""
    return _CONTROL.sub("", raw.decode(errors="replace"))


class Console(Protocol):
    """What a machine printed, however it is recorded."""

    @property
    def text(self) -> str:
        """What was printed, without control characters."""

    def tail(self) -> str:
        """Return the end of it."""

    def unseen(self) -> bytes:
        """Return what was printed since the last look, as far as it is news to `check`."""

    def check(self, doing: str) -> None:
        """Raise where there is trouble, and trouble is an error.

        Args:
            doing: what was under way, for the message.

        Raises:
            GuestCrashed: the kernel printed a sign of it since the last look.
        """


class Log:
    """Follows a console log from where it stood when this object was made.

    Args:
        log: the file that QEMU records the console in.
        offset: where to start, in bytes; by default the file's present end.
    """

    def __init__(self, log: Path, offset: int | None = None) -> None:
        self.log = log
        self._begin = self._offset = offset if offset is not None else (log.stat().st_size if log.exists() else 0)

    @property
    def text(self) -> str:
        """What was printed since this object was made."""
        return readable(self._read(self._begin))

    def _read(self, offset: int) -> bytes:
        if not self.log.exists():
            return b""
        with self.log.open("rb") as file:
            file.seek(offset)
            return file.read()

    def unseen(self) -> bytes:
        """Return what was printed since the last call, whole lines only."""
        text = self._read(self._offset)
        text = text[: text.rfind(b"\n") + 1]
        self._offset += len(text)
        return text

    def check(self, doing: str) -> None:
        """Raise if the kernel printed a sign of trouble since the last call.

        Args:
            doing: what was under way, for the message.

        Raises:
            GuestCrashed: with the line that says so, and the end of the console.
        """
        text = self.unseen()
        if found := TROUBLE.search(text):
            start = text.rfind(b"\n", 0, found.start()) + 1
            line = text[start : text.find(b"\n", start)].decode(errors="replace").strip()
            raise GuestCrashed(f"the guest's kernel broke while {doing}: {line}", output=self.tail(30), log=self.log)

    def tail(self, lines: int = 15) -> str:
        """Return the end of the log, without control characters."""
        return readable(tail(self.log, lines).encode(errors="replace"))


def _nothing() -> None:
    """Tell nobody."""


class BoundedConsole:
    """Records a stream in a thread of its own, from when it is made until the stream ends: bounded in size however
    much the machine prints, and trouble never lost.

    Args:
        stream: what the machine prints.
        limit: bytes that are kept of its beginning, and as many of its end.
        sign: what a line has where it means trouble.
    """

    def __init__(self, stream: IO[bytes], limit: int, sign: re.Pattern[bytes] = TROUBLE) -> None:
        self._stream = stream
        self._sign = sign
        self._limit = limit
        self._head = bytearray()
        self._tail = bytearray()
        self._excerpts: list[bytearray] = []
        self._line = bytearray()
        self._lock = threading.Lock()
        self._news: Callable[[], None] = _nothing
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
            self._news()
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
        if found := self._sign.search(self._line, 0, whole):
            self.troubled.set()
            if len(self._excerpts) < _EXCERPTS:
                start = self._line.rfind(b"\n", 0, found.start()) + 1
                self._excerpts.append(self._line[start:])
                whole = len(self._line)
        del self._line[:whole]
        # Whoever prints without line ends is not waited for.
        del self._line[: max(0, len(self._line) - 4096)]

    def listen(self, news: Callable[[], None]) -> None:
        """Have something called whenever more was printed, by the thread that records: what takes long there holds up
        the machine, and what raises ends the recording.
        """
        self._news = news

    def since(self, offset: int, most: int) -> tuple[int, bytes]:
        """Return how much was printed so far, and the end of what came after an offset.

        Args:
            offset: as an earlier call returned it; 0 for the beginning.
            most: bytes to return, of what is still kept of it.
        """
        with self._lock:
            wanted = min(self.size - offset, most)
            if wanted <= 0:
                return self.size, b""
            end = bytes(self._tail[-wanted:])
            # The beginning is what comes before it, as long as nothing was left out between them.
            if len(end) < wanted and len(self._head) + len(self._tail) == self.size:
                end = bytes(self._head[len(end) - wanted :]) + end
            return self.size, end

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

    def tail(self) -> str:
        """Return the end of what was printed."""
        return self.text[-2000:]

    def unseen(self) -> bytes:
        """Return nothing: all of it is kept, or lost."""
        return b""

    def check(self, doing: str) -> None:
        """Raise nothing: a machine says what it likes, and whether that is true is not to be seen from its text."""

"""Where `-o` leads to: a file, a command that reads, or a file for each thread."""

from __future__ import annotations

import collections
import contextlib
import os
import select
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import UsageError

_COMMAND = "|!"
"""What a command begins with. Source: `-o` in strace(1)"""
_START = 'exec 3<&0; sh -c "$0" <&3 3<&- & echo $! >/dev/fd/"$1"'
"""Starts it as nobody's child: those of this process are the program that is traced, and what it leaves behind."""


@dataclass(frozen=True)
class Output:
    """What is written to.

    Attributes:
        file: the stream.
        reader: the process that reads it, where that is a command.
    """

    file: IO[str]
    reader: int | None = None


def is_command(path: str | None) -> bool:
    """Return whether an output is a command."""
    return bool(path) and path[:1] in _COMMAND  # type: ignore[index]  # it is not None


@contextlib.contextmanager
def opened(path: str | None, otherwise: IO[str]) -> Iterator[Output]:
    """Open what is written to.

    Args:
        path: the file, or `|` and a command, which is waited for at the end; None for `otherwise`.
        otherwise: a stream that stays open.

    Raises:
        UsageError: the file cannot be written to, or there is no command.
    """
    if path is None:
        yield Output(otherwise)
    elif is_command(path):
        with _piped(path[1:]) as output:
            yield output
    else:
        with _written(path) as file:
            yield Output(file)


def _written(path: str, mode: str = "w") -> IO[str]:
    try:
        return Path(path).open(mode, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _piped(command: str) -> Iterator[Output]:
    if not command.strip():
        raise UsageError("-o: there is no command behind the |", hint="for instance: -o '|grep passwd'")
    read, write = os.pipe()
    with open(write, "w", encoding="utf-8") as file:  # noqa: PTH123  # a descriptor
        try:
            reader = _start(command, read)
        finally:
            os.close(read)
        with _ended(reader):
            yield Output(file, reader)
            with contextlib.suppress(BrokenPipeError):  # it has seen enough
                file.close()


def _start(command: str, read: int) -> int:
    """Start what reads; return its process. It writes where this process does."""
    import subprocess  # noqa: PLC0415  # wanted here only, and a start costs time on an emulated machine

    mine, told = os.pipe()
    try:
        subprocess.run(["sh", "-c", _START, command, str(told)], stdin=read, pass_fds=[told], check=True)
        return int(os.read(mine, 32))
    finally:
        os.close(mine)
        os.close(told)


@contextlib.contextmanager
def _ended(process: int) -> Iterator[None]:
    """Wait in the end for a process."""
    try:
        watch = os.pidfd_open(process)
    except ProcessLookupError:  # it has ended already
        yield
        return
    try:
        yield
        poller = select.poll()
        poller.register(watch, select.POLLIN)
        poller.poll()
    finally:
        os.close(watch)


def require_place(path: str) -> None:
    """Raise where no files can be made whose names begin with a path.

    Raises:
        UsageError: the directory is not there, or may not be written to.
    """
    place = Path(path).parent
    if not place.is_dir():
        raise UsageError(f"{path}.TID cannot be written: there is no directory {place}", hint=f"mkdir -p {place}")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{path}.TID cannot be written: {place} is not writable", hint="-o names another place")


class Files:
    """A file for each thread, as `strace -ff` has them: what is there of that name is written anew.

    Args:
        path: what goes before the dot and the thread's number.
        most: files that are open at the same time.
    """

    def __init__(self, path: str, most: int = 64) -> None:
        self._path = path
        self._most = most
        self._begun: set[int] = set()
        self._open: collections.OrderedDict[int, IO[str]] = collections.OrderedDict()

    def write(self, tid: int, text: str) -> None:
        """Write to the file of a thread."""
        if tid not in self._open:
            self._make_room()
            self._open[tid] = _written(f"{self._path}.{tid}", "a" if tid in self._begun else "w")
            self._begun.add(tid)
        self._open.move_to_end(tid)
        self._open[tid].write(text)

    def flush(self) -> None:
        """Have all that was written be there for readers."""
        for file in self._open.values():
            file.flush()

    def _make_room(self) -> None:
        while len(self._open) >= self._most:
            self._open.popitem(last=False)[1].close()

    def close(self) -> None:
        """Close all."""
        while self._open:
            self._open.popitem()[1].close()

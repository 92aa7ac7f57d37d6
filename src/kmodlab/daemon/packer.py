"""Segments as they are written: blocks of a CPU put together, packed, and counted by segment."""

from __future__ import annotations

import contextlib
import itertools
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from . import segments
from .segments import Head

log = logging.getLogger(__name__)

BLOCK_BYTES = 256 << 10
"""What is packed together, at most, before it is packed."""
SegmentRow = tuple[str, int, int, int, int, int, int, int]
"""A row of `segment_cpu`."""


@dataclass(frozen=True)
class Piece:
    """Records of one CPU that are to be kept.

    Attributes:
        id: number of the journal item that they are from.
        epoch: whose.
        cpu: whose.
        first: number of the first.
        last: number of the last.
        n: how many.
        begin: when the first was complete, ns of CLOCK_BOOTTIME.
        end: when the last was complete.
        asleep: how far that clock was ahead of CLOCK_MONOTONIC, ns.
        data: the records.
        starts: where each of them begins.
    """

    id: int
    epoch: int
    cpu: int
    first: int
    last: int
    n: int
    begin: int
    end: int
    asleep: int
    data: bytes
    starts: list[int]


def joined(pieces: list[Piece]) -> Iterator[Piece]:
    """Yield the pieces put together: those of a CPU, as many as a block may have."""
    open_ones: dict[tuple[int, int, int], list[Piece]] = {}
    sizes: dict[tuple[int, int, int], int] = {}
    for piece in pieces:
        key = piece.epoch, piece.cpu, piece.asleep
        if sizes.get(key, 0) + len(piece.data) > BLOCK_BYTES and key in open_ones:
            yield _one(open_ones.pop(key))
            sizes[key] = 0
        open_ones.setdefault(key, []).append(piece)
        sizes[key] = sizes.get(key, 0) + len(piece.data)
    for left in open_ones.values():
        yield _one(left)


def _one(pieces: list[Piece]) -> Piece:
    begins = itertools.accumulate((len(piece.data) for piece in pieces), initial=0)
    return replace(
        pieces[0],
        last=pieces[-1].last,
        n=sum(piece.n for piece in pieces),
        begin=min(piece.begin for piece in pieces),
        end=max(piece.end for piece in pieces),
        data=b"".join([piece.data for piece in pieces]),
        starts=[begin + at for begin, piece in zip(begins, pieces, strict=False) for at in piece.starts],
    )


class Packer:
    """Writes segments. What was written behind the index's position is not there until the index says so.

    Args:
        folder: where segments are.
        most_bytes: how large a segment gets, about.
        most_seconds: how old.
        clock: seconds that only go on.
    """

    def __init__(
        self, folder: Path, most_bytes: int, most_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path: Path | None = None
        self._folder, self._most_bytes, self._most_seconds, self._clock = folder, most_bytes, most_seconds, clock
        self._base: sqlite3.Connection | None = None
        self._inode = 0
        self._opened_at = 0.0
        self._unfinished = False

    def write(self, pieces: list[Piece], position: int) -> list[SegmentRow]:
        """Write pieces; return what is to be added to the index.

        Args:
            pieces: in the order of their ids.
            position: of the index: what is behind it in the segment was never finished.

        Raises:
            sqlite3.Error, OSError: they could not be written.
        """
        if not pieces:
            return []
        base = self._segment(pieces[0].id)
        assert self.path  # noqa: S101
        if self._unfinished:
            segments.cut(base, position)
        self._unfinished = True
        base.execute("begin immediate")
        try:
            rows = [_written(base, self.path.name, piece) for piece in joined(pieces)]
            base.execute("commit")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                base.execute("rollback")
            self.close()
            raise
        return rows

    def finished(self) -> None:
        """Take notice that the index has what was written."""
        self._unfinished = False

    def _segment(self, number: int) -> sqlite3.Connection:
        if self._base and not self._is_there():
            log.error("%s was removed", self.path)
            self.close()
        if self._base and self._is_full() and not self._unfinished:
            self.close()
        if not self._base:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path = self._folder / f"{number:012}.db"
            self._base = segments.create(self.path)
            self._inode = self.path.stat().st_ino
            self._opened_at = self._clock()
            # There may be one of this number, of a process that was killed before it was done.
            self._unfinished = True
        return self._base

    def _is_there(self) -> bool:
        try:
            return self.path is not None and self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def _is_full(self) -> bool:
        assert self.path  # noqa: S101
        return segments.size(self.path) > self._most_bytes or self._clock() - self._opened_at > self._most_seconds

    def settle(self) -> None:
        """Have what was written reach the disk."""
        if self._base:
            self._base.execute("pragma wal_checkpoint(passive)").fetchall()

    def close(self) -> None:
        """Begin another segment with what comes next."""
        if self._base:
            with contextlib.suppress(sqlite3.Error):
                self._base.close()
        self._base = self.path = None


def _written(base: sqlite3.Connection, name: str, piece: Piece) -> SegmentRow:
    packed, pids = segments.pack(piece.data, piece.starts)
    numbers = (piece.id, piece.epoch, piece.cpu, piece.first, piece.last, piece.n, piece.begin, piece.end, piece.asleep)
    head = Head(*numbers, crc=0)
    segments.insert(base, replace(head, crc=head.checksum(packed)), packed, pids)
    return (name, piece.epoch, piece.cpu, piece.n, piece.first, piece.last, piece.begin, piece.end)

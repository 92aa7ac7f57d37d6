"""Reading behind the recorder: the journals' items in their order, and which journals are done with."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from . import journal, segments
from .items import Item
from .journal import Hole, checksum
from .recorded import item_of
from .tally import NS

log = logging.getLogger(__name__)

_FOR_NOW = ("SQLITE_ERROR", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_CANTOPEN", "SQLITE_READONLY")
"""What SQLite says of a file that is just being made."""
SETTLED_NS = NS
"""So long after a folder's last change it has no other of the same time; a clock that was set back lists it anew."""
_BLOCK = "id, epoch, cpu, first, last, n, begin, end, ordinal, crc, data"


@dataclass(frozen=True)
class Block:
    """A batch as the journal has it: see `items.Batch`; `ordinal` is how many of its CPU were stored before."""

    id: int
    epoch: int
    cpu: int
    first: int
    last: int
    n: int
    begin: int
    end: int
    ordinal: int
    data: bytes


@dataclass(frozen=True)
class Note:
    """Anything else: an item, or a hole with its CPU and reason."""

    id: int
    epoch: int
    item: Item | tuple[int, str, Hole]


Ledger = dict[tuple[int, int], dict[str, int]]


class Follower:
    """Reads the journals of a folder from a position on.

    Args:
        folder: of the history.
        position: number of the last item that is not wanted.

    Attributes:
        position: number of the last item that was returned.
        more: whether there is more than was returned.
        ledger: the recorder's terms, as of the last reading.
        ended: the recorder's terms as they were at the end of journals that were left since `settle` was called.
        trouble: what is damaged, for people.
    """

    def __init__(self, folder: Path, position: int) -> None:
        self.position = position
        self.more = False
        self.ledger: Ledger = {}
        self.ended: Ledger = {}
        self.trouble = ""
        self._folder = folder
        self._path: Path | None = None
        self._base: sqlite3.Connection | None = None
        self._done: list[tuple[int, Path]] = []
        self._listed: tuple[int, list[Path]] = (0, [])

    def read(self, most: int = 64) -> list[Block | Note]:
        """Return the next items, blocks that are damaged left out; none where there are none yet."""
        while True:
            paths = self._paths()
            if not self._choose(paths):
                return []
            newest = self._path == paths[-1]
            try:
                found = self._items(most)
            except (sqlite3.Error, ValueError, TypeError) as error:
                if newest and getattr(error, "sqlite_errorname", "").startswith(_FOR_NOW):
                    return []
                self._set_aside(error)
                continue
            if found or newest:
                return found
            self._leave()

    def _paths(self) -> list[Path]:
        """Return the journals. They are listed only where the folder has changed: each listing is a traced call."""
        try:
            changed = (self._folder / "journal").stat().st_mtime_ns
        except OSError:
            return []
        if changed != self._listed[0]:
            # What changes within a tick of the kernel's clock leaves the same time.
            settled = time.time_ns() - changed > SETTLED_NS
            self._listed = changed if settled else 0, journal.files(self._folder)
        return self._listed[1]

    def _choose(self, paths: list[Path]) -> bool:
        """Have a journal open: the one that is, the last that begins before what is wanted, or the first."""
        if self._path in paths and self._base:
            return True
        self._close()
        if not paths:
            return False
        done = {path for _, path in self._done}
        left = [path for path in paths if path not in done]
        if not left:
            return False
        begun = [path for path in left if int(path.stem) <= self.position + 1]
        self._done += [(self.position, path) for path in begun[:-1]]
        self._path = begun[-1] if begun else left[0]
        return self._open()

    def _open(self) -> bool:
        try:
            self._base = sqlite3.connect(
                f"file:{self._path}?mode=rw", uri=True, isolation_level=None, timeout=5.0, check_same_thread=False
            )
            self._base.execute("pragma query_only = 1")
        except sqlite3.Error as error:
            log.error("%s cannot be opened: %s", self._path, error)
            self._base = None
        return self._base is not None

    def _items(self, most: int) -> list[Block | Note]:
        assert self._base  # noqa: S101
        base, at = self._base, self.position
        base.execute("begin")
        try:
            query = f"select {_BLOCK} from block where id > ? order by id limit ?"
            blocks = base.execute(query, (at, most)).fetchall()
            self.more = len(blocks) == most
            until = blocks[-1][0] if self.more else 1 << 62
            query = "select id, epoch, kind, text from note where id > ? and id <= ?"
            notes = base.execute(query, (at, until)).fetchall()
            ledger = base.execute("select epoch, cpu, terms from ledger").fetchall()
        finally:
            with contextlib.suppress(sqlite3.Error):
                base.execute("commit")
        self.ledger.update(((epoch, cpu), json.loads(terms)) for epoch, cpu, terms in ledger)
        found: list[Block | Note] = [_note(*row) for row in notes]
        found += [block for row in blocks if (block := self._block(*row))]
        self.position = max([at, *(row[0] for row in blocks), *(row[0] for row in notes)])
        return sorted(found, key=lambda one: one.id)

    def _block(
        self, number: int, epoch: int, cpu: int, first: int, last: int, n: int, begin: int, end: int, ordinal: int,
        crc: int, data: bytes,
    ) -> Block | None:  # fmt: skip
        if checksum((epoch, cpu, first, last, n, begin, end, ordinal), data) != crc:
            self.trouble = f"{self._path}: block {number} is damaged"
            log.error("%s: its checksum is wrong", self.trouble)
            return None
        return Block(number, epoch, cpu, first, last, n, begin, end, ordinal, data)

    def _leave(self) -> None:
        """Go on to the next journal: this one has no more, and gets no more."""
        assert self._path  # noqa: S101
        self.ended.update(self.ledger)
        self._done.append((self.position, self._path))
        self._close()
        self._path = None

    def _set_aside(self, error: Exception) -> None:
        assert self._path  # noqa: S101
        self._close()
        target = segments.set_aside(self._path, self._folder / "damaged")
        self.trouble = f"the journal {self._path.name} was damaged ({error}): it is in {target.parent}"
        log.error("%s", self.trouble)
        self._path = None

    def settle(self) -> Ledger:
        """Return the terms at the end of the journals that were left since this was asked."""
        ended, self.ended = self.ended, {}
        return ended

    def forget(self, position: int) -> bool:
        """Remove the journals of which all is kept elsewhere, up to a position; return whether there were any."""
        done = [path for last, path in self._done if last <= position]
        self._done = [one for one in self._done if one[0] > position]
        for path in done:
            segments.remove(path)
        return bool(done)

    @property
    def has_done(self) -> bool:
        """Whether there are journals that were left."""
        return bool(self._done)

    def newest(self) -> int | None:
        """Return when the newest record was complete (CLOCK_MONOTONIC, ns) that is in the open journal."""
        try:
            row = (
                self._base.execute("select end from block order by id desc limit 1").fetchone() if self._base else None
            )
        except sqlite3.Error:
            return None
        return row[0] if row else None

    def _close(self) -> None:
        if self._base:
            with contextlib.suppress(sqlite3.Error):
                self._base.close()
        self._base = None

    close = _close


def _note(number: int, epoch: int, kind: str, text: str) -> Note:
    given = json.loads(text)
    if kind == "Hole":
        cpu, reason = given.pop("cpu"), given.pop("reason")
        return Note(number, epoch, (cpu, reason, Hole(**given)))
    return Note(number, epoch, item_of(kind, given))

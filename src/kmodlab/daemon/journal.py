"""The first stage: what comes is written as it came, into files of some megabytes, the ledger with it.

It looks into nothing and waits for nobody but the disk. When the disk does not keep up, or takes nothing any more,
whole batches are let go, oldest first, and counted; the rest is written when it can be.

Each file (`journal/<number of its first item>.db`) begins with the epoch and the clocks, and holds items in their
order: `block` has batches, `note` all else, and numbers run on through both, and from file to file. The second stage
removes files; the newest one stays, for it has the ledger.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import logging
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from kmodlab.errors import KmodlabError
from kmodlab.modules.record import LAYOUT, SEQ

from . import segments
from .items import Batch, Begin, Blocked, Calls, Changed, Clock, Counters, Item
from .ledger import KERNEL
from .recorded import plain

log = logging.getLogger(__name__)

FILE_BYTES = 16 << 20
"""A journal of this size is closed."""
FOLDER_BYTES = 1 << 30
"""What all journals may take: beyond that the second stage is too far behind, and records are let go."""
PENDING_BYTES = 32 << 20
"""What may wait for the disk."""
_SCHEMA = """
create table block (
    id integer primary key, epoch integer not null, cpu integer not null,
    first integer not null, last integer not null, n integer not null,
    begin integer not null, end integer not null, ordinal integer not null, crc integer not null, data blob not null
) strict;
create table note (id integer primary key, epoch integer not null, kind text not null, text text not null) strict;
create table ledger (epoch integer, cpu integer, terms text not null, primary key (epoch, cpu)) strict;
create table about (one integer primary key, key text not null, epoch integer not null) strict;
pragma user_version = 1;
"""
_REASONS = {"SQLITE_FULL": "full", "SQLITE_READONLY": "readonly", "SQLITE_CANTOPEN": "gone"}
_ERRNOS = {errno.ENOSPC: "full", errno.EDQUOT: "full", errno.EROFS: "readonly", errno.EACCES: "readonly"}
_SAID = {
    "full": "the disk is full",
    "readonly": "the disk takes no writing",
    "gone": "the folder was removed",
    "failed": "the disk fails",
    "slow": "the disk is too slow",
    "behind": "the roll-ups are too far behind",
}


class Behind(OSError):
    """There are as many journals as there may be."""


def checksum(numbers: tuple[int, ...], data: bytes) -> int:
    """Return the checksum of a block: of its numbers and its data, for SQLite has none of what is in its pages."""
    return zlib.crc32(data, zlib.crc32(repr(numbers).encode()))


def reason_of(error: Exception) -> str:
    """Return why nothing can be written, as the ledger's `shed_` terms have it."""
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "")
        return next((reason for start, reason in _REASONS.items() if name.startswith(start)), "failed")
    if isinstance(error, Behind):
        return "behind"
    return _ERRNOS.get(getattr(error, "errno", 0) or 0, "failed")


@dataclass
class Account:
    """What is counted for one CPU of one epoch: the terms of `ledger.KERNEL`, `RECORDER`, `BLOCKED` and `SHED`."""

    begun: int
    next: int
    dropped_before: int
    issued: int = 0
    received: int = 0
    missing: int = 0
    lost_ring: int = 0
    away: int = 0
    stored: int = 0
    pending: int = 0
    logged: int = 0
    overwritten: int = 0
    dropped: int = 0
    excluded: int = 0
    blocked_begun: int = 0
    blocked_next: int = 0
    blocked_came: int = 0
    blocked_missing: int = 0
    blocked_let_go: int = 0
    shed: dict[str, int] = field(default_factory=dict)
    fresh: int = 0

    def terms(self, pending: bool = True) -> dict[str, int]:
        """Return the terms; without `pending` as if all of that was stored."""
        found = {name: value for name, value in vars(self).items() if name not in ("shed", "fresh")}
        if not pending:
            found.update(stored=self.stored + self.pending, pending=0)
        return {**found, **{f"shed_{reason}": n for reason, n in self.shed.items()}}

    @classmethod
    def of(cls, terms: Mapping[str, int]) -> Account:
        """Return the account that has these terms."""
        shed = {name.removeprefix("shed_"): n for name, n in terms.items() if name.startswith("shed_")}
        return cls(**{name: n for name, n in terms.items() if not name.startswith("shed_")}, shed=shed)

    def resume(self, issued: int) -> None:
        """Take it that what the CPU has counted meanwhile was made while nothing recorded."""
        self.fresh = max(0, issued - self.next)
        self.away += self.fresh
        self.missing += self.fresh
        self.next += self.fresh

    def add(self, batch: Batch) -> None:
        """Count a batch.

        Raises:
            KmodlabError: it has numbers that have come before.
        """
        if batch.first < self.next:
            self._rewind(self.next - batch.first)
        gap = batch.first - self.next
        inner = batch.last - batch.first + 1 - batch.n
        # The first batch may tell of what was overwritten before anybody listened.
        self.lost_ring += min(batch.lost, gap) if self.fresh or not self.received else batch.lost
        self.missing += gap + inner
        self.received += batch.n
        self.pending += batch.n
        self.next = batch.last + 1
        self.fresh = 0

    def add_apart(self, item: Blocked) -> None:
        """Count what came by the group of blocked calls."""
        if not (self.blocked_came or self.blocked_missing or self.blocked_let_go):
            self.blocked_begun = self.blocked_next = item.number - item.lost
        # While nobody listens none are kept, so the numbers go on where they were.
        self.blocked_missing += item.number - self.blocked_next
        self.blocked_came += item.n
        self.blocked_next = item.number + item.n

    def _rewind(self, back: int) -> None:
        """Take back what `resume`, or the beginning, took for gone: the kernel has sent it all the same."""
        if not self.received and not self.missing:
            self.begun -= back
        elif back <= self.fresh:
            self.away -= back
            self.missing -= back
        else:
            raise KmodlabError(f"records come that have come before, {back} of them")
        self.next -= back


@dataclass(frozen=True)
class Hole:
    """Records of a CPU that came and were let go: the first and the last number, how many, from when to when (ns)."""

    first: int
    last: int
    n: int
    begin: int
    end: int

    def __add__(self, later: Hole) -> Hole:
        return Hole(self.first, later.last, self.n + later.n, self.begin, later.end)


MOST_HOLES = 64
"""Holes of a CPU that wait to be written, for each reason; where there are more, the last ones are told as one."""
Holes = dict[tuple[int, int, str], list[Hole]]
"""By epoch, CPU and reason."""


@dataclass(frozen=True)
class Recalled:
    """What is known of a recording that ended: the next item's number, the epoch and its key, the ledger."""

    next_id: int = 1
    epoch: int = 0
    key: str = ""
    ledger: Mapping[tuple[int, int], Mapping[str, int]] = field(default_factory=dict)


def files(folder: Path) -> list[Path]:
    """Return the journals in a folder, oldest first."""
    return sorted((folder / "journal").glob("*.db"))


def recall(path: Path) -> Recalled:
    """Return what a journal knows.

    Raises:
        sqlite3.Error: it is damaged.
    """
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as base:
        ((last,),) = base.execute("select max(id) from (select id from block union all select id from note)")
        ((key, epoch),) = base.execute("select key, epoch from about")
        ledger = {(e, cpu): json.loads(terms) for e, cpu, terms in base.execute("select epoch, cpu, terms from ledger")}
    return Recalled(max(last or 0, int(path.stem)) + 1, epoch, key, ledger)


@dataclass(frozen=True)
class _Load:
    """What one transaction writes: items with their epochs, their bytes, holes, and the ledger before and after."""

    items: list[tuple[int, Item]]
    size: int
    shed: Holes
    stored: Mapping[tuple[int, int], int]
    ledger: Mapping[tuple[int, int], Mapping[str, int]]


class Journal:
    """The journals of a folder. One process writes them, and one thread of it calls `commit`.

    Args:
        folder: the history's.
        known: what else is known of the recording before, from the index.
        file_bytes: see `FILE_BYTES`.
        pending_bytes: see `PENDING_BYTES`.
        folder_bytes: see `FOLDER_BYTES`.

    Raises:
        KmodlabError: another process records into this folder.
        OSError: there can be no such folder.
    """

    def __init__(
        self,
        folder: Path,
        known: Recalled | None = None,
        *,
        file_bytes: int = FILE_BYTES,
        pending_bytes: int = PENDING_BYTES,
        folder_bytes: int = FOLDER_BYTES,
    ) -> None:
        self.folder = folder / "journal"
        self.reason = self.trouble = ""
        self._file_bytes, self._pending_bytes, self._folder_bytes = file_bytes, pending_bytes, folder_bytes
        self._lock = threading.Lock()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._held = self._hold(folder)
        recalled = max((*self._found(folder), known or Recalled()), key=lambda one: one.next_id)
        self._next_id, self.epoch, self._key = recalled.next_id, recalled.epoch, recalled.key
        self.accounts = {whose: Account.of(terms) for whose, terms in recalled.ledger.items()}
        self._items: list[tuple[int, Item]] = []
        self._bytes = 0
        self._dirty = False
        self._writing = False
        self._base: sqlite3.Connection | None = None
        self._path = Path()
        self._inode = 0
        self._size = 0
        self._begin: Begin | None = None
        self._clock: Clock | None = None
        self._shed: Holes = {}

    @staticmethod
    def _hold(folder: Path) -> int:
        held = os.open(folder / "recorder.lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(held)
            hint = "end that one first, or record into another folder"
            raise KmodlabError(f"another process records into {folder}", hint=hint) from error
        return held

    @staticmethod
    def _found(folder: Path) -> Iterator[Recalled]:
        """Yield what the newest journal knows that can be read."""
        for path in reversed(files(folder)):
            try:
                yield recall(path)
            except (sqlite3.Error, ValueError, TypeError) as error:
                log.error("the journal %s cannot be read: %s", path, error)
            else:
                return

    # -- what comes ----------------------------------------------------------------------------------------------

    def take(self, item: Item) -> None:
        """Count an item, and keep it until it is written."""
        with self._lock:
            self._dirty = True
            if isinstance(item, Batch):
                self._count(item)
            elif isinstance(item, Blocked):
                self._count_apart(item)
            else:
                self._note(item)
            if self._bytes > self._pending_bytes:
                self._let_go("slow" if self._writing else self.reason or "slow")

    def _count(self, batch: Batch) -> None:
        account = self.accounts.get((self.epoch, batch.cpu))
        if account is None:
            # A CPU that came online later begins with what it sends first.
            account = self.accounts[self.epoch, batch.cpu] = Account(batch.first, batch.first, 0)
        try:
            account.add(batch)
        except KmodlabError as error:
            log.error("CPU %d: %s; they are left out", batch.cpu, error.message)
            return
        self._items.append((self.epoch, batch))
        self._bytes += len(batch.data)

    def _count_apart(self, item: Blocked) -> None:
        first = LAYOUT.unpack_from(item.data)[SEQ]
        self.accounts.setdefault((self.epoch, item.cpu), Account(first, first, 0)).add_apart(item)
        self._items.append((self.epoch, item))
        self._bytes += len(item.data)

    def _note(self, item: Item) -> None:
        if isinstance(item, Begin):
            self._enter(item)
        elif isinstance(item, Calls) and self._begin:
            self._begin = replace(self._begin, calls=item.calls)
        elif isinstance(item, Changed) and self._begin:
            self._begin = replace(self._begin, settings=item.settings)
        elif isinstance(item, Clock):
            self._clock = item
        elif isinstance(item, Counters):
            for cpu, numbers in item.cpus.items():
                if account := self.accounts.get((self.epoch, cpu)):
                    vars(account).update(zip(KERNEL, numbers, strict=True))
            return
        self._items.append((self.epoch, item))

    def _enter(self, begin: Begin) -> None:
        if begin.key == self._key and self.epoch:
            for cpu, issued in begin.issued.items():
                if account := self.accounts.get((self.epoch, cpu)):
                    account.resume(issued)
        else:
            self.epoch += 1
            self._key = begin.key
            self._clock = None
        self._begin = begin
        for cpu, issued in begin.issued.items():
            fresh = Account(issued, issued, begin.dropped.get(cpu, 0))
            self.accounts.setdefault((self.epoch, cpu), fresh)

    def _let_go(self, reason: str) -> None:
        """Let the oldest go until the rest fits, what is blocked last of all; called with the lock."""
        for kind in (Batch, Blocked):
            self._items = [one for one in self._items if not self._goes(*one, kind, reason)]
        self.trouble = self.trouble or f"{_SAID[reason]}: records are let go"

    def _goes(self, epoch: int, item: Item, kind: type[Item], reason: str) -> bool:
        if not isinstance(item, kind) or self._bytes <= self._pending_bytes // 2:
            return False
        if isinstance(item, Batch):
            self._count_shed(epoch, item, reason)
        elif isinstance(item, Blocked):
            account = self.accounts[epoch, item.cpu]
            account.blocked_came -= item.n
            account.blocked_let_go += item.n
        self._bytes -= len(item.data) if isinstance(item, Batch | Blocked) else 0
        return True

    def _count_shed(self, epoch: int, batch: Batch, reason: str) -> None:
        account = self.accounts[epoch, batch.cpu]
        account.pending -= batch.n
        account.shed[reason] = account.shed.get(reason, 0) + batch.n
        hole = Hole(batch.first, batch.last, batch.n, batch.begin, batch.end)
        holes = self._shed.setdefault((epoch, batch.cpu, reason), [])
        # What was kept, or let go for another reason, between two of them is in neither.
        if holes and (holes[-1].last + 1 == hole.first or len(holes) >= MOST_HOLES):
            holes[-1] += hole
        else:
            holes.append(hole)

    # -- the disk ------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether there is nothing to write."""
        return not self._dirty and not self.reason

    @property
    def crowded(self) -> bool:
        """Whether half of what may wait for the disk does: whoever can wait now loses nothing."""
        return self._bytes > self._pending_bytes // 2

    @property
    def heavy(self) -> bool:
        """Whether so much waits for the disk that it should be written soon, whoever looks."""
        return self._bytes > self._pending_bytes // 8

    def ledger(self) -> dict[tuple[int, int], dict[str, int]]:
        """Return the terms of each (epoch, CPU) as of now."""
        with self._lock:
            return {whose: account.terms() for whose, account in self.accounts.items()}

    def commit(self) -> bool:
        """Write what waits; return whether that was possible. `reason` and `trouble` say why not."""
        with self._lock:
            load = _Load(
                self._items,
                self._bytes,
                self._shed,
                {whose: account.stored for whose, account in self.accounts.items()},
                {whose: account.terms(pending=False) for whose, account in self.accounts.items()},
            )
            self._items, self._bytes, self._shed, self._dirty, self._writing = [], 0, {}, False, True
        try:
            self._write(load)
        except (sqlite3.Error, OSError) as error:
            self._failed(error, load)
            return False
        self._done(load)
        return True

    def _done(self, load: _Load) -> None:
        with self._lock:
            self._writing = False
            for whose, terms in load.ledger.items():
                account = self.accounts[whose]
                account.stored = terms["stored"]
                account.pending -= terms["stored"] - load.stored[whose]
            for whose, account in list(self.accounts.items()):
                if whose[0] != self.epoch and not account.pending:
                    del self.accounts[whose]
            if self.reason:
                log.warning("recording into %s goes on", self.folder)
            self.reason = self.trouble = ""

    def _failed(self, error: Exception, load: _Load) -> None:
        self._abandon()
        reason = reason_of(error)
        with self._lock:
            self._writing = False
            self._items = load.items + self._items
            self._bytes += load.size
            for key, holes in load.shed.items():
                self._shed[key] = holes + self._shed.get(key, [])
            if reason != self.reason:
                log.error("nothing can be written into %s: %s", self.folder, error)
            self.reason, self.trouble = reason, f"{_SAID[reason]}: nothing can be written into {self.folder} ({error})"
            if self._bytes > self._pending_bytes:
                self._let_go(reason)

    def _abandon(self) -> None:
        """Go on in another file; of one that nothing was written into nothing is left."""
        if self._base:
            with contextlib.suppress(sqlite3.Error):
                self._base.close()
            if not self._size:
                segments.remove(self._path)
        self._base = None

    def _write(self, load: _Load) -> None:
        base = self._opened()
        base.execute("begin immediate")
        try:
            last = self._insert(base, load)
            base.execute("commit")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                base.execute("rollback")
            raise
        self._next_id = last
        self._size += load.size + 1

    def _insert(self, base: sqlite3.Connection, load: _Load) -> int:
        blocks, notes = [], []
        numbers, stored = itertools.count(self._next_id), dict(load.stored)
        for epoch, item in (*self._first(), *load.items):
            if isinstance(item, Batch):
                blocks.append(_block(next(numbers), epoch, item, stored[epoch, item.cpu]))
                stored[epoch, item.cpu] += item.n
            else:
                notes.append((next(numbers), epoch, type(item).__name__, json.dumps(plain(item))))
        for (epoch, cpu, reason), holes in load.shed.items():
            for hole in holes:
                text = json.dumps({"cpu": cpu, "reason": f"shed_{reason}", **vars(hole)})
                notes.append((next(numbers), epoch, "Hole", text))
        base.executemany("insert into block values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", blocks)
        base.executemany("insert into note values (?, ?, ?, ?)", notes)
        ledger = [(*whose, json.dumps(terms)) for whose, terms in load.ledger.items()]
        base.executemany("insert or replace into ledger values (?, ?, ?)", ledger)
        base.execute("insert or replace into about values (1, ?, ?)", (self._key, self.epoch))
        return next(numbers)

    def _first(self) -> list[tuple[int, Item]]:
        """Return what a file begins with."""
        if self._size or not self._begin:
            return []
        return [(self.epoch, self._begin), *([(self.epoch, self._clock)] if self._clock else [])]

    def _opened(self) -> sqlite3.Connection:
        """Return a file that is there and has room."""
        if self._base and not self._is_there():
            log.error("%s was removed", self._path)
            self._abandon()
        if self._base and self._size > self._file_bytes:
            self._abandon()
        if not self._base:
            if (taken := sum(map(segments.size, self.folder.glob("*.db")))) > self._folder_bytes:
                raise Behind(f"the journals take {taken >> 20} MiB")
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # No name is used twice, not even after a failure: somebody may have the file open.
            self._path, self._next_id, self._size = self.folder / f"{self._next_id:012}.db", self._next_id + 1, 0
            self._base = _created(self._path)
            self._inode = self._path.stat().st_ino
        return self._base

    def _is_there(self) -> bool:
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Write what can be written, and let go of the folder."""
        self.commit()
        self._abandon()
        os.close(self._held)


def _block(number: int, epoch: int, batch: Batch, ordinal: int) -> tuple[object, ...]:
    head = (batch.cpu, batch.first, batch.last, batch.n, batch.begin, batch.end, ordinal)
    return (number, epoch, *head, checksum((epoch, *head), batch.data), batch.data)


def _created(path: Path) -> sqlite3.Connection:
    """Return a new journal, or leave nothing."""
    try:
        base = segments.new(path)
        # It is written once and soon removed: what is in the log need not be copied into the file while it grows.
        base.execute("pragma wal_autocheckpoint = 0")
        base.executescript(f"begin; {_SCHEMA} commit;")
    except BaseException:
        segments.remove(path)
        raise
    return base

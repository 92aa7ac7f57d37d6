"""Records that are kept: blocks of some hundred of one CPU, compressed by column, in files that are removed whole.

A segment is `raw/<number of its first item>.db`. A block's number is that of the first journal item in it.
"""

from __future__ import annotations

import array
import contextlib
import itertools
import os
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kmodlab.errors import KmodlabError
from kmodlab.modules.record import LAYOUT

HEAD = LAYOUT.size
_PID, _SIZE = 88, 110
"""Where in a record the process id and the size of the data are."""
LEVEL = 1
_SCHEMA = """
create table block (
    id integer primary key, epoch integer not null, cpu integer not null,
    first integer not null, last integer not null, n integer not null,
    begin integer not null, end integer not null, asleep integer not null, crc integer not null, data blob not null
) strict;
create index block_end on block (end);
create table who (pid integer, block integer, n integer not null, primary key (pid, block)) strict, without rowid;
pragma user_version = 1;
"""
_HEADS = "id, epoch, cpu, first, last, n, begin, end, asleep, crc"


@dataclass(frozen=True)
class Head:
    """What is known of a block without its data.

    Attributes:
        id: number of the first journal item in it.
        epoch: whose records.
        cpu: whose records.
        first: number of the first record.
        last: number of the last record.
        n: how many records.
        begin: when the first was complete, ns of CLOCK_BOOTTIME.
        end: when the last was complete, likewise.
        asleep: how far CLOCK_BOOTTIME was ahead of CLOCK_MONOTONIC, ns.
        crc: checksum of the numbers and the packed data.
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
    crc: int

    def checksum(self, packed: bytes) -> int:
        """Return what `crc` has to be."""
        numbers = (self.id, self.epoch, self.cpu, self.first, self.last, self.n, self.begin, self.end, self.asleep)
        return zlib.crc32(packed, zlib.crc32(repr(numbers).encode()))


def pack(data: bytes, starts: list[int]) -> tuple[bytes, Counter[int]]:
    """Return records packed, and how many there are of each process.

    The heads come first, byte by byte of all of them: what is alike in them then stands together.

    Args:
        data: the records.
        starts: where each of them begins.
    """
    heads = b"".join([data[at : at + HEAD] for at in starts])
    columns = [heads[at::HEAD] for at in range(HEAD)]
    tails = [data[at + HEAD : end] for at, end in itertools.pairwise([*starts, len(data)]) if end - at > HEAD]
    return zlib.compress(b"".join((*columns, *tails)), LEVEL), Counter(_words(columns, _PID, 4))


def _words(columns: list[bytes], at: int, size: int) -> array.array[int]:
    """Return a number of each record, of two or four bytes, in the machine's order."""
    raw = bytearray(len(columns[0]) * size)
    for byte in range(size):
        raw[byte::size] = columns[at + byte]
    return array.array("I" if size == 4 else "H", bytes(raw))


def unpack(packed: bytes, n: int) -> bytes:
    """Return the records that were packed.

    Args:
        packed: what `pack` has made.
        n: how many they are.

    Raises:
        KmodlabError: it is damaged.
    """
    content, columns, sizes = _checked(packed, n)
    heads = bytearray(n * HEAD)
    for at, column in enumerate(columns):
        heads[at::HEAD] = column
    parts: list[bytes | bytearray] = []
    tail = n * HEAD
    for at, size in zip(range(0, n * HEAD, HEAD), sizes, strict=True):
        parts.append(heads[at : at + HEAD])
        if size:
            end = tail + (size + 7 & -8)
            parts.append(content[tail:end])
            tail = end
    return b"".join(parts)


def _checked(packed: bytes, n: int) -> tuple[bytes, list[bytes], array.array[int]]:
    """Return what was packed, its columns, and how much data each record has, as far as that makes sense."""
    try:
        content = zlib.decompress(packed)
    except zlib.error as error:
        raise KmodlabError(f"a block is damaged: {error}") from error
    if len(content) < n * HEAD:
        raise KmodlabError("a block is damaged: it is too short")
    columns = [content[at * n : (at + 1) * n] for at in range(HEAD)]
    sizes = _words(columns, _SIZE, 2)
    if n * HEAD + sum([size + 7 & -8 for size in sizes]) != len(content):
        raise KmodlabError("a block is damaged: it has not the length that it says")
    return content, columns, sizes


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection to a segment that is there.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    base = sqlite3.connect(f"file:{path}?mode=rw", uri=True, isolation_level=None, timeout=5.0, check_same_thread=False)
    base.execute("pragma synchronous = normal")
    return base


def new(path: Path) -> sqlite3.Connection:
    """Return a connection to a file that is made, for nobody else to read, unless it is there."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    base = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
    try:
        for pragma in ("journal_mode = wal", "synchronous = normal", f"journal_size_limit = {4 << 20}"):
            base.execute(f"pragma {pragma}")
    except BaseException:
        base.close()
        raise
    return base


def create(path: Path) -> sqlite3.Connection:
    """Return a connection to a segment, which is made unless it is there."""
    base = new(path)
    try:
        if not base.execute("pragma user_version").fetchone()[0]:
            base.executescript(f"begin; {_SCHEMA} commit;")
    except BaseException:
        base.close()
        raise
    return base


def insert(base: sqlite3.Connection, head: Head, packed: bytes, pids: Counter[int]) -> None:
    """Write a block, in a transaction of the caller's."""
    numbers = (head.id, head.epoch, head.cpu, head.first, head.last, head.n, head.begin, head.end, head.asleep)
    base.execute("insert into block values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*numbers, head.crc, packed))
    base.executemany("insert into who values (?, ?, ?)", [(pid, head.id, n) for pid, n in pids.items()])


def cut(base: sqlite3.Connection, position: int) -> None:
    """Remove the blocks behind a journal item: what is behind the index's position was never finished."""
    base.execute("begin immediate")
    base.execute("delete from who where block > ?", (position,))
    base.execute("delete from block where id > ?", (position,))
    base.execute("commit")


def heads(base: sqlite3.Connection, begin: int, end: int, pid: int | None = None) -> Iterator[Head]:
    """Yield the blocks that reach into a time (CLOCK_BOOTTIME, ns), those with the newest ends first."""
    of = "" if pid is None else "and id in (select block from who where pid = ?)"
    query = f"select {_HEADS} from block where end >= ? and begin < ? {of} order by end desc, id desc"
    for row in base.execute(query, (begin, end) if pid is None else (begin, end, pid)):
        yield Head(*row)


def data(base: sqlite3.Connection, head: Head) -> bytes:
    """Return the records of a block.

    Raises:
        KmodlabError: it is damaged, or not there.
    """
    # All rows are fetched, though it is one: from then on nothing is held.
    found = base.execute("select data from block where id = ?", (head.id,)).fetchall()
    if not found:
        raise KmodlabError(f"block {head.id} is gone")
    ((packed,),) = found
    if head.checksum(packed) != head.crc:
        raise KmodlabError(f"block {head.id} is damaged: its checksum is wrong")
    return unpack(packed, head.n)


def packed(base: sqlite3.Connection, after: int, until: int) -> Iterator[tuple[Head, bytes]]:
    """Yield the blocks of numbers behind one and up to another, as they are kept, in their order; nothing is held.

    Raises:
        KmodlabError: one is damaged.
    """
    numbers = base.execute("select id from block where id > ? and id <= ? order by id", (after, until)).fetchall()
    for (number,) in numbers:
        for *numbers, content in base.execute(f"select {_HEADS}, data from block where id = ?", (number,)).fetchall():
            head = Head(*numbers)
            if head.checksum(content) != head.crc:
                raise KmodlabError(f"block {head.id} is damaged: its checksum is wrong")
            yield head, content


def processes(content: bytes, n: int) -> Counter[int]:
    """Return how many records of each process are in packed ones."""
    data = zlib.decompress(content)
    columns = [data[at * n : (at + 1) * n] for at in range(_PID, _PID + 4)]
    return Counter(_words(columns, 0, 4))


def counts(base: sqlite3.Connection) -> dict[tuple[int, int], int]:
    """Return how many records there are of each (epoch, CPU), by the heads of the blocks."""
    rows = base.execute("select epoch, cpu, sum(n) from block group by epoch, cpu")
    return {(epoch, cpu): n for epoch, cpu, n in rows}


def damaged(base: sqlite3.Connection) -> list[Head]:
    """Return the blocks that are not what their heads say, all data read.

    Raises:
        sqlite3.Error: the file itself is damaged.
    """
    rows = ((Head(*numbers), packed) for *numbers, packed in base.execute(f"select {_HEADS}, data from block"))
    return [head for head, packed in rows if not _is_whole(head, packed)]


def _is_whole(head: Head, packed: bytes) -> bool:
    if head.checksum(packed) != head.crc:
        return False
    try:
        _checked(packed, head.n)
    except KmodlabError:
        return False
    return True


def drop(base: sqlite3.Connection, bad: list[Head]) -> None:
    """Take blocks out of a segment."""
    base.execute("begin immediate")
    base.executemany("delete from who where block = ?", [(head.id,) for head in bad])
    base.executemany("delete from block where id = ?", [(head.id,) for head in bad])
    base.execute("commit")


def remove(path: Path) -> None:
    """Remove a segment or a journal with what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def set_aside(path: Path, folder: Path) -> Path:
    """Move a damaged file, with what is beside it, where nobody reads it; return where it is now."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = folder / path.name
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(target.with_name(target.name + suffix))
    return target


def size(path: Path) -> int:
    """Return the bytes that a file takes with what is beside it."""
    total = 0
    for suffix in ("", "-wal"):
        with contextlib.suppress(OSError):
            total += path.with_name(path.name + suffix).stat().st_size
    return total

"""Records as the tracer sends them: taken out of a batch many at a time, and decoded when somebody looks."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from ..errors import KmodlabError

LAYOUT = struct.Struct("=QQQq6QQIIIIHHBBH16s")
"""struct sct_record, see docs/abi.md; the arguments one by one."""
ARGUMENTS = 6
SEQ, CLOCK, LATENCY, RET, ARGS = range(5)
JIFFIES, PID, TID, PPID, UID, CALL, CPU, STATUS, FLAGS, SIZE, COMM, DATA = range(
    ARGS + ARGUMENTS, ARGS + ARGUMENTS + 12
)
"""Where a row has what; DATA is there only where SIZE is not 0."""

RETURNED, COMPAT, ENFORCED, UNREADABLE, TRUNCATED = (1 << bit for bit in range(5))
"""Bits of FLAGS."""

Row = tuple[Any, ...]
"""A record as it was sent."""


def rows(batch: bytes) -> list[Row]:
    """Return the records of a batch.

    Args:
        batch: records, each followed by its data and zeros up to a multiple of 8.

    Raises:
        KmodlabError: the batch ends in the middle of a record.
    """
    found: list[Row] = []
    append, unpack_from, head = found.append, LAYOUT.unpack_from, LAYOUT.size
    at, end = 0, len(batch)
    try:
        while at < end:
            row = unpack_from(batch, at)
            at += head
            size = row[SIZE]
            if size:
                row += (batch[at : at + size],)
                at += size + 7 & -8
            append(row)
    except struct.error:
        at = end + 1
    if at != end:
        raise KmodlabError(f"a batch of {end} bytes ends in the middle of a record")
    return found


def made_at(row: Row) -> int:
    """Return when a record was made, CLOCK_MONOTONIC in ns: at entry, or at the return where that is known."""
    clock: int = row[CLOCK]
    return clock + row[LATENCY] if row[FLAGS] & RETURNED else clock


@dataclass(frozen=True)
class Record:
    """One system call.

    Attributes:
        call: its name.
        arguments: each as text, as `/proc/syscall_tracer` shows it.
        returned: what it returned, as the kernel's number (an error is `-errno`); None if that is not known.
        latency: from entry to return, ns; None if that is not known.
        blocked: whether a filter said so.
        enforced: whether it did not run because of that.
        pid: process; `tid` thread, `ppid` parent process, in the initial PID namespace.
        uid: real user id, in the initial user namespace.
        comm: command name, escaped.
        abi: 64, or 32 for the call of a 32-bit program.
        clock: CLOCK_MONOTONIC at entry, ns.
        jiffies: when the record was made.
        cpu: where the record was made.
        seq: its number on that CPU.
        unreadable: whether some of its memory could not be read.
        truncated: whether it had more data than is kept.
    """

    call: str
    arguments: tuple[str, ...]
    returned: int | None
    latency: int | None
    blocked: bool
    enforced: bool
    pid: int
    tid: int
    ppid: int
    uid: int
    comm: str
    abi: int
    clock: int
    jiffies: int
    cpu: int
    seq: int
    unreadable: bool
    truncated: bool


def record(row: Row, call: str, arguments: list[str], comm: str) -> Record:
    """Return a row as a record, given what is text in it."""
    flags = row[FLAGS]
    return Record(
        call=call,
        arguments=tuple(arguments),
        returned=row[RET] if flags & (RETURNED | ENFORCED) else None,
        latency=row[LATENCY] if flags & RETURNED else None,
        blocked=row[STATUS] != 0,
        enforced=bool(flags & ENFORCED),
        pid=row[PID],
        tid=row[TID],
        ppid=row[PPID],
        uid=row[UID],
        comm=comm,
        abi=32 if flags & COMPAT else 64,
        clock=row[CLOCK],
        jiffies=row[JIFFIES],
        cpu=row[CPU],
        seq=row[SEQ],
        unreadable=bool(flags & UNREADABLE),
        truncated=bool(flags & TRUNCATED),
    )

"""Records for people, one line a call or a table, and for programs, one line of JSON a call."""

from __future__ import annotations

import errno
import functools
import json
import operator
import os
import sys
from collections.abc import Callable, Sequence
from typing import IO, Any

from .decode import comm_text
from .record import CALL, CLOCK, COMM, ENFORCED, FLAGS, LATENCY, PID, RET, RETURNED, STATUS, TID, Record, Row
from .tracer import Tracer

ERRORS_END = -4095
"""Smaller numbers are no errors but addresses. Source: MAX_ERRNO in include/linux/err.h"""
_ADDRESSES = {"brk", "mmap", "mremap", "shmat"}
_RESTARTS = {
    512: ("ERESTARTSYS", "To be restarted if SA_RESTART is set"),
    513: ("ERESTARTNOINTR", "To be restarted"),
    514: ("ERESTARTNOHAND", "To be restarted if no handler"),
    516: ("ERESTART_RESTARTBLOCK", "Interrupted by signal"),
}
"""What only the kernel sees. Source: include/linux/errno.h"""


def note(message: str) -> None:
    """Say something beside the results, on standard error."""
    print(f"kmodlab: {message}", file=sys.stderr, flush=True)


@functools.lru_cache(maxsize=4096)
def result(name: str, returned: int) -> str:
    """Return what a call returned, as a program sees it."""
    if ERRORS_END <= returned < 0:
        if -returned in _RESTARTS:
            word, text = _RESTARTS[-returned]
            return f"? {word} ({text})"
        word = errno.errorcode.get(-returned, f"errno {-returned}")
        return f"-1 {word} ({os.strerror(-returned)})"
    return hex(returned & (1 << 64) - 1) if name in _ADDRESSES else str(returned)


def as_json(record: Record) -> str:
    """Return a record as one line of JSON."""
    shown: dict[str, Any] = dict(vars(record))
    returned = record.returned
    failed = returned is not None and ERRORS_END <= returned < 0
    shown["error"] = errno.errorcode.get(-(returned or 0)) if failed else None
    return json.dumps(shown, separators=(",", ":"))


class Lines:
    """One line a call, as strace has them.

    Args:
        tracer: knows the calls.
        out: where to.
        label: what goes before the call, from the row.
    """

    def __init__(self, tracer: Tracer, out: IO[str], label: Callable[[Row], str]) -> None:
        self._signature = tracer.signature
        self._out = out
        self._label = label

    def show(self, rows: Sequence[Row]) -> None:
        """Write rows."""
        self._out.write("".join(map(self.line, rows)))
        self._out.flush()

    def line(self, row: Row) -> str:
        """Return a row as a line."""
        signature, flags = self._signature(row), row[FLAGS]
        returned = result(signature.name, row[RET]) if flags & (RETURNED | ENFORCED) else "?"
        line = f"{self._label(row)}{signature.name}({', '.join(signature.arguments(row))}) = {returned}"
        if flags & RETURNED:
            line += f" <{row[LATENCY] // 1000000000}.{row[LATENCY] // 1000 % 1000000:06d}>"
        return f"{line} [BLOCKED]\n" if row[STATUS] else f"{line}\n"

    def lost(self, count: int) -> None:
        """Say that records are missing here."""
        note(f"{count} records were lost, of whatever process")

    def end(self) -> None:
        """Nothing is left to write."""


def of_process(main: int) -> Callable[[Row], str]:
    """Return a label for the calls of a program: only those of other threads and processes have one."""
    return lambda row: "" if row[TID] == main else f"[pid {row[TID]:5d}] "


def of_any(row: Row) -> str:
    """Return a label that says whose call it is."""
    return f"{comm_text(row[COMM])}[{row[PID]}] "


class JsonLines:
    """One line of JSON a call."""

    def __init__(self, tracer: Tracer, out: IO[str]) -> None:
        self._record = tracer.record
        self._out = out

    def show(self, rows: Sequence[Row]) -> None:
        """Write rows."""
        self._out.write("".join([f"{as_json(self._record(row))}\n" for row in rows]))
        self._out.flush()

    def lost(self, count: int) -> None:
        """Say that records are missing here: to the program that reads, and to the user."""
        self._out.write(f'{{"lost":{count}}}\n')
        note(f"{count} records were lost, of whatever process")

    def end(self) -> None:
        """Nothing is left to write."""


class Summary:
    """Counts, errors and time of each call, as `strace -c` has them.

    Args:
        tracer: knows the calls.
        out: where to.
        as_json: one object for all.
    """

    def __init__(self, tracer: Tracer, out: IO[str], *, as_json: bool) -> None:
        self._tracer = tracer
        self._out = out
        self._json = as_json
        self._lost = 0
        self._counts: dict[int, list[int]] = {}
        self._rows: dict[int, Row] = {}

    def show(self, rows: Sequence[Row]) -> None:
        """Count rows."""
        counts = self._counts
        for row in rows:
            call = row[CALL]
            if call not in counts:
                counts[call] = [0, 0, 0]
                self._rows[call] = row
            count = counts[call]
            count[0] += 1
            if row[FLAGS] & (RETURNED | ENFORCED):
                count[1] += row[LATENCY]
                if ERRORS_END <= row[RET] < 0:
                    count[2] += 1

    def lost(self, count: int) -> None:
        """Count records that are missing."""
        self._lost += count

    def end(self) -> None:
        """Write the table."""
        found: list[Any] = [(self._tracer.signature(row).name, *self._counts[call]) for call, row in self._rows.items()]
        found.sort(key=lambda each: (-each[2], -each[1], each[0]))
        if self._json:
            calls = {name: {"calls": calls, "errors": errors, "ns": time} for name, calls, time, errors in found}
            self._out.write(json.dumps({"calls": calls, "lost": self._lost}) + "\n")
        else:
            self._out.write(_table(found))
        self._out.flush()
        if self._lost:
            note(f"{self._lost} records were lost, of whatever process: these counts may be too low")


def _table(found: list[Any]) -> str:
    total = ("total", sum(each[1] for each in found), sum(each[2] for each in found), sum(each[3] for each in found))
    rule = "------ ----------- ----------- --------- --------- ----------------"
    rows = [_table_row(*each, whole=total[2]) for each in found]
    head = "% time     seconds  usecs/call     calls    errors syscall"
    return "\n".join([head, rule, *rows, rule, _table_row(*total, whole=total[2])]) + "\n"


def _table_row(name: str, calls: int, time: int, errors: int, *, whole: int) -> str:
    share = 100 * time / whole if whole else 0.0
    each = time // calls // 1000 if calls else 0
    return f"{share:6.2f} {time / 1e9:11.6f} {each:11d} {calls:9d} {errors or '':>9} {name}"


class Ordered:
    """Rows of all CPUs in the order of their entry, as far as they come within `delay` of each other.

    Args:
        delay: ns that a record may be under way: it is sent a tenth of a second after it was made.
    """

    def __init__(self, delay: int = 150_000_000) -> None:
        self._delay = delay
        self._rows: list[Row] = []

    def add(self, rows: Sequence[Row]) -> None:
        """Take rows in."""
        self._rows += rows

    def ready(self, now: int | None) -> list[Row]:
        """Return those that nothing is expected to come before.

        Args:
            now: CLOCK_MONOTONIC in ns; None for all that are left.
        """
        rows = self._rows
        rows.sort(key=operator.itemgetter(CLOCK))
        count = len(rows)
        if now is not None:
            while count and rows[count - 1][CLOCK] > now - self._delay:
                count -= 1
        self._rows = rows[count:]
        return rows[:count]

"""Records for people, one line a call or a table, and for programs, one line of JSON a call."""

from __future__ import annotations

import errno
import functools
import json
import operator
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

from .decode import Signature, comm_text, quote
from .output import Files
from .record import CALL, CLOCK, COMM, ENFORCED, FLAGS, LATENCY, PID, RET, RETURNED, STATUS, TID, Record, Row
from .symbols import named
from .tracer import Tracer

Label = Callable[[Row], str]
"""What goes before a call."""
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


class View(Protocol):
    """What shows records."""

    def show(self, rows: Sequence[Row], /) -> None:
        """Take rows."""

    def lost(self, count: int, /) -> None:
        """Take notice of what is missing."""

    def end(self) -> None:
        """Write what is left."""


def note(message: str) -> None:
    """Say something beside the results, on standard error."""
    print(f"kmodlab: {message}", file=sys.stderr, flush=True)


def lost_text(count: int) -> str:
    """Return what is said of lost records."""
    return f"{count} records were lost, of whatever process"


def has_failed(row: Row) -> bool:
    """Return whether a call returned an error, as far as it is known to have returned."""
    return bool(row[FLAGS] & (RETURNED | ENFORCED)) and ERRORS_END <= row[RET] < 0


def status_of(row: Row) -> str:
    """Return how a call has ended, by the words of `-e status=`."""
    if not row[FLAGS] & (RETURNED | ENFORCED):
        return "unfinished"
    return "failed" if has_failed(row) else "successful"


def names_path(tracer: Tracer, paths: Sequence[str]) -> Callable[[Row], bool]:
    """Return what finds out whether a call names one of some paths, as the caller wrote it."""
    shown = {quote(os.fsencode(path)) for path in paths}

    def names(row: Row) -> bool:
        signature = tracer.signature(row)
        texts = [text for text, kind in zip(signature.arguments(row), signature.letters) if kind == "p"]  # noqa: B905
        return any(text in shown or _is_cut_of(text, shown) for text in texts)

    return names


def _is_cut_of(text: str, shown: set[str]) -> bool:
    """Return whether a path that was cut may be one of some."""
    begin = text[: -len('"...')]
    return text.endswith('"...') and any(path.startswith(begin) for path in shown)


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


def as_json(record: Record, symbols: Sequence[str] = ()) -> str:
    """Return a record as one line of JSON, with its arguments by their names, too."""
    shown: dict[str, Any] = {**vars(record), "symbols": symbols}
    returned = record.returned
    failed = returned is not None and ERRORS_END <= returned < 0
    shown["error"] = errno.errorcode.get(-(returned or 0)) if failed else None
    return json.dumps(shown, separators=(",", ":"))


def symbols_of(signature: Signature, row: Row) -> list[str]:
    """Return the arguments of a record by their names."""
    return named(signature.name, signature.letters, signature.arguments(row))


class Lines:
    """One line a call, as strace has them.

    Args:
        tracer: knows the calls.
        out: where to.
        label: what goes before the call, from the row.
        raw: numbers stay numbers.
        tell: is told of lost records.
    """

    def __init__(
        self, tracer: Tracer, out: IO[str], label: Label, *, raw: bool = False, tell: Callable[[str], None] = note
    ) -> None:
        self._signature, self._raw = tracer.signature, raw
        self._out, self._tell = out, tell
        self._label = label

    def show(self, rows: Sequence[Row]) -> None:
        """Write rows."""
        self._out.write("".join(map(self.line, rows)))
        self._out.flush()

    def line(self, row: Row) -> str:
        """Return a row as a line."""
        signature, flags = self._signature(row), row[FLAGS]
        returned = result(signature.name, row[RET]) if flags & (RETURNED | ENFORCED) else "?"
        arguments = signature.arguments(row) if self._raw else symbols_of(signature, row)
        line = f"{self._label(row)}{signature.name}({', '.join(arguments)}) = {returned}"
        if flags & RETURNED:
            line += f" <{row[LATENCY] // 1000000000}.{row[LATENCY] // 1000 % 1000000:06d}>"
        return f"{line} [BLOCKED]\n" if row[STATUS] else f"{line}\n"

    def lost(self, count: int) -> None:
        """Say that records are missing here."""
        self._tell(lost_text(count))

    def end(self) -> None:
        """Nothing is left to write."""


class Apart(Lines):
    """The lines of each thread in a file of its own.

    Args:
        tracer: knows the calls.
        files: where to.
        label: what goes before the call, from the row.
        raw: numbers stay numbers.
        tell: is told of lost records.
    """

    def __init__(
        self, tracer: Tracer, files: Files, label: Label, *, raw: bool = False, tell: Callable[[str], None] = note
    ) -> None:
        super().__init__(tracer, sys.stderr, label, raw=raw, tell=tell)
        self._files = files

    def show(self, rows: Sequence[Row]) -> None:
        """Write rows."""
        for row in rows:
            self._files.write(row[TID], self.line(row))
        self._files.flush()

    def end(self) -> None:
        """Close the files."""
        self._files.close()


def of_process(main: int) -> Label:
    """Return a label for the calls of a program: only those of other threads and processes have one."""
    return lambda row: "" if row[TID] == main else f"[pid {row[TID]:5d}] "


def of_none(_: Row) -> str:
    """Return no label."""
    return ""


def of_any(row: Row) -> str:
    """Return a label that says whose call it is."""
    return f"{comm_text(row[COMM])}[{row[PID]}] "


class JsonLines:
    """One line of JSON a call."""

    def __init__(self, tracer: Tracer, out: IO[str], tell: Callable[[str], None] = note) -> None:
        self._record, self._signature = tracer.record, tracer.signature
        self._out, self._tell = out, tell

    def show(self, rows: Sequence[Row]) -> None:
        """Write rows."""
        self._out.write("".join([f"{self._line(row)}\n" for row in rows]))
        self._out.flush()

    def _line(self, row: Row) -> str:
        return as_json(self._record(row), symbols_of(self._signature(row), row))

    def lost(self, count: int) -> None:
        """Say that records are missing here: to the program that reads, and to the user."""
        self._out.write(f'{{"lost":{count}}}\n')
        self._tell(lost_text(count))

    def end(self) -> None:
        """Nothing is left to write."""


@dataclass
class Count:
    """What is known of a call: how often it was made, how often in vain, and how long it took, in ns."""

    calls: int = 0
    errors: int = 0
    time: int = 0
    shortest: int = sys.maxsize
    longest: int = 0

    def add(self, row: Row) -> None:
        """Count a row."""
        self.calls += 1
        if row[FLAGS] & (RETURNED | ENFORCED):
            latency = row[LATENCY]
            self.time += latency
            self.shortest, self.longest = min(self.shortest, latency), max(self.longest, latency)
            self.errors += has_failed(row)


#: what a table is sorted by -> its key; the largest goes first
_ORDERS: dict[str, Callable[[Count], tuple[float, ...]]] = {
    "time": lambda count: (count.time, count.calls),
    "min-time": lambda count: (count.shortest % sys.maxsize,),
    "max-time": lambda count: (count.longest,),
    "avg-time": lambda count: (count.time / count.calls,),
    "calls": lambda count: (count.calls,),
    "errors": lambda count: (count.errors,),
    "name": lambda _: (),
}


class Summary:
    """Counts, errors and time of each call, as `strace -c` has them.

    Args:
        tracer: knows the calls.
        out: where to.
        as_json: one object for all.
        sort: what the table is sorted by, as `-S` has it.
        tell: is told of lost records.
    """

    def __init__(
        self,
        tracer: Tracer,
        out: IO[str],
        *,
        as_json: bool,
        sort: str = "time",
        tell: Callable[[str], None] = note,
    ) -> None:
        self._tracer = tracer
        self._out = out
        self._json, self._sort = as_json, sort
        self._tell = tell
        self._lost = 0
        self._counts: dict[int, Count] = {}
        self._rows: dict[int, Row] = {}

    def show(self, rows: Sequence[Row]) -> None:
        """Count rows."""
        counts = self._counts
        for row in rows:
            call = row[CALL]
            if call not in counts:
                counts[call] = Count()
                self._rows[call] = row
            counts[call].add(row)

    def lost(self, count: int) -> None:
        """Count records that are missing."""
        self._lost += count

    def end(self) -> None:
        """Write the table."""
        found = {self._tracer.signature(row).name: self._counts[call] for call, row in self._rows.items()}
        if key := _ORDERS.get(self._sort):
            found = dict(sorted(found.items(), key=lambda each: (*(-one for one in key(each[1])), each[0])))
        if self._json:
            told = {name: {"calls": one.calls, "errors": one.errors, "ns": one.time} for name, one in found.items()}
            self._out.write(json.dumps({"calls": told, "lost": self._lost}) + "\n")
        else:
            self._out.write(_table(found))
        self._out.flush()
        if self._lost:
            self._tell(f"{lost_text(self._lost)}: these counts may be too low")


def _table(found: dict[str, Count]) -> str:
    total = Count(*(sum(getattr(one, name) for one in found.values()) for name in ("calls", "errors", "time")))
    rule = "------ ----------- ----------- --------- --------- ----------------"
    rows = [_table_row(name, one, total.time) for name, one in found.items()]
    head = "% time     seconds  usecs/call     calls    errors syscall"
    return "\n".join([head, rule, *rows, rule, _table_row("total", total, total.time)]) + "\n"


def _table_row(name: str, one: Count, whole: int) -> str:
    share = 100 * one.time / whole if whole else 0.0
    each = one.time // one.calls // 1000 if one.calls else 0
    return f"{share:6.2f} {one.time / 1e9:11.6f} {each:11d} {one.calls:9d} {one.errors or '':>9} {name}"


class Some:
    """Shows the rows that are of a kind.

    Args:
        view: where they go.
        keep: which are.
    """

    def __init__(self, view: View, keep: Callable[[Row], bool]) -> None:
        self._view, self._keep = view, keep

    def show(self, rows: Sequence[Row]) -> None:
        """Show those among these."""
        self._view.show([row for row in rows if self._keep(row)])

    def lost(self, count: int) -> None:
        """Take notice of what is missing."""
        self._view.lost(count)

    def end(self) -> None:
        """Write what is left."""
        self._view.end()


class Both:
    """Shows rows in two ways."""

    def __init__(self, first: View, second: View) -> None:
        self._first, self._second = first, second

    def show(self, rows: Sequence[Row]) -> None:
        """Show rows."""
        self._first.show(rows)
        self._second.show(rows)

    def lost(self, count: int) -> None:
        """Take notice of what is missing."""
        self._first.lost(count)
        self._second.lost(count)

    def end(self) -> None:
        """Write what is left."""
        self._first.end()
        self._second.end()


UNDER_WAY = 150_000_000
"""ns that a record may be under way: it is sent a tenth of a second after it was made."""


class Ordered:
    """Rows of all CPUs in the order of their entry, as far as they come within `delay` of each other.

    Args:
        delay: ns that a record may be under way.
    """

    def __init__(self, delay: int = UNDER_WAY) -> None:
        self._delay = delay
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return len(self._rows)

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

"""A pass of /proc/task_lister with a selection, in each of its three formats, held against what it says of itself."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from .tables import raw_of, unescaped
from .wording import require_that, wrong

Value = int | str | bytes | None
WORDS = ("state", "letter", "policy")
UNKNOWN = 2**64 - 1
LETTERS = "RSDTtXZPI"
STATES = ("RUNNING", "SLEEPING", "DISK_SLEEP", "STOPPED", "TRACED", "DEAD", "ZOMBIE", "PARKED", "IDLE")
POLICIES = {0: "NORMAL", 1: "FIFO", 2: "RR", 3: "BATCH", 5: "IDLE", 6: "DEADLINE", 7: "EXT"}
NAMES: dict[str, dict[int, str]] = {
    "state": dict(enumerate(STATES)),
    "letter": {ord(letter): letter for letter in LETTERS},
    "policy": POLICIES,
}
"""What the numbers of a field that is a word stand for, in a binary record."""
_HEAD = struct.Struct("=8sII")
_END, _END_OF_ENDED = struct.Struct("=5Q"), struct.Struct("=7Q")
_TABLE_END = re.compile(r"pass=(\d+) begin=(\d+) end=(\d+) rows=(\d+) crc32=(\d+)(?: next=(\d+) missed=(\d+))?\n\Z")
_SIGNED = ("prio", "nice")
_TOLD, _OF_ENDED = ("pass", "begin", "end", "rows", "crc32"), ("next", "missed")
COMM = 16
"""Bytes of a name in a binary record."""


def number(value: Value) -> int:
    """Return a value that is a number.

    Raises:
        Wrong: it is none, or not known.
    """
    require_that(isinstance(value, int), "It is a number.", f"{value!r}")
    return cast("int", value)


@dataclass(frozen=True)
class Pass:
    """What one look at all tasks gave.

    Attributes:
        number: of passes since the module was loaded.
        begin: when it began, in ns since boot.
        end: when it ended.
        rows: field -> value of each task: an int, a word, for `comm` the bytes of the name; None is not known.
        next: of who has ended, the number that the next end will have.
        missed: of who has ended, how many are not remembered.
    """

    number: int
    begin: int
    end: int
    rows: list[dict[str, Value]]
    next: int = 0
    missed: int = 0

    def by_pid(self, key: str = "pid") -> dict[int, dict[str, Value]]:
        """Return the rows by their number."""
        found = {number(row[key]): row for row in self.rows}
        require_that(len(found) == len(self.rows), "A pass has each task once.", f"{len(self.rows)} rows of {found}")
        return found


def _held(rows: str, told: Sequence[int], found: list[dict[str, Value]]) -> Pass:
    number, begin, end, count, crc, *of_ended = told
    sum_ = zlib.crc32(raw_of(rows))
    require_that(count == len(found), "A pass says how many rows it has.", f"{count} of {len(found)}")
    require_that(crc == sum_, "A pass has the CRC-32 of its rows.", f"{crc}, and they have {sum_}")
    require_that(begin <= end, "A pass begins before it ends.", f"{begin} to {end}")
    return Pass(number, begin, end, found, *of_ended)


def _value(field: str, word: str) -> Value:
    if field == "comm":
        return unescaped(word)
    if field in WORDS:
        return word
    return None if word == "-" else int(word)


def _row(columns: Sequence[str], line: str) -> dict[str, Value]:
    try:
        return {field: _value(field, word) for field, word in zip(columns, line.split(), strict=True)}
    except ValueError:
        wrong(f"A row has a value for each of {', '.join(columns)}.", line)


def parse_table(text: str) -> Pass:
    """Read `format=table`."""
    end = _TABLE_END.search(text)
    if not end:
        wrong("The last line of a pass tells what it was.", f"It ends with {text[-100:]!r}.")
    titles, *lines = text[: end.start()].splitlines(keepends=True)
    columns = titles.lower().split()
    rows = [_row(columns, line) for line in lines]
    return _held("".join(lines), [int(number) for number in end.groups() if number], rows)


def _object(line: str) -> dict[str, Value]:
    try:
        return cast("dict[str, Value]", json.loads(line))
    except ValueError:
        wrong("Each line is a JSON object.", line)


def parse_jsonl(text: str) -> Pass:
    """Read `format=jsonl`."""
    *lines, last = text.splitlines(keepends=True) or [""]
    *rows, told = (_object(line) for line in [*lines, last])
    for row in rows:
        if isinstance(name := row.get("comm"), str):
            row["comm"] = unescaped(name)
    numbers = [number(told.get(key)) for key in (*_TOLD, *(_OF_ENDED if "next" in told else ()))]
    return _held("".join(lines), numbers, rows)


def parse_bin(text: str, columns: Sequence[str], *, of_ended: bool = False) -> Pass:
    """Read `format=bin`.

    Args:
        text: a character a byte.
        columns: as they were asked for.
        of_ended: it is a pass of who has ended.
    """
    last = _END_OF_ENDED if of_ended else _END
    raw = raw_of(text)
    magic, size, count = _HEAD.unpack_from(raw)
    record = struct.Struct("=" + "".join(f"{COMM}s" if column == "comm" else "Q" for column in columns))
    asked = (b"tasks-1\0", record.size, len(columns))
    require_that((magic, size, count) == asked, f"A binary pass begins with {asked}.", f"{(magic, size, count)}")
    body = raw[_HEAD.size : -last.size]
    rows = [
        {column: _binary(column, value) for column, value in zip(columns, values, strict=True)}
        for values in record.iter_unpack(body)
    ]
    return _held(body.decode("latin-1"), last.unpack_from(raw, len(raw) - last.size), rows)


def _binary(column: str, value: int | bytes) -> Value:
    if isinstance(value, bytes):
        return value.rstrip(b"\0")
    if value == UNKNOWN and column not in _SIGNED:
        return None
    if column in NAMES:
        return NAMES[column][value]
    return value - 2**64 if column in _SIGNED and value >= 2**63 else value

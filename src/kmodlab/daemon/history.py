"""What is in a history, for people and for other programs: rankings, lists, and all calls as JSON Lines or CSV.

What programs chose (names, paths) may be meant to do harm where it is shown. It comes escaped as the kernel's log has
it: neither blanks nor control characters are in it. In CSV no cell begins with what a spreadsheet takes for a formula.
"""

from __future__ import annotations

import csv
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import IO, Any

from kmodlab.errors import UsageError

from .tick import Change, Events, Filter, Hole, Ranked, Row

FORMATS = ("jsonl", "csv")
COLUMNS = tuple(one.name for one in fields(Row))
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
"""What a cell does not begin with. Source: OWASP, CSV Injection."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGO = re.compile(r"-(\d+(?:\.\d+)?)([smhd])")


def moment(text: str, now: float | None = None) -> float:
    """Return a time that a user means, as seconds since 1970.

    Args:
        text: `now`, `-90m` (also s, h, d), seconds since 1970, or a date and time in UTC as `2026-03-01T12:30`.
        now: what `now` is.

    Raises:
        UsageError: it is none.
    """
    now = time.time() if now is None else now
    if text == "now":
        return now
    if ago := _AGO.fullmatch(text):
        return now - float(ago[1]) * _UNITS[ago[2]]
    try:
        return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else _date(text)
    except ValueError as error:
        hint = "now, -90m, -2d, 2026-03-01T12:30 (UTC), or seconds since 1970"
        raise UsageError(f"{text!r} is no time", hint=hint) from error


def _date(text: str) -> float:
    given = datetime.fromisoformat(text)
    return (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()


def date(wall: float) -> str:
    """Return a time as people read it, in UTC."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cell(value: object) -> str:
    """Return a value as a cell of CSV that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return str(value)
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    text = "".join(each if each.isprintable() else f"\\{ord(each):03o}" for each in text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def write(rows: Iterable[Row], kind: str, out: IO[str]) -> int:
    """Write calls, as they come; return how many.

    Args:
        rows: calls.
        kind: `jsonl`, an object a line, or `csv`, with a line of names first.
        out: a text file.

    Raises:
        UsageError: there is no such format.
    """
    if kind not in FORMATS:
        raise UsageError(f"no format {kind!r}", hint=f"known: {' '.join(FORMATS)}")
    lines = _csv(rows, out) if kind == "csv" else _jsonl(rows, out)
    return sum(1 for _ in lines)


def _csv(rows: Iterable[Row], out: IO[str]) -> Iterator[object]:
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow(COLUMNS)
    for row in rows:
        yield table.writerow([cell(getattr(row, name)) for name in COLUMNS])


def _jsonl(rows: Iterable[Row], out: IO[str]) -> Iterator[int]:
    for row in rows:
        yield out.write(json.dumps(asdict(row)) + "\n")


def ranking(found: Iterable[Ranked]) -> Iterator[list[str]]:
    """Yield the cells of a ranking: name, calls, errors, blocked, mean latency in us."""
    for one in found:
        count = one.count
        known = sum(count.latency_histogram) or count.n
        mean = f"{count.latency_sum / known / 1000:.1f}" if known else ""
        yield [one.name, str(count.n), str(count.errors), str(one.blocked), mean]


def listing(found: Events) -> Iterator[list[str]]:
    """Yield the cells of calls: time, process, user, call with its arguments, what came of it."""
    for row in found.rows:
        ended = row.status if row.returned is None else f"{row.status} {row.returned}"
        call = f"{row.call}({', '.join(row.arguments)})"
        yield [date(row.wall), f"{row.comm}[{row.pid}]", str(row.uid), call, ended]


def holes(found: Iterable[Hole]) -> Iterator[list[str]]:
    """Yield the cells of holes: from, to, CPU, numbers, how many, why."""
    for one in found:
        numbers = f"{one.first}-{one.last}"
        yield [date(one.begin), date(one.end), f"{one.epoch}/{one.cpu}", numbers, str(one.n), one.reason]


def changes(found: Iterable[Change]) -> Iterator[list[str]]:
    """Yield the cells of changes: time, who, what, before, after."""
    for one in found:
        yield [date(one.wall), one.who, one.what, one.before, one.after]


def plain(found: Events | Iterable[Ranked | Hole | Change]) -> list[dict[str, Any]]:
    """Return what a question was answered with as values that JSON has."""
    rows: Iterable[Row | Ranked | Hole | Change] = found.rows if isinstance(found, Events) else found
    return [asdict(one) for one in rows]


def wanted(
    calls: Iterable[str], statuses: Iterable[str], pid: int | None, comm: str | None, text: str | None
) -> Filter:
    """Return what a user wants to see as a filter."""
    return Filter(frozenset(calls) or None, frozenset(statuses) or None, pid, None, comm, text)

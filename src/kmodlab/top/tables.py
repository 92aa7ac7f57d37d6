"""Lines of tables, as text with styles; nothing here is markup, and nothing a process chose gets past `plain`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from .model import Model, Row, Sum
from .words import Clock, duration, percent, plain, quantile, returned, short, sparkline, whole

GOOD, BAD, WARN, DIM, BOLD = "green", "bold red", "yellow", "dim", "bold"
_STATUS = {"LOGGED": ("ok", DIM), "BLOCKED": ("blocked", BAD), "FAILED": ("failed", WARN)}
WIDE = 116
"""Columns from which on a call's latency and what it returned have room beside its arguments."""

Cell = str | Text


@dataclass(frozen=True)
class Column:
    """A column: its title, its width (0: what is left), and whether it stands at the right."""

    title: str
    width: int = 0
    right: bool = False


def fitted(cell: Cell, width: int, right: bool = False) -> Text:
    """Return a cell as wide as its column; what does not fit ends in an ellipsis."""
    text = cell.copy() if isinstance(cell, Text) else Text(cell)
    text.no_wrap = True
    text.truncate(width, overflow="ellipsis")
    text.align("right" if right else "left", width)
    return text


def line(columns: Sequence[Column], cells: Sequence[Cell], width: int) -> Text:
    """Return a row of a table, `width` columns of the terminal wide."""
    fixed = sum(column.width for column in columns) + len(columns) - 1
    left = max(1, width - fixed)
    parts = [fitted(cell, column.width or left, column.right) for column, cell in zip(columns, cells, strict=True)]
    return Text(" ", no_wrap=True).join(parts)


def head(columns: Sequence[Column], width: int) -> Text:
    """Return the titles of a table."""
    found = line(columns, [column.title for column in columns], width)
    found.stylize("bold underline")
    return found


# -- calls one by one ----------------------------------------------------------------------------------------------


def call_columns(width: int, title: str = "Time") -> list[Column]:
    """Return the columns of a table of calls."""
    when = Column(title, 12 if width >= WIDE else 8)
    more = [Column("Latency", 8, right=True), Column("Returned", 12, right=True)] if width >= WIDE else []
    who = [Column("Process", 15), Column("PID", 7, right=True)]
    return [when, Column("Call", 10), Column("Status", 11), *who, *more, Column("Arguments")]


def call_line(row: Row, clock: Clock, width: int) -> Text:
    """Return one call."""
    wide = width >= WIDE
    more: list[Cell] = [duration(row["latency"]), returned(row["returned"])] if wide else []
    when = clock.exact(row["wall"]) if wide else clock.time(row["wall"])
    who = [plain(row["comm"]), str(row["pid"])]
    cells = [when, plain(row["call"]), status(row), *who, *more, arguments(row)]
    return line(call_columns(width), cells, width)


def status(row: Row) -> Text:
    """Return what became of a call."""
    word, style = _STATUS[row["status"]]
    if row["status"] == "BLOCKED" and not row["enforced"]:
        word = "would block"
    elif row["status"] == "LOGGED" and row["returned"] is None:
        word = "allowed"
    return Text(word, style)


def arguments(row: Row) -> str:
    """Return the arguments of a call, one after the other."""
    return ", ".join(plain(one) for one in row["arguments"])


def details(row: Row, clock: Clock) -> Text:
    """Return all of one call, a fact a line."""
    error = f" ({row['returned']})" if (row["returned"] or 0) < 0 else ""
    latency = "not known" if row["latency"] is None else f"{duration(row['latency'])} ({whole(row['latency'])} ns)"
    facts: list[tuple[str, Cell]] = [
        *((f"Argument {number}", plain(one)) for number, one in enumerate(row["arguments"], 1)),
        ("Time", f"{clock.full(row['wall'])}.{clock.exact(row['wall'])[9:]} {clock.label}"),
        ("Status", status(row)),
        ("Ran", "no: the filter was enforced" if row["enforced"] else "yes"),
        ("Returned", "not known" if row["returned"] is None else f"{returned(row['returned'])}{error}"),
        ("Latency", latency),
        ("Process", plain(row["comm"])),
        ("PID, TID, parent", f"{row['pid']}, {row['tid']}, {row['ppid']}"),
        ("UID", str(row["uid"])),
        ("CPU, number on it", f"{row['cpu']}, {whole(row['seq'])}"),
        ("Boot and load", str(row["epoch"])),
    ]
    return listed(facts, plain(row["call"]))


def listed(facts: Sequence[tuple[str, Cell]], title: str = "") -> Text:
    """Return names and what they are, one a line."""
    wide = max(len(name) for name, _ in facts)
    lines = [Text(title, BOLD), Text()] if title else []
    for name, value in facts:
        lines.append(Text.assemble((f"{name:{wide}}  ", DIM), value))
    return Text("\n").join(lines)


# -- rates by call -------------------------------------------------------------------------------------------------

_RATES = (
    Column("Call", 13),
    Column("/s", 6, right=True),
    Column(""),
    Column("Failed", 6, right=True),
    Column("Blocked", 7, right=True),
    Column("Median", 8, right=True),
    Column("99 %", 8, right=True),
)
_RATES_FIXED = sum(column.width for column in _RATES) + len(_RATES) - 1


def rate_columns(width: int) -> list[Column]:
    """Return the columns of the table of rates, whose bars are as many seconds as there is room for."""
    title = f"last {width - _RATES_FIXED} s, each to its own highest"
    if len(title) > width - _RATES_FIXED:
        title = f"last {width - _RATES_FIXED} s"
    return [Column(title) if not column.width else column for column in _RATES]


def rate_line(found: tuple[str, Sum, float], model: Model, width: int) -> Text:
    """Return what a call came to in the last seconds."""
    call, one, rate = found
    room = max(1, width - _RATES_FIXED)
    bars = Text(sparkline(model.series(call, min(room, 180)), room), "cyan")
    blocked = Text(whole(one.blocked), BAD if one.blocked >= 0.5 else DIM)
    latencies = (duration(quantile(one.histogram, 0.5)), duration(quantile(one.histogram, 0.99)))
    failed = Text(percent(one.errors, one.n), WARN if one.errors else DIM)
    return line(_RATES, [plain(call), short(rate), bars, failed, blocked, *latencies], width)


# -- rankings ------------------------------------------------------------------------------------------------------

_NUMBERS = (
    Column("Calls", 10, right=True),
    Column("Share"),
    Column("", 6, right=True),
    Column("Failed", 6, right=True),
    Column("Blocked", 7, right=True),
    Column("Mean", 8, right=True),
)


def ranking_columns(processes: bool) -> list[Column]:
    """Return the columns of a ranking."""
    who = [Column("PID", 7, right=True), Column("UID", 5, right=True)] if processes else []
    return [Column("Process" if processes else "Call", 15 if processes else 13), *who, *_NUMBERS]


def ranking_line(one: Row, highest: float, total: float, width: int) -> Text:
    """Return one line of a ranking."""
    processes = one["pid"] is not None
    columns = ranking_columns(processes)
    who: list[Cell] = [str(one["pid"] or ""), str(one["uid"]) if one["pid"] else ""] if processes else []
    name: Cell = Text("all others", "italic") if one["pid"] == 0 else plain(one["comm"] if processes else one["name"])
    room = max(1, width - sum(column.width for column in columns) - len(columns) + 1)
    bar = Text("\u2588" * max(1, round(room * one["n"] / highest)) if highest else "", "cyan")
    known = one["latency_known"] or one["n"]
    mean = duration(one["latency_sum"] / known if one["latency_sum"] and known else None)
    failed = Text(percent(one["errors"], one["n"]), WARN if one["errors"] else DIM)
    blocked = Text(whole(one["blocked"]), BAD if one["blocked"] else DIM)
    cells = [name, *who, whole(one["n"]), bar, percent(one["n"], total), failed, blocked, mean]
    return line(columns, cells, width)

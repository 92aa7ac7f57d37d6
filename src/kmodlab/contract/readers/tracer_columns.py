"""All columns of /proc/syscall_tracer by their names: what the grader's tests go by, whatever the layout."""

from __future__ import annotations

import re

from .tables import Header, synonyms
from .tracer_log import log_header
from .wording import wrong

COLUMNS = synonyms(
    Syscall="syscall, call, system call",
    PID="pid",
    Timestamp="timestamp, time",
    Status="status",
    TID="tid",
    UID="uid",
    CPU="cpu",
    COMM="comm, command",
    ABI="abi",
    RETURN="return",
    LATENCY="latency",
    SEQ="seq",
    ARGS="args, arguments",
)
_FILTER = re.compile(r"(=?[a-z0-9_]+: (?:BLOCK|ALLOW)\b.*?)\s*")


def filter_lines(text: str) -> tuple[str, ...]:
    """Return the lines `NAME: BLOCK ...` and `NAME: ALLOW ...` behind `Active Filters:`."""
    section = re.split(r"active filters", text, maxsplit=1, flags=re.IGNORECASE)
    if len(section) < 2:
        wrong("/proc/syscall_tracer has a section `Active Filters:`.", "There is no such line.")
    found = (_FILTER.fullmatch(line.strip()) for line in section[1].split("\n"))
    return tuple(match[1] for match in found if match)


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of each row, in the order of the handout's columns.

    Raises:
        AssertionError: there is no line with the columns' names, or one of the columns is not there.
    """
    lines = text.split("\n")
    at, header = log_header(lines, COLUMNS, text)
    if missing := [name for name in COLUMNS if name not in header.columns]:
        wrong(f"/proc/syscall_tracer has the columns {', '.join(COLUMNS)}.", f"There is no {', '.join(missing)}.")
    return [row for line in lines[at + 1 :] if (row := _row(header, line))]


def _row(header: Header, line: str) -> list[str]:
    cells = header.cells(line)
    if not cells or not re.fullmatch(r"\d+", cells["PID"]):
        return []
    return [cells[name].upper() if name == "Status" else cells[name] for name in COLUMNS]

"""Tolerant reader of /proc/syscall_tracer: its first four columns, its total and its filters, in any layout.

What else the page has, and to the byte, is read by tracer_page.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..calls import FAMILIES
from .tables import FITTED, Header, Synonyms, header_of, number_in, synonyms, total_of
from .wording import begins, wrong

COLUMNS = synonyms(
    Syscall="syscall, call, name, system call, sysname",
    PID="pid, tgid, process",
    Timestamp="timestamp, time, jiffies",
    Status="status, state, action, verdict, result",
)
_FILTERS = re.compile(r"\W*active filters\W*(.*)", re.IGNORECASE)
_FILTER = re.compile(r"(?:\W*\d+[.):\]]?)?\W*=?([a-z][a-z0-9_]*)\W+(block|allow)(?:ed)?\b", re.IGNORECASE)
_NAME = re.compile(r"(?:__(?:x64|arm64|ia32)_)?(?:sys_)?([a-z0-9_]+?)(?:\(\))?")


@dataclass(frozen=True)
class Entry:
    """One recorded call.

    Attributes:
        call: its name.
        pid: whose it is.
        cells: all columns.
    """

    call: str
    pid: int
    cells: Mapping[str, str]

    @property
    def timestamp(self) -> int:
        """The time stamp."""
        if "Timestamp" not in self.cells:
            wrong("The log has a column Timestamp.", f"It has: {', '.join(self.cells)}.")
        return number_in(self.cells["Timestamp"], f"The time stamp of {self.call} by PID {self.pid}")

    @property
    def status(self) -> str:
        """The status, in capitals, without what is around it."""
        return self.cells["Status"].upper().strip("[](){}<>*!.:'\"")

    def is_of(self, family: str) -> bool:
        """Whether it is a call of a family, by its own name or by that of the family."""
        return self.call == family or self.call in FAMILIES[family]


@dataclass(frozen=True)
class Log:
    """The whole page.

    Attributes:
        entries: the recorded calls, from the top.
        total: what stands behind `Total entries`, or None.
        filters: names and `BLOCK` or `ALLOW`, in their order; None where there is no section `Active Filters`.
        lines: of that section.
    """

    entries: tuple[Entry, ...]
    total: int | None
    filters: tuple[tuple[str, str], ...] | None
    lines: tuple[str, ...]

    def of(self, pid: int, family: str = "") -> list[Entry]:
        """Return the calls of a process, or those of a family."""
        return [one for one in self.entries if one.pid == pid and (not family or one.is_of(family))]


def log_header(lines: Sequence[str], known: Synonyms, text: str) -> tuple[int, Header]:
    """Return where the line with the names of the columns is, and what they are.

    Args:
        lines: to look in.
        known: names of columns.
        text: the whole page, for the message.

    Raises:
        AssertionError: there is none.
    """
    needed = {"Syscall", "PID", "Status"}
    found = ((n, header_of(line, known, needed, "", lines[n + 1 : n + FITTED])) for n, line in enumerate(lines))
    at, header = next(((n, header) for n, header in found if header), (0, None))
    if header is None:
        wrong("/proc/syscall_tracer has a line with the columns Syscall, PID, Timestamp, Status.", begins(text))
    return at, header


def _entry(header: Header, line: str) -> Entry | None:
    cells = header.cells(line)
    if cells is None or not re.fullmatch(r"\d+", cells["PID"]):
        return None
    name = _NAME.fullmatch(cells["Syscall"].lower())
    return Entry(name[1] if name else cells["Syscall"], int(cells["PID"]), cells)


def _filters(lines: Sequence[str]) -> tuple[tuple[str, str], ...]:
    found = (_FILTER.match(line) for line in lines)
    return tuple((match[1].lower(), match[2].upper()) for match in found if match)


def parse_log(text: str) -> Log:
    """Read the page.

    Raises:
        AssertionError: it has no line with the names of the columns.
    """
    lines = text.split("\n")
    place, header = log_header(lines, COLUMNS, text)
    below = ((n, match) for n, line in enumerate(lines) if (match := _FILTERS.match(line)))
    at, match = next(below, (len(lines), None))
    # The filters may stand above the log, too.
    entries = [entry for line in lines[place + 1 : at if at > place else None] if (entry := _entry(header, line))]
    section = [match[1], *lines[at + 1 : place if at < place else None]] if match else []
    shown = tuple(line for line in section if re.search(r"\w", line))
    return Log(tuple(entries), total_of(lines, "entr"), _filters(shown) if match else None, shown)

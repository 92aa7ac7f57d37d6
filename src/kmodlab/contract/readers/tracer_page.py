"""Readers of /proc/syscall_tracer and /proc/syscall_tracer_stats: strict, or by names where any layout will do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..script import TRACER, TRACER_STATS, Answer
from .tracer_columns import filter_lines, rows_of
from .wording import Wrong, listed, quoted, text_of, wrong

TITLE = ["System Call Tracer Log", "======================"]
HEADER = (
    "Syscall    PID        Timestamp       Status     TID        UID        CPU  COMM            "
    "ABI RETURN   LATENCY    SEQ      ARGS"
)
RULE = "--------------------------------------------------------"
ROW = "%-10s %-10d %-15d %-10s %-10d %-10d %-4d %-15s %-3s %-8s %-10s %-8d %s"
COUNTERS = ("Issued", "Logged", "Overwritten", "Dropped", "Missed", "In flight", "Orphaned", "Returns missed")
ESCAPED = r"what a process calls itself is escaped: a blank is `\040`"


class Layout:
    """How pages are read: to the byte, as the contract is checked, or by the names that they have."""

    def __init__(self) -> None:
        self.any = False
        """Whether any layout will do."""


LAYOUT = Layout()
"""Of this run; `--any-layout` says so."""


class Malformed(Wrong):
    """A file under /proc does not have the form that the contract gives it."""

    def __init__(self, what: str, line: str | None, hint: str = "") -> None:
        shown = "the page ends here" if line is None else quoted(line)
        super().__init__("The file has the form that is described.", f"{what}: {shown}", hint)


@dataclass(frozen=True)
class Row:
    """One recorded call."""

    call: str
    pid: int
    timestamp: int
    status: str
    tid: int
    uid: int
    cpu: int
    comm: str
    abi: str
    returned: int | None
    latency: int | None
    seq: int
    args: str

    @property
    def arguments(self) -> list[str]:
        """The arguments, as they are shown; a comma within quotes separates nothing."""
        return re.findall(r'((?:[^,"]|"[^"]*")+)(?:,|$)', self.args) if self.args != "-" else []

    @property
    def blocked(self) -> bool:
        """Whether a filter said so."""
        return self.status == "BLOCKED"


@dataclass(frozen=True)
class Law:
    """The counts of one CPU: issued = logged + overwritten + dropped."""

    issued: int
    logged: int
    overwritten: int
    dropped: int


@dataclass(frozen=True)
class Page:
    """The whole page."""

    rows: tuple[Row, ...]
    filters: tuple[str, ...]

    def of(self, comm: str) -> list[Row]:
        """Return the calls of one process, by its (escaped) name."""
        return [row for row in self.rows if row.comm == comm]

    def only(self, comm: str) -> Row:
        """Return the one call of a process; none or several is a failure."""
        rows = self.of(comm)
        if len(rows) != 1:
            wrong(
                "Each call has one row.",
                f"`{comm}` made one call; the log has of it: {listed(row.call for row in rows)}.",
            )
        return rows[0]


@dataclass(frozen=True)
class Stats:
    """The statistics."""

    mode: str
    counters: dict[str, int]
    cpus: dict[int, Law]
    traced: frozenset[str]

    @property
    def overwritten(self) -> int:
        """`Overwritten`."""
        return self.counters["Overwritten"]


def escape(raw: bytes) -> str:
    r"""Write a name the way the modules do: every byte outside `!`..`~`, and the backslash, as `\ooo`."""
    return "".join(chr(b) if 0x21 <= b <= 0x7E and b != 0x5C else f"\\{b:03o}" for b in raw)


def is_escaped(word: str) -> bool:
    """Whether a word holds no byte that should have been escaped."""
    return re.fullmatch(r"(?:[!-\[\]-~]|\\[0-3][0-7]{2})*", word) is not None


def _number(word: str) -> int | None:
    return None if word == "-" else int(word)


def parse_row(line: str) -> Row:
    """Read one row, byte for byte in the format of the contract; columns may follow on the right."""
    words = line.split()
    if len(words) < 13:
        raise Malformed("a row with too few columns", line)
    row = _row_of(words, line)
    returned, latency = (words[i] for i in (9, 10))
    numbers = (row.pid, row.timestamp, row.status, row.tid, row.uid, row.cpu, row.comm, row.abi, returned, latency)
    expected = ROW % (row.call, *numbers, row.seq, row.args)
    if line != expected and not line.startswith(expected + " "):
        raise Malformed(f"a row that is not of the format `{ROW}`", line)
    return row


def _row_of(words: list[str], line: str) -> Row:
    """Return the row that these cells are."""
    try:
        pid, timestamp, tid, uid, cpu, seq = (int(words[i]) for i in (1, 2, 4, 5, 6, 11))
        returned, latency = _number(words[9]), _number(words[10])
    except ValueError:
        raise Malformed("a row with a column that is no number", line, ESCAPED) from None
    comm, abi, args = words[7], words[8], words[12]
    row = Row(words[0], pid, timestamp, words[3], tid, uid, cpu, comm, abi, returned, latency, seq, args)
    if row.status not in ("ALLOWED", "BLOCKED") or abi not in ("64", "32") or not is_escaped(comm + args):
        raise Malformed("a row with a bad status, ABI, command or argument", line, ESCAPED)
    return row


class Lines:
    """The lines of a page, taken one by one."""

    def __init__(self, text: str) -> None:
        if not text.endswith("\n"):
            raise Malformed("the last line has no end", text[-200:])
        self._lines = text[:-1].split("\n")
        self._at = 0

    def peek(self) -> str | None:
        """Return the next line and leave it there; None at the end."""
        return self._lines[self._at] if self._at < len(self._lines) else None

    def next(self, what: str) -> str:
        """Return the next line, which is expected to be `what`."""
        line = self.peek()
        if line is None:
            raise Malformed(f"{what} is missing", None)
        self._at += 1
        return line

    def expect(self, wanted: str) -> None:
        """Take the next line, which has to be exactly this."""
        line = self.next(f"`{wanted}`")
        if line != wanted:
            raise Malformed(f"`{wanted}` was expected", line)

    def end(self) -> None:
        """Nothing may be left."""
        if self.peek() is not None:
            raise Malformed("the page should have ended", self.peek())


def _parse_counters(lines: Lines) -> dict[str, int]:
    counters: dict[str, int] = {}
    while not (lines.peek() or "CPU ").startswith("CPU "):
        line = lines.next("a counter")
        match = re.fullmatch(r"([A-Z][A-Za-z ]*): (\d+)", line)
        if not match or match[1] in counters:
            raise Malformed("a counter was expected", line)
        counters[match[1]] = int(match[2])
    known = [name for name in counters if name in COUNTERS]
    if known != list(COUNTERS):
        raise Malformed(f"the counters should be {listed(COUNTERS)}", listed(known))
    return counters


def _parse_cpus(lines: Lines) -> dict[int, Law]:
    cpus: dict[int, Law] = {}
    while (lines.peek() or "").startswith("CPU "):
        line = lines.next("the counts of a CPU")
        match = re.fullmatch(
            r"CPU (\d+): issued (\d+) logged (\d+) overwritten (\d+) dropped (\d+)(?: [a-z]+ \d+)*", line
        )
        if not match:
            raise Malformed("the counts of a CPU were expected", line)
        cpu, *counts = map(int, match.groups())
        law = cpus[cpu] = Law(*counts)
        if law.issued != law.logged + law.overwritten + law.dropped:
            raise Malformed("issued is not logged + overwritten + dropped", line)
    return cpus


def _check_sums(stats: Stats) -> None:
    """The totals are those of the CPUs."""
    for field in ("issued", "logged", "overwritten", "dropped"):
        name = field.capitalize()
        if stats.counters[name] != (total := sum(getattr(law, field) for law in stats.cpus.values())):
            raise Malformed(f"the CPUs have {field} {total}", f"{name}: {stats.counters[name]}")


def parse_stats(text: str) -> Stats:
    """Read the statistics.

    Raises:
        Malformed: some line is not what the contract says, or the law does not hold; the message shows it.
    """
    lines = Lines(text)
    mode = lines.next("the mode").removeprefix("Mode: ")
    if mode not in ("permissive", "enforcing"):
        raise Malformed("a mode was expected", mode)
    counters, cpus = _parse_counters(lines), _parse_cpus(lines)
    title, *traced = lines.next("what is traced").split(" ")
    if title != "Traced:" or not all(re.fullmatch(r"[a-z0-9_]+", name) for name in traced):
        raise Malformed("the traced calls were expected", " ".join([title, *traced]))
    lines.end()
    stats = Stats(mode, counters, cpus, frozenset(traced))
    _check_sums(stats)
    return stats


def _parse_filters(lines: Lines) -> tuple[str, ...]:
    lines.expect("")
    lines.expect("Active Filters:")
    lines.expect("===============")
    filters: list[str] = []
    while (line := lines.peek()) is not None:
        filters.append(lines.next("a filter"))
        if line != "No filters active" and not re.fullmatch(r"=?[a-z0-9_]+: (BLOCK|ALLOW)( .+)?", line):
            raise Malformed("a filter was expected", line)
    if not filters or ("No filters active" in filters and len(filters) > 1):
        raise Malformed("filters, or else `No filters active`, were expected", listed(filters))
    return () if filters == ["No filters active"] else tuple(filters)


def parse_filters(text: str) -> tuple[str, ...]:
    """Read the last section alone, as the helper's step `filters` returns it."""
    if LAYOUT.any:
        return filter_lines(text)
    return _parse_filters(Lines("\n" + text))


def parse_page(text: str) -> Page:
    """Read the whole page.

    Raises:
        Malformed: some line is not what the contract says; the message shows it.
    """
    if LAYOUT.any:
        return Page(tuple(_row_of(words, " ".join(words)) for words in rows_of(text)), filter_lines(text))
    lines = Lines(text)
    for wanted in TITLE:
        lines.expect(wanted)
    if not (header := lines.next("the header")).startswith(HEADER):
        raise Malformed("the header was expected", header)
    lines.expect(RULE)
    rows = []
    while lines.peek():
        rows.append(parse_row(lines.next("a row")))
    lines.expect("")
    total = lines.next("the total")
    if total != f"Total entries: {len(rows)}":
        raise Malformed(f"there are {len(rows)} rows", total)
    return Page(tuple(rows), _parse_filters(lines))


def page_of(answer: Answer) -> Page:
    """Read the whole page, as an answer has it; what cannot be read is a failure."""
    return parse_page(text_of(answer, TRACER))


def stats_of(answer: Answer) -> Stats:
    """Read the statistics, as an answer has them; what cannot be read is a failure."""
    return parse_stats(text_of(answer, TRACER_STATS))

"""The tolerant reader of the tracer's page: its first four columns, total and filters, whatever the layout."""

from __future__ import annotations

import pytest

from kmodlab.contract.readers.tracer_columns import filter_lines, rows_of
from kmodlab.contract.readers.tracer_log import parse_log

ROWS = [("openat", "412", "4294938211", "ALLOWED"), ("unlink", "977", "4294938240", "BLOCKED")]
TAIL = "\nTotal entries: 2\n\nActive Filters:\n===============\nunlink: BLOCK errno=EACCES\nopen: ALLOW\n"


def page(*names: str, cell: str = "{:<12}", between: str = " ", tail: str = TAIL, more: str = "") -> str:
    """Return a page of two rows."""
    columns = names or ("Syscall", "PID", "Timestamp", "Status")
    return "\n".join(between.join(map(cell.format, row)) + more for row in (columns, *ROWS)) + "\n" + tail


LAYOUTS = {
    "as in the handout": "System Call Tracer Log\n======\n" + page(more=" 1"),
    "bare": page(),
    "right-aligned": page(cell="{:>14}"),
    "bars": page(cell="| {}"),
    "another banner": "*** Tracer of PIDs, Status: on ***\n\n" + page(),
    "small letters": page("syscall", "pid", "timestamp", "status").replace("BLOCKED", "blocked"),
    "other names": page("NAME", "PID", "TIME (jiffies)", "ACTION"),
    "tabs": page(cell="{}", between="\t"),
    "further columns": page("Syscall", "PID", "Timestamp", "Status", "Process", "NAME", "Time", more=" bash x 9"),
    "a further column of two words": page("Syscall", "PID", "Timestamp", "Status", "Process Name", more=" bash"),
    "states in brackets": page().replace("ALLOWED", "[ALLOWED]").replace("BLOCKED", "*BLOCKED*"),
    "times with a unit": page(more=" 1").replace("11 ", "11 jiffies ").replace("40 ", "40 jiffies "),
    "times in brackets": page().replace("42949382", "[42949382").replace("11 ", "11]").replace("40 ", "40]"),
    "a capacity": page().replace("entries: 2", "entries: 2 of 9 (max 1500)"),
    "numbered filters": page(tail="Total entries: 2\nActive Filters:\n 1. unlink: BLOCK\n[2] open: ALLOW\n"),
    "filters above": "Active Filters:\nunlink: BLOCK\nopen: ALLOW\n\n" + page(tail="Total entries: 2\n"),
    "DOS": page().replace("\n", "\r\n"),
    "other filters": page(tail="Total: 2 calls\nACTIVE FILTERS\n  - unlink -> blocked\n  - open -> allowed\n"),
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_a_page_is_read_in_any_layout(layout: str) -> None:
    log = parse_log(LAYOUTS[layout])
    shown = [(one.call, one.pid, one.timestamp, one.status) for one in log.entries]
    assert shown == [("openat", 412, 4294938211, "ALLOWED"), ("unlink", 977, 4294938240, "BLOCKED")]
    assert log.total == 2
    assert log.filters == (("unlink", "BLOCK"), ("open", "ALLOW"))


@pytest.mark.parametrize(("name", "family"), [("open", "open"), ("openat", "open"), ("__x64_sys_openat", "open")])
def test_a_family_stands_for_the_call_that_was_made(name: str, family: str) -> None:
    log = parse_log(page().replace("openat", name))
    assert len(log.of(412, family)) == len(log.of(412)) == 1
    assert log.of(412, "read") == log.of(977, "open") == []


def test_what_is_missing_costs_who_asks_for_it() -> None:
    log = parse_log("Syscall PID Status\nopen 1 ALLOWED\n")
    assert (log.total, log.filters, len(log.entries)) == (None, None, 1)
    with pytest.raises(AssertionError, match="has a column Timestamp"):
        _ = log.entries[0].timestamp
    assert parse_log(page(tail="Active Filters:\nNo filters active\n")).filters == ()
    assert parse_log(page(tail="Active Filters: unlink: BLOCK\n")).filters == (("unlink", "BLOCK"),)


def test_a_page_without_columns_shows_how_it_begins() -> None:
    with pytest.raises(AssertionError, match=r"line with the columns Syscall(.|\n)*    hello"):
        parse_log("hello\n")


ALL = "Syscall PID Timestamp Status TID UID CPU COMM ABI RETURN LATENCY SEQ ARGS"
ROW = 'openat 412 42 allowed 412 0 1 cat 64 - - 0 "/etc/passwd"'


def test_all_columns_are_read_by_their_names() -> None:
    names, cells = ALL.split(), ROW.split()
    turned = " ".join(reversed(names)) + "\n---\n" + " ".join(reversed(cells)) + "\n\nTotal entries: 1\n"
    assert rows_of(f"A title\n{ALL}\n{ROW}\n") == rows_of(turned) == [[*cells[:3], "ALLOWED", *cells[4:]]]
    with pytest.raises(AssertionError, match="There is no ABI, ARGS"):
        rows_of(ALL.replace("ABI ", "").replace(" ARGS", ""))


def test_the_lines_of_filters_are_read_without_what_is_around_them() -> None:
    text = "Active Filters:\n===\n  unlink: BLOCK errno=EACCES  \n=openat: ALLOW\n\nNo more\n"
    assert filter_lines(text) == ("unlink: BLOCK errno=EACCES", "=openat: ALLOW")
    assert filter_lines("Active Filters:\nNo filters active\n") == ()
    with pytest.raises(AssertionError, match="There is no such line"):
        filter_lines("Filters:\n")

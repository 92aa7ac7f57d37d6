"""Calls as 32-bit programs make them."""

from __future__ import annotations

import pytest

from .calls import why_missing
from .machine import Machine
from .parameters import set_parameter
from .readers.tracer_page import parse_page
from .script import TRACER, call, nonce, read, write

pytestmark = pytest.mark.syscall_tracer


def test_calls_of_32_bit_programs_are_traced(tracer: Machine) -> None:
    """A call by the 32-bit entry is recorded once, under its name, with ABI 32 and its arguments."""
    if reason := why_missing(tracer, "compat_openat"):
        pytest.skip(reason)
    comm = nonce("compat")
    *_, page, _ = tracer.play(
        write("clear", "trace =getppid"),
        call("compat_openat,openat,compat_getppid,compat_unlinkat", comm),
        read(TRACER),
        write("untrace =getppid"),
    )
    rows = parse_page(page["text"]).of(comm)
    assert [(row.call, row.abi) for row in rows] == [
        ("openat", "32"),
        ("openat", "64"),
        ("getppid", "32"),
        ("unlinkat", "32"),
    ]
    assert rows[0].arguments[:3] == rows[1].arguments[:3]
    assert rows[0].arguments[0] == "AT_FDCWD"


def test_calls_of_32_bit_programs_are_blocked(tracer: Machine) -> None:
    """With enforce=1 a call by the 32-bit entry does not run either."""
    if reason := why_missing(tracer, "compat_unlinkat"):
        pytest.skip(reason)
    comm = nonce("compat")
    *_, answer, _, _ = tracer.play(
        write("clear", f"unlink block errno=EACCES comm={comm}"), set_parameter("enforce", 1),
        call("compat_unlinkat", comm), set_parameter("enforce", 0), write("clear"),
    )  # fmt: skip
    assert (answer["ret"], answer["errno"], answer["path_exists"]) == (-1, 13, 1)


def test_the_lower_halves_are_what_counts(tracer: Machine) -> None:
    """Of a call by the 32-bit entry filter and log take the lower halves of the registers, as the kernel does."""
    if reason := why_missing(tracer, "compat_unlinkat"):
        pytest.skip(reason)
    comm = nonce("high")
    *_, answer, _, page, _ = tracer.play(
        write("clear", f"unlink block comm={comm} path=/tmp/contract-"), set_parameter("enforce", 1),
        call("compat_unlinkat_high", comm), set_parameter("enforce", 0), read(TRACER), write("clear"),
    )  # fmt: skip
    assert (answer["ret"], answer["errno"], answer["path_exists"]) == (-1, 1, 1)
    row = parse_page(page["text"]).only(comm)
    assert (row.status, row.abi) == ("BLOCKED", "32")
    assert row.arguments[1].startswith('"/tmp/contract-')


def test_64_bits_in_two_registers_are_one_argument(tracer: Machine) -> None:
    """An offset, length or mask that a 32-bit program passes in two registers is shown as one number."""
    if reason := why_missing(tracer, "compat_openat"):
        pytest.skip(reason)
    comm = nonce("wide")
    traced = "=lseek =readahead =fadvise64 =sync_file_range =fallocate =fanotify_mark"
    calls = "lseek,pread64,readahead,fadvise64,sync_file_range,fallocate,preadv,fanotify_mark"
    *_, page, _ = tracer.play(
        write("clear", f"trace {traced}", "=fanotify_mark block path=/tmp/contract-"),
        call(",".join(f"compat_{name}" for name in calls.split(",")), comm),
        read(TRACER),
        write("clear", f"untrace {traced}"),
    )
    rows = parse_page(page["text"]).of(comm)
    assert [(row.call, row.abi) for row in rows] == [(name, "32") for name in calls.split(",")]
    shown = {row.call: row.arguments[1:] for row in rows}
    low, path = shown["pread64"][0], shown["fanotify_mark"][-1]
    assert path.startswith('"/tmp/contract-')
    assert shown == {
        "lseek": ["-1", "0"],
        "pread64": [low, "8", "4294967298"],
        "readahead": ["4294967298", "4096"],
        "fadvise64": ["4294967298", "8", "0"],
        "sync_file_range": ["4294967298", "8589934595", "0x4"],
        "fallocate": ["0x3", "4294967298", "8589934595"],
        "preadv": [low, "0", "4294967298"],
        "fanotify_mark": ["0x1", "0x100000002", "AT_FDCWD", path],
    }
    assert [row.call for row in rows if row.blocked] == ["fanotify_mark"]

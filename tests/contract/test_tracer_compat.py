"""Calls as 32-bit programs make them."""

from __future__ import annotations

import pytest

from .calls import why_missing
from .machine import Machine
from .parameters import set_parameter
from .script import TRACER, call, nonce, read, write
from .tracer_page import parse_page

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

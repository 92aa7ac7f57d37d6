"""What enforcing is not: a request of io_uring is no system call, as docs/abi.md says."""

from __future__ import annotations

import errno

import pytest

from ..readers.tracer_page import parse_row
from ..script import nonce
from .conftest import Beside

pytestmark = pytest.mark.syscall_tracer

STOPPED = [-1, errno.EDQUOT, False]
DONE = [0, 0, True]
#: what a request comes to that the kernel does not know
UNKNOWN = [-1, errno.EINVAL, False]


@pytest.mark.parametrize("returns", [0, 1])
def test_requests_of_io_uring_pass(beside: Beside, returns: int) -> None:
    """A request to unlink or to make a directory passes a block and leaves no record; io_uring_setup can be blocked."""
    beside.load(returns)
    found = beside.run("ring.py", nonce("ring"))
    assert found["call"] == STOPPED
    assert "unlinkat" in found["known"]
    for name in ("mkdirat", "unlinkat"):
        assert found[name] == (DONE if name in found["known"] else UNKNOWN), name
    assert found["io_uring_setup"] == STOPPED
    (row,) = map(parse_row, found["rows"])
    assert (row.call, row.status, row.returned) == ("mkdirat", "BLOCKED", -errno.EDQUOT)

"""What in the kernel's log is trouble."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kmodlab.kernel_report import Kind, kind_of

ALSO = re.compile(r"WARNING: |Call Trace:")
"""No healthy module causes these either, whatever they say."""
OURS = re.compile(r"\[(?:syscall_tracer|task_lister)\]")


def trouble(records: Iterable[str]) -> list[str]:
    """Return the records that no healthy module causes.

    A stall on a slow machine is the machine's own affair, unless a module's code is in the stack.
    """
    records = list(records)
    kinds = {record: kind_of(record) for record in records}
    stalls = [record for record in records if kinds[record] is Kind.LOCKUP]
    bad = [record for record in records if kinds[record] not in (None, Kind.LOCKUP) or ALSO.search(record)]
    if stalls and not any(OURS.search(record) for record in records):
        return [record for record in bad if "Call Trace" not in record]
    return bad + stalls

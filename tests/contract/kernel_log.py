"""What in the kernel's log is trouble."""

from __future__ import annotations

import re
from collections.abc import Iterable

TROUBLE = re.compile(
    r"WARNING: |\bBUG\b|\bOops\b|Kernel panic|general protection fault|unable to handle|Call Trace:"
    r"|suspicious RCU|possible (?:recursive|circular) locking|inconsistent lock state|scheduling while atomic"
    r"|sleeping function called|blocked for more than \d+ seconds|refcount_t:|list_(?:add|del) corruption"
    r"|UBSAN|KASAN|KCSAN|KFENCE|kmemleak|double free|bad page|unchecked MSR",
    re.IGNORECASE,
)
STALL = re.compile(r"self-detected stall|detected stalls|soft lockup|hard LOCKUP", re.IGNORECASE)
OURS = re.compile(r"\[(?:syscall_tracer|task_lister)\]")


def trouble(records: Iterable[str]) -> list[str]:
    """Return the records that no healthy module causes.

    A stall on a slow machine is the machine's own affair, unless a module's code is in the stack.
    """
    records = list(records)
    bad = [record for record in records if TROUBLE.search(record) and not STALL.search(record)]
    stalls = [record for record in records if STALL.search(record)]
    if stalls and not any(OURS.search(record) for record in records):
        return [record for record in bad if "Call Trace" not in record]
    return bad + stalls

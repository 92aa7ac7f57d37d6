"""What a kernel in trouble prints, from 5.10 to 7.3: the one table, for consoles, grading and the contract tests.

It needs nothing but the standard library, for the contract tests take it along wherever they run.

Source of the wordings: the kernel's kernel/panic.c, arch/*/kernel/{traps,dumpstack}.c, arch/*/mm/fault.c,
kernel/{watchdog,hung_task}.c, kernel/rcu/tree_stall.h, kernel/sched/core.c, mm/slub.c, mm/page_alloc.c, lib/ubsan.c,
mm/{kasan,kfence}/report.c, mm/kmemleak.c, kernel/kcsan/report.c, kernel/locking/lockdep.c. A program's own fault
(`traps: a.out[7] general protection fault ip:`) is none of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum


class Kind(IntEnum):
    """What kind of trouble, the worst last."""

    CHECK = 1
    """What a kernel that was built to find faults says of one; it leaves no mark in the kernel's taint."""
    WARNING = 2
    BUG = 3
    ATOMIC = 4
    HUNG = 5
    LOCKUP = 6
    OOPS = 7
    PANIC = 8


#: Since 6.19 a warning says where it is before who it was: `WARNING: file.c:1 at function+0x1/0x2, CPU#0: insmod/7`.
_PATTERNS = {
    Kind.PANIC: r"Kernel panic - not syncing",
    Kind.OOPS: r"Oops: |kernel BUG at |Unable to handle kernel|BUG: unable to handle|BUG: kernel NULL pointer"
    r"|general protection fault[,:] |: [0-9a-f]{4,16} \[#\d+\]|BUG: stack guard page",
    Kind.LOCKUP: r"soft lockup|hard LOCKUP|rcu: INFO: .*(?:detected stall|self-detected)|rcu: INFO: rcu_\w+ detected",
    Kind.HUNG: r"blocked for more than \d+ seconds|blocked in I/O wait for more than \d+ seconds",
    Kind.ATOMIC: r"BUG: (?:scheduling while atomic|sleeping function called|Invalid wait context|workqueue leaked)",
    Kind.CHECK: r"UBSAN: |BUG: KCSAN: |kmemleak: \d+ new suspected|INFO: trying to register non-static key"
    r"|WARNING: (?:possible|suspicious|inconsistent lock|bad unlock|bad contention|held lock|Nested lock|lock held)"
    r"|WARNING: .*-safe -> .*-unsafe lock order|WARNING: .* usage at|DEBUG_LOCKS_WARN_ON",
    Kind.BUG: r"\bBUG: |\bBUG [\w.-]+ \((?:Not tainted|Tainted)|bad page state|double free|corrupted double-linked",
    Kind.WARNING: r"WARNING: (?:CPU: \d+ PID: \d+ at |[\w./-]+:\d+ at )|refcount_t: |list_(?:add|del) corruption"
    r"|proc_dir_entry '.*' already registered|sysfs: cannot create duplicate|unchecked MSR",
}
#: in the order in which they are tried: what is worst decides, but a check's own words are more than `BUG: `
_ORDER = (
    *(Kind.PANIC, Kind.OOPS, Kind.LOCKUP, Kind.HUNG, Kind.ATOMIC),
    *(Kind.CHECK, Kind.BUG, Kind.WARNING),
)
_KINDS = [(kind, re.compile(_PATTERNS[kind])) for kind in _ORDER]


def kind_of(line: str) -> Kind | None:
    """Return what kind of trouble a line of the kernel's log begins or names, or None."""
    return next((kind for kind, pattern in _KINDS if pattern.search(line)), None)


def sign(kinds: Iterable[Kind] = Kind) -> re.Pattern[bytes]:
    """Return a pattern that is found where a console has trouble of one of these kinds."""
    wanted = set(kinds)
    return re.compile("|".join(_PATTERNS[kind] for kind in _ORDER if kind in wanted).encode())

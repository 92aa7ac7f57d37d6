"""What the records of the tracer may cost in instructions: budget.json, held by tests/guest/test_budget.py."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.figures import Counted

FILE = Path(__file__).with_name("budget.json")
#: what is counted on, for another kernel and another compiler have other figures
IMAGE = "debian-12"
#: how far from its budget a cost may be
TOLERANCE = 0.02
#: less than this is no instruction, but a thousandth part of something that happened once in a chunk
LEAST = 0.5
#: what it takes to pass another probe in the kernel's table of kprobes: which of them share a bucket depends on where
#: the kernel lies, so on the boot (get_kprobe() in kernel/kprobes.c)
HOP = 10
#: those that are found in that table
LOOKED_UP = ("kprobe", "returns")

#: tracer -> loop -> instructions that are added to a call
Budget = Mapping[str, Mapping[str, float]]


def read() -> Budget:
    """Return the budget."""
    return dict(json.loads(FILE.read_text()))


def breaches(budget: Mapping[str, float], row: Counted) -> Iterator[str]:
    """Yield a sentence for each loop that costs more than its budget, or less.

    Less, too: a budget that is not lowered would let the next change spend what this one has saved.

    Args:
        budget: of the tracer, a figure for each loop.
        row: what was counted.
    """
    for loop, allowed in budget.items():
        cost = row.added(loop)
        hop = HOP if allowed and row.key in LOOKED_UP else 0
        if cost is None:
            yield f"{row.key}, {loop}: nothing was counted"
        elif cost - allowed > max(TOLERANCE * allowed, LEAST) + hop:
            yield f"{row.key}, {loop}: {cost:.1f} instructions, the budget is {allowed}: what is worth that?"
        elif allowed - cost > TOLERANCE * allowed + hop:
            yield f"{row.key}, {loop}: {cost:.1f} instructions, the budget is {allowed}: lower it in {FILE.name}"

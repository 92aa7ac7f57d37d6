"""What a step of the campaign came to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outcome:
    """What a step came to.

    Attributes:
        step: its name.
        seconds: that it took.
        counts: what it did, by its own count.
        findings: what the kernel complained of, and what broke.
    """

    step: str
    seconds: float
    counts: dict[str, int] = field(default_factory=dict)
    findings: tuple[str, ...] = ()


def as_table(outcomes: Sequence[Outcome]) -> str:
    """Return outcomes as a table of Markdown."""
    rows = ["| step | seconds | what was done | findings |", "|---|---|---|---|"]
    for one in outcomes:
        counts = ", ".join(f"{name} {value}" for name, value in one.counts.items())
        rows.append(f"| {one.step} | {one.seconds:.0f} | {counts} | {len(one.findings) or 'none'} |")
    return os.linesep.join(rows)

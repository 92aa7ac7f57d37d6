"""What a run of the matrix found: a row for each kernel, and the page that shows them, docs/kernels.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_PAGE = """# Kernels

<!-- Written by `make matrix` (src/kmodlab/matrix.py). -->

Each kernel below was booted in a guest of its own; both modules were built for it and loaded, the workload was driven,
and the whole contract suite was run against it.

Written on {date}; {processors} processors, {jobs} guests at a time, {qemu}; {minutes:.1f} minutes in all. A row's time
is from nothing running to nothing running again.

{table}
"""


@dataclass(frozen=True)
class Row:
    """What one kernel came to.

    Attributes:
        guest: its name, which is the image's.
        verdict: `pass`, `fail` (of the modules), `crash` (of the guest), or `error` (of the lab).
        detail: why, where it did not pass.
        kernel: as `uname -r` says.
        compiler: that built the kernel, and so the modules.
        system: the distribution's name and version.
        features: configuration options that the tracer's ways depend on.
        hook: how the probes are placed: `kprobe (ftrace)`, `kprobe (breakpoint)`, or how many of each.
        passed: contract tests.
        failed: contract tests.
        skipped: why, for each contract test that does not apply there.
        seconds: each stage's wall-clock time.
    """

    guest: str
    verdict: str = "error"
    detail: str = ""
    kernel: str = ""
    compiler: str = ""
    system: str = ""
    features: tuple[str, ...] = ()
    hook: str = ""
    passed: int = 0
    failed: int = 0
    skipped: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Seconds from nothing running to nothing running."""
        return sum(self.seconds.values())

    @classmethod
    def read(cls, known: Mapping[str, Any]) -> Row:
        """Return the row that was written as JSON."""
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in known.items()}
        return cls(**values)


@dataclass(frozen=True)
class Run:
    """A run of the whole matrix.

    Attributes:
        date: when, ISO 8601.
        processors: of the host.
        jobs: guests at a time.
        qemu: the emulator's version.
        seconds: in all.
        rows: one for each kernel.
    """

    date: str
    processors: int
    jobs: int
    qemu: str
    seconds: int
    rows: tuple[Row, ...]

    @classmethod
    def read(cls, known: Mapping[str, Any]) -> Run:
        """Return the run that was written as JSON."""
        return cls(**{**known, "rows": tuple(Row.read(row) for row in known["rows"])})


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| guest | kernel | compiler | hook | options of that kernel | contract tests | result | time |",
        "|---|---|---|---|---|---:|---|---:|",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(_cells(row))} |" for row in rows)])


def _cells(row: Row) -> list[str]:
    counts = ((row.passed, "passed"), (row.failed, "failed"), (len(row.skipped), "skipped"))
    return [
        f"`{row.guest}`<br>{row.system}",
        row.kernel,
        row.compiler,
        row.hook,
        " ".join(row.features),
        ", ".join(f"{count} {word}" for count, word in counts if count),
        f"{row.verdict} {row.detail}".strip(),
        f"{row.total:.0f} s",
    ]


def page(run: Run) -> str:
    """Return the page of a run, in Markdown."""
    about = {"date": run.date, "processors": run.processors, "jobs": run.jobs, "qemu": run.qemu}
    text = _PAGE.format(**about, minutes=run.seconds / 60, table=table(run.rows))
    reasons = sorted({reason for row in run.rows for reason in row.skipped})
    return text + (f"\nSkipped, and why: {'; '.join(reasons)}.\n" if reasons else "")

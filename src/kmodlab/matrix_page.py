"""What a run of the matrix found: a row for each kernel, and the pages that show them: kernels.md, neighbours.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kmodlab.prose import wrapped

_RUN = """
{processors} processors, {jobs} at a time, {qemu}. A row's time is from nothing
running to nothing running again.

{table}
"""

_KERNELS = """# Kernels

<!-- Written by `make matrix` (src/kmodlab/matrix.py). -->

Each kernel below was booted in a guest of its own; both modules were built for it and loaded, the workload was driven,
and the whole contract suite was run against it.
"""

_NEIGHBOURS = """# Neighbours

<!-- Written by `make neighbours` (src/kmodlab/matrix.py). -->

Whoever else hooks a call: what the tracer blocks does not run, its caller gets the errno of the
filter, there is one record of it, and the kernel has nothing to complain of. [abi.md](abi.md),
"Permissive and enforcing", promises it; `src/kmodlab/contract/neighbours` tries it on each kernel below.

| neighbour | how it is there |
|---|---|
| kprobe event, kretprobe event | tracefs, on the entry point of the blocked call |
| function, function_graph | the kernel's tracers, on that function |
| trace events | `sys_enter_mkdirat` and `sys_exit_mkdirat` |
| BPF fentry, fexit | programs on that function, by a trampoline |
| BPF kprobe, kretprobe | programs, by perf's kprobe events |
| BPF kprobe.multi, kretprobe.multi | programs, by a link |
| BPF sys_enter | a program on the raw tracepoint |
| perf trace, bpftrace, strace | the programs, from Debian |
| redirect | a module that redirects the function, as a live patch does |
| seccomp | a filter of the caller, which answers with an errno, or allows |
| io_uring | requests to unlink and to make a directory, which are no system calls |

Each of them comes before the block and after it, and goes before it and after it.
The tracer is unloaded beside it, too. All of this is tried with `hook=auto` and `hook=kprobe`,
with return values and without. After each step the call is tried while it is enforcing and while
it is not. Two orders, one of each kind, are enough for perf trace and bpftrace, which take seconds
to begin, and for `hook=kprobe` with return values: the hook is the kretprobe of `hook=auto` again.
Unloading is tried with `hook=auto`.

- **One of two is refused** (EBUSY, one line in dmesg where it is the tracer) where only one can
  redirect the function: beside `redirect`; and before Linux 6.0 beside fentry and fexit, as the
  kernel takes a trampoline of BPF for one who redirects.
- **What seccomp stops** was never made: there is no record.
- **What io_uring does** is no system call: it passes, and there is no record. But `io_uring_setup`
  can be blocked.
- **What a program shows** of a blocked call is the errno: strace and perf trace are asked.
- **Skipped** is what a kernel was built without, by the table `NEEDS` of `more_neighbours.py`, and
  nothing else.

## What was found, and mended

- **A kprobe of somebody else's on the same function** (6.1, 7.3): the tracer's had an empty
  post-handler, and the kernel disarmed the wrong one of the two: a warning, then a use after free.
  A kprobe that goes by ftrace has none now.
- **BPF fexit, there first** (6.1, 7.3): the blocked call ran. In other orders its caller got 0, on
  7.3 a pointer of the kernel's. Each errno has a stub of its own now, which makes the value itself,
  and what is hooked together is registered anew.
- **Two hooks that change places**: for a moment nobody blocked. The successor is armed first now.
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
        date: when that was, ISO 8601.
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
    date: str = ""

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
    """What is known of all kernels.

    Attributes:
        processors: of the host.
        jobs: guests at a time.
        qemu: the emulator's version.
        rows: one for each kernel.
    """

    processors: int
    jobs: int
    qemu: str
    rows: tuple[Row, ...]

    @classmethod
    def read(cls, known: Mapping[str, Any]) -> Run:
        """Return the run that was written as JSON."""
        return cls(**{**known, "rows": tuple(Row.read(row) for row in known["rows"])})


@dataclass(frozen=True)
class Page:
    """A page that shows a run.

    Attributes:
        text: its beginning.
        counted: what a row's numbers count.
    """

    text: str
    counted: str


CONTRACT = Page(_KERNELS, "contract tests")
NEIGHBOURS = Page(_NEIGHBOURS, "cases")


def table(rows: Sequence[Row], counted: str = CONTRACT.counted) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        f"| guest | kernel | compiler | hook | options of that kernel | {counted} | result | time | date |",
        "|---|---|---|---|---|---:|---|---:|---|",
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
        row.date,
    ]


def page(run: Run, about: Page = CONTRACT) -> str:
    """Return the page of a run, in Markdown."""
    jobs = f"{run.jobs} guest{'s' if run.jobs > 1 else ''}"
    facts = {"processors": run.processors, "jobs": jobs, "qemu": run.qemu}
    text = about.text + _RUN.format(**facts, table=table(run.rows, about.counted))
    reasons = sorted({reason for row in run.rows for reason in row.skipped})
    return wrapped(text + (f"\nSkipped, and why: {'; '.join(reasons)}.\n" if reasons else ""))

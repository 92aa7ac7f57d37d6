"""The page docs/benchmarks.md, made from docs/benchmarks.json: what the lab takes, and what tracers cost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from bench.aims import Finding, counted_findings, counted_limits, findings, limits
from bench.chart import chart
from bench.figures import DELIVERED, LOOPS, Counted, Counting, Row, Run, Spread
from bench.tracers import BUFFER, IMAGE
from kmodlab.paths import project_dir
from kmodlab.prose import wrapped

DOCS = project_dir() / "docs"
CHART = "benchmarks-tracers.svg"

_HEAD = """# Benchmarks

<!-- Made by tests/bench/report.py from benchmarks.json. `make bench` measures again. -->
"""
_LAB = """
## The lab

Measured on {date}: {processor}, {qemu}, on the accelerator that works there.
Wall-clock times of whole commands, interpreter start included. The aims are for two cores without hardware
virtualization and with downloads at hand.

"""
_TRACERS = """
## Tracers

Measured on {date}: {processor}, {qemu};
the guest is {image} with {kernel}. {repetitions} repetitions, all tracers in turn in each, in one guest that is never
restarted; every session times the loops alone, with the tracer, and alone again. Figures are the median of the
repetitions ± half the distance of the quartiles. All tracers are told to trace getppid, openat, close and unlinkat.

![ns added to a traced getppid]({chart})
"""
_ADDED = """
### Nanoseconds added to a call

Alone, a call takes {plain}. `openat` is openat and close of a file, the mean of the
two calls; `unlink` is unlinkat of nothing; `untraced` is getuid, which nobody traces, while the others are traced.
x 2: two threads on two processors. They may share one of the machine's, so what is added is the slow-down, applied
to the time of one thread alone.

"""
_INSTRUCTIONS = """
## Instructions

Counted on {date}: {qemu};
the guest is `{image}` with {kernel}, one processor, `mitigations=off`. Its clock goes on
by 1 ns an instruction, so the figures are the same on every host, however busy.
`make bench-instructions` counts again, with the calls and commands of the section above.

Alone, a call takes {plain}. Of {chunks} chunks of a loop
the smallest counts: it has no tick of the clock in it, nor what a reader does meanwhile, unless
the call waits for it. `agreed`: chunks of getppid that came to the same, to a tenth of an
instruction a call. Those of openat seldom do, for files are freed later: take its figures for
exact to some twenty.

"""
_DELIVERY = """
### Events that reach a reader

Calls a second whose events were delivered while the loop ran at full speed, with one thread, and the part of the issued
calls whose events never came. The reader has time to catch up after the loops. The last column is what the tool itself
admits to have lost, over all loops and repetitions.

"""


def load() -> dict[str, Any]:
    """Return the document; empty where there is none yet."""
    file = DOCS / "benchmarks.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}


def write(part: str, content: object) -> None:
    """Put a part into the document, and make the page and the chart anew.

    Args:
        part: `lab`, `tracers` or `instructions`.
        content: what goes into the JSON file.
    """
    document = {**load(), part: content}
    (DOCS / "benchmarks.json").write_text(json.dumps(document, indent=1) + "\n")
    (DOCS / "benchmarks.md").write_text(page(document))
    if "tracers" in document:
        (DOCS / CHART).write_text(chart(Run.read(document["tracers"])))


def page(document: dict[str, Any]) -> str:
    """Return the page of a document."""
    parts = [_HEAD]
    if "lab" in document:
        parts += [_LAB.format(**document["lab"]["host"]), lab_table(document["lab"]["measures"])]
    if "tracers" in document:
        parts.append(tracers(Run.read(document["tracers"])))
    if "instructions" in document:
        parts.append(instructions(Counting.read(document["instructions"])))
    return wrapped("".join(parts))


def _table(head: Iterable[str], align: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; `align` has a letter a column, l or r."""
    rule = ["---" if letter == "l" else "---:" for letter in align]
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(rule)}|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def lab_table(measures: list[dict[str, Any]]) -> str:
    """Return the lab's steps as a Markdown table."""
    rows = []
    for measure in measures:
        seconds = measure["seconds"]
        spread = f"{min(seconds):.1f} to {max(seconds):.1f} s" if len(seconds) > 1 else ""
        aim = f"{measure['aim']:g} s" if measure["aim"] else ""
        rows.append([measure["step"], f"{measure['median']:.1f} s", spread, str(len(seconds)), aim])
    return _table(("step", "median", "spread", "runs", "aim"), "lrrrr", rows)


def tracers(run: Run) -> str:
    """Return all that the page says of the tracers."""
    about = {**asdict(run), "chart": CHART, "image": f"`{IMAGE}`"}
    return "".join(
        [
            _TRACERS.format(**about),
            _ADDED.format(plain=_alone(run)),
            added_table(run),
            _DELIVERY.format(buffer=BUFFER),
            delivery_table(run),
            "\n### The aims\n\n",
            aims_table(findings(run)),
            "".join(f"\n{sentence}" for sentence in limits(run)),
            "\n\n### What was run\n\n"
            "`$OUT` is a directory in memory; `entry` names the entry point of a call as ftrace knows it.\n\n",
            commands_table(run),
            _missing(run),
        ]
    )


def _alone(run: Run) -> str:
    plain = [(workload, run.plain(workload)) for workload, threads in LOOPS if threads == 1]
    return ", ".join(f"{workload} {_spread(spread)} ns" for workload, spread in plain if spread)


def _spread(spread: Spread | None, *, sign: str = "") -> str:
    return f"{spread.median:{sign},.0f} ± {spread.half:,.0f}" if spread else ""


def _measured(run: Run) -> list[Row]:
    return [row for row in run.rows if row.sessions]


def added_table(run: Run) -> str:
    """Return what each tracer adds to a call, a column a loop."""
    head = ["tracer", "sees", *(workload if threads == 1 else f"x {threads}" for workload, threads in LOOPS)]
    rows = [[row.label, row.sees, *(_spread(row.added(*loop), sign="+") for loop in LOOPS)] for row in _measured(run)]
    return _table(head, "ll" + "r" * len(LOOPS), rows)


def delivery_table(run: Run) -> str:
    """Return how many events reach the reader of each tracer that has one."""
    head = ["tracer"]
    for workload, _ in DELIVERED:
        head += [f"{workload}, events/s", "not delivered"]
    rows = []
    for row in _measured(run):
        if row.reads:
            cells = [row.label]
            for loop, call in DELIVERED.items():
                cells += [_spread(row.delivered(*loop)), f"{(1 - (row.share(call) or 0)) * 100:.1f} %"]
            lost = row.lost()
            rows.append([*cells, "says nothing" if lost is None else f"{lost:,}"])
    return _table([*head, "admitted"], "l" + "r" * (2 * len(DELIVERED) + 1), rows)


def aims_table(found: Iterable[Finding]) -> str:
    """Return the aims, what was measured, and whether they hold."""
    rows = [[finding.aim, finding.measured, finding.verdict] for finding in found]
    return _table(("aim", "measured", "verdict"), "lll", rows)


def commands_table(run: Run) -> str:
    """Return the commands and versions of each row."""
    rows = [[row.label, row.version, f"`` {row.command.replace('|', chr(92) + '|')} ``"] for row in _measured(run)]
    return _table(("tracer", "version", "commands"), "lll", rows)


def _missing(run: Run) -> str:
    reasons = [(row.label, reason) for row in run.rows for reason in (row.absent, *row.failures) if reason]
    absent = [f"- {label}: {' '.join(reason.split())}" for label, reason in reasons]
    return "\nNot measured, or not each time:\n\n" + "\n".join(absent) + "\n" if absent else ""


def instructions(counting: Counting) -> str:
    """Return all that the page says of instructions."""
    counted = [row for row in counting.rows if row.traced]
    alone = counted[0].plain if counted else {}
    plain = ", ".join(f"{name} {count.least / count.calls:,.0f}" for name, count in alone.items())
    chunks = counted[0].traced["getppid"].chunks if counted else 0
    about = {**asdict(counting), "image": IMAGE, "plain": plain, "chunks": chunks}
    failed = [f"- {row.label}: {row.failure}\n" for row in counting.rows if row.failure]
    return "".join(
        [
            _INSTRUCTIONS.format(**about),
            instructions_table(counted),
            "\n### The aims in instructions\n\n",
            aims_table(counted_findings(counting)),
            *(f"\n{sentence}" for sentence in counted_limits(counting)),
            "\n",
            *(["\nNot counted:\n\n", *failed] if failed else []),
        ]
    )


def instructions_table(rows: Iterable[Counted]) -> str:
    """Return the instructions that each tracer adds to a call, a column a loop."""
    names = [workload for workload, threads in LOOPS if threads == 1]
    cells = []
    for row in rows:
        agreed = row.traced["getppid"].agreed
        cells.append([row.label, *(f"{row.added(name):+,.0f}" for name in names), str(agreed)])
    return _table(["tracer", *names, "agreed"], "l" + "r" * (len(names) + 1), cells)

"""The page and the chart of `make bench-lister`, of what docs/benchmarks-lister.json has."""

from __future__ import annotations

import math
from typing import Any
from xml.sax.saxutils import escape

from kmodlab.paths import project_dir
from kmodlab.prose import wrapped

DOCS = project_dir() / "docs"
LABELS = {
    "cat": "`cat` of nothing",
    "task_lister": "`cat /proc/task_lister`",
    "task_stats": "`cat /proc/task_stats`",
    "task_tree": "`cat /proc/task_tree`",
    "task_detail": "`cat /proc/task_detail`",
    "jsonl": "the list by a selection, JSON lines, twelve columns",
    "bin": "the same, binary",
    "since": "the same, JSON lines, what changed where all sleep",
    "bpf": "BPF iterator, by bpftrace",
    "ps": "`ps`, the list's columns",
    "top": "`top -b -n 1`",
    "psutil": "psutil, the list's columns",
}
OURS = ("task_lister", "task_stats", "task_tree", "task_detail", "jsonl", "bin", "since")
AIM_PS, AIM_BPF, AIM_LINEAR, AIM_SINCE = 100.0, 2.0, 1.2, 10.0
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 460, 70, 220, 50, 50
COLOURS = (
    "#1a7f37",
    "#2da44e",
    "#57ab5a",
    "#8ddb8c",
    "#bf8700",
    "#d4a72c",
    "#eac54f",
    "#9a6700",
    "#0969da",
    "#8250df",
    "#cf222e",
)

Took = dict[str, dict[int, int]]


def took(document: dict[str, Any]) -> Took:
    """Return program -> tasks -> instructions."""
    found: Took = {}
    for one in document["took"]:
        found.setdefault(one["program"], {})[one["tasks"]] = one["instructions"]
    return found


def each(of: dict[int, int], least: int | None = None) -> float:
    """Return the instructions that one more task takes, from the fewest tasks, or so many, to the most."""
    first, last = least or min(of), max(of)
    return (of[last] - of[first]) / (last - first) if last > first else math.nan


def page(document: dict[str, Any]) -> str:
    """Return the page, in Markdown."""
    found = took(document)
    crowds = sorted({tasks for of in found.values() for tasks in of})
    head = f"| what | {' | '.join(f'{tasks:,}' for tasks in crowds)} | one more task |"
    rows = [_row(program, found[program], crowds) for program in LABELS if program in found]
    table = "\n".join([head, f"|---|{'---:|' * (len(crowds) + 1)}", *rows])
    absent = "".join(f"- {LABELS[name]}: {why}\n" for name, why in document["absent"].items())
    return wrapped(
        f"""# What it takes to see all tasks

<!-- Written by `make bench-lister`. -->

Millions of instructions, counted on {document["date"]}: {document["qemu"]}; a guest with {document["kernel"]} and one
processor, whose clock counts instructions. So the figures are the same on every host, however busy. They are those of
the whole machine, from the start of a program to its end, with so many tasks that sleep beside its own; the least of
some runs. The last column has no start in it: it is the instructions that one more task takes.

![millions of instructions by tasks](benchmarks-lister.svg)

{table}

The tasks share one memory, so that there is room for so many. To ps each is a process like any other.

## The aims

{_aims(found)}
"""
        + (f"\nNot measured:\n\n{absent}" if absent else "")
    )


def _row(program: str, of: dict[int, int], crowds: list[int]) -> str:
    cells = [f"{of[tasks] / 1e6:,.1f}" if tasks in of else "" for tasks in crowds]
    label = f"**{LABELS[program]}**" if program in OURS else LABELS[program]
    last = "" if program in ("cat",) or math.isnan(each(of)) else f"{each(of):,.0f}"
    return f"| {label} | {' | '.join(cells)} | {last} |"


def _aims(found: Took) -> str:
    rows = ["| aim | measured | |", "|---|---:|---|"]
    ours = found.get("task_lister", {})
    for other, aim in (("ps", AIM_PS), ("bpf", AIM_BPF)):
        if ours and other in found:
            ratio = each(found[other]) / each(ours)
            rows.append(
                f"| the list takes {aim:.0f} times less for a task than {LABELS[other]} | {ratio:,.1f} times | "
                f"{'holds' if ratio >= aim else 'missed'} |"
            )
    if "since" in found and "jsonl" in found:
        ratio = each(found["jsonl"]) / each(found["since"])
        rows.append(
            f"| what changed takes {AIM_SINCE:.0f} times less for a task that sleeps | {ratio:,.1f} times | "
            f"{'holds' if ratio >= AIM_SINCE else 'missed'} |"
        )
    if len(ours) > 2:
        middle = sorted(ours)[len(ours) // 2]
        growth = each(ours, middle) / each({tasks: n for tasks, n in ours.items() if tasks <= middle})
        rows.append(
            f"| a task among the most takes as much as one among {middle:,} | {growth:.2f} times as much | "
            f"{'holds' if growth <= AIM_LINEAR else 'missed'} |"
        )
    return "\n".join(rows)


def chart(document: dict[str, Any]) -> str:
    """Return the curves, both axes logarithmic."""
    found = {program: of for program, of in took(document).items() if program != "cat"}
    tasks = sorted({n for of in found.values() for n in of})
    values = [n / 1e6 for of in found.values() for n in of.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    first, last = math.log10(tasks[0]), math.log10(tasks[-1])

    def x(number: int) -> float:
        return round(LEFT + (math.log10(number) - first) / (last - first) * (WIDTH - LEFT - RIGHT), 1)

    def y(millions: float) -> float:
        return round(HEIGHT - BOTTOM - (math.log10(millions) - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        "<title>millions of instructions to see all tasks, by their number; both logarithmic</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        '<text x="16" y="26" font-size="16" font-weight="bold" fill="#1f2328">'
        "millions of instructions to see all tasks, by their number</text>",
    ]
    for decade in range(low, high + 1):
        at = y(10**decade)
        parts += [
            f'<line x1="{LEFT}" y1="{at}" x2="{WIDTH - RIGHT}" y2="{at}" stroke="#d0d7de"/>',
            f'<text x="{LEFT - 8}" y="{at + 4}" text-anchor="end" fill="#57606a">{10**decade:,}</text>',
        ]
    parts += [
        f'<text x="{x(number)}" y="{HEIGHT - BOTTOM + 22}" text-anchor="middle" fill="#57606a">{number:,}</text>'
        for number in tasks
    ]
    ends: list[float] = []
    order = sorted(found, key=lambda program: -found[program][max(found[program])])
    for program in order:
        of, colour = found[program], COLOURS[list(LABELS).index(program) - 1]
        points = " ".join(f"{x(number)},{y(n / 1e6)}" for number, n in sorted(of.items()))
        stroke = 3 if program in OURS else 1.5
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{stroke}"/>')
        at = max([y(of[max(of)] / 1e6) + 4, *(end + 16 for end in ends)])
        ends.append(at)
        weight = ' font-weight="bold"' if program in OURS else ""
        label = escape(LABELS[program].replace("`", ""))
        parts.append(f'<text x="{WIDTH - RIGHT + 10}" y="{at}" fill="{colour}"{weight}>{label}</text>')
    return "\n".join([*parts, "</svg>", ""])

"""The bar chart of what each tracer adds to a call, as SVG."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

from bench.figures import Row, Run, Spread

WIDTH, LEFT, RIGHT, TOP, STEP, BAR = 900, 320, 110, 64, 24, 15
COLOURS = {"floor": "#8c959f", "module": "#1a7f37", "peer": "#57606a"}
NAMES = {"floor": "empty handler", "module": "this module", "peer": "other tracers"}
#: the axis begins here, in ns: less is drawn as this
LEAST = 10.0


def chart(run: Run) -> str:
    """Return the chart: a bar a tracer, by cost, on a logarithmic axis, with whiskers for the quartiles."""
    bars = sorted(
        ((row, added) for row in run.rows if (added := row.added("getppid", 1))), key=lambda pair: pair[1].median
    )
    height = TOP + STEP * len(bars) + 34
    decades = math.ceil(math.log10(max([added.median for _, added in bars] or [LEAST]) / LEAST)) or 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13">',
        "<title>ns added to a traced getppid, by tracer; logarithmic</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="26" font-size="16" font-weight="bold" fill="#1f2328">'
        f"ns added to a traced getppid ({escape(_plain(run))}), logarithmic</text>",
        *_legend(),
        *_grid(decades, height),
    ]
    for index, (row, added) in enumerate(bars):
        parts += _bar(row, added, TOP + STEP * index, decades)
    return "\n".join([*parts, "</svg>", ""])


def _plain(run: Run) -> str:
    plain = run.plain("getppid")
    return f"{plain.median:.0f} ns untraced" if plain else "nothing measured"


def _x(ns: float, decades: int) -> float:
    share = math.log10(max(ns, LEAST) / LEAST) / decades
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _legend() -> list[str]:
    parts = []
    for index, (group, colour) in enumerate(COLOURS.items()):
        x = 16 + 150 * index
        parts.append(f'<rect x="{x}" y="38" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="49" fill="#1f2328">{NAMES[group]}</text>')
    return parts


def _grid(decades: int, height: int) -> list[str]:
    parts = []
    for decade in range(decades + 1):
        x, ns = _x(LEAST * 10**decade, decades), LEAST * 10**decade
        parts.append(f'<line x1="{x}" y1="{TOP - 4}" x2="{x}" y2="{height - 26}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{x}" y="{height - 10}" text-anchor="middle" fill="#57606a">{ns:,.0f}</text>')
    return parts


def _bar(row: Row, added: Spread, y: int, decades: int) -> list[str]:
    end, middle = _x(added.median, decades), y + BAR / 2 + 1
    low, high = (_x(added.median + sign * added.half, decades) for sign in (-1, 1))
    weight = ' font-weight="bold"' if row.group == "module" else ""
    return [
        f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end" fill="#1f2328"{weight}>{escape(row.label)}</text>',
        f'<rect x="{LEFT}" y="{y + 1}" width="{max(round(end - LEFT, 1), 1)}" height="{BAR}" '
        f'fill="{COLOURS[row.group]}"/>',
        f'<line x1="{low}" y1="{middle}" x2="{high}" y2="{middle}" stroke="#cf222e" stroke-width="2"/>',
        f'<text x="{max(end, high) + 6}" y="{y + 13}" fill="#1f2328"{weight}>{added.median:+,.0f}</text>',
    ]

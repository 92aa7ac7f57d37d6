"""Plots as inline SVG: bars, because that is what a class's questions come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kmodlab.grading.report import text

WIDTH = 520
_ROW = 24
_LABEL = 215
_OPEN = (
    "<svg role='img' viewBox='0 0 {} {}' width='100%' font-family='system-ui, sans-serif' font-size='12'>"
    "<title>{}</title>"
)


@dataclass(frozen=True)
class Bar:
    """A bar.

    Attributes:
        label: beside it.
        parts: lengths and colours, from left to right.
        note: behind it.
        hint: shown where one points at it.
    """

    label: str
    parts: tuple[tuple[float, str], ...]
    note: str
    hint: str = ""


def _tag(template: str, *values: object) -> Markup:
    fit = [text.fit(value) if type(value) is str else value for value in values]
    return Markup(template).format(*fit)  # noqa: S704  # the templates are this file's own, the values are escaped


def _short(label: str, width: int) -> str:
    letters = max(4, width // 7)
    return label if len(label) <= letters else f"{label[: letters - 1]}…"


def rows(bars: Sequence[Bar], most: float, title: str) -> Markup:
    """Return horizontal bars.

    Args:
        bars: from top to bottom.
        most: what the whole width stands for.
        title: for those who do not see it.
    """
    room = WIDTH - _LABEL - 70
    height = len(bars) * _ROW + 8
    out = [_tag(_OPEN, WIDTH, height, title)]
    for place, bar in enumerate(bars):
        out.append(_row(bar, place * _ROW + 4, room / most if most else 0.0))
    return Markup("").join([*out, Markup("</svg>")])


def _row(bar: Bar, top: int, scale: float) -> Markup:
    label = text.fit(bar.label)
    middle = top + _ROW - 9
    out = [
        _tag("<g><title>{}</title>", bar.hint or label),
        _tag(
            "<text x='{}' y='{}' text-anchor='end' fill='currentColor'>{}</text>",
            _LABEL - 8, middle, _short(label, _LABEL - 8),
        ),
    ]  # fmt: skip
    left = float(_LABEL)
    for length, colour in bar.parts:
        width = length * scale
        out.append(
            _tag(
                "<rect x='{:.1f}' y='{}' width='{:.1f}' height='{}' fill='{}'/>",
                left, top + 2, max(0.0, width), _ROW - 8, colour,
            )
        )  # fmt: skip
        left += width
    out.append(_tag("<text x='{:.1f}' y='{}' fill='currentColor'>{}</text></g>", left + 6, middle, bar.note))
    return Markup("").join(out)


def columns(bars: Sequence[Bar], title: str, below: str) -> Markup:
    """Return vertical bars, as for a distribution.

    Args:
        bars: from left to right; each with one part.
        title: for those who do not see it.
        below: what the labels count.
    """
    high, left, bottom = 170, 10, 34
    most = max((bar.parts[0][0] for bar in bars), default=0) or 1
    step = (WIDTH - 2 * left) / max(1, len(bars))
    out = [_tag(_OPEN, WIDTH, high + bottom + 24, title)]
    for place, bar in enumerate(bars):
        (value, colour), x = bar.parts[0], left + place * step
        tall = value / most * (high - 20)
        out.append(
            _tag(
                "<g><title>{}</title><rect x='{:.1f}' y='{:.1f}' width='{:.1f}' height='{:.1f}' fill='{}'/>",
                bar.hint or bar.label, x + 2, high - tall, step - 4, tall, colour,
            )
        )  # fmt: skip
        middle = x + step / 2
        count = bar.note if value else ""
        out.append(
            _tag(
                "<text x='{:.1f}' y='{:.1f}' text-anchor='middle' fill='currentColor'>{}</text>"
                "<text x='{:.1f}' y='{}' text-anchor='middle' fill='currentColor'>{}</text></g>",
                middle, high - tall - 5, count, middle, high + 16, bar.label,
            )
        )  # fmt: skip
    out.append(
        _tag("<line x1='0' x2='{}' y1='{}' y2='{}' stroke='currentColor' stroke-opacity='.4'/>", WIDTH, high, high)
    )
    out.append(
        _tag(
            "<text x='{}' y='{}' text-anchor='middle' fill='currentColor'>{}</text>",
            WIDTH / 2,
            high + bottom + 6,
            below,
        )
    )
    return Markup("").join([*out, Markup("</svg>")])

"""Numbers, times and names as text. Everything that a process chose goes through `plain`."""

from __future__ import annotations

import errno
import time
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

DASH = "\u2013"
ZONES = ("here", "utc", "server")
_UNITS = ("", "k", "M", "G", "T")
_SIZES = "KMGTP"
_LATENCIES = (("s", 1e9), ("ms", 1e6), ("\u00b5s", 1e3))
_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Unicode's general categories of what a terminal obeys, does not show, or has no width for."""
_BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_HOLE = "\u00b7"


def plain(text: object) -> str:
    r"""Return what a process chose, with what cannot be seen, or turns text around, written out: `\u{202e}`."""
    return "".join(_written(letter) for letter in str(text))


def _written(letter: str) -> str:
    return f"\\u{{{ord(letter):x}}}" if unicodedata.category(letter) in _UNSEEN else letter


def whole(number: float) -> str:
    """Return a whole number: 1,234,567."""
    return f"{round(number):,}"


def short(number: float) -> str:
    """Return a rate in three digits: 0.40, 12.3, 418, 9.87k."""
    value, unit = float(number), 0
    while abs(value) >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 and value.is_integer() else 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f}{_UNITS[unit]}"


def size(kib: int | None) -> str:
    """Return a size that is given in KiB, in three digits: 512K, 11.7M, 1.20G."""
    if kib is None:
        return DASH
    value, unit = float(kib), 0
    while value >= 999.5 and unit < len(_SIZES) - 1:
        value, unit = value / 1024, unit + 1
    digits = 0 if unit == 0 else 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}{_SIZES[unit]}" if kib else "0"


def duration(ns: float | None) -> str:
    """Return a latency that is given in ns."""
    if ns is None:
        return DASH
    for unit, size in _LATENCIES:
        if ns >= size:
            value = ns / size
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{round(ns)} ns"


def span(seconds: float) -> str:
    """Return a span of time: 45 s, 12 min, 3 h 20 min, 4 d."""
    if seconds < 90:
        return f"{round(seconds)} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    if seconds < 172800:
        return f"{int(seconds // 3600)} h {round(seconds % 3600 / 60)} min"
    return f"{round(seconds / 86400)} d"


def percent(part: float, all_of_it: float) -> str:
    """Return a share."""
    if not all_of_it:
        return DASH
    share = 100 * part / all_of_it
    if not part:
        return "0 %"
    return "<0.1 %" if share < 0.1 else f"{share:.{1 if share < 10 else 0}f} %"


def returned(value: int | None) -> str:
    """Return what a call returned: a number, or the error's name."""
    if value is None:
        return DASH
    return errno.errorcode.get(-value, str(value)) if value < 0 else str(value)


def quantile(histogram: Sequence[float], share: float) -> float | None:
    """Return the latency that a share of a histogram is at most, ns: bucket b has the latencies of b bits."""
    left = share * sum(histogram)
    if not left:
        return None
    for bucket, n in enumerate(histogram):
        if n >= left:
            return float(2 ** max(0, bucket - 1) * (1 + (left / n if bucket else 0)))
        left -= n
    return float(2 ** len(histogram))


def sparkline(values: Iterable[float | None], width: int, highest: float | None = None) -> str:
    """Return the newest values as bars, at the right; None, of which nothing is known, as a dot.

    Args:
        values: oldest first.
        width: columns.
        highest: what a full bar is; by default the highest of these values.
    """
    shown = list(values)[-width:]
    top = highest or max((value for value in shown if value), default=0)
    bars = "".join(_bar(value, top) for value in shown)
    return bars.rjust(width)


def _bar(value: float | None, top: float) -> str:
    if value is None:
        return _HOLE
    if value <= 0 or top <= 0:
        return " "
    return _BARS[min(len(_BARS) - 1, int(value / top * len(_BARS)))]


@dataclass(frozen=True)
class Clock:
    """Times in one of the `ZONES`: of this machine, UTC, or the server's, which is `offset` s ahead of UTC."""

    zone: str = "here"
    offset: int = 0

    def _parts(self, wall: float) -> time.struct_time:
        if self.zone == "here":
            return time.localtime(wall)
        return time.gmtime(wall + (self.offset if self.zone == "server" else 0))

    def time(self, wall: float) -> str:
        """14:03:07"""
        return time.strftime("%H:%M:%S", self._parts(wall))

    def exact(self, wall: float) -> str:
        """14:03:07.042"""
        ms = round(wall * 1000)
        return f"{self.time(ms // 1000)}.{ms % 1000:03}"

    def full(self, wall: float) -> str:
        """2026-11-30 14:03:07"""
        return time.strftime("%Y-%m-%d %H:%M:%S", self._parts(wall))

    @property
    def label(self) -> str:
        """UTC, or how far from it."""
        if self.zone == "utc":
            return "UTC"
        minutes = (self.offset if self.zone == "server" else time.localtime().tm_gmtoff) // 60
        sign = "-" if minutes < 0 else "+"
        return f"UTC{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"

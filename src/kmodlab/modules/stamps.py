"""When calls were made, as strace writes it before them."""

from __future__ import annotations

import functools
import time

from .record import CLOCK, Row

_SECOND, _MICROSECOND = 1_000_000_000, 1000
_MOST = 3


@functools.lru_cache(maxsize=16)
def _clock_time(seconds: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def _fraction(clock: int) -> str:
    return f"{clock % _SECOND // _MICROSECOND:06d}"


#: how often `-t` is given -> what it shows of ns since 1970
_ABSOLUTE = {
    1: lambda clock: _clock_time(clock // _SECOND),
    2: lambda clock: f"{_clock_time(clock // _SECOND)}.{_fraction(clock)}",
    3: lambda clock: f"{clock // _SECOND}.{_fraction(clock)}",
}


class Stamps:
    """Writes when each call began. It is one for all lines: what `-r` shows is since the line before.

    Args:
        absolute: how often `-t` is given.
        relative: whether `-r` is.
        epoch: ns from CLOCK_MONOTONIC, which records have, to the time of day, which is that of the start: a clock
            that is set meanwhile changes nothing.
    """

    def __init__(self, absolute: int, *, relative: bool, epoch: int | None = None) -> None:
        self._absolute = _ABSOLUTE.get(min(absolute, _MOST))
        self._relative = relative
        self._epoch = time.time_ns() - time.monotonic_ns() if epoch is None else epoch
        self._last: int | None = None

    def __call__(self, row: Row) -> str:
        """Return what goes before a call; nothing if no time is asked for."""
        clock: int = row[CLOCK]
        absolute = f"{self._absolute(clock + self._epoch)} " if self._absolute else ""
        if not self._relative:
            return absolute
        since = self._since(clock)
        return f"{absolute}(+{since}) " if absolute else f"{since} "

    def _since(self, clock: int) -> str:
        gap = 0 if self._last is None else max(0, clock - self._last)
        self._last = clock
        return f"{gap // _SECOND:6d}.{_fraction(gap)}"

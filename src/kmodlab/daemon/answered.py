"""What a source answers of the past: what its history says, or a fleet's database."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .queries import By, Questions
from .tick import TOP, Change, Events, Filter, Ranked, Rates, Row, Tick


class Answered:
    """The part of a `tick.Source` that is the same for one host and for many: whom it asks, and its newest ticks."""

    _questions: Questions
    _ticks: deque[Tick]

    def ticks(self, since: int) -> list[Tick] | None:
        """Return the ticks behind a number, or None where not all of them are there any more."""
        kept = list(self._ticks)
        if kept and (since < kept[0].number - 1 or since > kept[-1].number):
            return None
        return [tick for tick in kept if tick.number > since]

    def rates(self, begin: float, end: float, step: float, by: By = "call") -> Rates:
        """Return the sums for each step; see `tick.Source`."""
        return self._questions.rates(begin, end, step, by)

    def top(self, begin: float, end: float, by: By, limit: int = TOP) -> list[Ranked]:
        """Return the busiest; see `tick.Source`."""
        return self._questions.top(begin, end, by, limit)

    def events(
        self,
        begin: float,
        end: float,
        only: Filter | None = None,
        limit: int = 100,
        before: str | None = None,
        matches: Callable[[Row], bool] | None = None,
    ) -> Events:
        """Return the newest calls of a time; see `tick.Source`."""
        return self._questions.events(begin, end, only, limit, before, matches)

    def blocked(self, begin: float, end: float, limit: int = 100, before: str | None = None) -> Events:
        """Return the newest blocked calls; see `tick.Source`."""
        return self._questions.blocked(begin, end, limit, before)

    def changes(self, begin: float, end: float) -> list[Change]:
        """Return what was changed; see `tick.Source`."""
        return self._questions.changes(begin, end)

"""The tasks of the machine: all that there are, in an order, and how many there were."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ....errors import KmodlabError, UsageError
from ...tasks import Arranged, Listing, Order
from ...tick import Source
from .. import columns, query

MOST_OFFSET = 10_000_000
ARRANGED = 4
"""Orders that are remembered: who scrolls asks for the same one again and again."""


@dataclass(frozen=True)
class Tasks:
    """`/api/v1/tasks`."""

    source: Source
    _known: OrderedDict[tuple[float, Order], tuple[Listing, Arranged]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    async def read(self, request: Request) -> Response:
        """Tell some of the tasks."""
        asked = request.query_params
        names, order = query.task_columns(asked), query.task_order(asked)
        at = None if query.one(asked, "at") is None else query.number(asked, "at", 0.0)
        offset, limit = query.whole(asked, "offset", 0, 0, MOST_OFFSET), query.limit(asked)
        return JSONResponse(await asyncio.to_thread(self._answer, at, order, names, offset, limit))

    def _answer(self, at: float | None, order: Order, names: tuple[str, ...], offset: int, limit: int) -> object:
        try:
            found = self.source.tasks(at)
        except UsageError:
            raise
        except KmodlabError as error:
            hint = {"hint": error.hint} if error.hint else {}
            sums: dict[str, object] = dict.fromkeys(("wall", "n", "matched", "shown"), 0)
            none: dict[str, object] = {"states": {}, "vm": None, "rss": None, "missing": [], "rows": {}}
            return {**sums, **none, "offset": offset, "trouble": {"detail": error.message, **hint}}
        arranged = self._arranged(found, order)
        return {
            "wall": found.wall,
            "n": found.n,
            "states": found.states,
            "vm": found.total("vm"),
            "rss": found.total("rss"),
            "matched": arranged.matched,
            "shown": arranged.shown,
            "offset": offset,
            "missing": list(found.missing),
            "rows": arranged.rows(names, offset, limit),
            "trouble": None,
        }

    def _arranged(self, found: Listing, order: Order) -> Arranged:
        """Return a listing in an order; one at a time makes it, for on a large machine that takes a second."""
        with self._lock:
            known = self._known.get((found.wall, order))
            if known is None or known[0] is not found:
                known = self._known[found.wall, order] = found, Arranged(found, order)
                while len(self._known) > ARRANGED:
                    self._known.popitem(last=False)
            return known[1]


@dataclass(frozen=True)
class TaskRates:
    """`/api/v1/tasks/rates`."""

    source: Source

    async def read(self, request: Request) -> Response:
        """Tell how many tasks were in which state, and their memory."""
        asked = request.query_params
        begin, end = query.span(asked)
        step = query.step(asked, begin, end)
        return JSONResponse(columns.task_rates(await asyncio.to_thread(self.source.task_rates, begin, end, step)))

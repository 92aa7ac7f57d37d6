"""The past: sums, rankings, and calls one by one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...tick import Events as Found
from ...tick import Source
from .. import columns, query

BY = ("call", "status", "process")


@dataclass(frozen=True)
class Rates:
    """`/api/v1/rates`."""

    source: Source

    async def read(self, request: Request) -> Response:
        """Tell the sums for each step of a time."""
        asked = request.query_params
        begin, end = query.span(asked)
        step = query.step(asked, begin, end)
        by = query.choice(asked, "by", BY)
        found = await asyncio.to_thread(self.source.rates, begin, end, step, by)  # type: ignore[arg-type]
        return JSONResponse(columns.rates(found))


@dataclass(frozen=True)
class Top:
    """`/api/v1/top`."""

    source: Source

    async def read(self, request: Request) -> Response:
        """Tell the busiest of a time."""
        asked = request.query_params
        begin, end = query.span(asked)
        by, limit = query.choice(asked, "by", BY), query.limit(asked)
        found = await asyncio.to_thread(self.source.top, begin, end, by, limit)  # type: ignore[arg-type]
        return JSONResponse(columns.ranking(found))


def _events(found: Found) -> Response:
    return JSONResponse({"rows": columns.rows(found.rows), "before": found.before, "stopped": found.stopped})


@dataclass(frozen=True)
class Events:
    """`/api/v1/events`."""

    source: Source

    async def read(self, request: Request) -> Response:
        """Tell the newest calls of a time."""
        asked = request.query_params
        begin, end = query.span(asked)
        only = query.parsed(query.one(asked, "filter", query.FILTER_LETTERS) or "")
        limit, before = query.limit(asked), query.one(asked, "before")
        return _events(await asyncio.to_thread(self.source.events, begin, end, only, limit, before))


@dataclass(frozen=True)
class Blocked:
    """`/api/v1/blocked`."""

    source: Source

    async def read(self, request: Request) -> Response:
        """Tell the newest blocked calls of a time."""
        asked = request.query_params
        begin, end = query.span(asked)
        limit, before = query.limit(asked), query.one(asked, "before")
        return _events(await asyncio.to_thread(self.source.blocked, begin, end, limit, before))


@dataclass(frozen=True)
class Changes:
    """`/api/v1/changes`."""

    source: Source

    async def read(self, request: Request) -> Response:
        """Tell what was changed, by whom."""
        found = await asyncio.to_thread(self.source.changes, *query.span(request.query_params))
        return JSONResponse(columns.columns(found, columns.CHANGE))

"""The page that Prometheus reads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response

from ...tick import Source
from ..hub import Hub
from ..metrics import Metrics as Page
from ..sessions import Sessions


@dataclass(frozen=True)
class Metrics:
    """`/metrics`."""

    source: Source
    hub: Hub
    sessions: Sessions

    async def read(self, request: Request) -> Response:
        """Tell all sums."""
        machine = await asyncio.to_thread(self.source.machine)
        books = await asyncio.to_thread(self.source.ledger)
        page = Page(self.hub, machine, books, self.sessions.count(), self.source.task_sample())
        page = replace(page, turnover=self.source.task_turnover())
        body, kind = page.page(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": kind})

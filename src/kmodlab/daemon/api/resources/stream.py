"""The live stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ...tick import Filter, Source, Tick
from .. import frames, query
from ..hub import Client, Hub
from ..sessions import Caller, Sessions

HEARTBEAT_SECONDS = 15.0
QUIET_SECONDS = 1.0
"""How often a client hears of a machine on which nothing happens."""


@dataclass(frozen=True)
class Stream:
    """`/api/v1/stream`."""

    source: Source
    hub: Hub
    sessions: Sessions

    async def stream(self, request: Request) -> Response:
        """Answer with events, until one of the two has enough."""
        views = query.views(request.query_params)
        seen = request.headers.get("last-event-id") or query.one(request.query_params, "after") or ""
        self.hub.check_room()
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        events = self._guarded(views, seen, request.state.caller)
        return StreamingResponse(events, headers=headers, media_type="text/event-stream")

    async def _guarded(self, views: dict[str, Filter], seen: str, caller: Caller) -> AsyncIterator[bytes]:
        client = self.hub.join()
        try:
            for event in await self._first(client, views, seen):
                yield event
            async for event in self._events(client, views, caller):
                yield event
        finally:
            self.hub.leave(client)

    async def _first(self, client: Client, views: dict[str, Filter], seen: str) -> list[bytes]:
        """Return the state, or the ticks that were missed."""
        joined = self.hub.latest
        missed = await self._missed(frames.after(self.hub.run_id, seen), joined)
        if missed is None:
            return [await self._state(joined)]
        for _ in missed:
            client.sums.offered += 1
            client.sums.sent += 1
        return [self._frame(client, tick, views) for tick in missed]

    async def _missed(self, since: int | None, joined: Tick | None) -> list[Tick] | None:
        if since is None or joined is None or since > joined.number:
            return None
        found = await asyncio.to_thread(self.source.ticks, since)
        return None if found is None else [tick for tick in found if tick.number <= joined.number]

    async def _state(self, latest: Tick | None) -> bytes:
        machine = await asyncio.to_thread(self.source.machine)
        name = None if latest is None else frames.name(self.hub.run_id, latest)
        return frames.event("state", frames.state(machine, latest, self.hub.opened()), name)

    async def _events(self, client: Client, views: dict[str, Filter], caller: Caller) -> AsyncIterator[bytes]:
        while self._alive(client, caller):
            if not await client.wait(HEARTBEAT_SECONDS):
                yield frames.HEARTBEAT
                continue
            if client.quiet and not client.closed:
                await self._calm(client)
            async for event in self._waiting(client, views):
                yield event
        yield frames.event("closed", {"reason": "the server ends" if client.closed else "the session has ended"})

    def _alive(self, client: Client, caller: Caller) -> bool:
        alive = caller.session is None or self.sessions.touch(caller.session) is not None
        return alive and not client.closed

    @staticmethod
    async def _calm(client: Client) -> None:
        """Wait a second, or until something happens."""
        loop = asyncio.get_running_loop()
        until = loop.time() + QUIET_SECONDS
        while client.quiet and not client.closed and (left := until - loop.time()) > 0:
            client.seen()
            await client.wait(left)

    async def _waiting(self, client: Client, views: dict[str, Filter]) -> AsyncIterator[bytes]:
        if client.overrun:
            client.drop()
            yield await self._state(self.hub.latest)
        if tick := client.take():
            yield self._frame(client, tick, views)

    def _frame(self, client: Client, tick: Tick, views: dict[str, Filter]) -> bytes:
        name = frames.name(self.hub.run_id, tick)
        return frames.event("tick", frames.frame(tick, views, client.sums, self.hub.opened()), name)

"""Each host of a fleet alone: it is followed while somebody looks at it, by a hub of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from ..hosts import Several
from ..tick import Source
from . import query
from .hub import Hub
from .problem import Denied
from .routing import Handler

MOST_HOSTS = 64
"""That are followed at once; each asks the database each second while it is looked at."""
IDLE_SECONDS, SWEEP_SECONDS = 60.0, 15.0
"""A host that nobody asks about for so long is followed no more; how often that is looked at."""


@dataclass(eq=False)
class _Followed:
    """A host that is followed, what answers for it, and when it was asked about last."""

    made: AbstractContextManager[Source]
    hub: Hub
    handlers: Mapping[str, Handler]
    task: asyncio.Task[None]
    asked: float

    async def end(self) -> None:
        self.hub.close()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await asyncio.to_thread(self.made.__exit__, None, None, None)


class Alone:
    """The hosts that are followed.

    Args:
        several: all that there are; None: there is but one, and it is not asked for by its name.
        handlers: makes what answers for a host, by operation.
        hub: of all together; it ends with its streams those of each host.
        clock: seconds that only go on.
    """

    def __init__(
        self,
        several: Several | None,
        handlers: Callable[[Source, Hub], Mapping[str, Handler]],
        hub: Hub,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._several, self._handlers, self._hub, self._clock = several, handlers, hub, clock
        self._followed: dict[str, _Followed] = {}
        self._lock = asyncio.Lock()

    def bound(self, operation: str, of_all: Handler) -> Handler:
        """Return a handler that has the host answer that a request names; where it names none, all together."""

        async def handle(request: Request) -> Response:
            name = query.host(request.query_params)
            if name is None:
                return await of_all(request)
            return await (await self._of(name)).handlers[operation](request)

        return handle

    async def _of(self, name: str) -> _Followed:
        """Return a host, which is followed from now on.

        Raises:
            Denied: there is none of that name, or there are too many that somebody looks at.
        """
        if self._several is None:
            raise Denied(404, "this server shows one host alone", hint="ask without `host`")
        async with self._lock:
            found = self._followed.get(name)
            if found is None:
                await self._check(name)
                found = self._followed[name] = await self._follow(name)
            found.asked = self._clock()
            return found

    async def _check(self, name: str) -> None:
        assert self._several  # noqa: S101  # for the types
        if name not in {one.name for one in await asyncio.to_thread(self._several.hosts)}:
            raise Denied(404, "the fleet has no host of that name", hint="/api/v1/hosts lists them")
        if len(self._followed) >= MOST_HOSTS and not await self._sweep(0.0):
            raise Denied(503, "too many hosts are looked at one by one", headers={"retry-after": "60"})

    async def _follow(self, name: str) -> _Followed:
        assert self._several  # noqa: S101  # for the types
        made = self._several.of(name)
        source = await asyncio.to_thread(made.__enter__)
        hub = Hub(source)
        self._hub.beside.add(hub)
        return _Followed(made, hub, self._handlers(source, hub), asyncio.create_task(hub.run()), self._clock())

    async def run(self) -> None:
        """Let go, now and then, what nobody looks at any more, for ever."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            async with self._lock:
                await self._sweep(IDLE_SECONDS)

    async def _sweep(self, idle: float) -> int:
        """Let go what nobody has asked about for some seconds, and no stream is open of; return how many these were."""
        before = self._clock() - idle
        gone = [name for name, one in self._followed.items() if not one.hub.clients and one.asked <= before]
        for name in gone:
            await self._end(name)
        return len(gone)

    async def close(self) -> None:
        """Let all go."""
        async with self._lock:
            for name in list(self._followed):
                await self._end(name)

    async def _end(self, name: str) -> None:
        one = self._followed.pop(name)
        self._hub.beside.discard(one.hub)
        await one.end()

"""The machine as it is: what is watched, its ledger, and changes of it."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...tick import Source
from .. import frames, query
from ..hub import Hub
from ..problem import Denied
from ..sessions import Bucket

COMMAND_LETTERS = 1024


@dataclass(frozen=True)
class Machine:
    """`/api/v1/machine`."""

    source: Source

    async def read(self, request: Request) -> Response:
        """Tell what is watched, and how."""
        del request
        return JSONResponse(frames.machine(await asyncio.to_thread(self.source.machine)))


@dataclass(frozen=True)
class Ledger:
    """`/api/v1/ledger`."""

    source: Source
    hub: Hub

    async def read(self, request: Request) -> Response:
        """Tell where every call is now, and what the server's own streams came to."""
        del request
        books = frames.books(await asyncio.to_thread(self.source.ledger))
        streams = dataclasses.asdict(self.hub.sums())
        return JSONResponse({**books, "server": {**streams, "clients": len(self.hub.clients)}})


@dataclass(frozen=True)
class Control:
    """`/api/v1/control`."""

    source: Source
    bucket: Bucket

    async def change(self, request: Request) -> Response:
        """Hand a command to the collector, which hands it to the kernel."""
        command = await query.body(request, "command", COMMAND_LETTERS)
        if not command.isprintable():
            raise Denied(400, "a command is one line of text")
        if not self.bucket.take():
            raise Denied(429, "too many changes at once", headers={"retry-after": "1"})
        await asyncio.to_thread(self.source.control, command, request.state.caller.who)
        return JSONResponse(frames.machine(await asyncio.to_thread(self.source.machine)))

"""The hosts of a fleet."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...hosts import Several
from .. import columns
from ..problem import Denied


@dataclass(frozen=True)
class Hosts:
    """`/api/v1/hosts`."""

    several: Several | None

    async def read(self, request: Request) -> Response:
        """Tell what is known of each host, those first that something is wrong with."""
        del request
        if self.several is None:
            raise Denied(404, "this server shows one host alone", hint="`kmodlabd hub` shows those of a fleet")
        return JSONResponse(columns.hosts(await asyncio.to_thread(self.several.hosts)))

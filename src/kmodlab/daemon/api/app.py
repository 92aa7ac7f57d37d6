"""The application: the operations bound to their resources, behind the gate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...errors import KmodlabError
from ..tick import Source
from .access import Gate
from .hub import Hub
from .operations import OPERATIONS, Operation
from .peer import Peer
from .problem import Denied, denied
from .resources.history import Blocked, Changes, Events, Rates, Top
from .resources.machine import Control, Ledger, Machine
from .resources.metrics import Metrics
from .resources.pages import Pages
from .resources.sessions import Invitations, Session
from .resources.stream import Stream
from .sessions import Bucket, Caller, Sessions

Handler = Callable[[Request], Awaitable[Response]]
CHANGES_AT_ONCE = 20


@dataclass(frozen=True)
class Server:
    """What an application is made of.

    Args:
        source: the collector.
        hosts: what browsers may call it, with the port.
        sessions: of this server.
        authorize: what a peer of the Unix socket may do.
        changes: how many changes there may be at once.
    """

    source: Source
    hosts: frozenset[str]
    sessions: Sessions = field(default_factory=Sessions)
    authorize: Callable[[Peer], Caller | None] = Peer.caller
    changes: Bucket = field(default_factory=lambda: Bucket(CHANGES_AT_ONCE, 5))

    def app(self) -> tuple[Gate, Hub]:
        """Return the application, and the hub that ends its streams."""
        hub = Hub(self.source)
        pages = Pages()
        app = Starlette(
            routes=[
                *_routes(self._handlers(hub, pages)),
                Route("/", pages.page),
                Route("/web/{name:path}", pages.file),
            ],
            exception_handlers={Denied: _on_denied, KmodlabError: _on_error, HTTPException: _on_http, 500: _on_fault},
            lifespan=lambda _: _following(hub),
        )
        return Gate(app, self.sessions, self.hosts, self.authorize), hub

    def _handlers(self, hub: Hub, pages: Pages) -> dict[str, Handler]:
        """Return what answers each operation."""
        source, sessions = self.source, self.sessions
        session = Session(sessions)
        return {
            "describeApi": pages.description,
            "readSession": session.read,
            "openSession": session.open,
            "closeSession": session.close,
            "createInvitation": Invitations(sessions).create,
            "readMachine": Machine(source).read,
            "readLedger": Ledger(source, hub).read,
            "streamTicks": Stream(source, hub, sessions).stream,
            "listRates": Rates(source).read,
            "listTop": Top(source).read,
            "listEvents": Events(source).read,
            "listBlocked": Blocked(source).read,
            "listChanges": Changes(source).read,
            "control": Control(source, self.changes).change,
            "readMetrics": Metrics(source, hub, sessions).read,
        }


def _routes(handlers: dict[str, Handler]) -> Iterable[Route]:
    for path in dict.fromkeys(operation.path for operation in OPERATIONS):
        found = {one.method: _allowed(one, handlers[one.id]) for one in OPERATIONS if one.path == path}
        yield Route(path, _by_method(found), methods=list(found))


def _by_method(handlers: dict[str, Handler]) -> Handler:
    """Return a handler for all methods of a path: to any other Starlette answers with those of one route."""

    async def handle(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return handle


def _allowed(operation: Operation, handler: Handler) -> Handler:
    """Return a handler that asks first who asks."""

    async def handle(request: Request) -> Response:
        if operation.role is not None:
            _check(request.state.caller, operation)
        return await handler(request)

    return handle


def _check(caller: Caller | None, operation: Operation) -> None:
    assert operation.role is not None  # noqa: S101  # for the types
    if caller is None:
        raise Denied(401, "this takes a session", hint="`kmodlab dashboard` prints an address that opens one")
    if caller.role < operation.role:
        raise Denied(
            403, f"this takes the role {operation.role.word}", hint="ask who runs this server for another token"
        )


@contextlib.asynccontextmanager
async def _following(hub: Hub) -> AsyncIterator[None]:
    """Take the collector's ticks for as long as the application runs."""
    task = asyncio.create_task(hub.run())
    try:
        yield
    finally:
        hub.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _on_denied(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, Denied)  # noqa: S101  # for the types
    return error.response()


async def _on_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, KmodlabError)  # noqa: S101  # for the types
    return denied(error).response()


async def _on_http(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)  # noqa: S101  # for the types
    return Denied(error.status_code, error.detail, headers=error.headers).response()


async def _on_fault(request: Request, error: Exception) -> Response:
    del request, error
    return Denied(500, "the server has a fault; its log tells more").response()

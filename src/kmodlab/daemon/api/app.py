"""The application: the operations bound to their resources, behind the gate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.routing import Route

from ..tick import Source
from .access import Gate
from .hub import Hub
from .operations import OPERATIONS
from .peer import Peer
from .resources.history import Blocked, Changes, Events, Rates, Top
from .resources.machine import Control, Ledger, Machine
from .resources.metrics import Metrics
from .resources.pages import Pages
from .resources.sessions import Invitations, Session
from .resources.stream import Stream
from .resources.tasks import TaskRates, Tasks
from .routing import PROBLEMS, Handler, routes
from .sessions import Bucket, Caller, Sessions

CHANGES_AT_ONCE = 20
_HINT = "`kmodlab dashboard` prints an address that opens one"


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
                *routes(OPERATIONS, self._handlers(hub, pages), _HINT),
                Route("/", pages.page),
                Route("/web/{name:path}", pages.file),
            ],
            exception_handlers=PROBLEMS,
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
            "listTasks": Tasks(source).read,
            "listTaskRates": TaskRates(source).read,
            "control": Control(source, self.changes).change,
            "readMetrics": Metrics(source, hub, sessions).read,
        }


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

"""The application: the operations bound to their resources, behind the gate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.routing import Route

from ..hosts import Several
from ..tick import Source
from .access import Gate
from .alone import Alone
from .hub import Hub
from .operations import OPERATIONS
from .peer import Peer
from .resources.history import Blocked, Changes, Events, Rates, Top
from .resources.hosts import Hosts
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
        several: the hosts that can be shown one by one, where the source is several of them as one.
    """

    source: Source
    hosts: frozenset[str]
    sessions: Sessions = field(default_factory=Sessions)
    authorize: Callable[[Peer], Caller | None] = Peer.caller
    changes: Bucket = field(default_factory=lambda: Bucket(CHANGES_AT_ONCE, 5))
    several: Several | None = None

    def app(self) -> tuple[Gate, Hub]:
        """Return the application, and the hub that ends its streams."""
        hub = Hub(self.source)
        pages, alone = Pages(), Alone(self.several, self._of_one, hub)
        app = Starlette(
            routes=[
                *routes(OPERATIONS, self._handlers(hub, pages, alone), _HINT),
                Route("/", pages.page),
                Route("/web/{name:path}", pages.file),
            ],
            exception_handlers=PROBLEMS,
            lifespan=lambda _: _following(hub, alone),
        )
        return Gate(app, self.sessions, self.hosts, self.authorize), hub

    def _handlers(self, hub: Hub, pages: Pages, alone: Alone) -> dict[str, Handler]:
        """Return what answers each operation."""
        sessions = self.sessions
        session = Session(sessions)
        return {
            "describeApi": pages.description,
            "readSession": session.read,
            "openSession": session.open,
            "closeSession": session.close,
            "createInvitation": Invitations(sessions).create,
            "listHosts": Hosts(self.several).read,
            "control": Control(self.source, self.changes).change,
            "readMetrics": Metrics(self.source, hub, sessions).read,
            **{name: alone.bound(name, handler) for name, handler in self._of_one(self.source, hub).items()},
        }

    def _of_one(self, source: Source, hub: Hub) -> dict[str, Handler]:
        """Return what answers the questions to a source: all that there is here, or one host of it."""
        return {
            "readMachine": Machine(source).read,
            "readLedger": Ledger(source, hub).read,
            "streamTicks": Stream(source, hub, self.sessions).stream,
            "listRates": Rates(source).read,
            "listTop": Top(source).read,
            "listEvents": Events(source).read,
            "listBlocked": Blocked(source).read,
            "listChanges": Changes(source).read,
            "listTasks": Tasks(source).read,
            "listTaskRates": TaskRates(source).read,
        }


@contextlib.asynccontextmanager
async def _following(hub: Hub, alone: Alone) -> AsyncIterator[None]:
    """Take the collector's ticks for as long as the application runs."""
    tasks = [asyncio.create_task(hub.run()), asyncio.create_task(alone.run())]
    try:
        yield
    finally:
        hub.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await alone.close()

"""`kmodlabd serve`: the process that keeps the history and answers, with no right but to read and write its folder."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from .api import server
from .api.app import Server
from .api.keys import FILE, Keys
from .api.peer import GROUP
from .api.sessions import Sessions
from .collector import Live
from .fleet import Fleet
from .hosts import Several
from .invite import note
from .lister import Files
from .merging import REMEMBER_SECONDS, All, Merged
from .notify import notify, period
from .postgres import Address
from .reach import Reach
from .remote import Remote
from .retention import Keep
from .tick import Source

log = logging.getLogger(__name__)

STARTING_SECONDS = 0.1


@dataclass(frozen=True)
class Places:
    """Where a daemon is.

    Attributes:
        folder: of the history.
        recorder: the recorder's socket.
        unix: where its own socket is to be, for root, its own user and the group `kmodlab`.
        reach: how those come who have a session or a key.
    """

    folder: Path
    recorder: Path
    unix: Path
    reach: Reach


def serve(places: Places, keep: Keep | None = None, fleet: tuple[Address, Keep] | None = None) -> None:
    """Serve until a signal comes.

    Args:
        places: see there.
        keep: how much is kept.
        fleet: a database that gets a copy, and how much of that is kept there.

    Raises:
        KmodlabError: another process keeps this history, or listens there; how it is reached makes no sense.
    """
    where, fleet_keep = fleet or (None, None)
    recorder = Remote(places.recorder)
    files = Files(recorder.open_tasks)
    _show(lambda: Live(recorder, places.folder, keep=keep, lister=files, fleet=where, fleet_keep=fleet_keep), places)


def merge(places: Places, where: Address, host: str | None) -> None:
    """Serve what a fleet's database has, until a signal comes.

    Args:
        places: see there; there is no recorder.
        where: the database.
        host: of which host; None: of all.

    Raises:
        KmodlabError: another process listens there; how it is reached makes no sense.
    """
    if host is None:
        every = All(where)
        _show(every.merged, places, every)
    else:
        _show(lambda: Merged(Fleet(where, host, remember=REMEMBER_SECONDS)), places)


def _show(
    made: Callable[[], contextlib.AbstractContextManager[Source]], places: Places, several: Several | None = None
) -> None:
    reach = places.reach
    listening, hosts = reach.listening(), reach.hosts()
    sessions = Sessions(Keys(reach.keys or places.folder / FILE))
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(server.unix(places.unix, _group()))]
        if reach.port is not None:
            tcp = stack.enter_context(contextlib.closing(server.tcp(reach.port, reach.address)))
            note(places.unix, tcp.getsockname()[1], "https" if listening.tls else "http")
            sockets.append(tcp)
        app, hub = Server(stack.enter_context(made()), hosts, sessions, several=several).app()
        asyncio.run(_serve(server.server(app, hub, listening), sockets))


def _group() -> int | None:
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


async def _serve(serving: uvicorn.Server, sockets: list[server.Socket]) -> None:
    telling = asyncio.create_task(_tell(serving))
    try:
        await serving.serve(sockets=sockets)
    finally:
        telling.cancel()
        notify("STOPPING=1")


async def _tell(serving: uvicorn.Server) -> None:
    """Say when it is ready, and then that the loop turns."""
    while not serving.started:
        await asyncio.sleep(STARTING_SECONDS)
    notify("READY=1")
    log.info("ready")
    while (seconds := period()) is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(seconds)

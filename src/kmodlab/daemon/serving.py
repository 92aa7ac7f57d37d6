"""`kmodlabd serve`: the process that keeps the history and answers, with no right but to read and write its folder."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from .api import server
from .api.access import names
from .api.app import Server
from .api.peer import GROUP
from .collector import Live
from .invite import PORT_FILE
from .notify import notify, period
from .remote import Remote
from .retention import Keep

log = logging.getLogger(__name__)

STARTING_SECONDS = 0.1
SIGN_SECONDS = 10.0


@dataclass(frozen=True)
class Places:
    """Where a daemon is.

    Attributes:
        folder: of the history.
        recorder: the recorder's socket.
        unix: where its own socket is to be, for root, its own user and the group `kmodlab`.
        port: of the loopback, for those with a session; 0 is any that is free, None none at all.
    """

    folder: Path
    recorder: Path
    unix: Path
    port: int | None


def serve(places: Places, keep: Keep | None = None) -> None:
    """Serve until a signal comes.

    Raises:
        KmodlabError: another process keeps this history, or listens there.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(server.unix(places.unix, _group()))]
        # Whoever comes by a tunnel names the port that it has there; by an address of the loopback all the same.
        hosts: frozenset[str] = names("*")
        if places.port is not None:
            listening = stack.enter_context(contextlib.closing(server.tcp(places.port)))
            places.unix.with_name(PORT_FILE).write_text(f"{listening.getsockname()[1]}\n")
            sockets.append(listening)
        live = stack.enter_context(Live(Remote(places.recorder), places.folder, keep=keep))
        app, hub = Server(live, hosts).app()
        asyncio.run(_serve(server.server(app, hub), sockets))


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
        await asyncio.sleep(min(seconds, SIGN_SECONDS))

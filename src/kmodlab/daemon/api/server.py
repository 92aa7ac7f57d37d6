"""The server: sockets, uvicorn, and an end that waits for nobody."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import uvicorn
from starlette.types import ASGIApp

from ...errors import UsageError
from .peer import PeerProtocol

Socket = socket.socket
BACKLOG = 128
GRACE_SECONDS = 2


def tcp(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Return a socket that listens; port 0 is any free one.

    Raises:
        UsageError: somebody else does.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        hint = "--port names another one; 0 takes any that is free"
        raise UsageError(f"port {port} of {host} cannot be listened on: {error.strerror}", hint=hint) from error
    return listening


@contextlib.contextmanager
def unix(path: Path, group: int | None = None) -> Iterator[socket.socket]:
    """Yield a socket that listens at a path, for its owner, and a group where one is given; then the path is gone.

    Raises:
        UsageError: something else is there.
    """
    if path.is_symlink() or (path.exists() and not stat.S_ISSOCK(path.stat().st_mode)):
        raise UsageError(f"{path} is there already, and is no socket")
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        if group is not None:
            # Where it is the group of this process already there is no need to be allowed to change it.
            if path.stat().st_gid != group:
                os.chown(path, -1, group)
            path.chmod(0o660)
        listening.listen(BACKLOG)
        yield listening
    path.unlink(missing_ok=True)


class Streams(Protocol):
    """The streams of a server: the hub, for one."""

    def close(self) -> None:
        """End them."""


class _Uvicorn(uvicorn.Server):
    """Ends its streams itself: they have no end of their own to wait for."""

    def __init__(self, config: uvicorn.Config, streams: Streams, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._streams = streams
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and say so."""
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take Ctrl-C as what it is: the end, not a fault that has to be raised again after it."""
        with super().capture_signals():
            try:
                yield
            finally:
                self._captured_signals.clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self._streams.close()
        await super().shutdown(sockets)


@dataclass(frozen=True)
class Listening:
    """How a server is reached.

    Attributes:
        root_path: what a proxy in front has taken off the path (`/lab/x`).
        proxies: addresses whose X-Forwarded-* headers are believed, with commas between.
    """

    root_path: str = ""
    proxies: str = ""


def server(
    app: ASGIApp, streams: Streams, listening: Listening | None = None, ready: Callable[[], None] = lambda: None
) -> uvicorn.Server:
    """Return a server that is not started: `serve(sockets=...)`; no line of its log has a path or a query.

    Args:
        app: what answers.
        streams: are ended with it.
        listening: how it is reached.
        ready: called when it answers, and takes Ctrl-C as its end.
    """
    how = listening or Listening()
    config = uvicorn.Config(
        app,
        http=PeerProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        root_path=how.root_path,
        proxy_headers=bool(how.proxies),
        forwarded_allow_ips=how.proxies or None,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=16384,
        limit_concurrency=1024,
    )
    return _Uvicorn(config, streams, ready)

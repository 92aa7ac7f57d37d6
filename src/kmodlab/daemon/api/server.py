"""The server: sockets, uvicorn, and an end that waits for nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import uvicorn
from starlette.types import ASGIApp

from ...errors import UsageError
from .peer import PeerProtocol

Socket = socket.socket
BACKLOG = 128
AHEAD_BYTES = 64 << 10
"""Of one connection, which the kernel takes before they are sent."""
GRACE_SECONDS = 2


def tcp(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Return a socket that listens; port 0 is any free one.

    Raises:
        UsageError: somebody else does.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Its connections have it, too. What the kernel takes ahead cannot be merged any more: over a slow line some
        # megabytes are minutes in which a page shows what was.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, AHEAD_BYTES)
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

    def __init__(
        self, config: uvicorn.Config, streams: Streams, ready: Callable[[], None], tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(config)
        self._streams = streams
        self._ready = ready
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and say so."""
        ciphered = [one for one in sockets or () if self._tls and one.family != socket.AF_UNIX]
        await super().startup([one for one in sockets or () if one not in ciphered])
        await self._listen(ciphered)
        self._ready()

    async def _listen(self, ciphered: Iterable[socket.socket]) -> None:
        """Listen by TLS, which uvicorn itself does on all sockets or on none: the Unix socket has no need of it."""
        loop = asyncio.get_running_loop()
        for one in ciphered:
            self.servers.append(await loop.create_server(self._protocol, sock=one, ssl=self._tls, backlog=BACKLOG))

    def _protocol(self) -> PeerProtocol:
        return PeerProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

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
        tls: what is spoken on all but the Unix socket, if anything.
    """

    root_path: str = ""
    proxies: str = ""
    tls: ssl.SSLContext | None = None


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
    return _Uvicorn(config, streams, ready, how.tls)

"""Who is at the other end of the Unix socket: the kernel says."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from .sessions import Caller, Role

SO_PEERGROUPS = 59
"""Not in Python's `socket`; include/uapi/asm-generic/socket.h."""
_UCRED = struct.Struct("3i")
_GROUPS_BYTES = 1024
"""What Python reads of an option at most."""
GROUP = "kmodlab"
"""Its members may read."""


@dataclass(frozen=True)
class Peer:
    """A process at the other end, as it was when it connected."""

    uid: int
    groups: frozenset[int]

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        """Return who has connected."""
        _, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return cls(uid, _groups(connection) | {gid})

    def caller(self, group: str = GROUP) -> Caller | None:
        """Return what this one may do: root and the server's own user all, the members of the group read."""
        if self.uid in (0, os.geteuid()):
            return Caller(_name(self.uid), Role.ADMIN)
        return Caller(_name(self.uid), Role.READER) if _number(group) in self.groups else None


def _groups(connection: socket.socket) -> frozenset[int]:
    """Return the other groups of a peer; none where it has more than can be read, which allows less, not more."""
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:
        return frozenset()
    return frozenset(struct.unpack(f"{len(raw) // 4}I", raw))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _number(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


class PeerProtocol(H11Protocol):
    """HTTP/1.1 that tells the application, in `scope["state"]`, who has connected by a Unix socket."""

    def __init__(self, *args: Any, **named: Any) -> None:  # noqa: ANN401  # as uvicorn has them
        super().__init__(*args, **named)
        # Uvicorn's own setting leaves it on where the program has any log: what is asked for is nobody's business.
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel once, when the connection is made."""
        super().connection_made(transport)
        wire = transport.get_extra_info("socket")
        if wire is not None and wire.family == socket.AF_UNIX:
            self.app_state = {**self.app_state, "peer": Peer.of(wire)}

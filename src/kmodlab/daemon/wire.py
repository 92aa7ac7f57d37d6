"""Between the process that records and the one that serves: a Unix socket, lines of JSON, the kernel's word on who.

Down come `state` lines, the newest one whenever something was written; up go `control` lines, each answered by a
`done` line, and `attend` lines, which say whether somebody looks. Both ends take only root or their own user.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kmodlab.errors import KmodlabError, ModuleUnavailable, Refused, UsageError

from .station import Ledger

LINE_BYTES = 1 << 22
"""The longest line: the ledger of an epoch with many CPUs."""
COMMAND_LETTERS, WHO_LETTERS = 1024, 64
_UCRED = struct.Struct("3i")
_KINDS: dict[str, type[KmodlabError]] = {"usage": UsageError, "module": ModuleUnavailable}


class BadLine(KmodlabError):
    """The other end has sent what it may not."""


def peer(connection: socket.socket) -> int | None:
    """Return the process at the other end, by the kernel's word; None where it is neither root's nor this user's."""
    pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid if uid in (0, os.geteuid()) else None


def send(connection: socket.socket, kind: str, **fields: object) -> None:
    """Send a line. Raises OSError."""
    connection.sendall(json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode() + b"\n")


def lines(connection: socket.socket, most: int = LINE_BYTES) -> Iterator[dict[str, Any]]:
    """Yield what comes, until the other end is gone.

    Raises:
        BadLine: it is no line of this protocol.
        OSError: the connection fails.
    """
    rest = b""
    while data := connection.recv(1 << 16):
        *whole, rest = (rest + data).split(b"\n")
        if len(rest) > most:
            raise BadLine(f"a line of more than {most} bytes")
        for line in whole:
            yield _read(line)


def _read(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise BadLine("a line that is no JSON") from error
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        raise BadLine("a line without a kind")
    return found


@dataclass(frozen=True)
class State:
    """What a recorder tells: its terms, what is wrong, what it does."""

    ledger: Ledger = field(default_factory=dict)
    troubles: tuple[str, ...] = ()
    state: str = ""

    def fields(self) -> dict[str, object]:
        """Return it as the fields of a line."""
        ledger = [[*whose, dict(terms)] for whose, terms in self.ledger.items()]
        return {"ledger": ledger, "troubles": list(self.troubles), "state": self.state}

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> State:
        """Return what the fields of a line say. Raises BadLine."""
        try:
            ledger = {
                (int(epoch), int(cpu)): {str(name): int(number) for name, number in terms.items()}
                for epoch, cpu, terms in fields["ledger"]
            }
            return cls(ledger, tuple(map(str, fields["troubles"])), str(fields["state"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadLine("a state that is none") from error


@dataclass(frozen=True)
class Command:
    """What is asked of a recorder: `number` comes back with the answer."""

    number: int
    command: str
    who: str

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Command:
        """Return what a line asks. Raises BadLine."""
        number, command, who = (fields.get(name) for name in ("number", "command", "who"))
        if not isinstance(number, int) or not _is_text(command, COMMAND_LETTERS) or not _is_text(who, WHO_LETTERS):
            raise BadLine("a command that is none")
        return cls(number, str(command), str(who))


def attention(fields: Mapping[str, Any]) -> bool:
    """Return whether somebody looks, as a line says. Raises BadLine."""
    if not isinstance(fields.get("watched"), bool):
        raise BadLine("a line that does not say whether somebody looks")
    return bool(fields["watched"])


def _is_text(value: object, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most and value.isprintable()


def told(error: KmodlabError) -> dict[str, object]:
    """Return an error as a line's field has it."""
    kind = next((name for name, one in _KINDS.items() if isinstance(error, one)), "")
    number = error.errno if isinstance(error, Refused) else None
    return {"kind": kind, "message": error.message, "hint": error.hint, "errno": number}


def error_of(fields: Mapping[str, Any]) -> KmodlabError:
    """Return the error that `told` has told of."""
    message, hint = str(fields.get("message")), fields.get("hint")
    if isinstance(fields.get("errno"), int):
        return Refused(message, errno=fields["errno"], hint=hint)
    return _KINDS.get(str(fields.get("kind")), KmodlabError)(message, hint=hint)

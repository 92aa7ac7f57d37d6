"""`kmodlabd invite`: a one-time token from the daemon of this machine; with few imports, for a guest is slow."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from kmodlab.errors import LabError

SECONDS = 60.0
PORT_FILE = "port"
"""Beside the daemon's socket: where its page is, by `note`."""
_HINT = "`systemctl status kmodlab-dashboard` says whether it runs; `ansible-playbook deploy.yml` installs it"


def invite(at: Path, role: str) -> str:
    """Return a token that opens one session.

    Args:
        at: the daemon's socket.
        role: `reader` or `admin`.

    Raises:
        LabError: there is no daemon, or it gives this user none.
    """
    body = json.dumps({"role": role}).encode()
    head = (
        "POST /api/v1/invitations HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    answer = _ask(at, head.encode() + body)
    status, _, text = answer.partition(b"\r\n\r\n")
    try:
        found = json.loads(text)
        if b" 201 " in status.split(b"\r\n")[0]:
            return str(found["token"])
        raise LabError(found["detail"], hint=found.get("hint"))
    except (ValueError, KeyError) as error:
        raise LabError("the daemon gave an answer that is none", hint=_HINT) from error


def note(at: Path, port: int, scheme: str) -> None:
    """Note where the page of the daemon is whose socket this is; `scheme` is `http` or `https`."""
    at.with_name(PORT_FILE).write_text(f"{port} {scheme}\n")


def noted(at: Path) -> tuple[int, str]:
    """Return the port and the scheme of the daemon whose socket this is, port 0 where it has none."""
    try:
        port, scheme = at.with_name(PORT_FILE).read_text().split()
        return int(port), scheme
    except (OSError, ValueError):
        return 0, "http"


def _ask(at: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(SECONDS)
        try:
            one.connect(str(at))
            one.sendall(request)
            parts = []
            while part := one.recv(1 << 16):
                parts.append(part)
        except OSError as error:
            raise LabError(f"the daemon of this machine cannot be asked: {error.strerror}", hint=_HINT) from error
    return b"".join(parts)

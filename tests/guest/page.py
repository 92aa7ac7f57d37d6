"""What a browser is to a guest's daemon: a session at the other end of a tunnel."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from patience import SECONDS

from kmodlab import dashboard
from kmodlab.guest import Guest


def wait(until: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Return what something becomes, once it is true."""
    end = time.monotonic() + seconds
    while not (found := until()):
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.1)
    return found


@dataclass
class Page:
    """What a browser is at the other end of a tunnel: a session, by the token of an invitation."""

    port: int
    token: str
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Return the status and what came."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        raw = None if body is None else json.dumps(body)
        sent = {"content-type": "application/json", "origin": f"http://127.0.0.1:{self.port}", **self.headers}
        connection.request(method, f"/api/v1/{path}", raw, {**sent, **headers})
        answer = connection.getresponse()
        if cookie := answer.headers["set-cookie"]:
            self.headers["cookie"] = cookie.partition(";")[0]
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text else None

    def log_in(self) -> None:
        """Open a session."""
        assert self.ask("POST", "session", {"token": self.token})[0] == 201

    def get(self, path: str) -> Any:
        """Return what is told."""
        status, found = self.ask("GET", path)
        assert status == 200, found
        return found

    def rows(self, what: str, text: str) -> list[dict[str, Any]]:
        """Return the calls of the last minutes that have a text among their arguments."""
        only = f"&filter={text}" if what == "events" else ""
        found = self.get(f"{what}?begin={time.time() - 600}&end={time.time() + 600}&limit=500{only}")["rows"]
        rows = [dict(zip(found, one, strict=True)) for one in zip(*found.values(), strict=True)]
        return [row for row in rows if text in json.dumps(row["arguments"])]

    def control(self, command: str) -> tuple[int, Any]:
        """Send a command."""
        return self.ask("POST", "control", {"command": command})

    def books(self) -> Any:
        """Return the ledger, once all that was stored is in the sums."""
        return wait(lambda: (books := self.get("ledger"))["totals"].get("waiting") == 0 and books)


@contextlib.contextmanager
def session(guest: Guest, server: dashboard.Server) -> Iterator[Page]:
    """A session at the other end of a tunnel, for as long as the block runs."""
    invitation = dashboard.invite(guest, server=server)
    with dashboard.tunnel(guest, dashboard.free_port(0), invitation.port) as (port, _):
        one = Page(port, invitation.token)
        one.log_in()
        yield one

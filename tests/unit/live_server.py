"""The real server on a loopback port and a Unix socket, with a collector that is made up, in a thread of the test's."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from patience import SECONDS

from kmodlab.daemon.api import server
from kmodlab.daemon.api.access import names
from kmodlab.daemon.api.app import CHANGES_AT_ONCE, Server
from kmodlab.daemon.api.hub import Hub, Sums
from kmodlab.daemon.api.sessions import Bucket, Caller, Role, Sessions
from kmodlab.daemon.tick import Tick
from unit.live_source import FakeSource


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _ToSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))


class Events:
    """A stream of events as it is read."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection, self._response = connection, response

    def next(self) -> tuple[str, Any, str]:
        """The next event, comments left out: its kind, data, id."""
        fields: dict[str, str] = {}
        while line := self._response.readline():
            text = line.decode().rstrip("\n")
            if not text and fields:
                return fields["event"], json.loads(fields["data"]), fields.get("id", "")
            key, sign, value = text.partition(": ")
            if key and sign:
                fields[key] = value
        raise EOFError("the stream has ended")

    def close(self) -> None:
        self._response.close()
        self._connection.close()


@dataclass
class Live:
    """A running server."""

    source: FakeSource
    sessions: Sessions
    port: int
    path: Path
    hub: Hub
    loop: asyncio.AbstractEventLoop
    changes: Bucket
    serving: uvicorn.Server
    streams: list[Events] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _open(self, method: str, path: str, headers: Mapping[str, str], body: object, unix: bool) -> Any:
        connection = (
            _ToSocket(self.path) if unix else http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        )
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        kind = {} if raw is None else {"content-type": "application/json"}
        connection.request(method, path, raw, {**kind, **headers})
        return connection, connection.getresponse()

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: object = None, unix: bool = False
    ) -> Answer:
        """Ask, and read the whole answer."""
        connection, response = self._open(method, path, headers or {}, body, unix)
        with contextlib.closing(connection):
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def log_in(self, role: Role = Role.READER) -> dict[str, str]:
        """The headers of a session."""
        token = self.sessions.invite(Caller(role.word, role))
        answer = self.ask("POST", "/api/v1/session", {"origin": self.origin}, {"token": token})
        assert answer.status == 201, answer.body
        return {"cookie": answer.headers["set-cookie"].partition(";")[0], "origin": self.origin}

    def stream(self, query: str = "", headers: Mapping[str, str] | None = None) -> Events:
        """Open a stream; it is closed with the server."""
        connection, response = self._open("GET", f"/api/v1/stream{query}", headers or self.log_in(), None, False)
        assert response.status == 200, response.read()
        self.streams.append(Events(connection, response))
        return self.streams[-1]

    def fresh(self) -> Live:
        """The same server, which has heard of nothing yet."""
        while self.streams:
            self.streams.pop().close()
        self.wait_until(lambda: not self.hub.clients)
        self.run(self._forget)
        return self

    def _forget(self) -> None:
        queues = self.source._queues
        vars(self.source).clear()
        vars(self.source).update(vars(FakeSource(_queues=queues)))
        for kept in (self.hub.totals, self.hub.open, self.sessions._sessions, self.sessions._attempts):
            kept.clear()
        self.hub.latest, self.hub.past = None, Sums()
        vars(self.changes).update(vars(Bucket(CHANGES_AT_ONCE, 5)))

    def run(self, what: Callable[[], object]) -> Any:
        """Do something in the server's thread."""

        async def inside() -> object:
            return what()

        return asyncio.run_coroutine_threadsafe(inside(), self.loop).result(SECONDS)

    def tell(self, *ticks: Tick) -> None:
        """Publish ticks, and wait until the hub has the last."""
        for one in ticks:
            self.run(functools.partial(self.source.tell, one))
        self.wait_until(lambda: self.hub.latest is not None and self.hub.latest.number >= ticks[-1].number)

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Wait for an event in the server's thread."""

        async def waiting() -> None:
            async with asyncio.timeout(SECONDS):
                while not happened():
                    await asyncio.sleep(0.005)

        asyncio.run_coroutine_threadsafe(waiting(), self.loop).result(SECONDS + 1)


@contextlib.contextmanager
def running(folder: Path, sessions: Sessions | None = None, **how: Any) -> Iterator[Live]:
    """A server for as long as the block runs; `how` goes to `Server` and `Listening`."""
    source, kept = FakeSource(), Sessions() if sessions is None else sessions
    listening = server.tcp(0)
    port = listening.getsockname()[1]
    listen = server.Listening(**{key: how.pop(key) for key in ("root_path", "proxies") if key in how})
    of = Server(source, names(port, how.pop("others", ())), kept, **how)
    app, hub = of.app()
    serving = server.server(app, hub, listen)
    with server.unix(folder / "s") as at:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_until_complete, args=(serving.serve(sockets=[listening, at]),))
        thread.start()
        live = Live(source, kept, port, folder / "s", hub, loop, of.changes, serving)
        try:
            live.wait_until(lambda: serving.started and bool(source._queues))
            yield live
        finally:
            serving.should_exit = True
            thread.join(SECONDS)
            for stream in live.streams:
                stream.close()
            loop.close()
    assert not thread.is_alive(), "the server did not end"

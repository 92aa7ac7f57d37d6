"""The daemon's interface, as a program asks it: questions, changes, and the stream of events."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

from kmodlab.errors import LabError

ANSWER_SECONDS = 20.0
SILENT_SECONDS = 40.0
"""A stream says something every 15 s; after this long whoever was there is gone."""
_SESSION_OVER = 401


class Problem(LabError):
    """The server does not do what it was asked for, or does not answer (status 0)."""

    def __init__(self, code: int, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code

    @property
    def over(self) -> bool:
        """Whether that is because the session has ended."""
        return self.code == _SESSION_OVER


class Event(NamedTuple):
    """An event of the stream: its kind, what it tells, its id."""

    kind: str
    data: Any
    id: str


class Way(Protocol):
    """How a server is reached."""

    renewable: bool
    """Whether it can be asked for another session."""

    def connection(self, seconds: float) -> http.client.HTTPConnection:
        """Return a connection that is not yet made, with a limit for each wait."""

    def headers(self) -> Mapping[str, str]:
        """Return what says who asks."""

    def renew(self) -> None:
        """Ask for another session.

        Raises:
            KmodlabError: there is none.
        """

    def close(self) -> None:
        """Leave nothing behind."""


class _ToSocket(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class UnixWay:
    """The daemon's socket on its own machine, which asks the kernel who has connected.

    Args:
        path: of the socket.
    """

    renewable = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def connection(self, seconds: float) -> http.client.HTTPConnection:
        """See `Way`."""
        return _ToSocket(self._path, seconds)

    def headers(self) -> Mapping[str, str]:
        """See `Way`."""
        return {}

    def renew(self) -> None:
        """See `Way`."""

    def close(self) -> None:
        """See `Way`."""


class TcpWay:
    """A port of the loopback, and a session there.

    Args:
        port: where.
    """

    renewable = False

    def __init__(self, port: int) -> None:
        self.port = port
        self._cookie = ""

    def connection(self, seconds: float) -> http.client.HTTPConnection:
        """See `Way`."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)

    def headers(self) -> Mapping[str, str]:
        """See `Way`; a change with a cookie takes an origin."""
        origin = {"origin": f"http://127.0.0.1:{self.port}"}
        return {**origin, "cookie": self._cookie} if self._cookie else origin

    def enter(self, token: str) -> None:
        """Exchange a one-time token for a session.

        Raises:
            Problem: it opens none.
        """
        self._cookie = ""
        with contextlib.closing(self.connection(ANSWER_SECONDS)) as connection:
            response = _sent(connection, "POST", "/api/v1/session", self.headers(), {"token": token})
            raw = _read(response)
            if response.status != http.client.CREATED:
                raise _problem(response.status, raw)
            self._cookie = (response.getheader("set-cookie") or "").partition(";")[0]

    def renew(self) -> None:
        """See `Way`."""

    def close(self) -> None:
        """See `Way`."""


class Client:
    """Asks a server, from any thread.

    Args:
        way: to it.
    """

    def __init__(self, way: Way) -> None:
        self.way = way
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()
        self._closed = False

    def get(self, path: str, **parameters: object) -> Any:  # noqa: ANN401  # JSON
        """Return the answer to a question; parameters that are None are left out.

        Raises:
            Problem: there is none.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        return self._ask("GET", f"{path}?{urlencode(given)}" if given else path, None)

    def post(self, path: str, body: Mapping[str, object]) -> Any:  # noqa: ANN401  # JSON
        """Have something done, and return the answer.

        Raises:
            Problem: it was not done.
        """
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None) -> Any:  # noqa: ANN401  # JSON
        with self._connected(ANSWER_SECONDS) as connection:
            response = _sent(connection, method, f"/api/v1/{path}", self.way.headers(), body)
            raw = _read(response)
        if response.status >= http.client.BAD_REQUEST:
            raise _problem(response.status, raw)
        return _json(raw)

    def stream(self, views: Sequence[str], after: str, stop: threading.Event) -> Iterator[Event]:
        """Yield events until the stream ends, or `stop` is set and something comes.

        Args:
            views: filters: the newest rows that match come with each tick.
            after: the id of the last event that was seen.
            stop: ends it.

        Raises:
            Problem: there is no stream, or it broke off.
        """
        query = urlencode([("view", view) for view in views])
        headers = {**self.way.headers(), "accept": "text/event-stream", **({"last-event-id": after} if after else {})}
        with self._connected(SILENT_SECONDS) as connection:
            response = _sent(connection, "GET", f"/api/v1/stream?{query}", headers, None)
            if response.status != http.client.OK:
                raise _problem(response.status, _read(response))
            # An empty event says that it is open.
            yield Event("open", None, "")
            for event in _events(response):
                if stop.is_set():
                    return
                yield event

    @contextlib.contextmanager
    def _connected(self, seconds: float) -> Iterator[http.client.HTTPConnection]:
        connection = self.way.connection(seconds)
        with self._lock:
            if self._closed:
                raise Problem(0, "the program ends")
            self._open.add(connection)
        try:
            yield connection
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def interrupt(self) -> None:
        """End whatever waits for an answer."""
        with self._lock:
            for connection in self._open:
                if connection.sock:
                    with contextlib.suppress(OSError):
                        connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all, for good."""
        with self._lock:
            self._closed = True
        self.interrupt()


def _sent(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: Mapping[str, object] | None,
) -> http.client.HTTPResponse:
    kind = {} if body is None else {"content-type": "application/json"}
    raw = None if body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, raw, {**headers, **kind})
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise _silent(error) from error


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read()
    except (OSError, http.client.HTTPException) as error:
        raise _silent(error) from error


def _silent(error: Exception) -> Problem:
    why = getattr(error, "strerror", None) or ("it takes too long" if isinstance(error, TimeoutError) else "")
    return Problem(0, f"the daemon does not answer{f': {why}' if why else ''}")


def _problem(status: int, raw: bytes) -> Problem:
    """Return what the server says of why not, by RFC 9457."""
    body: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        found = json.loads(raw)
        body = found if isinstance(found, dict) else {}
    return Problem(status, str(body.get("detail", f"the daemon answers {status}")), body.get("hint"))


def _json(raw: bytes) -> Any:  # noqa: ANN401
    try:
        return json.loads(raw)
    except ValueError as error:
        raise Problem(0, "the daemon answers what is no JSON") from error


def _events(response: http.client.HTTPResponse) -> Iterator[Event]:
    """Yield server-sent events, as the HTML standard has them (9.2.6), comments left out."""
    fields: dict[str, str] = {}
    try:
        while line := response.readline():
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if not text and "data" in fields:
                yield Event(fields.get("event", "message"), _json(fields["data"].encode()), fields.get("id", ""))
            if not text:
                fields = {}
                continue
            name, _, value = text.partition(":")
            if name:
                value = value.removeprefix(" ")
                fields[name] = f"{fields[name]}\n{value}" if name == "data" and "data" in fields else value
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _silent(error) from error

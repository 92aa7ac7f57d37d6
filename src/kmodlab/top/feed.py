"""The one stream of a program: a thread that reads it, and takes it up again where it broke off."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from typing import Any

from kmodlab.errors import KmodlabError

from .client import Client, Problem

RETRY_SECONDS = 1.0


class Link(enum.Enum):
    """How the stream is."""

    CONNECTING = "connecting"
    OPEN = "live"
    RECONNECTING = "reconnecting"
    RENEWING = "new session"
    ENDED = "session ended"


class Feed:
    """Reads the stream.

    Args:
        client: asks for it.
        heard: gets, in the thread, ("link", (how, why)), ("state", it), ("tick", it).
        retry: seconds between two tries.
    """

    def __init__(self, client: Client, heard: Callable[[str, Any], None], retry: float = RETRY_SECONDS) -> None:
        self._client, self._heard, self._retry = client, heard, retry
        self._view = ""
        self._last = ""
        self._turn = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._heard("link", (Link.CONNECTING, ""))
        self._thread.start()

    def want(self, view: str) -> None:
        """Have the rows that match a filter from now on; no tick is missed, and none comes twice."""
        if view != self._view:
            self._view = view
            self._turn.set()

    def stop(self) -> None:
        """End, and wait for it."""
        self._stop.set()
        self._turn.set()
        self._client.close()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._turn.clear()
            try:
                self._read()
            except Problem as problem:
                if not self._go_on(problem):
                    return
            except KmodlabError as error:
                self._wait(error.message)

    def _read(self) -> None:
        """Take what comes, until it ends or another view is wanted."""
        for event in self._client.stream([self._view], self._last, self._turn):
            self._last = event.id or self._last
            if event.kind == "open":
                self._heard("link", (Link.OPEN, ""))
            elif event.kind in ("state", "tick"):
                self._heard(event.kind, event.data)
            elif event.kind == "closed":
                raise Problem(0, f"the daemon has ended the stream: {event.data.get('reason', 'it does not say why')}")
        if not self._turn.is_set():
            raise Problem(0, "the stream broke off")

    def _go_on(self, problem: Problem) -> bool:
        """Return whether to try again, once it is time to."""
        if self._stop.is_set():
            return False
        if problem.over and not self._client.way.renewable:
            self._heard("link", (Link.ENDED, problem.message))
            return False
        if problem.over:
            self._heard("link", (Link.RENEWING, ""))
            self._renew()
        else:
            self._wait(problem.message)
        return True

    def _renew(self) -> None:
        try:
            self._client.way.renew()
        except KmodlabError as error:
            self._wait(error.message)

    def _wait(self, why: str) -> None:
        if not self._stop.is_set():
            self._heard("link", (Link.RECONNECTING, why))
            self._stop.wait(self._retry)

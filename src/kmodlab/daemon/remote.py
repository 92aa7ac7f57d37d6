"""A station in another process: what it tells is kept, and when it is gone it is called again."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kmodlab.errors import KmodlabError

from . import lister, wire
from .station import Ledger, Station

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
PATIENCE_SECONDS = 150.0
"""For an answer: to hook some hundred calls takes minutes on an emulated machine."""
OPEN_SECONDS = 30.0
NOBODY = "no recorder"
_GONE = "the recorder does not run: what happens now is not recorded"
_HINT = "`systemctl status kmodlab-recorder` says why; it is started again by itself"


class Remote(Station):
    """The recorder that listens at a path.

    Args:
        path: of its socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own = frozenset({os.getpid()})
        self._told = wire.State()
        self._called: socket.socket | None = None
        self._connection: socket.socket | None = None
        self._woken: Callable[[], None] = lambda: None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="station", daemon=True)
        self._numbers = itertools.count(1)
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {}
        self._sending = threading.Lock()
        self._is_watched = True

    def start(self, woken: Callable[[], None]) -> None:
        """Begin to listen to it."""
        self._woken = woken
        self._thread.start()

    def stop(self) -> None:
        """Hang up; it records on."""
        self._stop.set()
        if called := self._called:
            with contextlib.suppress(OSError):
                called.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def attend(self, is_watched: bool) -> None:
        """Have the recorder told whether somebody looks, also when it comes back."""
        self._is_watched = is_watched
        if connection := self._connection:
            with contextlib.suppress(OSError):
                self._tell(connection)

    def _tell(self, connection: socket.socket) -> None:
        with self._sending:
            wire.send(connection, "attend", watched=self._is_watched)

    def ledger(self) -> Ledger:
        """Return what it told last, or nothing while nobody tells: then its journal is what counts."""
        return self._told.ledger

    @property
    def state(self) -> str:
        """What it told last."""
        return self._told.state if self._connection else NOBODY

    @property
    def troubles(self) -> tuple[str, ...]:
        """What it told last."""
        return self._told.troubles if self._connection else (_GONE,)

    @property
    def own(self) -> frozenset[int]:
        """This process, and each that has been the recorder meanwhile."""
        return self._own

    def control(self, command: str, who: str) -> None:
        """Have it change the tracer; see `items.Feed`."""
        self._ask(PATIENCE_SECONDS, "control", command=command, who=who[: wire.WHO_LETTERS])

    def open_tasks(self) -> lister.Opened:
        """Have it open the task lister's files, which this process may not. Raises a KmodlabError that says why not."""
        answer = self._ask(OPEN_SECONDS, wire.TASKS)
        if len(found := answer["descriptors"]) != wire.DESCRIPTORS:
            _close(found)
            raise KmodlabError("the recorder is of another version", hint="`ansible-playbook deploy.yml` renews both")
        return lister.Opened(found[0], found[1], str(answer.get("boot")))

    def _ask(self, seconds: float, kind: str, **fields: object) -> dict[str, Any]:
        """Return the answer to a line. Raises the KmodlabError that it tells of, or that there is none."""
        number = next(self._numbers)
        answer = self._answers[number] = queue.SimpleQueue()
        try:
            self._send(kind, number=number, **fields)
            done = answer.get(timeout=seconds)
        except (OSError, queue.Empty) as error:
            raise KmodlabError("the recorder does not answer", hint=_HINT) from error
        finally:
            del self._answers[number]
        if done is None:
            raise KmodlabError("the recorder was gone before it had answered", hint=_HINT)
        if done["error"] is not None:
            raise wire.error_of(done["error"])
        return done

    def _send(self, kind: str, **fields: object) -> None:
        connection = self._connection
        if connection is None:
            raise KmodlabError("the recorder does not run", hint=_HINT)
        with self._sending:
            wire.send(connection, kind, **fields)

    # -- the thread that listens -------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    self._called = connection
                    connection.connect(str(self._path))
                    # From here on `stop` ends it; before, it was too early for that.
                    if not self._stop.is_set():
                        self._listen(connection)
            except (OSError, KmodlabError) as error:
                log.debug("the recorder: %s", error)
            self._hang_up()
            self._stop.wait(RETRY_SECONDS)

    def _listen(self, connection: socket.socket) -> None:
        pid = wire.peer(connection)
        if pid is None:
            raise KmodlabError(f"{self._path} is another user's")
        self._own |= {pid}
        self._tell(connection)
        descriptors: list[int] = []
        try:
            for fields in wire.lines(connection, descriptors=descriptors):
                if fields["kind"] == "state":
                    is_new = self._connection is None
                    self._told, self._connection = wire.State.of(fields), connection
                    if is_new:  # who has begun or ceased to look since it was told had no connection to say so
                        self._tell(connection)
                    self._woken()
                else:
                    fields["descriptors"], descriptors[:] = descriptors[:], []
                    self._answer(fields)
        finally:
            _close(descriptors)

    def _answer(self, fields: dict[str, Any]) -> None:
        waiting = self._answers.get(fields.get("number", 0))
        if waiting:
            waiting.put(fields)
        else:
            # Nobody waits for it any more.
            _close(fields["descriptors"])

    def _hang_up(self) -> None:
        if self._connection:
            log.warning("the recorder is gone")
        self._connection, self._told = None, wire.State()
        for waiting in list(self._answers.values()):
            waiting.put(None)
        self._woken()


def _close(descriptors: Sequence[int]) -> None:
    for one in descriptors:
        os.close(one)

"""The recorder's end of the socket: it tells whoever keeps the history what is written, and takes their commands."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from pathlib import Path

from kmodlab.errors import KmodlabError

from . import wire
from .station import Local

log = logging.getLogger(__name__)

MOST = 8
"""Connections at once."""
COMMAND_BYTES = 1 << 14


def listening(path: Path) -> socket.socket:
    """Return a socket that listens at a path, for this user; one that was left there is replaced."""
    path.unlink(missing_ok=True)
    one = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        one.bind(str(path))
    finally:
        os.umask(before)
    one.listen(MOST)
    return one


class _Caller:
    """One that is told; the newest is enough, so it may be as slow as it likes."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.connection, self.pid = connection, pid
        self.is_due = threading.Event()
        self.sending = threading.Lock()
        self.is_gone = False
        self.is_watched = True

    def send(self, kind: str, **fields: object) -> None:
        with self.sending:
            wire.send(self.connection, kind, **fields)

    def hang_up(self) -> None:
        self.is_gone = True
        self.is_due.set()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class Desk:
    """Serves a station to other processes, in threads.

    Args:
        station: whose.
        at: a socket that listens; it is closed with the desk.
    """

    def __init__(self, station: Local, at: socket.socket) -> None:
        self._station, self._at = station, at
        self._callers: set[_Caller] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="desk", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def tell(self) -> None:
        """Tell everybody how things are; from any thread, and waiting for nobody."""
        with self._lock:
            for caller in self._callers:
                caller.is_due.set()

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self._at.shutdown(socket.SHUT_RDWR)
        self._at.close()
        with self._lock:
            for caller in self._callers:
                caller.hang_up()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._at.accept()
            except OSError:
                return
            pid = wire.peer(connection)
            if pid is None or len(self._callers) >= MOST:
                log.warning("a process that may not ask here was sent away")
                connection.close()
            else:
                self._take(_Caller(connection, pid))

    def _take(self, caller: _Caller) -> None:
        with self._lock:
            self._callers.add(caller)
            self._station.own |= {caller.pid}
        caller.is_due.set()
        for work in (self._write, self._read):
            threading.Thread(target=self._guarded, args=(work, caller), name=work.__name__, daemon=True).start()

    def _guarded(self, work: object, caller: _Caller) -> None:
        assert callable(work)  # noqa: S101  # for the types
        try:
            work(caller)
        except (KmodlabError, OSError) as error:
            if not caller.is_gone:
                log.warning("process %d was hung up on: %s", caller.pid, error)
        caller.hang_up()
        with self._lock:
            self._callers.discard(caller)
        self._attend()

    def _attend(self) -> None:
        """Have the station know whether anybody looks who is told; where nobody is, nobody does."""
        with self._lock:
            self._station.attend(any(caller.is_watched for caller in self._callers))

    def _write(self, caller: _Caller) -> None:
        while True:
            caller.is_due.wait()
            caller.is_due.clear()
            if caller.is_gone:
                return
            station = self._station
            caller.send("state", **wire.State(station.ledger(), station.troubles, station.state).fields())

    def _read(self, caller: _Caller) -> None:
        for fields in wire.lines(caller.connection, COMMAND_BYTES):
            if fields["kind"] == "attend":
                caller.is_watched = wire.attention(fields)
                self._attend()
            else:
                asked = wire.Command.of(fields)
                caller.send("done", number=asked.number, error=self._done(asked))

    def _done(self, asked: wire.Command) -> dict[str, object] | None:
        log.info("%s: %s", asked.who, asked.command)
        try:
            self._station.control(asked.command, asked.who)
        except KmodlabError as error:
            return wire.told(error)
        except Exception as error:
            log.exception("a command fails")
            return wire.told(KmodlabError(f"the recorder has a fault: {error}", hint="its log tells more"))
        return None

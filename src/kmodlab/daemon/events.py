"""The kernel's messages as batches: off the socket as fast as they come. They say what is in them: nobody looks."""

from __future__ import annotations

import contextlib
import errno
import logging
import select
import socket
import struct
from collections.abc import Sequence

from kmodlab.errors import KmodlabError, Refused
from kmodlab.modules.netlink import BODY, HEADER, Connection
from kmodlab.modules.spec import unpack
from kmodlab.modules.stream import DATAGRAM_BYTES, GROUP, SO_RCVBUFFORCE, SOCKET_BYTES

from .items import Batch, Blocked

log = logging.getLogger(__name__)

AT_ONCE = 128
"""Messages that are taken off the socket before what came is handed on."""
_NUMBER, _LONG = struct.Struct("=I"), struct.Struct("=Q")
_NUMBERS = ("cpu", "lost", "count", "generation")
_LONGS = ("first-seq", "last-seq", "first-clock", "last-clock", "number")


class Events:
    """The records of all CPUs, as the kernel sends them to a group, by a connection of its own.

    Args:
        link: a connection that has joined nothing yet; it is closed with this.
        group: `events`, or `blocked`.

    Attributes:
        full: how many times the socket was full: what was lost then is seen by the numbers that follow.
    """

    def __init__(self, link: Connection, group: str = GROUP) -> None:
        self.full = 0
        self._link = link
        self._owed: dict[int, int] = {}
        numbers = link.spec.sets["batch"]
        self._at = {name: numbers.get(name).number for name in (*_NUMBERS, *_LONGS, "records")}
        self._is_apart = group != GROUP
        try:
            with contextlib.suppress(OSError):  # without the right to, the socket's usual size has to do
                link.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BYTES)
            if group == GROUP:
                self._leave_out()
            link.join(group)
        except BaseException:
            link.close()
            raise
        link.socket.setblocking(False)

    def _leave_out(self) -> None:
        """Have this process left out: what it calls to take records is news to nobody, and would make records again."""
        try:
            self._link.do("leave-out")
        except Refused as error:
            log.warning("this daemon's own calls are recorded: %s", error)

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._link.socket.fileno()

    def close(self) -> None:
        """Leave the group."""
        self._link.close()

    def receive(self, seconds: float, others: Sequence[int] = ()) -> list[tuple[Batch | Blocked, int]]:
        """Return what has come, each batch with its generation (see `tracer.Status`); wait so long for the first.

        Args:
            seconds: how long.
            others: file descriptors that end the waiting as well.

        Raises:
            KmodlabError: the kernel sent something else.
            OSError: the socket fails.
        """
        poller = select.poll()
        for descriptor in (self.fileno(), *others):
            poller.register(descriptor, select.POLLIN)
        poller.poll(seconds * 1000)
        found: list[tuple[Batch | Blocked, int]] = []
        while len(found) < AT_ONCE and (datagram := self._next()) is not None:
            batch = self._batch(datagram)
            if batch:
                found.append(batch)
        return found

    def _next(self) -> bytes | None:
        while True:
            try:
                return self._link.socket.recv(DATAGRAM_BYTES)
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.full += 1

    def _batch(self, datagram: bytes) -> tuple[Batch | Blocked, int] | None:
        if len(datagram) < BODY or HEADER.unpack_from(datagram)[1] != self._link.family.number:
            raise KmodlabError("a message that is no batch of records came with them")
        values = dict(unpack(datagram[BODY:]))
        try:
            cpu, lost, n, generation = (_NUMBER.unpack(values[self._at[name]])[0] for name in _NUMBERS)
            first, last, begin, end, number = (_LONG.unpack(values[self._at[name]])[0] for name in _LONGS)
            data = values[self._at["records"]]
        except (KeyError, struct.error) as error:
            raise KmodlabError("a batch of records that does not say what is in it") from error
        lost += self._owed.pop(cpu, 0)
        if not n:
            self._owed[cpu] = lost
            return None
        if self._is_apart:
            return Blocked(cpu, number, n, lost, data), generation
        return Batch(cpu, first, last, n, begin, end, lost, data), generation

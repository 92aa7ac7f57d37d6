"""The stream of records: off the socket as fast as they come, parsed when there is time, and every gap counted."""

from __future__ import annotations

import collections
import contextlib
import errno
import select
import socket
import struct
from collections.abc import Mapping, Sequence

from ..errors import KmodlabError
from .netlink import BODY, HEADER, Connection
from .record import SEQ, Row, rows
from .spec import unpack

GROUP = "events"
SO_RCVBUFFORCE = 33
"""Not in Python's `socket`; include/uapi/asm-generic/socket.h."""
SOCKET_BYTES = 64 << 20
"""What may wait in the kernel: at 65,000 records a second some seconds' worth."""
BACKLOG_BYTES = 256 << 20
"""What may wait in this process."""
DATAGRAM_BYTES = 1 << 16


class Stream:
    """The records of all CPUs, from a connection of their own.

    Args:
        link: a connection that has joined nothing yet; it is closed with the stream.
        most: bytes that may wait in this process before they are parsed; from then on the socket fills up.

    Attributes:
        lost: records that were made since and never came: overwritten before they were sent, dropped in the kernel, or
            refused by a full socket. Counted by the gaps in what came.
        parsed: records that came.
    """

    def __init__(self, link: Connection, most: int = BACKLOG_BYTES) -> None:
        self.lost = 0
        self.parsed = 0
        self._link = link
        self._most = most
        self._next: dict[int, int] = {}
        self._backlog: collections.deque[bytes] = collections.deque()
        self._bytes = 0
        numbers = link.spec.sets["batch"]
        self._cpu, self._lost, self._records = (numbers.get(name).number for name in ("cpu", "lost", "records"))
        self._told = numbers.get("count").number
        with contextlib.suppress(OSError):  # without the right to, the socket's usual size has to do
            link.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BYTES)
        link.join(GROUP)
        link.socket.setblocking(False)

    def close(self) -> None:
        """Leave the group."""
        self._link.close()

    def begin(self, issued: Mapping[int, int]) -> None:
        """Tell how many calls each CPU had counted when the stream began: what is missing from then on is lost."""
        for cpu, count in issued.items():
            self._next.setdefault(cpu, count)

    def receive(self, seconds: float, others: Sequence[int] = ()) -> bool:
        """Wait for records, then take all that are there off the socket.

        Args:
            seconds: how long to wait for the first.
            others: file descriptors that end the waiting as well.

        Returns:
            Whether any came.
        """
        poller = select.poll()
        for descriptor in (self._link.socket.fileno(), *others):
            poller.register(descriptor, select.POLLIN)
        poller.poll(seconds * 1000)
        before = self._bytes
        while self._bytes < self._most:
            try:
                datagram = self._link.socket.recv(DATAGRAM_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue  # the socket was full: the gap will be seen in what follows
            self._backlog.append(datagram)
            self._bytes += len(datagram)
        return self._bytes > before

    @property
    def waiting(self) -> int:
        """How many bytes were received and not parsed yet."""
        return self._bytes

    def take(self, datagrams: int = 64) -> list[Row]:
        """Return the records of what was received first, those of each CPU in order.

        Args:
            datagrams: how many messages of the kernel, at most.

        Raises:
            KmodlabError: the kernel sent something else.
        """
        found: list[Row] = []
        while self._backlog and datagrams:
            datagram = self._backlog.popleft()
            self._bytes -= len(datagram)
            datagrams -= 1
            found += self._parse(datagram)
        self.parsed += len(found)
        return found

    def behind(self, issued: Mapping[int, int]) -> int:
        """Return how many of the calls that the CPUs have counted were not parsed and are not known to be lost."""
        return sum(max(0, count - self._next.get(cpu, count)) for cpu, count in issued.items())

    def end(self, issued: Mapping[int, int]) -> None:
        """Count as lost what the CPUs have counted and what did not come."""
        self.lost += self.behind(issued)
        for cpu, count in issued.items():
            self._next[cpu] = max(count, self._next.get(cpu, count))

    def _parse(self, datagram: bytes) -> list[Row]:
        if len(datagram) < BODY or HEADER.unpack_from(datagram)[1] != self._link.family.number:
            raise KmodlabError("a message that is no batch of records came with them")
        values = dict(unpack(datagram[BODY:]))
        try:
            (cpu,) = struct.unpack("=I", values[self._cpu])
            (lost,) = struct.unpack("=I", values.get(self._lost, bytes(4)))
            (told,) = struct.unpack("=I", values[self._told])
            batch = rows(values[self._records])
        except (KeyError, struct.error) as error:
            raise KmodlabError("a batch of records without a CPU or without records") from error
        if len(batch) != told:
            raise KmodlabError(f"a batch that says it has {told} records has {len(batch)}")
        if batch:
            self._count(cpu, batch)
        elif cpu not in self._next:
            self.lost += lost
        return batch

    def _count(self, cpu: int, batch: list[Row]) -> None:
        first, last = batch[0][SEQ], batch[-1][SEQ]
        # What was made before the stream began may be among the first.
        gap = max(0, first - self._next.get(cpu, first))
        self.lost += gap + last - first + 1 - len(batch)
        self._next[cpu] = last + 1

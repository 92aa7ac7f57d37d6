"""A kernel with the tracer's netlink family, as far as a client can tell: real datagrams over a socket pair."""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
import struct
import threading
from typing import Any, cast

from kmodlab.modules import netlink
from kmodlab.modules.family import tracer_spec
from kmodlab.modules.record import ARGUMENTS, LAYOUT
from kmodlab.modules.spec import Values

SPEC = tracer_spec()
NUMBER, GROUP = 0x1D, 9
SIGNATURES = {"openat": "Dpxm", "read": "f*z", "close": "f", "getppid": "", "execve": "p**", "connect": "fai"}


class Denied(Exception):
    """The kernel refuses: an error number, and what it says."""

    def __init__(self, number: int, words: str = "") -> None:
        super().__init__(number, words)
        self.number, self.words = number, words


def record(data: bytes = b"", args: tuple[int, ...] = (), comm: bytes = b"cat", **fields: int) -> bytes:
    """Return a record as it is sent; what is not given is 0."""
    head = [fields.pop(name, 0) for name in ("seq", "clock", "latency", "ret")]
    tail = [fields.pop(name, 0) for name in ("jiffies", "pid", "tid", "ppid", "uid", "call", "cpu", "status", "flags")]
    assert not fields
    padded = args + (0,) * (ARGUMENTS - len(args))
    return LAYOUT.pack(*head, *padded, *tail, len(data), comm) + data + bytes(-len(data) % 8)


def item(arg: int, data: bytes) -> bytes:
    """Return what an argument points to, as a record has it."""
    return struct.pack("=HH", arg, len(data)) + data


class Link(socket.socket):
    """The client's end. What only a netlink socket understands is kept in mind."""

    kernel: FakeKernel
    full = 0
    """How many times the next `recv` is to say that the socket was full."""

    def setsockopt(self, level: int, option: int, *_: Any) -> None:
        """Join a group, and take everything else for done."""
        if (level, option) == (netlink.SOL_NETLINK, netlink.ADD_MEMBERSHIP):
            if self.kernel.denies:
                raise OSError(self.kernel.denies, "no")
            self.kernel.listeners.append(self)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive."""
        if self.full:
            self.full -= 1
            raise OSError(errno.ENOBUFS, "No buffer space available")
        return super().recv(size, flags)


class FakeKernel:
    """What the tracer has and does; its requests are in `asked`."""

    def __init__(self) -> None:
        self.version = SPEC.version
        self.present = True
        self.group = b"events"
        self.denies = 0
        self.capped = True
        self.calls = dict.fromkeys(SIGNATURES, False)
        self.calls["read"] = True
        self.filters: list[Values] = []
        self.issued: dict[int, int] = {0: 0, 1: 0}
        self.asked: list[tuple[str, Values]] = []
        self.listeners: list[Link] = []
        self._ends: dict[int, socket.socket] = {}

    def link(self) -> Link:
        """Return a new socket of a client."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        one = Link(fileno=theirs.detach())
        one.kernel = self
        self._ends[one.fileno()] = mine
        threading.Thread(target=self._serve, args=(mine,), daemon=True).start()
        return one

    def ids(self) -> dict[str, int]:
        """Return the ids of the calls."""
        return {name: number for number, name in enumerate(self.calls)}

    def send(self, *records: bytes, cpu: int = 0, lost: int = 0) -> None:
        """Send a batch to who listens."""
        body = SPEC.sets["batch"].encode({"cpu": cpu, "lost": lost, "records": b"".join(records)})
        for link in self.listeners:
            if end := self._ends.get(link.fileno()):  # there is none of a link that was closed
                self._send(end, NUMBER, 0, 0, netlink.GENERIC.pack(9, 1, 0) + body)

    def _send(self, end: socket.socket, kind: int, flags: int, number: int, body: bytes) -> None:
        end.send(self._message(kind, flags, number, body))

    @staticmethod
    def _message(kind: int, flags: int, number: int, body: bytes) -> bytes:
        return netlink.HEADER.pack(netlink.HEADER.size + len(body), kind, flags, number, 7) + body

    def _serve(self, end: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while request := end.recv(1 << 16):
                _, kind, flags, number, _ = netlink.HEADER.unpack_from(request)
                command = netlink.GENERIC.unpack_from(request, netlink.HEADER.size)[0]
                try:
                    replies = self._answer(kind, command, request[netlink.BODY :])
                except Denied as denial:
                    end.send(self._denial(number, denial, request))
                    continue
                generic = netlink.GENERIC.pack(command, 1, 0)
                for reply in replies:
                    self._send(end, kind, 2, number, generic + reply)
                if flags & netlink.DUMP:
                    self._send(end, netlink.NLMSG_DONE, 2, number, struct.pack("=i", 0))
                else:
                    self._send(end, netlink.NLMSG_ERROR, 0x100, number, struct.pack("=i", 0) + request[:16])

    def _denial(self, number: int, denial: Denied, request: bytes) -> bytes:
        echoed = request[: netlink.HEADER.size] if self.capped else request + bytes(-len(request) % 4)
        body = struct.pack("=i", -denial.number) + echoed
        flags = netlink.CAPPED if self.capped else 0
        if denial.words:
            flags |= netlink.ACK_TLVS
            body += netlink._attribute(netlink.ACK_MESSAGE, denial.words.encode() + b"\0")
        return self._message(netlink.NLMSG_ERROR, flags, number, body)

    def _answer(self, kind: int, command: int, body: bytes) -> list[bytes]:
        if kind == netlink.CONTROLLER:
            return [self._family()]
        if self.denies:
            raise Denied(self.denies)
        operation = SPEC.operation(command)
        assert operation
        numbers = SPEC.sets[operation.attributes]
        values = numbers.decode(body)
        self.asked.append((operation.name, values))
        method = getattr(self, operation.name.replace("-", "_"))
        return [numbers.encode(reply) for reply in cast("list[Values]", method(values))]

    def _family(self) -> bytes:
        if not self.present:
            raise Denied(errno.ENOENT)
        group = netlink._attribute(netlink.GROUP_NAME, self.group + b"\0")
        group += netlink._attribute(netlink.GROUP_ID, struct.pack("=I", GROUP))
        return (
            netlink._attribute(netlink.FAMILY_ID, struct.pack("=H", NUMBER))
            + netlink._attribute(netlink.FAMILY_NAME, b"syscall_tracer\0")
            + netlink._attribute(netlink.FAMILY_VERSION, struct.pack("=I", self.version))
            + netlink._attribute(netlink.FAMILY_GROUPS, netlink._attribute(1, group))
        )

    # -- the operations ------------------------------------------------------------------------------------------

    def status_get(self, _: Values) -> list[Values]:
        """What the tracer is doing."""
        texts = {"version": "1.0.0", "hook": "ftrace"}
        numbers = dict(zip(SPEC.operations["status-get"].replies, itertools.count(), strict=False))
        return [{**numbers, **texts, "data-bytes": 128, "mode": 1, "returns": 0}]

    def cpu_get(self, _: Values) -> list[Values]:
        """The counters."""
        return [{"cpu": cpu, "issued": count} for cpu, count in self.issued.items()]

    def call_get(self, _: Values) -> list[Values]:
        """The calls."""
        return [
            {
                "id": number,
                "name": name,
                "arguments": SIGNATURES.get(name, "*"),
                "traced": int(on),
                "missed": 0,
                "compat-arguments": SIGNATURES.get(name, "*"),
            }
            for number, (name, on) in enumerate(self.calls.items())
        ]

    def call_set(self, values: Values) -> list[Values]:
        """Trace calls, all or none."""
        names = [name.lstrip("=") for name in values["name"]]
        families = {"open": ["openat"], "exec": ["execve"], "fork": ["clone"]}
        calls = [call for name in names for call in families.get(name, [name])]
        if any(call not in self.calls and call not in ("clone", "uname") for call in calls):
            raise Denied(errno.ENOENT, "no such system call")
        self.calls.update(dict.fromkeys(calls, bool(values["traced"])))
        return []

    def filter_get(self, _: Values) -> list[Values]:
        """The filters."""
        return self.filters

    def filter_add(self, values: Values) -> list[Values]:
        """Add one."""
        if "path" in values and values["name"] == "getppid":
            raise Denied(errno.EINVAL, "it takes no path")
        self.filters.append(values)
        return []

    def filter_del(self, values: Values) -> list[Values]:
        """Remove those of a name."""
        left = [one for one in self.filters if one["name"] != values["name"]]
        if left == self.filters:
            raise Denied(errno.ENOENT, "no such filter")
        self.filters = left
        return []

    def filter_clear(self, _: Values) -> list[Values]:
        """Remove all."""
        self.filters = []
        return []

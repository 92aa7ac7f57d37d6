"""A kernel with the tracer's netlink family, as far as a client can tell: real datagrams over a socket pair.

Its messages are made and read by pyroute2, and laid out by the kernel's headers and the specification's YAML: what
the client has of its own (netlink.py, spec.py, record.py) is in none of it, so neither are its mistakes.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import socket
import struct
import threading
import zlib
from typing import Any, cast

import yaml
from pyroute2.netlink import (
    NETLINK_ADD_MEMBERSHIP,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    SOL_NETLINK,
    ctrlmsg,
    genlmsg,
    nlmsg,
    nlmsgerr,
)

from kmodlab.paths import project_dir

Values = dict[str, Any]
TREE = yaml.safe_load((project_dir() / "kernel/specs/syscall_tracer.yaml").read_text())
VERSION: int = TREE["version"]
OPERATIONS: dict[int, Any] = dict(enumerate(TREE["operations"]["list"], 1))
EVENT, BLOCKED = (
    next(number for number, each in OPERATIONS.items() if each["name"] == name) for name in ("event", "blocked")
)
#: what pyroute2 calls the types of the specification
TYPES = {
    "u8": "uint8",
    "u32": "uint32",
    "u64": "uint64",
    "s32": "int32",
    "string": "asciiz",
    "binary": "cdata",
    "pad": "none",
}
CONTROLLER, GET_FAMILY, NUMBER, GROUP = 0x10, 3, 0x1D, 9
#: nlmsg_flags of an acknowledgement, include/uapi/linux/netlink.h
CAPPED, ACK_TLVS = 0x100, 0x200
HEADER, PORT = 16, 7
SIGNATURES = {"openat": "Dpxm", "read": "f*z", "close": "f", "getppid": "", "execve": "p**", "connect": "fai"}
#: struct sct_record of docs/abi.md
RECORD = struct.Struct("=QQQq6QQIIIIHHBBH16s")


class Denied(Exception):
    """The kernel refuses: an error number, and what it says."""

    def __init__(self, number: int, words: str = "") -> None:
        super().__init__(number, words)
        self.number, self.words = number, words


class Attributes:
    """A set of attributes as the specification has it."""

    def __init__(self, tree: dict[str, Any]) -> None:
        rows = tuple((number, each["name"], TYPES[each["type"]]) for number, each in enumerate(tree["attributes"], 1))
        self._message = type(tree["name"], (genlmsg,), {"nla_map": rows, "prefix": ""})
        self._multi = {each["name"] for each in tree["attributes"] if each.get("multi-attr")}

    def message(self, command: int, values: Values, **header: int) -> bytes:
        """Return a message with these attributes."""
        given = [(name, each) for name, value in values.items() for each in (value if name in self._multi else [value])]
        raw = [
            (name, each.encode("utf-8", "surrogateescape") if isinstance(each, str) else each) for name, each in given
        ]
        return encoded(self._message(), {"cmd": command, "version": VERSION, "attrs": raw}, **header)

    def values(self, request: bytes) -> Values:
        """Return what a message has; refuse one that is not, to the last byte, what a kernel would make of that."""
        message = self._message(data=request)
        message.decode()
        found: Values = {}
        for name, value in message["attrs"]:
            text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
            found[name] = [*found.get(name, []), text] if name in self._multi else text
        header = {name: message["header"][name] for name in ("type", "flags", "sequence_number", "pid")}
        if self.message(message["cmd"], found, **header) != request:
            raise Denied(errno.EBADMSG, f"{request!r} is not how {found} is sent")
        return found


SETS = {tree["name"]: Attributes(tree) for tree in TREE["attribute-sets"]}


def encoded(message: nlmsg, fields: Values, **header: int) -> bytes:
    """Return the bytes of a message."""
    message.setvalue(fields)
    message["header"] = {"pid": PORT, **header}
    message.encode()
    return bytes(message.data)


@functools.cache
def acknowledgement(echoed: int) -> type[nlmsgerr]:
    """Return the class of an acknowledgement that has so many bytes of the request."""
    return type("acknowledgement", (nlmsgerr,), {"fields": (("error", "i"), ("request", f"{echoed}s"))})


def record(data: bytes = b"", args: tuple[int, ...] = (), comm: bytes = b"cat", **fields: int) -> bytes:
    """Return a record as it is sent; what is not given is 0."""
    head = [fields.pop(name, 0) for name in ("seq", "clock", "latency", "ret")]
    tail = [fields.pop(name, 0) for name in ("jiffies", "pid", "tid", "ppid", "uid", "call", "cpu", "status", "flags")]
    assert not fields
    padded = args + (0,) * (6 - len(args))
    return RECORD.pack(*head, *padded, *tail, len(data), comm) + data + bytes(-len(data) % 8)


def item(arg: int, data: bytes) -> bytes:
    """Return what an argument points to, as a record has it."""
    return struct.pack("=HH", arg, len(data)) + data


class Link(socket.socket):
    """The client's end. What only a netlink socket understands is kept in mind."""

    kernel: FakeKernel
    full = 0
    """How many times the next `recv` is to say that the socket was full."""

    def setsockopt(self, level: int, option: int, group: Any = 0, *_: Any) -> None:
        """Join a group, and take everything else for done."""
        if (level, option) == (SOL_NETLINK, NETLINK_ADD_MEMBERSHIP):
            if self.kernel.denies:
                raise OSError(self.kernel.denies, "no")
            self.kernel.joined_at = len(self.kernel.asked)
            self.kernel.joined(self, group)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive."""
        if self.full:
            self.full -= 1
            raise OSError(errno.ENOBUFS, "No buffer space available")
        return super().recv(size, flags)


class FakeKernel:
    """What the tracer has and does; its requests are in `asked`."""

    def __init__(self) -> None:
        self.version = VERSION
        self.present = True
        self.group = "events"
        self.denies = 0
        self.joined_at = -1
        self.mode = 1
        self.capped = True
        self.calls = dict.fromkeys(SIGNATURES, False)
        self.calls["read"] = True
        self.filters: list[Values] = []
        self.issued: dict[int, int] = {0: 0, 1: 0}
        self.asked: list[tuple[str, Values]] = []
        self.left_out: list[int] = []
        self.nobody: set[int] = set()
        self.listeners: list[Link] = []
        self.apart: list[Link] = []
        self._ends: dict[int, socket.socket] = {}

    def link(self) -> Link:
        """Return a new socket of a client."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        one = Link(fileno=theirs.detach())
        one.kernel = self
        self._ends[one.fileno()] = mine
        threading.Thread(target=self._serve, args=(mine,), daemon=True).start()
        return one

    @property
    def generation(self) -> int:
        """Another one for each state that there may be."""
        return zlib.crc32(repr((self.calls, self.filters)).encode())

    def ids(self) -> dict[str, int]:
        """Return the ids of the calls."""
        return {name: number for number, name in enumerate(self.calls)}

    def joined(self, link: Link, group: int) -> None:
        """Take notice that somebody listens to a group."""
        (self.listeners if group == GROUP else self.apart).append(link)

    def send(self, *records: bytes, cpu: int = 0, lost: int = 0, number: int = 0, group: str = "events") -> None:
        """Send a batch to who listens to a group."""
        told = [struct.unpack_from("=QQ", one) for one in records]
        seqs, clocks = ([one[at] for one in told] or [0] for at in (0, 1))
        batch = {
            "cpu": cpu, "lost": lost, "count": len(records), "records": b"".join(records), "number": number,
            "first-seq": seqs[0], "last-seq": seqs[-1], "first-clock": min(clocks), "last-clock": max(clocks),
            "generation": self.generation,
        }  # fmt: skip
        message = SETS["batch"].message(EVENT if group == "events" else BLOCKED, batch, type=NUMBER)
        for link in self.listeners if group == "events" else self.apart:
            if end := self._ends.get(link.fileno()):  # there is none of a link that was closed
                end.send(message)

    def acknowledge(self, link: Link, number: int, denial: Denied) -> None:
        """Acknowledge a request that a client may have sent, or not."""
        self._ends[link.fileno()].send(self._denial(number, denial, bytes(HEADER)))

    def _serve(self, end: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while request := end.recv(1 << 16):
                self._reply(end, request)

    def _reply(self, end: socket.socket, request: bytes) -> None:
        length, kind, flags, number, _ = struct.unpack_from("=IHHII", request)
        try:
            if length != len(request):
                raise Denied(errno.EBADMSG, f"a message of {length} bytes has {len(request)}")
            replies = self._answer(kind, request, {"type": kind, "flags": 2, "sequence_number": number})
        except Denied as denial:
            end.send(self._denial(number, denial, request))
            return
        for reply in replies:
            end.send(reply)
        if flags & NLM_F_DUMP == NLM_F_DUMP:
            end.send(encoded(nlmsgerr(), {"error": 0}, type=NLMSG_DONE, flags=2, sequence_number=number))
        else:
            end.send(self._denial(number, Denied(0), request[:HEADER]))

    def _denial(self, number: int, denial: Denied, request: bytes) -> bytes:
        # The kernel cuts off what it echoes of a request that it has done, asked to or not.
        capped = self.capped or not denial.number
        echoed = request[:HEADER] if capped else request + bytes(-len(request) % 4)
        flags = CAPPED if capped else 0
        attributes = []
        if denial.words:
            flags |= ACK_TLVS
            attributes = [("NLMSGERR_ATTR_MSG", denial.words)]
        fields = {"error": -denial.number, "request": echoed, "attrs": attributes}
        message = acknowledgement(len(echoed))()
        return encoded(message, fields, type=NLMSG_ERROR, flags=flags, sequence_number=number)

    def _answer(self, kind: int, request: bytes, header: dict[str, int]) -> list[bytes]:
        if kind == CONTROLLER:
            return [self._family(request, header)]
        if self.denies:
            raise Denied(self.denies)
        command = request[HEADER]
        operation = OPERATIONS[command]
        attributes = SETS[operation["attribute-set"]]
        values = attributes.values(request)
        self.asked.append((operation["name"], values))
        method = getattr(self, operation["name"].replace("-", "_"))
        return [attributes.message(command, reply, **header) for reply in cast("list[Values]", method(values))]

    def _family(self, request: bytes, header: dict[str, int]) -> bytes:
        asked = ctrlmsg(data=request)
        asked.decode()
        known = (asked["cmd"], asked.get_attr("CTRL_ATTR_FAMILY_NAME")) == (GET_FAMILY, TREE["name"])
        if not (self.present and known):
            raise Denied(errno.ENOENT)
        groups = [
            {"attrs": [("CTRL_ATTR_MCAST_GRP_NAME", name), ("CTRL_ATTR_MCAST_GRP_ID", GROUP + number)]}
            for number, name in enumerate((self.group, "blocked"))
        ]
        attributes = [
            ("CTRL_ATTR_FAMILY_ID", NUMBER),
            ("CTRL_ATTR_FAMILY_NAME", TREE["name"]),
            ("CTRL_ATTR_VERSION", self.version),
            ("CTRL_ATTR_MCAST_GROUPS", groups),
        ]
        return encoded(ctrlmsg(), {"cmd": GET_FAMILY, "version": 1, "attrs": attributes}, **header)

    # -- the operations ------------------------------------------------------------------------------------------

    def status_get(self, _: Values) -> list[Values]:
        """What the tracer is doing."""
        texts = {"version": "1.0.0", "hook": "ftrace"}
        (replies,) = [each["do"]["reply"]["attributes"] for each in OPERATIONS.values() if each["name"] == "status-get"]
        numbers = dict(zip(replies, itertools.count(), strict=False))
        told = {
            "data-bytes": 128,
            "mode": self.mode,
            "returns": 0,
            "left-out": self.left_out,
            "generation": self.generation,
        }
        return [{**numbers, **texts, **told}]

    def cpu_get(self, _: Values) -> list[Values]:
        """The counters."""
        return [
            {"cpu": cpu, "issued": count, "logged": count, "overwritten": 0, "dropped": 0, "excluded": 7}
            for cpu, count in self.issued.items()
        ]

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
                "issued": 10 * number,
                "blocked": number,
                "failed": 2 * number,
            }
            for number, (name, on) in enumerate(self.calls.items())
        ]

    def leave_out(self, values: Values) -> list[Values]:
        """Leave out who asks, or another one."""
        if (pid := values.get("pid", os.getpid())) in self.nobody:
            raise Denied(errno.ESRCH, "no such process")
        self.left_out.append(pid)
        return []

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

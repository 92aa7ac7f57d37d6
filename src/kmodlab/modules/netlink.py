"""A connection to one generic netlink family, with nothing but the standard library.

Source: https://docs.kernel.org/userspace-api/netlink/intro.html, include/uapi/linux/netlink.h and genetlink.h.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import KmodlabError, ModuleUnavailable, Refused
from .spec import Spec, Values, unpack

NETLINK_GENERIC = 16
SOL_NETLINK = 270
ADD_MEMBERSHIP, CAP_ACK, EXT_ACK = 1, 10, 11
NLMSG_ERROR, NLMSG_DONE = 2, 3
REQUEST, ACK, DUMP = 1, 4, 0x300
CAPPED, ACK_TLVS = 0x100, 0x200
ACK_MESSAGE = 1

CONTROLLER = 16
GET_FAMILY = 3
FAMILY_ID, FAMILY_NAME, FAMILY_VERSION, FAMILY_GROUPS = 1, 2, 3, 7
GROUP_NAME, GROUP_ID = 1, 2

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""
GENERIC = struct.Struct("=BBH")
"""struct genlmsghdr: command, version, reserved."""
BODY = HEADER.size + GENERIC.size

REPLY_BYTES = 1 << 16
REPLY_SECONDS = 120.0
"""Hooking some hundred calls takes seconds on an emulated machine."""


@dataclass(frozen=True)
class Family:
    """What the kernel says of a family: its number, its version, the numbers of its groups."""

    number: int
    version: int
    groups: dict[str, int]


def open_socket() -> socket.socket:
    """Return a generic netlink socket that has errors explained.

    Raises:
        ModuleUnavailable: the kernel has no netlink.
    """
    try:
        one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_GENERIC)
        one.bind((0, 0))
    except OSError as error:
        raise ModuleUnavailable(f"this kernel has no generic netlink: {error.strerror}") from error
    return one


def _attribute(number: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), number) + payload + bytes(-len(payload) % 4)


def _parts(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield the messages of a datagram: type, flags, sequence number, what follows the header."""
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, flags, number, _ = HEADER.unpack_from(data, at)
        if length < HEADER.size or at + length > len(data):
            raise KmodlabError(f"a netlink message of {length} bytes in a datagram of {len(data) - at}")
        yield kind, flags, number, data[at + HEADER.size : at + length]
        at += length + -length % 4


def _error(kind: int, flags: int, body: bytes) -> tuple[int, str]:
    """Return the error number of an acknowledgement, 0 for success, and what the kernel says of it."""
    number = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
    at = 4
    if kind == NLMSG_ERROR:
        at += HEADER.size
        # The request follows, whole unless it is cut off after its header.
        if not flags & CAPPED and number and len(body) >= at:
            at = 4 + struct.unpack_from("=I", body, 4)[0]
    words = ""
    if flags & ACK_TLVS:
        texts = [payload for name, payload in unpack(body[at:]) if name == ACK_MESSAGE]
        words = texts[0].rstrip(b"\0").decode("utf-8", "replace") if texts else ""
    return number, words


def request(spec: Spec, operation: str, values: Values) -> bytes:
    """Return what stands behind the header of a message that asks a family.

    Args:
        spec: of the family.
        operation: its name.
        values: its attributes.
    """
    command = spec.operations[operation]
    return GENERIC.pack(command.number, spec.version, 0) + spec.sets[command.attributes].encode(values)


class Connection:
    """A socket for requests of one family, which `spec` describes. It answers one request at a time.

    Args:
        spec: the family.
        link: the socket, which is closed with the connection.
        patience: seconds to wait for an answer.

    Raises:
        ModuleUnavailable: the kernel has not the family, or in another version.
    """

    def __init__(self, spec: Spec, link: socket.socket, patience: float = REPLY_SECONDS) -> None:
        self.spec = spec
        self.socket = link
        self._patience = patience
        self.socket.settimeout(patience)
        self._number = 0
        try:
            for option in (CAP_ACK, EXT_ACK):
                self.socket.setsockopt(SOL_NETLINK, option, 1)
            self.family = self._find()
        except BaseException:
            self.socket.close()
            raise

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    # -- requests ------------------------------------------------------------------------------------------------

    def do(self, operation: str, **values: object) -> Values:
        """Send a request, and return the attributes of the reply, if there is one.

        Args:
            operation: its name in the specification.
            values: its attributes; `_` stands for `-`, None is left out.

        Raises:
            Refused: the kernel says no, and why.
        """
        replies = self._ask(operation, REQUEST | ACK, values)
        return replies[0] if replies else {}

    def dump(self, operation: str) -> list[Values]:
        """Return the attributes of every message of a list.

        Raises:
            Refused: the kernel says no, and why.
        """
        return self._ask(operation, REQUEST | ACK | DUMP, {})

    def join(self, group: str) -> None:
        """Have the messages of a group sent to this socket; they wait in it, and are not to be mixed with requests.

        Raises:
            ModuleUnavailable: there is no such group.
            Refused: the kernel says no.
        """
        if group not in self.family.groups:
            raise ModuleUnavailable(
                f"the netlink family {self.spec.name} has no group {group} on this kernel",
                hint="it takes Linux 5.12, or 5.10.204: an older one lets anybody join a group",
            )
        try:
            self.socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, self.family.groups[group])
        except OSError as error:
            raise refusal(error.errno or 0, "") from error

    def _ask(self, operation: str, flags: int, values: Values) -> list[Values]:
        given = {name.replace("_", "-"): value for name, value in values.items() if value is not None}
        answers = self._exchange(self.family.number, flags, request(self.spec, operation, given))
        replies = self.spec.sets[self.spec.operations[operation].attributes]
        return [replies.decode(answer) for answer in answers]

    def _find(self) -> Family:
        """Ask the controller for the family.

        Source: https://docs.kernel.org/netlink/specs/nlctrl.html
        """
        name = _attribute(FAMILY_NAME, self.spec.name.encode() + b"\0")
        try:
            answers = self._exchange(CONTROLLER, REQUEST | ACK, GENERIC.pack(GET_FAMILY, 1, 0) + name)
        except Refused as error:
            if error.errno != errno.ENOENT:
                raise
            raise ModuleUnavailable(f"the kernel has no netlink family {self.spec.name}") from error
        known = dict(unpack(answers[0]))
        groups = {}
        for _, nested in unpack(known.get(FAMILY_GROUPS, b"")):
            each = dict(unpack(nested))
            groups[each[GROUP_NAME].rstrip(b"\0").decode()] = struct.unpack("=I", each[GROUP_ID])[0]
        number, version = struct.unpack("=H", known[FAMILY_ID])[0], struct.unpack("=I", known[FAMILY_VERSION])[0]
        if version != self.spec.version:
            raise ModuleUnavailable(
                f"the netlink family {self.spec.name} has version {version}; this program knows {self.spec.version}",
                hint="module and program belong together: deploy both from the same checkout",
            )
        return Family(number, version, groups)

    def _exchange(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Send one message; return what follows the generic header of each reply, up to the acknowledgement."""
        self._number += 1
        self.socket.send(HEADER.pack(HEADER.size + len(body), kind, flags, self._number, 0) + body)
        replies: list[bytes] = []
        while True:
            for answer, answer_flags, number, data in _parts(self._receive()):
                if number != self._number:
                    continue  # the rest of an exchange that was broken off
                if answer not in (NLMSG_ERROR, NLMSG_DONE):
                    replies.append(data[GENERIC.size :])
                    continue
                error, words = _error(answer, answer_flags, data)
                if error == errno.ENOENT and not words and kind != CONTROLLER:
                    raise ModuleUnavailable(f"the netlink family {self.spec.name} has gone: its module was unloaded")
                if error:
                    raise refusal(error, words)
                return replies

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(REPLY_BYTES)
        except socket.timeout as error:  # noqa: UP041  # another class before Python 3.10
            raise ModuleUnavailable(
                f"the netlink family {self.spec.name} did not answer within {self._patience:.0f} s",
                hint="look at `dmesg`: did the module, or what it hooks, hang?",
            ) from error


def refusal(number: int, words: str) -> Refused:
    """Return the error for a request that the kernel has refused.

    Args:
        number: the error number, positive.
        words: the kernel's own, may be empty.
    """
    name = errno.errorcode.get(number, str(number))
    text = words or os.strerror(number)
    hint = None
    if number == errno.EPERM:
        text = "it takes root (CAP_SYS_ADMIN in the initial user namespace)"
        hint = "run it as root, with sudo for instance; root of a container is not enough"
    return Refused(f"{text} ({name})", errno=number, hint=hint)


@contextlib.contextmanager
def told_as(what: str) -> Iterator[None]:
    """Put before a refusal what it was that was refused."""
    try:
        yield
    except Refused as error:
        error.message = f"{what}: {error.message}"
        error.args = (error.message,)
        raise

"""Receives the tracer's records over generic netlink and keeps them; runs in the guest, on the standard library alone.

listen.py KIB READY: with a buffer of KIB; the file READY appears once it listens. At SIGINT it reads what is there, and
says what it has kept: a line `event NAME N` for each call, and `lost N`, how many are missing by their numbers. Without
arguments it only asks for the family: its exit status says whether there is one.
"""

from __future__ import annotations

import errno
import signal
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

FAMILY = b"syscall_tracer"
NETLINK_GENERIC, CTRL, CTRL_GETFAMILY = 16, 16, 3
CTRL_ID, CTRL_NAME, CTRL_GROUPS, GROUP_NAME, GROUP_ID = 1, 2, 7, 1, 2
STATUS_GET, CALL_GET = 1, 3
CALL_ID, CALL_NAME = 2, 3
BATCH_CPU, BATCH_RECORDS = 1, 3
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
SOL_NETLINK, ADD_MEMBERSHIP, DROP_MEMBERSHIP, SO_RCVBUFFORCE = 270, 1, 2, 33
#: nlmsghdr and genlmsghdr
HEAD = struct.Struct("=IHHIIBBH")
ATTRIBUTE = struct.Struct("=HH")
#: struct sct_record: its number, call and size of data; and its call alone
RECORD, CALL_ALONE = struct.Struct("=Q96xHxxxxH16x"), struct.Struct("=104xH22x")


class Netlink:
    """A generic netlink socket."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        self.socket.bind((0, 0))

    def request(self, family: int, command: int, payload: bytes = b"", *, dump: bool = False) -> list[bytes]:
        """Send a request and return the attributes of each message of the answer."""
        flags = NLM_F_REQUEST | (NLM_F_DUMP if dump else 0)
        self.socket.send(HEAD.pack(HEAD.size + len(payload), family, flags, 1, 0, command, 1, 0) + payload)
        found: list[bytes] = []
        while True:
            for kind, body in messages(self.socket.recv(1 << 16)):
                if kind == NLMSG_ERROR:
                    code = -int.from_bytes(body[:4], sys.byteorder, signed=True)
                    raise OSError(code, errno.errorcode.get(code, "?"))
                if kind == NLMSG_DONE:
                    return found
                found.append(body[4:])
            if not dump:
                return found


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each message."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        yield kind, data[at + 16 : at + length]
        at += (length + 3) & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes of a message, by their number."""
    found, at = {}, 0
    while at + 4 <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, at)
        found[kind & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def number(data: bytes) -> int:
    """Return an unsigned number of any width."""
    return int.from_bytes(data, sys.byteorder)


def find_family(netlink: Netlink) -> tuple[int, int]:
    """Return the numbers of the family and of its group of events."""
    name = FAMILY + b"\0"
    payload = ATTRIBUTE.pack(4 + len(name), CTRL_NAME) + name + b"\0" * (-len(name) % 4)
    family = attributes(netlink.request(CTRL, CTRL_GETFAMILY, payload)[0])
    groups = [attributes(group) for group in attributes(family[CTRL_GROUPS]).values()]
    group = next(number(group[GROUP_ID]) for group in groups if group[GROUP_NAME] == b"events\0")
    return number(family[CTRL_ID]), group


def listen(events: Netlink, group: int) -> tuple[list[bytes], int]:
    """Keep every datagram until SIGINT, and then what is still there; return them, and how often one had no room."""
    kept: list[bytes] = []
    overflows = 0
    stopped = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True
        # Others go on making calls: what is there now is read, and nothing comes after it.
        events.socket.setsockopt(SOL_NETLINK, DROP_MEMBERSHIP, group)

    signal.signal(signal.SIGINT, stop)
    events.socket.settimeout(0.2)
    receive, keep = events.socket.recv, kept.append
    while True:
        try:
            while True:
                keep(receive(1 << 16))
        except TimeoutError:
            if stopped:
                return kept, overflows
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            overflows += 1


def count(datagrams: list[bytes]) -> tuple[Counter[int], int]:
    """Return how many records of each call were kept, and how many are missing by their numbers."""
    calls: Counter[int] = Counter()
    lost = 0
    expected: dict[int, int] = {}
    for datagram in datagrams:
        batch = attributes(datagram[HEAD.size :])
        records, cpu = batch[BATCH_RECORDS], number(batch[BATCH_CPU])
        if not records:
            continue
        first = RECORD.unpack_from(records)[0]
        wanted = expected.get(cpu, first)
        if (last := last_of_plain(records)) is not None:
            lost += first - wanted
            calls.update(call for (call,) in CALL_ALONE.iter_unpack(records))
            expected[cpu] = last + 1
            continue
        at = 0
        while at < len(records):
            seq, call, size = RECORD.unpack_from(records, at)
            lost += seq - wanted
            wanted = seq + 1
            calls[call] += 1
            at += RECORD.size + (size + 7 & ~7)
        expected[cpu] = wanted
    return calls, lost


def last_of_plain(records: bytes) -> int | None:
    """Return the number of the last record if none has data and none is missing; walking them is slow."""
    many, rest = divmod(len(records), RECORD.size)
    if rest:
        return None
    first, last = RECORD.unpack_from(records)[0], RECORD.unpack_from(records, len(records) - RECORD.size)[0]
    return int(last) if last - first == many - 1 else None


def main() -> None:
    """Listen, and say what was kept."""
    netlink, events = Netlink(), Netlink()
    family, group = find_family(netlink)
    if len(sys.argv) < 3:
        return
    events.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, int(sys.argv[1]) << 10)
    events.socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
    netlink.request(family, STATUS_GET)  # the module takes notice of who listens
    names = {}
    for message in netlink.request(family, CALL_GET, dump=True):
        call = attributes(message)
        names[number(call[CALL_ID])] = call[CALL_NAME].rstrip(b"\0").decode()
    Path(sys.argv[2]).touch()
    datagrams, overflows = listen(events, group)
    calls, lost = count(datagrams)
    for call_id, kept in calls.items():
        print("event", names[call_id], kept)
    print("lost", lost)
    print(f"{len(datagrams)} batches, {overflows} times no room", file=sys.stderr)


if __name__ == "__main__":
    main()

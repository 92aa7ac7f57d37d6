"""The netlink client of the contract tests: it runs on the host under test, from Python's standard library alone.

Like the helper in C it is given a script, a list of `[step, {options}]`, and prints a list of answers, in JSON. It lies
beside the project's own reader of specifications and the specification, from which it has every name and number. Told
to `serve` it stays, and answers scripts at a socket: an emulated machine takes a second to start Python.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from kmodlab.modules.spec import Spec, pack, unpack  # noqa: E402

SPEC = Spec.of(json.loads((HERE / "syscall_tracer.json").read_text()))
RECORD, ITEM = SPEC.records["record"], SPEC.records["item"]
BATCH = SPEC.sets[SPEC.operations["event"].attributes]

# uapi/linux/netlink.h, genetlink.h
NETLINK_GENERIC, SOL_NETLINK = 16, 270
ADD_MEMBERSHIP, CAP_ACK, EXT_ACK = 1, 10, 11
SO_RCVBUFFORCE = 33
REQUEST, ACK, DUMP, MULTI, CAPPED, ACK_TLVS = 0x1, 0x4, 0x300, 0x2, 0x100, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
GENL_ID_CTRL, CTRL_GETFAMILY = 16, 3
FAMILY_ID, FAMILY_NAME, FAMILY_VERSION, FAMILY_OPS, FAMILY_GROUPS = 1, 2, 3, 6, 7
HEADER, GENERIC = struct.Struct("=IHHII"), struct.Struct("=BBH")
# uapi/linux/sched.h, capability.h, prctl.h
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
CAPABILITY_VERSION_3, PR_SET_KEEPCAPS = 0x20080522, 8

DEADLINE_SECONDS = 120
MARK_SECONDS = 30
"""What was made last has come by then, or will never."""
IDLE_SECONDS = 900
"""After so long without a script the server ends: whoever started it has died."""
Options = dict[str, Any]
Answer = dict[str, Any]


class Refused(Exception):
    """The kernel answered with an error."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(number, message)
        self.answer = {"errno": number, "message": message}


def words(numbers: bytes, letter: str) -> tuple[int, ...]:
    """Unpack an array."""
    return struct.unpack(f"={len(numbers) // struct.calcsize(letter)}{letter}", numbers)


class Client:
    """One socket."""

    def __init__(self, receive_bytes: int = 0) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        self.socket.bind((0, 0))
        for option in (EXT_ACK, CAP_ACK):
            self.socket.setsockopt(SOL_NETLINK, option, 1)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_bytes)
        self.sequence = 0
        self.family: Answer = {}
        self.messages = 0
        self.overflows = 0
        self.joined = 0.0
        self.issued: dict[int, list[int]] = {}

    def send(self, kind: int, command: int, version: int, payload: bytes, flags: int) -> None:
        """Send one request."""
        self.sequence += 1
        body = GENERIC.pack(command, version, 0) + payload
        self.socket.send(HEADER.pack(HEADER.size + len(body), kind, flags, self.sequence, 0) + body)

    def receive(self, size: int = 1 << 17) -> list[tuple[int, int, int, bytes]]:
        """Receive what is in one message of the socket, as (type, flags, sequence, body)."""
        data = self.socket.recv(size)
        self.messages += 1
        found, offset = [], 0
        while offset + HEADER.size <= len(data):
            length, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
            found.append((kind, flags, sequence, data[offset + HEADER.size : offset + length]))
            offset += length + -length % 4
        return found

    def replies(self, between: Callable[[], None] = lambda: None) -> list[bytes]:
        """Collect the answer to the last request; `between` is called once, after its first part.

        The kernel makes the messages of a dump as large as the socket has ever received: these are to be many.

        Raises:
            Refused: it is an error.
        """
        found: list[bytes] = []
        while True:
            for kind, flags, sequence, body in self.receive(1 << 13):
                if sequence != self.sequence:
                    continue
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    raise_error(kind, flags, body)
                    return found
                found.append(body[GENERIC.size :])
            between()
            between = lambda: None  # noqa: E731

    def resolve(self) -> Answer:
        """Ask the kernel's controller for the family."""
        self.send(GENL_ID_CTRL, CTRL_GETFAMILY, 2, pack(FAMILY_NAME, SPEC.name.encode() + b"\0"), REQUEST | ACK)
        (reply,) = self.replies()
        told = dict(unpack(reply))
        operations = [dict(unpack(each)) for _, each in unpack(told[FAMILY_OPS])]
        groups = [dict(unpack(each)) for _, each in unpack(told.get(FAMILY_GROUPS, b""))]
        self.family = {
            "id": words(told[FAMILY_ID], "H")[0],
            "version": words(told[FAMILY_VERSION], "I")[0],
            "operations": {words(each[1], "I")[0]: words(each[2], "I")[0] for each in operations},
            "groups": {each[1].rstrip(b"\0").decode(): words(each[2], "I")[0] for each in groups},
        }
        return self.family

    def ask(self, name: str, values: Options, between: Callable[[], None] = lambda: None) -> list[Options]:
        """Run an operation."""
        if not self.family:
            self.resolve()
        operation = SPEC.operations[name]
        attributes = SPEC.sets[operation.attributes]
        flags = REQUEST | ACK | (DUMP if "dump" in operation.kinds else 0)
        self.send(self.family["id"], operation.number, SPEC.version, attributes.encode(values), flags)
        return [attributes.decode(reply) for reply in self.replies(between)]

    def join(self, number: int | None = None, group: str = "events") -> None:
        """Join a group by its name or number."""
        if number is None:
            number = (self.family or self.resolve())["groups"][group]
        self.joined = time.monotonic()
        self.socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, number)


def raise_error(kind: int, flags: int, body: bytes) -> None:
    """Raise what an acknowledgement says, unless that is that all went well."""
    (number,) = struct.unpack_from("=i", body)
    if not number:
        return
    offset = 4
    if kind == NLMSG_ERROR:
        length = HEADER.size if flags & CAPPED else struct.unpack_from("=I", body, 4)[0]
        offset += length + -length % 4
    told = dict(unpack(body[offset:])) if flags & ACK_TLVS else {}
    raise Refused(-number, told.get(1, b"").rstrip(b"\0").decode())


class Account:
    """What a listener has received, and whether it accounts for every call of each CPU."""

    def __init__(self, comms: list[str], marks: set[bytes]) -> None:
        self.comms = {comm.encode().ljust(RECORD.members[-1].size, b"\0") for comm in comms}
        self.marks = marks
        self.batches = 0
        self.count = 0
        self.records: list[Options] = []
        self.cpus: dict[int, dict[str, int]] = {}
        self.untrue = 0
        self.mixed = 0
        self.generation = -1
        self.commands: set[int] = set()
        self.inside: list[tuple[int, int]] = []

    def take(self, body: bytes) -> None:
        """Take in a batch."""
        self.inside = []
        batch = BATCH.decode(body[GENERIC.size :])
        fresh = {"first": -1, "last": -1, "count": 0, "lost": 0, "gap": 0, "back": 0, "unheard": 0}
        cpu = self.cpus.setdefault(batch["cpu"], fresh)
        self.batches += 1
        self.generation = batch["generation"]
        self.commands.add(body[0])
        cpu["lost"] += batch["lost"]
        if batch["count"]:
            # What a listener has missed otherwise than by what it is told to be lost.
            begun = cpu.setdefault("begun", batch["number"] - cpu["lost"])
            cpu["unheard"] = batch["number"] - begun - cpu["lost"] - cpu["count"]
        data, offset = batch["records"], 0
        while offset < len(data):
            offset = self.take_record(cpu, batch["cpu"], data, offset)
        assert offset == len(data), "a record is cut short"
        self.compare(batch)

    def compare(self, batch: Options) -> None:
        """Count a batch that says something else than what is in it, and one whose first record is not the earliest."""
        told = [batch[name] for name in ("count", "first-seq", "last-seq", "first-clock", "last-clock")]
        seqs, clocks = zip(*self.inside) if self.inside else ([0], [0])  # noqa: B905  # strict= is Python 3.10's
        self.untrue += told != [len(self.inside), seqs[0], seqs[-1], min(clocks), max(clocks)]
        self.mixed += clocks[0] != min(clocks)

    def take_record(self, cpu: dict[str, int], number: int, data: bytes, offset: int) -> int:
        """Take in one record, and return where the next one begins."""
        values = RECORD.layout.unpack_from(data, offset)
        seq, size, comm = values[0], int(values[-2]), values[-1]
        start = offset + RECORD.size
        end = start + size + -size % 8
        assert not any(data[start + size : end]), "no zeros between records"
        assert values[11] == number, "a record in the batch of another CPU"
        if cpu["first"] < 0:
            cpu["first"] = seq
        elif seq <= cpu["last"]:
            cpu["back"] += 1
        else:
            cpu["gap"] += seq - cpu["last"] - 1
        cpu["last"] = seq
        cpu["count"] += 1
        self.inside.append((seq, values[1]))
        self.count += 1
        if self.marks:
            self.marks -= {mark for mark in self.marks if mark in data[start : start + size]}
        if comm in self.comms:
            self.records.append(self.describe(data, offset, start, size))
        return end

    def describe(self, data: bytes, offset: int, start: int, size: int) -> Options:
        """Return a record by names."""
        record = RECORD.unpack(data, offset)
        record["args"] = words(record["args"], "Q")
        record["comm"] = record["comm"].rstrip(b"\0")
        record["items"] = []
        at = start
        while at < start + size:
            item = ITEM.unpack(data, at)
            at += ITEM.size + item["size"]
            record["items"].append([item["arg"], data[at - item["size"] : at]])
        assert at == start + size, "an item is cut short"
        return record

    def answer(self, client: Client) -> Answer:
        """Return the account."""
        summary: Answer = {"batches": self.batches, "count": self.count, "overflows": client.overflows}
        summary.update(untrue=self.untrue, mixed=self.mixed, generation=self.generation, commands=sorted(self.commands))
        cpus = {number: {**cpu, "joined": client.issued.get(number, [0, 0])} for number, cpu in self.cpus.items()}
        return {**summary, "records": self.records, "cpus": cpus}


class Session:
    """The interpreter: sockets by name, and the steps."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}

    def run(self, steps: list[tuple[str, Options]]) -> list[Answer]:
        """Run steps; an error of the kernel's is an answer."""
        return [self.run_step(name, options) for name, options in steps]

    def run_step(self, name: str, options: Options) -> Answer:
        """Run one step."""
        try:
            return {"errno": 0, **(getattr(self, f"do_{name}")(**options) or {})}
        except Refused as refused:
            return refused.answer
        except OSError as error:
            return {"errno": error.errno, "message": ""}

    def do_open(self, name: str, receive_bytes: int = 0) -> None:
        """A new socket."""
        self.clients[name] = Client(receive_bytes)

    def do_close(self, name: str) -> None:
        """Close a socket."""
        self.clients.pop(name).socket.close()

    def do_resolve(self, name: str) -> Answer:
        """What the kernel says of the family."""
        return {"family": self.clients[name].resolve()}

    def do_ask(
        self, operation: str, values: Options | None = None, name: str = "", between: list[Any] | None = None
    ) -> Answer:
        """Run an operation, on a socket of its own if none is named; `between` are steps after its first part."""
        client = self.clients[name] if name else Client()
        before = client.messages

        def run_between() -> None:
            self.run(between or [])

        replies = client.ask(operation, values or {}, run_between)
        return {"replies": replies, "messages": client.messages - before}

    def do_raw(self, payload: str, operation: str, dump: bool = False, name: str = "") -> Answer:
        """Send the operation with these bytes (in hex) for its attributes."""
        client = self.clients[name] if name else Client()
        family = client.family or client.resolve()
        flags = REQUEST | ACK | (DUMP if dump else 0)
        client.send(family["id"], SPEC.operations[operation].number, SPEC.version, bytes.fromhex(payload), flags)
        return {"replies": [reply.hex() for reply in client.replies()]}

    def do_garbage(self, messages: list[str]) -> Answer:
        """Send each of these (in hex) behind a header of the family's, whatever comes of it; count the errors."""
        errors = 0
        family = Client().resolve()
        for message in messages:
            client = Client()
            body = bytes.fromhex(message)
            client.socket.send(HEADER.pack(HEADER.size + len(body), family["id"], REQUEST | ACK, 1, 0) + body)
            client.sequence = 1
            try:
                client.replies()
            except Refused:
                errors += 1
            client.socket.close()
        return {"errors": errors}

    def do_join(self, name: str, number: int | None = None, look: bool = True, group: str = "events") -> Answer:
        """Join a group; asking for the status makes sure that all calls from now on are heard of.

        What each CPU had counted just before and just after is kept with the client.
        """
        client = self.clients[name]
        if not look or number is not None:
            client.join(number, group)
            return {}
        before = issued()
        client.join(group=group)
        client.ask("status-get", {})
        client.issued = {cpu: [before.get(cpu, 0), count] for cpu, count in issued().items()}
        return {}

    def do_play(self, script: str) -> Answer:
        """Run the helper in C."""
        return {"play": json.loads(subprocess.run(helper(script), stdout=subprocess.PIPE, check=True).stdout)}

    def do_sh(self, command: str) -> Answer:
        """Run a shell command."""
        done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return {"rc": done.returncode, "text": done.stdout.decode("utf-8", "replace")}

    def do_listen(
        self,
        name: str,
        comms: list[str] | None = None,
        play: str = "",
        before: tuple[str, ...] = (),
        blocked: bool = False,
    ) -> Answer:
        """Receive while the helper in C runs a script, and then until a call of each CPU made afterwards has come.

        `before` are words before its command; `blocked` says that only calls come that make a directory.
        """
        marks: set[bytes] = set()
        client, account = self.clients[name], Account(comms or [], marks)
        answers: list[Answer] = []
        if play:
            with (
                tempfile.TemporaryFile() as output,
                subprocess.Popen([*before, *helper(play)], stdout=output) as running,
            ):
                while running.poll() is None:
                    receive_batches(client, account, 0.05)
                output.seek(0)
                answers = json.load(output)
        # One that has overflowed gets nothing until it is empty: a mark that is made before would be missed as well.
        while select.select([client.socket], [], [], 0)[0]:
            receive_batches(client, account, 0)
        marks |= make_marks(try_directory if blocked else try_file)
        deadline = time.monotonic() + MARK_SECONDS
        while marks and time.monotonic() < deadline:
            receive_batches(client, account, 0.05)
        return {**account.answer(client), "overdue": len(marks), "play": answers}

    def do_take(self, name: str, seconds: float) -> Answer:
        """Receive what comes within some seconds; say how many have passed since the socket joined."""
        client, account = self.clients[name], Account([], set())
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            receive_batches(client, account, 0.05)
        return {**account.answer(client), "seconds": time.monotonic() - client.joined}

    def do_me(self) -> Answer:
        """Who this process is."""
        return {"pid": os.getpid()}

    def do_strive(self, path: str, times: int, thread: bool = False) -> Answer:
        """Have this process, or another thread of it, try to make a directory; return the errors."""
        errors: list[int] = []

        def strive() -> None:
            for _ in range(times):
                try:
                    Path(path).mkdir()
                except OSError as error:
                    errors.append(error.errno or 0)

        worker = threading.Thread(target=strive)
        if thread:
            worker.start()
            worker.join()
        else:
            strive()
        return {"errors": errors}

    def do_memory(self, name: str) -> Answer:
        """What the kernel holds for a socket: bytes in its receive queue, its limit, and messages dropped."""
        port = self.clients[name].socket.getsockname()[0]
        limit = self.clients[name].socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        for line in Path("/proc/net/netlink").read_text().splitlines()[1:]:
            fields = line.split()
            if (int(fields[1]), int(fields[2])) == (NETLINK_GENERIC, port):
                return {"held": int(fields[4]), "limit": limit, "drops": int(fields[8])}
        raise LookupError(f"no socket with port {port}")

    def do_as(self, who: Options, steps: list[tuple[str, Options]]) -> Answer:
        """Run steps in a child process that is somebody else: see `become`."""
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            become(**who)
            os.write(writing, json.dumps(self.run(steps), default=text).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as stream:
            told = stream.read()
        os.waitpid(child, 0)
        return {"inner": json.loads(told)}


def issued() -> dict[int, int]:
    """Return how many calls each CPU has counted, by a socket of its own: one that has joined would lose events."""
    client = Client()
    counts = {reply["cpu"]: int(reply["issued"]) for reply in client.ask("cpu-get", {})}
    client.socket.close()
    return counts


def helper(script: str) -> list[str]:
    """Return the command that runs a script of the helper in C."""
    return [str(HERE / "helper"), str(DEADLINE_SECONDS), script]


def receive_batches(client: Client, account: Account, seconds: float) -> None:
    """Take in what is there, or the first to come within some seconds."""
    if not select.select([client.socket], [], [], seconds)[0]:
        return
    try:
        for kind, _, _, body in client.receive():
            if kind == client.family["id"]:
                account.take(body)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        client.overflows += 1


def try_file(name: str) -> None:
    """Open a file that is not there."""
    os.close(os.open(name, os.O_RDONLY))


def try_directory(name: str) -> None:
    """Make a directory where none can be."""
    Path(name).mkdir()


def make_marks(attempt: Callable[[str], None]) -> set[bytes]:
    """On each CPU that is online, try something with a name that nobody else knows."""
    # Not those that this process may use now: one of them may have been away.
    found, cpus = set(), range(os.sysconf("SC_NPROCESSORS_CONF"))
    for cpu in cpus:
        mark = f"/proc/{os.urandom(8).hex()}"
        try:
            os.sched_setaffinity(0, {cpu})
        except OSError:
            continue
        with contextlib.suppress(OSError):
            attempt(mark)
        found.add(mark.encode())
    os.sched_setaffinity(0, cpus)
    return found


def become(uid: int = 0, only: list[int] | None = None, without: list[int] | None = None, namespaces: int = 0) -> None:
    """Become another user, keep some capabilities only, lose some, enter namespaces of one's own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if namespaces and libc.unshare(namespaces):
        raise OSError(ctypes.get_errno(), "unshare")
    if uid:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if only is None and without is None:
        return
    bits = sum(1 << cap for cap in only) if only is not None else ~sum(1 << cap for cap in without or [])
    head = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    caps = ctypes.create_string_buffer(24)
    libc.capget(head, caps)
    held = list(words(caps.raw[:24], "I"))
    # Effective, permitted, inheritable: twice. A change of user has left the permitted ones only.
    kept = [permitted & (bits >> 32 * i) & 0xFFFFFFFF for i, permitted in enumerate(held[1::3])]
    if libc.capset(head, struct.pack("=6I", *(one for each in kept for one in (each, each, 0)))):
        raise OSError(ctypes.get_errno(), "capset")


def text(value: bytes) -> str:
    """Bytes for JSON: each a character."""
    return value.decode("latin-1")


def serve() -> None:
    """Answer at the socket `client` beside this file, each script in a child; return when the server is there.

    A script is what is sent, up to its end; the answer is a line with a status, 0 if all went well, and a text. An
    empty script ends the server.
    """
    listener = socket.socket(socket.AF_UNIX)
    place = HERE / "client"
    with contextlib.suppress(FileNotFoundError):
        place.unlink()
    listener.bind(str(place))
    listener.listen()
    if os.fork():
        return
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        signal.alarm(IDLE_SECONDS)
        connection, _ = listener.accept()
        if not os.fork():
            listener.close()
            answer_script(connection)
        connection.close()


def answer_script(connection: socket.socket) -> None:
    """Run the script that comes, answer, and end this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.alarm(2 * DEADLINE_SECONDS)
    script = b"".join(iter(lambda: connection.recv(65536), b""))
    if not script:
        os.kill(os.getppid(), signal.SIGTERM)
    try:
        told = "0\n" + json.dumps(Session().run(json.loads(script or "[]")), default=text)
    except Exception:  # whatever it is, the test is to show it
        told = "1\n" + traceback.format_exc()
    connection.sendall(told.encode())
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        print(json.dumps(Session().run(json.loads(sys.argv[1])), default=text))

"""Running commands in a machine through the program that waits in it: `agent.c`, which says how they talk.

A machine has two ports: its owner's, and that of the tests, which run in a process of their own. What comes through
them is what a machine says of itself, as with ssh: it is read within bounds, and believed as far as that goes.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from kmodlab.errors import LabError
from kmodlab.paths import socket_within_reach
from kmodlab.vm.shell import UNBOUNDED, ConnectionLost, Done, Watch

#: QEMU's socket of a port is NAME.sock in the machine's directory; in the machine the port is /dev/virtio-ports/NAME
OWNER, TESTS = "owner", "tests"
SOURCE = Path(__file__).with_name("agent.c")
#: where programs of ours are in a machine
FOLDER = "/usr/local/lib/kmodlab"
_HEAD = struct.Struct("!cII")
_STATUS = struct.Struct("!I")
#: bytes of input in one message
_PIECE = 1 << 16
#: bytes that a message of the machine's may have
_LONGEST = 1 << 16
#: how often whoever waits for a command is asked whether it goes on
_WATCH_SECONDS = 0.2


class Agent:
    """A connection to the program in a machine; the machine has to be running.

    Args:
        directory: the machine's.
        port: `OWNER` or `TESTS`; each takes one connection at a time.

    Raises:
        LabError: QEMU does not take the connection.
    """

    def __init__(self, directory: Path, port: str) -> None:
        try:
            self._socket = _connect(directory, f"{port}.sock")
        except OSError as error:
            raise LabError(f"the machine's port cannot be reached: {error}", log=directory / "qemu.log") from error
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._number = 0
        self._unsent = bytearray()
        self._heard = bytearray()

    def close(self) -> None:
        """End the connection: the machine ends what runs there."""
        self._selector.close()
        self._socket.close()

    def answer(self, watch: Watch) -> None:
        """Wait until the program answers.

        Args:
            watch: as for `run`.

        Raises:
            ConnectionLost: QEMU has ended.
        """
        self._number += 1
        self._say(b"p")
        next(self._answers(watch))

    def run(self, words: str, watch: Watch, *, stdin: bytes = b"", most: int = UNBOUNDED) -> Done:
        """Run a command as root, and return what it did.

        Args:
            words: for /bin/sh.
            watch: called some times a second meanwhile; what it raises ends the command.
            stdin: what it reads.
            most: bytes that it may print to one of its outputs.

        Raises:
            ConnectionLost: QEMU has ended.
            LabError: the machine could not start it, or says what makes no sense.
        """
        self._number += 1
        self._say(b"r", words.encode(errors="surrogateescape"))
        for start in range(0, len(stdin), _PIECE):
            self._say(b"i", stdin[start : start + _PIECE])
        self._say(b"i")
        streams = {b"o": bytearray(), b"e": bytearray()}
        try:
            for kind, content in self._answers(watch):
                if kind == b"x" and len(content) == _STATUS.size:
                    return Done(_STATUS.unpack(content)[0], bytes(streams[b"o"]), bytes(streams[b"e"]))
                if kind == b"f":
                    raise LabError(f"the machine starts no command: {content.decode(errors='replace')}")
                streams[kind] += content
                if len(streams[kind]) >= most:
                    break
        except KeyError as error:
            raise LabError(f"the machine's answer makes no sense: {error}") from error
        except BaseException:
            self._say(b"k")
            raise
        self._say(b"k")
        return Done(128 + 9, bytes(streams[b"o"]), bytes(streams[b"e"]), whole=False)

    def _say(self, kind: bytes, content: bytes = b"") -> None:
        self._unsent += _HEAD.pack(kind, self._number, len(content)) + content
        self._send()

    def _send(self) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent[: 4 * _PIECE])]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._selector.modify(self._socket, wanted)

    def _answers(self, watch: Watch) -> Iterator[tuple[bytes, bytes]]:
        """Yield what is said to the last command; what earlier ones still say is not listened to."""
        while True:
            while message := self._message():
                kind, number, content = message
                if number == self._number:
                    yield kind, content
            self._wait()
            watch()

    def _message(self) -> tuple[bytes, int, bytes] | None:
        if len(self._heard) < _HEAD.size:
            return None
        kind, number, length = _HEAD.unpack_from(self._heard)
        if length > _LONGEST:
            raise LabError(f"the machine's answer makes no sense: a message of {length} bytes")
        if len(self._heard) < (end := _HEAD.size + length):
            return None
        content = bytes(self._heard[_HEAD.size : end])
        del self._heard[:end]
        return kind, number, content

    def _wait(self) -> None:
        for _, events in self._selector.select(_WATCH_SECONDS):
            if events & selectors.EVENT_WRITE:
                self._send()
            if events & selectors.EVENT_READ:
                try:
                    data = self._socket.recv(4 * _PIECE)
                except ConnectionResetError:
                    data = b""
                if not data:
                    raise ConnectionLost("connection", "the machine has ended")
                self._heard += data


def _connect(directory: Path, name: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_within_reach(directory, name) as path:
            connection.connect(path)
    except BaseException:
        connection.close()
        raise
    connection.setblocking(False)
    return connection


def compiled(name: str, source: Path) -> str:
    """Return the shell words that compile a program in a machine; they go on after an error, without `set -e`.

    Args:
        name: of the program, in `FOLDER`.
        source: one file of C.
    """
    return f"mkdir -p {FOLDER}\ngcc -O2 -static -o {FOLDER}/{name} -x c - <<'END_OF_C'\n{source.read_text()}END_OF_C\n"


def installation() -> str:
    """Return the shell words that compile the agent in a machine, and start it."""
    ports = [f"/dev/virtio-ports/{name}" for name in (OWNER, TESTS)]
    # What a test starts is an ordinary process, without a service's limits.
    like = "-p IgnoreSIGPIPE=no -p TasksMax=infinity -p KillMode=process"
    start = f"systemd-run --quiet --unit kmodlab-agent {like} {FOLDER}/agent {' '.join(ports)}"
    find = f"modprobe virtio_console; udevadm settle; ls {' '.join(ports)} >/dev/null"
    return f"set -e\n{compiled('agent', SOURCE)}{find}\n{start}\n"


def devices() -> list[str]:
    """Return QEMU's options for both ports."""
    options = ["-device", "virtio-serial-pci,max_ports=3"]
    for name in (OWNER, TESTS):
        options += ["-chardev", f"socket,id={name},path={name}.sock,server=on,wait=off"]
        options += ["-device", f"virtserialport,chardev={name},name={name}"]
    return options

"""A QMP server that speaks the protocol over a real Unix socket, and can be told to misbehave.

Source: QEMU Machine Protocol Specification. A client's commands follow one another without line ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

Message = dict[str, object]
GREETING: Message = {
    "QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}, "capabilities": []}
}
#: what the server does with a command: the messages to send, or None to send nothing and go on listening
Answer = Callable[[Message], list[Message] | None]


class Hangup(Exception):
    """Raised by an answer to close the connection instead."""


class FakeQmp:
    """Listens on `qmp.sock` in a directory, however deep; `received` lists the commands after the handshake."""

    def __init__(self, directory: Path, answer: Answer, *, greets: bool = True) -> None:
        self.received: list[Message] = []
        self._answer = answer
        self._greets = greets
        self._done = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            self._listener.bind(f"/proc/self/fd/{descriptor}/qmp.sock")
        finally:
            os.close(descriptor)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> FakeQmp:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while not self._done.is_set():
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(Hangup, OSError):
                    self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        if not self._greets:
            self._done.wait(60)
            return
        _send(connection, GREETING)
        for command in _commands(connection):
            if command["execute"] == "qmp_capabilities":
                messages: list[Message] | None = [{"return": {}}]
            else:
                self.received.append(command)
                messages = self._answer(command)
            for message in messages or []:
                about = {} if "event" in message or "id" not in command else {"id": command["id"]}
                _send(connection, {**message, **about})


def _send(connection: socket.socket, message: Message) -> None:
    connection.sendall(json.dumps(message).encode() + b"\r\n")


def _commands(connection: socket.socket) -> Iterator[Message]:
    text, decoder = "", json.JSONDecoder()
    while data := connection.recv(65536):
        text += data.decode()
        while text := text.lstrip():
            try:
                command, end = decoder.raw_decode(text)
            except ValueError:
                break
            text = text[end:]
            yield command

"""A Python that has imported what it needs: it forks for each program, which so begins after some 20 ms.

`python warm.py PLACE MODULE...` imports the modules, and then runs whatever its clients (warm_client.py) ask for until
its standard input ends: `-c CODE`, `-m MODULE` or a file, with words for it. The program has the client's input and
outputs, folder, mask and environment, and the client ends as the program does. Only what Python learns from the
environment before it begins (the encoding of file names, say) is as the server has found it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import marshal
import os
import runpy
import selectors
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

if __package__:
    from .warm_client import is_open
else:
    from warm_client import is_open  # type: ignore[import-not-found, no-redef]  # as the server

#: input, output and errors of a program
CHANNELS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


class Request(NamedTuple):
    """What a client asks for; `channels` are those of 0, 1 and 2 that are open there."""

    words: list[str]
    channels: list[int]
    cwd: str
    umask: int
    env: dict[str, str]


@contextlib.contextmanager
def python(*modules: str, **variables: str) -> Iterator[list[str]]:
    """Run a server that has imported `modules`, with further variables; what is given stands for `sys.executable`."""
    # From where these tests have theirs; PYTHONPATH is not among what the tests hand on.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}
    with tempfile.TemporaryDirectory(prefix="kmodlab-", dir="/tmp") as near:  # sockets have short names
        place = f"{near}/python"
        argv = [sys.executable, __file__, place, *modules]
        with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdin
            assert server.stdout
            with server.stdin:
                assert server.stdout.readline() == b"ready\n"
                yield [sys.executable, "-I", "-S", str(Path(__file__).with_name("warm_client.py")), place]


# -- a program -----------------------------------------------------------------------------------------------------


def _file(descriptor: int, mode: str) -> io.TextIOWrapper | None:
    """The file object that Python makes of a channel as it begins: none of one that is closed."""
    if not is_open(descriptor):
        return None
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    return io.TextIOWrapper(
        open(descriptor, f"{mode}b"),
        encoding or "utf-8",
        errors or ("backslashreplace" if descriptor == 2 else "strict"),
        line_buffering=descriptor == 2,
        write_through=bool(os.environ.get("PYTHONUNBUFFERED")),
    )


def _become(request: Request, given: list[int]) -> None:
    """Take over what the client has."""
    for channel in {0, 1, 2}.difference(request.channels):
        os.close(channel)
    for one, channel in zip(given, request.channels, strict=True):
        os.dup2(one, channel)
        os.close(one)
    os.chdir(request.cwd)
    os.umask(request.umask)
    os.environ.clear()
    os.environ.update(request.env)
    for channel, (name, mode) in enumerate(CHANNELS):
        setattr(sys, name, _file(channel, mode))
        setattr(sys, f"__{name}__", getattr(sys, name))


def _run(words: list[str]) -> None:
    """Be `python WORD...`."""
    first, *rest = words
    sys.argv = ["-c", *rest[1:]] if first == "-c" else rest if first == "-m" else words
    added = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one and one not in sys.path]
    sys.path[:0] = [str(Path(first).parent) if sys.argv is words else str(Path.cwd()), *added]
    if first == "-c":
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
    elif first == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(first, run_name="__main__")


# -- the server ----------------------------------------------------------------------------------------------------


class Server:
    """Forks for each request."""

    def __init__(self, place: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._waiting: dict[int, socket.socket] = {}
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(place)
        self._listening.listen()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(0, selectors.EVENT_READ)

    def serve(self) -> list[str]:
        """Return the words of a program in the process that is to be it; nothing in the server, once it may end."""
        while True:
            for key, _ in self._selector.select():
                if key.fd == 0:
                    return []
                if key.fd != self._listening.fileno():
                    self._reap(key.fd, key.data)
                elif words := self._begin():
                    return words

    def _begin(self) -> list[str]:
        client, _ = self._listening.accept()
        length, given, _, _ = socket.recv_fds(client, 8, len(CHANNELS))
        request = Request(*marshal.loads(client.recv(int(length), socket.MSG_WAITALL)))  # noqa: S302
        if pid := os.fork():
            for one in given:
                os.close(one)
            self._waiting[number := os.pidfd_open(pid)] = client
            self._selector.register(number, selectors.EVENT_READ, pid)
            return []
        client.close()
        self._leave()
        _become(request, given)
        return request.words

    def _leave(self) -> None:
        """Close, in a program, what is the server's."""
        self._selector.close()
        self._listening.close()
        for number, client in self._waiting.items():
            os.close(number)
            client.close()

    def _reap(self, number: int, pid: int) -> None:
        """Tell how a program has ended, unless nobody waits for it any more."""
        self._selector.unregister(number)
        os.close(number)
        _, status = os.waitpid(pid, 0)
        with self._waiting.pop(number) as client, contextlib.suppress(OSError):
            client.sendall(b"%d" % os.waitstatus_to_exitcode(status))


def _main(place: str, *modules: str) -> None:
    del sys.path[0]  # this file's: its neighbours are no modules of their own
    for module in modules:
        importlib.import_module(module)
    # What was imported stays shared with the programs: none of them looks through it for what could be freed.
    gc.freeze()
    server = Server(place)
    print("ready", flush=True)
    if words := server.serve():
        _run(words)


if __name__ == "__main__":
    _main(*sys.argv[1:])

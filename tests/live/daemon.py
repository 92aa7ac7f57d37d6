"""`kmodlabd serve` as a user starts it, beside a recorder whose records a test chooses."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from patience import SECONDS
from unit.live_server import Answer
from unit.live_source import proc_of

from kmodlab.daemon import lister
from kmodlab.daemon.api import keys
from kmodlab.daemon.demo_tasks import DemoTasks
from kmodlab.daemon.invite import invite, noted
from kmodlab.daemon.items import Feed
from kmodlab.daemon.recording import record

PROGRAM = "from kmodlab.daemon.program import program; program()"


def wait(until: Callable[[], Any], what: str = "it", saw: Callable[[], object] = str) -> Any:
    """Return what something becomes, once it is true; a machine may be slow."""
    end = time.monotonic() + SECONDS
    while not (found := until()):
        assert time.monotonic() < end, f"{what} did not happen: {saw()}"
        time.sleep(0.05)
    return found


def free_port() -> int:
    """Return a port of the loopback on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextlib.contextmanager
def program(argv: list[str], log: Path, end: signal.Signals = signal.SIGTERM) -> Iterator[subprocess.Popen[bytes]]:
    """A program for as long as the block runs; it has to end when it is asked to."""
    with log.open("wb") as said:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        yield process
        assert process.poll() is None, f"{argv[0]} has ended: {log.read_text()}"
    finally:
        process.send_signal(end)
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert process.returncode == 0, log.read_text()


@dataclass(frozen=True)
class Way:
    """A way to a server: its own port, or that of a proxy in front of it.

    Attributes:
        port: of the loopback.
        path: what stands before every path.
        host: what the server is called there.
        source: address of the loopback that one comes from.
        authority: file of the authority that is trusted; None where no TLS is spoken.
    """

    port: int
    path: str = ""
    host: str = "127.0.0.1"
    source: str = "127.0.0.1"
    authority: Path | None = None

    @property
    def origin(self) -> str:
        return f"{'https' if self.authority else 'http'}://{self.host}:{self.port}"

    def send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: object = None
    ) -> http.client.HTTPConnection:
        """Ask; return that of which the answer is still to be waited for."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, SECONDS, (self.source, 0))
        connection.connect()
        if self.authority:
            tls = ssl.create_default_context(cafile=str(self.authority))
            connection.sock = tls.wrap_socket(connection.sock, server_hostname=self.host)
        raw = None if body is None else json.dumps(body)
        kind = {} if raw is None else {"content-type": "application/json"}
        named = {"host": f"{self.host}:{self.port}", **kind, **(headers or {})}
        connection.request(method, self.path + path, raw, named)
        return connection

    def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: object = None) -> Answer:
        """Ask, and read the whole answer."""
        with contextlib.closing(self.send(method, path, headers, body)) as connection:
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@dataclass(frozen=True)
class Daemon:
    """A running daemon: a key for a program that reads and one for one that may change things; where it is."""

    way: Way
    reader: str
    admin: str
    socket: Path
    process: subprocess.Popen[bytes]

    def books(self, made: int) -> Any:
        """The ledger, once so many calls are in the sums or were let go, and none is on its way; while it goes on."""
        progress = -1
        while True:
            told = wait(functools.partial(self._further, progress, made), "something is counted", self._totals)
            if _settled(told["totals"], made):
                return told
            progress = _counted(told["totals"])

    def _further(self, than: int, made: int) -> Any:
        """The ledger, if more is counted than that, or all."""
        told = self.get("/api/v1/ledger")
        return told if _counted(told["totals"]) > than or _settled(told["totals"], made) else None

    def _totals(self) -> Any:
        return self.get("/api/v1/ledger")["totals"]

    def get(self, path: str) -> Any:
        """What the interface answers a program."""
        answer = self.way.ask("GET", path, {"authorization": f"Bearer {self.reader}"})
        assert answer.status == 200, answer.body
        return answer.json

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Have it do nothing for as long as the block runs."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def token(self, role: str = "admin") -> str:
        """An invitation, which `kmodlabd invite` would print with the address that is noted."""
        assert noted(self.socket) == (self.way.port, "https" if self.way.authority else "http")
        return invite(self.socket, role)


def shed(totals: Mapping[str, int]) -> int:
    """How many calls the recorder has let go."""
    return sum(n for name, n in totals.items() if name.startswith("shed_"))


def _counted(totals: Mapping[str, int]) -> int:
    return totals.get("rolled", 0) + shed(totals)


def _settled(totals: Mapping[str, int], made: int) -> bool:
    waiting = sum(totals.get(name, 0) for name in ("pending", "waiting"))
    return _counted(totals) >= made and not waiting


@contextlib.contextmanager
def serving(
    folder: Path,
    feed: Feed,
    *options: str,
    authority: Path | None = None,
    keys_file: Path | None = None,
    code: str = PROGRAM,
    has_lister: bool = True,
) -> Iterator[Daemon]:
    """A daemon that shows what a feed brings; its keys are where they are by themselves, or in a file of its own.

    `code` is what Python runs to be it: that of a mutant is another one. `has_lister`: whether it sees tasks, whose
    looks have this host's clock, and not that of the feed.
    """
    history = folder / "history"
    folder.mkdir(exist_ok=True)
    with recording(history, feed, has_lister=has_lister):
        pair = made_keys(keys_file or history / keys.FILE)
        named = ["--keys", str(keys_file)] if keys_file else []
        with served(folder, pair, *named, *options, authority=authority, code=code) as daemon:
            yield daemon


@contextlib.contextmanager
def recording(history: Path, feed: Feed, *, has_lister: bool = True) -> Iterator[None]:
    """What `kmodlabd record` does, in a thread: so a test has the feed in its hand."""
    at, tasks = history.parent / "socket", DemoTasks(1, "b007", 0)
    proc = history.parent / "proc"
    if has_lister:
        proc_of(proc, tasks.stats().text, tasks.listing().text)
    given = (history, at, feed, lambda: lister.opened(proc))
    thread = threading.Thread(target=record, args=given, name="record")
    thread.start()
    try:
        wait(lambda: at.exists() or not thread.is_alive(), "it records")
        assert thread.is_alive(), "the log has why"
        yield
    finally:
        if thread.is_alive():
            # It waits for signals, as its process does.
            signal.pthread_kill(cast("int", thread.ident), signal.SIGTERM)
            thread.join(SECONDS)
        assert not thread.is_alive()


def made_keys(file: Path) -> tuple[str, str]:
    """New keys in a file: of a reader, of an admin."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return keys.made(file, "reader", "reader"), keys.made(file, "admin", "admin")


@contextlib.contextmanager
def served(
    folder: Path, pair: tuple[str, str], *options: str, authority: Path | None = None, code: str = PROGRAM
) -> Iterator[Daemon]:
    """The process that serves, by itself."""
    at = folder / "dashboard" / "socket"
    at.parent.mkdir(parents=True, exist_ok=True)
    argv = serve_argv(folder, *options, code=code)
    with program(argv, folder / "daemon.log") as process:
        log = folder / "daemon.log"
        wait(lambda: " ready" in log.read_text() or process.poll() is not None, "ready", log.read_text)
        assert process.poll() is None, log.read_text()
        port, scheme = noted(at)
        assert scheme == ("https" if authority else "http")
        yield Daemon(Way(port, authority=authority), *pair, at, process)


def serve_argv(folder: Path, *options: str, code: str = PROGRAM) -> list[str]:
    """What starts the process that serves, with all that it has in one folder."""
    places = {"folder": "history", "recorder": "socket", "socket": "dashboard/socket"}
    named = [word for name, path in places.items() for word in (f"--{name}", str(folder / path))]
    port = [] if "--port" in options else ["--port", "0"]
    return [sys.executable, "-c", code, "serve", *named, *port, *options]


def file_of(folder: Path, name: str, text: str) -> Path:
    """A file with this text, for its owner alone."""
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return path

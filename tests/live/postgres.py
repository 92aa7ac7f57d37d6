"""Debian's PostgreSQL as its own user, in a folder of its own, on a Unix socket; and a history copied into it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from patience import SECONDS
from unit.daemon_tape import drain

from kmodlab.daemon import outbox, postgres
from kmodlab.daemon.fleet import Fleet
from kmodlab.daemon.postgres import Address
from kmodlab.daemon.roller import Roller
from kmodlab.daemon.shipper import Copy
from kmodlab.daemon.store import NAME
from live.daemon import wait

PORT = 5432
"""Part of the socket's name where there is no other."""
USER = "postgres"
"""Whom the server runs as where the tests are root, whom it refuses."""


def binary(name: str) -> str:
    """A program of the newest PostgreSQL that is here."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    assert found, "PostgreSQL is not installed: `.config/setup live` installs it"
    return str(found[-1])


@dataclass
class Postgres:
    """A cluster; `start` it. It keeps what it has while it is down. With a port it listens on the loopback, too."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"postgresql:///{self._database}?host={self.folder}&port={self.port or PORT}&user={USER}"

    _database: str = "postgres"

    def address(self, database: str = "postgres") -> Address:
        """Where a database of it is; it is made."""
        if database != "postgres":
            with postgres.connect(postgres.address(self.url)) as base:
                base.execute(f"create database {database}".encode())
        return postgres.address(self.url.replace("///postgres?", f"///{database}?"))

    def make(self) -> None:
        """Make the cluster."""
        argv = [binary("initdb"), "-D", str(self.folder / "data"), "-A", "trust", "-U", USER, "-E", "UTF8",
                "--no-locale", "--no-sync"]  # fmt: skip
        subprocess.run(argv, check=True, capture_output=True, **_as_user())  # type: ignore[call-overload]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        # Processes are killed here, and no machine: what was written is in its memory, and the disk is not waited for.
        argv = [binary("postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder),
                "-p", str(self.port or PORT), "-c", f"listen_addresses={'127.0.0.1' if self.port else ''}",
                "-c", "max_connections=40", "-c", "shared_buffers=32MB", "-c", "fsync=off"]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, **_as_user())  # type: ignore[call-overload]
        wait(self._answers, "PostgreSQL answers", (self.folder / "log").read_text)

    def _answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, (self.folder / "log").read_text()
        with contextlib.suppress(postgres.driver().OperationalError):
            postgres.connect(postgres.address(self.url)).close()
            return True
        return False

    def end(self, by: signal.Signals = signal.SIGQUIT) -> None:
        """End it at once, as a crash does: SIGQUIT is its immediate stop, SIGKILL takes it by surprise."""
        assert self.process
        self.process.send_signal(by)
        self.process.wait(SECONDS)
        if by == signal.SIGKILL:
            # Its children see that it is gone, and end; another one cannot start before.
            wait(lambda: not _children(self.folder), "its children ended")

    def kill_connections(self) -> None:
        """Have every other connection end."""
        with postgres.connect(postgres.address(self.url)) as base:
            base.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()")


def _children(folder: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "cwd").readlink() == folder / "data":
                found.append(int(path.name))
    return found


def _as_user() -> dict[str, object]:
    if os.geteuid():
        return {}
    user = pwd.getpwnam(USER)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}


@contextlib.contextmanager
def running(port: int = 0) -> Iterator[Postgres]:
    """A cluster for as long as the block runs. Its folder's path is short, for a socket's may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="kmodlab-pg-", dir="/tmp"))
    if not os.geteuid():
        shutil.chown(folder, USER)
    one = Postgres(folder, port)
    try:
        one.make()
        one.start()
        yield one
    finally:
        if one.process and one.process.poll() is None:
            one.end()
        shutil.rmtree(folder)


def copy(folder: Path, where: Address) -> None:
    """Roll what is there, and copy a history, whose daemon does not run, as that would have copied it."""
    roller = Roller(folder, ships=True)
    try:
        drain(roller)
        with contextlib.closing(postgres.connect(where)) as base:
            postgres.migrate(base)
            one = Copy(base, *outbox.key_of(folder / NAME))
            roller.index.acknowledge(one.cursor)
            more = True
            while more:
                load = outbox.read(folder / "raw", folder / NAME, one.cursor, one.block)
                if not load.empty:
                    one.put(load)
                    roller.index.acknowledge(one.cursor)
                more = load.more or not load.complete
    finally:
        roller.close()


def copied(folder: Path, where: Address, seconds: float = 60.0) -> Fleet:
    """The questions to a copy."""
    copy(folder, where)
    return Fleet(where, seconds=seconds)

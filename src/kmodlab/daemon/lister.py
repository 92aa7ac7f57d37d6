"""The files of the task lister: who may opens them, and who reads them needs no right of its own.

The kernel decides at `open` who may read (docs/abi.md); a descriptor that was handed on reads what its opener may.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kmodlab.errors import KmodlabError, ModuleUnavailable

STATS, LIST = "task_stats", "task_lister"
MOST_BYTES = 64 << 20
"""Half a million processes."""
_READ = 1 << 20
_DEPLOY = "`modprobe task_lister` as root; `ansible-playbook deploy.yml` builds and installs it"


@dataclass(frozen=True)
class Moment:
    """When something was read: boot id, CLOCK_BOOTTIME and CLOCK_REALTIME, ns."""

    boot: str
    t: int
    wall: int


@dataclass(frozen=True)
class Reading:
    """What a file said, and when."""

    moment: Moment
    text: str


@dataclass(frozen=True)
class Then:
    """What was before: the first file, at times the second, and always the PIDs that it has."""

    stats: Reading
    listing: Reading | None
    pids: Sequence[int]


@dataclass(frozen=True)
class Opened:
    """Descriptors of the two files, and the boot id of their machine."""

    stats: int
    listing: int
    boot: str

    def close(self) -> None:
        """Close them."""
        os.close(self.stats)
        os.close(self.listing)


class Lister(Protocol):
    """What tells of a machine's processes. Errors are `KmodlabError`s, which say why there is nothing."""

    def stats(self) -> Reading:
        """Return /proc/task_stats."""

    def listing(self) -> Reading:
        """Return /proc/task_lister."""

    def past(self) -> Iterable[Then]:
        """Yield what was before this began, oldest first."""

    def close(self) -> None:
        """Let go of the files."""


def unavailable(name: str, error: OSError) -> KmodlabError:
    """Return why a file of the lister cannot be opened."""
    if error.errno == errno.ENOENT:
        return ModuleUnavailable("the module task_lister is not loaded on this machine", hint=_DEPLOY)
    if error.errno in (errno.EPERM, errno.EACCES):
        hint = "the recorder's /proc is mounted with hidepid=; `ansible-playbook deploy.yml` writes its unit anew"
        return KmodlabError(f"/proc/{name} is hidden from the recorder", hint=hint)
    return KmodlabError(f"/proc/{name} cannot be read: {error.strerror}", hint="`dmesg` may tell why")


def opened(proc: Path = Path("/proc")) -> Opened:
    """Open both files.

    Raises:
        KmodlabError: one cannot be opened.
    """
    boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
    with contextlib.ExitStack() as stack:
        stats, found = (_open(proc, name, stack) for name in (STATS, LIST))
        stack.pop_all()
    return Opened(stats, found, boot)


def _open(proc: Path, name: str, stack: contextlib.ExitStack) -> int:
    try:
        descriptor = os.open(proc / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise unavailable(name, error) from error
    stack.callback(os.close, descriptor)
    return descriptor


def moment(boot: str) -> Moment:
    """Return what the clocks say."""
    return Moment(boot, time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.clock_gettime_ns(time.CLOCK_REALTIME))


class Files:
    """A `Lister` that reads descriptors, and has them opened anew once they fail: the module was unloaded.

    Args:
        open_them: opens both, or has somebody else do so.
    """

    def __init__(self, open_them: Callable[[], Opened] = opened) -> None:
        self._open_them = open_them
        self._opened: Opened | None = None
        self._lock = threading.Lock()

    def stats(self) -> Reading:
        """Return /proc/task_stats; see `Lister`."""
        return self._read(STATS)

    def listing(self) -> Reading:
        """Return /proc/task_lister; see `Lister`."""
        return self._read(LIST)

    def past(self) -> Iterable[Then]:
        """Yield nothing: nobody has read it before."""
        return ()

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._opened:
            self._opened.close()
        self._opened = None

    def _read(self, name: str) -> Reading:
        with self._lock:
            if self._opened:
                try:
                    return self._reading(self._opened, name)
                except OSError:
                    # What was opened before the module went is of no use, whether or not it has come back.
                    self._forget()
            self._opened = self._open_them()
            try:
                return self._reading(self._opened, name)
            except OSError as error:
                self._forget()
                raise unavailable(name, error) from error

    @staticmethod
    def _reading(files: Opened, name: str) -> Reading:
        when = moment(files.boot)
        return Reading(when, _whole(files.stats if name == STATS else files.listing, name))


def _whole(descriptor: int, name: str) -> str:
    """Return all that a file has, from its beginning.

    Raises:
        KmodlabError: it has no end.
        OSError: it cannot be read.
    """
    parts: list[bytes] = []
    size = 0
    while data := os.pread(descriptor, _READ, size):
        parts.append(data)
        size += len(data)
        if size > MOST_BYTES:
            raise KmodlabError(f"/proc/{name} has more than {MOST_BYTES >> 20} MiB")
    return b"".join(parts).decode("ascii", "backslashreplace")

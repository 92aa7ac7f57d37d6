"""The machine that this runs on: where its tracer shows, and how programs start and end there."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModuleUnavailable
from .family import NAME, tracer_spec
from .netlink import Connection, open_socket
from .program import Identity, Program, die_of

_PROC = f"its log is in /proc/{NAME} all the same"


@dataclass(frozen=True)
class Machine:
    """A machine, which has the tracer or has it not.

    Attributes:
        sysfs: is there while the module is loaded.
        claims: the directory in which clients say what they have changed; gone with the next boot, as the changes are.
        socket: opens a netlink socket.
        start: starts a program; see `Program`.
        die_of: ends this process by a signal.
    """

    sysfs: Path = Path("/sys/module") / NAME
    claims: Path = Path("/run/kmodlab-trace")
    socket: Callable[[], socket.socket] = open_socket
    start: Callable[[str, Sequence[str], set[signal.Signals | int], Identity], Program] = Program
    die_of: Callable[[int], None] = die_of

    @property
    def returns(self) -> Path:
        """The parameter that says whether calls are recorded at their return."""
        return self.sysfs / "parameters" / "returns"

    def connect(self) -> Connection:
        """Return a connection to the tracer's family.

        Raises:
            ModuleUnavailable: with what to do about it.
        """
        try:
            return Connection(tracer_spec(), self.socket())
        except ModuleUnavailable as error:
            if error.hint:
                raise
            raise self._unavailable(error) from error

    def _unavailable(self, error: ModuleUnavailable) -> ModuleUnavailable:
        if not self.sysfs.exists():
            return ModuleUnavailable(
                f"the module {NAME} is not loaded on this machine",
                hint=f"`modprobe {NAME}` as root; `ansible-playbook deploy.yml` builds and installs it",
            )
        return ModuleUnavailable(
            f"the module {NAME} that is loaded here has no netlink family: {error.message}",
            hint=f"it is older than this program, or this is a network namespace of its own: deploy it again; {_PROC}",
        )

    def require_loaded(self) -> None:
        """Raise where the module has gone: its records would not come any more, and nobody would say so.

        Raises:
            ModuleUnavailable: it has.
        """
        if not self.sysfs.exists():
            raise ModuleUnavailable("the module syscall_tracer was unloaded meanwhile")


HERE = Machine()

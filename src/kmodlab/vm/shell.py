"""A shell in a machine, by either way in: ssh (`ssh.py`), or the agent on virtio-serial (`agent.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

#: called some times a second while something is waited for; what it raises ends the wait
Watch = Callable[[], None]
#: bytes: more than any command prints
UNBOUNDED = 1 << 62


@dataclass(frozen=True)
class CommandResult:
    """What a command in a machine did.

    Attributes:
        status: its exit status.
        stdout: its standard output.
        stderr: its standard error.
    """

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Done:
    """The same as the machine said it.

    Attributes:
        status: its exit status; 128 and the signal's number where one ended it.
        out: its standard output.
        err: its standard error.
        whole: false where it printed more than was wanted, and was ended.
    """

    status: int
    out: bytes
    err: bytes
    whole: bool = True

    @property
    def text(self) -> CommandResult:
        """It, with what it printed as text."""
        return CommandResult(self.status, self.out.decode(errors="replace"), self.err.decode(errors="replace"))


class ConnectionLost(EOFError):
    """A way into a machine failed: QEMU has ended, or the way itself is no good.

    Args:
        way: which one, for a sentence.
        output: what was said last.
        exit_code: of the program that was the way.
    """

    def __init__(self, way: str, output: str, exit_code: int | None = None) -> None:
        super().__init__(output)
        self.way = way
        self.output = output
        self.exit_code = exit_code


class Shell(Protocol):
    """A way to run commands in a machine."""

    def answer(self, watch: Watch) -> None:
        """Wait until commands can be run.

        Raises:
            ConnectionLost: QEMU has ended.
        """

    def run(self, words: str, watch: Watch, *, stdin: bytes = b"", most: int = UNBOUNDED) -> Done:
        """Run a command as root, and return what it did.

        Args:
            words: for /bin/sh.
            watch: what it raises ends the command, too.
            stdin: what it reads.
            most: bytes that it may print to one of its outputs; more of it ends the command.

        Raises:
            ConnectionLost: see there.
        """

    def close(self) -> None:
        """Give the connection up, if there is one."""

"""A shell on the machine under test that stays: a session of ssh for each command costs more than most commands do."""

from __future__ import annotations

import secrets
import shlex
import subprocess
from typing import BinaryIO, cast

from testinfra.backend.base import BaseBackend
from testinfra.backend.ssh import SshBackend

SCRIPT = """{{ stderr=$( ( {command}
) </dev/null 2>&1 >&3 3>&- ); status=$?; }} 3>&1
printf '\\n%s %d %s\\n' {mark} $status "$stderr"; printf '%s\\n' {mark}
"""
"""Runs a command; then stands a line with a mark, its status and what it said on standard error, and the mark."""


class Channel:
    """One shell, started by the command that testinfra would run."""

    def __init__(self, backend: SshBackend, shell: str) -> None:
        """Begin.

        Args:
            backend: knows how to reach the machine.
            shell: the command for a shell that reads commands from its standard input.
        """
        # Its own way to run a command is this one; there is no public name for the first half.
        words, arguments = backend._build_ssh_command(shell)
        command = backend.quote(" ".join(words), *arguments)
        self._process = subprocess.Popen(
            ["sh", "-c", f"exec {command}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, command: str) -> tuple[int, str, str]:
        """Run a command, and return its status, output and errors.

        Raises:
            RuntimeError: the shell is gone, and the machine with it for all one knows.
        """
        mark = secrets.token_hex(16)
        try:
            into, back = cast("BinaryIO", self._process.stdin), cast("BinaryIO", self._process.stdout)
            into.write(SCRIPT.format(command=command, mark=mark).encode())
            into.flush()
            text = _read_to(back, f"{mark}\n".encode())
        except (BrokenPipeError, EOFError):
            status = self._process.wait()
            raise RuntimeError(
                f"the shell on the machine ended with {status} at {shlex.quote(command[:200])}"
            ) from None
        output, _, rest = text.decode("utf-8", "replace").partition(f"\n{mark} ")
        status_word, _, errors = rest.partition(" ")
        return int(status_word), output, errors.rstrip("\n")

    def close(self) -> None:
        """End the shell; what a command left running on the machine may go on."""
        self._process.terminate()
        self._process.communicate()


def _read_to(back: BinaryIO, end: bytes) -> bytes:
    """Return what comes before a line."""
    lines: list[bytes] = []
    while (line := back.readline()) != end:
        if not line:
            raise EOFError
        lines.append(line)
    return b"".join(lines)


def open_channel(backend: BaseBackend, shell: str) -> Channel | None:
    """Return a shell that stays; nothing where the machine is reached in another way than by ssh."""
    return Channel(backend, shell) if isinstance(backend, SshBackend) else None

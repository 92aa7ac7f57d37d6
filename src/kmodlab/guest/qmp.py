"""QEMU's machine protocol, as far as guests need it: a thin, synchronous face of the `qemu.qmp` library."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from qemu.qmp import ExecuteError, QMPClient, QMPError

from kmodlab.errors import LabError


async def _ask(directory: Path, command: str, arguments: Mapping[str, object], seconds: float) -> object:
    client = QMPClient("kmodlab")
    # Through /proc: a socket's path may have 107 bytes, and a state directory may be deeper than that.
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        async with asyncio.timeout(seconds):
            await client.connect(f"/proc/self/fd/{descriptor}/qmp.sock")
            try:
                return await client.execute(command, dict(arguments))
            finally:
                # After `quit` the other end may be gone before we are.
                with contextlib.suppress(EOFError, QMPError, OSError):
                    await client.disconnect()
    finally:
        os.close(descriptor)


def execute(
    directory: Path, command: str, arguments: Mapping[str, object] | None = None, *, seconds: float = 60
) -> object:
    """Run one QMP command in the QEMU whose socket `qmp.sock` is in a directory.

    Args:
        directory: the guest's state directory.
        command: of the QEMU QMP Reference Manual, `query-status` for instance.
        arguments: the command's arguments.
        seconds: deadline for connecting and answering.

    Raises:
        LabError: no QEMU listens there, it did not answer in time, or it refused the command.
    """
    try:
        return asyncio.run(_ask(directory, command, arguments or {}, seconds))
    except ExecuteError as error:
        raise LabError(f"QEMU refused {command}: {error}", log=directory / "qemu.log") from error
    except (QMPError, EOFError, OSError, TimeoutError) as error:
        raise LabError(f"QEMU does not answer {command}: {error!r}", log=directory / "qemu.log") from error


def human(directory: Path, line: str, *, seconds: float = 120) -> str:
    """Run one line of QEMU's human monitor, for the commands that QMP has no equivalent of.

    Raises:
        LabError: as `execute`, and when savevm or loadvm printed an error.
    """
    answer = str(execute(directory, "human-monitor-command", {"command-line": line}, seconds=seconds))
    if answer.startswith("Error"):
        raise LabError(f"QEMU's {line.split(maxsplit=1)[0]} failed: {answer.strip()}", log=directory / "qemu.log")
    return answer


def listens(directory: Path) -> bool:
    """Return whether a QEMU listens there already: its socket is in the directory a moment before."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(f"/proc/self/fd/{descriptor}/qmp.sock")
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    finally:
        os.close(descriptor)
    return True

"""QEMU's machine protocol, as far as guests need it: a thin, synchronous face of the `qemu.qmp` library."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from qemu.qmp import ExecuteError, QMPClient, QMPError

from kmodlab.errors import LabError
from kmodlab.paths import socket_within_reach

_SOCKET = "qmp.sock"
#: the human monitor answers when savevm has written all memory
_HUMAN_SECONDS = 120


async def _ask(directory: Path, command: str, arguments: Mapping[str, object], seconds: float) -> object:
    client = QMPClient("kmodlab")
    with socket_within_reach(directory, _SOCKET) as path:
        async with asyncio.timeout(seconds):
            await client.connect(path)
            try:
                return await client.execute(command, dict(arguments))
            finally:
                # After `quit` the other end may be gone before we are.
                with contextlib.suppress(EOFError, QMPError, OSError):
                    await client.disconnect()


@contextlib.contextmanager
def _explained(directory: Path, command: str) -> Iterator[None]:
    """Turn what the library raises into errors of the lab's."""
    try:
        yield
    except ExecuteError as error:
        raise LabError(f"QEMU refused {command}: {error}", log=directory / "qemu.log") from error
    except (QMPError, EOFError, OSError, TimeoutError) as error:
        raise LabError(f"QEMU does not answer {command}: {error!r}", log=directory / "qemu.log") from error


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
    with _explained(directory, command):
        return asyncio.run(_ask(directory, command, arguments or {}, seconds))


@contextlib.contextmanager
def connected(directory: Path, *, seconds: float = 60) -> Iterator[Callable[..., object]]:
    """Yield what `execute` is, for one QEMU over one connection: for several commands, one after the other.

    QEMU takes one connection at a time: nobody else gets an answer until the block ends.

    Args:
        directory: the guest's state directory.
        seconds: deadline for connecting, and for each answer.

    Raises:
        LabError: as `execute`; in the block, too.
    """
    with asyncio.Runner() as runner:
        client = QMPClient("kmodlab")

        async def connect() -> None:
            with socket_within_reach(directory, _SOCKET) as path:
                await asyncio.wait_for(client.connect(path), seconds)

        async def ask(command: str, arguments: Mapping[str, object]) -> object:
            return await asyncio.wait_for(client.execute(command, dict(arguments)), seconds)

        def execute_there(command: str, arguments: Mapping[str, object] | None = None) -> object:
            with _explained(directory, command):
                return runner.run(ask(command, arguments or {}))

        with _explained(directory, "connect"):
            runner.run(connect())
        try:
            yield execute_there
        finally:
            with contextlib.suppress(EOFError, QMPError, OSError):
                runner.run(client.disconnect())


def human(directory: Path, line: str) -> str:
    """Run one line of QEMU's human monitor, for the commands that QMP has no equivalent of.

    Raises:
        LabError: as `execute`, and when savevm or loadvm printed an error.
    """
    answer = str(execute(directory, "human-monitor-command", {"command-line": line}, seconds=_HUMAN_SECONDS))
    if answer.startswith("Error"):
        raise LabError(f"QEMU's {line.split(maxsplit=1)[0]} failed: {answer.strip()}", log=directory / "qemu.log")
    return answer


def listens(directory: Path) -> bool:
    """Return whether a QEMU listens there already: its socket is in the directory a moment before."""
    try:
        with socket_within_reach(directory, _SOCKET) as path, socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def status(answer: object) -> str:
    """Return what QEMU's answer to query-status, query-migrate and their like has as `status`; empty for none."""
    return str(answer.get("status", "")) if isinstance(answer, dict) else ""

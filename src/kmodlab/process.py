"""Running other programs, waiting with deadlines, and holding locks: the three things every part needs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TextIO

from kmodlab.errors import LabError


def say(message: str) -> None:
    """Show one line of progress on standard error, where it never mixes with a result."""
    print(f"kmodlab: {message}", file=sys.stderr, flush=True)


def _interrupted(number: int, _frame: object) -> None:
    # Once is enough: a second Ctrl-C would only disturb the clearing away, which has deadlines of its own.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    say("interrupted: clearing away what was begun")
    raise SystemExit(128 + number)


def interruptible() -> None:
    """Take back what was begun when interrupted: a signal's default action would leave QEMU and mmdebstrap behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)


class Deadline:
    """A point in monotonic time.

    Args:
        seconds: how far away it is, in seconds.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether it has passed."""
        return self.remaining <= 0


def run(
    argv: Sequence[str | Path],
    *,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    hint: str | None = None,
    what: str | None = None,
    umask: int = -1,
) -> bytes:
    """Run a program to its end and return its standard output; when interrupted, end it and its children first.

    Args:
        argv: program and arguments.
        log: append both output streams there instead of returning them.
        env: variables added to the environment.
        stdin: bytes to feed; nothing by default.
        hint: passed on in the error.
        what: the error's sentence; by default the program's name.
        umask: of the program; by default this process's.

    Raises:
        LabError: the program is missing, cannot be run, or exited with a status other than 0.
    """
    texts = [str(word) for word in argv]
    command = shlex.join(texts)
    full_env = {**os.environ, **env} if env else None
    try:
        with log.open("ab") if log else contextlib.nullcontext(subprocess.PIPE) as sink:
            status, out, err = finish(texts, stdin=stdin or b"", sink=sink, env=full_env, umask=umask)
    except FileNotFoundError as error:
        raise LabError(
            f"{argv[0]} is not installed", command=command, hint="run `kmodlab doctor`: it names the package"
        ) from error
    except PermissionError as error:
        raise LabError(f"{argv[0]} cannot be run: {error.strerror}", command=command, hint=hint) from error
    if status:
        output = tail(log) if log else (err or out).decode(errors="replace")[-2000:]
        message = what or f"{Path(str(argv[0])).name} failed"
        raise LabError(message, command=command, exit_code=status, log=log, output=output, hint=hint)
    return out


def finish(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    sink: int | IO[bytes] | None = subprocess.PIPE,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    watch: Callable[[], None] | None = None,
    umask: int = -1,
) -> tuple[int, bytes, bytes]:
    """Run a program as the leader of a process group; when interrupted, end the whole group before going on.

    Args:
        argv: program and arguments.
        stdin: bytes to feed.
        sink: where both output streams go, None for where those of this process go; by default they are returned.
        env: all its environment variables; by default those of this process.
        cwd: the directory to run it in.
        watch: called twice a second meanwhile; what it raises is an interruption.
        umask: of the program; by default this process's.

    Returns:
        Exit status, standard output, standard error.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with _signals_put_off(), as_input(stdin) as source:
            process = subprocess.Popen(
                argv, stdin=source, stdout=sink, stderr=sink, env=env, cwd=cwd, umask=umask, process_group=0
            )
        out, err = _communicate(process, watch)
    except BaseException:
        if process:
            end_group(process)
        raise
    return process.returncode, out or b"", err or b""


def _communicate(
    process: subprocess.Popen[bytes], watch: Callable[[], None] | None
) -> tuple[bytes | None, bytes | None]:
    while True:
        try:
            return process.communicate(timeout=0.5 if watch else None)
        except subprocess.TimeoutExpired:
            if watch:
                watch()


@contextlib.contextmanager
def as_input(data: bytes) -> Iterator[IO[bytes]]:
    """Hold bytes in a file for a program to read as its standard input; it may be closed once the program is started.

    A pipe would have to be fed, and `communicate()` that has timed out feeds it no more: what did not go through
    until then is never sent, and a program that waits for the end of its input waits for ever.

    Args:
        data: the bytes.
    """
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file


@contextlib.contextmanager
def _signals_put_off() -> Iterator[None]:
    """Let signals that end this process wait: one that came while a program starts would leave it to itself."""
    pending: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    mine = [number for number, handler in handlers.items() if callable(handler)]
    for number in mine:
        signal.signal(number, lambda number, _: pending.append(number))
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, handlers[number])
        for late in pending:
            signal.raise_signal(late)


def end_group(process: subprocess.Popen[bytes], seconds: float = 10) -> None:
    """End a program that leads a process group, with all its children: ask, then kill.

    Args:
        process: started with `process_group=0`.
        seconds: how long it may take to clean up after itself.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(path: Path, lines: int = 15, size: int = 8192) -> str:
    """Return the last lines of a text file, or an empty text when there is none.

    Args:
        path: the file.
        lines: how many lines at most.
        size: how many bytes to look at, at most.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock on a file; say so when another process holds it, and wait for it.

    The holder, and nobody else, may remove the file.

    Args:
        path: the lock's file, made when absent.
        what: what is being done, for the message to whoever waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a+") as file:
            _wait_for_lock(file, what)
            # The one before may have removed the file: then this lock is on nothing that anyone else will open.
            if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
                continue
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield
            return


def _wait_for_lock(file: TextIO, what: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        say(f"waiting for another kmodlab (process {file.read().strip() or 'unknown'}) to finish: {what}")
        fcntl.flock(file, fcntl.LOCK_EX)

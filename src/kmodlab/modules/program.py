"""The program that is traced: found, started, waited for; and the signals that come meanwhile."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from ..errors import KmodlabError, UsageError

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
SI_KERNEL = 0x80
"""The origin of a signal that a terminal has sent, to all programs in its foreground."""
SET_CHILD_SUBREAPER = 36
NOT_FOUND, NOT_EXECUTABLE = 127, 126


class CannotStart(UsageError):
    """The program cannot be started; `status` is what a shell exits with then."""

    def __init__(self, message: str, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


def find(word: str) -> str:
    """Return the file of a program, as a shell finds it.

    Raises:
        CannotStart: there is none, or it may not be executed.
    """
    places = [word] if "/" in word else [str(Path(place, word)) for place in os.get_exec_path()]
    files = [place for place in places if os.path.isfile(place)]  # noqa: PTH113  # no Path for every place
    for place in files:
        if os.access(place, os.X_OK):
            return place
    if files:
        raise CannotStart(f"{files[0]} is not executable", NOT_EXECUTABLE, f"chmod +x {files[0]}")
    if "/" in word and os.path.isdir(word):  # noqa: PTH112
        raise CannotStart(f"{word} is a directory", NOT_EXECUTABLE)
    raise CannotStart(f"{word}: no such program", NOT_FOUND, "its options go behind it, those of kmodlab before `--`")


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parents have ended.

    Source: PR_SET_CHILD_SUBREAPER in prctl(2)
    """
    import ctypes  # noqa: PLC0415  # slow to start, and wanted here only

    if ctypes.CDLL(None, use_errno=True).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise KmodlabError(f"prctl: {os.strerror(ctypes.get_errno())}")


class Signals:
    """Signals that would end this process wait, in a `with` block, until one asks: nothing is left half done."""

    def __enter__(self) -> Signals:
        self.before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in self.taken():
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self.before)

    def taken(self) -> Iterator[tuple[signal.Signals, bool]]:
        """Yield the signals that have come: which, and whether a terminal sent it."""
        while found := signal.sigtimedwait(ENDING, 0):
            yield signal.Signals(found.si_signo), found.si_code == SI_KERNEL


class Program:
    """A program that runs.

    Args:
        file: the program, as `find` has it.
        words: its name and its arguments.
        mask: the signals that it starts with blocked.

    Attributes:
        status: how it ended, as `os.wait` has it; None while it runs.

    Raises:
        CannotStart: it could not be started.
    """

    def __init__(self, file: str, words: Sequence[str], mask: set[signal.Signals | int]) -> None:
        self.status: int | None = None
        self._alone = False
        # What Python itself ignores, the program shall not.
        defaults = [signal.SIGPIPE, signal.SIGXFSZ]
        try:
            self.pid = os.posix_spawn(file, list(words), os.environ, setsigmask=mask, setsigdef=defaults)
        except OSError as error:
            status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            hint = "is the interpreter in its first line there?" if status == NOT_FOUND else "has it a `#!` line?"
            raise CannotStart(f"{file} cannot be started: {error.strerror}", status, hint) from error
        self.watch = os.pidfd_open(self.pid)

    def reap(self) -> None:
        """Take notice of the processes that have ended: the program, and orphans of its."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == self.pid:
                    self.status = status
                    os.close(self.watch)
                if not pid:
                    return
        self._alone = True

    @property
    def over(self) -> bool:
        """Whether the program and all its descendants have ended, as far as `reap` knows."""
        return self._alone

    def send(self, number: int) -> None:
        """Pass a signal on, if the program still runs."""
        if self.status is None:
            os.kill(self.pid, number)


def end_like(status: int, die: Callable[[int], None]) -> int:
    """Return the exit status of a program that exited; die of the signal of one that was killed.

    Args:
        status: as `os.wait` has it.
        die: ends this process by a signal.
    """
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    die(number)
    return 128 + number


def die_of(number: int) -> None:
    """End this process by a signal, without a core file, if it is one that ends processes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):  # KILL and STOP have no handlers
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)

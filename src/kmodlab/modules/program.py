"""The program that is traced: found, started, waited for; and the signals that come meanwhile."""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Identity:
    """As whom a program runs, and what it has in its environment: this process's, but for some changes.

    Attributes:
        changes: a variable and its value, or None to remove it, in their order.
        user: a user's name; None for who runs this process.
    """

    changes: tuple[tuple[str, str | None], ...] = ()
    user: str | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment."""
        found = dict(os.environ)
        for name, value in self.changes:
            if value is None:
                found.pop(name, None)
            else:
                found[name] = value
        return found

    def account(self) -> pwd.struct_passwd | None:
        """Return who that is; None for who runs this process.

        Raises:
            UsageError: there is no such user.
        """
        try:
            return pwd.getpwnam(self.user) if self.user is not None else None
        except KeyError as error:
            raise UsageError(f"-u: there is no user {self.user}", hint="`getent passwd` lists them") from error


NOBODY_ELSE = Identity()


def _spawn(file: str, argv: Sequence[str], mask: set[signal.Signals | int], identity: Identity) -> int:
    """Start a program; return its process."""
    account = identity.account()
    if account is not None:
        return _spawn_as(account, file, argv, mask, identity)
    # What Python itself ignores, the program shall not.
    defaults = [signal.SIGPIPE, signal.SIGXFSZ]
    return os.posix_spawn(file, list(argv), identity.environment(), setsigmask=mask, setsigdef=defaults)


def _spawn_as(
    account: pwd.struct_passwd, file: str, argv: Sequence[str], mask: set[signal.Signals | int], identity: Identity
) -> int:
    """The same as another user, with all groups of that."""
    import subprocess  # noqa: PLC0415  # wanted here only, and a start costs time on an emulated machine

    started = subprocess.Popen(
        list(argv),
        executable=file,
        env=identity.environment(),
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=os.getgrouplist(account.pw_name, account.pw_gid),
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask),  # noqa: PLW1509  # there are no threads
        close_fds=False,
    )
    started.returncode = 0  # who waits for it is `Program`
    return started.pid


def _cannot(file: str, error: OSError, identity: Identity) -> CannotStart:
    """Return what is said of a program that could not be started."""
    status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    hint = "is the interpreter in its first line there?" if status == NOT_FOUND else "has it a `#!` line?"
    if identity.user is not None and isinstance(error, PermissionError):
        hint = f"may {identity.user} execute it? Who is not root cannot be somebody else"
    return CannotStart(f"{file} cannot be started: {error.strerror}", status, hint)


class Program:
    """A program that runs.

    Args:
        file: the program, as `find` has it.
        argv: its name and its arguments.
        mask: the signals that it starts with blocked.
        identity: as whom.

    Attributes:
        status: how it ended, as `os.wait` has it; None while it runs.

    Raises:
        CannotStart: it could not be started.
    """

    def __init__(
        self,
        file: str,
        argv: Sequence[str],
        mask: set[signal.Signals | int],
        identity: Identity = NOBODY_ELSE,
    ) -> None:
        self.status: int | None = None
        self._alone = False
        try:
            self.pid = _spawn(file, argv, mask, identity)
        except OSError as error:
            raise _cannot(file, error, identity) from error
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

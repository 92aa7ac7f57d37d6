"""`kmodlab top`: which machine is shown, how it is reached, and whether there is a terminal to show it in."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kmodlab import dashboard
from kmodlab.errors import UsageError
from kmodlab.guest import Guest
from kmodlab.process import say

from .client import Client, Problem, TcpWay, UnixWay, Way

if TYPE_CHECKING:
    from http.client import HTTPConnection

AGAIN_SECONDS = 10.0
"""For a daemon that starts anew while it is watched: it is asked again all the same."""
_HINT = "`kmodlab history query` prints what a history has, for any reader"
_SESSION_OVER = 401


class GuestWay(TcpWay):
    """A tunnel to a guest, and a session of its daemon, both of which are made anew where they have ended.

    Args:
        guest: which is up.
    """

    renewable = True

    def __init__(self, guest: Guest) -> None:
        super().__init__(0)
        self._guest = guest
        self._remote = 0
        self._ssh: subprocess.Popen[str] | None = None
        self._stack = contextlib.ExitStack()

    @property
    def _carries(self) -> bool:
        return self._ssh is not None and self._ssh.poll() is None

    def connection(self, seconds: float) -> HTTPConnection:
        """See `Way`; without a tunnel there is no session."""
        if not self._carries:
            raise Problem(_SESSION_OVER, f"the connection to the guest {self._guest.name} has ended")
        return super().connection(seconds)

    def renew(self) -> None:
        """See `Way`: root there invites whoever has the guest's key."""
        self._enter(dashboard.invite(self._guest, lambda _: None, AGAIN_SECONDS))

    def begin(self) -> None:
        """Make both for the first time, and tell the user what is waited for.

        Raises:
            KmodlabError: there is no daemon, or no way to it.
        """
        self._enter(dashboard.invite(self._guest, say))

    def _enter(self, invitation: dashboard.Invitation) -> None:
        if not self._carries or invitation.port != self._remote:
            self._stack.close()
            through = dashboard.tunnel(self._guest, dashboard.free_port(), invitation.port)
            self.port, self._ssh = self._stack.enter_context(through)
            self._remote = invitation.port
        self.enter(invitation.token)

    def close(self) -> None:
        """See `Way`."""
        self._stack.close()


def guest(name: str) -> None:
    """Show a guest's machine.

    Raises:
        UsageError: there is no terminal, the guest is not up, or has no daemon.
        LabError: its daemon does not answer.
    """
    check_terminal()
    found = Guest(name)
    if not found.running:
        raise found.not_up()
    with contextlib.closing(GuestWay(found)) as way:
        way.begin()
        run(way)


def socket(path: Path) -> None:
    """Show the machine of a daemon that listens at a path.

    Raises:
        UsageError: there is no terminal, or nobody listens there.
        LabError: the daemon does not answer, or not to this user.
    """
    check_terminal()
    if not path.is_socket():
        hint = "/run/kmodlab/dashboard/socket is where the daemon of a machine has it"
        raise UsageError(f"{path} is no socket", hint=hint)
    run(UnixWay(path))


def demo() -> None:
    """Show a machine that is made up, and forget it.

    Raises:
        UsageError: there is no terminal.
    """
    check_terminal()
    from kmodlab.daemon.dashboard import background  # noqa: PLC0415  # it brings all that a server needs

    say("making up a machine and its past")
    with background() as path:
        run(UnixWay(path))


def check_terminal() -> None:
    """Look whether there is a terminal that can be drawn on.

    Raises:
        UsageError: there is none.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("top draws on a terminal, and this is none", hint=_HINT)
    kind = os.environ.get("TERM", "")
    if kind in ("", "dumb", "unknown"):
        hint = f"where it can do more than it says: `TERM=xterm-256color kmodlab top`; else {_HINT}"
        raise UsageError(f"a terminal of the kind `{kind}` cannot be drawn on", hint=hint)


def run(way: Way) -> None:
    """Be the program until somebody quits; the terminal is then as it was.

    Raises:
        LabError: the daemon does not answer, or not to this user.
        SystemExit: a signal ended it.
    """
    client = Client(way)
    session = client.get("session")
    from .app import Top  # noqa: PLC0415  # what takes long comes when all else is there

    app = Top(client, session)
    with _signals_restored():
        app.run()
    if app.fault:
        raise app.fault
    if app.return_code:
        raise SystemExit(app.return_code)


@contextlib.contextmanager
def _signals_restored() -> Iterator[None]:
    """Let the program have signals of its own; who clears away after it needs those from before."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

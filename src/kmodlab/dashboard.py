"""`kmodlab dashboard GUEST`: the page of a guest's daemon, through a tunnel of its own, until Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kmodlab.daemon import opening, program
from kmodlab.errors import LabError, UsageError
from kmodlab.guest import Guest

PROGRAM = "/usr/local/sbin/kmodlabd"
STARTING_SECONDS = 180.0
"""A daemon that starts is waited for: on an emulated machine that may be while its modules are tried."""
TUNNEL_SECONDS = 30.0
_LOOK_SECONDS = 0.2
_NOT_FOUND = (126, 127)
_ON_ITS_WAY = ("activating", "deactivating")
"""States of a unit that is started; one that is restarted ends first."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Server:
    """Who shows a page on a guest.

    Attributes:
        title: what it is called.
        service: its unit of systemd.
        socket: by which it is asked.
        role: the variable of the role that brings it.
    """

    title: str
    service: str
    socket: Path
    role: str


HOST = Server("daemon", "kmodlab-dashboard", program.DASHBOARD, "lab_dashboard_state")
"""What the guest sees, alone."""
HUB = Server("hub", "kmodlab-hub", program.HUB, "lab_dashboard_hub")
"""All hosts of a fleet."""


@dataclass(frozen=True)
class Invitation:
    """What a daemon gives: a token that opens one session, the port of its loopback where, and what is spoken there."""

    token: str
    port: int
    scheme: str = "http"


def show(name: str, port: int = 0, browser: bool = True, say: Say = print, server: Server = HOST) -> None:
    """Show a guest's page.

    Args:
        name: of the guest.
        port: of this machine; 0 takes any that is free.
        browser: whether to open the page, where there is a desktop.
        say: tells the user.
        server: whose page.

    Raises:
        UsageError: the guest is not up, has no such server, or the port is taken.
        LabError: its daemon does not answer, or the connection has ended.
    """
    guest = Guest(name)
    if not guest.running:
        raise guest.not_up()
    invitation = invite(guest, say, server=server)
    with tunnel(guest, free_port(port), invitation.port) as (local, ssh):
        address = f"{invitation.scheme}://127.0.0.1:{local}/#token={invitation.token}"
        say(f"The dashboard of {name}, at this address, which opens once, within ten minutes:\n\n  {address}\n")
        say("Ctrl-C ends it.")
        with _until_interrupted():
            _stay(ssh, address, browser)
            raise LabError(f"the connection to the guest {name} has ended", hint="`kmodlab guest list` says how it is")


@contextlib.contextmanager
def _until_interrupted() -> Iterator[None]:
    """End the block by Ctrl-C: that is how this ends, and nothing is broken off by it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGINT, before)


def _stay(ssh: subprocess.Popen[str], address: str, browser: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="kmodlab-") as folder:
        if browser:
            opening.show(address, Path(folder))
        ssh.wait()


def invite(guest: Guest, say: Say = print, seconds: float = STARTING_SECONDS, server: Server = HOST) -> Invitation:
    """Return a guest's invitation, as root there: to all that the page can do. A daemon that starts is waited for.

    Raises:
        UsageError: the guest has no such server.
        LabError: it does not run, or does not answer.
    """
    end, told = time.monotonic() + seconds, False
    while True:
        done = guest.execute(f"{PROGRAM} invite --json --socket {server.socket}")
        if done.status == 0:
            return Invitation(**json.loads(done.stdout))
        if done.status in _NOT_FOUND:
            raise UsageError(f"the guest {guest.name} has no daemon", hint="`ansible-playbook deploy.yml` installs it")
        state = guest.execute(f"systemctl is-active {server.service}").stdout.strip()
        if state not in _ON_ITS_WAY or time.monotonic() > end:
            raise LabError(
                f"the {server.title} of the guest {guest.name} does not answer: it is {state or 'not there'}",
                output=done.stderr,
                hint=f"`{server.role}` brings it; there, `journalctl -u {server.service}` says more",
            )
        if not told:
            say("The daemon is starting.")
            told = True
        time.sleep(_LOOK_SECONDS)


def free_port(port: int = 0) -> int:
    """Return a port of this machine on which nobody listens; 0 is any.

    Raises:
        UsageError: somebody does.
    """
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError as error:
            hint = "--port names another one; 0 takes any that is free"
            raise UsageError(f"port {port} of 127.0.0.1 cannot be listened on: {error.strerror}", hint=hint) from error
        return int(one.getsockname()[1])


@contextlib.contextmanager
def tunnel(guest: Guest, local: int, remote: int) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Yield a port of this machine that leads to one of the guest's loopback, and the ssh that carries it.

    Raises:
        LabError: there is no such connection.
    """
    forward = f"127.0.0.1:{local}:127.0.0.1:{remote}"
    options = ["-N", "-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes", "-L", forward]
    argv = ["ssh", "-F", str(guest.ssh_config), *options, guest.name]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    # In a group of its own: Ctrl-C is for this process, which then ends it.
    ssh = subprocess.Popen(argv, text=True, process_group=0, **pipes)  # type: ignore[call-overload]
    try:
        _wait(ssh, local, guest)
        yield local, ssh
    finally:
        ssh.terminate()
        ssh.wait()
        if ssh.stderr:
            ssh.stderr.close()


def _wait(ssh: subprocess.Popen[str], port: int, guest: Guest) -> None:
    """Wait until the tunnel is there."""
    end = time.monotonic() + TUNNEL_SECONDS
    while time.monotonic() < end and ssh.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(_LOOK_SECONDS / 4)
    ssh.terminate()
    said = ssh.stderr.read() if ssh.stderr else ""
    ssh.wait()
    raise LabError(f"there is no tunnel to the guest {guest.name}", exit_code=ssh.returncode, output=said)

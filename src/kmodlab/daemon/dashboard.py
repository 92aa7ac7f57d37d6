"""`kmodlab dashboard`: the collector and its page in one process, for one user, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import tempfile
from collections.abc import Callable
from pathlib import Path

from .api import server
from .api.access import names
from .api.app import Server
from .api.sessions import Caller, Role
from .collector import Live
from .demo import Demo
from .opening import show
from .tick import Source, Tick

PAST_SECONDS = 900.0
"""What a demo has behind it when it begins."""
CATCH_UP_SECONDS = 60.0

Say = Callable[[str], None]


def demo(port: int = 0, browser: bool = False, say: Say = print) -> None:
    """Show a machine that is made up, and forget it.

    Args:
        port: of the loopback; 0 takes any that is free.
        browser: whether to open the page, where there is a desktop.
        say: tells the user.

    Raises:
        UsageError: the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="kmodlab-demo-") as folder:
        listening = server.tcp(port)
        with contextlib.closing(listening), Live(Demo(past=PAST_SECONDS), Path(folder) / "history") as source:
            source.wait(_caught_up, CATCH_UP_SECONDS)
            _serve(source, listening.getsockname()[1], [listening], Path(folder), browser, say)


def _caught_up(tick: Tick) -> bool:
    """Return whether the past is all there."""
    return tick.ledger.get("rolled", 0) > 0 and tick.behind < 1


def _serve(source: Source, port: int, sockets: list[server.Socket], folder: Path, browser: bool, say: Say) -> None:
    made = Server(source, names(port))
    app, hub = made.app()
    token = made.sessions.invite(Caller(getpass.getuser(), Role.ADMIN))
    address = f"http://127.0.0.1:{port}/#token={token}"

    def ready() -> None:
        say(f"A machine that is made up, at this address, which opens once, within ten minutes:\n\n  {address}\n")
        say("Ctrl-C ends it.")
        if browser:
            show(address, folder)

    asyncio.run(server.server(app, hub, ready=ready).serve(sockets=sockets))

"""`kmodlab dashboard`: the collector and its page in one process, for one user, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import tempfile
import threading
from collections.abc import Callable, Iterator
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
SHORT_PAST_SECONDS = 120.0
"""The same where less of it is shown: the sooner it begins."""
CATCH_UP_SECONDS = 180.0
NOW_SECONDS = 2.0

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
        feed = Demo(past=PAST_SECONDS)
        with contextlib.closing(listening), Live(feed, Path(folder) / "history", lister=feed.lister) as source:
            source.wait(_caught_up, CATCH_UP_SECONDS)
            _serve(source, listening.getsockname()[1], [listening], Path(folder), browser, say)


@contextlib.contextmanager
def background() -> Iterator[Path]:
    """Yield the Unix socket of a machine that is made up, which threads of this process serve; then it is forgotten."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kmodlab-demo-")))
        listening = stack.enter_context(server.unix(folder / "socket"))
        feed = Demo(past=SHORT_PAST_SECONDS)
        source = stack.enter_context(Live(feed, folder / "history", lister=feed.lister))
        source.wait(_caught_up, CATCH_UP_SECONDS)
        serving = server.server(*Server(source, names("*")).app())
        thread = threading.Thread(target=lambda: asyncio.run(serving.serve(sockets=[listening])), name="server")
        thread.start()
        try:
            yield folder / "socket"
        finally:
            serving.should_exit = True
            thread.join()


def _caught_up(tick: Tick) -> bool:
    """Return whether the past is all there: what comes is of now. The sums alone keep up with a past that is told."""
    return bool(tick.rows) and tick.wall - tick.rows[-1].wall < NOW_SECONDS and tick.behind < NOW_SECONDS


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

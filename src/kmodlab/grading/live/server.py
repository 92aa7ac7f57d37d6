"""The board's server: in a thread of the grading process, on the loopback, for whoever has the token of the staff."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from kmodlab.daemon.api import frames, server
from kmodlab.daemon.api.access import Gate, names
from kmodlab.daemon.api.operations import Operation
from kmodlab.daemon.api.problem import Denied
from kmodlab.daemon.api.resources import pages
from kmodlab.daemon.api.resources.sessions import Session
from kmodlab.daemon.api.routing import PROBLEMS, routes
from kmodlab.daemon.api.sessions import LIFE_SECONDS, Caller, Role, Sessions
from kmodlab.daemon.opening import show
from kmodlab.errors import KmodlabError, LabError
from kmodlab.grading.lab import Lab
from kmodlab.grading.live.board import Board, Cursor

PACE_SECONDS = 0.25
"""Between two frames of a stream."""
READ_SECONDS = 0.2
"""Between two looks at the consoles, for all streams: less than the pace, so that each frame of a lone one has news."""
QUIET_SECONDS = 5.0
"""How often a stream says something where nothing happens, so that it is known to be alive."""
START_SECONDS = 60.0
END_SECONDS = 10.0
MOST_STREAMS = 16
MOST_OF_A_SESSION = 4
"""A browser opens six connections to a server, and the seventh would hang without a word."""
_COMMAND = "kmodlab grade --live"
_V1 = "/api/v1"
OPERATIONS = (
    Operation("readSession", "GET", f"{_V1}/session"),
    Operation("openSession", "POST", f"{_V1}/session", None),
    Operation("closeSession", "DELETE", f"{_V1}/session"),
    Operation("readBoard", "GET", f"{_V1}/board"),
    Operation("streamBoard", "GET", f"{_V1}/stream"),
)

Say = Callable[[str], None]


class Streams:
    """All streams of the server: each is woken when there is something new."""

    def __init__(self) -> None:
        self.open: dict[asyncio.Event, str | None] = {}
        """What wakes a stream, and the session that it belongs to."""
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        """Belong to the loop that runs."""
        self._loop = asyncio.get_running_loop()

    def told(self) -> None:
        """Wake them, from whatever thread; where the server has ended nobody is left to be woken."""
        if self._loop:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for news in self.open:
            news.set()

    def close(self) -> None:
        """Have each send what there is, and end."""
        self.closed = True
        self._wake()

    @contextlib.contextmanager
    def joined(self, session: str | None) -> Iterator[asyncio.Event]:
        """Yield what is set when there is something new."""
        news = asyncio.Event()
        self.open[news] = session
        try:
            yield news
        finally:
            del self.open[news]

    def check_room(self, session: str | None) -> None:
        """Look whether there is room for one more.

        Raises:
            Denied: there are too many.
        """
        of_it = sum(owner == session for owner in self.open.values())
        if self.closed or len(self.open) >= MOST_STREAMS or of_it >= MOST_OF_A_SESSION:
            raise Denied(503, "too many streams are open", headers={"retry-after": "10"})


@dataclass(frozen=True)
class Shown:
    """`/api/v1/board` and `/api/v1/stream`."""

    board: Board
    sessions: Sessions
    streams: Streams

    async def read(self, request: Request) -> Response:
        """Tell all there is."""
        del request
        # ASCII: what students and machines write may hold halves of surrogate pairs.
        return Response(json.dumps(self.board.frame(Cursor())), media_type="application/json")

    async def stream(self, request: Request) -> Response:
        """Tell all there is, and then what changes, as events, at the pace at which they are taken."""
        self.streams.check_room(request.state.caller.session)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        events = self._events(request.state.caller)
        return StreamingResponse(events, headers=headers, media_type="text/event-stream")

    async def _events(self, caller: Caller) -> AsyncIterator[bytes]:
        # Nothing is queued for a stream: a frame is made of the board as it is when the one before has been taken.
        seen, kind = Cursor(), "state"
        with self.streams.joined(caller.session) as news:
            while self._alive(caller):
                news.clear()
                over = self.streams.closed
                yield frames.event(kind, self.board.frame(seen))
                if over:
                    yield frames.event("closed", {"reason": "the grading has ended"})
                    return
                kind = "tick"
                await self._paced(news)
        yield frames.event("closed", {"reason": "the session has ended"})

    async def _paced(self, news: asyncio.Event) -> None:
        """Wait until it is time for the next frame, and there is something in it."""
        await asyncio.sleep(PACE_SECONDS)
        if self.board.pending:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET_SECONDS):
                await news.wait()

    def _alive(self, caller: Caller) -> bool:
        return caller.session is None or self.sessions.touch(caller.session) is not None


class Pages:
    """The page, and what it shares with the dashboard's: nothing of students, so nobody has to say who they are."""

    SHARED = ("style.css", "icon.svg", "api.js", "format.js", "vendor/lit.js", "vendor/lit.LICENSE")

    def __init__(self) -> None:
        shared = pages.read(files("kmodlab.daemon") / "web")
        self._shared = {name: shared[name] for name in self.SHARED}
        self._own = pages.read(files("kmodlab.grading.live") / "web")

    async def page(self, request: Request) -> Response:
        """Answer with the page."""
        return self._own["index.html"].response(request)

    async def shared(self, request: Request) -> Response:
        """Answer with a file of the dashboard's page."""
        return pages.one(self._shared, request)

    async def own(self, request: Request) -> Response:
        """Answer with a file of this page."""
        return pages.one(self._own, request)


@dataclass(frozen=True)
class Server:
    """What the board's server is made of.

    Args:
        board: that it shows.
        hosts: what browsers may call it, with the port.
        sessions: of the staff: no other server's token opens one here.
        streams: that are open.
    """

    board: Board
    hosts: frozenset[str]
    sessions: Sessions = field(default_factory=Sessions)
    streams: Streams = field(default_factory=Streams)

    def app(self) -> Gate:
        """Return the application."""
        site = Pages()
        session, shown = Session(self.sessions, _COMMAND), Shown(self.board, self.sessions, self.streams)
        handlers = {
            "readSession": session.read,
            "openSession": session.open,
            "closeSession": session.close,
            "readBoard": shown.read,
            "streamBoard": shown.stream,
        }
        app = Starlette(
            routes=[
                *routes(OPERATIONS, handlers, f"`{_COMMAND}` prints an address that opens one"),
                Route("/", site.page),
                Route("/web/{name:path}", site.shared),
                Route("/board/{name:path}", site.own),
            ],
            exception_handlers=PROBLEMS,
            lifespan=lambda _: self._listening(),
        )
        return Gate(app, self.sessions, self.hosts)

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        self.streams.begin()
        self.board.listen(self.streams.told)
        yield


@contextlib.contextmanager
def showing(lab: Lab, note: str, port: int = 0, browser: bool = False, say: Say = print) -> Iterator[Board]:
    """Yield a board that is on a page while the block runs; the page keeps what it had, and says how the block ended.

    Args:
        lab: by which is graded.
        note: what the page says when all is done.
        port: of the loopback; 0 takes any that is free.
        browser: whether to open the page, where there is a desktop.
        say: tells the user.

    Raises:
        UsageError: the port is taken.
        LabError: the server does not start.
    """
    board = Board(lab, pace=READ_SECONDS)
    listening = server.tcp(port)
    with contextlib.closing(listening), tempfile.TemporaryDirectory(prefix="kmodlab-live-") as folder:
        made = Server(board, names(listening.getsockname()[1]))
        with _serving(made, listening):
            # For as long as a session: a class takes hours, and who comes back later has to get in.
            token = made.sessions.invite(Caller("staff", Role.READER), LIFE_SECONDS)
            address = f"http://127.0.0.1:{listening.getsockname()[1]}/#token={token}"
            say(f"The grading is shown at this address, which opens once, while it lasts:\n\n  {address}\n")
            if browser:
                show(address, Path(folder))
            with _told(board, note):
                yield board


@contextlib.contextmanager
def _told(board: Board, note: str) -> Iterator[None]:
    """Have a board say how the block ended."""
    try:
        yield
    except BaseException as error:
        board.finish("broken off", error.message if isinstance(error, KmodlabError) else "It was interrupted.")
        raise
    board.finish("finished", note)


@contextlib.contextmanager
def _serving(made: Server, listening: server.Socket) -> Iterator[None]:
    """Serve in a thread of its own while the block runs; then its streams send what there is, and end."""
    started = threading.Event()
    serving = server.server(made.app(), made.streams, ready=started.set)
    thread = threading.Thread(target=_run, args=(serving, listening, started), name="board", daemon=True)
    thread.start()
    started.wait(START_SECONDS)
    if not serving.started:
        raise LabError("the page of the grading does not start", hint="grade without --live")
    try:
        yield
    finally:
        serving.should_exit = True
        thread.join(END_SECONDS)


def _run(serving: uvicorn.Server, listening: server.Socket, started: threading.Event) -> None:
    try:
        asyncio.run(serving.serve(sockets=[listening]))
    finally:
        started.set()

"""`kmodlabd record`: the process that has the right to listen to the tracer, and nothing else to do."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kmodlab.errors import KmodlabError

from . import lister
from .desk import Desk, listening
from .items import Feed
from .journal import FOLDER_BYTES
from .notify import SIGN_SECONDS, notify, period
from .station import Local

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
_ENDING = (signal.SIGTERM, signal.SIGINT)


def record(
    folder: Path,
    at: Path,
    feed: Feed,
    open_tasks: Callable[[], lister.Opened] = lister.opened,
    folder_bytes: int = FOLDER_BYTES,
) -> None:
    """Record into a folder until a signal comes.

    Args:
        folder: of the history.
        at: where the socket is to be for who keeps the history.
        feed: where records come from.
        open_tasks: opens the task lister's files.
        folder_bytes: what may wait for who keeps the history; beyond that, records are let go.

    Raises:
        KmodlabError: another process records there, or recording has ended.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _signals_wait() as ended:
        station = Local(feed, folder, frozenset({os.getpid()}), folder_bytes)
        desk = Desk(station, listening(at), open_tasks)
        station.start(desk.tell)
        desk.start()
        notify("READY=1")
        try:
            _live(station, desk, ended)
        finally:
            notify("STOPPING=1")
            station.stop()
            desk.close()
            at.unlink(missing_ok=True)


@contextlib.contextmanager
def _signals_wait() -> Iterator[Callable[[float], bool]]:
    """Yield what waits for a signal that ends this process, in this thread and all that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield _has_come
    finally:
        # Who asks twice is not to have it end by the second.
        while _has_come(0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _has_come(seconds: float) -> bool:
    """Wait so long for a signal that ends this process; return whether one came."""
    found = signal.sigtimedwait(_ENDING, seconds)
    # Where the process was stopped until that time was over, Python returns what was in its memory before.
    return found is not None and found.si_signo in _ENDING


def _live(station: Local, desk: Desk, ended: Callable[[float], bool]) -> None:
    """Give a sign of life for as long as the feed is looked at.

    No more often than somebody waits for it, for systemd reads files for each, which are calls to be recorded.
    """
    seconds, seen, state, due_at = period() or SIGN_SECONDS, -1, "", 0.0
    while not ended(min(seconds, LOOK_SECONDS)):
        if station.recorder.failed:
            raise KmodlabError(station.recorder.ended)
        if station.recorder.beat != seen and (now := time.monotonic()) >= due_at:
            seen, due_at = station.recorder.beat, now + seconds
            notify("WATCHDOG=1")
        if station.state != state:
            state = station.state
            desk.tell()

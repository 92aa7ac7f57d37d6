"""The first stage at work: what the feed brings goes into the journal, and a second thread commits it."""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections.abc import Callable

from kmodlab.errors import KmodlabError

from .items import Batch, Counters, End, Feed, Item, offsets
from .journal import Journal

log = logging.getLogger(__name__)

SOON, LATE = 0.1, 1.0
"""Seconds until what came is committed; and where nobody looks, or that is but this daemon's own calls, or counters."""
RETRY = 0.5
"""Seconds until a disk that took nothing is tried again."""
_FEW = 32
"""So few records are looked at, whose they are: an idle machine is not to be kept busy by being watched."""
_PID = struct.Struct("=88xI")


class Recorder:
    """Takes items off a feed, in a thread, until it ends or is stopped.

    Args:
        feed: where they come from.
        journal: where they go.
        own: process ids of this daemon.
        on_commit: called behind each commit, from the thread that made it.

    Attributes:
        ended: why no more comes; empty while it may.
        failed: whether that is a fault of this program.
        own: as given; may be set anew at any time.
        beat: grows for as long as the feed is looked at.
        pace: seconds until what came is committed; see `attend`.
    """

    def __init__(
        self,
        feed: Feed,
        journal: Journal,
        own: frozenset[int] = frozenset(),
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self.ended = ""
        self.failed = False
        self.own = own
        self.beat = 0
        self._feed, self._journal, self._on_commit = feed, journal, on_commit
        self._stop = threading.Event()
        self._written = threading.Event()
        self._due = threading.Condition()
        self._due_at = 0.0
        self.pace = SOON
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
            for name, work in (("receive", self._receive), ("commit", self._commit))
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def attend(self, is_watched: bool) -> None:
        """Say whether somebody looks: if not, it is committed less often, which costs the machine less."""
        self._feed.attend(is_watched)
        self.pace = SOON if is_watched else LATE
        if is_watched:
            self._ask(0)

    def stop(self) -> None:
        """End, and write what has come."""
        self._stop.set()
        with self._due:
            self._due.notify_all()
        for thread in self._threads:
            thread.join()
        self._journal.close()
        self._feed.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            log.exception("recording has ended")
            self.ended, self.failed = f"recording has ended: {error}", True
            self._stop.set()

    def _receive(self) -> None:
        while not self._stop.is_set() and not self.ended:
            self.beat += 1
            if self._feed.patient and self._journal.crowded:
                self._ask(0)
                self._written.wait(SOON)
                self._written.clear()
                continue
            items = self._feed.receive(LATE)
            for item in items:
                if isinstance(item, End):
                    log.info("the feed has ended: %s", item.reason)
                    self.ended = item.reason
                else:
                    self._journal.take(item)
            if items:
                self._ask(self._patience(items))

    def _patience(self, items: list[Item]) -> float:
        pace = SOON if self._journal.heavy else self.pace
        # Whose records they are is looked at only where it makes a difference.
        return LATE if pace == LATE or all(map(self._can_wait, items)) else pace

    def _can_wait(self, item: Item) -> bool:
        if isinstance(item, Batch):
            return item.n <= _FEW and _pids(item.data) <= self.own
        return isinstance(item, Counters)

    def _ask(self, seconds: float) -> None:
        """Have what came committed within so many seconds."""
        with self._due:
            due_at = time.monotonic() + seconds
            if not self._due_at or due_at < self._due_at:
                self._due_at = due_at
                self._due.notify_all()

    def _commit(self) -> None:
        while self._wait():
            if self._journal.commit():
                self._on_commit()
            else:
                self._ask(RETRY)
            self._written.set()

    def _wait(self) -> bool:
        with self._due:
            while not self._stop.is_set():
                left = self._due_at - time.monotonic() if self._due_at else LATE
                if left <= 0:
                    self._due_at = 0.0
                    return True
                self._due.wait(left)
        return False


def _pids(data: bytes) -> set[int]:
    try:
        return {_PID.unpack_from(data, at)[0] for at in offsets(data)}
    except KmodlabError:
        return {-1}  # the second stage has to do with what is wrong with it

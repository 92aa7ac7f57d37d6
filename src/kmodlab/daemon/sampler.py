"""Looks at the task lister: counts and PIDs each second, all processes each minute and when somebody asks."""

from __future__ import annotations

import logging
import math
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from kmodlab.errors import KmodlabError

from . import tasks
from .lister import Lister, Moment, Reading
from .tally import NS
from .task_store import Kept, Snapshot
from .turnover import Comparison, Turnover

log = logging.getLogger(__name__)

SECONDS, SNAPSHOT_SECONDS = 1.0, 60.0
"""Between two samples, and between two snapshots, at the least."""
SHARE, ASKED_SHARE = 0.02, 0.1
"""Of its time that looking may take; and while somebody asks for all. On a machine with very many processes it is
looked at less often."""
TURNOVER_SHARE = 0.005
"""The same of looking which processes came and went."""
RETRY_SECONDS = 2.0
FRESH_SECONDS = 10.0
"""A sample that is older is no news any more."""
_WAITING, _SNAPSHOTS = 4096, 16
"""What waits for a disk that takes nothing."""
_LEVEL = 3
_T = TypeVar("_T")


class Sampler:
    """Takes samples, in a thread.

    Args:
        lister: what tells of processes; it is closed with this.
        clock: seconds that only go on.

    Attributes:
        trouble: why nothing is known of them now; None while it is.
    """

    def __init__(self, lister: Lister, clock: Callable[[], float] = time.monotonic) -> None:
        self.trouble: KmodlabError | None = None
        self._lister, self._clock = lister, clock
        self._latest: tuple[float, tasks.Sample] | None = None
        self._samples: deque[tuple[Moment, tasks.Sample]] = deque(maxlen=_WAITING)
        self._snapshots: deque[Snapshot] = deque(maxlen=_SNAPSHOTS)
        self._turnovers: deque[Turnover] = deque(maxlen=_WAITING)
        self._compared = Comparison()
        self._snapshot_at = self._turnover_at = 0.0
        self._asking = threading.Lock()
        self._listing: tuple[float, tasks.Listing | KmodlabError] = (-math.inf, KmodlabError("nobody has asked"))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tasks", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._lister.close()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._take_past()
            left = 0.0
            while not self._stop.wait(left):
                left = self.look()
        except Exception:
            log.exception("tasks are not looked at any more")
            self.trouble = KmodlabError("tasks are not looked at any more", hint="the server's log tells why")

    def _take_past(self) -> None:
        compared = Comparison()
        for then in self._lister.past():
            self._samples.append((then.stats.moment, tasks.sample(then.stats.text)))
            if then.listing:
                self._keep(then.listing, self._samples[-1][1].total)
            if turned := compared.look(then.stats.moment, then.pids):
                self._turnovers.append(turned)

    def look(self) -> float:
        """Take a sample, and a snapshot where one is due; return the seconds until the next."""
        begun = self._clock()
        try:
            stats = self._lister.stats()
            found = tasks.sample(stats.text)
            self._latest = begun, found
            self._samples.append((stats.moment, found))
            left = until_next(stats.moment.t / NS, (self._clock() - begun) / SHARE)
            self._look_at_all(stats.moment, found.total)
        except KmodlabError as error:
            self._complain(error)
            self._compared.forget()
            return RETRY_SECONDS
        if self.trouble:
            log.info("the task lister is there")
        self.trouble = None
        return left

    def _complain(self, error: KmodlabError) -> None:
        if self.trouble is None or self.trouble.message != error.message:
            log.warning("tasks are not seen: %s", error.message)
        self.trouble = error

    def _look_at_all(self, moment: Moment, n: int) -> None:
        """Look at all processes, where that is due: what came and went, and once a minute a snapshot."""
        begun = self._clock()
        if begun < min(self._snapshot_at, self._turnover_at):
            return
        reading = self._lister.listing()
        if turned := self._compared.look(moment, tasks.pids(reading.text)):
            self._turnovers.append(turned)
        self._turnover_at = begun + (self._clock() - begun) / TURNOVER_SHARE
        if begun >= self._snapshot_at:
            self._keep(reading, n)
            self._snapshot_at = begun + max(SNAPSHOT_SECONDS, (self._clock() - begun) / SHARE)

    def _keep(self, reading: Reading, n: int) -> None:
        data = zlib.compress(reading.text.encode(), _LEVEL)
        self._snapshots.append(Snapshot(reading.moment, n, data))

    # -- who asks ------------------------------------------------------------------------------------------------------

    @property
    def latest(self) -> tasks.Sample | None:
        """The newest sample, or None where there was none lately."""
        known = self._latest
        return known[1] if known and self._clock() - known[0] < FRESH_SECONDS and not self.trouble else None

    @property
    def turned(self) -> tuple[int, int] | None:
        """How many processes have started, and ended, since this looks; None before the second look."""
        return self._compared.total

    def listing(self) -> tasks.Listing:
        """Return all processes: as of now, or of a second ago; all who ask at once get the same.

        Raises:
            KmodlabError: they are not seen; with why.
        """
        with self._asking:
            begun = self._clock()
            if begun >= self._listing[0]:
                answer = self._ask()
                self._listing = begun + max(SECONDS, (self._clock() - begun) / ASKED_SHARE), answer
            answer = self._listing[1]
        if isinstance(answer, KmodlabError):
            raise answer
        return answer

    def _ask(self) -> tasks.Listing | KmodlabError:
        try:
            reading = self._lister.listing()
            return tasks.listing(reading.text, reading.moment.wall / NS)
        except KmodlabError as error:
            return error

    def take(self) -> Kept:
        """Return what has come since this was asked."""
        return Kept(_emptied(self._samples), _emptied(self._snapshots), _emptied(self._turnovers))

    def give_back(self, kept: Kept) -> None:
        """Take back what could not be written, as far as there is room; what has come meanwhile is behind it."""
        newer = self.take()
        self._samples.extend(kept.samples + newer.samples)
        self._snapshots.extend(kept.snapshots + newer.snapshots)
        self._turnovers.extend(kept.turnovers + newer.turnovers)


def _emptied(waiting: deque[_T]) -> tuple[_T, ...]:
    return tuple(waiting.popleft() for _ in range(len(waiting)))


def until_next(now: float, pace: float) -> float:
    """Return how long to wait: to the middle of a second, so that each second has its sample.

    Args:
        now: seconds.
        pace: seconds from now that have to pass, if that is more than one.
    """
    return math.floor(now + max(SECONDS, pace) - 0.25) + 0.5 - now

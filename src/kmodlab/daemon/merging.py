"""A fleet's hosts as one machine: what a server shows of the database, live as far as hosts have copied it.

Each second of a host is told of once, when the database has it whole: a host that is late is told of later, and none of
it is left out of the sums. Its calls one by one are in the list of the newest only while it is not late.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Literal

from kmodlab.errors import KmodlabError, UsageError

from .answered import Answered
from .collector import TICKS_KEPT, Subscription
from .fleet import Fleet, Host
from .hosts import SILENT_SECONDS, HostState, span
from .ledger import Books
from .postgres import Address
from .tasks import Listing, Sample
from .tick import BLOCKED_A_SECOND, Events, Machine, Row, TaskRates, Tick

log = logging.getLogger(__name__)

TICK_SECONDS, CALM_SECONDS = 1.0, 10.0
"""Between two ticks; and where nobody looks."""
DELAY_SECONDS = 6.0
"""What is younger may not be in the database yet, though its host is not late."""
REMEMBER_SECONDS = 5.0
"""For which what epochs there are is known: it is asked each second."""
HOSTS_SECONDS = 3.0
"""For which what is known of all hosts is not asked for again, whoever asks."""
_ROWS = 100
_TOLD = 5
"""Hosts that are named one by one."""
By = Literal["call", "status", "process"]


class Merged(Answered):
    """A fleet's database as a `tick.Source`; use it in a `with` block.

    Args:
        fleet: of all hosts, or of one.
        clock: the time of day, seconds since 1970.
        several: whether others can be shown, too.
    """

    def __init__(self, fleet: Fleet, clock: Callable[[], float] = time.time, several: bool = False) -> None:
        self._fleet = self._questions = fleet
        self._clock, self._several = clock, several
        self._ticks: deque[Tick] = deque(maxlen=TICKS_KEPT)
        self._subscribers: set[Subscription] = set()
        self._counted_to: dict[int, int] | None = None
        self._shown_to = clock() - DELAY_SECONDS
        self._number = self._counted = 0
        self._trouble = ""
        self._pace, self._is_over = CALM_SECONDS, False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="merge", daemon=True)

    def __enter__(self) -> Merged:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._woken.set()
        self._thread.join()
        for each in list(self._subscribers):
            each.send(None)

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_over:
            self._woken.clear()
            tick = self._guarded()
            self._ticks.append(tick)
            for each in list(self._subscribers):
                each.send(tick)
            self._woken.wait(self._pace)

    def attend(self, is_watched: bool) -> None:
        """Say whether somebody looks; see `tick.Source`."""
        self._pace = TICK_SECONDS if is_watched else CALM_SECONDS
        self._woken.set()

    def _guarded(self) -> Tick:
        """Return the next tick; while the database cannot be read it says so."""
        try:
            tick = self._tick()
        except Exception as error:
            said = error.message if isinstance(error, KmodlabError) else str(error)
            if said != self._trouble:
                log.log(logging.WARNING, "%s", said, exc_info=not isinstance(error, KmodlabError))
            self._trouble = said or type(error).__name__
            return self._empty((self._trouble,))
        self._trouble = ""
        return tick

    def _empty(self, troubles: tuple[str, ...]) -> Tick:
        self._number += 1
        now = self._clock()
        return Tick(self._number, 1, now, now, self._lasted(now), ledger={"rolled": self._counted}, troubles=troubles)

    def _lasted(self, now: float) -> float:
        """Return how long ago the tick before was."""
        return now - self._ticks[-1].wall if self._ticks else TICK_SECONDS

    def _tick(self) -> Tick:
        now = self._clock()
        until = max(self._shown_to, now - DELAY_SECONDS)
        calls, counted_to = self._fleet.since(self._counted_to)
        span = (self._shown_to, until)
        rows: tuple[Row, ...] = ()
        blocked = Events((), None)
        if span[0] < span[1]:
            rows = self._fleet.events(*span, limit=_ROWS).rows
            blocked = self._fleet.blocked(*span, limit=BLOCKED_A_SECOND)
        troubles = tuple(_silent(self._shown_hosts(), now))
        self._counted_to, self._shown_to = counted_to, until
        self._counted += sum(count.n for count in calls.values())
        self._number += 1
        return Tick(
            number=self._number,
            epoch=1,
            clock=now,
            wall=now,
            seconds=self._lasted(now),
            calls=calls,
            rows=tuple(reversed(rows)),
            blocked=tuple(reversed(blocked.rows)),
            ledger={"rolled": self._counted},
            behind=DELAY_SECONDS,
            troubles=troubles,
        )

    def _shown_hosts(self) -> list[Host]:
        return [one for one in self._fleet.hosts() if self._fleet.host in (None, one.name)]

    # -- what a server asks ------------------------------------------------------------------------------------------

    def machine(self) -> Machine:
        """Return what is shown, as one machine; while the database cannot be read, that is what is said of it."""
        since = raw = None
        name, now, boot, kernel, version = self._fleet.host or "a fleet", self._clock(), "", "", ""
        try:
            hosts = [self._fleet.host] if self._fleet.host else [one.name for one in self._fleet.hosts()]
            since, raw = self._fleet.reach()
            boot, kernel, version = self._fleet.newest() if self._fleet.host else ("", "", "")
        except KmodlabError as error:
            state = error.message
        else:
            name = self._fleet.host or (f"{len(hosts)} hosts" if len(hosts) != 1 else "1 host")
            state = f"copied from {', '.join(hosts[:_TOLD])}{' and others' if len(hosts) > _TOLD else ''}"
        told = (since, raw, now, now, 0.0, state, self._several)
        return Machine(name, 1, boot, kernel, version, "", "", True, (), (), *told)

    def subscribe(self) -> Subscription:
        """Return the ticks from now on; see `tick.Source`."""
        one = Subscription(self._subscribers.discard)
        self._subscribers.add(one)
        return one

    def tasks(self, at: float | None = None) -> Listing:
        """Return all processes of a host as of a snapshot; those of now are not copied."""
        if at is None:
            raise KmodlabError(
                "the tasks of now are on the host's own page alone", hint="`as of` takes a snapshot of one host"
            )
        return self._fleet.task_snapshot(at)

    def task_rates(self, begin: float, end: float, step: float) -> TaskRates:
        """Return tasks by state, and their memory, summed up over the hosts; see `tick.Source`."""
        return self._fleet.task_rates(begin, end, step)

    def task_sample(self) -> Sample | None:
        """Return None: nobody sees them here; see `tick.Source`."""
        return None

    def task_turnover(self) -> tuple[int, int] | None:
        """Return None; see `tick.Source`."""
        return None

    def ledger(self) -> Books:
        """Return the books; see `Fleet.ledger`."""
        return self._fleet.ledger()

    def control(self, command: str, who: str) -> None:
        """Refuse: this is a copy."""
        raise UsageError(f"`{command}` of {who} changes nothing: this is a copy", hint="the host's own page changes it")


class All:
    """All hosts of a fleet, each of which can be shown alone: a `hosts.Several`.

    Args:
        where: the database.
        clock: seconds that only go on.
    """

    def __init__(self, where: Address, clock: Callable[[], float] = time.monotonic) -> None:
        self._where, self._clock = where, clock
        self._lock = threading.Lock()
        self._known: tuple[float, list[HostState]] | None = None

    def merged(self) -> Merged:
        """Return all of them as one."""
        return Merged(Fleet(self._where, remember=REMEMBER_SECONDS), several=True)

    def hosts(self) -> list[HostState]:
        """Return all; see `hosts.Several`."""
        with self._lock:
            now = self._clock()
            if self._known is None or now >= self._known[0] + HOSTS_SECONDS:
                self._known = now, Fleet(self._where).states()
            return self._known[1]

    def of(self, name: str) -> Merged:
        """Return one of them; see `hosts.Several`."""
        return Merged(Fleet(self._where, name, remember=REMEMBER_SECONDS), several=True)


def _silent(hosts: list[Host], now: float) -> Iterator[str]:
    """Yield a sentence for each host that has not been heard of."""
    late = [one for one in hosts if now - one.seen > SILENT_SECONDS]
    for one in late[:_TOLD]:
        yield f"{one.name} was not heard of for {span(now - one.seen)}"
    if len(late) > _TOLD:
        yield f"{len(late) - _TOLD} further hosts were not heard of"

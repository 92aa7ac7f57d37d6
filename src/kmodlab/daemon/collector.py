"""The collector: recorder and roller at work in threads, and what a server asks of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType

from kmodlab.errors import KmodlabError

from .answered import Answered
from .items import Feed
from .ledger import Books
from .lister import Lister
from .postgres import Address
from .queries import History
from .retention import Keep, Keeper
from .roller import Limits, Roller
from .sampler import Sampler
from .shipper import Shipper
from .station import Local, Station, newer
from .tally import NS
from .tasks import Listing, Sample
from .tick import Machine, TaskRates, Tick, merged

log = logging.getLogger(__name__)

TICK_SECONDS, CALM_SECONDS = 0.25, 5.0
"""Between two ticks; and where nobody looks. What was counted is written each second all the same."""
TICKS_KEPT = 64
EXPIRE_SECONDS, SCRUB_SECONDS = 5.0, 300.0
TASKS_SECONDS = 10.0
"""How long a sample of tasks may wait to be written, while nobody looks: an idle machine is to stay one."""
RETRY_SECONDS = 0.5
SHIP_SECONDS = 5.0
"""For what a fleet's database has not got yet, when the collector ends."""
_WAITING = 8
"""Ticks that wait for a subscriber before they are merged."""


_BLOCKS = 16
"""What is counted before others get the roller: ticks, and who asks."""


class Subscription(AsyncIterator[Tick]):
    """Ticks from now on, for one event loop: `aclose` ends it."""

    def __init__(self, leave: Callable[[Subscription], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._leave = leave
        self._ticks: deque[Tick] = deque()
        self._come = asyncio.Event()
        self._closed = False

    def send(self, tick: Tick | None) -> None:
        """Hand over a tick, from any thread; None ends the subscription."""
        with contextlib.suppress(RuntimeError):  # the loop is gone, and its subscriber with it
            self._loop.call_soon_threadsafe(self._put, tick)

    def _put(self, tick: Tick | None) -> None:
        if tick is None:
            self._closed = True
        elif len(self._ticks) >= _WAITING and self._ticks[-1].epoch == tick.epoch:
            self._ticks[-1] = merged(self._ticks[-1], tick)
        else:
            self._ticks.append(tick)
        self._come.set()

    async def __anext__(self) -> Tick:
        while not self._ticks:
            if self._closed:
                raise StopAsyncIteration
            self._come.clear()
            await self._come.wait()
        return self._ticks.popleft()

    async def aclose(self) -> None:
        """Take no more."""
        self._leave(self)
        self._put(None)


class Live(Answered):
    """The collector, which is a `tick.Source`. `start` it, or use it in a `with` block.

    Args:
        feed: where records come from, which is closed with the collector; or a station that records already.
        folder: where the history is kept.
        own: process ids of this daemon, where its own machine is recorded: their calls are counted and left out.
        limits: when it writes.
        keep: how much is kept.
        lister: what tells of the machine's tasks; it is closed with the collector.
        fleet: a database that gets a copy.
        fleet_keep: how much of this machine is kept there.

    Raises:
        KmodlabError: another process keeps this history, or a newer program did.
    """

    def __init__(
        self,
        feed: Feed | Station,
        folder: Path,
        own: frozenset[int] = frozenset(),
        limits: Limits | None = None,
        keep: Keep | None = None,
        lister: Lister | None = None,
        fleet: Address | None = None,
        fleet_keep: Keep | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._roller = Roller(folder, own, limits, ships=fleet is not None)
        self._keeper = Keeper(self._roller, keep)
        try:
            self._keeper.inspect()
            self._station = feed if isinstance(feed, Station) else Local(feed, folder, own)
        except BaseException:
            self._roller.close()
            raise
        self._sampler = Sampler(lister) if lister else None
        self._woken = threading.Event()
        self._history = self._questions = History(folder)
        self._shipper: Shipper | None = None
        if fleet:
            self._shipper = Shipper(
                fleet, folder, self._acknowledge, self._history.suspect,
                lambda: self._roller.index.base.total_changes, lambda: self._keeper.now, fleet_keep,
            )  # fmt: skip
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ticks: deque[Tick] = deque(maxlen=TICKS_KEPT)
        self._subscribers: set[Subscription] = set()
        self._thread = threading.Thread(target=self._run, name="roll", daemon=True)
        self._error = ""
        self._is_watched = True
        self._caught_up = threading.Condition()

    def __enter__(self) -> Live:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Begin to record."""
        self._station.start(self._woken.set)
        if self._sampler:
            self._sampler.start()
        self._thread.start()
        if self._shipper:
            self._shipper.start()

    def close(self) -> None:
        """End: what has come is written."""
        if self._sampler:
            self._sampler.stop()
        self._station.stop()
        self._stop.set()
        self._woken.set()
        self._thread.join()
        for each in list(self._subscribers):
            each.send(None)

    def attend(self, is_watched: bool) -> None:
        """Say whether somebody looks; see `tick.Source`."""
        self._is_watched = is_watched
        self._woken.set()

    # -- the roller's thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        every = {
            self._publish: TICK_SECONDS, self._tasks: TASKS_SECONDS, self._keep: EXPIRE_SECONDS,
            self._scrub: SCRUB_SECONDS,
        }  # fmt: skip
        due = {**every, self._publish: 0.0, self._tasks: 0.0}
        begun = time.monotonic()
        while not self._stop.is_set():
            self._woken.clear()
            if (pace := TICK_SECONDS if self._is_watched else CALM_SECONDS) != every[self._publish]:
                self._station.attend(pace == TICK_SECONDS)
                due[self._publish], every[self._publish] = 0.0, pace
            more = self._guarded(self._step)
            for work, at in due.items():
                if (now := time.monotonic() - begun) >= at:
                    due[work] = now + every[work]
                    self._guarded(work)
            if not more:
                self._woken.wait(max(0.0, min(due.values()) - (time.monotonic() - begun)))
        self._finish()

    def _finish(self) -> None:
        while self._guarded(self._step):
            pass
        self._guarded(self._publish)
        self._guarded(self._tasks)
        if self._shipper:
            self._guarded(self._roller.flush)
            self._shipper.stop(SHIP_SECONDS)
        try:
            with self._lock:
                self._roller.close()
        except Exception:
            log.exception("the history could not be closed")

    def _guarded(self, work: Callable[[], bool]) -> bool:
        """Do some work; what goes wrong is said, and is tried again."""
        try:
            with self._lock:
                done = work()
        except Exception as error:
            if str(error) != self._error:
                log.exception("the history is not kept up to date")
            self._error = str(error) or type(error).__name__
            self._stop.wait(RETRY_SECONDS)
            return False
        if work == self._step:
            self._error = ""
        return done

    def _step(self) -> bool:
        self._roller.own = self._station.own
        return self._roller.step(_BLOCKS)

    def _tasks(self) -> bool:
        """Write what the sampler has seen: by itself, for no journal has it, and the ledger knows nothing of it."""
        if self._sampler and not self._roller.keep_tasks(kept := self._sampler.take()):
            self._sampler.give_back(kept)
        return True

    def _keep(self) -> bool:
        while self._history.suspects:
            self._keeper.scrub(self._history.suspects.pop())
        self._keeper.expire()
        return True

    def _scrub(self) -> bool:
        self._keeper.scrub_next()
        return True

    def _publish(self) -> bool:
        tick = self._roller.tick(self._recorded(), self._troubles())
        self._ticks.append(tick)
        for each in list(self._subscribers):
            each.send(tick)
        with self._caught_up:
            self._caught_up.notify_all()
        return True

    def _acknowledge(self, key: str, number: int) -> None:
        with self._lock:
            self._roller.index.acknowledge(number, key)

    def _recorded(self) -> dict[tuple[int, int], dict[str, int]]:
        return newer(self._roller.recorded, self._station.ledger())

    def _troubles(self) -> tuple[str, ...]:
        late = self._shipper.trouble if self._shipper else ""
        return (*self._station.troubles, *(text for text in (self._error, late) if text))

    # -- what a server asks ------------------------------------------------------------------------------------------

    def machine(self) -> Machine:
        """Return what is recorded, as of now."""
        with self._lock:
            told, epoch = self._roller.machine(), self._roller.epoch
            clock = self._roller.pulse.clock(time.monotonic())
        since, raw = self._history.reach()
        if told is None or epoch is None:
            return Machine("", 0, "", "", "", "", "", False, (), (), since, raw, time.time(), 0.0, 0.0, self._state())
        begin, now = told
        return Machine(
            host=begin.host,
            epoch=epoch.number,
            boot=begin.boot,
            kernel=begin.kernel,
            version=begin.version,
            hook=now.hook,
            mode=now.mode,
            returns=now.returns,
            filters=now.filters,
            traced=now.traced,
            recorded_since=since,
            raw_since=raw,
            wall=clock + epoch.offset / NS,
            clock=clock,
            clock_set=epoch.set_by / NS,
            state=self._state(),
        )

    def _state(self) -> str:
        if self._stop.is_set():
            return "stopped"
        return self._station.state

    def subscribe(self) -> Subscription:
        """Return the ticks from now on; see `tick.Source`."""
        one = Subscription(self._subscribers.discard)
        self._subscribers.add(one)
        if self._stop.is_set():
            one.send(None)
        return one

    def wait(self, until: Callable[[Tick], bool], seconds: float = 60.0) -> Tick:
        """Return the first tick of which something is true, of those from the latest on.

        Nothing is held while that is asked: it may ask this in turn, whose answer takes the lock of who publishes.

        Raises:
            KmodlabError: none was, in so many seconds.
        """
        deadline = time.monotonic() + seconds
        looked: Tick | None = None
        while True:
            with self._caught_up:
                while not self._ticks or self._ticks[-1] is looked:
                    if not self._caught_up.wait(deadline - time.monotonic()):
                        raise KmodlabError(f"what was waited for has not come in {seconds:g} s")
                looked = self._ticks[-1]
            if until(looked):
                return looked

    def tasks(self, at: float | None = None) -> Listing:
        """Return all processes, of now or of the snapshot nearest to a time; see `tick.Source`."""
        if at is not None:
            return self._history.task_snapshot(at)
        if self._sampler is None:
            raise KmodlabError("this history is not of a machine whose tasks can be seen")
        return self._sampler.listing()

    def task_rates(self, begin: float, end: float, step: float) -> TaskRates:
        """Return tasks by state, and their memory; see `tick.Source`."""
        with self._lock:
            self._tasks()
        return self._history.task_rates(begin, end, step)

    def task_sample(self) -> Sample | None:
        """Return how many tasks are in which state now; see `tick.Source`."""
        return self._sampler.latest if self._sampler else None

    def task_turnover(self) -> tuple[int, int] | None:
        """Return how many tasks have started, and ended; see `tick.Source`."""
        return self._sampler.turned if self._sampler else None

    def ledger(self) -> Books:
        """Return the books as of now, with what was counted in the files themselves as of the last writing."""
        with self._lock:
            cpus = self._roller.ledger(self._recorded())
            troubles = (*self._roller.troubles.values(), *self._troubles())
        checks, copied = self._history.ledger().checks, self._shipper.figures if self._shipper else None
        if copied and copied.check:
            checks = (*checks, copied.check)
        return Books(cpus, checks, troubles, copied)

    def control(self, command: str, who: str) -> None:
        """Change the tracer; see `tick.Source`."""
        log.info("%s: %s", who, command)
        self._station.control(command, who)

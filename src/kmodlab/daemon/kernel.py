"""The feed of this machine's own tracer, for as long as this runs, whether the module is there or not."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kmodlab.errors import KmodlabError, ModuleUnavailable, Refused, UsageError
from kmodlab.modules.filters import Filter
from kmodlab.modules.machine import HERE, Machine
from kmodlab.modules.tracer import Call, Status, Tracer

from .events import Events
from .items import NO_MODULE, Begin, CallInfo, Calls, Changed, Clock, Counters, Item, Settings
from .tally import SET_NS

log = logging.getLogger(__name__)

LOOK_SECONDS, CALM_SECONDS = 1.0, 5.0
"""Between two looks at the counters and at how the tracer is set, or at whether it is there; where nobody looks."""
CLOCK_SECONDS = 10.0
ELSEWHERE = "elsewhere"
"""Who changed the tracer by other means than this daemon."""
_SWITCHES = {"enforce": "enforce", "returns": "returns"}


def loaded(machine: Machine, proc: Path) -> str:
    """Return the key of the load of the module that is there: of the boot, and of what the kernel made for it.

    Raises:
        ModuleUnavailable: there is none.
    """
    machine.require_loaded()
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        inode = machine.sysfs.stat().st_ino
        version = machine.sysfs / "srcversion"
        return f"{boot} {inode} {version.read_text().strip() if version.exists() else ''}".strip()
    except OSError as error:
        raise ModuleUnavailable("the module syscall_tracer was unloaded meanwhile") from error


def settings(tracer: Tracer, status: Status, calls: Sequence[Call]) -> Settings:
    """Return how a tracer is set."""
    filters, traced = map(str, tracer.filters()), sorted(call.name for call in calls if call.traced)
    return switched(Settings(filters=tuple(filters), traced=tuple(traced)), status)


def switched(before: Settings, status: Status) -> Settings:
    """Return settings with what a status tells of them."""
    mode = "enforcing" if status.enforcing else "permissive"
    return replace(before, hook=status.hook, mode=mode, returns=status.returns)


def difference(before: Settings, after: Settings) -> str:
    """Return in a few words what was changed."""
    found = [after.mode] if after.mode != before.mode else []
    found += [f"returns={int(after.returns)}"] if after.returns != before.returns else []
    found += [f"hook {after.hook}"] if after.hook != before.hook else []
    found += [f"- {one}" for one in before.filters if one not in after.filters]
    found += [f"+ {one}" for one in after.filters if one not in before.filters]
    for word, names in (
        ("trace", set(after.traced) - set(before.traced)),
        ("untrace", set(before.traced) - set(after.traced)),
    ):
        found += [f"{word} {' '.join(sorted(names))}"] if names else []
    return "; ".join(found) or "the order of the filters"


def clock() -> Clock:
    """Return the machine's clocks."""
    monotonic = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    asleep = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - monotonic
    return Clock(monotonic, max(asleep, 0), time.clock_gettime_ns(time.CLOCK_REALTIME))


class KernelFeed:
    """What the tracer of a machine sends and is; see `items.Feed`. It never ends: the module may come back.

    Args:
        machine: whose tracer it is.
        proc: where its /proc is.
        clocks: tells the time.
        now: seconds that only go on.

    Attributes:
        state: why nothing comes, such as `no module`; empty while it may.
    """

    patient = False

    def __init__(
        self,
        machine: Machine = HERE,
        proc: Path = Path("/proc"),
        clocks: Callable[[], Clock] = clock,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = NO_MODULE
        self._machine, self._proc, self._clocks, self._now = machine, proc, clocks, now
        self._lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._key = ""
        self._tracer: Tracer | None = None
        self._events: Events | None = None
        self._apart: Events | None = None
        self._settings = Settings()
        self._known: set[int] = set()
        self._left_out: set[int] = set()
        self._generation = -1
        self._told: list[Item] = []
        self._look_at = self._clock_at = 0.0
        self._period = LOOK_SECONDS
        self._clock: Clock | None = None
        self._counters: Counters | None = None

    # -- what comes --------------------------------------------------------------------------------------------------

    def receive(self, seconds: float) -> list[Item]:
        """Return what has come; see `items.Feed`."""
        try:
            if self._events and self._apart:
                self._receive(self._events, self._apart, seconds)
            else:
                self._wait_for_module(seconds)
        except (KmodlabError, OSError) as error:
            self._lose(error)
        return self._taken()

    def _taken(self) -> list[Item]:
        with self._lock:
            found, self._told = self._told, []
        return found

    def _wait_for_module(self, seconds: float) -> None:
        left = self._look_at - self._now()
        if left > 0:
            self._sleep(min(seconds, left))
        if self._now() >= self._look_at:
            self._look_at = self._now() + self._period
            with self._lock:
                self._attach()

    def _sleep(self, seconds: float) -> None:
        select.select([self._wake], [], [], seconds)
        self._clear()

    def _clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    def _receive(self, events: Events, apart: Events, seconds: float) -> None:
        left = max(0.0, self._look_at - self._now())
        batches = events.receive(min(seconds, left), (self._wake, apart.fileno()))
        batches += apart.receive(0)
        self._clear()
        with self._lock:
            if any(generation != self._generation for _, generation in batches):
                # Before its records: nothing is to be shown under a number that has a name.
                self._examine()
            self._told += [batch for batch, _ in batches]
            if self._now() >= self._look_at:
                self._look()

    def _look(self) -> None:
        """Read the counters, and whether anything was changed."""
        self._look_at = self._now() + self._period
        if loaded(self._machine, self._proc) != self._key:
            raise ModuleUnavailable("the module syscall_tracer was loaded anew")
        assert self._tracer  # noqa: S101  # for the types
        if (counters := Counters(self._tracer.counters())) != self._counters:
            self._counters = counters
            self._told.append(counters)
        self._examine()
        self._look_at_clock()

    def _look_at_clock(self) -> None:
        told, is_due = self._clocks(), self._now() >= self._clock_at
        if is_due or self._clock is None or _was_set(self._clock, told):
            self._told.append(told)
            self._clock, self._clock_at = told, self._now() + CLOCK_SECONDS

    def _examine(self, who: str = ELSEWHERE, what: str = "") -> None:
        """Tell of new calls, and of what was changed; with `what` even where nothing was."""
        if self._tracer is None:
            return
        before, status = self._settings, self._tracer.status()
        self._settings = switched(before, status)
        if status.generation != self._generation:
            self._learn(self._tracer, status)
        if what or before != self._settings:
            at = self._clocks().monotonic
            self._told.append(Changed(at, who, what or difference(before, self._settings), self._settings))

    def _learn(self, tracer: Tracer, status: Status) -> None:
        """Ask for calls and filters: behind the status, so that what is changed meanwhile is asked for again."""
        calls = tracer.calls()
        if {call.id for call in calls} - self._known:
            self._known.update(call.id for call in calls)
            self._told.append(Calls(_infos(calls)))
        self._settings, self._generation = settings(tracer, status, calls), status.generation

    # -- the module comes and goes -----------------------------------------------------------------------------------

    def _attach(self) -> None:
        """Join in; then ask, so that what is made meanwhile is either told or comes."""
        key = loaded(self._machine, self._proc)
        with contextlib.ExitStack() as opened:
            tracer = opened.enter_context(Tracer(self._machine))
            events, apart = (
                opened.enter_context(contextlib.closing(Events(self._machine.connect(), group)))
                for group in ("events", "blocked")
            )
            status = tracer.status()
            begin = self._begin(key, tracer, status)
            if loaded(self._machine, self._proc) != key:
                raise ModuleUnavailable("the module syscall_tracer was loaded anew")
            opened.pop_all()
        self._tracer, self._events, self._apart, self._key, self.state = tracer, events, apart, key, ""
        for pid in tuple(self._left_out):
            self._leave_out(tracer, pid)
        self._settings, self._known = begin.settings, {one.id for one in begin.calls}
        self._generation = status.generation
        self._clock, self._clock_at = self._clocks(), self._now() + CLOCK_SECONDS
        self._counters = Counters(tracer.counters())
        self._told += [begin, self._clock, self._counters]
        log.info("the module syscall_tracer %s is there", begin.version)

    def _begin(self, key: str, tracer: Tracer, status: Status) -> Begin:
        calls, counters = tracer.calls(), tracer.counters()
        return Begin(
            key=key,
            host=os.uname().nodename,
            boot=key.partition(" ")[0],
            kernel=os.uname().release,
            version=status.version,
            data_bytes=status.data_bytes,
            calls=_infos(calls),
            issued={cpu: issued for cpu, (issued, *_) in counters.items()},
            dropped={cpu: dropped for cpu, (*_, dropped, _) in counters.items()},
            settings=settings(tracer, status, calls),
        )

    def _lose(self, error: KmodlabError | OSError) -> None:
        """Take notice that the tracer cannot be asked: it is looked for again."""
        state = NO_MODULE if not self._machine.sysfs.exists() else str(error).splitlines()[0]
        if state != self.state:
            log.warning("nothing is recorded: %s", error)
        with self._lock:
            self.state = state
            self._let_go()
        self._look_at = max(self._look_at, self._now() + LOOK_SECONDS / 4)

    def _let_go(self) -> None:
        for one in (self._events, self._apart, self._tracer):
            if one:
                one.close()
        self._events = self._apart = self._tracer = None

    def close(self) -> None:
        """Leave the group."""
        with self._lock:
            self._let_go()

    def attend(self, is_watched: bool) -> None:
        """Say whether somebody looks; see `items.Feed`."""
        with self._lock:
            self._period = LOOK_SECONDS if is_watched else CALM_SECONDS
            self._look_at = min(self._look_at, self._now() + self._period)
        os.eventfd_write(self._wake, 1)

    def leave_out(self, pid: int) -> None:
        """Have the calls of another process of this daemon left out, of whatever tracer there is; see `items.Feed`."""
        with self._lock:
            self._left_out.add(pid)
            if self._tracer:
                self._leave_out(self._tracer, pid)

    def _leave_out(self, tracer: Tracer, pid: int) -> None:
        try:
            tracer.leave_out(pid)
        except Refused as error:
            if error.errno == errno.ESRCH:
                self._left_out.discard(pid)
            else:
                log.warning("calls of this daemon are recorded: %s", error)

    # -- changes -----------------------------------------------------------------------------------------------------

    def control(self, command: str, who: str) -> None:
        """Change the tracer; see `items.Feed`. A refusal has the kernel's sentence."""
        with self._lock, self._of_the_lock() as tracer:
            # What others have changed until now is not to be this one's.
            self._examine()
            apply(tracer, command.split())
            self._examine(who, command)
        os.eventfd_write(self._wake, 1)

    @contextlib.contextmanager
    def _of_the_lock(self) -> Iterator[Tracer]:
        if self._tracer:
            yield self._tracer
        else:
            with Tracer(self._machine) as tracer:
                yield tracer


def apply(tracer: Tracer, words: Sequence[str]) -> None:
    """Do what a command says.

    Raises:
        UsageError: it is none.
        Refused: by the kernel.
    """
    verb, names = (words[0], list(words[1:])) if words else ("", [])
    switch, sign, value = verb.partition("=")
    if verb in ("trace", "untrace") and names:
        tracer.trace(names, on=verb == "trace")
    elif switch in _SWITCHES and sign and not names and value in ("0", "1"):
        _set(tracer.machine, _SWITCHES[switch], value)
    elif words == ["clear"]:
        tracer.clear_filters()
    elif names == ["delete"]:
        tracer.delete_filters(verb)
    elif words:
        tracer.add_filter(Filter.parse(words))
    else:
        raise UsageError("an empty command", hint="a line of /proc/syscall_tracer, enforce=0|1 or returns=0|1")


def _set(machine: Machine, parameter: str, value: str) -> None:
    path = machine.sysfs / "parameters" / parameter
    try:
        path.write_text(f"{value}\n")
    except FileNotFoundError:
        machine.require_loaded()
        raise
    except OSError as error:
        hint = "`dmesg | grep syscall_tracer` says why"
        raise Refused(f"{parameter}={value} is refused: {error.strerror}", errno=error.errno or 0, hint=hint) from error


def _infos(calls: Sequence[Call]) -> tuple[CallInfo, ...]:
    return tuple(CallInfo(call.id, call.name, call.arguments, call.compat_arguments) for call in calls)


def _was_set(before: Clock, now: Clock) -> bool:
    ahead = [one.real - one.monotonic - one.asleep for one in (before, now)]
    return abs(ahead[1] - ahead[0]) > SET_NS or abs(now.asleep - before.asleep) > SET_NS

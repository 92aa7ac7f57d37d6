"""A machine that is made up: a web server, a compiler, a cron job, a shell and what else keeps a small server busy.

What it does is decided by a seed alone; how much of it comes in a second, by a rate. Its records are laid out as the
kernel's are, and its filters and its enforcement work, so a page can be tried where there is no tracer.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import math
import random
import struct
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

from kmodlab.errors import KmodlabError, UsageError
from kmodlab.modules.families import members
from kmodlab.modules.filters import Filter
from kmodlab.modules.record import ENFORCED, LAYOUT, RETURNED

from .items import Batch, Begin, CallInfo, Changed, Clock, Counters, Item, Settings

NS = 1_000_000_000
BATCH_NS, BATCH_RECORDS = NS // 10, 400
DATA_BYTES, LOG_ENTRIES, PID_MAX = 128, 1024, 32768
_AT_FDCWD = (1 << 64) - 100
_ITEM = struct.Struct("=HH")
SIGNATURES = {
    "openat": "Dpxm", "read": "f*z", "write": "f*z", "close": "f", "newfstatat": "Dp*x", "execve": "p**",
    "clone": "x****", "exit_group": "i", "unlinkat": "Dpx", "accept4": "f**x", "recvfrom": "f*zx**",
    "sendto": "f*zxaz", "connect": "fai", "getdents64": "f*u", "mmap": "*zxxfl", "fsync": "f",
    "renameat2": "DpDpx", "wait4": "i*x*",
}  # fmt: skip
CALLS = tuple(CallInfo(number, name, kinds, kinds) for number, (name, kinds) in enumerate(SIGNATURES.items(), 3))
_IDS = {one.name: one.id for one in CALLS}
FILTERS = (Filter("unlink", True, path=b"/etc/"), Filter("connect", True, errno.EACCES, uid=1000))
"""What a demo begins with."""
FULL = 180
"""Seconds of a demo's past that are as busy as what follows: those that a live chart shows."""
RATE = 600.0
"""Calls a second, about, that the programs below make when nobody hurries them."""


@dataclass(frozen=True)
class Actor:
    """Who makes calls: process, parent, user, command name."""

    pid: int
    ppid: int
    uid: int
    comm: bytes


@dataclass(frozen=True)
class Act:
    """One call: how long before it nothing is done, what it is, what it returns after how long; times in us."""

    wait: float
    who: Actor
    call: str
    args: tuple[int, ...] = ()
    path: bytes = b""
    ret: int = 0
    latency: float = 2.0
    at: int = 1


Acts = Generator[Act, None, None]


class Programs:
    """The programs of the machine, each of which goes on for ever.

    Args:
        rng: decides all.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._pids = itertools.chain(range(1200, PID_MAX), itertools.cycle(range(300, PID_MAX)))
        self._web = 1.0

    def all(self) -> list[Acts]:
        """Return them, as if just started."""
        workers = [self.web(Actor(pid, 640, 33, b"nginx")) for pid in (641, 642, 643, 644)]
        return [*workers, self.journal(), self.database(), self.ssh(), self.shell(), self.cron(), self.make()]

    def _child(self, parent: Actor, comm: bytes, uid: int | None = None) -> Actor:
        return Actor(next(self._pids), parent.pid, parent.uid if uid is None else uid, comm)

    def _opened(self, who: Actor, path: bytes, wait: float = 20, missing: bool = False) -> Acts:
        """Open a file, read it, close it; or find that it is not there."""
        slow = self.rng.lognormvariate(1.5, 0.8)
        if missing:
            yield Act(wait, who, "openat", (_AT_FDCWD, 0, 0x80000), path, -errno.ENOENT, slow)
            return
        size = self.rng.randrange(200, 60000)
        yield Act(wait, who, "openat", (_AT_FDCWD, 0, 0x80000), path, 5, slow)
        yield Act(4, who, "read", (5, 0x7FFC0000, 65536), ret=size, latency=self.rng.lognormvariate(1, 1.2))
        yield Act(3, who, "close", (5,), latency=0.6)

    def web(self, who: Actor) -> Acts:
        """Serve pages: more by day than by night, as far as a minute or so may be a day."""
        rng, seconds = self.rng, 0.0
        while True:
            busy = 1.2 + math.sin(seconds / 11) + (3 if int(seconds / 17) % 4 == 3 else 0)
            wait = rng.expovariate(busy / 60000)
            seconds += wait / 1e6
            yield Act(wait, who, "accept4", (6, 0x7FFC1000, 0x7FFC1010, 0x800), ret=11, latency=min(wait * 0.9, 9e6))
            yield Act(30, who, "recvfrom", (11, 0x55D000, 1024), ret=rng.randrange(80, 700), latency=3)
            page = rng.choice((b"index", b"about", b"lab", b"grades", b"news"))
            missing = rng.random() < 0.06
            file = b"/var/www/html/%s%s" % (page, b".php" if missing else b".html")
            yield from self._opened(who, file, missing=missing)
            yield Act(9, who, "sendto", (11, 0x55E000, 4096), ret=4096, latency=rng.lognormvariate(2.5, 0.7))
            yield Act(5, who, "write", (4, 0x55F000, 180), ret=180, latency=2)
            yield Act(3, who, "close", (11,), latency=1)

    def journal(self) -> Acts:
        """Write the system's journal."""
        who, rng = Actor(211, 1, 0, b"systemd-journal"), self.rng
        while True:
            yield Act(rng.expovariate(1 / 180000), who, "recvfrom", (5, 0x7F00, 8192), ret=rng.randrange(90, 400))
            yield Act(15, who, "write", (17, 0x7F10, 760), ret=760, latency=rng.lognormvariate(2, 0.6))
            if rng.random() < 0.1:
                yield Act(9, who, "fsync", (17,), latency=rng.lognormvariate(8.3, 0.7))

    def database(self) -> Acts:
        """Commit transactions; the disk decides how long that takes."""
        who, rng = Actor(733, 702, 105, b"postgres"), self.rng
        while True:
            yield Act(rng.expovariate(1 / 70000), who, "recvfrom", (9, 0x5600, 8192), ret=214, latency=5)
            for _ in range(rng.randrange(1, 6)):
                yield Act(12, who, "read", (23, 0x5610, 8192), ret=8192, latency=rng.lognormvariate(1.2, 0.9))
            yield Act(20, who, "write", (8, 0x5620, 8192), ret=8192, latency=6)
            yield Act(5, who, "fsync", (8,), latency=rng.lognormvariate(7.5, 0.9))
            yield Act(8, who, "sendto", (9, 0x5630, 120), ret=120, latency=4)

    def ssh(self) -> Acts:
        """Carry what is typed, and what comes of it."""
        who, rng = Actor(977, 402, 0, b"sshd"), self.rng
        while True:
            yield Act(rng.expovariate(1 / 350000), who, "read", (4, 0x7FFD, 16384), ret=36, latency=3)
            yield Act(60, who, "write", (8, 0x7FFE, 1), ret=1, latency=4)
            yield Act(200, who, "read", (10, 0x7FFF, 4096), ret=rng.randrange(1, 900), latency=2)
            yield Act(30, who, "write", (3, 0x7FFD, 120), ret=120, latency=8)

    def _started(self, parent: Actor, file: bytes, uid: int | None = None) -> Generator[Act, None, Actor]:
        """Have a shell start a program, which looks for its libraries as all do."""
        child = self._child(parent, file.rpartition(b"/")[2][:15], uid)
        young = replace(child, comm=parent.comm)
        yield Act(150, parent, "clone", (0x1200011, 0, 0, 0, 0), ret=child.pid, latency=90)
        if self.rng.random() < 0.3:
            yield Act(60, young, "execve", (0, 0x5601, 0x5602), b"/usr/local" + file, -errno.ENOENT, 9, at=0)
        yield Act(80, young, "execve", (0, 0x5601, 0x5602), file, latency=320, at=0)
        yield from self._opened(child, b"/etc/ld.so.preload", 90, missing=True)
        yield from self._opened(child, b"/etc/ld.so.cache")
        yield from self._opened(child, b"/lib/x86_64-linux-gnu/libc.so.6")
        yield Act(6, child, "mmap", (0, 2228224, 1, 2, 5, 0), ret=0x7F5C00000000, latency=4)
        return child

    def _over(self, child: Actor, parent: Actor, status: int = 0) -> Acts:
        yield Act(40, child, "exit_group", (status,), latency=0)
        yield Act(90, parent, "wait4", ((1 << 64) - 1, 0x7FFC, 0, 0), ret=child.pid, latency=400)

    def shell(self) -> Acts:
        """Type commands; some of them nobody should."""
        who, rng = Actor(1104, 977, 1000, b"bash"), self.rng
        habits: tuple[tuple[bytes, Callable[[Actor], Acts]], ...] = (
            (b"/usr/bin/ls", self._list), (b"/usr/bin/cat", self._cat), (b"/usr/bin/rm", self._remove),
            (b"/usr/bin/curl", self._curl), (b"/usr/bin/vim", self._edit), (b"/usr/bin/ls", self._list),
        )  # fmt: skip
        while True:
            yield Act(rng.uniform(1.5e6, 6e6), who, "read", (0, 0x7FFC, 1), ret=1, latency=8e5)
            file, habit = rng.choice(habits)
            child = yield from self._started(who, file)
            yield from habit(child)
            yield from self._over(child, who, rng.choice((0, 0, 0, 1)))

    def _list(self, who: Actor) -> Acts:
        yield Act(60, who, "openat", (_AT_FDCWD, 0, 0x90800), b"/home/student/lab", 3, 6)
        yield Act(9, who, "getdents64", (3, 0x5603, 32768), ret=624, latency=12)
        for number in range(self.rng.randrange(5, 20)):
            yield Act(7, who, "newfstatat", (_AT_FDCWD, 0, 0x5604, 0x100), b"task_%d.c" % number, latency=2)
        yield Act(30, who, "write", (1, 0x5605, 300), ret=300, latency=11)

    def _cat(self, who: Actor) -> Acts:
        denied = self.rng.random() < 0.25
        if denied:
            yield Act(50, who, "openat", (_AT_FDCWD, 0, 0), b"/etc/shadow", -errno.EACCES, 5)
        else:
            yield from self._opened(who, b"/home/student/lab/Makefile")
            yield Act(9, who, "write", (1, 0x5606, 800), ret=800, latency=14)

    def _remove(self, who: Actor) -> Acts:
        for name in self.rng.sample((b"/etc/motd", b"build/a.o", b"build/b.o", b"/etc/cron.d/backup", b"core"), 3):
            denied = name.startswith(b"/")
            ret = -errno.EACCES if denied else 0
            yield Act(70, who, "unlinkat", (_AT_FDCWD, 0, 0), name, ret, self.rng.lognormvariate(2.6, 0.5))

    def _curl(self, who: Actor) -> Acts:
        address = struct.pack("=H", 2) + struct.pack("!H4B8x", 443, 203, 0, 113, self.rng.randrange(1, 250))
        yield Act(900, who, "connect", (5, 0, 16), address, -errno.ETIMEDOUT, self.rng.lognormvariate(9.5, 0.6))

    def _edit(self, who: Actor) -> Acts:
        yield from self._opened(who, b"/home/student/lab/tracer.c")
        for _ in range(self.rng.randrange(3, 12)):
            yield Act(self.rng.expovariate(1 / 150000), who, "read", (0, 0x5607, 250), ret=1, latency=120000)
            yield Act(90, who, "write", (1, 0x5608, 90), ret=90, latency=6)
        yield Act(80, who, "openat", (_AT_FDCWD, 0, 0x241, 0o644), b"/home/student/lab/.tracer.c.swp", 4, 25)
        yield Act(30, who, "write", (4, 0x5609, 4096), ret=4096, latency=9)
        paths = b"/home/student/lab/.tracer.c.swp"
        yield Act(10, who, "renameat2", (_AT_FDCWD, 0, _AT_FDCWD, 0, 0), paths, latency=20)

    def cron(self) -> Acts:
        """Clear away once a minute: what is old goes, or ought to."""
        who, rng = Actor(388, 1, 0, b"cron"), self.rng
        while True:
            yield Act(rng.uniform(1.5e7, 2.5e7), who, "newfstatat", (_AT_FDCWD, 0, 0x560A, 0), b"crontabs")
            child = yield from self._started(who, b"/usr/sbin/logrotate")
            for number in range(rng.randrange(8, 30)):
                yield from self._opened(child, b"/var/log/nginx/access.log.%d" % number, missing=number > 9)
                yield Act(30, child, "unlinkat", (_AT_FDCWD, 0, 0), b"/var/log/nginx/old.%d" % number, latency=30)
            yield Act(50, child, "unlinkat", (_AT_FDCWD, 0, 0), b"/etc/logrotate.status.tmp", latency=15)
            yield from self._over(child, who)

    def make(self) -> Acts:
        """Build a module now and then: short-lived compilers that look for headers where most are not."""
        who, rng = Actor(1150, 1104, 1000, b"make"), self.rng
        while True:
            yield Act(rng.uniform(4e6, 1.5e7), who, "newfstatat", (_AT_FDCWD, 0, 0x560B, 0), b"Makefile")
            for unit in range(rng.randrange(3, 14)):
                cc = yield from self._started(who, b"/usr/libexec/gcc/cc1")
                for _ in range(rng.randrange(40, 120)):
                    header = b"include/linux/%s.h" % rng.choice((b"sched", b"mm", b"fs", b"list", b"rcu", b"slab"))
                    yield from self._opened(cc, header, rng.expovariate(1 / 900), missing=rng.random() < 0.35)
                yield Act(900, cc, "write", (6, 0x560C, 65536), ret=65536, latency=40)
                yield from self._over(cc, who, int(unit == 7))


class Simulation:
    """The machine: its programs on its processors, its filters, and the records that its kernel would send.

    Args:
        seed: what happens.
        rate: calls a second, about.
        begin: what CLOCK_MONOTONIC says at the beginning, ns.
        cpus: how many processors.
    """

    def __init__(self, seed: int = 1, rate: float = RATE, begin: int = 1000 * NS, cpus: int = 2) -> None:
        self.now = begin
        self.seq = [0] * cpus
        self.filters: list[Filter] = list(FILTERS)
        self.traced = set(SIGNATURES)
        self.enforcing = True
        self.rate = rate
        self._programs: list[tuple[float, int, Acts, Act]] = []
        for number, program in enumerate(Programs(random.Random(seed)).all()):  # noqa: S311
            self._push(begin, number, program)
        self._verdicts: dict[str, list[Filter]] = {}

    def _push(self, at: float, number: int, program: Acts) -> None:
        act = next(program)
        heapq.heappush(self._programs, (at + (act.wait + act.latency) * 1000 * RATE / self.rate, number, program, act))

    def advance(self, until: int) -> Iterator[Batch]:
        """Let it go on until CLOCK_MONOTONIC says so; yield what its kernel sends, as often as a kernel does."""
        while self.now < until:
            end = min(until, self.now + BATCH_NS)
            parts: list[list[bytes]] = [[] for _ in self.seq]
            ends: list[list[int]] = [[] for _ in self.seq]
            while self._programs[0][0] < end:
                at, number, program, act = heapq.heappop(self._programs)
                self._push(at, number, program)
                if act.call not in self.traced:
                    continue
                cpu = (act.who.pid + number) % len(self.seq)
                parts[cpu].append(self._record(int(at), cpu, act))
                ends[cpu].append(int(at))
            self.now = end
            for cpu, records in enumerate(parts):
                for start in range(0, len(records), BATCH_RECORDS):
                    some = records[start : start + BATCH_RECORDS]
                    first = self.seq[cpu] - len(records) + start
                    times = ends[cpu][start : start + BATCH_RECORDS]
                    yield Batch(cpu, first, first + len(some) - 1, len(some), times[0], times[-1], 0, b"".join(some))

    def _record(self, at: int, cpu: int, act: Act) -> bytes:
        ret, latency, flags, status = act.ret, int(act.latency * 1000), RETURNED, 0
        rule = self._rule(act)
        if rule and rule.block:
            status = 1
            if self.enforcing:
                ret, latency, flags = -(rule.errno or errno.EPERM), 300, RETURNED | ENFORCED
        if act.call == "exit_group":
            latency, flags = 0, flags & ~RETURNED
        data = _ITEM.pack(act.at, len(act.path)) + act.path if act.path else b""
        args = (*act.args, 0, 0, 0, 0, 0, 0)[:6]
        who = act.who
        head = LAYOUT.pack(
            self.seq[cpu], at - latency, latency, ret, *args, 4294937296 + at // 4_000_000, who.pid, who.pid, who.ppid,
            who.uid, _IDS[act.call], cpu, status, flags, len(data), who.comm,
        )  # fmt: skip
        self.seq[cpu] += 1
        return head + data + bytes(-len(data) % 8)

    def _rule(self, act: Act) -> Filter | None:
        if act.call not in self._verdicts:
            self._verdicts[act.call] = [one for one in self.filters if act.call in members([one.name])]
        return next((one for one in self._verdicts[act.call] if _matches(one, act)), None)

    def set_filters(self, filters: list[Filter]) -> None:
        """Have these filters from now on."""
        self.filters = filters
        self._verdicts.clear()

    def settings(self) -> Settings:
        """Return how it is set."""
        mode = "enforcing" if self.enforcing else "permissive"
        return Settings("ftrace", mode, True, tuple(map(str, self.filters)), tuple(sorted(self.traced)))

    def begun(self, key: str) -> Begin:
        """Return what its tracer is; `key` is that of the epoch."""
        issued = dict(enumerate(self.seq))
        words = (key, "demo", key, "6.1.0-demo", "1.0.0")
        return Begin(*words, DATA_BYTES, CALLS, issued, dict.fromkeys(issued, 0), self.settings())

    def counters(self) -> Counters:
        """Return what its kernel has counted."""
        logged = [min(number, LOG_ENTRIES) for number in self.seq]
        return Counters({cpu: (n, logged[cpu], n - logged[cpu], 0, 0) for cpu, n in enumerate(self.seq)})


def _known(*names: str) -> None:
    for name in names:
        if members([name]).isdisjoint(SIGNATURES):
            raise UsageError(f"no system call {name}", hint=f"the demo has {' '.join(sorted(SIGNATURES))}")


def _matches(rule: Filter, act: Act) -> bool:
    who = act.who
    return (
        rule.pid in (None, who.pid)
        and rule.uid in (None, who.uid)
        and rule.comm in (None, who.comm)
        and (rule.path is None or (bool(act.path) and act.path.startswith(rule.path)))
    )


class Demo:
    """A feed of a machine that is made up, as time goes by; before that comes, at once, some of its past.

    Args:
        seed: what happens.
        rate: calls a second, about.
        past: seconds of its past; but for the last `FULL` a tenth of the calls are made in it.
    """

    patient = True
    state = ""

    def __init__(self, seed: int = 1, rate: float = RATE, past: float = 0.0) -> None:
        self._now = time.monotonic_ns()
        self._machine = Simulation(seed, rate / 10, self._now - int(past * NS))
        self._rate = rate
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._told: list[Item] = [self._machine.begun(f"demo-{seed}-{self._now}"), self._clock()]
        self._next_count = 0

    @staticmethod
    def _clock() -> Clock:
        return Clock(time.monotonic_ns(), 0, time.time_ns())

    def receive(self, seconds: float) -> list[Item]:
        """Return what the machine did meanwhile."""
        with self._lock:
            if self._machine.now >= self._now - FULL * NS:
                self._machine.rate = self._rate
        if self._machine.now >= self._now and not self._told:
            self._stop.wait(min(seconds, BATCH_NS / NS))
        with self._lock:
            until = time.monotonic_ns()
            if self._machine.now < self._now:
                until = min(self._now, self._machine.now + 10 * NS)
            found, self._told = self._told, []
            found += self._machine.advance(until)
            if until >= self._next_count:
                self._next_count = until + NS
                found += [self._machine.counters(), self._clock()]
        return found

    def attend(self, is_watched: bool) -> None:
        """It comes as it comes."""

    def leave_out(self, pid: int) -> None:
        """None of this daemon's own calls are in it."""

    def control(self, command: str, who: str) -> None:
        """Take a line as `/proc/syscall_tracer` does, or `enforce=0|1`."""
        with self._lock:
            self._apply(command.split())
            self._told.append(Changed(time.monotonic_ns(), who, command, self._machine.settings()))

    def _apply(self, words: list[str]) -> None:
        machine = self._machine
        if words in (["enforce=0"], ["enforce=1"]):
            machine.enforcing = words == ["enforce=1"]
        elif words == ["clear"]:
            machine.set_filters([])
        elif words[:1] in (["trace"], ["untrace"]) and words[1:]:
            _known(*words[1:])
            calls = members(words[1:]).intersection(SIGNATURES)
            machine.traced = machine.traced | calls if words[0] == "trace" else machine.traced - calls
        elif len(words) == 2 and words[1] == "delete":
            left = [one for one in machine.filters if one.name != words[0]]
            if len(left) == len(machine.filters):
                raise KmodlabError(f"no filter of {words[0]}", hint="a filter is removed by the name that it has")
            machine.set_filters(left)
        else:
            added = Filter.parse(words)
            _known(added.name)
            machine.traced |= members([added.name]).intersection(SIGNATURES)
            machine.set_filters([*machine.filters, added])

    def close(self) -> None:
        """End it."""
        self._stop.set()

"""The tasks of the machine that is made up (see `demo`), as its task lister would show them.

What there is at a moment follows from that moment and the seed alone, so its past needs no memory.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from .lister import Moment, Reading, Then
from .tally import NS

SNAPSHOT_SECONDS = 60
BUILD_SECONDS, BUILDING = 90, 40
"""A build begins so often, and takes so long."""
_RULE = "=" * 132
_PAGE_KB = 4


@dataclass(frozen=True)
class Task:
    """A row of /proc/task_lister; sizes in KiB."""

    pid: int
    ppid: int
    comm: str
    state: str = "SLEEPING"
    vm: int = 0
    rss: int = 0
    threads: int = 1
    uid: int = 0

    def row(self) -> str:
        """Return it as docs/abi.md has it."""
        return (
            f"{self.pid:<8} {self.ppid:<8} {self.comm:<20} {self.state:<12} {self.vm:<10} {self.rss:<10}"
            f" {self.threads:<8} {self.uid:<8} {self.uid:<8}"
        )


_DAEMONS = (
    Task(1, 0, "systemd", vm=168_324, rss=12_820), Task(211, 1, "systemd-journal", vm=49_220, rss=22_400),
    Task(240, 1, "systemd-udevd", vm=26_880, rss=6_480), Task(371, 1, "dbus-daemon", vm=9_280, rss=4_620, uid=100),
    Task(388, 1, "cron", vm=6_612, rss=2_688), Task(390, 1, "systemd-logind", vm=50_104, rss=8_192),
    Task(402, 1, "sshd", vm=15_436, rss=9_344), Task(640, 1, "nginx", vm=55_204, rss=5_900),
    *(Task(pid, 640, "nginx", vm=55_880, rss=7_300, uid=33) for pid in (641, 642, 643, 644)),
    Task(702, 1, "postgres", vm=218_400, rss=30_720, uid=105),
    *(Task(pid, 702, "postgres", vm=219_100, rss=2_900 * (pid - 720), uid=105) for pid in range(729, 735)),
    Task(977, 402, "sshd", vm=17_720, rss=10_880), Task(1104, 977, "bash", vm=9_940, rss=5_376, uid=1000),
    Task(1130, 1104, "vim", "STOPPED", 24_608, 11_904, 1, 1000),
    Task(1150, 1104, "make", vm=8_320, rss=3_584, uid=1000), Task(1161, 1, "agetty", vm=6_120, rss=1_792),
    Task(1170, 1, "snapshot\\040saver", vm=712_000, rss=41_600, threads=11),
)  # fmt: skip
_KERNEL = (
    Task(2, 0, "kthreadd"), Task(3, 2, "rcu_gp", "IDLE"), Task(13, 2, "rcu_tasks_kthre", "IDLE"),
    *(Task(14 + 8 * cpu, 2, f"ksoftirqd/{cpu}") for cpu in (0, 1)),
    *(Task(15 + 8 * cpu, 2, f"migration/{cpu}") for cpu in (0, 1)),
    *(Task(30 + number, 2, f"kworker/{number % 2}:{number // 2}", "IDLE") for number in range(14)),
    Task(52, 2, "kcompactd0"), Task(60, 2, "kswapd0"), Task(75, 2, "jbd2/vda1-8"), Task(90, 2, "kauditd"),
)  # fmt: skip


class DemoTasks:
    """A `lister.Lister`.

    Args:
        seed: what there is.
        boot: boot id of the machine.
        past: seconds of its past.
    """

    def __init__(self, seed: int, boot: str, past: float) -> None:
        self._seed, self._boot = seed, boot
        self._now = self._moment()
        self._past = int(past)

    def _moment(self) -> Moment:
        return Moment(self._boot, time.monotonic_ns(), time.time_ns())

    def stats(self) -> Reading:
        """Return its /proc/task_stats."""
        at = self._moment()
        return _stats(at, self.at(at.t / NS))

    def listing(self) -> Reading:
        """Return its /proc/task_lister."""
        at = self._moment()
        return _listing(at, self.at(at.t / NS))

    def past(self) -> Iterable[Then]:
        """Yield what was before it began."""
        for ago in range(self._past, 0, -1):
            at = Moment(self._boot, self._now.t - ago * NS, self._now.wall - ago * NS)
            found = self.at(at.t / NS)
            listing = _listing(at, found) if ago % SNAPSHOT_SECONDS == 0 else None
            yield Then(_stats(at, found), listing, [one.pid for one in found])

    def close(self) -> None:
        """There is nothing to close."""

    def at(self, t: float) -> list[Task]:
        """Return the tasks that there are at a time, seconds, by ascending PID."""
        found = [self._lived(one, t) for one in (*_DAEMONS, *_KERNEL)]
        found += [*self._build(t), *self._cron(t)]
        return sorted(found, key=lambda one: one.pid)

    def _random(self, *what: object) -> random.Random:
        return random.Random(f"{self._seed} {what}")  # noqa: S311  # a plausible machine, no secret

    def _lived(self, one: Task, t: float) -> Task:
        """Return a task as it is at a time: memory comes and goes, and now and then it runs."""
        if not one.rss:
            return replace(one, state="DISK_SLEEP") if one.comm.startswith("jbd2") and int(t) % 23 == 0 else one
        swing = 1 + 0.16 * math.sin(t / 71 + one.pid) + 0.05 * math.sin(t / 7 + one.pid)
        rss = int(one.rss * swing) // _PAGE_KB * _PAGE_KB
        busy = one.comm in ("nginx", "postgres") and self._random(one.pid, int(t)).random() < 0.12
        return replace(one, rss=rss, state="RUNNING" if busy else one.state)

    def _build(self, t: float) -> Iterator[Task]:
        """Yield the compilers of a build, one for each processor and what waits for them."""
        begun, since = divmod(t, BUILD_SECONDS)
        if since > BUILDING:
            return
        for job in range(4):
            unit = int((since + job) / 4)
            age = (since + job) % 4
            pid = 1300 + int(begun * 97 + unit * 8 + job * 2) % 30_000
            rss = int(18_000 + age * 34_000 + 5_000 * job)
            yield Task(pid, 1150, "gcc", vm=5_800, rss=1_900, uid=1000)
            yield Task(pid + 1, pid, "cc1", "RUNNING" if job < 3 else "SLEEPING", rss + 60_000, rss, 1, 1000)

    def _cron(self, t: float) -> Iterator[Task]:
        """Yield what the hourly job, each minute here, leaves behind for a while."""
        minute, second = divmod(t, 60)
        pid = 900 + int(minute) % 60
        if second < 6:
            yield Task(pid, 388, "logrotate", "DISK_SLEEP", 10_240, 4_096)
        elif second < 14:
            yield Task(pid, 388, "logrotate", "ZOMBIE")


def _stats(at: Moment, found: Sequence[Task]) -> Reading:
    states = [one.state for one in found]
    counts = {name: states.count(name.upper()) for name in ("Running", "Sleeping", "Stopped", "Zombie")}
    counts["Other"] = len(states) - sum(counts.values())
    counts["Total"] = len(states)
    lines = [f"  {name + ':':<12} {number}" for name, number in counts.items()]
    vm, rss = (sum(getattr(one, name) for one in found) // 1024 for name in ("vm", "rss"))
    head = ["=" * 20 + " TASK STATISTICS " + "=" * 20, "", "Process States:", *lines, "", "Memory Usage:"]
    memory = [f"  Total Virtual Memory: {vm} MB", f"  Total RSS:            {rss} MB"]
    return Reading(at, "\n".join([*head, *memory, "", ""]))


def _listing(at: Moment, found: Sequence[Task]) -> Reading:
    rows = [one.row() for one in found]
    titles = ("COMMAND", "STATE", "VM(KB)", "RSS(KB)", "THREADS", "UID", "GID")
    head = "PID      PPID     {:<20} {:<12} {:<10} {:<10} {:<8} {:<8} {}".format(*titles)
    lines = ["=" * 20 + " LINUX KERNEL TASK LISTER " + "=" * 20, head, _RULE, *rows, _RULE]
    return Reading(at, "\n".join([*lines, f"Total processes listed: {len(rows)}", "Page size: 4096 bytes", ""]))

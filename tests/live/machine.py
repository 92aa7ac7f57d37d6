"""A machine whose module comes and goes: the recorder's real feed, on the kernel that the unit tests have."""

from __future__ import annotations

import time
from collections.abc import Iterable

from unit import fake_netlink
from unit.test_daemon_kernel import Lab

from kmodlab.daemon.items import Clock
from kmodlab.daemon.kernel import KernelFeed, clock
from kmodlab.modules.machine import Machine

NS = 1_000_000_000
CALLS = tuple(fake_netlink.SIGNATURES)


class Running(Lab):
    """A machine in which time goes on by itself.

    Attributes:
        set_by: ns by which somebody has set the time of day.
        sent: call -> how many of it were made.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.feed.close()
        self.set_by = 0
        self.sent = dict.fromkeys(CALLS, 0)
        self._attach()

    def _attach(self) -> None:
        machine = Machine(sysfs=self.folder / "module", socket=self.kernel.link)
        self.feed = KernelFeed(machine, self.folder / "proc", self.clock)

    def clock(self) -> Clock:
        now = clock()
        return Clock(now.monotonic, now.asleep, now.real + self.set_by)

    def call(self, names: Iterable[str] = CALLS, cpu: int = 0, at: int = 0) -> None:
        """Make a call of each of these, by a process that is called by its name; they are sent as one batch.

        `at` is when they end, CLOCK_MONOTONIC in ns; now, where it is 0.
        """
        ids, records = self.kernel.ids(), []
        for name in names:
            records.append(
                fake_netlink.record(
                    comm=f"does-{name}".encode(), seq=self.kernel.issued[cpu], clock=(at or time.monotonic_ns()) - 700,
                    latency=700, flags=1, call=ids[name], cpu=cpu, pid=5_000_000 + ids[name],
                )
            )  # fmt: skip
            self.kernel.issued[cpu] += 1
            self.sent[name] += 1
        self.kernel.send(*records, cpu=cpu)

    def unload(self) -> None:
        """Take the module away. Its folder is kept elsewhere: the next one is to have another number, as in sysfs."""
        (self.folder / "module").rename(self.folder / f"module-{len(list(self.folder.iterdir()))}")
        self.kernel.listeners.clear()
        self.kernel.apart.clear()
        self.kernel.present = False

    def load(self, srcversion: str = "ABC", names: Iterable[str] = CALLS) -> None:
        """Load it: its calls have ids in this order, and each CPU counts from 0."""
        self.kernel.calls = dict.fromkeys(names, True)
        self.kernel.issued = dict.fromkeys(self.kernel.issued, 0)
        self.kernel.present = True
        super().load(srcversion)

    def reboot(self) -> None:
        """Begin anew, without the module; clocks go on here, as no test can wait for them."""
        self.unload()
        (self.folder / "proc/sys/kernel/random/boot_id").write_text("b008\n")
        self._attach()

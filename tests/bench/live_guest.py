"""What the daemon takes and costs in a guest, with the load in the same machine: a part of `make bench-live`.

A guest of its own is brought up and deployed to, and is gone at the end whatever happens.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guest.page import Page, session

from bench.harness import HERE, HOME
from bench.told import Told
from kmodlab import dashboard
from kmodlab.errors import LabError
from kmodlab.guest import Guest
from kmodlab.guest.guest import guests_dir
from kmodlab.image.plan import planned
from kmodlab.paths import project_dir
from kmodlab.process import locked, say

NAME = "bench-live"
SERVICES = {"kmodlab-recorder": "who records", "kmodlab-dashboard": "who serves"}
RATE, SECONDS = 20_000, 60
MILLION = 1_000_000
MIB = 1 << 20
AIMS = {"behind": 30.0, "memory": 150, "start": 8.0, "own": 5.0}
CAUGHT_UP = 600.0
"""Seconds after which nobody waits any more for what is still to be counted."""


@contextmanager
def deployed() -> Iterator[Guest]:
    """Yield a guest with both modules and the dashboard, as the playbook leaves it."""
    guest = Guest(NAME)
    guest.down()
    try:
        guest.up(image=planned("debian-12"))
        guest.copy_to(HERE / "guest", HOME)
        guest.succeed(f"cd {HOME} && cc -O2 -Wall -pthread -o pace pace.c")
        with tempfile.TemporaryDirectory() as folder:
            hosts = Path(folder) / "hosts.json"
            host = {
                "ansible_host": NAME,
                "ansible_user": "root",
                "ansible_ssh_common_args": f"-F {guest.ssh_config}",
                "kernel_module_builder": [str(Path(sys.executable).with_name("kmodlab")), "guest", "build", NAME],
            }
            hosts.write_text(json.dumps({"all": {"hosts": {NAME: host}}}))
            say("deploying to the guest")
            argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(hosts), "deploy.yml"]
            done = subprocess.run(argv, cwd=project_dir(), capture_output=True, text=True, check=False, env=os.environ)
        if done.returncode:
            raise LabError("the deployment failed", output=done.stdout[-3000:])
        yield guest
    finally:
        guest.down()


class Lab:
    """The guest, a session of its daemon, and what was measured."""

    def __init__(self, guest: Guest, page: Page, told: Told) -> None:
        self.guest, self.page, self.line = guest, page, told.line

    def books(self) -> dict[str, int]:
        """Return the totals of the ledger."""
        told = self.page.get("ledger")
        if unclosed := [one for one in told["equations"] if not one["closes"]]:
            raise LabError(f"the books do not close: {unclosed}")
        found: dict[str, int] = told["totals"]
        return found

    def settled(self, least: int = 0) -> tuple[dict[str, int], float]:
        """Return the totals once so many calls were made and none is on its way, and how long that took, seconds."""
        begun = time.monotonic()
        while (now := time.monotonic()) < begun + CAUGHT_UP:
            totals = self.books()
            on_the_way = sum(totals[name] for name in ("pending", "waiting", "not_yet_sent"))
            if totals["issued"] >= least and not on_the_way:
                return totals, now - begun
            time.sleep(0.2)
        raise LabError(f"it has not caught up: {totals}")

    def call(self, threads: int, rate: int, seconds: int) -> tuple[int, float]:
        """Have calls made; return how many there were, and for how many seconds."""
        text = self.guest.succeed(f"{HOME}/pace {threads} {rate} {seconds}", seconds=CAUGHT_UP)
        _, made, ns = text.split()
        return int(made), int(ns) / 1e9

    def used(self) -> dict[str, float]:
        """Return the seconds of processor that each service has used."""
        said = self.guest.succeed(f"for one in {' '.join(SERVICES)}; do systemctl show -P CPUUsageNSec $one; done")
        return dict(zip(SERVICES, (int(each) / 1e9 for each in said.split()), strict=True))

    def memory(self) -> dict[str, float]:
        """Return the most that each service ever had in memory, MiB."""
        at = "grep VmHWM /proc/$(systemctl show -P MainPID $one)/status"
        said = self.guest.succeed(f"for one in {' '.join(SERVICES)}; do {at}; done")
        return {name: int(each.split()[1]) / 1024 for name, each in zip(SERVICES, said.splitlines(), strict=True)}


def losses(totals: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """Return what was lost meanwhile, by cause."""
    names = [name for name in totals if name.startswith(("lost_", "shed_")) or name in ("dropped", "unread", "damaged")]
    return {name: totals[name] - before.get(name, 0) for name in names if totals[name] > before.get(name, 0)}


def measure(lab: Lab) -> None:
    """Measure all, and print it."""
    idle(lab)
    pace(lab)
    million(lab)
    for name, most in lab.memory().items():
        lab.line(f"memory at most, {SERVICES[name]}, MiB", f"{most:.0f}", f"{AIMS['memory']}", most <= AIMS["memory"])
    starts(lab)


def idle(lab: Lab) -> None:
    """What it costs where nothing happens."""
    before, _ = lab.settled()
    time.sleep(SECONDS)
    stored = (lab.books()["stored"] - before["stored"]) / SECONDS
    lab.line("calls a second that an idle machine stores", f"{stored:.1f}", f"{AIMS['own']:.0f}", stored <= AIMS["own"])
    # Who asks for it makes a thousand calls, so it is another minute.
    used = lab.used()
    time.sleep(SECONDS)
    for name, seconds in lab.used().items():
        share = (seconds - used[name]) / SECONDS * 100
        lab.line(f"processor while idle, {SERVICES[name]}, emulated", f"{share:.1f} %")


def pace(lab: Lab) -> None:
    """A steady pace, from both processors."""
    before, _ = lab.settled()
    made, seconds = lab.call(2, RATE // 2, SECONDS)
    totals, behind = lab.settled(before["issued"] + made)
    lost = losses(totals, before)
    lab.line("calls a second for a minute", f"{made / seconds:,.0f}", f"{RATE:,}", made / seconds > RATE * 0.98)
    lab.line("lost of them", f"{sum(lost.values()):,}", "0", not lost)
    for name, n in lost.items():
        lab.line(f"... {name}", f"{n:,}")
    lab.line("caught up afterwards", f"{behind:.1f} s", f"{AIMS['behind']:.0f} s", behind <= AIMS["behind"])


def million(lab: Lab) -> None:
    """A million calls of two threads, as fast as they can."""
    before, _ = lab.settled()
    made, seconds = lab.call(2, 0, MILLION // 2000)
    totals, behind = lab.settled(before["issued"] + made)
    numbered, lost = totals["next"] - before["next"], losses(totals, before)
    lab.line("a million calls of two threads, calls a second", f"{made / seconds:,.0f}")
    kept = totals["kept"] - before["kept"]
    if kept + sum(lost.values()) + totals["own"] - before["own"] != numbered or numbered < MILLION:
        raise LabError(f"{numbered:,} were made, {kept:,} are kept: {lost}")
    lab.line("kept of them; the rest is told as lost, and the books close", f"{kept / numbered:.1%}")
    lab.line("caught up afterwards", f"{behind:.1f} s")


def starts(lab: Lab) -> None:
    """From its start to the page."""
    times = []
    for _ in range(3):
        lab.guest.succeed("systemctl stop kmodlab-dashboard; systemctl reset-failed kmodlab-dashboard; sync")
        text = lab.guest.succeed("a=$(date +%s%N); systemctl start kmodlab-dashboard; echo $(($(date +%s%N) - a))")
        times.append(int(text) / 1e9)
    middle = sorted(times)[1]
    lab.line("from its start until it serves", f"{middle:.1f} s", f"{AIMS['start']:.0f} s", middle <= AIMS["start"])


def run() -> Told:
    """Measure in a guest that is gone afterwards; return the figures."""
    with locked(guests_dir() / ".bench.lock", "another benchmark"), deployed() as guest:
        guest.succeed("echo trace getppid >/proc/syscall_tracer")
        kernel, how = guest.image.kernel_version, guest.settings
        told = Told("In a guest", f"{kernel}, {how['cpus']} processors, {how['accelerator']}; the load is in it, too.")
        print(told.about)
        with session(guest, dashboard.HOST) as page:
            measure(Lab(guest, page, told))
    return told

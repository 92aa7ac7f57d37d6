"""Where the time of a run of the tests goes: a table of its stages, at its end. `make test` loads it (`-p cost`).

Each process that runs tests looks four times a second at all that it has started, down to daemons such as QEMU: Linux
tells a parent only what those of its children have used that it waited for, and nobody waits for a daemon. To wait for
them in their parent's stead (PR_SET_CHILD_SUBREAPER) would change what the tests see of processes that have ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Generator, Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import pytest
from guest.conftest import group

#: what a process does before its first test
COLLECTING = "collecting"
#: stage -> seconds that it may take on three workers, on 2 cores without hardware virtualization, all images there.
#: A stage that takes longer is marked, and fails nothing: a machine that is slow, or does something else, breaks no
#: promise of this project. Whoever sees the mark on a machine that is neither looks for what has become expensive.
BUDGETS: dict[str, float] = {
    COLLECTING: 60,
    "unit": 420,
    "fuzz": 240,
    "browser": 300,
    "live": 540,
    "mutants": 480,
    "debian-11": 600,
    "debian-12-rt": 600,
    "debian-13-backports": 600,
    "test_archive.py": 120,
    "test_budget.py": 180,
    "test_build.py": 240,
    "test_collection.py": 420,
    "test_dashboard.py": 600,
    "test_faults.py": 360,
    "test_fleet.py": 450,
    "test_first_form.py": 180,
    "test_grading.py": 240,
    "test_grading_builds.py": 120,
    "test_grading_class.py": 240,
    "test_guest.py": 180,
    "test_lab.py": 600,
    "test_molecule.py": 600,
    "test_signatures.py": 30,
    "test_signing.py": 300,
    "test_strange_hosts.py": 360,
    "test_targets_as_they_are.py": 300,
    "test_trace.py": 180,
    "test_trace_hard.py": 180,
    "test_upgrade.py": 540,
    "test_vagrant.py": 600,
}
#: seconds between two looks: what a QEMU uses after the last one counts as the host's, or is lost
PERIOD = 0.25
#: lines of a failure that are shown as soon as it is known
TOLD = 12
#: what tells the processes of one meter from others', where their parents are gone
MARK = "COST_OF_TESTS"
#: options of an ssh that opens, asks or ends a shared connection, and carries no command
_NO_COMMAND = {"-M", "-N", "-O"}
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    """What a stage took.

    Attributes:
        tests: how many.
        wall: seconds in which a worker was at it.
        host: seconds of processor, all but QEMU's.
        qemu: seconds of processor that QEMU took.
        booted: machines that were started from nothing.
        resumed: machines that were started from a snapshot or a template.
        ssh: commands that the tests sent by ssh.
        seen: those of other programs, as far as a look met them: most that take less than a look's period are missed.
    """

    tests: int = 0
    wall: float = 0
    host: float = 0
    qemu: float = 0
    booted: int = 0
    resumed: int = 0
    ssh: int = 0
    seen: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Process:
    """A process as proc(5) has it: `own` and `waited` (its children, once it has waited for them) in clock ticks."""

    name: str
    parent: int
    group: int
    own: int
    waited: int

    @property
    def is_qemu(self) -> bool:
        """Whether it emulates a whole machine; its name is cut to 15 characters."""
        return self.name.startswith("qemu-system-")


def _read(pid: int) -> Process | None:
    try:
        before, _, after = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    except OSError:
        return None
    fields = after.split()
    user, system, user_waited, system_waited = map(int, fields[11:15])
    return Process(before.partition("(")[2], int(fields[1]), int(fields[2]), user + system, user_waited + system_waited)


def _words(pid: int, file: str) -> list[str]:
    """Return what `cmdline` or `environ` of a process holds; nothing where it is gone or another user's."""
    try:
        return os.fsdecode(Path(f"/proc/{pid}/{file}").read_bytes()).split("\0")[:-1]
    except OSError:
        return []


class Meter:
    """Adds up what this process and all that it starts use, by the stage that it is in."""

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = defaultdict(Cost)
        self.born = time.monotonic()
        self._stage = COLLECTING
        self._ours: dict[int, Process] = {}
        self._others: set[int] = set()
        self._counted: set[int] = set()
        # A list, for its append() needs no lock: a child that was forked while one was held would wait for ever.
        self._sent: list[str] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cost", daemon=True)
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        os.environ[MARK] = self._mark.partition("=")[2]

    def begin(self, stage: str) -> None:
        """Let what is used from now on be this stage's; the first call ends the collecting."""
        if not self._thread.is_alive():
            self.costs[COLLECTING].wall = time.monotonic() - self.born
            sys.addaudithook(self._hear)
            self._thread.start()
        if stage != self._stage:
            self.look()
            self._stage = stage

    def end(self, seconds: float) -> None:
        """Note that a test of the stage has taken so long."""
        self.costs[self._stage] += Cost(tests=1, wall=seconds)

    def stop(self) -> dict[str, Cost]:
        """End the measurement, and return what it has found."""
        if self._thread.is_alive():
            self._ended.set()
            self._thread.join()
            self.look()
        for stage in self._sent:
            self.costs[stage].ssh += 1
        self._sent.clear()
        return dict(self.costs)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Hear of each program that this process starts, however short its life: see sys.addaudithook()."""
        if event == "subprocess.Popen" and not self._ended.is_set():
            words = [os.fsdecode(word) for word in arguments[1]]
            if Path(words[0]).name == "ssh" and not _NO_COMMAND.intersection(words):
                self._sent.append(self._stage)

    def _watch(self) -> None:
        # A signal is for the thread that runs the tests: what it waits for would not be interrupted by one here.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self._ended.wait(PERIOD):
            self.look()

    def look(self) -> None:
        """Add what was used since the last look to the present stage."""
        with self._lock:
            self.add(self._find())

    def add(self, now: dict[int, Process]) -> None:
        """Add what processes have used since they were seen last to the present stage.

        Args:
            now: those that there are, by their ids.
        """
        before, none = self._ours, Process("", 0, 0, 0, 0)
        grown = sum(it.own + it.waited - (was := before.get(pid, none)).own - was.waited for pid, it in now.items())
        # What a child has used moves to its parent when it is waited for; what a daemon has used goes with it.
        grown -= sum(it.own + it.waited for pid, it in before.items() if pid not in now and it.parent in before)
        qemu = sum(it.own - before.get(pid, none).own for pid, it in now.items() if it.is_qemu)
        cost = self.costs[self._stage]
        # Less than nothing was used where a parent was killed before it could wait: its children's time is lost.
        cost.host += max(0, grown - qemu) / _TICKS
        cost.qemu += max(0, qemu) / _TICKS
        self._ours = now
        self._counted &= now.keys()
        for pid in now.keys() - self._counted:
            self._count(pid, cost)

    def _find(self) -> dict[int, Process]:
        """Return this process, its descendants, and daemons that were descendants or have the environment of one."""
        found: dict[int, Process] = {}
        others: set[int] = set()
        for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):  # noqa: PTH208  # it is quick
            if pid in self._others:
                others.add(pid)
            elif process := _read(pid):
                known = pid in self._ours or process.parent in self._ours or process.parent in found
                if known or pid == os.getpid() or self._mark in _words(pid, "environ"):
                    found[pid] = process
                else:
                    others.add(pid)
        self._others = others
        return found

    def _count(self, pid: int, cost: Cost) -> None:
        """Count a process that was not counted before, if it is a machine or another program's command by ssh."""
        process = self._ours[pid]
        parent = self._ours.get(process.parent)
        if (parent and parent.name == process.name) or not (process.is_qemu or process.name == "ssh"):
            return  # a process that was forked, and will be another program or nothing of its own
        words = _words(pid, "cmdline")
        if not words or any(word.startswith(f"{MARK}=") and word != self._mark for word in _words(pid, "environ")):
            return  # on its way to be another program; or the tests' of this file, which have a meter of their own
        if process.is_qemu:
            # One without a disk is asked for its version, or whether it can use KVM. Of one that makes itself a
            # daemon, the process that was started leads a process group, and waits until the daemon has begun.
            if not {"-drive", "-blockdev"}.intersection(words) or ("-daemonize" in words and process.group == pid):
                return
            resumed = not {"-loadvm", "-incoming"}.isdisjoint(words)
            cost.resumed += resumed
            cost.booted += not resumed
        elif process.parent != os.getpid() and not _NO_COMMAND.intersection(words) and "[mux]" not in words[0]:
            cost.seen += 1
        self._counted.add(pid)


def stage_of(nodeid: str) -> str:
    """Return what a test's time is added to: what one worker runs it with, or the name of its folder."""
    folder = nodeid.partition("::")[0].rpartition("/")[0].rpartition("/")[2]
    return group(nodeid) if folder == "guest" else folder


def _row(stage: str, cost: Cost, budget: float) -> str:
    used = f"{cost.wall / budget:.0%}" if budget else "-"
    ssh = f"{cost.ssh}+~{cost.seen}" if cost.seen else f"{cost.ssh}"
    over = "  over its budget" if budget and cost.wall > budget else ""
    return (
        f"{stage:<27} {cost.tests:>5} {cost.wall:>7.1f} {budget or '-':>7} {used:>6}"
        f" {cost.host:>7.1f} {cost.qemu:>7.1f} {cost.booted:>7} {cost.resumed:>8} {ssh:>10}{over}"
    )


def table(costs: Mapping[str, Cost]) -> list[str]:
    """Return the lines of the table: the stage that took longest first, all of them together last."""
    head = f"{'stage':<27} {'tests':>5} {'wall':>7} {'budget':>7} {'used':>6}"
    head += f" {'host':>7} {'QEMU':>7} {'booted':>7} {'resumed':>8} {'ssh':>10}"
    by_wall = sorted(costs.items(), key=lambda item: -item[1].wall)
    rows = [_row(stage, cost, BUDGETS.get(stage, 0)) for stage, cost in by_wall]
    budget = sum(BUDGETS.get(stage, 0) for stage in costs)
    return [head, *rows, _row("total", sum(costs.values(), Cost()), budget)]


class Report:
    """The table of one run: of what this process has measured, or of what the workers have sent."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.workers = 0
        self.lost = 0
        self.terminal: pytest.TerminalReporter | None = None
        self.costs: dict[str, Cost] = defaultdict(Cost)

    def add(self, costs: Mapping[str, Cost]) -> None:
        """Add what one process has measured."""
        self.workers += 1
        for stage, cost in costs.items():
            self.costs[stage] += cost

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Measure a test, its fixtures included."""
        self.meter.begin(stage_of(item.nodeid))
        started = time.monotonic()
        try:
            return (yield)
        finally:
            self.meter.end(time.monotonic() - started)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand over what was measured: a worker of pytest-xdist to the one that prints."""
        costs = self.meter.stop()
        if (output := getattr(session.config, "workeroutput", None)) is not None:
            output["cost"] = {stage: asdict(cost) for stage, cost in costs.items()}
        elif costs:
            self.add(costs)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker has measured; one that has crashed leaves nothing."""
        sent = getattr(node, "workeroutput", {}).get("cost")
        if sent is None:
            self.lost += 1
        else:
            self.add({stage: Cost(**cost) for stage, cost in sent.items()})

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Find who prints; a worker of pytest-xdist does not."""
        self.terminal = session.config.pluginmanager.get_plugin("terminalreporter")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tell at once of a test that has failed, and why: a long run is not to keep it until its end."""
        if report.failed and self.terminal:
            last = "\n".join(report.longreprtext.splitlines()[-TOLD:])
            self.terminal.write_line(f"\n{report.nodeid} failed ({report.when}):\n{last}")

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table."""
        if self.costs:
            seconds = time.monotonic() - self.meter.born
            terminalreporter.section(f"where the time went: {self.workers} x {seconds:.0f} s")
            for line in table(self.costs):
                terminalreporter.write_line(line)
        if self.lost:
            terminalreporter.write_line(f"what {self.lost} crashed worker(s) did is not in the table of costs")


def pytest_configure(config: pytest.Config) -> None:
    """Begin the measurement."""
    config.pluginmanager.register(Report(), "cost-report")

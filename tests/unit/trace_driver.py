"""`kmodlab trace ...` in a process of its own, with a kernel that is made up: it waits for every child there is.

`python -m unit.trace_driver REPORT RETURNS SCENE WORD...`: SCENE is a function of this file, called with the
kernel and the process of the traced program once that has started. REPORT gets, as JSON, what became of the kernel.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kmodlab.errors import KmodlabError
from kmodlab.modules import cli, program
from kmodlab.modules.machine import Machine
from kmodlab.modules.program import Identity, Program

from .fake_netlink import FakeKernel, item, record

Scene = Callable[[FakeKernel, int], None]
#: there while the module is loaded
SYSFS = Path("syscall_tracer")


def _made(kernel: FakeKernel, pid: int, seq: int, call: str, **fields: int) -> bytes:
    fields = {"tid": pid, "ppid": os.getpid(), "clock": time.monotonic_ns(), "call": kernel.ids()[call], **fields}
    return record(b"", (), b"cat", seq=seq, pid=pid, **fields)


def calls(kernel: FakeKernel, pid: int) -> None:
    """The program starts, and makes calls; somebody else makes one too."""
    other = record(seq=5, pid=4000000, ppid=1, call=kernel.ids()["read"], comm=b"other")
    before = _made(kernel, pid, 0, "close")
    start = _made(kernel, pid, 1, "execve", ret=0, latency=5_000_000, flags=1)
    path = item(1, b"/etc/passwd")
    opened = record(
        path, (0xFFFFFF9C, 0x7000), seq=2, pid=pid, tid=pid, ppid=os.getpid(), call=0, ret=3, latency=1_234_567_890,
        clock=time.monotonic_ns(), flags=1,
    )  # fmt: skip
    failed = _made(kernel, pid, 3, "read", ret=-2, latency=1000, flags=1)
    blocked = _made(kernel, pid + 1, 4, "read", ppid=pid, status=1)
    kernel.issued[0] = 6
    kernel.send(before, start, opened, failed, blocked, other)


def interrupted(kernel: FakeKernel, pid: int) -> None:
    """The same and one that does not come, and then somebody interrupts."""
    calls(kernel, pid)
    kernel.issued[0] += 1
    os.kill(os.getpid(), signal.SIGINT)


def late(kernel: FakeKernel, pid: int) -> None:
    """What the program does first comes last, from another CPU."""
    kernel.issued = {0: 2, 1: 1}
    started, first = _made(kernel, pid, 0, "execve"), _made(kernel, pid, 0, "read")
    kernel.send(started, _made(kernel, pid, 1, "close"))
    threading.Timer(0.3, kernel.send, [first], {"cpu": 1}).start()


def losses(kernel: FakeKernel, pid: int) -> None:
    """Of six calls of the program two come, and the last one does not."""
    kernel.issued[0] = 6
    kernel.send(_made(kernel, pid, 0, "execve"), _made(kernel, pid, 4, "read"), lost=3)


def nothing(_kernel: FakeKernel, _pid: int) -> None:
    """No record comes."""


def gone(_kernel: FakeKernel, _pid: int) -> None:
    """The module is unloaded."""
    SYSFS.rename("unloaded")


class Lab:
    """The tracer that is made up, and what is to be told of it in the end."""

    def __init__(self, report: str, returns: str, scene: str) -> None:
        self.kernel = FakeKernel()
        self.scene: Scene = globals()[scene]
        self._report = Path(report)
        self._returns = SYSFS.absolute() / "parameters" / "returns"
        self._returns.parent.mkdir(parents=True, exist_ok=True)
        self._returns.write_text(f"{returns}\n")
        self.meanwhile: str | None = None

    def machine(self) -> Machine:
        """Return the machine that has it."""
        return Machine(SYSFS.absolute(), Path("claims").absolute(), self.kernel.link, self.start, self.die_of)

    def start(self, file: str, argv: Sequence[str], mask: set[signal.Signals | int], identity: Identity) -> Program:
        """Start a program, of which the kernel hears."""
        started = Program(file, argv, mask, identity)
        self.meanwhile = self.returns()
        self.scene(self.kernel, started.pid)
        return started

    def die_of(self, number: int) -> None:
        """Save the report, and die."""
        self.save()
        program.die_of(number)

    def watched(self) -> None:
        """Play the scene as soon as somebody listens, with a process that there is not."""
        signal.pthread_sigmask(signal.SIG_BLOCK, program.ENDING)  # they are for the main thread
        while ("cpu-get", {}) not in self.kernel.asked:
            time.sleep(0.01)
        with contextlib.suppress(OSError):  # who has nobody to show it to may have ended already
            self.scene(self.kernel, 777)

    def save(self) -> None:
        """Write the report."""
        traced = [name for name, on in self.kernel.calls.items() if on]
        found = {"traced": traced, "returns": self.returns(), "meanwhile": self.meanwhile, "asked": self.kernel.asked}
        self._report.write_text(json.dumps(found))

    def returns(self) -> str | None:
        """Return what the parameter says; None without the module."""
        return self._returns.read_text().strip() if self._returns.exists() else None


def main(report: str, returns: str, scene: str, argv: Sequence[str]) -> int:
    """Be `kmodlab trace`."""
    signal.alarm(60)
    for number in program.ENDING:
        signal.signal(number, signal.SIG_DFL)  # a shell starts what is in the background with some of them ignored
    lab = Lab(report, returns, scene)
    if argv[0] == "watch":
        threading.Thread(target=lab.watched, daemon=True).start()
    try:
        return cli.main(argv, lab.machine())
    finally:
        lab.save()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
    except KmodlabError as error:
        sys.stderr.write(f"kmodlab: error: {error}\n")
        sys.exit(error.status)

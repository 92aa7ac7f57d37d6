"""`kmodlab trace ...` in a process of its own, with a kernel that is made up: it waits for every child there is.

`python -m tests.unit.trace_driver REPORT RETURNS SCENE WORD...`: SCENE is a function of this file, called with the
kernel and the process of the traced program once that has started. REPORT gets, as JSON, what became of the kernel.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kmodlab.errors import KmodlabError
from kmodlab.modules import changes, cli, live, netlink, run, watch
from kmodlab.modules import tracer as tracer_module
from kmodlab.modules.program import Program

from .fake_netlink import FakeKernel, item, record

Scene = Callable[[FakeKernel, int], None]


def _made(kernel: FakeKernel, pid: int, seq: int, call: str, **fields: int) -> bytes:
    fields = {"tid": pid, "ppid": os.getpid(), "clock": time.monotonic_ns(), **fields}
    return record(seq=seq, pid=pid, call=kernel.ids()[call], comm=b"cat", **fields)


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


def losses(kernel: FakeKernel, pid: int) -> None:
    """Of six calls of the program two come, and the last one does not."""
    kernel.issued[0] = 6
    kernel.send(_made(kernel, pid, 0, "execve"), _made(kernel, pid, 4, "read"), lost=3)


def nothing(_kernel: FakeKernel, _pid: int) -> None:
    """No record comes."""


def gone(_kernel: FakeKernel, _pid: int) -> None:
    """The module is unloaded."""
    (changes.RETURNS.parent.parent).rename("unloaded")


def main(report: str, returns: str, scene: str, words: Sequence[str]) -> int:
    """Be `kmodlab trace`."""
    signal.alarm(60)
    kernel, sysfs = FakeKernel(), Path("syscall_tracer").absolute()
    (sysfs / "parameters").mkdir(parents=True)
    (sysfs / "parameters" / "returns").write_text(f"{returns}\n")
    netlink.open_socket = kernel.link  # type: ignore[assignment]
    for module in (live, tracer_module):
        module.SYSFS = sysfs  # type: ignore[attr-defined]
    changes.RETURNS = sysfs / "parameters" / "returns"
    play: Scene = globals()[scene]

    class Told(Program):
        """A program whose start the kernel hears of."""

        def __init__(self, file: str, words: Sequence[str], mask: set[signal.Signals | int]) -> None:
            super().__init__(file, words, mask)
            play(kernel, self.pid)

    run.Program = Told  # type: ignore[misc]
    state: dict[str, object] = {"status": None}
    original = watch.drain

    def save() -> None:
        traced = [name for name, on in kernel.calls.items() if on]
        file = Path(changes.RETURNS)
        state["traced"], state["returns"] = traced, file.read_text().strip() if file.exists() else None
        Path(report).write_text(json.dumps({**state, "asked": kernel.asked}))

    del original
    run.die_of = lambda number: (save(), sys.exit(f"died of {number}"))  # type: ignore[assignment]
    try:
        return cli.main(words)
    finally:
        save()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
    except KmodlabError as error:
        sys.stderr.write(f"kmodlab: error: {error}\n")
        sys.exit(error.status)

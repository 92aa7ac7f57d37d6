"""A recorder in a process of its own, to be killed: `python recording_child.py FOLDER`.

It is what `kmodlabd record` is, on a machine that makes some thousand calls a second. What the kernel has numbered goes
on while nobody records: the numbers of each run begin where the last one was, and some further.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from unit.daemon_tape import Tape

from kmodlab.daemon.items import Item
from kmodlab.daemon.recorded import Replay
from kmodlab.daemon.recording import record

AWAY = 1000
"""Calls of each CPU that nobody recorded, at least, between two runs."""
RATE, BATCH = 8_000, 200
"""Calls a second, and in a batch."""


class Paced(Replay):
    """A tape that is not played faster than the machine would make it."""

    def __init__(self, items: Iterator[Item]) -> None:
        super().__init__(items, at_once=RATE // BATCH // 10)

    def receive(self, seconds: float) -> list[Item]:
        """Return a tenth of a second."""
        time.sleep(0.1)
        return super().receive(seconds)


def items(state: Path) -> Iterator[Item]:
    """Yield the tape from where the kernel is: that is in a file, ahead of what is yielded."""
    tape = Tape(size=BATCH, lossy=False, seed=6, pids=5_000_000)
    first = int(state.read_text()) if state.exists() else 0
    tape.next, tape.now = dict.fromkeys((0, 1), first), tape.now + first * 50_000
    _note(state, first + AWAY)
    yield from tape.begin()
    for number, batch in enumerate(tape.batches(1 << 40)):
        if number % 10 == 0:
            _note(state, max(tape.next.values()) + AWAY)
            yield tape.counters()
        yield batch


def _note(state: Path, number: int) -> None:
    """Write a number into a file, which is whole whenever this is killed."""
    new = state.with_suffix(".new")
    new.write_text(str(number))
    new.replace(state)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    record(folder / "history", folder / "socket", Paced(items(folder / "kernel")))

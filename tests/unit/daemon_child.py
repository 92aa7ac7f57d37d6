"""A process that records, to be killed: `python daemon_child.py ROLE FOLDER FIRST`.

It records a tape without end, whose numbers begin at FIRST, and says `NUMBER` for each commit: how many records of it
are safe. ROLE is `record` (the first stage), `roll` (the second, of what is there) or `both`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

from kmodlab.daemon.collector import Live
from kmodlab.daemon.items import Item
from kmodlab.daemon.journal import Journal
from kmodlab.daemon.recorded import Replay
from kmodlab.daemon.roller import Limits, Roller
from kmodlab.daemon.store import recalled

sys.path.insert(0, str(Path(__file__).parents[1]))

from unit.daemon_tape import Tape

QUICK = Limits(flush_seconds=0.02, flush_bytes=1 << 18, segment_bytes=1 << 20)


def items(first: int) -> Iterator[Item]:
    """Yield the tape."""
    tape = Tape(size=200, lossy=False, seed=2)
    tape.next = {0: first, 1: first}
    tape.now += first * 50_000
    yield from tape.begin()
    yield from tape.batches(1 << 40)


def record(folder: Path, first: int) -> None:
    """Be the first stage."""
    journal = Journal(folder, recalled(folder), file_bytes=1 << 20)
    tape = items(first)
    while True:
        for item in itertools.islice(tape, 20):
            journal.take(item)
        assert journal.commit()
        print(sum(terms["stored"] for terms in journal.ledger().values()), flush=True)


def roll(folder: Path) -> None:
    """Be the second stage."""
    roller = Roller(folder, limits=QUICK)
    while roller.step(4):
        print(roller.index.position(), flush=True)


def both(folder: Path, first: int) -> None:
    """Be all of it."""
    live = Live(Replay(items(first)), folder, limits=QUICK)
    with live:
        while True:
            tick = live.wait(lambda tick: tick.ledger.get("stored", 0) > 0)
            print(tick.ledger["stored"], flush=True)


if __name__ == "__main__":
    role, where, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if role == "roll":
        roll(where)
    else:
        {"record": record, "both": both}[role](where, number)

"""A recorder in a process of its own, to be flooded: `python flood_child.py FOLDER JOURNAL_BYTES`.

It is what `kmodlabd record` is, on a machine that makes calls as fast as this process takes them, and never waits for
it. Each line that it reads is a number of calls to be made. What was made it prints as a line of JSON, once all were.
"""

from __future__ import annotations

import itertools
import json
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from unit.daemon_tape import Tape
from unit.live_source import proc_of

from kmodlab.daemon import lister
from kmodlab.daemon.demo_tasks import DemoTasks
from kmodlab.daemon.items import Batch, Blocked, Item, offsets
from kmodlab.daemon.recording import record
from live.feeds import Player

STATUS_AT = struct.calcsize("=QQQq6QQIIIIHH")
"""Where a record has its status; see `kmodlab.modules.record.LAYOUT`."""
BLOCKED = 1
NOBODY = 5_000_000
"""Process ids that no process has."""


class Flood(Player):
    """A tape that waits for nobody, with blocked calls by a way of their own, too."""

    patient = False

    def __init__(self) -> None:
        super().__init__()
        self._tape = Tape(lossy=False, pids=NOBODY)
        self._blocked = dict.fromkeys((0, 1), 0)
        self._places: dict[int, list[slice]] = {}
        self.play(self._tape.begin())

    def made(self, number: int) -> Iterator[Item]:
        """Make so many calls; say what all of them are, at the end."""
        begun = time.monotonic()
        for at, batch in enumerate(self._tape.batches(number)):
            yield batch
            yield from self._apart(at % 4, batch)
        yield self._tape.counters()
        made, blocked = sum(self._tape.came.values()), sum(self._blocked.values())
        print(json.dumps([made, blocked, time.monotonic() - begun]), flush=True)

    def _apart(self, kind: int, batch: Batch) -> Iterator[Blocked]:
        """Yield the blocked calls of a batch; those of one of the tape's four kinds are always at the same places."""
        if kind not in self._places:
            ends = [*offsets(batch.data), len(batch.data)]
            pairs = itertools.pairwise(ends)
            self._places[kind] = [slice(*pair) for pair in pairs if batch.data[pair[0] + STATUS_AT] == BLOCKED]
        if found := self._places[kind]:
            number, cpu = self._blocked[batch.cpu], batch.cpu
            self._blocked[cpu] += len(found)
            yield Blocked(cpu, number, len(found), 0, b"".join(batch.data[place] for place in found))


def listen(flood: Flood) -> None:
    """Make the calls that are asked for."""
    for line in sys.stdin:
        flood.play(flood.made(int(line)))


if __name__ == "__main__":
    folder, most = Path(sys.argv[1]), int(sys.argv[2])
    tasks = DemoTasks(1, "b007", 0)
    proc = proc_of(folder / "proc", tasks.stats().text, tasks.listing().text)
    one = Flood()
    threading.Thread(target=listen, args=(one,), daemon=True).start()
    record(folder / "history", folder / "socket", one, lambda: lister.opened(proc), folder_bytes=most)

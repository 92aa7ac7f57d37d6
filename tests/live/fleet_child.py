"""A host of a fleet, to be killed: `python fleet_child.py FOLDER FIRST FILE`.

It records a tape, as `unit/daemon_child.py` does, copies it into the database whose URL is in FILE, and says `NUMBER`
whenever the database has more: how many records it has. Then it records some more.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from unit.daemon_child import QUICK, items

from kmodlab.daemon.collector import Live
from kmodlab.daemon.postgres import address
from live.fed import Fed

AT_ONCE = 20
"""Batches of the tape."""


def main(folder: Path, first: int, file: str) -> None:
    """Be it."""
    feed, tape, said, number = Fed(), items(first), -1, 0
    with Live(feed, folder, limits=QUICK, fleet=address(file)) as live:
        while True:
            number = live.wait(lambda tick, after=number: tick.number > after).number  # type: ignore[misc]
            copied = live.ledger().copied
            if copied and copied.check and copied.shipped > said:
                said = copied.shipped
                print(said, flush=True)
                feed.give(list(itertools.islice(tape, AT_ONCE)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

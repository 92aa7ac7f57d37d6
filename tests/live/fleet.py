"""Hosts that record now, or did some time ago, copied into a database; and `kmodlabd hub` over it."""

from __future__ import annotations

import contextlib
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unit.daemon_tape import NS, Tape, roll, write
from unit.live_source import TASKS, listing_text

from kmodlab.daemon import postgres
from kmodlab.daemon.api import keys
from kmodlab.daemon.invite import noted
from kmodlab.daemon.items import Begin, Clock, Item
from kmodlab.daemon.lister import Moment
from kmodlab.daemon.postgres import Address
from kmodlab.daemon.roller import Roller
from kmodlab.daemon.task_store import Kept, Snapshot
from kmodlab.daemon.tasks import Sample
from live.daemon import PROGRAM, Way, file_of, program, wait
from live.postgres import copy

BOOTED = 300 * NS
"""How long a host runs when it has looked at its tasks last."""
SEED = 4
"""Of a tape that has some blocked calls."""


def recorded(
    folder: Path, host: str, records: int = 2_000, *, ago: float = 30.0, kernel: str = "6.1.0", lossy: bool = False,
    seed: int = SEED, loads: int = 1,
) -> Tape:  # fmt: skip
    """Record a host whose calls were made some seconds ago, over several loads of its module."""
    tape = Tape(size=200, lossy=lossy, seed=seed)
    for load in range(1, loads + 1):
        first, _ = tape.begin(f"{host}-{load}")
        assert isinstance(first, Begin)
        told = Clock(tape.now, 0, int((time.time() - ago) * NS))
        items: list[Item] = [replace(first, host=host, boot=f"boot-of-{host}", kernel=kernel), told]
        write(folder, [*items, *tape.batches(records // loads), tape.counters()])
    roll(folder)
    return tape


def copied(folder: Path, where: Address, host: str, records: int = 2_000, **how: Any) -> Tape:
    """Record a host, and copy it."""
    tape = recorded(folder, host, records, **how)
    copy(folder, where)
    return tape


def goes_on(folder: Path, where: Address, tape: Tape, records: int) -> None:
    """Have a host go on two seconds later, and copy that."""
    tape.now += 2 * NS
    write(folder, [*tape.batches(records), tape.counters()])
    copy(folder, where)


def looked(folder: Path, where: Address, host: str, rss: int, seconds: int = 300, ago: float = 30.0) -> None:
    """Have a host have looked at its tasks, each second up to some seconds ago, and copy that."""
    offset = int((time.time() - ago) * NS) - BOOTED
    moments = [Moment(f"boot-of-{host}", at * NS, at * NS + offset) for at in range(seconds)]
    samples = [(at, Sample((at.t // NS % 4, 80, 2, 3, 30), 9 * rss, rss)) for at in moments]
    listing = zlib.compress(listing_text(TASKS).encode())
    snapshots = [Snapshot(at, len(TASKS), listing) for at in moments[::60]]
    roller = Roller(folder, ships=True)
    assert roller.keep_tasks(Kept(tuple(samples), tuple(snapshots)))
    roller.close()
    copy(folder, where)


def steady(folder: Path, where: Address, host: str, each: int = 20) -> None:
    """A host that makes so many calls each second, up to minutes from now: so it does in each minute that is asked for.

    A machine may be slow: what was made in the last minute when it was recorded is older when it is asked for.
    """
    tape = Tape(size=each, lossy=False, seed=SEED)
    first, _ = tape.begin(host)
    assert isinstance(first, Begin)
    told = Clock(tape.now, 0, int((time.time() - 120) * NS))
    items: list[Item] = [replace(first, host=host, boot=f"boot-of-{host}"), told]
    for second in range(1_200):
        tape.now = (100 + second) * NS
        items += tape.batches(each)
    write(folder, items)
    roll(folder)
    copy(folder, where)


def heard(where: Address, host: str, seconds: float) -> None:
    """Have the database have heard of a host that many seconds ago; below 0 it is not silent, however slow this is."""
    with contextlib.closing(postgres.connect(where)) as base:
        query = "update source set seen = now() - make_interval(secs => %s) where host = %s"
        base.execute(query, (seconds, host))


@dataclass(frozen=True)
class Shown:
    """A hub: how it is reached, its socket, the key of a program."""

    way: Way
    socket: Path
    reader: str

    def answer(self, path: str) -> Any:
        """What it answers a program, whatever that is."""
        return self.way.ask("GET", path, {"authorization": f"Bearer {self.reader}"})

    def get(self, path: str) -> Any:
        """What it answers a program, which gets what it asks for."""
        answer = self.answer(path)
        assert answer.status == 200, answer.body
        return answer.json


@contextlib.contextmanager
def showing(folder: Path, where: Address, *options: str) -> Iterator[Shown]:
    """`kmodlabd hub` for as long as the block runs."""
    at = folder / "hub" / "socket"
    at.parent.mkdir(parents=True)
    reader = keys.made(at.parent / keys.FILE, "reader", "reader")
    url = file_of(folder, "fleet.url", f"{where.text}\n")
    argv = [sys.executable, "-c", PROGRAM, "hub", "--folder", str(at.parent), "--socket", str(at), "--port", "0",
            "--fleet", str(url), *options]  # fmt: skip
    log = folder / "hub.log"
    with program(argv, log) as process:
        wait(lambda: " ready" in log.read_text() or process.poll() is not None, "ready", log.read_text)
        assert process.poll() is None, log.read_text()
        yield Shown(Way(noted(at)[0]), at, reader)
    assert "Traceback" not in log.read_text(), log.read_text()

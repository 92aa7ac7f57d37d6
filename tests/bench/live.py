"""What the daemon can take, on this machine and one core: `make bench-live`.

A tape of a million calls of 400 processes is recorded (A), then counted, packed and indexed (B), then both at once as
in the daemon. Then a day of sums with 5,000 processes is made, and asked what the page asks. At last calls are made
one by one, and looked for in a browser: on all cores.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from browser.conftest import launched, one_playwright
from live.delay import KINDS, delays, median
from unit.daemon_tape import NS, WALL, begin, clock, roll, write
from unit.daemon_tape import record as one_record

from kmodlab.daemon.collector import Live
from kmodlab.daemon.items import Batch, Begin, Item
from kmodlab.daemon.queries import History
from kmodlab.daemon.recorded import Replay
from kmodlab.daemon.store import Index

DAY, PROCESSES = 86_400, 5_000
AIMS = {"a+b": 200_000, "bytes": 40.0, "query": 0.1, "page": 1000}
LOOKED_FOR = 200
_COMMS = (b"nginx", b"cc1", b"bash", b"cron")


def batches(number: int, rate: int = 40_000, size: int = 420) -> list[Batch]:
    """Return batches of so many calls of two CPUs, no two alike; 40 % of them have a path, as on a small server."""
    rng, now = random.Random(7), 100 * NS  # noqa: S311
    found, seqs = [], [0, 0]
    for at in range(number // size):
        cpu, records, begun = at % 2, [], now
        for _ in range(size):
            pid = rng.randrange(400)
            path = b"/srv/www/%d/page%d.html" % (pid % 7, rng.randrange(3000)) if rng.random() < 0.4 else b""
            now += rng.randrange(2 * NS // rate)
            records.append(
                one_record(
                    3 + rng.randrange(7), path=path, pid=1000 + pid, ppid=1000 + pid // 9, uid=pid % 3 * 33, cpu=cpu,
                    comm=_COMMS[pid % 4], ret=rng.choice((0, 3, 4096, rng.randrange(900), -2)),
                    latency=int(rng.lognormvariate(8, 1.3)), blocked=rng.random() < 0.001, seq=seqs[cpu], at=now,
                )
            )  # fmt: skip
            seqs[cpu] += 1
        found.append(Batch(cpu, seqs[cpu] - size, seqs[cpu] - 1, size, begun, now, 0, b"".join(records)))
    return found


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return how long some work takes: seconds of processor, of all threads, and seconds by the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def a_day(folder: Path) -> float:
    """Make the sums of a day; return when it ends, seconds since 1970."""
    write(folder, [begin(issued={0: 0}), clock(0)])
    roll(folder)
    index, rng = Index(folder), random.Random(5)  # noqa: S311
    base = index.base
    base.execute("begin")
    for tier, seconds in (("s", 1), ("m", 60), ("h", 3600)):
        times = range(0, DAY, seconds) if seconds > 1 else range(DAY - 7200, DAY)
        rolls = [
            (1, t, call, status, 50 * seconds, 0, 10**6, bytes([9, 20, 10, 20, 11, 10]))
            for t in times for call in range(3, 10) for status in (0, 2)
        ]  # fmt: skip
        base.executemany(f"insert into roll_{tier} values (?, ?, ?, ?, ?, ?, ?, ?)", rolls)
        procs = [
            (1, t, 1 + process, seconds, 0, 10**5, 0) for t in times for process in rng.sample(range(PROCESSES), 65)
        ]  # fmt: skip
        base.executemany(f"insert into proc_{tier} values (?, ?, ?, ?, ?, ?, ?)", procs)
    known = [(1 + number, 1, 1000 + number, f"p{number % 90}", 0, 1, 0, 0, 0) for number in range(PROCESSES)]
    base.executemany("insert into proc values (?, ?, ?, ?, ?, ?, ?, ?, ?)", known)
    base.execute("commit")
    index.close()
    return WALL / NS + DAY


def questions(folder: Path, end: float) -> dict[str, float]:
    """Return how long each question of a day's page takes, seconds: the middle of five."""
    history = History(folder, seconds=60)
    asked: dict[str, Callable[[], object]] = {
        "rates of a day by call": lambda: history.rates(end - DAY, end, 300),
        "rates of a day by status": lambda: history.rates(end - DAY, end, 300, "status"),
        "busiest calls of a day": lambda: history.top(end - DAY, end, "call"),
        "rates of a day by process": lambda: history.rates(end - DAY, end, 300, "process"),
        "busiest processes of a day": lambda: history.top(end - DAY, end, "process"),
        "blocked calls of a day": lambda: history.blocked(end - DAY, end, 100),
        "rates of an hour by call": lambda: history.rates(end - 3600, end, 10),
    }
    return {name: sorted(timed(work)[0] for _ in range(5))[2] for name, work in asked.items()}


def line(what: str, figure: str, aim: str = "", held: bool = True) -> None:
    """Print a figure."""
    print(f"{what:<44}{figure:>18}  {aim}{'' if held or not aim else '  MISSED'}", flush=True)


def measure(number: int, folder: Path) -> None:
    """Measure all, and print it."""
    tape = batches(number)
    first: list[Item] = [begin(issued={0: 0, 1: 0}), clock(100 * NS)]
    assert isinstance(first[0], Begin)
    count = sum(one.n for one in tape)
    line("events", f"{count:,}")
    line("bytes an event as the kernel sends it", f"{sum(len(one.data) for one in tape) / count:.1f}")
    cpu, wall = timed(lambda: write(folder / "ab", [*first, *tape]))
    line("A alone, events/s of one core", f"{count / cpu:,.0f}", f"({count / wall:,.0f} by the clock)")
    after, wall = timed(lambda: roll(folder / "ab"))
    line("B alone, events/s of one core", f"{count / after:,.0f}", f"({count / wall:,.0f} by the clock)")
    both = count / (cpu + after)
    line("A, then B, events/s of one core", f"{both:,.0f}", f"aim {AIMS['a+b']:,}", both >= AIMS["a+b"])
    cpu, wall = timed(lambda: _live(folder / "live", [*first, *tape], count))
    line("A and B in threads, events/s of one core", f"{count / cpu:,.0f}", f"({count / wall:,.0f} by the clock)")
    kept = sum(path.stat().st_size for path in [folder / "ab" / "index.db", *(folder / "ab" / "raw").glob("*.db")])
    line(
        "bytes an event on the disk, sums included",
        f"{kept / count:.1f}",
        f"aim {AIMS['bytes']:.0f}",
        kept / count <= 40,
    )
    assert History(folder / "ab").ledger().closed
    for name, seconds in questions(folder / "day", a_day(folder / "day")).items():
        line(name, f"{seconds * 1000:.1f} ms", f"aim {AIMS['query'] * 1000:.0f} ms", seconds <= AIMS["query"])
    line(
        "largest memory of this process, MiB",
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}",
        "(the tape included)",
    )


def _live(folder: Path, items: list[Item], count: int) -> None:
    with Live(Replay(items), folder) as live:
        live.wait(lambda tick: tick.ledger.get("rolled", 0) == count, 600)


def measure_page(folder: Path) -> None:
    """Measure how long it takes from a call to a browser, and print it."""
    with one_playwright() as playwright, contextlib.closing(launched(playwright)) as chromium:
        for number, (kind, (rate, blocked)) in enumerate(KINDS.items()):
            middle = median(delays(folder / str(number), chromium, LOOKED_FOR, rate, blocked))
            name = f"from a call to the page, {kind}"
            line(name, f"{middle:.0f} ms", f"aim {AIMS['page']:,} ms", middle <= AIMS["page"])


def main() -> None:
    """Measure on one core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    given = parser.parse_args()
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    print(f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, one core")
    with tempfile.TemporaryDirectory(prefix="kmodlab-bench-live-") as folder:
        measure(given.events, Path(folder))
        os.sched_setaffinity(0, cores)
        measure_page(Path(folder))


if __name__ == "__main__":
    main()

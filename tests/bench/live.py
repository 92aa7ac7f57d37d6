"""What the daemon can take and what it costs: `make bench-live`; writes docs/benchmarks-live.md.

A tape of a million calls of 400 processes is recorded (A), then counted, packed and indexed (B), then both at once as
in the daemon. Then a day of sums with 5,000 processes is made, and asked what the page asks. At last calls are made
one by one, and looked for in a browser: on all cores. The rest is measured in a guest: see live_guest.
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
from datetime import date
from pathlib import Path

from browser.conftest import launched, one_playwright
from live.daemon import serving, wait
from live.delay import KINDS, delays, median
from live.machine import Running
from unit.daemon_tape import NS, WALL, begin, clock, roll, write
from unit.daemon_tape import record as one_record

from bench import live_guest
from bench.lab import host
from bench.told import Told
from kmodlab.daemon.collector import Live
from kmodlab.daemon.items import Batch, Begin, Item
from kmodlab.daemon.queries import History
from kmodlab.daemon.recorded import Replay
from kmodlab.daemon.store import Index
from kmodlab.paths import project_dir
from kmodlab.process import interruptible
from kmodlab.prose import wrapped

DAY, PROCESSES = 86_400, 5_000
AIMS = {"a+b": 200_000, "bytes": 40.0, "query": 0.1, "page": 1000, "idle": 1.0}
LOOKED_FOR = 200
IDLE = 60
"""Seconds for which nothing happens."""
PAGE = """# What the dashboard takes and costs

Written by `make bench-live` on {date}.

{parts}"""
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


def timed(work: Callable[[], object]) -> float:
    """Return how long some work takes, seconds of processor, of all threads."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


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
    return {name: sorted(timed(work) for _ in range(5))[2] for name, work in asked.items()}


def measure(told: Told, number: int, folder: Path) -> None:
    """Measure what needs no guest and no browser."""
    tape = batches(number)
    first: list[Item] = [begin(issued={0: 0, 1: 0}), clock(100 * NS)]
    assert isinstance(first[0], Begin)
    count = sum(one.n for one in tape)
    told.line("events", f"{count:,}")
    told.line("bytes an event as the kernel sends it", f"{sum(len(one.data) for one in tape) / count:.1f}")
    cpu = timed(lambda: write(folder / "ab", [*first, *tape]))
    told.line("A alone, events/s of one core", f"{count / cpu:,.0f}")
    after = timed(lambda: roll(folder / "ab"))
    told.line("B alone, events/s of one core", f"{count / after:,.0f}")
    both = count / (cpu + after)
    told.line("A, then B, events/s of one core", f"{both:,.0f}", f"{AIMS['a+b']:,}", both >= AIMS["a+b"])
    cpu = timed(lambda: _live(folder / "live", [*first, *tape], count))
    told.line("A and B in threads, events/s of one core", f"{count / cpu:,.0f}")
    kept = sum(path.stat().st_size for path in [folder / "ab" / "index.db", *(folder / "ab" / "raw").glob("*.db")])
    told.line(
        "bytes an event on the disk, sums included",
        f"{kept / count:.1f}",
        f"{AIMS['bytes']:.0f}",
        kept / count <= 40,
    )
    assert History(folder / "ab").ledger().closed
    for name, seconds in questions(folder / "day", a_day(folder / "day")).items():
        told.line(name, f"{seconds * 1000:.1f} ms", f"{AIMS['query'] * 1000:.0f} ms", seconds <= AIMS["query"])
    told.line(
        "largest memory of this process, the tape included, MiB",
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}",
    )


def _live(folder: Path, items: list[Item], count: int) -> None:
    with Live(Replay(items), folder) as live:
        live.wait(lambda tick: tick.ledger.get("rolled", 0) == count, 600)


def measure_page(told: Told, folder: Path) -> None:
    """Measure how long it takes from a call to a browser, and print it."""
    with one_playwright() as playwright, contextlib.closing(launched(playwright)) as chromium:
        for number, (kind, (rate, blocked)) in enumerate(KINDS.items()):
            middle = median(delays(folder / str(number), chromium, LOOKED_FOR, rate, blocked))
            name = f"from a call to the page, {kind}"
            told.line(name, f"{middle:.0f} ms", f"{AIMS['page']:,} ms", middle <= AIMS["page"])


def _used(pid: int) -> float:
    """Return the seconds of processor that a process has used. Source: proc(5)"""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def measure_idle(told: Told, folder: Path) -> None:
    """What who serves takes where nobody calls and nobody looks."""
    machine = Running(folder / "machine")
    machine.load()
    with serving(folder / "daemon", machine.feed) as daemon:
        wait(lambda: daemon.get("/api/v1/machine")["state"] == "recording", "it records")
        before = _used(daemon.process.pid)
        time.sleep(IDLE)
        share = (_used(daemon.process.pid) - before) / IDLE * 100
    told.line("processor while idle, who serves", f"{share:.1f} %", f"{AIMS['idle']:.0f} %", share <= AIMS["idle"])


def main() -> None:
    """Measure on one core, then with a browser on all of them, then in a guest; write the page."""
    interruptible()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--no-guest", action="store_true", help="neither in a guest, nor a page written")
    given = parser.parse_args()
    about = f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {host()['processor']}"
    told = Told("On this machine", f"{about}; one core, but for what a browser shows.")
    print(told.about)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    with tempfile.TemporaryDirectory(prefix="kmodlab-bench-live-") as folder:
        measure(told, given.events, Path(folder))
        os.sched_setaffinity(0, cores)
        measure_page(told, Path(folder))
        measure_idle(told, Path(folder) / "idle")
    if not given.no_guest:
        page = PAGE.format(date=date.today().isoformat(), parts="\n".join([told.part(), live_guest.run().part()]))
        (project_dir() / "docs" / "benchmarks-live.md").write_text(wrapped(page))


if __name__ == "__main__":
    main()

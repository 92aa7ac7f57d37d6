"""DuckDB opens what `kmodlab history export --format parquet` writes, and comes to the page's sums."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from playwright.sync_api import Browser, expect
from unit.daemon_tape import NS, WALL, Tape

from live.daemon import Daemon, serving, wait
from live.feeds import Player
from live.looking import looking

RECORDS = 40_000
NOBODY = 5_000_000
COMMAND = (sys.executable, "-c", "from kmodlab.start import main; main()", "history", "export", "--format", "parquet")
SUMS = """select {0}, count(*), count(*) filter (returned < 0), sum(latency)::bigint
    from read_parquet(?) group by {0}"""
BEGIN = WALL // NS + 100
"""When the tape begins, seconds since 1970."""
END = BEGIN + 60


def asked(daemon: Daemon, by: str) -> dict[str, tuple[int, int, int]]:
    """What the page's ranking says: name -> calls, errors, ns in them."""
    found = daemon.get(f"/api/v1/top?begin={BEGIN - 1}&end={END}&by={by}&limit=100")
    values = zip(found["n"], found["errors"], found["latency_sum"], strict=True)
    return dict(zip(found["name"], values, strict=True))


def test_its_sums_are_those_of_the_page(chromium: Browser, tmp_path: Path) -> None:
    player, tape = Player(), Tape(pids=NOBODY)
    out = tmp_path / "calls.parquet"
    with serving(tmp_path / "daemon", player) as daemon, looking(chromium, daemon, timezone_id="UTC") as view:
        player.play(tape.begin(), tape.batches(RECORDS))
        daemon.books(RECORDS)
        wait(lambda: sum(n for n, *_ in asked(daemon, "call").values()) == RECORDS, "the sums are on the disk")
        argv = [*COMMAND, "--folder", str(tmp_path / "daemon" / "history"), "--from", str(BEGIN - 1), "--to", str(END)]
        subprocess.run([*argv, "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
        with duckdb.connect() as base:
            for by in ("call", "status"):
                found = {name: tuple(sums) for name, *sums in base.execute(SUMS.format(by), [str(out)]).fetchall()}
                assert found == asked(daemon, by)
                assert len(found) >= 3
            by_name = dict(base.execute("select call, count(*) from read_parquet(?) group by 1", [str(out)]).fetchall())
        # And what the page shows of that time is the same, to the digit.
        view.page.goto(f"{view.origin}/#history")
        view.page.get_by_label("From").fill(_input(BEGIN - 1))
        view.page.get_by_label("to", exact=True).fill(_input(END))
        view.page.get_by_role("button", name="Show", exact=True).first.click()
        for name, n in by_name.items():
            row = view.table("Busiest of that time").filter(has_text=re.compile(rf"^\s*{name}\s"))
            expect(row).to_contain_text(f"{n:,}".replace(",", "\u202f"))


def _input(seconds: int) -> str:
    """A time as a field of the page takes it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")

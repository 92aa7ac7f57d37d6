"""A fleet as its users meet it: a daemon that copies, `kmodlab history --database`, and the page that merges."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from unit.daemon_tape import PATIENCE, Tape

from kmodlab.cli import app
from kmodlab.daemon import demo, postgres
from kmodlab.daemon.api import keys
from kmodlab.daemon.collector import Live
from kmodlab.daemon.fleet import Fleet
from kmodlab.daemon.invite import noted
from kmodlab.daemon.merging import Merged
from kmodlab.daemon.postgres import Address
from kmodlab.daemon.queries import History
from live.daemon import PROGRAM, Way, file_of, program, serving, wait
from live.fed import Fed
from live.postgres import Postgres, copy
from live.test_fleet_copy import named

SECRET = "s3cret-of-the-fleet"  # noqa: S105  # it is to be found nowhere


def with_password(folder: Path, database: Address) -> Path:
    """A file with a URL that has a password, which this server does not ask for."""
    return file_of(folder, "fleet.url", f"{database.text}&password={SECRET}\n")


def test_a_daemon_copies_what_it_records_and_says_how_far(tmp_path: Path, server: Postgres, database: Address) -> None:
    url = with_password(tmp_path, database)
    feed, tape = Fed(), Tape(size=200, lossy=False, pids=4_000_000)
    with serving(tmp_path, feed, "--fleet", str(url)) as daemon:
        feed.give([*tape.begin(), *tape.batches(8_000), tape.counters()])

        def figures() -> dict[str, float]:
            text = daemon.way.ask("GET", "/metrics", {"authorization": f"Bearer {daemon.reader}"}).body.decode()
            pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("kmodlab_fleet_"))
            return {name: float(value) for name, value in pairs}

        wait(lambda: figures().get('kmodlab_fleet_records{fate="shipped"}') == 8_000, "all is copied", figures)
        assert figures()["kmodlab_fleet_behind_seconds"] == 0
        assert figures()['kmodlab_fleet_records{fate="waiting"}'] == 0
        assert figures()['kmodlab_fleet_late{kind="blocked"}'] == 0
        (sum_,) = [one for one in daemon.get("/api/v1/ledger")["equations"] if one["name"] == "copied to the fleet"]
        assert (sum_["closes"], sum_["number"], sum_["right"]["shipped"]) == (True, 8_000, 8_000)
        server.end()
        troubles = wait(lambda: daemon.get("/api/v1/ledger")["troubles"], "it is told")
        assert "s behind: " in troubles[0]
        wait(lambda: figures()["kmodlab_fleet_behind_seconds"] > 0, "it is measured", figures)
        feed.give([*tape.batches(4_000), tape.counters()])
        wait(lambda: daemon.get("/api/v1/ledger")["totals"]["rolled"] == 12_000, "it records on")
        server.start()
        wait(lambda: figures()['kmodlab_fleet_records{fate="shipped"}'] == 12_000, "the rest is copied", figures)
        wait(lambda: not daemon.get("/api/v1/ledger")["troubles"], "it is over")
        told = json.dumps([daemon.get("/api/v1/ledger"), daemon.get("/api/v1/machine"), figures(), troubles])
        line = Path(f"/proc/{daemon.process.pid}/cmdline").read_text()
        log = (tmp_path / "daemon.log").read_text()
    assert "nothing reaches the fleet's database" in log
    assert log.count("is reached again") == 1
    for where in (told, line, log):
        assert SECRET not in where
    assert sum(one.count.n for one in Fleet(database, seconds=PATIENCE).top(0, 9e9, "call")) == 12_000


# -- the command line ------------------------------------------------------------------------------------------------


def run(*words: str) -> tuple[int, str]:
    """Run the command; return its exit status and what it has printed."""
    done = CliRunner().invoke(app, ["history", *words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


@pytest.fixture
def two(tmp_path: Path, database: Address) -> Path:
    """A database of two hosts; the file with its URL."""
    for number, host in enumerate(("one", "two")):
        named(tmp_path / host, host, 2_000 * (number + 1), number + 1)
        copy(tmp_path / host, database)
    return with_password(tmp_path, database)


def test_questions_to_the_fleet_are_those_to_a_folder(tmp_path: Path, two: Path) -> None:
    times = ("--from", "0", "--to", "9000000000")
    for what in ("calls", "statuses", "blocked", "changes", "holes"):
        there = run("query", what, *times, "--database", str(two), "--host", "two")
        assert there == run("query", what, *times, "--folder", str(tmp_path / "two"))
        assert SECRET not in there[1]
    found = json.loads(run("query", "calls", *times, "--database", str(two), "--json")[1])
    assert sum(one["count"]["n"] for one in found) == 6_000
    status, text = run("query", "ledger", "--database", str(two))
    assert (status, text.splitlines()[-1]) == (0, "closed; no record of: nothing")
    out = tmp_path / "calls.jsonl"
    assert (
        run("export", *times, "--database", str(two), "--host", "one", "--out", str(out))[1] == f"2000 calls in {out}\n"
    )
    mine = [json.loads(line) for line in out.read_text().splitlines()]
    own = list(History(tmp_path / "one", PATIENCE).export(0, 9e9))
    assert [(one["cpu"], one["seq"], one["arguments"]) for one in mine] == [
        (one.cpu, one.seq, list(one.arguments)) for one in own
    ]


# -- the page that merges --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def hub(folder: Path, url: Path, *options: str) -> Iterator[Any]:
    """`kmodlabd hub`, and what it answers a program."""
    at = folder / "hub" / "socket"
    at.parent.mkdir()
    reader = keys.made(folder / "hub" / keys.FILE, "reader", "reader")
    argv = [sys.executable, "-c", PROGRAM, "hub", "--folder", str(at.parent), "--socket", str(at), "--port", "0",
            "--fleet", str(url), *options]  # fmt: skip
    log = folder / "hub.log"
    with program(argv, log) as process:
        wait(lambda: " ready" in log.read_text() or process.poll() is not None, "ready", log.read_text)
        assert process.poll() is None, log.read_text()
        port, _ = noted(at)

        def get(path: str) -> Any:
            answer = Way(port).ask("GET", path, {"authorization": f"Bearer {reader}"})
            assert answer.status == 200, answer.body
            return answer.json if answer.headers["content-type"].startswith("application/json") else answer.body

        get.port, get.reader = port, reader  # type: ignore[attr-defined]
        yield get
    assert SECRET not in log.read_text()


def test_one_page_shows_all_hosts_or_one(tmp_path: Path, two: Path) -> None:
    times = "begin=0&end=9000000000"
    with hub(tmp_path, two) as get:
        machine = get("/api/v1/machine")
        assert (machine["host"], machine["state"]) == ("2 hosts", "copied from one, two")
        found = get(f"/api/v1/top?{times}&by=call")
        assert sum(found["n"]) == 6_000
        rows = get("/api/v1/events?begin=0&end=1780000100.04&limit=1000")["rows"]
        assert len(set(zip(rows["epoch"], rows["cpu"], rows["seq"], strict=True))) == 1_000
        assert len(set(rows["epoch"])) == 2
        assert all(one["closes"] for one in get("/api/v1/ledger")["equations"])
        assert b"<html" in get("/")
        tasks = get("/api/v1/tasks")
        assert (tasks["n"], tasks["rows"]) == (0, {})
        assert tasks["trouble"] == {
            "detail": "the tasks of now are on the host's own page alone",
            "hint": "`as of` takes a snapshot of one host",
        }
        assert get("/api/v1/tasks?at=1780000100")["trouble"]["detail"] == "there is no snapshot of the tasks yet"
        over_time = get("/api/v1/tasks/rates?begin=1780000000&end=1780007200&step=60")
        assert (over_time["step"], len(over_time["rss"])) == (3600, over_time["steps"])
        assert {*over_time["rss"], *over_time["states"]["running"]} == {None}
        assert b"kmodlab_tasks" not in get("/metrics")
    (tmp_path / "hub" / keys.FILE).unlink()
    (tmp_path / "hub").rename(tmp_path / "before")
    with hub(tmp_path, two, "--host", "one") as get:
        assert get("/api/v1/machine")["host"] == "one"
        assert sum(get(f"/api/v1/top?{times}&by=call")["n"]) == 2_000
        answer = Way(get.port).ask(
            "POST", "/api/v1/control", {"authorization": f"Bearer {get.reader}"}, {"command": "clear"}
        )
        assert answer.status == 403


def test_the_page_is_live_and_survives_the_database(tmp_path: Path, server: Postgres, database: Address) -> None:
    """What hosts record now comes on the stream, every call of it once; while the database is away it says so."""
    url = with_password(tmp_path, database)
    with Live(demo.Demo(past=0.0), tmp_path / "history", fleet=database) as live:
        wait(lambda: live.ledger().copied.shipped > 0, "it is copied", live.ledger)  # type: ignore[union-attr]
        with Merged(Fleet(postgres.address(str(url)), seconds=PATIENCE)) as merged:
            merged.attend(True)
            first = wait(lambda: [one for one in merged.ticks(0) or () if one.calls and one.rows], "calls come", list)
            names = {one.name for one in live.top(0, 9e9, "call")}
            assert {row.call for row in first[0].rows} | {name for name, _ in first[0].calls} <= names
            server.end()
            told = wait(lambda: merged.ticks(0)[-1].troubles, "it is told")  # type: ignore[index]
            assert "cannot be read: " in told[0]
            assert SECRET not in told[0]
            server.start()
            number = merged.ticks(0)[-1].number  # type: ignore[index]
            wait(lambda: [one for one in merged.ticks(number) or () if one.calls], "calls come again", list)
            ticks = list(merged._ticks)
    assert ticks[-1].ledger["rolled"] == sum(count.n for one in ticks for count in one.calls.values())

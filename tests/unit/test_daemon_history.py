"""`kmodlab history`: what it shows, and that what programs chose does no harm where it is opened."""

from __future__ import annotations

import csv
import io
import json
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kmodlab.cli import app
from kmodlab.daemon.history import COLUMNS, cell, moment, write
from kmodlab.daemon.items import Item
from kmodlab.daemon.queries import History
from kmodlab.errors import UsageError

from .daemon_tape import NS, PATIENCE, Tape, batch, begin, clock, ids, record, roll
from .daemon_tape import write as put

#: names and paths that somebody meant to do harm with
HOSTILE = [
    b"=cmd|'/C calc'!A0", b"@SUM(1+1)*cmd", b"+1+1", b"-2+3", b"\t=1+1", b"\r\n=1+1", b"<img src=x onerror=alert(1)>",
    b"</script><script>", b"javascript:alert(1)", b"\x1b]0;owned\x07\x1b[2J", b"\xe2\x80\xaegnp.exe",
    b"\xff\xfe\x00\x80", b"\x00\x00", b'","","=1', b"%0a%0d", b"|ls", b"a" * 120,
]  # fmt: skip


def recorded(folder: Path) -> None:
    """Record a call of each hostile name and path."""
    records = [
        record(ids()["unlinkat"], seq=seq, at=5 * NS + seq, path=name, comm=name[:15], blocked=True, ret=-1)
        for seq, name in enumerate(HOSTILE)
    ]
    items: list[Item] = [begin(issued={0: 0}), clock(NS), batch(records)]
    put(folder, items)
    roll(folder)


def test_every_cell_of_a_csv_is_inert(tmp_path: Path) -> None:
    recorded(tmp_path)
    out = io.StringIO(newline="")
    assert write(History(tmp_path, PATIENCE).export(0, 9e9), "csv", out) == len(HOSTILE)
    text = out.getvalue()
    assert text.isascii()
    assert all(each.isprintable() or each in "\r\n" for each in text)
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == list(COLUMNS)
    assert {len(row) for row in rows} == {len(COLUMNS)}
    for row in rows[1:]:
        numbers = {"returned", "latency"}
        cells = [each for name, each in zip(COLUMNS, row, strict=True) if name not in numbers]
        assert not [each for each in cells if each[:1] in tuple("=+-@|%\t\r\n")]
    comms = [row[COLUMNS.index("comm")] for row in rows[1:]]
    assert comms[0] == r"'=cmd|'/C\040calc'!"
    assert r"\033]0;owned\007\033[2J" in comms


def test_a_cell_that_is_no_string_of_the_kernels_is_inert_too() -> None:
    assert [cell(each) for each in ("=1", "a\x1bb", "\t", -5, None, ("=x", "y"), "plain")] == [
        "'=1", r"a\033b", r"\011", "-5", "", "'=x,y", "plain",
    ]  # fmt: skip


def test_json_lines_say_the_same_as_the_kernel(tmp_path: Path) -> None:
    recorded(tmp_path)
    out = io.StringIO()
    write(History(tmp_path, PATIENCE).export(0, 9e9), "jsonl", out)
    assert out.getvalue().isascii()
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(found) == len(HOSTILE)
    assert [one["seq"] for one in found] == list(range(len(HOSTILE)))
    assert set(found[0]) == set(COLUMNS)
    assert found[6]["arguments"][1] == r'"<img\040src=x\040onerror=alert(1)>"'


def run(*words: str) -> tuple[int, str]:
    """Run the command; return its exit status and what it has printed."""
    done = CliRunner().invoke(app, ["history", *words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_what_is_shown_on_a_terminal_is_inert(tmp_path: Path) -> None:
    recorded(tmp_path)
    for what in ("calls", "processes", "statuses", "events", "blocked", "changes", "holes", "ledger"):
        status, text = run("query", what, "--folder", str(tmp_path), "--from", "0", "--to", "9000000000")
        assert status == 0
        assert text.isascii()
        assert all(each.isprintable() or each == "\n" for each in text)
        if what in ("events", "blocked"):
            assert len(text.splitlines()) == 1 + len(HOSTILE)
            assert "BLOCKED -1" in text


def test_a_query_as_json(tmp_path: Path) -> None:
    tape = Tape(lossy=False)
    put(tmp_path, [*tape.begin(), *tape.batches(2_000), tape.counters()])
    roll(tmp_path)
    given = ("--folder", str(tmp_path), "--from", "0", "--to", "9000000000", "--json")
    found = json.loads(run("query", "calls", *given)[1])
    assert sum(one["count"]["n"] for one in found) == 2_000
    found = json.loads(run("query", "events", *given, "--status", "FAILED", "--call", "read", "--limit", "5")[1])
    assert [(one["call"], one["status"]) for one in found] == [("read", "FAILED")] * 5
    found = json.loads(run("query", "ledger", *given)[1])
    assert (found["closed"], found["totals"]["kept"]) == (True, 2_000)


def test_an_export_into_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    recorded(tmp_path)
    out = tmp_path / "calls.csv"
    given = ("--folder", str(tmp_path), "--from", "0", "--to", "9000000000")
    assert run("export", *given, "--format", "csv", "--out", str(out)) == (0, f"{len(HOSTILE)} calls in {out}\n")
    assert len(out.read_bytes().split(b"\r\n")) == len(HOSTILE) + 2
    before = out.read_bytes()
    with pytest.raises(UsageError, match="there is no history in"):
        run("export", "--folder", str(tmp_path / "none"), "--out", str(out))
    assert out.read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


def test_an_export_runs_beside_the_recording(tmp_path: Path) -> None:
    """What is removed while it is read is left out; nothing waits for anybody."""
    tape = Tape(lossy=False)
    put(tmp_path, [*tape.begin(), *tape.batches(4_000)])
    roll(tmp_path)
    rows = History(tmp_path, PATIENCE).export(0, 9e9)
    first = next(rows)

    def recording() -> None:
        put(tmp_path, tape.batches(4_000))
        roll(tmp_path)

    more = threading.Thread(target=recording)
    more.start()
    more.join()
    assert len([first, *rows]) == 4_000
    assert History(tmp_path, PATIENCE).ledger().closed


@pytest.mark.parametrize(
    ("text", "expected"),
    [("now", 1000.0), ("-90s", 910.0), ("-1.5m", 910.0), ("-1h", -2600.0), ("12.5", 12.5), ("1970-01-01T00:01", 60.0),
     ("1970-01-01T01:01+01:00", 60.0)],
)  # fmt: skip
def test_times_as_people_write_them(text: str, expected: float) -> None:
    assert moment(text, 1000.0) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "-5", "-5w", "2026-13-01", "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        moment(text)

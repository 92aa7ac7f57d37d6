"""A fleet, as far as it goes without a server: where a database is, what is noted for it, and what of it is said."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kmodlab.cli import app
from kmodlab.daemon import outbox, postgres
from kmodlab.daemon.collector import Live
from kmodlab.daemon.postgres import Source, address, source_of
from kmodlab.daemon.recorded import Replay
from kmodlab.daemon.roller import Roller
from kmodlab.daemon.store import NAME
from kmodlab.errors import LabError, UsageError

from .daemon_tape import Tape, drain, write

SECRET = "s3cret"  # noqa: S105  # it is to be found nowhere


def file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "fleet.url"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_url_in_a_file_may_have_a_password_that_is_never_shown(tmp_path: Path) -> None:
    found = address(str(file(tmp_path, f"postgresql://kmodlab:{SECRET}@db.example:5433/fleet\n", 0o640)))
    assert found.text == f"postgresql://kmodlab:{SECRET}@db.example:5433/fleet"
    assert found.shown == "fleet on db.example"
    assert SECRET not in repr(found)


def test_a_url_on_a_command_line_may_have_none() -> None:
    assert address("postgresql://kmodlab@db.example/fleet").shown == "fleet on db.example"
    for words in (
        f"postgresql://kmodlab:{SECRET}@db.example/fleet",
        f"postgresql://db.example/fleet?password={SECRET}",
    ):
        with pytest.raises(UsageError, match="a password on a command line is seen by every user") as caught:
            address(words)
        assert SECRET not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("spoken", [True, False])
def test_what_libpq_says_of_a_bad_url_is_not_passed_on(tmp_path: Path, spoken: bool) -> None:
    bad = f"postgresql://kmodlab:%zz{SECRET}@db.example/fleet"
    with pytest.raises(UsageError, match="the database's URL cannot be understood") as caught:
        address(bad if spoken else str(file(tmp_path, bad)))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("postgresql://db/fleet", 0o644, "may be read by every user"),
        ("http://db/fleet", 0o600, "has no URL of a database"),
        ("postgresql://db/fleet and more", 0o600, "has no URL of a database"),
        ("", 0o600, "has no URL of a database"),
    ],
)
def test_a_file_that_has_none_or_is_read_by_others_is_refused(tmp_path: Path, text: str, mode: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        address(str(file(tmp_path, text, mode)))
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        address(str(tmp_path / "none"))


def test_without_the_driver_a_sentence_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    done = CliRunner().invoke(app, ["history", "query", "--database", "postgresql://db/fleet"])
    assert isinstance(done.exception, LabError)
    said = "PostgreSQL takes the Python package psycopg and the library libpq, which are not installed"
    assert str(done.exception).splitlines()[0] == said
    assert done.exception.hint == "pip install 'kmodlab[postgresql]' and apt-get install libpq5"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--database", "postgresql://db/fleet", "--folder", "x"), "a history is in a folder or in a database"),
        (("--host", "one"), "the history of the host one is in a fleet's database"),
    ],
)
def test_what_does_not_go_together_is_refused(words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, ["history", "query", *words])
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).splitlines()[0] == said


def test_numbers_of_hosts_never_meet() -> None:
    assert [Source(0).epoch(7), Source(0).process(9)] == [7, 9], "a single host has its own"
    numbers = [(source, epoch) for source in (0, 1, 2, 1 << 20) for epoch in (1, 2, (1 << 20) - 1)]
    moved = [Source(source).epoch(epoch) for source, epoch in numbers]
    assert len(set(moved)) == len(moved)
    assert [(source_of(one)[0].id, source_of(one)[1]) for one in moved] == numbers
    assert [Source(source).process(0) for source in (0, 1)] == [0, 0], "`other` is nobody's"
    assert Source((1 << 20) - 1).process((1 << 32) - 1) < 2**53, "a number of a browser"


# -- what is noted -----------------------------------------------------------------------------------------------------


def waiting(folder: Path) -> dict[str, int]:
    """How many parts wait, by kind."""
    base = sqlite3.connect(folder / NAME)
    found = dict(base.execute("select kind, count(*) from outbox group by kind"))
    base.close()
    return found


def test_without_a_fleet_nothing_is_noted(tmp_path: Path) -> None:
    tape = Tape(size=200, lossy=False, seed=3)
    write(tmp_path, [*tape.begin(), *tape.batches(2_000)])
    roller = Roller(tmp_path)
    drain(roller)
    roller.close()
    assert waiting(tmp_path) == {}
    Roller(tmp_path, ships=True).close()
    found = waiting(tmp_path)
    assert {"epoch", "ledger", "clock", "proc", "s", "m", "h", "blocked"} == set(found), "all that was there"
    Roller(tmp_path).close()
    assert waiting(tmp_path) == {}, "it is a fleet's host no more"


def test_a_part_that_changes_often_waits_once(tmp_path: Path) -> None:
    """A database that is away for long costs the host no more than what there is."""
    tape = Tape(size=200, lossy=False)
    write(tmp_path, tape.begin())
    roller = Roller(tmp_path, ships=True)
    seen = []
    for _ in range(5):
        write(tmp_path, tape.batches(400))
        drain(roller)
        seen.append(waiting(tmp_path))
    roller.close()
    assert [one["h"] for one in seen] == [1] * 5
    base = sqlite3.connect(tmp_path / NAME)
    numbers = [number for (number,) in base.execute("select id from outbox where kind = 'h'")]
    base.close()
    load = outbox.read(tmp_path / "raw", tmp_path / NAME, numbers[0] - 1, 0)
    assert load.units["h"], "its latest change has the latest number"
    assert sum(row[4] for row in load.rows["roll_h"]) == 2_000
    assert sum(head.n for head, _, _ in load.blocks) == 2_000


def test_what_was_acknowledged_is_forgotten_and_only_that(tmp_path: Path) -> None:
    tape = Tape(size=200, lossy=False)
    write(tmp_path, [*tape.begin(), *tape.batches(2_000)])
    roller = Roller(tmp_path, ships=True)
    drain(roller)
    load = outbox.read(tmp_path / "raw", tmp_path / NAME, 0, 0)
    write(tmp_path, tape.batches(400))
    drain(roller)
    roller.index.acknowledge(load.upto)
    left = waiting(tmp_path)
    assert left["h"] == 1, "it has changed since"
    assert left.get("epoch", 0) == 0
    before = outbox.read(tmp_path / "raw", tmp_path / NAME, load.upto, 0)
    assert before.complete
    # A database that says less than it once did is another one, or an older copy.
    roller.index.acknowledge(load.upto - 1)
    assert waiting(tmp_path)["epoch"] == 1
    assert outbox.read(tmp_path / "raw", tmp_path / NAME, load.upto - 1, 0).rows["epoch"]
    # One that says more than there ever was has seen a later state of this index.
    roller.index.acknowledge(10_000)
    load = outbox.read(tmp_path / "raw", tmp_path / NAME, 10_000, 0)
    assert load.rows["epoch"], "nothing new has a number that was used"
    roller.close()


def test_a_database_that_cannot_be_reached_holds_up_nothing(tmp_path: Path) -> None:
    tape = Tape(size=200, lossy=False)
    where = postgres.Address(f"postgresql://kmodlab:{SECRET}@/fleet?host={tmp_path}", "fleet")
    with Live(
        Replay([*tape.begin(), *tape.batches(4_000), tape.counters()]), tmp_path / "history", fleet=where
    ) as live:
        live.wait(lambda tick: tick.ledger.get("rolled", 0) == 4_000)
        tick = live.wait(lambda tick: bool(tick.troubles))
        assert tick.troubles[0].startswith("the fleet's database is ")
        assert "s behind: " in tick.troubles[0]
        assert SECRET not in tick.troubles[0]
        books = live.ledger()
        assert books.copied
        assert (books.copied.shipped, books.copied.check, books.open()) == (0, None, [])


def test_a_fleet_of_a_daemon_is_refused_before_it_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from kmodlab.daemon.program import main

    words = ["serve", "--folder", str(tmp_path), "--fleet", f"postgresql://kmodlab:{SECRET}@db/fleet"]
    assert main(words) == UsageError("").status
    said = capsys.readouterr().err
    assert "a password on a command line is seen by every user" in said
    assert SECRET not in said

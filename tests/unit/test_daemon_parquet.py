"""`kmodlab history export --format parquet`: the same calls with types, a group at a time."""

from __future__ import annotations

import io
import json
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmodlab.daemon import parquet
from kmodlab.daemon.history import COLUMNS
from kmodlab.daemon.queries import History
from kmodlab.daemon.tick import Row
from kmodlab.errors import LabError, UsageError

from .daemon_tape import Tape, roll
from .daemon_tape import write as put
from .live_source import row
from .test_daemon_history import HOSTILE, recorded, run

ALL = ("--from", "0", "--to", "9000000000")
RECORDS = 4_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history."""
    found, tape = tmp_path_factory.mktemp("history"), Tape(lossy=False)
    put(found, [*tape.begin(), *tape.batches(RECORDS), tape.counters()])
    roll(found)
    return found


def exported(folder: Path, out: Path, *more: str) -> pa.Table:
    """What the command writes, as another program reads it."""
    status, said = run("export", "--folder", str(folder), *ALL, "--format", "parquet", "--out", str(out), *more)
    table = pq.read_table(out)
    assert (status, said) == (0, f"{table.num_rows} calls in {out}\n")
    return table


def test_its_sums_are_those_of_a_query(folder: Path, tmp_path: Path) -> None:
    table = exported(folder, tmp_path / "calls.parquet")
    assert table.num_rows == RECORDS
    for what, column in (("calls", "call"), ("statuses", "status")):
        asked = json.loads(run("query", what, "--folder", str(folder), *ALL, "--limit", "100", "--json")[1])
        wanted = {one["name"]: (one["count"]["n"], one["count"]["latency_sum"]) for one in asked}
        sums = table.group_by(column).aggregate([("seq", "count"), ("latency", "sum")]).to_pylist()
        assert {one[column]: (one["seq_count"], one["latency_sum"]) for one in sums} == wanted
        assert len(wanted) >= 3


def test_its_rows_are_those_of_the_other_formats(tmp_path: Path) -> None:
    """Hostile names and paths, escaped as there; a time with its zone; what is not known is null."""
    recorded(tmp_path / "history")
    lines = run("export", "--folder", str(tmp_path / "history"), *ALL)[1].splitlines()
    table = exported(tmp_path / "history", tmp_path / "calls.parquet")
    assert table.column_names == list(COLUMNS)
    assert str(table.schema.field("wall").type) == "timestamp[us, tz=UTC]"
    assert len(lines) == table.num_rows == len(HOSTILE)
    for line, found in zip(lines, table.to_pylist(), strict=True):
        wanted = json.loads(line)
        assert found.pop("wall").timestamp() == pytest.approx(wanted.pop("wall"), abs=1e-6)
        assert found == wanted


def test_what_is_not_known_is_null() -> None:
    out = io.BytesIO()
    assert parquet.write([row(1, returned=None, latency=None), row(2)], out) == 2
    table = pq.read_table(io.BytesIO(out.getvalue()))
    assert table["returned"].to_pylist() == [None, 3]
    assert table["latency"].to_pylist() == [None, 1500]
    assert [one.name for one in table.schema if one.nullable] == ["returned", "latency"]


def test_a_filter_holds(folder: Path, tmp_path: Path) -> None:
    table = exported(folder, tmp_path / "calls.parquet", "--call", "read", "--status", "FAILED")
    assert table.num_rows > 0
    assert set(table["call"].to_pylist()) == {"read"}
    assert set(table["status"].to_pylist()) == {"FAILED"}


def test_nothing_at_all_is_a_table_too(folder: Path, tmp_path: Path) -> None:
    table = exported(folder, tmp_path / "calls.parquet", "--call", "nothing")
    assert (table.num_rows, table.column_names) == (0, list(COLUMNS))


def test_one_group_is_in_memory_at_once() -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Held(Row):
        """One that can be counted: a call has no identity of its own."""

        __hash__ = object.__hash__
        __eq__ = object.__eq__

    def rows() -> Iterator[Row]:
        nonlocal most
        for number in range(1050):
            one = Held(**vars(row(number)))
            alive.add(one)
            most = max(most, len(alive))
            yield one

    out = io.BytesIO()
    assert parquet.write(rows(), out, group=100) == 1050
    file = pq.ParquetFile(io.BytesIO(out.getvalue()))
    groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert groups == [100] * 10 + [50]
    assert most <= 102
    assert file.read()["seq"].to_pylist() == list(range(1050))


def test_without_its_library_it_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet")
    out = tmp_path / "calls.parquet"
    with pytest.raises(LabError, match="Parquet takes the Python package pyarrow, which is not installed") as caught:
        run("export", "--folder", str(folder), *ALL, "--format", "parquet", "--out", str(out))
    assert caught.value.hint == "pip install 'kmodlab[parquet]', or --format csv"
    assert list(tmp_path.iterdir()) == []


def test_it_is_nothing_for_a_terminal(folder: Path) -> None:
    with pytest.raises(UsageError, match="Parquet is nothing for a terminal") as caught:
        run("export", "--folder", str(folder), "--format", "parquet")
    assert caught.value.hint == "--out names a file"


def test_the_file_is_whole_or_as_it_was(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "calls.parquet"
    out.write_text("mine")

    def broken(*_: object) -> Iterator[Row]:
        yield row(1)
        raise UsageError("it is gone")

    monkeypatch.setattr(History, "export", broken)
    with pytest.raises(UsageError, match="it is gone"):
        run("export", "--folder", str(folder), *ALL, "--format", "parquet", "--out", str(out))
    assert [path.name for path in tmp_path.iterdir()] == ["calls.parquet"]
    assert out.read_text() == "mine"

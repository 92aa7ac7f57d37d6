"""`kmodlab history`: questions to a history, which may be recorded at the same time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kmodlab import paths
from kmodlab.errors import KmodlabError, UsageError

from . import history, parquet
from .tick import STATUSES, Row

if TYPE_CHECKING:
    from .queries import Questions

app = typer.Typer(no_args_is_help=True, help="The history that the daemon keeps: ask it, or take calls out of it.")


ASK_SECONDS = 10.0


class What(StrEnum):
    """What is asked for."""

    CALLS = "calls"
    PROCESSES = "processes"
    STATUSES = "statuses"
    EVENTS = "events"
    BLOCKED = "blocked"
    CHANGES = "changes"
    HOLES = "holes"
    LEDGER = "ledger"


class Format(StrEnum):
    """How calls are written."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


Folder = Annotated[Path | None, typer.Option(help="Where the history is; by default in the state directory.")]
Database = Annotated[
    str | None, typer.Option(help="A fleet's: postgresql://USER@HOST/DATABASE, service=NAME, or a file that has that.")
]
HostName = Annotated[str | None, typer.Option("--host", help="Of a fleet's database this host; by default all.")]
From = Annotated[str, typer.Option("--from", help="now, -90m, -2d, 2026-03-01T12:30 (UTC), or seconds since 1970.")]
To = Annotated[str, typer.Option("--to", help="The same, for the end.")]
Pid = Annotated[int | None, typer.Option(help="Calls of this process.", min=0)]
Names = Annotated[list[str] | None, typer.Option("--call", help="Calls of this name; any number of times.")]
Status = Annotated[list[str] | None, typer.Option(help=f"{', '.join(STATUSES)}; any number of times.")]
Comm = Annotated[str | None, typer.Option(help="Calls of commands with this in their name.")]
Text = Annotated[str | None, typer.Option(help="Calls with this in an argument.")]


def default_folder() -> Path:
    """Return where a history is unless somebody says otherwise."""
    return paths.state_dir() / "history"


def _opened(folder: Path | None, database: str | None, host: str | None) -> Questions:
    """Return who answers.

    Raises:
        UsageError: there is no such history; or two are named.
    """
    if database is not None:
        return _fleet(folder, database, host)
    if host is not None:
        raise UsageError(f"the history of the host {host} is in a fleet's database", hint="--database names it")
    from .queries import History  # noqa: PLC0415  # the other commands start without a database

    return History(folder or default_folder(), seconds=ASK_SECONDS)


def _fleet(folder: Path | None, database: str, host: str | None) -> Questions:
    if folder is not None:
        raise UsageError("a history is in a folder or in a database", hint="--folder or --database, not both")
    from . import postgres  # noqa: PLC0415
    from .fleet import Fleet  # noqa: PLC0415

    return Fleet(postgres.address(database), host, seconds=ASK_SECONDS)


@app.command("query")
def query_command(
    what: Annotated[What, typer.Argument(help="What to show.")] = What.CALLS,
    begin: From = "-1h",
    end: To = "now",
    limit: Annotated[int, typer.Option(help="How many lines.", min=1, max=10_000)] = 20,
    pid: Pid = None,
    call: Names = None,
    status: Status = None,
    comm: Comm = None,
    text: Text = None,
    folder: Folder = None,
    database: Database = None,
    host: HostName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON on standard output.")] = False,
) -> None:
    """Show what a history says of a time; exit 1 where its books do not close (`ledger`)."""
    found = _opened(folder, database, host)
    if what is What.LEDGER:
        raise typer.Exit(_show_ledger(found, as_json))
    only = history.wanted(call or (), status or (), pid, comm, text)
    times = history.moment(begin), history.moment(end)
    ask: dict[What, Callable[[], Any]] = {
        What.CALLS: lambda: found.top(*times, "call", limit),
        What.PROCESSES: lambda: found.top(*times, "process", limit),
        What.STATUSES: lambda: found.top(*times, "status", limit),
        What.EVENTS: lambda: found.events(*times, only, limit),
        What.BLOCKED: lambda: found.blocked(*times, limit),
        What.CHANGES: lambda: found.changes(*times)[:limit],
        What.HOLES: lambda: found.holes(*times)[-limit:],
    }
    answer = ask[what]()
    if as_json:
        print(json.dumps(history.plain(answer)))
        return
    for line in _table(_HEADS[what], _CELLS[what](answer)):
        print(line)


_RANKING = ("NAME", "CALLS", "ERRORS", "BLOCKED", "MEAN(us)")
_LISTING = ("TIME", "PROCESS", "UID", "CALL", "STATUS")
_HEADS = {
    What.CALLS: _RANKING,
    What.PROCESSES: _RANKING,
    What.STATUSES: _RANKING,
    What.EVENTS: _LISTING,
    What.BLOCKED: _LISTING,
    What.CHANGES: ("TIME", "WHO", "WHAT", "BEFORE", "AFTER"),
    What.HOLES: ("FROM", "TO", "EPOCH/CPU", "NUMBERS", "RECORDS", "WHY"),
}
_CELLS: dict[What, Callable[[Any], Iterator[list[str]]]] = {
    What.CALLS: history.ranking,
    What.PROCESSES: history.ranking,
    What.STATUSES: history.ranking,
    What.EVENTS: history.listing,
    What.BLOCKED: history.listing,
    What.CHANGES: history.changes,
    What.HOLES: history.holes,
}


def _table(head: tuple[str, ...], rows: Iterator[list[str]]) -> Iterator[str]:
    """Yield the lines of a table, whose last column is as wide as it likes."""
    found = [list(head), *rows]
    widths = [max(len(row[at]) for row in found) for at in range(len(head) - 1)]
    for row in found:
        yield "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[-1]])


def _show_ledger(found: Questions, as_json: bool) -> int:
    books = found.ledger()
    if as_json:
        print(json.dumps({"closed": books.closed, "open": books.open(), "totals": books.totals()}))
    else:
        for whose, one in books.equations():
            print(f"{'ok  ' if one.closes else 'OPEN'} {whose}: {one}")
        losses = ", ".join(f"{name} {n}" for name, n in books.losses().items())
        print(f"{'closed' if books.closed else 'NOT CLOSED'}; no record of: {losses or 'nothing'}")
    return 0 if books.closed else 1


@app.command("export")
def export_command(
    begin: From = "-1h",
    end: To = "now",
    kind: Annotated[
        Format, typer.Option("--format", help="jsonl: JSON Lines; csv: for spreadsheets; parquet: for DuckDB, pandas.")
    ] = Format.JSONL,
    out: Annotated[Path | None, typer.Option(help="Write there, not to standard output.", dir_okay=False)] = None,
    pid: Pid = None,
    call: Names = None,
    status: Status = None,
    comm: Comm = None,
    text: Text = None,
    folder: Folder = None,
    database: Database = None,
    host: HostName = None,
) -> None:
    """Write every call of a time that is still there one by one, oldest first; recording goes on meanwhile."""
    if kind is Format.PARQUET and out is None:
        raise UsageError("Parquet is nothing for a terminal", hint="--out names a file")
    found = _opened(folder, database, host)
    only = history.wanted(call or (), status or (), pid, comm, text)
    rows = found.export(history.moment(begin), history.moment(end), only)
    if out is not None:
        print(f"{_write_file(rows, kind, out)} calls in {out}")
    else:
        history.write(rows, kind, sys.stdout)


def _write_file(rows: Iterator[Row], kind: Format, out: Path) -> int:
    """Write calls into a file, which is whole or as it was; return how many."""
    part = out.with_name(f".{out.name}.part")
    try:
        if kind is Format.PARQUET:
            with part.open("wb") as file:
                number = parquet.write(rows, file)
        else:
            with part.open("w", encoding="utf-8", newline="") as text:
                number = history.write(rows, kind, text)
        part.replace(out)
    except OSError as error:
        raise KmodlabError(f"{out} cannot be written: {error.strerror}", hint="is there room on its disk?") from error
    finally:
        part.unlink(missing_ok=True)
    return number

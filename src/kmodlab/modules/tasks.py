"""`kmodlab tasks`: the tasks of this machine, chosen in the kernel, by /proc/task_lister; the standard library alone.

Each pass is held against what its last line says of it: its rows and their checksum. Source: docs/abi.md, Choosing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import KmodlabError, ModuleUnavailable, UsageError

FILE = Path("/proc/task_lister")
DESCRIPTION = "The tasks of this machine, by the kernel module task_lister. It takes root."
COLUMNS = ("pid", "ppid", "uid", "state", "threads", "rss", "user", "system", "comm")
OF_ENDED = ("pid", "ppid", "uid", "code", "user", "system", "comm")
MEMORY = ("vm", "rss", "shared", "swap", "peak")
TIMES = ("user", "system", "start", "end")
TEXTS = ("comm", "state", "letter", "policy", "code")
SIZE = 1 << 18
"""Bytes of one read."""
NS = 10**9
_HINT = "`modprobe task_lister` as root; `ansible-playbook deploy.yml` builds and installs it"

Row = dict[str, Any]
"""Column -> value, as the kernel gave it; None is not known."""


@dataclass(frozen=True)
class Pass:
    """One look at all tasks that were chosen.

    Attributes:
        number: of passes since the module was loaded.
        begin: when it began, ns since boot.
        end: when it ended.
        rows: the tasks, by ascending number.
        text: the rows as the kernel has written them, without the last line.
        missed: of who has ended, how many were asked for and are not remembered.
        next: of who has ended, the number that the next one will have.
    """

    number: int
    begin: int
    end: int
    rows: list[Row]
    text: str
    missed: int = 0
    next: int = 0


def parsed(text: str) -> Pass:
    """Read a pass in JSON lines, and hold it against its last line.

    Raises:
        KmodlabError: it is not whole.
    """
    body, _, last = text.removesuffix("\n").rpartition("\n")
    body = f"{body}\n" if body else ""
    try:
        told = json.loads(last)
        rows = [json.loads(line) for line in body.splitlines()]
        whole = (told["rows"], told["crc32"]) == (len(rows), zlib.crc32(body.encode("latin-1")))
        ends = (told.get("missed", 0), told.get("next", 0))
        found = Pass(told["pass"], told["begin"], told["end"], rows, body, *ends)
    except (ValueError, KeyError, TypeError) as error:
        raise KmodlabError(
            f"{FILE} gave what is no pass: {error}", hint="is the module that of this program?"
        ) from error
    if not whole:
        raise KmodlabError(f"{FILE} gave {len(rows)} rows, which are not the {told['rows']} that it tells of")
    return found


class Lister:
    """The open file.

    Raises:
        ModuleUnavailable: the module is not loaded, or knows no selections.
        UsageError: this user may not choose, or the kernel refuses what was chosen.
    """

    def __init__(self, path: Path = FILE) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ModuleUnavailable("the module task_lister is not loaded on this machine", hint=_HINT) from error
        except PermissionError as error:
            raise UsageError(
                f"{path}: {error.strerror}", hint="to choose tasks takes root: sudo kmodlab tasks"
            ) from error

    def look(self, words: str) -> Pass:
        """Choose, and read one pass."""
        try:
            os.write(self._file, f"{words} format=jsonl".encode())
        except OSError as error:
            hint = "`dmesg | tail` has the kernel's reason"
            raise UsageError(f"the kernel refuses `{words}`: {error.strerror}", hint=hint) from error
        parts = []
        while part := os.read(self._file, SIZE):
            parts.append(part)
        return parsed(b"".join(parts).decode("latin-1"))

    def __enter__(self) -> Lister:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        os.close(self._file)


# -- for people ------------------------------------------------------------------------------------------------------


def shown(column: str, value: object) -> str:
    """Return a value as people read it: memory with its unit, times as ps has them, `-` for what is not known."""
    if isinstance(value, int) and column in MEMORY:
        return _size(value)
    if isinstance(value, int) and column in TIMES:
        return _duration(value / NS)
    if isinstance(value, int) and column == "code":
        return _code(value)
    return "-" if value is None else str(value)


def _code(status: int) -> str:
    """Return the exit status, or the signal's name; see waitpid(2)."""
    number = os.WTERMSIG(status)
    if not number:
        return str(os.WEXITSTATUS(status))
    name = signal.Signals(number).name if number in signal.valid_signals() else f"SIG{number}"
    return f"{name}+core" if os.WCOREDUMP(status) else name


def _size(kib: int) -> str:
    size, units = float(kib), iter("KMGTP")
    unit = next(units)
    while size >= 1024:
        size, unit = size / 1024, next(units)
    return f"{size:.0f}{unit}" if unit == "K" or size >= 100 else f"{size:.1f}{unit}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}:{rest:05.2f}" if minutes < 60 else f"{minutes // 60:.0f}h{minutes % 60:02.0f}m"


def table(columns: Sequence[str], rows: Sequence[Row], marks: Sequence[str] = ()) -> Iterator[str]:
    """Give the lines of a table: numbers to the right, words to the left, the last column as wide as it is."""
    cells = [[column.upper() for column in columns], *([shown(one, row[one]) for one in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for mark, line in zip(["  ", *marks] if marks else [""] * len(cells), cells, strict=True):
        words = [
            word.ljust(width) if column in TEXTS else word.rjust(width)
            for column, word, width in zip(columns, line, widths, strict=True)
        ]
        yield f"{mark}{' '.join(words)}".rstrip()


def ordered(rows: list[Row], key: str) -> list[Row]:
    """Sort by a column; a `-` before it has the greatest first. What is not known comes last."""
    column = key.lstrip("-")
    known = [row for row in rows if row[column] is not None]
    unknown = [row for row in rows if row[column] is None]
    return [*sorted(known, key=lambda row: row[column], reverse=key.startswith("-")), *unknown]


def as_tree(rows: Sequence[Row]) -> list[Row]:
    """Order by descent, names indented by generations; whose parent is not there begins a tree."""
    children: dict[int, list[Row]] = {}
    numbers = {row["pid"] for row in rows}
    for row in rows:
        children.setdefault(row["ppid"] if row["ppid"] in numbers else 0, []).append(row)
    found: list[Row] = []
    waiting = [(0, row) for row in reversed(children.get(0, []))]
    while waiting:
        depth, row = waiting.pop()
        found.append({**row, "comm": f"{'  ' * depth}{row['comm']}"})
        waiting += [(depth + 1, child) for child in reversed(children.get(row["pid"], []))]
    return found


# -- the command -----------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Return the parser of what follows `kmodlab tasks`."""
    to = argparse.ArgumentParser(prog="kmodlab tasks", description=DESCRIPTION, allow_abbrev=False)
    to.add_argument("-o", dest="columns", metavar="NAME,...", help=f"columns; by default {','.join(COLUMNS)}")
    to.add_argument("-p", dest="pid", metavar="N,...", help="processes with these numbers, or in these ranges: 1,8-12")
    to.add_argument("--ppid", metavar="N,...", help="children of these")
    to.add_argument("-u", dest="uid", metavar="N,...", help="of these users, by number")
    to.add_argument("-s", dest="state", metavar="LETTERS", help="in any of these states: RSDTtXZPI")
    to.add_argument("-C", dest="comm", metavar="NAME", help="with this name; `NAME*`: with this beginning")
    to.add_argument("-k", dest="kthreads", action="store_true", help="kernel threads, too")
    of = to.add_mutually_exclusive_group()
    of.add_argument("-L", dest="threads", action="store_true", help="a line for each thread")
    of.add_argument("--ended", action="store_true", help="who has ended, as far as the kernel remembers")
    how = to.add_mutually_exclusive_group()
    how.add_argument("--sort", metavar="[-]NAME", help="by this column; with a `-` the greatest first: --sort=-rss")
    how.add_argument("--tree", action="store_true", help="by descent")
    how.add_argument("--watch", type=float, metavar="SECONDS", help="then what changes: + new, - gone, until Ctrl-C")
    to.add_argument("--json", action="store_true", help="one line of JSON a task, numbers as the kernel has them")
    return to


def _words(given: argparse.Namespace, columns: Sequence[str]) -> str:
    chosen = {key: getattr(given, key) for key in ("pid", "ppid", "uid", "state", "comm")}
    for key, value in chosen.items():
        if value is not None and (not value or any(letter in value for letter in " \t\n\0")):
            raise UsageError(f"{key}: {value!r} is no word", hint="write a name as it is shown: a blank is \\040")
    words = [f"{key}={value}" for key, value in chosen.items() if value is not None]
    return " ".join(
        [f"columns={','.join(columns)}", *words, f"kthreads={given.kthreads:d}", f"threads={given.threads:d}"]
    )


def _needed(given: argparse.Namespace) -> tuple[str, ...]:
    """Return what has to be read, shown or not."""
    if given.tree:
        return ("pid", "ppid", "comm")
    if given.watch is not None and not given.ended:
        return ("id", "state", "pid", "comm")
    return (given.sort.lstrip("-"),) if given.sort else ()


def main(argv: Sequence[str], lister: Callable[[], Lister] = Lister, nap: Callable[[float], None] = time.sleep) -> int:
    """Run `kmodlab tasks` with these arguments; return its exit status.

    Args:
        argv: what follows `tasks`.
        lister: opens the file.
        nap: sleeps, in seconds.

    Raises:
        KmodlabError: with what went wrong and a hint.
        SystemExit: the arguments make no sense, or ask for help.
    """
    given = parser().parse_args(argv)
    columns = given.columns.split(",") if given.columns else [*(OF_ENDED if given.ended else COLUMNS)]
    if given.threads and not given.columns:
        columns.insert(1, "tid")
    if given.watch is not None and given.watch <= 0:
        raise UsageError("--watch takes seconds between two looks", hint="for instance: --watch 2")
    if given.tree and given.ended:
        raise UsageError("--tree is of who lives", hint="--ended without it; the column ppid says whose child one was")
    asked = _words(given, list(dict.fromkeys([*columns, *_needed(given)])))
    with contextlib.suppress(BrokenPipeError), lister() as opened:
        if given.watch is None:
            _show(opened.look(f"{asked} ended=0" if given.ended else asked), given, columns)
        else:
            follow = _follow if given.ended else _watch
            with contextlib.suppress(KeyboardInterrupt):
                follow(opened, asked, given, columns, nap)
    return 0


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        print(line)
    sys.stdout.flush()


def _show(found: Pass, given: argparse.Namespace, columns: Sequence[str]) -> None:
    rows = found.rows
    if given.sort:
        rows = ordered(rows, given.sort)
    elif given.tree:
        rows = as_tree(rows)
    if given.json:
        _print(json.dumps({column: row[column] for column in columns}) for row in rows)
    else:
        _print(table(columns, rows))


def _watch(
    lister: Lister, asked: str, given: argparse.Namespace, columns: Sequence[str], nap: Callable[[float], None]
) -> None:
    known: dict[int, Row] = {}
    number = 0
    while True:
        found = lister.look(f"{asked} since={number}")
        number = found.number
        changes = list(_changes(known, found.rows))
        if given.json:
            _print(
                json.dumps({"change": mark, "at": found.begin, **{column: row[column] for column in columns}})
                for mark, row in changes
            )
        elif changes:
            _print(table(columns, [row for _, row in changes], [f"{mark} " for mark, _ in changes]))
        nap(given.watch)


def _follow(
    lister: Lister, asked: str, given: argparse.Namespace, columns: Sequence[str], nap: Callable[[float], None]
) -> None:
    """Show each one as it ends, and say how many were too many to be remembered."""
    number = 0
    while True:
        found = lister.look(f"{asked} ended={number}")
        if found.missed:
            print(f"kmodlab: {found.missed} have ended that the kernel does not remember any more", file=sys.stderr)
            print("  hint: a shorter --watch, or task_lister loaded with a larger ended=", file=sys.stderr)
        if found.rows:
            _show(found, given, columns)
        number = found.next
        nap(given.watch)


def _changes(known: dict[int, Row], rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Row]]:
    """Give each change: `+`, `-` or `~`, and the row; of a task that is gone its last one."""
    for row in rows:
        if row["state"] is None:
            yield "-", known.pop(row["id"], dict(row))
            continue
        mark = "~" if row["id"] in known else "+"
        known[row["id"]] = dict(row)
        yield mark, dict(row)

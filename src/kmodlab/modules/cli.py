"""`kmodlab trace`: what a machine with the module needs of the command line, with the standard library alone."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from ..errors import UsageError
from . import VERSION
from .filters import Filter
from .last_resort import last_resort, prepare
from .machine import HERE, Machine
from .options import RUN, WATCH, add_options, help_lines, options, usage
from .tracer import Status, Tracer

DESCRIPTION = "The system calls of programs, recorded by the kernel module syscall_tracer. It takes root."


def parser() -> argparse.ArgumentParser:
    """Return the parser of what follows `kmodlab trace`."""
    top = argparse.ArgumentParser(prog="kmodlab trace", description=DESCRIPTION, allow_abbrev=False)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _run(commands.add_parser("run", help="trace one program and all that it starts", allow_abbrev=False))
    _watch(commands.add_parser("watch", help="show calls as they are made", allow_abbrev=False))
    _filter(commands.add_parser("filter", help="add, list, delete or clear filters", allow_abbrev=False))
    status = commands.add_parser("status", help="show what the tracer is doing", allow_abbrev=False)
    _json(status, "print one line of JSON")
    status.set_defaults(act=_show_status)
    differs = commands.add_parser("help", help="show what differs from strace, and why", allow_abbrev=False)
    differs.set_defaults(act=_show_help)
    return top


def _json(to: argparse.ArgumentParser, text: str) -> None:
    to.add_argument("--json", action="store_true", help=text)


def _run(to: argparse.ArgumentParser) -> None:
    to.usage = usage(RUN, "-- PROGRAM [ARGUMENT...]")
    to.description = (
        "Trace a program and all that it starts, until all of it has ended. Calls are shown on standard error. "
        "The exit status is the program's; what ends it by a signal ends this command by the same one."
    )
    add_options(to, RUN)
    to.add_argument("argv", metavar="PROGRAM", nargs=argparse.REMAINDER, help="the program and its arguments")
    to.set_defaults(act=_trace_run)


def _watch(to: argparse.ArgumentParser) -> None:
    to.usage = usage(WATCH)
    to.description = "Show calls as they are made, until Ctrl-C."
    add_options(to, WATCH)
    several = {"action": "append", "default": []}
    to.add_argument("--pid", type=int, metavar="N", help="calls of this process; may be given several times", **several)  # type: ignore[arg-type]
    to.add_argument("--uid", type=int, metavar="N", help="of this real user id; likewise", **several)  # type: ignore[arg-type]
    to.add_argument("--comm", metavar="NAME", help="of this command name, escaped as it is shown; likewise", **several)  # type: ignore[arg-type]
    to.add_argument("-n", dest="count", type=int, metavar="N", help="end after so many calls")
    to.set_defaults(act=_trace_watch)


def _filter(to: argparse.ArgumentParser) -> None:
    commands = to.add_subparsers(dest="filter_command", metavar="COMMAND", required=True)
    add = commands.add_parser("add", help="add a filter behind the others", allow_abbrev=False)
    add.usage = (
        "kmodlab trace filter add NAME block [errno=E] [PREDICATE...]\n"
        "       kmodlab trace filter add NAME allow [PREDICATE...]"
    )
    add.add_argument("words", nargs="+", metavar="WORD", help="predicates are pid=N uid=N comm=TEXT path=TEXT")
    add.set_defaults(act=_add_filter)
    listing = commands.add_parser("list", help="show the filters in the order they are tried", allow_abbrev=False)
    _json(listing, "print one line of JSON")
    listing.set_defaults(act=_list_filters)
    delete = commands.add_parser("delete", help="remove the filters of a name", allow_abbrev=False)
    delete.add_argument("name", metavar="NAME", help="exactly as it was added")
    delete.set_defaults(act=_delete_filters)
    clear = commands.add_parser("clear", help="remove all filters", allow_abbrev=False)
    clear.set_defaults(act=_clear_filters)


# -- what the commands do ----------------------------------------------------------------------------------------


def _trace_run(given: argparse.Namespace, machine: Machine) -> int:
    from .run import run  # noqa: PLC0415  # each command loads what it needs: a start costs time on an emulated machine

    argv = given.argv[1:] if given.argv[:1] == ["--"] else given.argv
    if not argv:
        raise UsageError("there is no program to trace", hint="kmodlab trace run -- PROGRAM [ARGUMENT...]")
    return run(argv, options(given), machine)


def _trace_watch(given: argparse.Namespace, machine: Machine) -> int:
    from .watch import Who, watch  # noqa: PLC0415

    who = Who(frozenset(given.pid), frozenset(given.uid), frozenset(given.comm), given.count)
    return watch(who, options(given), machine)


def _show_help(_given: argparse.Namespace, _machine: Machine) -> int:
    print("\n".join(help_lines()))
    return 0


def _add_filter(given: argparse.Namespace, machine: Machine) -> int:
    one = Filter.parse([word for words in given.words for word in words.split()])
    with Tracer(machine) as tracer:
        tracer.add_filter(one)
    return 0


def _list_filters(given: argparse.Namespace, machine: Machine) -> int:
    with Tracer(machine) as tracer:
        filters = tracer.filters()
    if given.json:
        print(json.dumps([_filter_json(one) for one in filters]))
    else:
        print("\n".join(map(str, filters)) or "No filters active")
    return 0


def _filter_json(one: Filter) -> dict[str, object]:
    texts = {"comm": one.comm, "path": one.path}
    return {**asdict(one), **{key: value and value.decode("utf-8", "replace") for key, value in texts.items()}}


def _delete_filters(given: argparse.Namespace, machine: Machine) -> int:
    with Tracer(machine) as tracer:
        tracer.delete_filters(given.name)
    return 0


def _clear_filters(_: argparse.Namespace, machine: Machine) -> int:
    with Tracer(machine) as tracer:
        tracer.clear_filters()
    return 0


def _show_status(given: argparse.Namespace, machine: Machine) -> int:
    with Tracer(machine) as tracer:
        status, calls, filters = tracer.status(), tracer.calls(), tracer.filters()
    traced = [call.name for call in calls if call.traced]
    if given.json:
        print(json.dumps({**asdict(status), "traced": traced, "filters": len(filters)}))
    else:
        print("\n".join(_status_lines(status, traced, len(filters))))
    return 0


def _status_lines(status: Status, traced: Sequence[str], filters: int) -> list[str]:
    return [
        f"version   {status.version}, hooked by {status.hook}",
        f"mode      {'enforcing' if status.enforcing else 'permissive'}, {filters} filters",
        f"log       {status.logged} records, at most {status.entries} for each CPU, with {status.data_bytes} bytes "
        "of paths and addresses",
        f"calls     {status.issued} issued, {status.overwritten} overwritten, {status.dropped} dropped, "
        f"{status.missed} missed, {status.excluded} excluded",
        f"returns   {'on' if status.returns else 'off'}: {status.in_flight} in flight, {status.orphaned} orphaned, "
        f"{status.returns_missed} missed",
        f"traced    {' '.join(sorted(traced)) or 'nothing'}",
    ]


def main(argv: Sequence[str], machine: Machine = HERE) -> int:
    """Run `kmodlab trace`; return its exit status, or die of the signal that ended a traced program.

    Args:
        argv: what follows `trace`.
        machine: whose tracer it is.

    Raises:
        KmodlabError: with what went wrong and a hint.
        SystemExit: the arguments make no sense, or ask for help.
    """
    given = parser().parse_args(argv)
    status = 0
    with contextlib.suppress(BrokenPipeError):  # whoever read it has seen enough
        status = given.act(given, machine)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            # The interpreter shall not try again at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status


def _log_places() -> Iterator[Path]:
    if not os.getuid():
        yield Path("/var/log")


def program() -> None:
    """Be the program `kmodlab` of a machine with the module; exit statuses are those of the lab's own program."""
    prepare(VERSION, _log_places)
    with last_resort(VERSION, _log_places):
        argv = sys.argv[1:]
        if argv[:1] == ["trace"]:
            sys.exit(main(argv[1:]))
        if argv[:1] == ["tasks"]:
            from . import tasks  # noqa: PLC0415  # each command loads what it needs

            sys.exit(tasks.main(argv[1:]))
        if argv == ["--version"]:
            print(f"kmodlab {VERSION}")
            return
        print(
            "usage: kmodlab trace COMMAND ...\n       kmodlab tasks [OPTION...]\n       kmodlab --version\n\n"
            "`kmodlab trace --help` lists the commands, `kmodlab tasks --help` the options."
        )
        sys.exit(0 if argv in (["--help"], ["-h"]) else 2)

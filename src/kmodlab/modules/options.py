"""The options of `kmodlab trace run` and `kmodlab trace watch`: strace's letters, and what differs from strace."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .output import is_command
from .wanted import Wanted, calls, qualified, statuses

RUN, WATCH = "run", "watch"
BOTH = (RUN, WATCH)
#: what `-S` takes -> what the table is sorted by. Source: `-S` in strace(1)
SORTS = {
    **dict.fromkeys(("time", "time-percent", "time-total", "total-time"), "time"),
    **dict.fromkeys(("min-time", "shortest", "time-min"), "min-time"),
    **dict.fromkeys(("max-time", "longest", "time-max"), "max-time"),
    **dict.fromkeys(("avg-time", "time-avg"), "avg-time"),
    **dict.fromkeys(("calls", "count"), "calls"),
    **dict.fromkeys(("errors", "error"), "errors"),
    **dict.fromkeys(("name", "syscall", "syscall-name"), "name"),
    **dict.fromkeys(("nothing", "none"), "nothing"),
}


@dataclass(frozen=True)
class Options:
    """What `run` and `watch` have in common.

    Attributes:
        wanted: the calls to show; None for those that are traced.
        returns: whether to have calls recorded at their return.
        json: one line of JSON a call.
        lines: whether calls are shown.
        summary: whether there is a table of counts.
        sort: what it is sorted by.
        output: a file to write to, or `|` and a command.
        apart: a file for each thread.
        raw: numbers stay numbers.
        absolute: how often `-t` was given.
        relative: whether the time since the call before is shown.
        statuses: how the calls to show have ended; None if that does not matter.
        paths: the paths of which the calls to show name one; empty if that does not matter.
        quiet: how often `-q` was given.
        changes: changes of the program's environment, in their order: a name, and its value or None.
        user: whom the program runs as.
    """

    wanted: Wanted | None = None
    returns: bool = False
    json: bool = False
    lines: bool = True
    summary: bool = False
    sort: str = "time"
    output: str | None = None
    apart: bool = False
    raw: bool = False
    absolute: int = 0
    relative: bool = False
    statuses: frozenset[str] | None = None
    paths: tuple[str, ...] = ()
    quiet: int = 0
    changes: tuple[tuple[str, str | None], ...] = ()
    user: str | None = None


@dataclass(frozen=True)
class Option:
    """An option.

    Attributes:
        letters: how it is given, and what follows.
        text: what it does.
        how: what argparse is told of it.
        commands: that have it.
        unlike: how strace's differs, and why; empty where it does not.
    """

    letters: str
    text: str
    how: Mapping[str, Any] = field(default_factory=dict)
    commands: Sequence[str] = BOTH
    unlike: str = ""

    @property
    def flag(self) -> str:
        """The option alone."""
        return self.letters.split()[0]


_SEVERAL: dict[str, Any] = {"action": "append", "default": []}
_COUNT: dict[str, Any] = {"action": "count", "default": 0}
_FLAG = {"action": "store_true"}
OPTIONS = (
    Option(
        "-e CALL,...",
        "the calls to trace: names, families, `%class`, `/regex`, `?name` if the kernel has it, `!` for all but; "
        "`status=` and how they ended",
        {"dest": "names", "metavar": "CALL,...", **_SEVERAL},
        unlike="`open` is the family, with openat, and `=open` the one call: programs use whichever they like. Several "
        "-e add up, and one with `!` takes away; of strace's the last one counts. A call whose return is not known is "
        "unfinished. There are no qualifiers but trace= and status=: data and signals are not recorded.",
    ),
    Option(
        "-z",
        "calls that succeeded; the same as -e status=successful, and as there `--returns` is on",
        {"action": "append_const", "dest": "names", "const": "status=successful"},
    ),
    Option(
        "-Z",
        "calls that failed: -e status=failed",
        {"action": "append_const", "dest": "names", "const": "status=failed"},
    ),
    Option(
        "-P PATH",
        "calls that name this path, or what it leads to; without -e of %file",
        {"dest": "paths", "metavar": "PATH", **_SEVERAL},
        unlike="Calls on a descriptor of it are not shown: a record has the number of a descriptor, not its file. What "
        "was cut off a long path is taken to be the same.",
    ),
    Option("--returns", "record return values and latencies, which costs more", _FLAG, unlike="strace has no choice."),
    Option("-T", "the time spent in calls", _FLAG, unlike="It is `--returns`, which shows the time as well."),
    Option(
        "-t -tt -ttt",
        "the time of day before each call, with microseconds, since 1970",
        {"dest": "absolute", **_COUNT},
        unlike="It is by the clock as it was set at the start: one that is set meanwhile does not show.",
    ),
    Option(
        "-r",
        "the time since the call before began",
        {"dest": "relative", **_FLAG},
        unlike="Of the call that is shown before: strace counts those that -z leaves out as well.",
    ),
    Option("--json", "one line of JSON a call, or one for the table", _FLAG, unlike="strace has none."),
    Option("--raw", "numbers instead of names such as O_RDONLY", _FLAG, unlike="strace's is -X raw."),
    Option(
        "-o FILE|'|COMMAND'",
        "write to this file, or to this command, which is waited for",
        {"dest": "output", "metavar": "FILE"},
        unlike="The command ignores Ctrl-C, so that it gets all there is. In a file, too, only those lines have a "
        "`[pid N]` that are of another thread than the program's first.",
    ),
    Option(
        "-f -ff",
        "with -ff a file for each thread, FILE.TID; one -f changes nothing",
        {"dest": "follow", **_COUNT},
        (RUN,),
        unlike="What a program starts is always followed.",
    ),
    Option(
        "-c",
        "count calls, errors and time instead of showing them (turns `--returns` on)",
        {"dest": "summary", **_FLAG},
        (RUN,),
        unlike="The time is that from entry to return, as with strace's -w: a record has no time of the processor.",
    ),
    Option("-C", "show calls, and count them as -c does", {"dest": "both", **_FLAG}, (RUN,)),
    Option(
        "-S SORT",
        "sort the table by time, min-time, max-time, avg-time, calls, errors, name or nothing",
        {"dest": "sort", "metavar": "SORT"},
        (RUN,),
        unlike="`nothing` is the order in which the calls were first seen. What is equal is in the order of names.",
    ),
    Option(
        "-q -qq",
        "no hints; with -qq lost records are told of once, at the end",
        {"dest": "quiet", **_COUNT},
        unlike="There is no word of processes that come and go to leave out: the tracer records calls, not ends of "
        "processes. That records were lost is always said: strace loses none.",
    ),
    Option(
        "-E NAME=VALUE, NAME",
        "set a variable of the program's environment, or remove it",
        {"dest": "environment", "metavar": "NAME[=VALUE]", **_SEVERAL},
        (RUN,),
    ),
    Option(
        "-u USER",
        "run the program as this user, with the groups of that",
        {"dest": "user", "metavar": "USER"},
        (RUN,),
    ),
)

GENERAL = (
    "A line is written when the call has returned, in the order of entry: there is no `<unfinished ...>` and "
    "`resumed`. Without `--returns` nobody waits for the return, and the result is `?`.",
    "A pointer is an address, but for paths and socket addresses: what buffers and structures hold is not recorded.",
    "There is no `+++ exited` and no `--- SIGCHLD`: the tracer records calls. The exit status is the program's, too.",
    "The result follows the call without columns (strace's -a 1).",
    "Without -e it shows what the tracer traces anyway, and exec: each call that is hooked slows down everybody.",
)
"""What differs whatever the options."""


def add_options(to: argparse.ArgumentParser, command: str) -> None:
    """Give a parser the options of a command."""
    for option in OPTIONS:
        if command in option.commands:
            to.add_argument(option.flag, help=option.text.replace("%", "%%"), **option.how)


def usage(command: str, rest: str = "") -> str:
    """Return the line that says how a command is called."""
    return f"kmodlab trace {command} [OPTION...] {rest}".strip()


def page_lines() -> list[str]:
    """Return what docs/trace.md says of the options, a list in Markdown."""
    texts = ((each.letters, each.text, f" Unlike strace: {each.unlike}" if each.unlike else "") for each in OPTIONS)
    return _wrapped([f"`{letters}`: {text}.{unlike}" for letters, text, unlike in texts], "- ", "")


def help_lines() -> list[str]:
    """Return what `kmodlab trace help` prints: each option, what it does, and how strace's differs."""
    lines = ["kmodlab trace has strace's letters. What differs, and why:", "", *_wrapped(GENERAL, "- ", ""), ""]
    for option in OPTIONS:
        lines += [option.letters, *_wrapped([f"{option.text}."], "    ", "    ")]
        lines += _wrapped([option.unlike] if option.unlike else [], "    Unlike strace: ", "    ")
    return lines


def _wrapped(texts: Sequence[str], first: str, rest: str) -> list[str]:
    import textwrap  # noqa: PLC0415  # wanted here only, and a start costs time on an emulated machine

    rest = rest or " " * len(first)
    wrapper = textwrap.TextWrapper(100, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    return [line for text in texts for line in wrapper.wrap(text)]


# -- what was given ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conflict:
    """Options that make no sense together."""

    clash: Callable[[argparse.Namespace], object]
    message: str
    hint: str


def _counts(given: argparse.Namespace) -> bool:
    return bool(given.summary or given.both)


def _stamped(given: argparse.Namespace) -> bool:
    return bool(given.absolute or given.relative)


def _apart(given: argparse.Namespace) -> bool:
    return bool(given.follow > 1)


CONFLICTS = (
    Conflict(lambda g: _apart(g) and not g.output, "-ff: there is no name for the files", "-o NAME makes NAME.TID"),
    Conflict(
        lambda g: _apart(g) and is_command(g.output), "-ff: a command takes no files", "-o NAME makes files NAME.TID"
    ),
    Conflict(lambda g: _apart(g) and _counts(g), "-ff: -c and -C count all threads together", "leave out one of them"),
    Conflict(lambda g: _apart(g) and g.json, "-ff: --json has one file", "each line has its `tid`"),
    Conflict(lambda g: _stamped(g) and g.json, "-t and -r are for lines", "each line of --json has its `clock`"),
    Conflict(lambda g: g.both and g.json, "-C: --json is either calls or counts", "-c counts"),
    Conflict(lambda g: g.summary and g.both, "-c shows no calls, and -C does", "leave out one of them"),
    Conflict(lambda g: _stamped(g) and g.summary, "-t and -r show nothing beside -c", "-C shows calls as well"),
    Conflict(lambda g: g.sort and not _counts(g), "-S: there is no table to sort", "-c makes one"),
)
"""Tried in this order."""
_ABSENT = {"summary": False, "both": False, "follow": 0, "sort": None, "environment": (), "user": None}
"""What a command without these options was given."""


def options(given: argparse.Namespace) -> Options:
    """Return what was asked for.

    Raises:
        UsageError: it makes no sense.
    """
    full = argparse.Namespace(**{**_ABSENT, **vars(given)})
    for each in CONFLICTS:
        if each.clash(full):
            raise UsageError(each.message, hint=each.hint)
    sets = qualified(full.names)
    paths = tuple(path for each in full.paths for path in _path(each))
    ended, timed = statuses(sets["status"]), full.returns or full.T
    return Options(
        wanted=calls(sets["trace"] or (["%file"] if paths else [])),
        returns=bool(timed or _counts(full) or ended is not None),
        json=full.json,
        lines=not full.summary,
        summary=_counts(full),
        sort=_sort(full.sort),
        output=full.output,
        apart=_apart(full),
        raw=full.raw,
        absolute=full.absolute,
        relative=full.relative,
        statuses=ended,
        paths=paths,
        quiet=full.quiet,
        changes=tuple(map(_change, full.environment)),
        user=full.user,
    )


def _path(path: str) -> list[str]:
    """Return a path, and the one that it leads to."""
    if not path:
        raise UsageError("-P: a path is missing", hint="for instance: -P /etc/passwd")
    real = str(Path(path).resolve())
    return [path] if real == path else [path, real]


def _sort(given: str | None) -> str:
    if given is None:
        return "time"
    if given not in SORTS:
        import difflib  # noqa: PLC0415  # wanted here only, and a start costs time on an emulated machine

        close = difflib.get_close_matches(given, SORTS, 1) or ["time, calls, errors or name"]
        raise UsageError(f"-S {given}: nothing to sort by", hint=f"did you mean {close[0]}?")
    return SORTS[given]


def _change(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not name:
        raise UsageError(f"-E {text}: there is no name", hint="-E NAME=VALUE sets a variable, -E NAME removes it")
    return name, value if equals else None

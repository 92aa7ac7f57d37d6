"""What tests of the tracer say of commands, filters and recorded calls, in the words of the handout."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Mapping, Sequence

from ..script import TRACER, Answer
from .tracer_page import Page, parse_filters
from .wording import listed, quoted, require_none, wrong


def commands(lines: Iterable[str]) -> str:
    """Return commands as a sentence has them: each in marks."""
    return " and ".join(map(quoted, lines))


def error_name(number: int) -> str:
    """Return the name of an errno; `no error` for 0."""
    return errno.errorcode.get(number, str(number)) if number else "no error"


def accepted(answer: Answer, *lines: str) -> None:
    """Fail where a write of these commands was refused."""
    if answer["errno"]:
        wrong(f"{commands(lines)} is accepted by {TRACER}.", f"The write failed with {error_name(answer['errno'])}.")


def refused(answer: Answer, what: str, expected: int, hint: str = "") -> None:
    """Fail where a write was accepted, or refused with another error than the one expected."""
    if (answer["ret"], answer["errno"]) != (-1, expected):
        seen = f"It failed with {error_name(answer['errno'])}." if answer["errno"] else "It was accepted."
        wrong(f"{what} is refused with {error_name(expected)}.", seen, hint)


def filters_in(answer: Answer) -> tuple[str, ...]:
    """Return the lines below `Active Filters:`; what cannot be read is a failure."""
    if answer["errno"]:
        wrong(f"{TRACER} can be read.", f"Reading it failed: {os.strerror(answer['errno'])}.")
    return parse_filters(answer["text"])


def require_filters(answer: Answer, wanted: Sequence[str], asked: str, hint: str = "") -> None:
    """Fail where other filters are listed than these, or in another order."""
    if (there := filters_in(answer)) != tuple(wanted):
        wrong(asked, f"`Active Filters:` has {listed(there)}; expected {listed(wanted)}.", hint)


def require_blocked(verdicts: Mapping[str, str], wanted: Collection[str], *lines: str) -> None:
    """Fail where, after these commands, other calls are BLOCKED than those wanted; a call that has no row is not."""
    names = dict.fromkeys([*verdicts, *sorted(wanted)])
    differ = [name for name in names if (verdicts.get(name) == "BLOCKED") != (name in wanted)]
    seen = [f"{name}: {verdicts.get(name, 'there is no row of it')}" for name in differ]
    asked = f"After {commands(lines)} the calls that are BLOCKED are {listed(sorted(wanted))}, and no others."
    require_none(seen, asked, "of all filters that match, the first one decides")


def require_recorded(page: Page, made: Iterable[tuple[str, str, Sequence[str]]], asked: str, hint: str = "") -> None:
    """Fail where processes have other rows than these calls.

    Args:
        page: the log.
        made: name of a process, when it made its calls, and those of them that are to be in the log.
        asked: what the task asks for.
        hint: where to look; or empty.
    """
    found = ((when, listed(row.call for row in page.of(comm)), listed(wanted)) for comm, when, wanted in made)
    require_none(
        [f"{when}: {calls}; expected {wanted}" for when, calls, wanted in found if calls != wanted], asked, hint
    )

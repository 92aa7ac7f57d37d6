"""What a test that failed says, in words for a student: no Python, no `assert`, no places in our own files.

Tests that say it themselves are taken at their word (`expect`, a message behind an `assert`, pytest.fail). Where one
only compares, the two sides are told: the left one is what was seen, the right one what was expected.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

#: what an assertion may carry, each a text: the contract tests' own do, which run where the grader is not, too
_PARTS = ("expected", "seen", "hint")
#: rows, keys or members that are told of each side
_FIRST = 3
#: of what has members, how many are listed in one sentence
_MEMBERS = 10
_MOST = 400
#: what pytest adds behind a message: a line `assert ...`, and lines below it that are indented
_ADDED = re.compile(r"(?:\A|\n)assert [^\n]*(?:\n(?: [^\n]*)?)*\Z")
#: what testinfra says of a command that was to succeed, with `backend.Answer` in it
_COMMAND = re.compile(r"\AUnexpected exit code (\d+) for command `(.*?)`: (.*)\Z", re.DOTALL)
_NOTHING = "nothing"
_UNSAID = "it does not hold"
_AT_MOST = {"<": "less than", "<=": "at most", ">": "more than", ">=": "at least"}


@dataclass(frozen=True)
class Words:
    """What a student is told of a test that failed.

    Attributes:
        expected: what was asked for; empty where the test's title says it.
        seen: instead.
        hint: where to look; may be empty.
    """

    expected: str
    seen: str
    hint: str = ""


@dataclass(frozen=True)
class Compared:
    """What an `assert` compared.

    Attributes:
        how: `==`, `in`, `<=` and so on.
        left: what was seen.
        right: what was expected.
    """

    how: str
    left: object
    right: object


def words_of(error: BaseException, compared: Compared | None = None) -> Words:
    """Return what a student is told.

    Args:
        error: what the test raised, because of the module.
        compared: what its `assert` compared, if it did.
    """
    if isinstance(error, AssertionError) and all(isinstance(getattr(error, part, None), str) for part in _PARTS):
        return Words(*(getattr(error, part) for part in _PARTS))
    if isinstance(error, MemoryError):
        return Words("output that comes to an end", "more than a test can read", "Does your read function return 0?")
    message = _message(str(error))
    if failed := _COMMAND.match(message):
        status, command, said = failed.groups()
        return Words(f"`{_cut(command)}` succeeds", f"it ends with status {status}: {said or _NOTHING}")
    if message:
        return Words("", message)
    return _of_comparison(compared) if compared else Words("", _UNSAID)


def _message(said: str) -> str:
    """Return a test's own message, without what pytest adds: a line below it, and blanks before its lines."""
    message, added = _ADDED.subn("", said)
    return (message.replace("\n  ", "\n") if added else message).strip()


def _of_comparison(compared: Compared) -> Words:
    how, left, right = compared.how, compared.left, compared.right
    if how == "in":
        return Words(_told(left), _without(left, right))
    if how == "not in":
        return Words(f"no {_told(left)}", _told(right))
    if how in ("!=", "is not"):
        return Words(f"anything but {_told(right)}", _told(left))
    if how in _AT_MOST and not isinstance(left, AbstractSet):
        return Words(f"{_AT_MOST[how]} {_told(right)}", _told(left))
    return _difference(left, right)


def _without(member: object, where: object) -> str:
    told = _told(where)
    return told if told == _NOTHING else f"{told}, without {_told(member)}"


def _difference(left: object, right: object) -> Words:
    if isinstance(left, AbstractSet) and isinstance(right, AbstractSet):
        return _difference_of_sets(left, right)
    seen, wanted = _rows(left), _rows(right)
    if seen is not None and wanted is not None:
        return _difference_of_rows(seen, wanted)
    return Words(_told(right), _told(left))


def _rows(value: object) -> Mapping[object, object] | None:
    """Return what has several rows by their numbers or keys; None for anything else."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, str) and "\n" in value.strip():
        value = value.splitlines()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return {f"row {number}": row for number, row in enumerate(value, 1)}
    return None


def _difference_of_sets(left: AbstractSet[object], right: AbstractSet[object]) -> Words:
    missing, more = _told(right - left), _told(left - right)
    parts = [f"missing: {missing}" if right - left else "", f"besides: {more}" if left - right else ""]
    return Words(_told(right), "; ".join(part for part in parts if part))


def _difference_of_rows(left: Mapping[object, object], right: Mapping[object, object]) -> Words:
    """Return the first rows that differ, each with its number or key."""
    keys = [key for key in {**right, **left} if key not in left or key not in right or left[key] != right[key]]
    more = f"\n(and {len(keys) - _FIRST} more that differ)" if len(keys) > _FIRST else ""
    sides = [
        "\n".join(f"{_told(key)}: {_told(side[key]) if key in side else 'not there'}" for key in keys[:_FIRST])
        for side in (right, left)
    ]
    return Words(sides[0], sides[1] + more)


def _told(value: object) -> str:
    """Return a value as people write it."""
    if value is None or value in ("", b""):
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return _cut(value.decode("utf-8", "replace"))
    members = _members(value)
    return _cut(str(value)) if members is None else _listed(members)


def _members(value: object) -> list[str] | None:
    """Return what something is made of, each with its name where it has one; None for what is one thing."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [f"{field.name} {_told(getattr(value, field.name))}" for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return [f"{_told(key)}: {_told(item)}" for key, item in value.items()]
    if isinstance(value, AbstractSet):
        return sorted(map(_told, value))
    return list(map(_told, value)) if isinstance(value, Sequence) and not isinstance(value, str) else None


def _listed(members: Iterable[str]) -> str:
    items = list(members)
    more = f", and {len(items) - _MEMBERS} more" if len(items) > _MEMBERS else ""
    return _cut(", ".join(items[:_MEMBERS])) + more if items else _NOTHING


def _cut(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[:_MOST]}..."

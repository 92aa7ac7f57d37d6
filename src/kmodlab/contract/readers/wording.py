"""What a failed test says: in the words of the task, for who wrote the module."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NoReturn

from ..script import Answer

SHOWN = 3
"""Differences that are shown of many."""
QUOTED = 160
"""Characters that are shown of a line."""


class Wrong(AssertionError):
    """A module does not do what the task asks for; a grader tells its parts, pytest its text, which has them all.

    Args:
        expected: what the task asks for.
        seen: what there is instead.
        hint: where to look; or empty.
    """

    def __init__(self, expected: str, seen: str, hint: str = "") -> None:
        super().__init__("\n".join([expected, seen, *([f"Hint: {hint}"] if hint else [])]))
        self.expected, self.seen, self.hint = expected, seen, hint


def wrong(asked: str, seen: str, hint: str = "") -> NoReturn:
    """Fail.

    Args:
        asked: what the task asks for.
        seen: what there is instead.
        hint: where to look; or empty.

    Raises:
        Wrong: always.
    """
    raise Wrong(asked, seen, hint)


def require_that(holds: object, asked: str, seen: str, hint: str = "") -> None:
    """Fail where something does not hold; else as `wrong`.

    Raises:
        Wrong: it does not.
    """
    if not holds:
        wrong(asked, seen, hint)


def listed(items: Iterable[object]) -> str:
    """Return items as a sentence has them: `read, close`; or `nothing`."""
    return ", ".join(map(str, items)) or "nothing"


def require_none(differences: Sequence[str], asked: str, hint: str = "") -> None:
    """Fail where there is a difference; the first few are shown.

    Raises:
        Wrong: there is one.
    """
    if not differences:
        return
    more = [f"and {len(differences) - SHOWN} more"] if len(differences) > SHOWN else []
    wrong(asked, "\n".join([*differences[:SHOWN], *more]), hint)


def quoted(text: str | bytes) -> str:
    r"""Return a line or a command as a message has it: in marks, cut, and what is not printable as `\ooo`."""
    raw = text if isinstance(text, bytes) else text.encode("latin-1", "replace")
    shown = "".join(chr(byte) if 0x20 <= byte <= 0x7E else f"\\{byte:03o}" for byte in raw[:QUOTED])
    return f"`{shown}`" + ("..." if len(raw) > QUOTED else "")


def text_of(answer: Answer, path: str) -> str:
    """Return what was read of a file.

    Raises:
        Wrong: it could not be read, or is empty.
    """
    if answer["errno"]:
        wrong(f"{path} can be read.", f"Reading it failed: {os.strerror(answer['errno'])}.")
    if not answer["text"]:
        wrong(f"{path} has something in it.", "It was empty.", "what the show function prints is what is read")
    return str(answer["text"])


def begins(text: str) -> str:
    """Return how a page begins, for a message."""
    lines = text.split("\n")[:SHOWN]
    return "\n".join(["It begins:", *(f"    {line[:120]}" for line in lines)])

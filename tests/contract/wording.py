"""What a failed test says: in the words of the task, for who wrote the module."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

from .script import Answer

SHOWN = 3
"""Differences that are shown of many."""


def wrong(asked: str, seen: str, hint: str = "") -> NoReturn:
    """Fail.

    Args:
        asked: what the task asks for.
        seen: what there is instead.
        hint: where to look; or empty.

    Raises:
        AssertionError: always; its text is the three of them.
    """
    raise AssertionError("\n".join([asked, seen, *([f"Hint: {hint}"] if hint else [])]))


def require_none(differences: Sequence[str], asked: str, hint: str = "") -> None:
    """Fail where there is a difference; the first few are shown.

    Raises:
        AssertionError: there is one.
    """
    if not differences:
        return
    more = [f"and {len(differences) - SHOWN} more"] if len(differences) > SHOWN else []
    wrong(asked, "\n".join([*differences[:SHOWN], *more]), hint)


def text_of(answer: Answer, path: str) -> str:
    """Return what was read of a file.

    Raises:
        AssertionError: it could not be read, or is empty.
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

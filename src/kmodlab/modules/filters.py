"""Filters: as the kernel has them, and as a user writes and reads them (docs/abi.md)."""

from __future__ import annotations

import errno as errors
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from .decode import escape, unescape
from .spec import Values

VERDICTS = ("allow", "block")
"""By number."""
_USAGE = "NAME block [errno=E] [pid=N] [uid=N] [comm=TEXT] [path=TEXT], or NAME allow with the same but errno"
_TEXT_BYTES = {"comm": 15, "path": 255}
_NUMBERS = {"pid": (0, (1 << 31) - 1), "uid": (0, (1 << 32) - 1), "errno": (1, 133)}


@dataclass(frozen=True)
class Filter:
    """What is to be done with some calls: those of `name` that match all of `pid`, `uid`, `comm` and `path`.

    Attributes:
        name: a family, or `=` and a call.
        block: the verdict; False makes it an exception.
        errno: what a blocked call returns, positive; None for EPERM.
        pid: process, in the initial PID namespace.
        uid: real user id, in the initial user namespace.
        comm: the very command name, at most 15 bytes.
        path: what a path of the call begins with, at most 255 bytes.
    """

    name: str
    block: bool
    errno: int | None = None
    pid: int | None = None
    uid: int | None = None
    comm: bytes | None = None
    path: bytes | None = None

    def __str__(self) -> str:
        words = [f"{self.name}: {VERDICTS[self.block].upper()}"]
        if self.errno is not None:
            words.append(f"errno={errors.errorcode.get(self.errno, self.errno)}")
        words += [f"{key}={value}" for key, value in (("pid", self.pid), ("uid", self.uid)) if value is not None]
        texts = (("comm", self.comm), ("path", self.path))
        return " ".join(words + [f"{key}={escape(value)}" for key, value in texts if value is not None])

    @classmethod
    def parse(cls, words: Sequence[str]) -> Filter:
        """Return the filter that a user means by these words, the same as `/proc/syscall_tracer` takes.

        Raises:
            UsageError: they are none.
        """
        if len(words) < 2 or words[1] not in VERDICTS:
            raise UsageError(f"{' '.join(words)!r} is no filter", hint=_USAGE)
        given: dict[str, Any] = {}
        for word in words[2:]:
            key, sign, value = word.partition("=")
            if not sign or key not in (*_NUMBERS, *_TEXT_BYTES) or key in given:
                raise UsageError(f"{word!r} is no predicate, or given twice", hint=_USAGE)
            given[key] = _value(key, value)
        if words[1] == "allow" and "errno" in given:
            raise UsageError("errno= is for block", hint=_USAGE)
        return cls(words[0], words[1] == "block", **given)

    @classmethod
    def of(cls, values: Values) -> Filter:
        """Return a filter that the kernel told of."""
        given: dict[str, Any] = {key: values[key] for key in _NUMBERS if key in values}
        given.update((key, _bytes(values[key])) for key in _TEXT_BYTES if key in values)
        return cls(values["name"], bool(values["verdict"]), **given)

    def values(self) -> Values:
        """Return the attributes that tell the kernel of it."""
        texts = {"comm": self.comm, "path": self.path}
        return {
            "name": self.name,
            "verdict": int(self.block),
            "errno": self.errno,
            "pid": self.pid,
            "uid": self.uid,
            **{key: value and value.decode("utf-8", "surrogateescape") for key, value in texts.items()},
        }


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _value(key: str, text: str) -> int | bytes:
    if key in _TEXT_BYTES:
        return _text(key, text)
    if key == "errno" and not text.isdecimal():
        number = getattr(errors, text, None) if text in errors.errorcode.values() else None
    else:
        number = int(text) if text.isascii() and text.isdecimal() else None
    low, high = _NUMBERS[key]
    if not isinstance(number, int) or not low <= number <= high:
        raise UsageError(
            f"{key}={text}: it is no {key}", hint=f"a number from {low} to {high}, or the name of an errno"
        )
    return number


def _text(key: str, text: str) -> bytes:
    try:
        raw = unescape(text)
    except ValueError as error:
        raise UsageError(f"{key}={text}: {error}", hint=r"a backslash itself is \134, a blank may be \040") from error
    if not raw or len(raw) > _TEXT_BYTES[key] or 0 in raw:
        raise UsageError(f"{key}={text}: it takes 1 to {_TEXT_BYTES[key]} bytes, none of them zero")
    return raw

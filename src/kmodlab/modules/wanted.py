"""What `-e` asks for, in strace's words: the calls to trace, and which of them to show by how they ended."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..errors import UsageError
from .classes import CLASSES
from .families import FAMILIES, members

STATUSES = ("successful", "failed", "unfinished", "unavailable", "detached")
"""How a call may have ended. Source: `-e status=` in strace(1)"""
EVERYTHING = frozenset(CLASSES["all"].split())
#: what else users call a class
_ALIASES = {"net": "network"}
_WORDS: Mapping[str, frozenset[str]] = MappingProxyType({"all": EVERYTHING, "none": frozenset()})


@dataclass(frozen=True)
class Wanted:
    """The calls that are asked for.

    Attributes:
        named: families, calls, or `=` and a call, which the kernel has to have.
        perhaps: calls that are wanted as far as the kernel has them.
        but: calls that are not wanted.
    """

    named: tuple[str, ...] = ()
    perhaps: frozenset[str] = frozenset()
    but: frozenset[str] = frozenset()

    @property
    def calls(self) -> set[str]:
        """What comes of it: the names of calls."""
        return (members(self.named) | self.perhaps) - self.but


def meant(word: str, more: Iterable[str] = ()) -> str:
    """Return a hint at what a user may have meant by a word that is no name of a call."""
    import difflib  # noqa: PLC0415  # wanted here only, and a start costs time on an emulated machine

    names = {*FAMILIES, *EVERYTHING, *(f"%{name}" for name in CLASSES), *more}
    close = difflib.get_close_matches(word.lstrip("=!?"), sorted(names), 3)
    return f"did you mean {', '.join(close)}?" if close else "`man 2 syscalls` lists them; docs/abi.md the families"


def _class(word: str) -> set[str]:
    """Return the calls of `%NAME`."""
    name = _ALIASES.get(word[1:], word[1:])
    if name not in CLASSES or name == "all":
        raise UsageError(f"-e: there is no class {word}", hint=meant(word))
    return set(CLASSES[name].split())


def _matching(word: str) -> set[str]:
    """Return the calls whose names `/EXPRESSION` matches, in any part."""
    try:
        expression = re.compile(word[1:])
    except re.error as error:
        raise UsageError(f"-e: {word} is no regular expression: {error}", hint="for instance: -e '/^open'") from error
    return {call for call in EVERYTHING if expression.search(call)}


#: what a word begins with -> what it stands for
_SETS: dict[str, Callable[[str], Collection[str]]] = {
    "%": _class,
    "/": _matching,
    "?": lambda word: members([word[1:]]),
}


def _wanted(words: Iterable[str]) -> Wanted:
    named: list[str] = []
    perhaps: set[str] = set()
    for word in words:
        if word in _WORDS:
            perhaps |= _WORDS[word]
        elif word[:1] in _SETS:
            perhaps |= set(_SETS[word[0]](word))
        else:
            named.append(word)
    return Wanted(tuple(named), frozenset(perhaps))


def _unwanted(words: Iterable[str]) -> frozenset[str]:
    """Return the calls that these words stand for, each of which has to be one: one that is not would keep nothing."""
    found = _wanted(words)
    for name in found.named:
        if name not in FAMILIES and name.lstrip("=") not in EVERYTHING:
            raise UsageError(f"-e: there is no system call {name}", hint=meant(name))
    return frozenset(found.calls)


def _words(text: str) -> list[str]:
    words = text.split(",")
    if "" in words:
        raise UsageError("-e: a name is missing", hint="for instance: -e open,unlink")
    return words


def calls(texts: Sequence[str]) -> Wanted | None:
    """Return what calls are asked for; None if none is.

    Args:
        texts: sets of calls, which add up; those that begin with `!` are taken away, from all if there are no others.

    Raises:
        UsageError: one of them is none.
    """
    if not texts:
        return None
    more = [word for text in texts if text[:1] != "!" for word in _words(text)]
    but = [_unwanted(_words(text[1:])) for text in texts if text[:1] == "!"]
    found = _wanted(more or ["all"])
    return Wanted(found.named, found.perhaps, frozenset().union(*but))


def statuses(texts: Sequence[str]) -> frozenset[str] | None:
    """Return how calls have to have ended; None if that does not matter. The last text counts.

    Raises:
        UsageError: it names something else.
    """
    if not texts:
        return None
    text = texts[-1]
    words = text[text[:1] == "!" :].split(",")
    sets = {"all": frozenset(STATUSES), "none": frozenset[str](), **{name: frozenset([name]) for name in STATUSES}}
    for word in words:
        if word not in sets:
            raise UsageError(f"-e status={text}: {word!r} is no status", hint=f"those are {', '.join(sets)}")
    found = frozenset().union(*(sets[word] for word in words))
    return frozenset(STATUSES) - found if text[:1] == "!" else found


#: what goes before a set
QUALIFIERS = {"trace": "trace", "t": "trace", "status": "status"}


def qualified(texts: Iterable[str]) -> dict[str, list[str]]:
    """Return the sets of each qualifier. Without one, a set is of calls.

    Raises:
        UsageError: there is no such qualifier.
    """
    found: dict[str, list[str]] = {"trace": [], "status": []}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            name, value = "trace", text  # `=unlinkat` is the one call
        if name not in QUALIFIERS:
            raise UsageError(f"-e {text}: {name}= selects nothing here", hint="trace= and status= do")
        found[QUALIFIERS[name]].append(value)
    return found

"""Questions that take time: each in a thread, and each name once at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from .client import Problem


class Asking:
    """What is being asked.

    Args:
        run: runs a coroutine; what it raises ends the program.
        answered: is called after each answer, and after each refusal.

    Attributes:
        problems: why there was no answer, by the name of the question, until there is one.
    """

    def __init__(self, run: Callable[[Coroutine[Any, Any, None]], object], answered: Callable[[], None]) -> None:
        self.problems: dict[str, Problem] = {}
        self._run, self._answered = run, answered
        self._names: set[str] = set()

    def ask(self, name: str, what: Callable[[], Any], then: Callable[[Any], None]) -> bool:
        """Ask, and go on with the answer; return whether it is asked: not while that name is already."""
        if name in self._names:
            return False
        self._names.add(name)
        self._run(self._asked(name, what, then))
        return True

    async def _asked(self, name: str, what: Callable[[], Any], then: Callable[[Any], None]) -> None:
        try:
            found = await asyncio.to_thread(what)
        except Problem as problem:
            self.problems[name] = problem
        else:
            self.problems.pop(name, None)
            then(found)
        finally:
            self._names.discard(name)
            self._answered()

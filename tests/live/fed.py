"""A feed that has what a test gives it."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterable

from kmodlab.daemon.items import Item


class Fed:
    """It can wait, and never ends by itself."""

    patient = True
    state = ""

    def __init__(self) -> None:
        self._given: queue.SimpleQueue[list[Item]] = queue.SimpleQueue()

    def give(self, items: Iterable[Item]) -> None:
        """Have items come."""
        self._given.put(list(items))

    def receive(self, seconds: float) -> list[Item]:
        """What has come."""
        with contextlib.suppress(queue.Empty):
            return self._given.get(timeout=seconds)
        return []

    def attend(self, is_watched: bool) -> None:
        """It is all the same to it."""

    def leave_out(self, pid: int) -> None:
        """Nobody's calls come from here by themselves."""

    def control(self, command: str, who: str) -> None:
        """Nobody changes anything here."""
        raise AssertionError(command, who)

    def close(self) -> None:
        """Nothing is held."""

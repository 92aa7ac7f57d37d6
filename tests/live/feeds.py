"""Where records come from: items that a test hands over, as fast as the recorder takes them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator

from kmodlab.daemon.items import Item
from kmodlab.errors import UsageError

AT_ONCE = 64


class Player:
    """A feed that plays what it is given, waits for the recorder, and never ends."""

    patient = True
    state = ""

    def __init__(self) -> None:
        self._items: Iterator[Item] = iter(())
        self._come = threading.Condition()

    def play(self, *tapes: Iterable[Item]) -> None:
        """Play these behind what is played already."""
        with self._come:
            self._items = itertools.chain(self._items, *tapes)
            self._come.notify_all()

    def receive(self, seconds: float) -> list[Item]:
        """Return what comes next; see `items.Feed`."""
        with self._come:
            found = list(itertools.islice(self._items, AT_ONCE))
            if not found:
                self._come.wait(min(seconds, 0.05))
        return found

    def attend(self, is_watched: bool) -> None:
        """It comes as it comes."""

    def leave_out(self, pid: int) -> None:
        """None of the daemon's own calls are in it."""

    def control(self, command: str, who: str) -> None:
        """Refuse."""
        raise UsageError(f"`{command}` of {who} changes nothing: this is a tape")

    def close(self) -> None:
        """Nothing is held."""

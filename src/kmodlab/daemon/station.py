"""Where the recording is done, as the collector sees it: in this process, or in one of its own (see `remote`)."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from pathlib import Path

from .items import Feed
from .journal import FOLDER_BYTES, Journal
from .recorder import Recorder
from .store import recalled

Terms = Mapping[str, int]
Ledger = Mapping[tuple[int, int], Terms]


def _nothing() -> None:
    pass


class Station(abc.ABC):
    """What records into the folder that a collector keeps the history of."""

    @abc.abstractmethod
    def start(self, woken: Callable[[], None]) -> None:
        """Begin; `woken` is called, from any thread, whenever there is something new."""

    @abc.abstractmethod
    def stop(self) -> None:
        """End: what has come is written."""

    @abc.abstractmethod
    def attend(self, is_watched: bool) -> None:
        """Say whether somebody looks: until this is said, somebody does."""

    @abc.abstractmethod
    def ledger(self) -> Ledger:
        """Return the recorder's terms as of now, or as far as they are known; nothing where they are not."""

    @property
    @abc.abstractmethod
    def state(self) -> str:
        """What is done: see `tick.Machine.state`."""

    @property
    @abc.abstractmethod
    def troubles(self) -> tuple[str, ...]:
        """What is wrong just now, one sentence each."""

    @property
    @abc.abstractmethod
    def own(self) -> frozenset[int]:
        """Process ids of this daemon, whose calls are counted and left out."""

    @abc.abstractmethod
    def control(self, command: str, who: str) -> None:
        """Change the tracer; see `items.Feed`."""


class Local(Station):
    """A recorder in this process.

    Args:
        feed: where records come from; it is closed with the station.
        folder: of the history.
        own: process ids of this daemon, where its own machine is recorded.
        folder_bytes: what all journals may take.

    Raises:
        KmodlabError: another process records into this folder.
    """

    def __init__(
        self, feed: Feed, folder: Path, own: frozenset[int] = frozenset(), folder_bytes: int = FOLDER_BYTES
    ) -> None:
        self._feed, self._own = feed, own
        self.journal = Journal(folder, recalled(folder), folder_bytes=folder_bytes)
        self._woken: Callable[[], None] = _nothing
        self.recorder = Recorder(feed, self.journal, own, self._wake)

    def _wake(self) -> None:
        self._woken()

    def start(self, woken: Callable[[], None]) -> None:
        """Begin to record."""
        self._woken = woken
        self.recorder.start()

    def stop(self) -> None:
        """End."""
        self.recorder.stop()

    def attend(self, is_watched: bool) -> None:
        """Say whether somebody looks."""
        self.recorder.attend(is_watched)

    def ledger(self) -> Ledger:
        """Return the terms as of now."""
        return self.journal.ledger()

    @property
    def state(self) -> str:
        """`recording`, or why nothing comes."""
        return self.recorder.ended or self._feed.state or "recording"

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is wrong with the journal, or has ended the recording."""
        ended = self.recorder.ended if self.recorder.failed else ""
        return tuple(text for text in (self.journal.trouble, ended) if text)

    @property
    def own(self) -> frozenset[int]:
        """Process ids of this daemon."""
        return self._own

    @own.setter
    def own(self, pids: frozenset[int]) -> None:
        for pid in pids - self._own:
            self._feed.leave_out(pid)
        self._own = self.recorder.own = pids

    def control(self, command: str, who: str) -> None:
        """Change the tracer."""
        self._feed.control(command, who)


def newer(one: Ledger, other: Ledger) -> dict[tuple[int, int], dict[str, int]]:
    """Return of two ledgers, of which neither is always the newer one, what is newer for each (epoch, CPU).

    What a recorder has told may be behind what its journal already says, and the other way round.
    """
    found = {whose: dict(terms) for whose, terms in one.items()}
    for whose, terms in other.items():
        if _age(terms) >= _age(found.get(whose, {})):
            found[whose] = dict(terms)
    return found


def _age(terms: Terms) -> tuple[int, ...]:
    return tuple(terms.get(name, 0) for name in ("received", "stored", "issued"))

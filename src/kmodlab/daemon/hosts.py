"""The hosts of a fleet as its database knows them, one by one, and which of them something is wrong with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from .ledger import LOSSES
from .tick import Source

SILENT_SECONDS = 120.0
"""A host that was not heard of for so long is named: one on which nothing happens is heard of each half minute."""
BEHIND_SECONDS = 60.0
"""So far behind is a copy that does not keep up."""
LEVELS = ("silent", "open", "behind", "lost", "fine")
"""What is wrong with a host, worst first."""
LOST = tuple(term for term in LOSSES if term not in ("away", "expired_age", "expired_size"))
"""What is gone for good, against its will."""


@dataclass(frozen=True)
class HostState:
    """A host, as of what it has copied.

    Attributes:
        name: its own.
        boots: how many there were.
        epochs: boots and loads of the module.
        seen: when it wrote last, seconds since 1970; `ago` seconds before it was asked, by the database's clock.
        ago: see there.
        complete: whether all that it had was copied then.
        waiting: calls that it had recorded then, and not copied.
        copied_to: when the newest is of that is here, seconds since 1970 by the host's clock; None: nothing is here.
        now: the time of day of the database, seconds since 1970.
        recent: calls of the last minute.
        day: calls of the last day.
        errors: failed ones among these.
        blocked: blocked ones.
        kernel: release, as of the newest epoch; `version` of the module, `boot` id.
        version: see there.
        boot: see there.
        began: when the newest epoch began, seconds since 1970.
        losses: calls that have no record, by the term of the ledger that says why.
        unshipped: calls that the host removed before they were copied, by the term that says why.
        open: sums of its ledger that do not close.
    """

    name: str
    seen: float
    ago: float
    now: float
    complete: bool = True
    waiting: int = 0
    copied_to: float | None = None
    boots: int = 0
    epochs: int = 0
    recent: int = 0
    day: int = 0
    errors: int = 0
    blocked: int = 0
    kernel: str = ""
    version: str = ""
    boot: str = ""
    began: float | None = None
    losses: Mapping[str, int] = field(default_factory=dict)
    unshipped: Mapping[str, int] = field(default_factory=dict)
    open: int = 0

    @property
    def silent(self) -> bool:
        """Whether nothing was heard of it."""
        return self.ago > SILENT_SECONDS

    @property
    def behind(self) -> float:
        """How far its copy is behind, in seconds: 0 where the database has all that there is."""
        if not self.silent and self.complete and not self.waiting:
            return 0.0
        newest = self.seen if self.complete and not self.waiting else self.copied_to
        return max(0.0, self.now - newest) if newest is not None else self.ago

    @property
    def rate(self) -> float | None:
        """Calls a second, over the last minute; None where that is not known."""
        return None if self.silent or self.behind > BEHIND_SECONDS else round(self.recent / 60, 3)

    @property
    def lost(self) -> int:
        """Calls that are gone for good."""
        return sum(self.losses.get(term, 0) for term in LOST)

    @property
    def level(self) -> str:
        """The worst that is wrong with it, of `LEVELS`."""
        wrong = {
            "silent": self.silent,
            "open": self.open > 0,
            "behind": self.behind > BEHIND_SECONDS,
            "lost": self.lost > 0,
        }
        return next((level for level, it_is in wrong.items() if it_is), "fine")

    def troubles(self) -> Iterator[str]:
        """Yield what is wrong with it, a sentence each, without its name."""
        if self.silent:
            yield f"not heard of for {span(self.ago)}"
        if self.open:
            yield f"{self.open} sums of its ledger do not close" if self.open > 1 else "a sum does not close"
        if self.behind > BEHIND_SECONDS and not self.silent:
            yield f"its copy is {span(self.behind)} behind"


def span(seconds: float) -> str:
    """Return a time in words."""
    for most, unit, size in ((90, "s", 1), (5400, "min", 60), (172800, "h", 3600)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def ranked(hosts: Iterable[HostState]) -> list[HostState]:
    """Return hosts with what is wrong on top, those that are silent for longest first, then by name."""
    return sorted(hosts, key=lambda one: (LEVELS.index(one.level), -one.ago if one.silent else 0.0, one.name))


class Several(Protocol):
    """What shows several hosts: each of them can be shown alone."""

    def hosts(self) -> list[HostState]:
        """Return all, by `ranked`."""

    def of(self, name: str) -> AbstractContextManager[Source]:
        """Return one of them alone, which is followed for as long as the block runs; there is a host of that name."""

"""What a fleet's database knows of each host: how far its copy is, what it does, what it has lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from .hosts import HostState
from .ledger import KEPT, LOSSES, equations, explained
from .postgres import source_of
from .queries import Base, parts_of
from .tally import NS

DAY_SECONDS, MINUTE_SECONDS = 86400.0, 60.0
LATE_SECONDS = 6.0
"""What is younger may not be in the database yet, though its host is not late."""
_COUNTED = ("day", "errors", "blocked")


@dataclass(frozen=True)
class _Copied:
    """A source: of which host, and how far it is."""

    id: int
    host: str
    seen: float
    ago: float
    complete: bool
    shipped: int


@dataclass(frozen=True)
class _Epoch:
    """An epoch; `began` is ns of its CLOCK_BOOTTIME, `offset` how far the time of day is ahead of that, ns."""

    number: int
    boot: str
    kernel: str
    version: str
    began: int
    offset: int

    def wall(self, t: int) -> float:
        return (t + self.offset) / NS


_Spans = list[tuple[int, int, int]]
"""Epochs, each with two seconds of CLOCK_BOOTTIME: from the first one to before the second one."""


class Roster:
    """What the database knows of each host.

    Args:
        base: the database.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        ((self._now,),) = base.execute("select extract(epoch from now())::float8").fetchall()
        query = (
            "select id, host, extract(epoch from seen)::float8, extract(epoch from now() - seen)::float8, complete,"
            " shipped from source order by seen, id"
        )
        self._sources = [_Copied(*row) for row in base.execute(query)]
        query = (
            'select id, boot, kernel, version, began, coalesce((select c."offset" from clock c where c.boot = e.boot'
            " order by c.t desc limit 1), 0) from epoch e order by id"
        )
        self._epochs = [_Epoch(*row) for row in base.execute(query)]
        self._newest = {source_of(one.number)[0].id: one for one in self._epochs}
        self._terms = self._ledgers()
        self._unshipped = self._removed()
        self._day, self._recent = self._counts(DAY_SECONDS), self._counts(MINUTE_SECONDS)

    def hosts(self) -> Iterator[HostState]:
        """Yield the hosts."""
        for name in dict.fromkeys(one.host for one in self._sources):
            yield self._host(name, [one for one in self._sources if one.host == name])

    def _host(self, name: str, sources: list[_Copied]) -> HostState:
        """Return a host, whose sources are given, the one heard of last at the end: what others lack never comes."""
        own = {one.id for one in sources}
        now = sources[-1]
        epochs = [one for one in self._epochs if source_of(one.number)[0].id in own]
        newest = self._newest.get(now.id)
        terms = self._summed(own)
        gone = {term: sum(self._unshipped.get((one, term), 0) for one in own) for term in KEPT[1:]}
        counts = {name: sum(self._day.get(one, (0, 0, 0))[at] for one in own) for at, name in enumerate(_COUNTED)}
        return HostState(
            name=name, seen=now.seen, ago=now.ago, now=self._now, complete=now.complete, waiting=self._waiting(now),
            copied_to=self._copied_to(now.id), boots=len({one.boot for one in epochs}), epochs=len(epochs),
            recent=sum(self._recent.get(one, (0,))[0] for one in own), **counts,
            kernel=newest.kernel if newest else "", version=newest.version if newest else "",
            boot=newest.boot if newest else "",
            began=newest.wall(newest.began) if newest else None,
            losses={term: terms[term] for term in LOSSES if terms.get(term)},
            unshipped={term: n for term, n in gone.items() if n},
            open=self._open(own),
        )  # fmt: skip

    def _ledgers(self) -> dict[int, list[dict[str, int]]]:
        found: dict[int, list[dict[str, int]]] = {}
        for epoch, terms in self._base.execute("select epoch, terms from ledger"):
            found.setdefault(source_of(epoch)[0].id, []).append(json.loads(terms))
        return found

    def _removed(self) -> dict[tuple[int, str], int]:
        query = "select source, term, sum(n) from unshipped group by source, term"
        return {(source, term): int(n) for source, term, n in self._base.execute(query)}

    def _summed(self, sources: set[int]) -> dict[str, int]:
        found: dict[str, int] = {}
        for one in sources:
            for terms in self._terms.get(one, ()):
                for name, n in explained(terms).items():
                    found[name] = found.get(name, 0) + n
        return found

    def _open(self, sources: set[int]) -> int:
        return sum(
            not one.closes for source in sources for terms in self._terms.get(source, ()) for one in equations(terms)
        )

    def _waiting(self, source: _Copied) -> int:
        """Return how many calls there were that are neither here nor said to be gone, when the ledger was copied."""
        rolled = sum(terms.get("rolled", 0) for terms in self._terms.get(source.id, ()))
        gone = sum(n for (one, _), n in self._unshipped.items() if one == source.id)
        return max(0, rolled - source.shipped - gone)

    def _copied_to(self, source: int) -> float | None:
        """Return up to when both sums and calls are here of a source."""
        newest = self._newest.get(source)
        if newest is None:
            return None
        query = (
            "select (select max(t) from roll_s where epoch = ?) * 1000000000::bigint,"
            ' (select max("end") from block where epoch = ?)'
        )
        times = self._base.execute(query, (newest.number, newest.number)).fetchone()
        found = [newest.wall(t) for t in times if t is not None]
        return min(found, default=None)

    def _counts(self, seconds: float) -> dict[int, tuple[int, ...]]:
        """Return, by source, the calls of the last seconds, failed ones, blocked ones."""
        spans: dict[str, _Spans] = {}
        end = self._now if seconds > MINUTE_SECONDS else self._now - LATE_SECONDS
        tier = "m" if seconds > MINUTE_SECONDS else "s"
        for epoch in self._epochs:
            low, high = (int(at - epoch.offset / NS) for at in (end - seconds, end))
            for part, first, last in parts_of(tier, low, high):
                spans.setdefault(part, []).append((epoch.number, int(first), int(last)))
        found: dict[int, tuple[int, ...]] = {}
        for part, of in spans.items():
            query = (
                "select r.epoch, sum(n), sum(err), sum(case when status = 1 then n else 0 end)"
                f" from roll_{part} r join unnest(?::bigint[], ?::bigint[], ?::bigint[]) as k(e, a, b)"
                " on r.epoch = k.e and r.t >= k.a and r.t < k.b group by r.epoch"
            )
            for number, *counts in self._base.execute(query, [list(column) for column in zip(*of, strict=True)]):
                source = source_of(number)[0].id
                before = found.get(source, (0, 0, 0))
                found[source] = tuple(int(n) + m for n, m in zip(counts, before, strict=True))
        return found

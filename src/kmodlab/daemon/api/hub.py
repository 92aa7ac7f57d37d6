"""One subscription for everybody who looks: ticks come in once, and go out to each as fast as that one takes them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass, field

from ..ledger import equations
from ..tick import Count, Source, Tick, merged
from .problem import Denied

MOST_CLIENTS = 256
MOST_WAITING = 16
"""Ticks of different epochs that wait for one client: more, and it is told the state anew."""
_log = logging.getLogger(__name__)


@dataclass
class Sums:
    """What became of the ticks of one client: `offered` = `sent` + `coalesced` + those that wait."""

    offered: int = 0
    sent: int = 0
    coalesced: int = 0


@dataclass(eq=False)
class Client:
    """One stream: what waits for it is merged into one, so that it never has more than a tick for each epoch."""

    sums: Sums = field(default_factory=Sums)
    closed: bool = False
    _waiting: deque[Tick] = field(default_factory=deque)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, tick: Tick) -> None:
        """Have a tick sent, with those that wait where these are of the same epoch."""
        self.sums.offered += 1
        if self._waiting and self._waiting[-1].epoch == tick.epoch:
            self._waiting[-1] = merged(self._waiting[-1], tick)
            self.sums.coalesced += 1
        else:
            self._waiting.append(tick)
        self._news.set()

    @property
    def overrun(self) -> bool:
        """Whether so much waits that the state has to be told anew."""
        return len(self._waiting) > MOST_WAITING

    def drop(self) -> None:
        """Forget what waits, for the state is told anew."""
        self.sums.coalesced += len(self._waiting)
        self._waiting.clear()

    @property
    def quiet(self) -> bool:
        """Whether what waits says nothing new but the time."""
        return not any(tick.calls or tick.blocked_more or tick.cpus for tick in self._waiting)

    def seen(self) -> None:
        """Wait for what comes next, not for what waits already."""
        self._news.clear()

    def take(self) -> Tick | None:
        """Return what is next, or None where nothing waits."""
        self._news.clear()
        if not self._waiting:
            return None
        self.sums.sent += 1
        if len(self._waiting) > 1:
            self._news.set()
        return self._waiting.popleft()

    def close(self) -> None:
        """End the stream."""
        self.closed = True
        self._news.set()

    async def wait(self, seconds: float) -> bool:
        """Return whether something waits, or the stream has ended, within that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        return self._news.is_set()


class Hub:
    """All streams of one server.

    Args:
        source: the collector.

    Attributes:
        run_id: names this run: numbers of ticks of another one mean nothing here.
        latest: the newest tick.
        open: (epoch, CPU) -> its sums that do not close, as text.
        totals: (call, status) -> what came to that since the server began; for /metrics.
        clients: the streams that are open.
        past: the sums of those that are not.
        beside: the hubs of hosts that are shown alone; they end with this one.
    """

    def __init__(self, source: Source) -> None:
        self.run_id = secrets.token_hex(4)
        self.latest: Tick | None = None
        self.open: dict[tuple[int, int], list[str]] = {}
        self.totals: dict[tuple[str, str], Count] = {}
        self.clients: set[Client] = set()
        self.past = Sums()
        self.beside: set[Hub] = set()
        self.closed = False
        self._source = source

    async def run(self) -> None:
        """Take ticks until the collector has no more, or the task is cancelled."""
        self._attend()
        try:
            async with aclosing(self._source.subscribe()) as ticks:  # type: ignore[type-var]
                async for tick in ticks:
                    self.publish(tick)
        except Exception:
            # Nobody waits for this task: whoever looks sees that nothing comes, and the log has to say why.
            _log.exception("ticks are not followed any more")
        else:
            _log.info("the collector has no more ticks")

    def publish(self, tick: Tick) -> None:
        """Hand a tick to every stream."""
        self.latest = tick
        for key, count in tick.calls.items():
            self.totals[key] = self.totals.get(key, Count()) + count
        for (epoch, cpu), terms in tick.cpus.items():
            found = [f"epoch {epoch} CPU {cpu}: {one}" for one in equations(terms) if not one.closes]
            self.open[epoch, cpu] = found
        for client in self.clients:
            client.offer(tick)

    def check_room(self) -> None:
        """Look whether there is room for one more.

        Raises:
            Denied: there are too many.
        """
        if self.closed or len(self.clients) >= MOST_CLIENTS:
            raise Denied(503, "too many streams are open", headers={"retry-after": "10"})

    def join(self) -> Client:
        """Return a new stream, which gets every tick from now on."""
        client = Client()
        self.clients.add(client)
        self._attend()
        return client

    def leave(self, client: Client) -> None:
        """End a stream, and keep its sums."""
        client.drop()
        self.clients.discard(client)
        self._attend()
        self.past = self._added(client.sums)

    def _attend(self) -> None:
        self._source.attend(bool(self.clients))

    def _added(self, sums: Sums) -> Sums:
        past = self.past
        return Sums(past.offered + sums.offered, past.sent + sums.sent, past.coalesced + sums.coalesced)

    def opened(self) -> list[str]:
        """Return every sum that does not close, as of the latest tick; none is how it has to be."""
        return [text for found in self.open.values() for text in found]

    def sums(self) -> Sums:
        """Return the sums of all streams, open and ended."""
        every = [self.past, *(client.sums for client in self.clients)]
        return Sums(
            sum(one.offered for one in every), sum(one.sent for one in every), sum(one.coalesced for one in every)
        )

    def close(self) -> None:
        """End every stream."""
        self.closed = True
        for hub in self.beside:
            hub.close()
        for client in self.clients:
            client.close()

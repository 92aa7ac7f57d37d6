"""`kmodlab trace watch`: the calls of whoever is chosen, as they are made."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from .changes import Changes
from .decode import comm_text
from .families import members
from .live import TICK, Options, Show, chosen_ids, drain, opened, unread, view
from .machine import HERE, Machine
from .program import Signals
from .record import CALL, COMM, PID, UID, Row
from .show import of_any
from .tracer import Tracer


@dataclass(frozen=True)
class Who:
    """Whose calls to show: those that match all that is given; of one kind any will do.

    Attributes:
        pids: processes.
        uids: real user ids.
        comms: command names, escaped.
        count: end after so many calls; None goes on.
    """

    pids: frozenset[int] = frozenset()
    uids: frozenset[int] = frozenset()
    comms: frozenset[str] = frozenset()
    count: int | None = None


class Choice:
    """The rows to show; never those of this process, of which each would make another one.

    Args:
        who: whose.
        ids: of the calls; empty for all.
    """

    def __init__(self, who: Who, ids: set[int]) -> None:
        self._who = who
        self._ids = ids
        self._left = sys.maxsize if who.count is None else who.count

    def __call__(self, rows: list[Row]) -> list[Row]:
        """Return those among these."""
        me, who = os.getpid(), self._who
        chosen = [row for row in rows if row[PID] != me]
        if self._ids:
            chosen = [row for row in chosen if row[CALL] in self._ids]
        if who.pids:
            chosen = [row for row in chosen if row[PID] in who.pids]
        if who.uids:
            chosen = [row for row in chosen if row[UID] in who.uids]
        if who.comms:
            chosen = [row for row in chosen if comm_text(row[COMM]) in who.comms]
        return self._counted(chosen)

    def _counted(self, rows: Sequence[Row]) -> list[Row]:
        taken = list(rows[: self._left])
        self._left -= len(taken)
        return taken

    @property
    def over(self) -> bool:
        """Whether as many were chosen as were asked for."""
        return not self._left


def watch(who: Who, options: Options, machine: Machine = HERE) -> int:
    """Show calls until a signal comes, or whoever reads has gone, or there were enough; then everything is as it was.

    Args:
        who: whose.
        options: what to trace, and how to show it.
        machine: on which.

    Returns:
        The exit status: 0, or 128 and the number of the signal.
    """
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(Signals())
        out = stack.enter_context(opened(options.output, sys.stdout))
        tracer = stack.enter_context(Tracer(machine))
        changes = stack.enter_context(Changes(tracer))
        if options.names:
            changes.trace(options.names)
        if options.returns:
            changes.record_returns()
        choice = Choice(who, chosen_ids(tracer, members(options.names)))
        stream = stack.enter_context(contextlib.closing(tracer.stream()))
        show = Show(stream, view(tracer, options, out, of_any), choice)
        number, look = 0, 0.0
        while not (number or show.closed or choice.over or unread(out)):
            stream.receive(TICK)
            show.step()
            number = next((number for number, _ in signals.taken()), 0)
            if time.monotonic() >= look:
                machine.require_loaded()
                look = time.monotonic() + 1
        if number and not show.closed:
            drain(tracer, stream, show)
        show.rest()
        show.end()
    return 128 + number if number else 0

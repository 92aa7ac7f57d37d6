"""`kmodlab trace watch`: the calls of whoever is chosen, as they are made."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .changes import Changes
from .decode import comm_text
from .live import TICK, Show, chosen_ids, drain, kept, unread, view
from .machine import HERE, Machine
from .options import Options
from .output import opened
from .program import Signals
from .record import CALL, COMM, PID, PPID, UID, Row
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
    """The rows to show; never those of this process and of who reads, of which each would make another one.

    Args:
        who: whose.
        ids: of the calls; None for all.
        keep: which of them.
        reader: the process that reads what is shown, if there is one.
    """

    def __init__(self, who: Who, ids: set[int] | None, keep: Callable[[Row], bool], reader: int | None = None) -> None:
        self._who = who
        self._ids = ids
        self._keep = keep
        self._mine, self._reader = {os.getpid(), reader}, reader
        self._left = sys.maxsize if who.count is None else who.count

    def __call__(self, rows: list[Row]) -> list[Row]:
        """Return those among these."""
        mine, reader, who = self._mine, self._reader, self._who
        chosen = [row for row in rows if row[PID] not in mine and row[PPID] != reader]
        if self._ids is not None:
            chosen = [row for row in chosen if row[CALL] in self._ids]
        if who.pids:
            chosen = [row for row in chosen if row[PID] in who.pids]
        if who.uids:
            chosen = [row for row in chosen if row[UID] in who.uids]
        if who.comms:
            chosen = [row for row in chosen if comm_text(row[COMM]) in who.comms]
        return self._counted([row for row in chosen if self._keep(row)])

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
        # It begins and is waited for while signals do what they always do.
        out = stack.enter_context(opened(options.output, sys.stdout))
        signals = stack.enter_context(Signals())
        tracer = stack.enter_context(Tracer(machine))
        changes = stack.enter_context(Changes(tracer))
        wanted = options.wanted
        if wanted:
            changes.trace(wanted.named)
            changes.trace_some(wanted.perhaps - wanted.but)
        if options.returns:
            changes.record_returns()
        ids = chosen_ids(tracer, wanted.calls) if wanted else None
        choice = Choice(who, ids, kept(tracer, options), out.reader)
        stream = stack.enter_context(contextlib.closing(tracer.stream()))
        show = Show(stream, view(tracer, options, out.file, of_any), choice, options.quiet)
        number, look = 0, 0.0
        while not (number or show.closed or choice.over or unread(out.file)):
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

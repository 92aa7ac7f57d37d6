"""What `kmodlab trace run` and `kmodlab trace watch` share: showing records as they come, to the last one."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterable, Mapping
from typing import IO

from .options import Options
from .output import Files
from .record import Row
from .show import (
    UNDER_WAY,
    Apart,
    Both,
    JsonLines,
    Label,
    Lines,
    Ordered,
    Some,
    Summary,
    View,
    lost_text,
    names_path,
    note,
    status_of,
)
from .stamps import Stamps
from .stream import Stream
from .tracer import Tracer

TICK = 0.1
"""Seconds between looks at what else may have happened; records come as often."""
SILENCE = 0.4
"""Seconds without a record after which none is expected any more."""
LAST = 5.0
"""Seconds that the records of a program may come late."""
SLICE = 16
"""Batches that are shown before the socket is looked at again."""
IN_THE_MAKING = 250_000_000
"""ns between a record's time and its being counted, at most: a processor of a guest may stand still meanwhile."""
OVERDUE = 2_000_000_000
"""ns after which what does not come is not waited for any more: the stream counts it as lost."""
MANY = 1 << 16
"""Rows that wait to be chosen, at most."""
HINT = "the tracer keeps too few records for so many calls: load it with a larger log_entries, or trace fewer calls"


class Show:
    """Shows the rows of a stream that are chosen, in order, and counts what is lost.

    Args:
        stream: where they come from.
        view: where they go.
        choose: returns those to show of some rows, which come to it in the order of their entry.
        quiet: 1 for no hint where records were lost; 2 for one word of it at the end, where the view has none.
        issued: asks what each CPU has counted, where rows have to come to `choose` in their order however late some
            are; without, as long as they come soon.
    """

    def __init__(
        self,
        stream: Stream,
        view: View,
        choose: Callable[[list[Row]], list[Row]],
        quiet: int = 0,
        issued: Callable[[], Mapping[int, int]] | None = None,
    ) -> None:
        self.closed = False
        self._quiet = quiet
        self._stream = stream
        self._view = view
        self._choose = choose
        self._came, self._chosen = Ordered(0), Ordered()
        self._whole = Whole(stream, issued)
        self._lost = 0

    def step(self) -> None:
        """Show some of what was received."""
        self._take(SLICE)
        # While batches wait, what comes next in time may be among them.
        if not self._stream.waiting:
            now = time.monotonic_ns()
            self._chosen.add(self._choose(self._came.ready(self._whole.until(now))))
            self._write(self._chosen.ready(now))

    def gather(self) -> None:
        """Take in all that was received, and show none of it yet."""
        while self._stream.waiting:
            self._take(SLICE)

    def rest(self, more: Callable[[], list[Row]] = list) -> None:
        """Show all that was received, and what `more` returns then: rows that were held back."""
        self.gather()
        self._chosen.add(self._choose(self._came.ready(None)))
        self._chosen.add(more())
        self._write(self._chosen.ready(None))

    def _take(self, batches: int) -> None:
        self._came.add(self._stream.take(batches))
        # In a flood those that are not to be shown are not kept until it is over, whatever comes late.
        if len(self._came) > MANY:
            self._chosen.add(self._choose(self._came.ready(None)))

    def _write(self, rows: list[Row]) -> None:
        missing, self._lost = self._stream.lost - self._lost, self._stream.lost
        if rows:
            self._unless_closed(lambda: self._view.show(rows))
        if missing:
            self._unless_closed(lambda: self._view.lost(missing))

    def _unless_closed(self, write: Callable[[], None]) -> None:
        """Write, unless whoever read it has gone."""
        try:
            if not self.closed:
                write()
        except BrokenPipeError:
            self.closed = True

    def end(self) -> None:
        """Write what the view has kept for the end, and a hint where records were lost."""
        self._unless_closed(self._view.end)
        if self._lost and self._quiet > 1:
            note(lost_text(self._lost))
        elif self._lost and not self._quiet:
            note(HINT)


class Whole:
    """Until when all records have come.

    A CPU sends what it has recorded when it is asked for, or a tenth of a second later: on a busy machine more. So it
    is asked what all have counted. Once so much has come, nothing is under way from before.

    Args:
        stream: where records come from.
        issued: asks what each CPU has counted; without, records are taken to come soon.
    """

    def __init__(self, stream: Stream, issued: Callable[[], Mapping[int, int]] | None) -> None:
        self._stream, self._issued = stream, issued
        self._asked, self._count = 0, dict[int, int]()
        self._until = 0

    def until(self, now: int) -> int:
        """Return the time up to which that is so.

        Args:
            now: CLOCK_MONOTONIC in ns.
        """
        if not self._issued:
            return now - UNDER_WAY
        if self._asked and (not self._stream.behind(self._count) or now - self._asked > OVERDUE):
            self._until, self._asked = self._asked - IN_THE_MAKING, 0
        if not self._asked:
            self._asked, self._count = now, dict(self._issued())
        return self._until


def drain(tracer: Tracer, stream: Stream, show: Show) -> None:
    """Wait for the records of what was called until now; count as lost what does not come.

    None is shown before all are there: those of one CPU may come after later ones of another.
    """
    issued = tracer.issued()
    end = time.monotonic() + LAST
    show.gather()
    while stream.behind(issued) and time.monotonic() < end and stream.receive(SILENCE):
        show.gather()
    stream.end(issued)


def unread(out: IO[str]) -> bool:
    """Return whether whoever read a pipe has gone: the next write, which would tell, may be far off."""
    poller = select.poll()
    poller.register(out, 0)
    return any(found & select.POLLERR for _, found in poller.poll(0))


def chosen_ids(tracer: Tracer, names: Iterable[str]) -> set[int]:
    """Return the ids of calls by their names, those that the tracer knows."""
    wanted = set(names)
    return {call.id for call in tracer.calls() if call.name in wanted}


def silent(_: str) -> None:
    """Say nothing."""


def view(tracer: Tracer, options: Options, out: IO[str], label: Label) -> View:
    """Return what shows records as the user wants them: the lines, a table of all calls of the paths, or both."""
    found = _shown(tracer, options, out, label)
    if options.paths:
        return Some(found, names_path(tracer, options.paths))
    return found


def kept(tracer: Tracer, options: Options) -> Callable[[Row], bool]:
    """Return what finds out whether a call is of the paths, and has ended as it has to."""
    names = names_path(tracer, options.paths) if options.paths else None
    statuses = options.statuses
    return lambda row: (not names or names(row)) and (statuses is None or status_of(row) in statuses)


def _shown(tracer: Tracer, options: Options, out: IO[str], label: Label) -> View:
    if not options.summary:
        return _ended(_lines(tracer, options, out, label), options.statuses)
    tell = silent if options.quiet > 1 else note
    table = Summary(tracer, out, as_json=options.json, sort=options.sort, tell=tell)
    if not options.lines:
        return table  # strace, too, counts calls of every status
    return Both(_ended(_lines(tracer, options, out, label), options.statuses), table)


def _ended(found: View, statuses: frozenset[str] | None) -> View:
    return found if statuses is None else Some(found, lambda row: status_of(row) in statuses)


def _lines(tracer: Tracer, options: Options, out: IO[str], label: Label) -> View:
    tell = silent if options.quiet > 1 else note
    if options.json:
        return JsonLines(tracer, out, tell)
    stamp = Stamps(options.absolute, relative=options.relative)
    if options.apart:
        return Apart(tracer, Files(options.output or ""), stamp, raw=options.raw, tell=tell)
    return Lines(tracer, out, lambda row: label(row) + stamp(row), raw=options.raw, tell=tell)

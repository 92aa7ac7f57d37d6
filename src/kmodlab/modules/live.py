"""What `kmodlab trace run` and `kmodlab trace watch` share: showing records as they come, to the last one."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from ..errors import UsageError
from .record import Row
from .show import JsonLines, Lines, Ordered, Summary, note
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
HINT = "the tracer keeps too few records for so many calls: load it with a larger log_entries, or trace fewer calls"


@dataclass(frozen=True)
class Options:
    """What `run` and `watch` have in common.

    Attributes:
        names: families and calls to show; empty for those that are traced.
        returns: whether to have calls recorded at their return.
        json: one line of JSON a call.
        summary: a table of counts instead.
        output: a file to write to.
    """

    names: tuple[str, ...] = ()
    returns: bool = False
    json: bool = False
    summary: bool = False
    output: str | None = None


class View(Protocol):
    """What shows records."""

    def show(self, rows: Sequence[Row], /) -> None:
        """Take rows."""

    def lost(self, count: int, /) -> None:
        """Take notice of what is missing."""

    def end(self) -> None:
        """Write what is left."""


@contextlib.contextmanager
def opened(path: str | None, otherwise: IO[str]) -> Iterator[IO[str]]:
    """Open what is written to.

    Args:
        path: the file; None for `otherwise`.
        otherwise: a stream that stays open.

    Raises:
        UsageError: the file cannot be written to.
    """
    if path is None:
        yield otherwise
        return
    try:
        file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115  # closed below
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    with file:
        yield file


class Show:
    """Shows the rows of a stream that are chosen, in order, and counts what is lost.

    Args:
        stream: where they come from.
        view: where they go.
        choose: returns those to show.
    """

    def __init__(self, stream: Stream, view: View, choose: Callable[[list[Row]], list[Row]]) -> None:
        self.closed = False
        self._stream = stream
        self._view = view
        self._choose = choose
        self._ordered = Ordered()
        self._lost = 0

    def step(self) -> None:
        """Show some of what was received."""
        self._ordered.add(self._choose(self._stream.take(SLICE)))
        # While batches wait, what comes next in time may be among them.
        if not self._stream.waiting:
            self._write(self._ordered.ready(time.monotonic_ns()))

    def gather(self, rows: Sequence[Row] = ()) -> None:
        """Take in all that was received, and some rows that were held back, and show none of it yet."""
        self._ordered.add(rows)
        while self._stream.waiting:
            self._ordered.add(self._choose(self._stream.take(SLICE)))

    def rest(self) -> None:
        """Show all that was received."""
        self.gather()
        self._write(self._ordered.ready(None))

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
        if self._lost:
            note(HINT)


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


def view(tracer: Tracer, options: Options, out: IO[str], label: Callable[[Row], str]) -> View:
    """Return what shows records as the user wants them."""
    if options.summary:
        return Summary(tracer, out, as_json=options.json)
    return JsonLines(tracer, out) if options.json else Lines(tracer, out, label)

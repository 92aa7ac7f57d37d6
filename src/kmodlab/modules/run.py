"""`kmodlab trace run`: the calls of one program and of all that it starts."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence

from .changes import Changes
from .live import TICK, Show, drain, view
from .machine import HERE, Machine
from .options import Options
from .output import Output, opened, require_place
from .program import Identity, Program, Signals, adopt_orphans, end_like, find
from .record import CALL, Row
from .show import of_process
from .stream import Stream
from .tracer import Tracer
from .tree import EXEC, FOLLOWED, Start, Tree, running


class Choice:
    """The rows to show: those of the program, of the calls that were asked for.

    Args:
        tracer: knows the calls.
        names: of the calls.
        tree: the program's processes.
        pid: of the program.
    """

    def __init__(self, tracer: Tracer, names: set[str], tree: Tree, pid: int) -> None:
        ids = {call.name: call.id for call in tracer.calls()}
        self._ids = {ids[name] for name in names if name in ids}
        self._tree = tree
        self._start = Start(pid, {ids[name] for name in EXEC if name in ids})

    def __call__(self, rows: list[Row]) -> list[Row]:
        """Return those among these."""
        return self._asked_for(self._start.select(self._tree.select(rows)))

    def rest(self) -> list[Row]:
        """Return what was held back in vain."""
        return self._asked_for(self._start.rest())

    def _asked_for(self, rows: list[Row]) -> list[Row]:
        ids = self._ids
        return [row for row in rows if row[CALL] in ids]


def run(argv: Sequence[str], options: Options, machine: Machine = HERE) -> int:
    """Trace a program and its descendants until all have ended; then everything is as it was.

    Args:
        argv: the program and its arguments.
        options: what to trace, and how to show it.
        machine: on which.

    Raises:
        CannotStart: the program is not there, or is none.
        UsageError: there is no such user, or call.

    Returns:
        The program's exit status. Where a signal has ended it, this process dies of the same one.
    """
    file, identity = find(argv[0]), Identity(options.changes, options.user)
    identity.account()
    with contextlib.ExitStack() as stack:
        # It begins and is waited for while signals do what they always do.
        out = stack.enter_context(_output(options)).file
        signals = stack.enter_context(Signals())
        tracer = stack.enter_context(Tracer(machine))
        changes = stack.enter_context(Changes(tracer))
        wanted = options.wanted
        names = changes.traced() | set(EXEC) if wanted is None else wanted.calls
        changes.trace([*(wanted.named if wanted else ()), *FOLLOWED])
        changes.trace_some(wanted.perhaps - wanted.but if wanted else ())
        if options.returns:
            changes.record_returns()
        stream = stack.enter_context(contextlib.closing(tracer.stream()))
        adopt_orphans()
        tree = Tree(os.getpid(), running())
        program = machine.start(file, argv, signals.before, identity)
        choice = Choice(tracer, names, tree, program.pid)
        shown = view(tracer, options, out, of_process(program.pid))
        show = Show(stream, shown, choice, options.quiet, tracer.issued)
        abandoned = _follow(program, stream, show, signals, machine)
        drain(tracer, stream, show)
        show.rest(choice.rest)
        show.end()
    if abandoned:
        machine.die_of(abandoned)
    return end_like(program.status or 0, machine.die_of)


def _output(options: Options) -> contextlib.AbstractContextManager[Output]:
    """Return what opens the output; files of threads have names that are known when those make their first calls."""
    if options.apart and options.output:
        require_place(options.output)
        return opened(None, sys.stderr)
    return opened(options.output, sys.stderr)


def _follow(program: Program, stream: Stream, show: Show, signals: Signals, machine: Machine) -> int:
    """Show calls until the program and its descendants have ended; return the signal that ended it before, or 0.

    Signals are the program's: a terminal sends them to it as well, others are passed on. It may live on, as an editor
    does; a second one that is not from a terminal, or any once the program has ended, is for the tracing.
    """
    passed, look = 0, 0.0
    while not program.over:
        stream.receive(TICK, [program.watch] if program.status is None else [])
        program.reap()
        show.step()
        for number, from_terminal in signals.taken():
            if program.status is not None or passed:
                return number
            if not from_terminal:
                program.send(number)
                passed = number
        if time.monotonic() >= look:
            machine.require_loaded()
            look = time.monotonic() + 1
    return 0

"""`make bench-instructions`: the instructions that system-call tracers add to a call; writes docs/benchmarks.*.

In a guest whose clock counts them, so the figures are the same on every host, however busy: see Hardware.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date

from bench import report
from bench.figures import LOOPS, Count, Counted, Counting, loop_key
from bench.harness import ROUNDS, Laboratory
from bench.tracers import IMAGE, MEMORY, TRACERS, Pace, Tracer
from kmodlab.errors import LabError
from kmodlab.guest import Guest
from kmodlab.guest.guest import guests_dir
from kmodlab.image.plan import planned
from kmodlab.process import interruptible, locked, say
from kmodlab.vm.accelerator import qemu_version

#: chunks of each loop: the smallest counts, which has no tick of the clock in it
CHUNKS = 12
#: the part of the rounds that are timed elsewhere: a chunk is over well before the next tick, 4 million instructions on
PART = 20


def loads(pace: Pace) -> list[str]:
    """Return the arguments of `load`: the same with the tracer and without, so that the loop itself cancels out."""
    words = [(name, ROUNDS[pace][name] // PART) for name, threads in LOOPS if threads == 1]
    return [f"{name}:1:{rounds}:{CHUNKS}" for name, rounds in words]


def count(laboratory: Laboratory, tracer: Tracer) -> Counted:
    """Count the instructions of a call without a tracer, and with it.

    Args:
        laboratory: prepared, its guest counts instructions.
        tracer: what is measured.

    Raises:
        LabError: it did not trace.
    """
    _, chunks = laboratory.run(tracer, loads(tracer.pace))
    names = [name for name, threads in LOOPS if threads == 1]
    plain, traced = ({name: Count.of(chunks[kind][loop_key(name, 1)]) for name in names} for kind in ("plain", "load"))
    return Counted(tracer.key, tracer.label, plain, traced)


@contextmanager
def counting_guest(image: str, name: str = "bench-instructions", memory: int = MEMORY) -> Iterator[Guest]:
    """A guest of its own whose clock counts instructions; gone afterwards.

    Args:
        image: name of the image that it runs.
        name: its own.
        memory: in MiB.
    """
    guest = Guest(name)
    guest.down()
    try:
        guest.up(image=planned(image), memory=memory, cpus=1, counting=True)
        yield guest
    finally:
        guest.down()


def _row(laboratory: Laboratory, tracer: Tracer) -> Counted:
    """Return the row of a tracer: what was counted, or why nothing was."""
    if absent := laboratory.row(tracer).absent:
        return Counted(tracer.key, tracer.label, failure=absent)
    try:
        row = count(laboratory, tracer)
    except LabError as error:
        row = Counted(tracer.key, tracer.label, failure=" ".join(f"{error.message}: {error.output or ''}".split()))
    added = row.added("getppid")
    say(f"{row.label}: {row.failure if added is None else f'{added:+,.0f} instructions'}")
    return row


def run(tracers: Sequence[Tracer]) -> Counting:
    """Count what tracers add, each once: a second time would come to the same."""
    with locked(guests_dir() / ".bench.lock", "another benchmark"), counting_guest(IMAGE) as guest:
        laboratory = Laboratory(guest)
        laboratory.prepare()
        rows = [_row(laboratory, tracer) for tracer in tracers]
        return Counting(date.today().isoformat(), qemu_version(), guest.image.kernel_version, rows)


def main() -> None:
    """Count, print the page's part, and write the documents."""
    interruptible()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("keys", nargs="*", metavar="TRACER", help="some of them; then nothing is written")
    arguments = parser.parse_args()
    result = run([tracer for tracer in TRACERS if not arguments.keys or tracer.key in arguments.keys])
    print(report.instructions(result))
    if arguments.keys:
        say("nothing was written: only a whole run is")
    else:
        report.write("instructions", asdict(result))


if __name__ == "__main__":
    main()

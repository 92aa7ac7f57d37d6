"""`make bench-tracer`: what system-call tracers cost, this project's and others; writes docs/benchmarks.*.

A guest of its own with all of them is brought up, and is gone at the end whatever happens.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import date

from bench import report
from bench.figures import Run
from bench.harness import Laboratory, measure
from bench.lab import host
from bench.tracers import IMAGE, MEMORY, TRACERS
from kmodlab.guest import Guest
from kmodlab.guest.guest import guests_dir
from kmodlab.image.plan import planned
from kmodlab.process import interruptible, locked, say


def run(keys: list[str], repetitions: int) -> Run:
    """Measure tracers in a guest that is gone afterwards.

    Args:
        keys: of the tracers; all where there are none.
        repetitions: how often each.
    """
    chosen = [tracer for tracer in TRACERS if not keys or tracer.key in keys]
    with locked(guests_dir() / ".bench.lock", "another benchmark"):
        guest = Guest("bench-tracers")
        guest.down()
        try:
            guest.up(image=planned(IMAGE), memory=MEMORY)
            laboratory = Laboratory(guest)
            laboratory.prepare()
            rows = measure(laboratory, chosen, repetitions)
            kernel, accelerator = guest.image.kernel_version, guest.settings["accelerator"]
        finally:
            guest.down()
    about = host()
    qemu = f"{about['qemu']}, {accelerator}"
    return Run(date.today().isoformat(), about["processor"], qemu, kernel, repetitions, rows)


def main() -> None:
    """Measure, print the page's part, and write the documents."""
    interruptible()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=10, help="how often each tracer is measured")
    parser.add_argument("--quick", action="store_true", help="2 repetitions, and nothing is written")
    parser.add_argument("keys", nargs="*", metavar="TRACER", help=f"some of: {' '.join(t.key for t in TRACERS)}")
    arguments = parser.parse_args()
    result = run(arguments.keys, 2 if arguments.quick else arguments.repetitions)
    print(report.tracers(result))
    if arguments.quick or arguments.keys:
        say("nothing was written: only a whole run is")
    else:
        report.write("tracers", asdict(result))


if __name__ == "__main__":
    main()

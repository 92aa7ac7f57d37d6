"""The campaign: a guest of a sanitizer kernel, and one step after the other in it; after each the kernel is asked."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from kmodlab.errors import KmodlabError
from kmodlab.guest import Guest
from kmodlab.image.image import Image
from kmodlab.process import say
from kmodlab.sanitize.outcome import Outcome
from kmodlab.sanitize.room import Room
from kmodlab.sanitize.steps import Step

#: MiB: KASAN's shadow takes an eighth, its quarantine some more
MEMORY = 2048
#: after a step that broke
_TIDY = """
rm -f /run/calls /run/storm
echo 0 >/sys/module/syscall_tracer/parameters/enforce
pkill listen
rmmod task_lister syscall_tracer
true
"""
#: seconds that this may take: what died with a lock in its hand lets no module go
_TIDY_SECONDS = 120


def campaign(room: Room, steps: Sequence[Step], *, scan_once: bool = False) -> Iterator[Outcome]:
    """Take steps one after the other, and yield what each came to; one that breaks does not keep the next from it.

    A guest that answers no more has its last finding, and those steps are named that are not taken.

    Args:
        room: where.
        steps: which.
        scan_once: whether lost memory is looked for behind the last one alone: it takes longer than a short step.
    """
    for number, step in enumerate(steps, 1):
        say(f"{room.guest.name}: {step.name}: {step.what}")
        begun, broken = time.monotonic(), []
        counts: dict[str, int] = {}
        try:
            counts = step.act(room)
        except KmodlabError as error:
            broken = [_in_lines(error)]
        try:
            look = room.complaints if scan_once and number < len(steps) else room.findings
            found = (*broken, *look(step.expected))
            if broken:
                room.sh(f"{{ {_TIDY} }} 2>/dev/null", _TIDY_SECONDS)
        except KmodlabError as error:
            left = [each.name for each in steps[number:]]
            found = (*broken, _in_lines(error), *(f"not taken: {name}" for name in left))
            yield Outcome(step.name, round(time.monotonic() - begun, 1), counts, found)
            return
        yield Outcome(step.name, round(time.monotonic() - begun, 1), counts, found)


def _in_lines(error: KmodlabError) -> str:
    """Return what an error says, and the end of what was printed."""
    return "\n".join([error.message, *(error.output or "").splitlines()[-10:]])


def run_campaign(
    image: Image, steps: Sequence[Step], *, sources: Path | None = None, scan_once: bool = False
) -> list[Outcome]:
    """Take steps in a guest of a sanitizer kernel.

    Args:
        image: the kernel.
        steps: which.
        sources: of the modules; by default the project's.
        scan_once: as for `campaign`.

    Raises:
        LabError: it does not boot, or something is not built.
    """
    guest = Guest(image.release.name)
    try:
        guest.up(image=image, memory=MEMORY, cpus=2, cold=True)
        room = Room(guest, sources)
        with tempfile.TemporaryDirectory(prefix="kmodlab-sanitizer-") as work:
            room.furnish(Path(work))
        return list(campaign(room, steps, scan_once=scan_once))
    finally:
        guest.down()

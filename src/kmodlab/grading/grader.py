"""Grades with machines, on this host: what `grade` is given where it is no test of `grade` itself."""

from __future__ import annotations

from collections.abc import Callable

from kmodlab.errors import LabError
from kmodlab.grading.follow import Follow, unseen
from kmodlab.grading.grade import Grader
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab
from kmodlab.grading.result import GradingResult
from kmodlab.host import HOST, Host
from kmodlab.process import say

#: gives a grader, and the images that it uses: `make_grader`, or one that needs no machine
GraderFactory = Callable[..., tuple[Grader, str]]
#: MiB that QEMU takes beside a machine's memory
_BESIDE = 256


def make_grader(
    lab: Lab, jobs: int, *, keep: bool = False, seed: int | None = None, host: Host = HOST, follow: Follow = unseen
) -> tuple[Grader, str]:
    """Return a grader, and the name of the images that it uses, for the results' keys.

    Args:
        lab: whose limits its machines have.
        jobs: machines at a time.
        keep: leave the last machine up.
        seed: of what tests choose by chance; None: a new one for each submission.
        host: where they run.
        follow: gives who is told how an examination goes on.

    Raises:
        LabError: this host cannot grade: no sandbox, no memory, no room, no image and none that can be built.
    """
    # Not at the top: the command line starts without pytest and what else tests need.
    from kmodlab.grading import examine as examination  # noqa: PLC0415
    from kmodlab.grading import sandbox  # noqa: PLC0415
    from kmodlab.grading.machines import machines  # noqa: PLC0415
    from kmodlab.image.plan import planned  # noqa: PLC0415

    sandbox.require(host)
    _require_memory(lab.limits.memory, jobs, host)
    pool = machines(planned(lab.images[0]), jobs, lab.limits, host=host)

    def grader(submission: Submission) -> GradingResult:
        return examination.examine(submission, lab, pool, kept=keep, seed=seed, follow=follow)

    return grader, " ".join([pool.image.id, *(lab.images[1:] if lab.older_images else ())])


def _require_memory(memory: int, jobs: int, host: Host) -> None:
    available, needed = host.available_memory(), memory + _BESIDE
    if available < needed:
        words = f"there is not enough memory: a machine of this lab takes {needed} MiB, and {available} are available"
        raise LabError(words, hint="end other programs, or give the container more")
    if available < jobs * needed:
        say(f"{jobs} machines may take {jobs * needed} MiB, and {available} are available: fewer --jobs are safer")


def parallel(lab: Lab, host: Host = HOST) -> int:
    """Return how many machines of a lab a host can have at a time, by its processors, memory, and room to write."""
    from kmodlab.vm.room import slots_in_room  # noqa: PLC0415

    limits = lab.limits
    return slots_in_room(host.at_a_time(limits.memory + _BESIDE), limits.memory, limits.disk, host)

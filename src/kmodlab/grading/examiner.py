"""The examiner that has machines: what `grade` is given where it is no test of `grade` itself."""

from __future__ import annotations

import os
from pathlib import Path

from kmodlab.grading.grade import Examine
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab
from kmodlab.grading.result import Result


def examiner(lab: Lab, jobs: int, *, keep: bool = False) -> tuple[Examine, str]:
    """Return an examiner, and the name of the images that it uses, for the results' keys.

    Args:
        lab: whose limits its machines have.
        jobs: machines at a time.
        keep: leave the last machine up.

    Raises:
        LabError: there is no image, and none can be built.
    """
    # Not at the top: the command line starts without pytest and what else tests need.
    from kmodlab.grading import examine as examination  # noqa: PLC0415
    from kmodlab.grading.slot import Pool  # noqa: PLC0415

    limits = lab.limits
    pool = Pool(lab.images[0], jobs, memory=limits.memory, cpus=limits.processors, disk=limits.disk, log=limits.log)

    def examine(submission: Submission) -> Result:
        return examination.examine(submission, lab, pool, kept=keep)

    return examine, " ".join([pool.image.id, *(lab.images[1:] if lab.older_images else ())])


def parallel(lab: Lab) -> int:
    """Return how many machines this host can have at a time, by its processors and its free memory."""
    available = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) >> 10
    return max(1, min(os.cpu_count() or 1, available // (lab.limits.memory + 256)))

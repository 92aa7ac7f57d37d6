"""`make bench-grade`: how many submissions an hour are graded here; writes docs/benchmarks-grading.md.

A class as it may be: most hand in something that works, more or less; some do not compile; a few break their machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

from kmodlab.doctor import available_memory
from kmodlab.grading.examine import examine
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab
from kmodlab.grading.result import Result, Verdict
from kmodlab.grading.slot import Pool
from kmodlab.guest.accelerator import qemu_version
from kmodlab.paths import project_dir
from kmodlab.process import say

GRADING = project_dir() / "tests" / "grading"
#: of a hundred
CLASS = {
    "good": 45,
    "fake-answer": 12,
    "forged-pass": 10,
    "does-not-compile": 8,
    "old-kernel": 5,
    "proc-entry-left": 6,
    "load-error": 4,
    "oops-in-read": 4,
    "panic-at-load": 3,
    "double-free": 1,
    "deadlock": 1,
    "soft-lockup": 1,
}
#: verdicts whose cost is mostly a time limit or a machine that is lost
SLOW = (Verdict.HANG, Verdict.PANIC)
#: phases that are not the grader's own
WORK = ("build", "tests")


def submissions(work: Path, share: float) -> list[Submission]:
    """Return a class, well mixed and always in the same order."""
    good = work / "good"
    subprocess.run([sys.executable, GRADING / "good.py", good], check=True)
    files = {name: good if name == "good" else GRADING / "submissions" / name for name in CLASS}
    turns = [(at / count, name) for name, count in CLASS.items() for at in range(max(1, round(count * share)))]
    return [Submission(f"{number}", name, files[name], digest=name) for number, (_, name) in enumerate(sorted(turns))]


def grade(found: list[Submission], jobs: int) -> tuple[float, list[tuple[Result, float]]]:
    """Grade a class, and return the seconds it took, and each result with its own."""
    lab = Lab.load(GRADING / "lab")
    pool = Pool("auto", jobs, memory=lab.limits.memory, cpus=lab.limits.processors, disk=lab.limits.disk)
    say(f"the template is in {pool.template.directory}")

    def one(submission: Submission) -> tuple[Result, float]:
        begun = time.monotonic()
        result = examine(submission, lab, pool)
        say(f"{submission.name}: {result.verdict} in {time.monotonic() - begun:.1f} s")
        return result, time.monotonic() - begun

    begun = time.monotonic()
    with ThreadPoolExecutor(jobs) as threads:
        graded = list(threads.map(one, found))
    return time.monotonic() - begun, graded


def overhead(result: Result, seconds: float) -> float:
    """What grading took beside compiling and the tests."""
    return seconds - sum(result.phases.get(phase, 0) for phase in WORK)


def page(total: float, graded: list[tuple[Result, float]], jobs: int) -> str:
    """Return the page."""
    quick = [(result, seconds) for result, seconds in graded if result.verdict not in SLOW]
    hour = 3600 * len(graded) / total
    quick_hour = 3600 * jobs * len(quick) / sum(seconds for _, seconds in quick)
    tested = [overhead(result, seconds) for result, seconds in quick if "tests" in result.phases]
    rows = "\n".join(f"| {row} |" for row in phases(graded))
    verdicts = ", ".join(f"{count} {name}" for name, count in Counter(str(r.verdict) for r, _ in graded).most_common())
    return f"""# How fast a class is graded

Written by `make bench-grade` on {date.today().isoformat()}: {os.cpu_count()} processors, {jobs} machines at a time,
{qemu_version()}.

| what | measured | aim |
|---|---|---|
| submissions an hour, all {len(graded)} ({verdicts}) | {hour:,.0f} | |
| submissions an hour, of those that neither hang nor panic | {quick_hour:,.0f} | 1,000 |
| seconds a submission beside compiling and the tests, median | {sorted(tested)[len(tested) // 2]:.1f} | 2 |

| phase | seconds, median | share of the time |
|---|---|---|
{rows}
"""


def phases(graded: Iterable[tuple[Result, float]]) -> list[str]:
    """Return a row for each phase: its median, and its share of all time."""
    graded = list(graded)
    total = sum(seconds for _, seconds in graded)
    rows = []
    for phase in ("build", "slot", "load", "tests", "unload"):
        times = sorted(result.phases[phase] for result, _ in graded if phase in result.phases)
        rows.append(f"{phase} | {times[len(times) // 2]:.2f} | {100 * sum(times) / total:.0f} %")
    rest = total - sum(sum(result.phases.values()) for result, _ in graded)
    return [*rows, f"the rest | {rest / len(graded):.2f} | {100 * rest / total:.0f} %"]


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, max(1, available_memory() // 1024)))
    parser.add_argument("--share", type=float, default=1.0, help="of the hundred submissions, for a quick look")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        total, graded = grade(submissions(Path(temporary), options.share), options.jobs)
    text = page(total, graded, options.jobs)
    print(text)
    if options.share == 1:
        (project_dir() / "docs" / "benchmarks-grading.md").write_text(text)


if __name__ == "__main__":
    main()

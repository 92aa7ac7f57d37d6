"""`make bench-grade`: how many submissions an hour are graded here; writes docs/benchmarks-grading.md.

Classes as they may be: most hand in something that works, more or less; some do not compile; a few break their machine.
One is of the fixtures' small lab, to see what the grader itself takes; two are of the labs that instructors give.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from statistics import median

from kmodlab.errors import LabError
from kmodlab.grading.examine import examine
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab
from kmodlab.grading.machines import machines
from kmodlab.grading.result import GradingResult, Verdict
from kmodlab.grading.self_check import own_submissions
from kmodlab.host import HOST
from kmodlab.image.plan import planned
from kmodlab.paths import project_dir
from kmodlab.process import say
from kmodlab.vm.accelerator import qemu_version
from kmodlab.vm.pool import Pool
from kmodlab.vm.room import room, runtime_dir

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
#: of twenty, in the labs of the two modules: the labs' own, see `own_submissions`
CLASSES = {
    "task_lister": {
        "solution": 8,
        "starter": 2,
        "deviation-no-banner": 2,
        "deviation-other-keys": 2,
        "deviation-one-row-dropped": 2,
        "deviation-no-task-tree": 2,
        "deviation-cannot-unload": 1,
        "deviation-oops-in-detail": 1,
    },
    "syscall_tracer": {
        "solution": 8,
        "starter": 2,
        "deviation-no-banner": 2,
        "deviation-total-off-by-one": 2,
        "deviation-unlink-not-recorded": 2,
        "deviation-never-blocked": 2,
        "deviation-cannot-unload": 1,
        "deviation-oops-in-reading": 1,
    },
}
#: a line with the verdict of one
_RESULT = re.compile(r"\s*1/\d+  \S+ ")
#: verdicts whose cost is mostly a time limit or a machine that is lost
SLOW = (Verdict.HANG, Verdict.PANIC)
PHASES = ("build", "slot", "load", "tests", "unload")
#: phases that are not the grader's own
WORK = ("build", "tests")


def mixed(counts: Mapping[str, int], share: float) -> list[str]:
    """Return names, each as often as it is to come: evenly, and those of which there is one apart from each other."""
    turns = [
        ((at + (place + 0.5) / len(counts)) / count, name)
        for place, (name, count) in enumerate(counts.items())
        for at in range(max(1, round(count * share)))
    ]
    return [name for _, name in sorted(turns)]


def submissions(work: Path, share: float) -> list[Submission]:
    """Return the class of the small lab, well mixed and always in the same order."""
    good = work / "good"
    subprocess.run([sys.executable, GRADING / "good.py", good], check=True)
    files = {name: good if name == "good" else GRADING / "submissions" / name for name in CLASS}
    names = mixed(CLASS, share)
    return [Submission(f"{number}", name, files[name], digest=name) for number, name in enumerate(names)]


def big_class(lab: Lab, work: Path, share: float) -> list[Submission]:
    """Return the class of a module's lab, likewise."""
    known = {one.name: one for one in own_submissions(lab, work)}
    return [replace(known[name], student=f"{at}") for at, name in enumerate(mixed(CLASSES[lab.name], share))]


@dataclass(frozen=True)
class Graded:
    """A submission that was graded.

    Attributes:
        result: what it came to.
        began: seconds since the class's work began.
        ended: likewise.
    """

    result: GradingResult
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began

    @property
    def slow(self) -> bool:
        """Whether its cost is mostly a time limit, or a machine that is lost."""
        return self.result.verdict in SLOW

    @property
    def overhead(self) -> float:
        """What grading took beside compiling and the tests."""
        return self.seconds - sum(self.result.phases.get(phase, 0) for phase in WORK)

    def beside(self, others: Iterable[Graded]) -> bool:
        """Whether one of the others was under way at the same time."""
        return any(other.began < self.ended and self.began < other.ended for other in others if other is not self)


class Memory:
    """Watches how much memory the machines of a runtime directory take, while a `with` block lasts."""

    def __init__(self, runtime: Path) -> None:
        self.most = 0
        """MiB that one machine had at most: what QEMU had mapped and used, and what it wrote into files in memory."""
        self._runtime = runtime
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.3):
            for pid in self._runtime.glob("slot-*/pid"):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    status = Path(f"/proc/{int(pid.read_text())}/status").read_text()
                    resident = int(status.partition("VmHWM:")[2].split()[0]) >> 10
                    files = sum(file.stat().st_blocks * 512 for file in pid.parent.iterdir()) >> 20
                    self.most = max(self.most, resident + files)


def grade(found: list[Submission], lab: Lab, pool: Pool) -> list[Graded]:
    """Grade a class, as many at a time as the pool has machines."""

    def one(submission: Submission) -> Graded:
        started = time.monotonic() - begun
        result = examine(submission, lab, pool)
        graded = Graded(result, started, time.monotonic() - begun)
        say(f"{submission.name}: {result.verdict} in {graded.seconds:.1f} s")
        return graded

    begun = time.monotonic()
    with ThreadPoolExecutor(pool.slots) as threads:
        return list(threads.map(one, found))


def first_result(lab: Lab, found: Sequence[Submission], work: Path) -> float:
    """Return the seconds from `kmodlab grade` to the first verdict on the screen; the grading then ends."""
    for at, one in enumerate(found):
        shutil.copytree(one.files, work / "class" / f"student{at:02}")
    words: list[str | Path] = [
        Path(sys.executable).with_name("kmodlab"),
        "grade",
        lab.folder,
        work / "class",
        "--out",
        work / "out",
    ]
    begun = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        said = ""
        for line in process.stdout:
            said += line
            if _RESULT.match(line):
                break
        else:
            raise LabError("`kmodlab grade` came to no verdict", output=said)
        taken = time.monotonic() - begun
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    return taken


@dataclass(frozen=True)
class Big:
    """A class of a module's lab.

    Attributes:
        name: of the lab.
        graded: all of the class.
        first: seconds from the command to the first verdict.
    """

    name: str
    graded: Sequence[Graded]
    first: float

    def median(self, phase: str = "") -> float:
        """Return the median seconds of those that pass, in all or of one phase."""
        good = [one for one in self.graded if one.result.verdict is Verdict.PASS]
        return median(one.result.phases.get(phase, 0) if phase else one.seconds for one in good)

    @property
    def hour(self) -> float:
        """How many an hour."""
        return 3600 * len(self.graded) / max(one.ended for one in self.graded)


def big_table(bigs: Sequence[Big]) -> str:
    """Return the table of the big labs."""
    rows = [
        ("submissions an hour", [f"{one.hour:,.0f}" for one in bigs], "500"),
        ("seconds of one that passes, median", [f"{one.median():.1f}" for one in bigs], "12"),
        *((f"of these: {phase}", [f"{one.median(phase):.1f}" for one in bigs], "") for phase in PHASES),
        ("seconds to the first verdict on the screen", [f"{one.first:.0f}" for one in bigs], "30"),
    ]
    lines = [f"| {what} | {' | '.join(cells)} | {aim} |" for what, cells, aim in rows]
    names = " | ".join(f"`{one.name}`" for one in bigs)
    return "\n".join([f"| what | {names} | aim |", f"|---|{'---|' * len(bigs)}---|", *lines])


def page(graded: list[Graded], bigs: Sequence[Big], jobs: int, memory: int) -> str:
    """Return the page.

    Args:
        graded: all of the class of the small lab.
        bigs: the classes of the modules' labs.
        jobs: machines at a time.
        memory: MiB that one took at most.
    """
    quick = [one for one in graded if not one.slow]
    hour = 3600 * len(graded) / max(one.ended for one in graded)
    quick_hour = 3600 * jobs * len(quick) / sum(one.seconds for one in quick)
    tested = [one.overhead for one in quick if "tests" in one.result.phases]
    rows = "\n".join(f"| {row} |" for row in phases(graded))
    count = Counter(str(one.result.verdict) for one in graded)
    verdicts = ", ".join(f"{number} {name}" for name, number in count.most_common())
    return f"""# How fast a class is graded

Written by `make bench-grade` on {date.today().isoformat()}: {HOST.processors()} processors, {jobs} machines at a time,
{qemu_version()}.

## The labs of the two modules

Classes of {len(bigs[0].graded)}: the solution, the starter, and the solution with one fault or another.

{big_table(bigs)}

## What the grader itself takes

A class of {len(graded)} in a small lab, whose tests take a second.

| what | measured | aim |
|---|---|---|
| submissions an hour, all {len(graded)} ({verdicts}) | {hour:,.0f} | |
| submissions an hour, of those that neither hang nor panic | {quick_hour:,.0f} | 1,000 |
| seconds a submission beside compiling and the tests, median | {median(tested):.1f} | 2 |
| MiB of memory a machine at most, the template's that all share counted for each | {memory:,} | 1,024 |
{neighbours(graded)}

| phase | seconds, median | share of the time | share, without those that hang or panic |
|---|---|---|---|
{rows}
"""


def neighbours(graded: Iterable[Graded]) -> str:
    """Return the rows on those that hang or panic: what they cost, and what they cost the others."""
    graded = list(graded)
    slow = [one for one in graded if one.slow]
    good = [one for one in graded if one.result.verdict is Verdict.PASS]
    beside, apart = ([one.seconds for one in good if one.beside(slow) is there] for there in (True, False))
    longest = max(slow, key=lambda one: one.seconds)
    limits = Lab.load(GRADING / "lab").limits
    times = f"{median(beside):.1f}, else {median(apart):.1f}" if beside and apart else "there was none"
    return (
        f"| seconds of the slowest, `{longest.result.submission}`, with a limit of {limits.test:g} for each test "
        f"| {longest.seconds:.0f} | |\n"
        f"| seconds of one that passes while another hangs or panics, median | {times} | no difference |"
    )


def phases(graded: Iterable[Graded]) -> list[str]:
    """Return a row for each phase: its median, and its share of all time, and of the time of the quick ones."""
    graded = list(graded)
    quick = [one for one in graded if not one.slow]
    rows = []
    for phase in (*PHASES, "the rest"):
        times = [value for one in quick if (value := spent(one, phase)) is not None]
        rows.append(f"{phase} | {median(times):.2f} | {share(graded, phase)} | {share(quick, phase)}")
    return rows


def spent(one: Graded, phase: str) -> float | None:
    """Return the seconds of a phase, or nothing where there was none."""
    if phase == "the rest":
        return one.seconds - sum(one.result.phases.values())
    return one.result.phases.get(phase)


def share(graded: Iterable[Graded], phase: str) -> str:
    """Return the part of all time that a phase took."""
    graded = list(graded)
    return f"{100 * sum(spent(one, phase) or 0 for one in graded) / sum(one.seconds for one in graded):.0f} %"


@contextlib.contextmanager
def pool_for(lab: Lab, jobs: int) -> Iterator[tuple[Pool, Path]]:
    """Yield machines for a lab, and the runtime directory in which they are."""
    limits = lab.limits
    runtime = runtime_dir(room(jobs, limits.memory, limits.disk)) / f"bench-{os.getpid()}"
    pool = machines(planned("auto"), jobs, limits, directory=runtime)
    say(f"the template is in {pool.template.directory}")
    try:
        yield pool, runtime
    finally:
        shutil.rmtree(runtime, ignore_errors=True)


def measure_big(name: str, options: argparse.Namespace) -> Big:
    """Grade the class of a module's lab, after the first verdict of the command has been waited for."""
    lab = Lab.load(project_dir() / "labs" / name)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        found = big_class(lab, work / "own", options.share)
        first = first_result(lab, found, work)
        with pool_for(lab, options.jobs) as (pool, _):
            return Big(name, grade(found, lab, pool), first)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=HOST.at_a_time(1024))
    parser.add_argument("--share", type=float, default=1.0, help="of the submissions, for a quick look")
    options = parser.parse_args()
    bigs = [measure_big(name, options) for name in CLASSES]
    lab = Lab.load(GRADING / "lab")
    with (
        tempfile.TemporaryDirectory() as temporary,
        pool_for(lab, options.jobs) as (pool, runtime),
        Memory(runtime) as memory,
    ):
        graded = grade(submissions(Path(temporary), options.share), lab, pool)
    text = page(graded, bigs, options.jobs, memory.most)
    print(text)
    if options.share == 1:
        (project_dir() / "docs" / "benchmarks-grading.md").write_text(text)


if __name__ == "__main__":
    main()

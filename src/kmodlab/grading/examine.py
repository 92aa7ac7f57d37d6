"""Examining one submission: build it in the sandbox, load and test it in throw-away machines, say what it came to."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from kmodlab.errors import KmodlabError, LabError
from kmodlab.grading import sandbox
from kmodlab.grading.choice import chosen, left_out
from kmodlab.grading.follow import Follow, Follower, Phase, Unseen, unseen
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab, Test
from kmodlab.grading.result import GradingResult, TestResult, Verdict, key_of
from kmodlab.grading.sandbox import Build, BuildLimits
from kmodlab.grading.session import Progress, Session
from kmodlab.grading.verdict import Finding, worst
from kmodlab.image.image import Image
from kmodlab.image.plan import planned
from kmodlab.process import say
from kmodlab.vm.pool import Pool, Slot

#: machines for one submission where the lab itself breaks
ATTEMPTS = 3
#: machines that one submission may break; then the tests that are left count as not run
_CRASHES = 4
#: seeds are numbers that people can type
_SEEDS = 10**9
#: tests that failed, of which the reason names so many
_NAMED = 4


@dataclass
class Record:
    """What is gathered while a submission is examined."""

    seed: int
    image: str = ""
    build_log: str = ""
    build_notes: tuple[str, ...] = ()
    console: str = ""
    phases: dict[str, float] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    follower: Follower = field(default_factory=Unseen)

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Say that a phase begins, and add the time that a block takes to it."""
        self.follower.phase(name)
        begun = time.monotonic()
        try:
            yield
        finally:
            self.phases[name] = round(self.phases.get(name, 0) + time.monotonic() - begun, 3)

    def heard(self, slot: Slot, log: int) -> None:
        """Keep the last of a machine's console."""
        self.console = slot.console.text[-(log << 10) :]


@dataclass(frozen=True)
class Job:
    """A submission that is examined, and with what.

    Attributes:
        submission: without problems.
        lab: whose tests it has to pass.
        pool: of the image that it is built for.
        kept: leave the last machine running.
        work: a folder for what is made meanwhile.
        record: takes what is seen.
        steps: by which it is examined.
    """

    submission: Submission
    lab: Lab
    pool: Pool
    kept: bool
    work: Path
    record: Record
    steps: Steps


def built(job: Job, image: Image, output: Path) -> Build:
    """Build a submission for an image, in the sandbox.

    Args:
        job: whose submission it is.
        image: for whose kernel.
        output: a directory for the modules, which is made.
    """
    output.mkdir()
    lab, submission = job.lab, job.submission
    limits = BuildLimits(seconds=lab.limits.build, disk=lab.limits.disk, log=lab.limits.log)
    return sandbox.build(submission.files, image, output, place=submission.place, how=lab.build, limits=limits)


def tried(job: Job, modules: list[Path], left: list[Test]) -> bool:
    """Load modules, test and unload them in one machine; return whether it crashed with tests of another one's to do.

    Args:
        job: what it is done for, and what has the machine.
        modules: to load, in this order.
        left: the tests to run.

    Raises:
        LabError: the lab itself broke.
    """
    begun, lab, record = time.monotonic(), job.lab, job.record
    record.follower.phase("slot")
    with job.pool.slot(kept=job.kept) as slot:
        record.follower.machine(slot.console)
        record.phases["slot"] = round(record.phases.get("slot", 0) + time.monotonic() - begun, 3)
        record.progress.begin(lab.limits.total)
        session = Session(slot, lab, modules, job.work / "pytest.log", record.follower)
        try:
            again = _phases(session, left, record)
        finally:
            record.heard(slot, lab.limits.log)
        if job.kept and (number := slot.qemu.pid):
            reach = f"ssh -F {slot.directory / 'ssh_config'} {slot.directory.name}"
            say(f"the machine is left up: {reach}; to end it: kill {number}")
        if session.finding:
            record.progress.findings.append(session.finding)
        return again


@dataclass(frozen=True)
class Steps:
    """The steps of an examination that run what a student has written: see `built` and `tried`."""

    build: Callable[[Job, Image, Path], Build] = built
    run: Callable[[Job, list[Path], list[Test]], bool] = tried


STEPS = Steps()


def examine(
    submission: Submission,
    lab: Lab,
    pool: Pool,
    *,
    kept: bool = False,
    seed: int | None = None,
    steps: Steps = STEPS,
    follow: Follow = unseen,
) -> GradingResult:
    """Return what a submission came to; no submission makes this raise.

    Args:
        submission: one that can be graded; one with problems comes to a build error.
        lab: whose tests it has to pass.
        pool: of the lab's newest image; `pool.on` gives those of the others.
        kept: leave the last machine running, for someone to look at.
        seed: of what the tests choose by chance, to have them choose the same again; None: one that nobody knows.
        steps: build a submission, and try what came of it.
        follow: gives who is told how it goes on.
    """
    record = Record(secrets.randbelow(_SEEDS) if seed is None else seed, follower=follow(submission))
    try:
        if submission.problems:
            return _result(submission, lab, record, Finding(Verdict.BUILD_ERROR, submission.problems[0]))
        with tempfile.TemporaryDirectory(prefix="kmodlab-grade-") as temporary:
            job = Job(submission, lab, pool, kept, Path(temporary), record, steps)
            with record.phase("build"):
                build, pool = _build(job)
            if not build.ok:
                return _result(submission, lab, record, Finding(Verdict.BUILD_ERROR, build.reason))
            modules = chosen(build.modules, submission.files / submission.place, lab)
            record.build_notes = (*build.notes, *left_out(build.modules, modules))
            return _try(replace(job, pool=pool), modules)
    except KmodlabError as error:
        return _result(submission, lab, record, Finding(Verdict.INFRA_ERROR, str(error)))


def _build(job: Job) -> tuple[Build, Pool]:
    """Build on the newest image, or on the first older one on which it builds, where the lab allows that.

    Return what came of it, and the machines of that image.
    """
    lab, record, newest = job.lab, job.record, Build(False, "")
    for number, name in enumerate(lab.images if lab.older_images else lab.images[:1]):
        here = job.pool.on(planned(name)) if number else job.pool
        if number and here.image == job.pool.image:
            continue
        build = job.steps.build(job, here.image, job.work / f"modules-{number}")
        if build.ok or not number:
            record.build_log, record.image = build.log, here.image.id
            newest = build
        if build.ok:
            return build, here
    return newest, job.pool


def _try(job: Job, modules: list[Path]) -> GradingResult:
    """Load and test, on fresh machines again where the lab itself broke."""
    submission, lab, record = job.submission, job.lab, job.record
    for attempt in range(1, ATTEMPTS + 1):
        record.progress = Progress(seed=record.seed)
        try:
            _machines(job, modules)
        except LabError as error:
            if attempt == ATTEMPTS:
                finding = Finding(Verdict.INFRA_ERROR, f"not graded, the lab itself broke: {error.message}")
                record.console = record.console or str(error)
                return _result(submission, lab, record, finding, attempts=attempt)
            continue
        # The tests could not work with the machine, or one broke: it may be chance, and does not happen on a fresh one.
        if attempt == 1 and _unsure(record.progress):
            continue
        return _result(submission, lab, record, worst(record.progress.findings), attempts=attempt)
    raise AssertionError("the last attempt returns")


def _unsure(progress: Progress) -> bool:
    """Whether a test could not work with a machine that shows no trouble, or broke itself."""
    if any(test.outcome == "infra-error" for test in progress.results.values()):
        return True
    return bool(progress.broken) and not progress.findings


def _machines(job: Job, modules: list[Path]) -> None:
    """Run the tests in one machine, and those after a crash in the next, where the lab says so and time is left."""
    progress = job.record.progress
    for machine in range(1, _CRASHES + 1):
        left = _left(job.lab, progress)
        if progress.findings and not left:
            return
        crashed = job.steps.run(job, modules, left)
        if not crashed:
            return
        progress.not_run = _why_no_other(job.lab, progress, machine)
        if progress.not_run:
            return


def _left(lab: Lab, progress: Progress) -> list[Test]:
    """Return the tests to run: last those that look at what has broken a machine already, for they may break the next.

    So that one file which cannot be read leaves machines for the tests of all others.
    """
    broke = {test.group for test in lab.tests if test.id in progress.crashed} - {""}
    left = [test for test in lab.tests if test.id not in progress.results]
    return sorted(left, key=lambda test: test.group in broke)


def _why_no_other(lab: Lab, progress: Progress, machines: int) -> str:
    """Return why the tests after a crash get no fresh machine; empty where they do."""
    if not lab.fresh_vm_after_crash:
        return "not run: the machine broke in a test before this one"
    if not progress.remaining:
        return f"not run: the {lab.limits.total:g} s that this lab gives a submission were over"
    if machines == _CRASHES:
        return f"not run: tests before this one broke {machines} machines, and there is no other"
    return ""


def _phases(session: Session, left: list[Test], record: Record) -> bool:
    with record.phase("load"):
        if not session.load():
            return False
    with record.phase("tests"):
        session.test(left, record.progress)
    if session.finding and session.finding.crashed:
        return True
    with record.phase("unload"):
        session.unload()
    return False


def _result(
    submission: Submission, lab: Lab, record: Record, finding: Finding | None, *, attempts: int = 1
) -> GradingResult:
    progress = record.progress
    tests = tuple(progress.results.get(t.id) or t.result("not-run", seen=progress.not_run) for t in lab.tests)
    verdict, reason = _verdict(tests, finding)
    return GradingResult(
        key=key_of(submission.digest, lab.digest, record.image),
        student=submission.student,
        submission=submission.name,
        lab=lab.name,
        image=record.image,
        verdict=verdict,
        reason=reason,
        tests=tests,
        build_log=record.build_log,
        console=record.console,
        oops=finding.trouble.text if finding and finding.trouble else "",
        phases=record.phases,
        attempts=attempts,
        graded_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        late=submission.late,
        penalty=lab.late.penalty if submission.late else 0.0,
        notes=(*submission.notes, *record.build_notes),
        build_notes=record.build_notes,
        form=submission.form,
        seed=record.seed,
    )


def _verdict(tests: tuple[TestResult, ...], finding: Finding | None) -> tuple[Verdict, str]:
    if broken := [test.id for test in tests if test.outcome == "infra-error"]:
        return Verdict.INFRA_ERROR, _undecided(tests, broken)
    if finding:
        return finding.verdict, finding.reason
    core, bonus = ([test for test in tests if test.bonus is one] for one in (False, True))
    bad = [test for test in core if test.outcome != "passed"]
    if bad:
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        named = ", ".join(test.id for test in bad[:_NAMED])
        return Verdict.FAIL, f"{len(bad)} of {len(core)} tests failed: {named}{more}"
    passed = sum(test.outcome == "passed" for test in bonus)
    return Verdict.PASS, f"all {len(core)} tests passed" + (
        f", and {passed} of {len(bonus)} for bonus" if bonus else ""
    )


def _undecided(tests: tuple[TestResult, ...], broken: list[str]) -> str:
    """Return why there is no grade: what the lab's own tests broke off may be worth points."""
    named = ", ".join(f"the test {name}" for name in broken[:4])
    rest = [test for test in tests if test.outcome != "infra-error" and not test.bonus]
    earned, most = sum(test.earned for test in rest), sum(test.points for test in rest)
    return f"not graded, the lab itself broke in {named}; the others came to {earned:g} of {most:g} points"

"""What an examination makes of machines that break, for whatever reason: no VM here, the machines are stand-ins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kmodlab.errors import LabError
from kmodlab.grading import examine as examination
from kmodlab.grading.follow import Follow, Follower, Unseen, unseen
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab, Test
from kmodlab.grading.result import GradingResult, Verdict
from kmodlab.grading.sandbox import Build
from kmodlab.grading.verdict import Finding
from kmodlab.paths import project_dir

LAB = Lab.load(project_dir() / "tests" / "grading" / "lab")
#: what stands in for one machine: gets the tests that are left and the record; returns whether it crashed
Machine = Callable[[list[Test], Any], bool]


class _Image:
    id = "image-1"


class _Pool:
    image = _Image()


def passes(left: list[Test], record: Any) -> bool:
    """Every test passes."""
    for test in left:
        record.progress.results[test.id] = test.result("passed", test.points)
    return False


def breaks(_left: list[Test], _record: Any) -> bool:
    """The lab itself breaks."""
    raise LabError("QEMU was killed")


def crashes(left: list[Test], record: Any) -> bool:
    """The first test passes, the second one panics."""
    passes(left[:1], record)
    record.progress.results[left[1].id] = left[1].result("crashed")
    record.progress.findings.append(Finding(Verdict.PANIC, "it panicked"))
    return True


def is_lost(left: list[Test], record: Any) -> bool:
    """The machine could not be worked with, and shows no trouble."""
    for test in left:
        record.progress.results[test.id] = test.result("failed")
    record.progress.broken = "ssh said no"
    return False


def has_a_broken_test(left: list[Test], record: Any) -> bool:
    """All tests pass but one, which breaks itself."""
    passes(left, record)
    broken = left[2].result("infra-error", seen="it broke", fault="test_lister.py:9: KeyError: 'PID'")
    record.progress.results[left[2].id] = broken
    return False


@pytest.fixture
def examine(tmp_path: Path) -> Callable[..., GradingResult]:
    """Examine a submission in these machines, one after the other."""

    def run(
        *machines: Machine,
        build: Build | None = None,
        lab: Lab = LAB,
        problems: tuple[str, ...] = (),
        seed: int | None = None,
        follow: Follow = unseen,
    ) -> GradingResult:
        waiting = list(machines)

        built = build or Build(True, "CC", (tmp_path / "task_lister.ko",))
        steps = examination.Steps(
            build=lambda _job, _image, _output: built,
            run=lambda job, _modules, left: waiting.pop(0)(left, job.record),
        )
        submission = Submission("ada", "ada.zip", tmp_path, problems=problems)
        result = examination.examine(submission, lab, _Pool(), seed=seed, steps=steps, follow=follow)  # type: ignore[arg-type]
        assert not waiting, "fewer machines were used"
        return result

    return run


def test_all_passed_is_a_pass(examine: Callable[..., GradingResult]) -> None:
    result = examine(passes)
    assert (result.verdict, result.score, result.attempts) == (Verdict.PASS, 100, 1)
    assert result.image == "image-1"


def test_a_fault_of_the_lab_is_tried_again_and_forgotten(examine: Callable[..., GradingResult]) -> None:
    result = examine(breaks, breaks, passes)
    assert (result.verdict, result.score, result.attempts) == (Verdict.PASS, 100, 3)


def test_a_fault_that_persists_is_no_zero(examine: Callable[..., GradingResult]) -> None:
    result = examine(breaks, breaks, breaks)
    assert result.verdict is Verdict.INFRA_ERROR
    assert result.score is None
    assert "QEMU was killed" in result.reason


def test_points_are_kept_up_to_a_crash_and_the_rest_has_a_fresh_machine(examine: Callable[..., GradingResult]) -> None:
    result = examine(crashes, passes)
    assert [test.outcome for test in result.tests] == ["passed", "crashed", "passed", "passed"]
    assert (result.verdict, result.score) == (Verdict.PANIC, 80)


def with_tests(**changes: dict[str, Any]) -> Lab:
    """Return the lab with some of its tests changed, by their ids."""
    tests = tuple(test.model_copy(update=changes.get(test.id, {})) for test in LAB.tests)
    return LAB.model_copy(update={"tests": tests})


def test_after_a_crash_the_tests_of_its_group_come_last(examine: Callable[..., GradingResult]) -> None:
    """Those that look at what has broken a machine may break the next one, and the others are not to pay for it."""
    orders: list[list[str]] = []

    def noted(machine: Machine) -> Machine:
        def run(left: list[Test], record: Any) -> bool:
            orders.append([test.id for test in left])
            return machine(left, record)

        return run

    lab = with_tests(read={"group": "list"}, listed={"group": "list"}, total={"group": "other"})
    examine(noted(crashes), noted(passes), lab=lab)
    assert orders == [["loaded", "read", "listed", "total"], ["total", "listed"]]


def test_a_pass_needs_the_core_alone(examine: Callable[..., GradingResult]) -> None:
    lab = with_tests(listed={"bonus": True}, total={"bonus": True})

    def core(left: list[Test], record: Any) -> bool:
        passes(left[:-1], record)
        record.progress.results["total"] = left[-1].result("failed")
        return False

    result = examine(core, lab=lab)
    assert (result.verdict, result.score, result.max_score) == (Verdict.PASS, 30, 30)
    assert result.reason == "all 2 tests passed, and 1 of 2 for bonus"


def test_without_a_fresh_machine_the_rest_is_not_run(examine: Callable[..., GradingResult]) -> None:
    result = examine(crashes, lab=LAB.model_copy(update={"fresh_vm_after_crash": False}))
    assert [test.outcome for test in result.tests] == ["passed", "crashed", "not-run", "not-run"]
    assert (result.verdict, result.score) == (Verdict.PANIC, 10)
    assert result.tests[3].seen == "not run: the machine broke in a test before this one"


def test_when_the_time_of_a_submission_is_over_there_is_no_fresh_machine(examine: Callable[..., GradingResult]) -> None:
    """Points and verdict stay, and what was not run says why."""

    def hangs_long(left: list[Test], record: Any) -> bool:
        record.progress.begin(0)
        passes(left[:1], record)
        record.progress.results[left[1].id] = left[1].result("crashed")
        record.progress.findings.append(Finding(Verdict.HANG, "it hangs"))
        return True

    lab = LAB.model_copy(update={"limits": LAB.limits.model_copy(update={"total": 45.0})})
    result = examine(hangs_long, lab=lab)
    assert [test.outcome for test in result.tests] == ["passed", "crashed", "not-run", "not-run"]
    assert (result.verdict, result.reason, result.score) == (Verdict.HANG, "it hangs", 10)
    assert [test.seen for test in result.tests[2:]] == [
        "not run: the 45 s that this lab gives a submission were over"
    ] * 2


def test_the_time_of_a_submission_begins_anew_where_the_lab_broke(examine: Callable[..., GradingResult]) -> None:
    def breaks_late(_left: list[Test], record: Any) -> bool:
        record.progress.begin(0)
        raise LabError("QEMU was killed")

    assert examine(breaks_late, crashes, passes).score == 80


def test_no_submission_breaks_machines_without_end(examine: Callable[..., GradingResult]) -> None:
    tests = tuple(LAB.tests[0].model_copy(update={"id": f"t{number}"}) for number in range(9))
    result = examine(*[crashes] * 4, lab=LAB.model_copy(update={"tests": tests}))
    assert [test.outcome for test in result.tests] == ["passed", "crashed"] * 4 + ["not-run"]
    assert result.tests[-1].seen == "not run: tests before this one broke 4 machines, and there is no other"


def test_a_panic_is_never_a_pass_whatever_the_tests_say(examine: Callable[..., GradingResult]) -> None:
    def passes_and_panics(left: list[Test], record: Any) -> bool:
        passes(left, record)
        record.progress.findings.append(Finding(Verdict.PANIC, "it panicked"))
        return False

    assert examine(passes_and_panics).verdict is Verdict.PANIC


def test_a_machine_that_cannot_be_worked_with_is_tried_once_more(examine: Callable[..., GradingResult]) -> None:
    assert examine(is_lost, passes).verdict is Verdict.PASS
    again = examine(is_lost, is_lost)
    assert (again.verdict, again.attempts) == (Verdict.FAIL, 2)


def test_a_test_that_broke_is_tried_once_more_and_forgotten(examine: Callable[..., GradingResult]) -> None:
    result = examine(has_a_broken_test, passes)
    assert (result.verdict, result.score, result.attempts) == (Verdict.PASS, 100, 2)


def test_a_test_that_breaks_again_is_no_zero_and_no_grade(examine: Callable[..., GradingResult]) -> None:
    result = examine(has_a_broken_test, has_a_broken_test)
    assert (result.verdict, result.score) == (Verdict.INFRA_ERROR, None)
    wanted = "not graded, the lab itself broke in the test listed; the others came to 50 of 50 points"
    assert result.reason == wanted
    assert result.tests[2].fault == "test_lister.py:9: KeyError: 'PID'"


def test_a_broken_test_is_no_grade_where_the_machine_crashed_either(examine: Callable[..., GradingResult]) -> None:
    def breaks_and_crashes(left: list[Test], record: Any) -> bool:
        has_a_broken_test(left, record)
        record.progress.findings.append(Finding(Verdict.OOPS, "it oopsed"))
        return False

    assert examine(breaks_and_crashes, breaks_and_crashes).verdict is Verdict.INFRA_ERROR


def test_the_seed_is_told(examine: Callable[..., GradingResult]) -> None:
    """One that nobody knows, or the one that was asked for; and the tests get it."""
    seeds = []

    def notes(left: list[Test], record: Any) -> bool:
        seeds.append(record.progress.seed)
        return passes(left, record)

    results = [examine(notes), examine(notes), examine(notes, seed=7)]
    assert [result.seed for result in results] == seeds
    assert seeds[0] != seeds[1]
    assert seeds[2] == 7


def test_what_does_not_build_needs_no_machine(examine: Callable[..., GradingResult]) -> None:
    result = examine(build=Build(False, "a.c:1: error", reason="it does not compile"))
    assert (result.verdict, result.score, result.reason) == (Verdict.BUILD_ERROR, 0, "it does not compile")
    assert result.build_log == "a.c:1: error"
    refused = examine(problems=("a.zip has a path that leads out of it",))
    assert (refused.verdict, refused.reason) == (Verdict.BUILD_ERROR, "a.zip has a path that leads out of it")


def test_who_follows_is_told_of_each_phase(examine: Callable[..., GradingResult]) -> None:
    told: list[str] = []

    class Ears(Unseen):
        def phase(self, name: str) -> None:
            told.append(name)

    def follow(submission: Submission) -> Follower:
        told.append(submission.student)
        return Ears()

    def walks(left: list[Test], record: Any) -> bool:
        with record.phase("load"):
            pass
        return passes(left, record)

    examine(breaks, walks, follow=follow)
    assert told == ["ada", "build", "load"]

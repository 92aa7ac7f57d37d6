"""Grading with a grader that needs no machine: resumed, killed, raising, slow, and always in the same order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from patience import SECONDS

from kmodlab import paths
from kmodlab.errors import LabError
from kmodlab.grading.grade import Nobody, Order, grade, store_of
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab
from kmodlab.grading.result import GradingResult, Verdict
from kmodlab.grading.store import Store, write_whole
from kmodlab.paths import project_dir

from .grading_labs import load_lab
from .grading_results import one_result


def python(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, which finds these tests."""
    argv = [sys.executable, "-c", textwrap.dedent(code), *map(str, words)]
    path = os.pathsep.join(str(project_dir() / folder) for folder in ("src", "", "tests"))
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=env, timeout=SECONDS)


class MadeUp:
    """Gives every submission all points, and counts."""

    def __init__(self, lab: Lab, **verdicts: Callable[[], GradingResult]) -> None:
        self.lab = lab
        self.verdicts = verdicts
        self.seen: list[str] = []

    def __call__(self, submission: Submission) -> GradingResult:
        """Examine one."""
        self.seen.append(submission.student)
        if submission.student in self.verdicts:
            return self.verdicts[submission.student]()
        return self.good()

    def good(self) -> GradingResult:
        """Make a result with all points."""
        tests = tuple(test.result("passed", test.points) for test in self.lab.tests)
        return one_result(key="", verdict=Verdict.PASS, tests=tests, reason="All passed.", graded_at="")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return load_lab(tmp_path / "jiffies")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_of(tmp_path / "out")


def submission(student: str, **changes: Any) -> Submission:
    known: dict[str, Any] = {"student": student, "name": f"{student}.zip", "files": Path("/nowhere"), "digest": student}
    return Submission(**{**known, **changes})


CLASS = [submission(name) for name in ("ada", "bob", "eve")]


def test_results_come_in_the_order_of_submissions(lab: Lab, store: Store) -> None:
    """However long each takes: the first waits for the last."""
    last_is_done = threading.Event()
    grader = MadeUp(lab)

    def watched(one: Submission) -> GradingResult:
        if one.student == "ada":
            assert last_is_done.wait(20)
        elif one.student == "eve":
            last_is_done.set()
        return grader(one)

    results = grade(CLASS, Order(lab, "debian-12", jobs=3), watched, store)
    assert [result.student for result in results] == ["ada", "bob", "eve"]
    assert {result.score for result in results} == {10.0}
    assert len({result.key for result in results}) == 3
    assert all(result.graded_at for result in results)


def test_no_more_than_so_many_at_a_time(lab: Lab, store: Store) -> None:
    grader, running, most, lock = MadeUp(lab), 0, 0, threading.Lock()
    both = threading.Barrier(2)

    def watched(one: Submission) -> GradingResult:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait(20)  # there are two at once, or this breaks
        with lock:
            running -= 1
        return grader(one)

    grade([submission(str(n)) for n in range(6)], Order(lab, "i", jobs=2), watched, store)
    assert most == 2


def test_what_has_a_result_is_not_graded_again(lab: Lab, store: Store) -> None:
    grader, order = MadeUp(lab), Order(lab, "debian-12")
    first = grade(CLASS, order, grader, store)
    assert grade(CLASS, order, grader, store) == first
    assert grader.seen == ["ada", "bob", "eve"]
    grade(CLASS, replace(order, regrade=True, only=("b*",)), grader, store)
    assert grader.seen == ["ada", "bob", "eve", "bob"]
    grade(CLASS, replace(order, regrade=True), grader, store)
    assert len(grader.seen) == 7


@pytest.mark.parametrize("change", ["content", "lab", "image"])
def test_what_changed_is_graded_again(lab: Lab, store: Store, change: str, tmp_path: Path) -> None:
    grader = MadeUp(lab)
    grade(CLASS[:1], Order(lab, "debian-12"), grader, store)
    again = [submission("ada", digest="new")] if change == "content" else CLASS[:1]
    other = load_lab(tmp_path / "other", limits={"test": 1}) if change == "lab" else lab
    grade(again, Order(other, "debian-13" if change == "image" else "debian-12"), grader, store)
    assert len(grader.seen) == 2


def test_the_same_content_is_graded_once(lab: Lab, store: Store) -> None:
    grader = MadeUp(lab)
    twins = [submission("ada", digest="x", notes=("one",)), submission("bob", digest="x", late=True)]
    results = grade(twins, Order(lab, "i"), grader, store)
    assert len(grader.seen) == 1
    assert [(r.student, r.submission, r.late, r.notes) for r in results] == [
        ("ada", "ada.zip", False, ("one",)), ("bob", "bob.zip", True, ()),
    ]  # fmt: skip


def test_being_late_costs_what_the_lab_says(store: Store, tmp_path: Path) -> None:
    lab = load_lab(tmp_path / "strict", late={"rule": "penalty", "percent": 25})
    results = grade([submission("ada", late=True), submission("bob")], Order(lab, "i"), MadeUp(lab), store)
    assert [result.score for result in results] == [7.5, 10.0]


def test_only_some(lab: Lab, store: Store) -> None:
    grader = MadeUp(lab)
    grade(CLASS, Order(lab, "i", only=("ADA", "e*.zip")), grader, store)
    assert grader.seen == ["ada", "eve"]
    # Those that have a result are in the gradebook all the same.
    results = grade(CLASS, Order(lab, "i", only=("bob",)), grader, store)
    assert [result.student for result in results] == ["ada", "bob", "eve"]


def test_what_was_refused_needs_no_machine(lab: Lab, store: Store) -> None:
    grader = MadeUp(lab)
    (result,) = grade([submission("ada", problems=("It is a bomb.",))], Order(lab, "i"), grader, store)
    assert (result.verdict, result.reason, result.score, result.max_score) == (
        Verdict.BUILD_ERROR,
        "It is a bomb.",
        0,
        10,
    )
    assert not grader.seen


def raising(error: BaseException) -> Callable[[], GradingResult]:
    def verdict() -> GradingResult:
        raise error

    return verdict


def test_what_the_other_tests_came_to_is_kept_where_one_broke_itself(lab: Lab, store: Store) -> None:
    """There is no grade, and it is tried again by the next run."""

    def broken() -> GradingResult:
        tests = [test.result("passed", test.points) for test in lab.tests]
        tests[0] = lab.tests[0].result("infra-error", fault="KeyError")
        return one_result(key="", verdict=Verdict.INFRA_ERROR, tests=tuple(tests), reason="One broke.", graded_at="")

    grader = MadeUp(lab, bob=broken)
    result = grade(CLASS, Order(lab, "i"), grader, store)[1]
    assert [test.outcome for test in result.tests] == ["infra-error", "passed", "passed"]
    assert result.score is None
    grade(CLASS, Order(lab, "i"), grader, store)
    assert grader.seen == ["ada", "bob", "eve", "bob"]


def test_the_files_of_a_submission_are_listed(lab: Lab, store: Store, tmp_path: Path) -> None:
    (tmp_path / "mine" / "src").mkdir(parents=True)
    (tmp_path / "mine" / "src" / "a.c").write_text("12345")
    (tmp_path / "mine" / "Makefile").write_text("")
    (tmp_path / "mine" / "link").symlink_to("Makefile")
    (result,) = grade([submission("ada", files=tmp_path / "mine")], Order(lab, "i"), MadeUp(lab), store)
    assert result.files == (("Makefile", 0), ("src/a.c", 5))


@pytest.mark.parametrize(
    "error", [LabError("no more memory"), RuntimeError("oh\n\x1b[1m"), KeyError("x"), MemoryError()]
)
def test_a_grader_that_breaks_is_no_zero(lab: Lab, store: Store, error: Exception) -> None:
    grader = MadeUp(lab, bob=raising(error))
    results = grade(CLASS, Order(lab, "i", jobs=2), grader, store)
    assert [result.score for result in results] == [10.0, None, 10.0]
    assert results[1].verdict is Verdict.INFRA_ERROR
    assert results[1].reason.startswith("The lab itself broke, not the submission: ")
    assert results[1].reason.isprintable()
    assert results[1].max_score == 10
    logs = [*(paths.state_dir() / "log").glob("*")]
    assert len(logs) == (not isinstance(error, (LabError, MemoryError))), "only a fault of ours has a log"
    for log in logs:
        assert f"(details: {log})" in results[1].reason
        assert "in raising\n" in log.read_text() or "in verdict\n" in log.read_text()
        assert f"{type(error).__name__}: " in log.read_text()
    # It is tried again next time, alone.
    grader.verdicts.clear()
    results = grade(CLASS, Order(lab, "i"), grader, store)
    assert [result.score for result in results] == [10.0] * 3
    assert len(grader.seen) == 4


def test_a_grader_that_grades_another_lab(lab: Lab, store: Store) -> None:
    grader = MadeUp(lab)
    few = replace(grader.good(), tests=grader.good().tests[:1])
    dear = replace(few, tests=(replace(few.tests[0], points=100.0, earned=100.0), *grader.good().tests[1:]))
    grader = MadeUp(lab, ada=lambda: few, bob=lambda: dear)
    results = grade(CLASS, Order(lab, "i"), grader, store)
    assert [result.score for result in results] == [None, None, 10.0]
    assert "other tests" in results[0].reason


def test_the_watcher_hears_all(lab: Lab, store: Store) -> None:
    class Ears(Nobody):
        heard: list[object]

        def __init__(self) -> None:
            self.heard = []

        def begins(self, total: int) -> None:
            self.heard.append(total)

        def starts(self, submission: Submission) -> None:
            self.heard.append(submission.student)

        def ends(self, result: GradingResult, *, known: bool) -> None:
            self.heard.append((result.student, known))

    grade(CLASS[:1], Order(lab, "i"), MadeUp(lab), store)
    ears = Ears()
    twins = [*CLASS, submission("twin", digest="eve"), submission("bad", problems=("No.",))]
    grade(twins, Order(lab, "i"), MadeUp(lab), store, ears)
    assert ears.heard == [
        5, ("ada", True), ("bad", True), "bob", ("bob", False), "eve", ("eve", False), ("twin", False),
    ]  # fmt: skip


def test_an_interruption_waits_for_nothing(lab: Lab, store: Store) -> None:
    """Ctrl-C ends the grading at once; what was graded is kept."""
    never = threading.Event()

    class Interrupting(Nobody):
        def ends(self, result: GradingResult, *, known: bool) -> None:
            raise KeyboardInterrupt(result.student, known)

    def grader(one: Submission) -> GradingResult:
        if one.student == "bob":
            never.wait(60)
        return MadeUp(lab)(one)

    with pytest.raises(KeyboardInterrupt):
        grade(CLASS, Order(lab, "i", jobs=2), grader, store, Interrupting())
    assert not never.is_set()
    never.set()
    assert store.get(Order(lab, "i").key(CLASS[0]))


def test_ctrl_c_ends_the_process_though_an_examination_goes_on(lab: Lab, tmp_path: Path) -> None:
    code = """
        import signal, sys, threading, pathlib
        from tests.unit.test_grading_grade import CLASS
        from kmodlab.grading.grade import Order, grade, store_of
        from kmodlab.grading.lab import Lab
        from kmodlab.process import interruptible
        def examine(one):
            signal.raise_signal(signal.SIGINT)  # the main thread takes it
            threading.Event().wait()
        interruptible()
        grade(CLASS, Order(Lab.load(sys.argv[1]), "i"), examine, store_of(pathlib.Path(sys.argv[2])))
        """
    assert python(code, lab.folder, tmp_path).returncode == 130


def test_a_store_that_cannot_be_written_ends_the_grading(lab: Lab, tmp_path: Path) -> None:
    class Full(Store):
        def put(self, result: GradingResult) -> None:
            raise OSError(f"no room in {self.folder} for {result.key}")

    with pytest.raises(OSError, match="no room"):
        grade(CLASS, Order(lab, "i"), MadeUp(lab), Full(tmp_path))


# The store


def test_a_broken_file_is_graded_anew(lab: Lab, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    grader, order = MadeUp(lab), Order(lab, "i")
    grade(CLASS[:1], order, grader, store)
    file = store.folder / f"{order.key(CLASS[0])}.json"
    for broken in (b"", file.read_bytes()[:-9], b"\xff", b"{}", json.dumps({"format": 99}).encode()):
        file.write_bytes(broken)
        assert grade(CLASS[:1], order, grader, store)[0].score == 10.0
        assert "graded anew" in capsys.readouterr().err
    assert len(grader.seen) == 6


def test_a_file_under_another_name_is_not_taken(lab: Lab, store: Store) -> None:
    order = Order(lab, "i")
    grade(CLASS[:1], order, MadeUp(lab), store)
    (store.folder / f"{order.key(CLASS[0])}.json").rename(store.folder / f"{order.key(CLASS[1])}.json")
    assert store.get(order.key(CLASS[1])) is None


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """Of the new content no more than two bytes can be written."""
    write_whole(tmp_path / "x", b"old")
    code = """
        import pathlib, resource, sys
        from kmodlab.grading.store import write_whole
        resource.setrlimit(resource.RLIMIT_FSIZE, (2, 2))
        write_whole(pathlib.Path(sys.argv[1]), b"new")
        """
    assert "File too large" in python(code, tmp_path / "x").stderr
    assert (tmp_path / "x").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


GRADER = """
import os, signal, sys, pathlib
from tests.unit.test_grading_grade import CLASS, MadeUp
from kmodlab.grading.grade import Order, grade, store_of
from kmodlab.grading.lab import Lab
lab, out = Lab.load(sys.argv[1]), pathlib.Path(sys.argv[2])
grader = MadeUp(lab)
def examine(one):
    with open(out / "seen", "a") as seen:
        seen.write(one.student + "\\n")
    if one.student == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
    return grader(one)
for result in grade(CLASS, Order(lab, "debian-12"), examine, store_of(out)):
    print(result.student, result.score)
"""


def test_killed_midway_and_resumed(lab: Lab, tmp_path: Path) -> None:
    """kill -9 in the middle of the second one: the first is kept, and only what was under way is graded again."""
    out = tmp_path / "out"
    out.mkdir()

    killed = python(GRADER, lab.folder, out, "bob")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list(store_of(out).folder.iterdir())) == 1
    done = python(GRADER, lab.folder, out, "nobody")
    assert done.stdout.splitlines() == ["ada 10.0", "bob 10.0", "eve 10.0"], done.stderr
    assert (out / "seen").read_text().split() == ["ada", "bob", "bob", "eve"]

"""`kmodlab grade` and `kmodlab lab` as an instructor meets them, with a grader that needs no machine."""

from __future__ import annotations

import ast
import csv
import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from kmodlab.errors import LabError, UsageError
from kmodlab.grading import self_check, student
from kmodlab.grading.grade import Grader, Order
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab
from kmodlab.grading.progress import Display
from kmodlab.grading.report import pages
from kmodlab.grading.result import GradingResult, Verdict
from kmodlab.grading.skeleton import new_lab
from kmodlab.process import run

from .grading_labs import make_lab
from .grading_results import one_result
from .test_cli import Kmodlab, kmodlab

__all__ = ["kmodlab"]  # a fixture


def by_code(lab: Lab) -> Grader:
    """A grader that goes by the submission's code: `good`, `broken` raises, else one point is lost."""

    def grader(submission: Submission) -> GradingResult:
        code = "".join(path.read_text() for path in sorted(submission.files.rglob("*.c")))
        if "broken" in code:
            raise LabError("no machine")
        good = "good" in code
        tests = [test.result("passed" if good or place else "failed") for place, test in enumerate(lab.tests)]
        earned = [
            test.result(result.outcome, test.points if result.outcome == "passed" else 0)
            for test, result in zip(lab.tests, tests, strict=True)
        ]
        return one_result(verdict=Verdict.PASS if good else Verdict.FAIL, tests=tuple(earned), reason="As it is.")

    return grader


class GraderFactory:
    """Goes by the submission's code.

    Attributes:
        asked: each time for how many machines, whether to keep one, and of what seed.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool, int | None]] = []

    def __call__(self, lab: Lab, jobs: int, *, keep: bool = False, seed: int | None = None) -> tuple[Grader, str]:
        """Return it, and of what image its results are."""
        self.asked.append((jobs, keep, seed))
        return by_code(lab), "debian-12-abc"


@pytest.fixture
def make_grader() -> GraderFactory:
    """A grader that needs no machine."""
    return GraderFactory()


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """A download of Moodle's with a good one, a bad one, and a bomb."""
    folder = tmp_path / "download"
    folder.mkdir()
    for number, (name, code) in enumerate((("Ada", "good"), ("Bob", "bad"), ("Eve", "../evil.c"))):
        place = folder / f"{name}_{number}_assignsubmission_file_"
        place.mkdir()
        with zipfile.ZipFile(place / "lab.zip", "w") as archive:
            archive.writestr(code if code.startswith("..") else "jiffies.c", code)
    return folder


def grades(out: Path) -> list[tuple[str, str]]:
    rows = csv.DictReader(io.StringIO((out / "gradebook.csv").read_text()))
    return [(row["Identifier"], row["Grade"]) for row in rows]


def test_a_class_is_graded(kmodlab: Kmodlab, make_grader: GraderFactory, download: Path, tmp_path: Path) -> None:
    lab, out = make_lab(tmp_path / "jiffies"), tmp_path / "out"
    done = kmodlab("grade", str(lab), str(download), "--out", str(out), "--jobs", "3", make_grader=make_grader)
    assert done.returncode == 0, done.stderr
    assert grades(out) == [("Participant 0", "10"), ("Participant 1", "8"), ("Participant 2", "0")]
    assert done.stdout.splitlines()[-5:] == [
        str(out / name) for name in ("index.html", "gradebook.csv", "scores.csv", "junit.xml", "moodle-feedback.zip")
    ]
    assert "3/3" in done.stdout
    assert "leads out of its folder" in (out / "students" / "eve-2" / "feedback.md").read_text()
    assert not (out / ".kmodlab" / "work").exists()
    assert make_grader.asked == [(3, False, None)]
    again = kmodlab("grade", str(lab), str(download), "--out", str(out), "--similarity", make_grader=make_grader)
    assert again.stdout.count("(known)") == 3
    assert str(out / "similarity.html") in again.stdout


def test_what_is_left_ungraded_is_no_zero_and_exit_3(
    kmodlab: Kmodlab, make_grader: GraderFactory, download: Path, tmp_path: Path
) -> None:
    (download / "Ada_0_assignsubmission_file_" / "jiffies.c").write_text("broken")
    words = ["grade", str(make_lab(tmp_path / "jiffies")), str(download), "--out", str(tmp_path / "out")]
    done = kmodlab(*words, make_grader=make_grader)
    assert done.returncode == 3
    assert "1 of 3 are not graded: Ada" in done.stderr
    assert grades(tmp_path / "out")[0] == ("Participant 0", "")


def test_one_is_kept(kmodlab: Kmodlab, make_grader: GraderFactory, download: Path, tmp_path: Path) -> None:
    words = ["grade", str(make_lab(tmp_path / "jiffies")), str(download), "--out", str(tmp_path / "out"), "--keep"]
    done = kmodlab(*words, make_grader=make_grader)
    assert done.returncode == 2
    assert "--keep is for one submission, and here are 3" in done.stderr
    assert kmodlab(*words, "--only", "ad*", "--seed", "7", make_grader=make_grader).returncode == 0
    assert make_grader.asked == [(1, True, 7)]


def test_nobody_of_that_name(kmodlab: Kmodlab, download: Path, tmp_path: Path) -> None:
    words = ["grade", str(make_lab(tmp_path / "jiffies")), str(download), "--out", str(tmp_path / "out")]
    done = kmodlab(*words, "--only", "nobody")
    assert done.returncode == 2
    assert "no submission has such a name" in done.stderr


def scores(out: Path) -> dict[str, str]:
    """Return the points of each student in `scores.csv`."""
    rows = csv.DictReader(io.StringIO((out / "scores.csv").read_text(encoding="utf-8-sig")))
    return {row["Student"]: row["Score"] for row in rows}


def test_an_appeal_is_looked_into_apart_from_the_class(
    kmodlab: Kmodlab, make_grader: GraderFactory, download: Path, tmp_path: Path
) -> None:
    """Whoever was refused needs no machine, and so is in the reports of both."""
    words = ["grade", str(make_lab(tmp_path / "jiffies")), str(download), "--out"]
    assert kmodlab(*words, str(tmp_path / "class"), make_grader=make_grader).returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "class").rglob("*") if path.is_file()}
    words += [str(tmp_path / "appeal"), "--only", "Bob*", "--seed", "480112358", "--keep"]
    done = kmodlab(*words, make_grader=make_grader)
    assert done.returncode == 0, done.stderr
    assert scores(tmp_path / "appeal") == {"Bob": "8", "Eve": "0"}
    assert make_grader.asked[1:] == [(1, True, 480112358)]
    assert before == {path: path.read_bytes() for path in (tmp_path / "class").rglob("*") if path.is_file()}


def test_when_a_test_is_mended_all_are_graded_again(
    kmodlab: Kmodlab, make_grader: GraderFactory, download: Path, tmp_path: Path
) -> None:
    """With --only none but those named would have a result by the lab as it is now."""
    lab = make_lab(tmp_path / "jiffies")
    words = ["grade", str(lab), str(download), "--out", str(tmp_path / "class")]
    assert kmodlab(*words, make_grader=make_grader).returncode == 0
    assert scores(tmp_path / "class") == {"Ada": "10", "Bob": "8", "Eve": "0"}
    (lab / "tests" / "test_lab.py").write_text("def test_there(): ...  # mended\n")
    assert kmodlab(*words, "--only", "Bob*", make_grader=make_grader).returncode == 0
    assert scores(tmp_path / "class") == {"Bob": "8", "Eve": "0"}
    again = kmodlab(*words, make_grader=make_grader)
    assert again.stdout.count("(known)") == 2, "the one who was named, and the one who is refused"
    assert scores(tmp_path / "class") == {"Ada": "10", "Bob": "8", "Eve": "0"}


# What a student asks for


def own_module(tmp_path: Path, code: str) -> Path:
    (folder := tmp_path / "mine").mkdir(exist_ok=True)
    (folder / "jiffies.c").write_text(code)
    return folder


def test_a_student_checks_a_module_of_their_own(tmp_path: Path, make_grader: GraderFactory) -> None:
    """With the tests that everybody may see, and no others."""
    lab = str(make_lab(tmp_path / "jiffies"))
    result = student.check_own(lab, own_module(tmp_path, "bad"), seed=9, make_grader=make_grader)
    assert [(test.id, test.outcome) for test in result.tests] == [("there", "failed"), ("moves", "passed")]
    assert result.files == (("jiffies.c", 3),)
    assert make_grader.asked == [(1, False, 9)]
    said = pages.student_text(result)
    assert said.startswith("fail: As it is.")
    assert said.index("failed        The file is there (0 of 2 points)") < said.index("passed        The number moves")
    assert "jiffies.c (3 bytes)" in said
    assert student.check_own(lab, own_module(tmp_path, "good"), make_grader=make_grader).verdict is Verdict.PASS


@pytest.mark.parametrize(("code", "status"), [("good", 0), ("bad", 1)])
def test_a_check_of_ones_own_exits_with_1_where_a_test_failed(
    kmodlab: Kmodlab, make_grader: GraderFactory, tmp_path: Path, code: str, status: int
) -> None:
    words = ["check", str(make_lab(tmp_path / "jiffies")), str(own_module(tmp_path, code)), "--seed", "7"]
    done = kmodlab(*words, make_grader=make_grader)
    assert (done.returncode, done.stdout.partition(":")[0]) == (status, "fail" if status else "pass")
    assert make_grader.asked == [(1, False, 7)]


def test_what_a_student_checks_is_one_submission(tmp_path: Path, download: Path) -> None:
    lab = str(make_lab(tmp_path / "jiffies"))
    with pytest.raises(UsageError, match=r"has 3 submissions, and one is checked"):
        student.check_own(lab, download, make_grader=GraderFactory())


def test_a_student_is_not_blamed_for_what_broke_here(tmp_path: Path) -> None:
    lab = str(make_lab(tmp_path / "jiffies"))
    with pytest.raises(LabError, match="no machine") as raised:
        student.check_own(lab, own_module(tmp_path, "broken"), make_grader=GraderFactory())
    assert raised.value.hint == "that is no fault of your module: tell your instructor"


def test_a_lab_that_shows_no_test_cannot_be_checked(tmp_path: Path) -> None:
    hidden = [{"id": "a", "title": "A", "node": "test_lab.py::test_there", "points": 1, "visibility": "hidden"}]
    lab = str(make_lab(tmp_path / "jiffies", tests=hidden))
    with pytest.raises(UsageError, match="the lab jiffies has no tests that may be seen"):
        student.check_own(lab, own_module(tmp_path, "good"), make_grader=GraderFactory())


# Labs: new and check


def test_a_new_lab_is_a_good_one(kmodlab: Kmodlab, tmp_path: Path) -> None:
    done = kmodlab("lab", "new", str(tmp_path / "my-lab"))
    assert done.returncode == 0, done.stderr
    lab = Lab.load(tmp_path / "my-lab")
    assert (lab.name, lab.modules[0].name, lab.max_score) == ("my-lab", "my_lab", 10)
    tests = ast.parse((lab.folder / "tests" / "test_my_lab.py").read_text())
    named = {node.partition("::")[2] for test in lab.tests for node in test.nodes}
    assert named == {node.name for node in tests.body if isinstance(node, ast.FunctionDef)}
    assert not [path for path in lab.folder.rglob("*") if "NAME" in path.name or path.suffix == ".in"]
    again = kmodlab("lab", "new", str(tmp_path / "my-lab"))
    assert (again.returncode, "there already" in again.stderr) == (2, True)


def test_the_mutants_of_a_new_lab_apply(tmp_path: Path) -> None:
    lab = new_lab(tmp_path / "one")
    for patch in self_check.mutants(lab):
        said = run(["patch", "--dry-run", "--strip=1", f"--directory={lab.folder}", f"--input={patch}"])
        assert b"offset" not in said
        assert b"fuzz" not in said


def proved(tmp_path: Path, grader: Callable[[Lab], Grader], **code: str) -> dict[str, tuple[bool, str]]:
    folder = make_lab(tmp_path / "jiffies")
    for name in ("solution", "starter"):
        (folder / name).mkdir()
        (folder / name / "jiffies.c").write_text(code[name])
    (folder / "mutants").mkdir()
    patch = "--- a/solution/jiffies.c\n+++ b/solution/jiffies.c\n@@ -1 +1 @@\n-{}\n+{}\n"
    (folder / "mutants" / "m.patch").write_text(patch.format(code["solution"].rstrip(), code["mutant"]))
    lab = Lab.load(folder)
    findings = self_check.self_check(lab, Order(lab, "i"), grader(lab), tmp_path / "work")
    return {finding.name: (finding.good, finding.sentence) for finding in findings}


def test_a_good_lab_is_proved(tmp_path: Path) -> None:
    def strict(lab: Lab) -> Grader:
        inner = by_code(lab)

        def grader(submission: Submission) -> GradingResult:
            result = inner(submission)
            zero = tuple(test.result("failed") for test in lab.tests)
            return result if submission.student != "starter" else one_result(tests=zero)

        return grader

    found = proved(tmp_path, strict, solution="good\n", starter="bad\n", mutant="bad")
    assert found == {
        "solution": (True, "10 of 10 points, pass"), "starter": (True, "0 of 10 points, fail"),
        "m": (True, "8 of 10 points, fail"),
    }  # fmt: skip


def test_a_bad_lab_is_told(tmp_path: Path) -> None:
    found = proved(tmp_path, by_code, solution="bad\n", starter="good\n", mutant="good")
    assert {name: good for name, (good, _) in found.items()} == {"solution": False, "starter": False, "m": False}
    assert "it has to have all. As it is. there" in found["solution"][1]
    assert "no more than 5 are allowed" in found["starter"][1]
    assert "no test notices" in found["m"][1]


def test_a_lab_that_could_not_be_graded_is_not_proved(tmp_path: Path) -> None:
    found = proved(tmp_path, by_code, solution="broken\n", starter="broken\n", mutant="broken")
    assert not any(good for good, _ in found.values())
    assert "could not be graded" in found["m"][1]


def test_a_mutant_that_does_not_apply(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"the patch m\.patch does not apply"):
        proved(tmp_path, by_code, solution="two\nlines\n", starter="x\n", mutant="y")


def test_a_deviation_that_costs_what_it_does_not_name(tmp_path: Path) -> None:
    """The solution is good, and what its patch breaks costs the test `there`: the first one says so, the second not."""
    folder = make_lab(tmp_path / "jiffies")
    (folder / "solution").mkdir()
    (folder / "solution" / "x.c").write_text("good\n")
    (folder / "deviations").mkdir()
    diff = "\n--- a/solution/x.c\n+++ b/solution/x.c\n@@ -1 +1 @@\n-good\n+bad\n"
    for name, costs in (("one", "there"), ("two", "moves"), ("three", "nothing")):
        (folder / "deviations" / f"{name}.patch").write_text(f"One fault.\n\nCosts: {costs}\n{diff}")
    (tmp_path / "work").mkdir()
    lab = Lab.load(folder)
    found = {one.name: one for one in self_check.self_check(lab, Order(lab, "i"), by_code(lab), tmp_path / "work")}
    assert [found[f"deviation-{name}"].good for name in ("one", "two", "three")] == [True, False, False]
    assert "it costs there" in found["deviation-one"].sentence
    assert "it may not cost there" in found["deviation-two"].sentence


def test_a_lab_without_a_solution(tmp_path: Path) -> None:
    lab = Lab.load(make_lab(tmp_path / "jiffies"))
    with pytest.raises(UsageError, match="has no solution"):
        self_check.self_check(lab, Order(lab, "i"), by_code(lab), tmp_path / "work")


def test_check_exits_with_1(kmodlab: Kmodlab, make_grader: GraderFactory, tmp_path: Path) -> None:
    new_lab(tmp_path / "one")
    done = kmodlab("lab", "check", str(tmp_path / "one"), "--only", "sol*", "--jobs", "1", make_grader=make_grader)
    assert done.returncode == 1
    assert "BAD   solution: 8 of 10 points, fail" in done.stdout


# The display


@pytest.mark.parametrize("terminal", [True, False])
def test_the_display(terminal: bool) -> None:
    file = io.StringIO()
    with Display(Console(file=file, force_terminal=terminal, width=100, color_system=None)) as display:
        display.begins(2)
        display.starts(Submission("[bold]ada", "ada", Path()))
        display.ends(one_result(student="[bold]ada", verdict=Verdict.PANIC), known=False)
        display.ends(one_result(student="bob", verdict=Verdict.INFRA_ERROR), known=True)
        assert display.running == []
    shown = file.getvalue()
    assert "1/2  panic       2.5 of 5      [bold]ada" in shown
    assert "2/2  infra-error not graded    bob  (known)" in shown
    assert ("left" in shown) is terminal


def test_the_command_line_starts_without_large_libraries() -> None:
    heavy = ("pytest", "copydetect", "testinfra", "pydantic", "jinja2", "distributed", "matplotlib", "textual")
    code = f"import sys, kmodlab.cli; sys.exit(any(m in sys.modules for m in {heavy!r}))"
    run([sys.executable, "-c", code])

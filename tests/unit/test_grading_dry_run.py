"""`kmodlab grade --as FORM` and `--dry-run` as an instructor types them: what is said, and that nothing is done."""

from __future__ import annotations

import functools
import zipfile
from pathlib import Path

import pytest

from kmodlab.grading.names import FORMS

from .grading_labs import make_lab
from .test_cli import Kmodlab, kmodlab
from .test_grading_commands import GraderFactory, download, make_grader

__all__ = ["download", "kmodlab", "make_grader"]  # fixtures

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")

GOOD = "/* good */\n#include <linux/module.h>\nmodule_init(begin);\n"

#: a download of each form: what is in it
DOWNLOADS: dict[str, tuple[str, ...]] = {
    "moodle": ("Ada Lovelace_7_assignsubmission_file_/jiffies.c", "Bob_8_assignsubmission_file_/jiffies.c"),
    "canvas": (
        "hoppergrace_LATE_4712_9004_jiffies.c", "hoppergrace_LATE_4712_9005_jiffies-1.c",
        "lovelaceada_4711_9001_jiffies.c",
    ),
    "blackboard": (
        "lab1_alice_attempt_2026-01-02-03-04-05_jiffies.c", "lab1_alice_attempt_2026-01-03-03-04-05_jiffies.c",
        "lab1_bob_attempt_2026-01-02-03-04-05_jiffies.c",
    ),
    "ilias": ("Hopper_Grace_gh_13/jiffies.c", "Lovelace_Ada_al_12/Late Submission - jiffies.c"),
    "classroom": ("lab1-alice/.git/HEAD", "lab1-alice/jiffies.c", "lab1-bob/.git/HEAD", "lab1-bob/jiffies.c"),
    "folders": ("alice (late)/jiffies.c", "alice/jiffies.c", "bob/jiffies.c", "eve/notes.txt"),
    "one": ("Makefile", "jiffies.c"),
}  # fmt: skip

#: what is printed of each
SAID: dict[str, list[str]] = {
    "moodle": [
        "Moodle download: 2 students",
        "Ada Lovelace  Ada Lovelace_7_assignsubmission_file_",
        "Bob           Bob_8_assignsubmission_file_",
    ],
    "canvas": [
        "Canvas download: 2 students, 1 late, 1 handed in twice",
        "hoppergrace  hoppergrace_LATE_4712_9004_jiffies.c  late  (Of files that were handed in twice the last "
        "counts.)",
        "lovelaceada  lovelaceada_4711_9001_jiffies.c",
    ],
    "blackboard": [
        "Blackboard download: 2 students, 1 handed in twice",
        "alice  lab1_alice_attempt_2026-01-03-03-04-05_jiffies.c  (Of 2 submissions the last counts, "
        "'lab1_alice_attempt_2026-01-03-03-04-05_jiffies.c'; not graded: "
        "'lab1_alice_attempt_2026-01-02-03-04-05_jiffies.c'.)",
        "bob    lab1_bob_attempt_2026-01-02-03-04-05_jiffies.c",
    ],
    "ilias": [
        "ILIAS download: 2 students, 1 late",
        "Hopper Grace  Hopper_Grace_gh_13",
        "Lovelace Ada  Lovelace_Ada_al_12  late",
    ],
    "classroom": ["Clones of GitHub Classroom: 2 students", "alice  lab1-alice", "bob    lab1-bob"],
    "folders": [
        "A folder, an archive or a file a student: 3 students, 1 late, 1 handed in twice, 1 cannot be graded",
        "alice  alice (late)  late  (Of 2 submissions the last counts, 'alice (late)'; not graded: 'alice'.)",
        "bob    bob",
        "eve    eve  refused  (There is no C source file in it, only 'notes.txt'. Hand in your .c files, not what was "
        "built from them.)",
    ],
    "one": ["One submission: 1 student", "one  one"],
}


@pytest.fixture
def typed(kmodlab: Kmodlab, make_grader: GraderFactory) -> Kmodlab:
    """The command as it is typed; whatever is broken, no machine is started."""
    return functools.partial(kmodlab, make_grader=make_grader)


@pytest.fixture
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def place(folder: Path, form: str) -> Path:
    """Make a download of a form, named for it."""
    for name in DOWNLOADS[form]:
        (file := folder / form / name).parent.mkdir(parents=True, exist_ok=True)
        file.write_text("obj-m := jiffies.o\n" if name == "Makefile" else GOOD)
    return folder / form


def tree(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder, and their content."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def lab_in(tmp_path: Path) -> str:
    return str(make_lab(tmp_path / "jiffies"))


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_a_dry_run_lists_each_form(typed: Kmodlab, tmp_path: Path, form: str, said: bool) -> None:
    """Whose each is, what it came as, late, twice, refused and why; the same with `--as` and without."""
    source = place(tmp_path, form)
    done = typed("grade", lab_in(tmp_path), str(source), "--dry-run", *(("--as", form) if said else ()))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == SAID[form]


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize("there", ["moodle", "canvas", "blackboard", "ilias", "classroom", "folders", "one"])
@pytest.mark.parametrize("said", ["moodle", "canvas", "blackboard", "ilias"])
def test_what_is_no_such_download_is_refused(
    typed: Kmodlab, make_grader: GraderFactory, tmp_path: Path, said: str, there: str, dry: bool
) -> None:
    """Else each file would be a student of its own, and none of them late."""
    if said == there:
        return
    out = tmp_path / "out"
    words = ["grade", lab_in(tmp_path), str(place(tmp_path, there)), "--as", said, "--out", str(out)]
    done = typed(*words, *(["--dry-run"] if dry else []))
    assert (done.returncode, done.stdout, make_grader.asked) == (2, "", [])
    title = SAID[said][0].partition(":")[0]
    assert f"error: '{there}' is no {title}: nothing is called " in done.stderr
    assert next(name for name in DOWNLOADS[there] if name != "Makefile").partition("/")[0] in done.stderr
    looks = there in ("moodle", "canvas", "blackboard", "ilias")
    hint = f"say --as {there}, or leave --as out" if looks else "leave --as out, and it is what it looks like"
    assert hint in done.stderr
    assert not [name for name in tree(tmp_path) if name.startswith("out/") and name != "out/.kmodlab/lock"]


def test_a_single_file_is_no_download_of_a_course_system(typed: Kmodlab, tmp_path: Path) -> None:
    (tmp_path / "jiffies.c").write_text(GOOD)
    words = ["grade", lab_in(tmp_path), str(tmp_path / "jiffies.c"), "--dry-run", "--as"]
    assert typed(*words, "one").stdout.splitlines() == ["One submission: 1 student", "jiffies  jiffies.c"]
    done = typed(*words, "canvas")
    assert done.returncode == 2
    assert "'jiffies.c' is no Canvas download" in done.stderr


def test_a_form_that_there_is_not(typed: Kmodlab, tmp_path: Path) -> None:
    done = typed("grade", lab_in(tmp_path), str(place(tmp_path, "moodle")), "--dry-run", "--as", "mooddle")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Invalid value for '--as'" in done.stderr
    assert [form for form in FORMS if f"'{form}'" not in done.stderr] == []


def test_a_class_or_one_is_asked_and_said(typed: Kmodlab, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "hand-in.zip", "w") as archive:
        for name in ("alice.c", "bob.c"):
            archive.writestr(name, GOOD)
    words = ["grade", lab_in(tmp_path), str(tmp_path / "hand-in.zip"), "--dry-run"]
    done = typed(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'hand-in.zip' may be one submission, or a class of 2: 'alice.c', 'bob.c'" in done.stderr
    assert "hint: say which: --as one, or --as folders where each of them is a student's" in done.stderr
    listed = typed(*words, "--as", "folders").stdout.splitlines()
    assert [line.split()[0] for line in listed[1:]] == ["alice", "bob"]
    assert typed(*words, "--as", "one").stdout.startswith("One submission: 1 student\nhand-in  hand-in.zip")


def test_a_dry_run_does_nothing(typed: Kmodlab, make_grader: GraderFactory, download: Path, tmp_path: Path) -> None:
    """Neither where results are not yet, nor where they are: what it lists is as it was, and no grader is asked."""
    lab, out = lab_in(tmp_path), tmp_path / "out"
    before = tree(tmp_path)
    for place_of_results in ([], ["--out", str(out)]):
        done = typed("grade", lab, str(download), "--dry-run", *place_of_results, "--regrade", "--similarity")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Moodle download: 3 students, 1 cannot be graded\n")
    assert (tree(tmp_path), make_grader.asked) == (before, [])
    assert not (tmp_path / "grades").exists()
    assert not out.exists()
    assert typed("grade", lab, str(download), "--out", str(out)).returncode == 0
    before = tree(tmp_path)
    assert typed("grade", lab, str(download), "--out", str(out), "--dry-run", "--regrade").returncode == 0
    assert (tree(tmp_path), len(make_grader.asked)) == (before, 1)


def test_a_dry_run_lists_whom_only_names(typed: Kmodlab, tmp_path: Path) -> None:
    words = ["grade", lab_in(tmp_path), str(place(tmp_path, "folders")), "--dry-run", "--only"]
    done = typed(*words, "B*", "--only", "eve")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [SAID["folders"][0], "bob  bob", SAID["folders"][3].replace("eve    ", "eve  ")]
    done = typed(*words, "nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no submission has such a name" in done.stderr


def test_a_dry_run_of_what_is_not_there(typed: Kmodlab, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    lab = lab_in(tmp_path)
    for folder, words in (("nowhere", "there is no "), ("empty", "there is nothing to grade in ")):
        done = typed("grade", lab, str(tmp_path / folder), "--dry-run")
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{words}{tmp_path / folder}\n  hint: " in done.stderr
    done = typed("grade", "no_such_lab", str(tmp_path / "empty"), "--dry-run")
    assert done.returncode == 2
    assert "no_such_lab" in done.stderr

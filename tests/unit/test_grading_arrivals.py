"""How submissions arrive: each form by its name, and what people hand in of every kind."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kmodlab.errors import UsageError
from kmodlab.grading.choice import chosen, left_out
from kmodlab.grading.intake import Arrived, Submission, collect
from kmodlab.grading.names import natural, origin_of
from kmodlab.grading.report.gradebook import cell

from .grading_labs import load_lab

C = b'#include <linux/module.h>\nmodule_init(up);\nMODULE_LICENSE("GPL");\n'
MAKE = b"obj-m += jiffies.o\nall:\n\tmake -C /lib/modules/$(shell uname -r)/build M=$(PWD) modules\n"


class Place:
    """A folder that things arrive in."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "arrived"
        self.work = tmp_path / "work"
        self.lab = load_lab(tmp_path / "proc_jiffies", files=["*.c"], modules=[{"name": ""}])

    def put(self, files: Mapping[str, bytes]) -> Place:
        """Write files; one that ends in .zip/ and so on is a member of an archive."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return self

    def zip(self, name: str, members: Mapping[str, bytes]) -> Path:
        """Write an archive."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(self.folder / name, "w") as archive:
            for member, content in members.items():
                archive.writestr(zipfile.ZipInfo(member), content)
        return self.folder / name

    def collect(self, source: Path | None = None, form: str = "") -> Arrived:
        """Take in the folder, or a file of it."""
        return collect(source or self.folder, self.lab, self.work, form)

    def one(self, **more: Any) -> Submission:
        """Take in the only one."""
        (only,) = self.collect(**more).submissions
        return only


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def names(submission: Submission) -> list[str]:
    files = submission.files
    return sorted(path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file())


# Forms


def test_canvas_is_said_in_a_line(place: Place) -> None:
    place.put(
        {
            "doe_LATE_4711_9001_jiffies.c": C, "roe_4712_9002_jiffies.c": C, "roe_4712_9003_jiffies-1.c": C + b"\n",
            "typed_4713_text.html": b"<p>",
        }
    )  # fmt: skip
    arrived = place.collect()
    assert arrived.form == "canvas"
    said = "Canvas download: 3 students, 1 late, 1 handed in twice, 1 cannot be graded"
    assert arrived.sentence == said
    assert arrived.lines()[0].startswith("doe    doe_LATE_4711_9001_jiffies.c  late")
    assert (arrived.submissions[1].files / "jiffies.c").read_bytes() == C + b"\n"


def test_a_number_of_canvas_or_of_the_student(place: Place) -> None:
    """Parts that a Makefile names keep their numbers; a second try loses it."""
    make = b"obj-m += lab.o\nlab-objs := part-1.o part-2.o\n"
    place.put(
        {
            "ada_4711_9001_part-1.c": C, "ada_4711_9002_part-2.c": b"int x;\n", "ada_4711_9003_Makefile": make,
            "bob_4712_9004_jiffies-1.c": C, "bob_4712_9005_makefile-1": MAKE,
            "eve_4713_9006_one-1.c": C, "eve_4713_9007_one-2.c": b"int x;\n",
            "fay_4714_9008_two-1.c": C, "fay_4714_9009_two-2.c": C,
        }
    )  # fmt: skip
    assert {one.student: names(one) for one in place.collect().submissions} == {
        "ada": ["Makefile", "part-1.c", "part-2.c"], "bob": ["Makefile", "jiffies.c"],
        "eve": ["one-1.c", "one-2.c"], "fay": ["two.c"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "files",
    [["lab_1_2_alice.c", "lab_1_2_bob.c"], ["hw_2024_1_a.c", "hw_2024_1_b.c"], ["hw_2024_11_a.c", "hw_2024_12_b.c"]],
)
def test_numbers_alone_are_not_canvas(place: Place, files: list[str]) -> None:
    arrived = place.put(dict.fromkeys(files, C)).collect()
    assert (arrived.form, len(arrived.submissions)) == ("folders", 2)
    assert {one.student for one in arrived.submissions} == {name.removesuffix(".c") for name in files}


def test_blackboard_has_tries_by_date(place: Place) -> None:
    receipt = "\ufeffName: Ada Lovelace (ada_l)\nAssignment: Lab 1\n".encode()
    place.put(
        {
            "Lab 1_ada_l_attempt_2024-05-01-12-00-00.txt": receipt,
            "Lab 1_ada_l_attempt_2024-05-01-12-00-00_jiffies.c": C,
            "Lab 1_ada_l_attempt_2024-05-02-09-30-00.txt": receipt,
            "Lab 1_ada_l_attempt_2024-05-02-09-30-00_jiffies.c": C + b"// second\n",
            "Lab 1_ada_l_attempt_2024-05-02-09-30-00_Makefile": MAKE,
            "Lab 1_bob_l_attempt_2024-05-01-12-00-00.txt": b"no name\n",
        }
    )
    arrived = place.collect()
    assert arrived.sentence == "Blackboard download: 2 students, 1 handed in twice, 1 cannot be graded"
    ada, bob = arrived.submissions
    assert (ada.student, names(ada), bob.student) == ("Ada Lovelace", ["Makefile", "jiffies.c"], "bob_l")
    assert b"second" in (ada.files / "jiffies.c").read_bytes()


def test_ilias(place: Place) -> None:
    place.put({"Lovelace_Ada_alo_311/Late_Submission_-_jiffies.c": C, "Hopper_Grace_gho_312/jiffies (2).c": C})
    arrived = place.collect()
    assert arrived.sentence == "ILIAS download: 2 students, 1 late"
    assert [(one.student, one.late, names(one)) for one in arrived.submissions] == [
        ("Hopper Grace", False, ["jiffies.c"]), ("Lovelace Ada", True, ["jiffies.c"]),
    ]  # fmt: skip


def test_folders_that_only_look_like_those_of_ilias(place: Place) -> None:
    place.put({"lab_one_group_1/jiffies.c": C, "lab_one_group_2/jiffies.c": C})
    assert [one.student for one in place.collect().submissions] == ["lab_one_group_1", "lab_one_group_2"]


@pytest.mark.parametrize("wrapper", ["", "class/", "a/b/"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_class_in_one_zip_is_no_student(place: Place, wrapper: str, alone: bool) -> None:
    members = {f"{wrapper}{name}/jiffies.c": C for name in ("alice", "bob", "carol")}
    archive = place.zip("class.zip", {**members, f"__MACOSX/{wrapper}alice/._jiffies.c": b""})
    arrived = place.collect(archive if alone else None)
    assert [one.student for one in arrived.submissions] == ["alice", "bob", "carol"]
    assert arrived.form == "folders"


def test_a_class_of_archives_in_a_zip(place: Place) -> None:
    inner = {name: place.zip(name, {"jiffies.c": C}).read_bytes() for name in ("alice.zip", "bob.zip")}
    for name in inner:
        (place.folder / name).unlink()
    place.zip("all.zip", inner)
    assert [one.student for one in place.collect().submissions] == ["alice", "bob"]


@pytest.mark.parametrize("members", [{"a/x.c": C, "b/y.c": C}, {"alice.c": C, "bob.c": C}])
def test_what_may_be_a_class_or_one_is_asked(place: Place, members: dict[str, bytes]) -> None:
    archive = place.zip("hand-in.zip", members)
    with pytest.raises(UsageError, match=r"may be one submission, or a class of 2.*\n.*--as one, or --as folders"):
        place.collect()
    assert len(place.collect(archive, "folders").submissions) == 2
    assert len(place.collect(archive, "one").submissions) == 1


@pytest.mark.parametrize("folders", [("Part 1", "Part 2"), ("v1", "v2"), ("my code", "old tries"), ("kernel", "user")])
def test_pieces_of_one_are_no_class(place: Place, folders: tuple[str, str]) -> None:
    place.zip("ada.zip", {f"{folder}/jiffies.c": C for folder in folders})
    assert place.one().student == "ada"


def test_a_form_that_is_said(place: Place) -> None:
    place.put({"lab_1_2_alice.c": C, "lab_1_3_bob.c": C})
    arrived = place.collect(form="canvas")
    assert (arrived.form, [one.student for one in arrived.submissions]) == ("canvas", ["lab"])


# Names


@pytest.mark.parametrize("name", ["①", "１２", "٣", "²", "x" * 200, "שלום", "🙂", 'O\'Brien "B"', "=1+1", "a_②_3"])  # noqa: RUF001
def test_any_name_is_a_name(place: Place, name: str) -> None:
    place.put({f"{name}/jiffies.c": C, "alice/jiffies.c": C, "10/jiffies.c": C})
    arrived = place.collect()
    assert {one.student for one in arrived.submissions} == {name, "alice", "10"}
    assert not any(one.problems for one in arrived.submissions)


def test_digits_of_other_scripts_are_no_numbers() -> None:
    assert sorted(["v10", "v9", "v②"], key=natural) == ["v9", "v10", "v②"]
    assert not origin_of("Ada_١٢_assignsubmission_file_").participant
    assert not origin_of("ada_٤٧١١_٩٠٠١_jiffies.c").user


def test_names_that_look_alike_are_two_students(place: Place) -> None:
    place.put({"ab/jiffies.c": C, "a\u202eb/jiffies.c": C})
    assert len(place.collect().submissions) == 2


@pytest.mark.parametrize("name", ["Ada Late_7_assignsubmission_file_jiffies.c", "late_4711_9001_late.c", "kim_late.c"])
def test_a_surname_is_not_late(place: Place, name: str) -> None:
    assert not place.put({name: C}).one().late


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("Ada Lovelace.c", "Ada_Lovelace.c"), ("Zoë Ångström.c", "Zoe_Angstrom.c"), ("jiffies (1).c", "jiffies.c"),
        ("jiffies - Copy.c", "jiffies.c"), ("张伟.c", "module.c"), ("-rf.c", "rf.c"),
        ("x" * 100 + ".c", "x" * 50 + ".c"),
        ("jiffies.c.txt", "jiffies.c"), ("JIFFIES.C", "JIFFIES.c"), ("a$(b).c", "a_b.c"),
    ],
)  # fmt: skip
def test_a_file_gets_a_name_that_make_takes(place: Place, name: str, file: str) -> None:
    place.put({name: C, "bob.c": C})
    assert file in {name for one in place.collect().submissions for name in names(one)}


def test_a_name_that_others_speak_of_stays(place: Place) -> None:
    place.put({"ada/my part.c": C, "ada/jiffies.c": b'#include "my part.c"\n', "bob/jiffies.c": C})
    assert names(place.collect().submissions[0]) == ["jiffies.c", "my part.c"]


def test_a_formula_is_no_formula_in_any_width() -> None:
    for sign in "=+-@＝＋－＠":  # noqa: RUF001
        assert cell(f"{sign}1") == f"'{sign}1"


# What is in it


@pytest.mark.parametrize("name", ["Makefile.txt", "Makefile.mk", "MAKEFILE", "makefile", "GNUmakefile", "Makefile (1)"])
def test_a_makefile_however_spelled(place: Place, name: str) -> None:
    assert names(place.put({f"ada/{name}": MAKE, "ada/jiffies.c": C}).one()) == ["Makefile", "jiffies.c"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("\ufeff// é\n".encode("utf-16-le"), "UTF-16"), ("\ufeff// é\n".encode("utf-16-be"), "UTF-16"),
        ("// é abc\n".encode("utf-16-le"), "UTF-16"), ("// é abc\n".encode("utf-16-be"), "UTF-16"),
        ("\ufeff// é\n".encode(), "has a byte order mark"), ("// é\n".encode("latin-1"), "is in Latin-1"),
    ],
)  # fmt: skip
def test_sources_in_other_encodings_are_converted_and_named(place: Place, content: bytes, what: str) -> None:
    only = place.put({"ada/jiffies.c": content, "ada/Makefile": MAKE}).one()
    assert (only.files / "jiffies.c").read_text().startswith("// é")
    assert any("'jiffies.c'" in note and what in note for note in only.notes)


def test_line_ends_of_windows(place: Place) -> None:
    only = place.put({"ada/jiffies.c": C.replace(b"\n", b"\r\n"), "ada/Makefile": MAKE.replace(b"\n", b"\r\n")}).one()
    assert (only.files / "Makefile").read_bytes() == MAKE
    assert (only.files / "jiffies.c").read_bytes() == C
    assert [note for note in only.notes if "Windows" in note] == [only.notes[0]]


def test_plain_sources_stay_as_they_are(place: Place) -> None:
    only = place.put({"ada/jiffies.c": "// é ü 张\n".encode(), "ada/Makefile": MAKE}).one()
    assert not only.notes


def test_only_what_was_built(place: Place) -> None:
    only = place.put({"ada/jiffies.ko": b"\x7fELF", "bob/jiffies.c": C}).collect().submissions[0]
    assert "no C source file in it, only 'jiffies.ko'" in only.problems[0]


def test_an_archive_without_sources_does_not_count(place: Place) -> None:
    place.zip("ada_4711_9001_code.zip", {"jiffies.c": C})
    place.zip("ada_4711_9002_screenshots.zip", {"one.png": b""})
    only = place.one()
    assert (names(only), only.problems) == (["jiffies.c"], ())
    assert only.notes == ("'code.zip' counts; there are no sources in 'screenshots.zip'.",)


def test_loose_files_count_for_more_than_an_archive(place: Place) -> None:
    place.zip("ada_4711_9001_all.zip", {"old.c": C})
    only = place.put({"ada_4711_9002_jiffies.c": C}).one()
    assert names(only) == ["jiffies.c"]
    assert "not opened: 'all.zip'" in only.notes[0]


def test_a_zip_of_powershell(place: Place) -> None:
    place.zip("ada.zip", {"lab1\\": b"", "lab1\\src\\": b"", "lab1\\src\\jiffies.c": C, "lab1\\src\\Makefile": MAKE})
    assert names(place.one()) == ["Makefile", "jiffies.c"]


def test_which_of_several_folders_is_built_is_said(place: Place) -> None:
    place.put({"ada/Part 1/hello.c": C, "ada/Part 2/jiffies.c": C, "ada/Part 2/Makefile": MAKE, "bob/old/jiffies.c": C})
    place.put({"bob/my code/jiffies.c": C})
    ada, bob = place.collect().submissions
    assert (ada.place, bob.place) == ("Part_2", "my_code")
    assert ada.notes == ("Of 2 folders with sources 'Part 2' was built; the others do not count.",)


# Which modules are graded


@pytest.mark.parametrize(
    ("built", "graded"),
    [
        (["simple", "jiffies", "seconds"], ["jiffies"]), (["a", "b"], ["a", "b"]), (["only"], ["only"]),
        (["hello", "my_jiffies"], ["my_jiffies"]), (["a", "quoted"], ["quoted"]),
    ],
)  # fmt: skip
def test_the_labs_own_module_is_graded(place: Place, tmp_path: Path, built: list[str], graded: list[str]) -> None:
    (tmp_path / "quoted.c").write_text('proc_create("jiffies", 0, NULL, &ops);\n')
    modules = [tmp_path / f"{name}.ko" for name in built]
    for module in modules:
        module.write_bytes(b"\x00depends=\x00")
    found = chosen(modules, tmp_path, place.lab)
    assert [module.stem for module in found] == graded
    assert bool(left_out(modules, found)) is (len(found) < len(modules))


def test_what_a_module_needs_is_loaded_before_it(place: Place, tmp_path: Path) -> None:
    needs = {"jiffies": b"\x00depends=base-one,missing\x00", "base-one": b"\x00depends=jiffies\x00", "other": b""}
    modules = [tmp_path / f"{name}.ko" for name in needs]
    for module in modules:
        module.write_bytes(needs[module.stem])
    assert [module.stem for module in chosen(modules, tmp_path, place.lab)] == ["base-one", "jiffies"]


def test_names_that_differ_in_their_letters_alone_are_two_students(place: Place) -> None:
    arrived = place.put({"Alice/jiffies.c": C, "alice/jiffies.c": C}).collect()
    assert [one.student for one in arrived.submissions] == ["Alice", "alice"]
    assert len({one.files for one in arrived.submissions}) == 2


def test_one_long_name_does_not_move_the_others_lines(place: Place) -> None:
    lines = place.put({f"{'a' * 200}/jiffies.c": C, "bob/jiffies.c": C}).collect().lines()
    assert lines[1] == f"{'bob':<40}  bob"

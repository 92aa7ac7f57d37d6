"""Intake: every form in which submissions arrive, and every trick that an archive can play."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import socket
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kmodlab.errors import UsageError
from kmodlab.grading.intake import Submission, collect
from kmodlab.grading.names import clean, is_late, origin_of, slug
from kmodlab.grading.unpack import Extraction, Refused, open_plain, parts_of, take_archive

from .grading_labs import load_lab

C = b"int init_module(void) { return 0; }\n"


class Class:
    """A folder of submissions, and what intake makes of it."""

    def __init__(self, tmp_path: Path) -> None:
        self.place = tmp_path / "submissions"
        self.place.mkdir()
        self.work = tmp_path / "work"
        self.lab_folder = tmp_path / "jiffies"

    def collect(self, source: Path | None = None, **lab: Any) -> list[Submission]:
        """Take in the folder, or another source, for a lab with these changes."""
        limits = {"upload": 1, "files": 20, **lab.pop("limits", {})}
        form = lab.pop("form", "")
        what = load_lab(self.lab_folder, limits=limits, **lab)
        return list(collect(source or self.place, what, self.work, form).submissions)

    def one(self, **lab: Any) -> Submission:
        """Take in the only submission that is there."""
        (only,) = self.collect(**lab)
        return only

    def refused(self, match: str, **lab: Any) -> Submission:
        """The one submission, which is refused for this reason; nothing got out of its folder."""
        only = self.one(**lab)
        assert len(only.problems) == 1, only
        assert match in only.problems[0]
        assert only.problems[0].endswith(".")
        outside = [path for path in self.work.parent.rglob("*") if "evil" in path.name]
        assert not outside
        return only


@pytest.fixture
def arrived(tmp_path: Path) -> Class:
    return Class(tmp_path)


def files(submission: Submission) -> dict[str, bytes]:
    found = {path.relative_to(submission.files).as_posix(): path for path in submission.files.rglob("*")}
    return {name: path.read_bytes() for name, path in sorted(found.items()) if path.is_file()}


def make_zip(path: Path, members: Mapping[Any, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, members: dict[str, bytes], *more: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in more:
            archive.addfile(info)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


# The forms


def test_a_folder_a_student(arrived: Class) -> None:
    for name in ("Bob", "alice", "Zoë O'Neill", "张伟", "محمد"):
        (arrived.place / name).mkdir()
        (arrived.place / name / "jiffies.c").write_bytes(C)
    found = arrived.collect()
    assert [s.student for s in found] == ["alice", "Bob", "Zoë O'Neill", "张伟", "محمد"] or len(found) == 5
    assert all(files(s) == {"jiffies.c": C} and not s.problems and not s.notes for s in found)
    assert len({s.files for s in found}) == 5
    assert len({s.digest for s in found}) == 1


def test_the_copy_is_a_copy(arrived: Class) -> None:
    (arrived.place / "alice").mkdir()
    original = arrived.place / "alice" / "jiffies.c"
    original.write_bytes(C)
    (arrived.one().files / "jiffies.c").write_bytes(b"changed")
    assert original.read_bytes() == C


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_archives_of_every_kind(arrived: Class, kind: str) -> None:
    members = {"lab 1/jiffies.c": C, "lab 1/Makefile": b"all:\n", "lab 1/include/x.h": b""}
    path = arrived.place / f"alice.{kind}"
    if kind == "zip":
        make_zip(path, {**members, "__MACOSX/lab 1/._jiffies.c": b"junk", "lab 1/.DS_Store": b"junk"})
    else:
        make_tar(path, members, mode={"tar": "w", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}.get(kind, "w:gz"))
    submission = arrived.one()
    assert submission.student == "alice"
    assert files(submission) == {"jiffies.c": C, "Makefile": b"all:\n", "include/x.h": b""}
    assert not submission.problems


def test_the_content_says_what_an_archive_is(arrived: Class) -> None:
    make_tar(arrived.place / "alice.zip", {"jiffies.c": C})
    make_zip(arrived.place / "bob.tar.gz", {"jiffies.c": C})
    assert [files(s) for s in arrived.collect()] == [{"jiffies.c": C}] * 2


def test_a_c_file_a_student(arrived: Class) -> None:
    (arrived.place / "alice.c").write_bytes(C)
    (arrived.place / "bob smith.c").write_bytes(C)
    (arrived.place / "grades.csv").write_text("the instructor's own\n")
    found = arrived.collect()
    assert [(s.student, list(files(s))) for s in found] == [("alice", ["alice.c"]), ("bob smith", ["bob_smith.c"])]
    assert found[0].notes == ("The lab asks for jiffies.c, which is not there.",)


def test_one_submission_alone(arrived: Class) -> None:
    folder = arrived.place / "alice"
    folder.mkdir()
    (folder / "jiffies.c").write_bytes(C)
    (folder / "more.c").write_bytes(C)
    (only,) = arrived.collect(folder)
    assert (only.student, list(files(only))) == ("alice", ["jiffies.c", "more.c"])
    (only,) = arrived.collect(folder / "jiffies.c")
    assert (only.student, list(files(only))) == ("jiffies", ["jiffies.c"])
    (only,) = arrived.collect(make_zip(arrived.place / "bob.zip", {"x/jiffies.c": C}))
    assert (only.student, list(files(only))) == ("bob", ["jiffies.c"])


def test_a_makefile_makes_a_folder_one_submission(arrived: Class) -> None:
    for name in ("a.c", "b.c", "Makefile"):
        (arrived.place / name).write_bytes(C)
    assert arrived.one().student == "submissions"


def test_moodle_with_folders(arrived: Class) -> None:
    for name, file in (
        ("Ada Lovelace_101", "my lab.zip"),
        ("Zoë 张_102", "jiffies.c"),
        ("Participant_103", "x.tar.gz"),
    ):
        folder = arrived.place / f"{name}_assignsubmission_file_"
        folder.mkdir()
        if file.endswith("zip"):
            make_zip(folder / file, {"jiffies.c": C})
        elif file.endswith("gz"):
            make_tar(folder / file, {"deep/er/jiffies.c": C})
        else:
            (folder / file).write_bytes(C)
    text = arrived.place / "Ada Lovelace_101_assignsubmission_onlinetext_"
    text.mkdir()
    (text / "onlinetext.html").write_text("<p>hello")
    found = arrived.collect()
    assert [s.student for s in found] == ["Ada Lovelace", "Participant 103", "Zoë 张"]
    assert found[0].name == "Ada Lovelace_101_assignsubmission_file_"
    assert all(files(s) == {"jiffies.c": C} and not s.problems for s in found)


def test_moodle_without_folders(arrived: Class) -> None:
    (arrived.place / "Ada Lovelace_101_assignsubmission_file_jiffies.c").write_bytes(C)
    (arrived.place / "Ada Lovelace_101_assignsubmission_file_Makefile").write_bytes(b"all:\n")
    make_zip(arrived.place / "Bob_102_assignsubmission_file_work.zip", {"jiffies.c": C})
    (arrived.place / "Bob_102_assignsubmission_file_report.pdf").write_bytes(b"%PDF")
    found = arrived.collect()
    assert [(s.student, list(files(s))) for s in found] == [
        ("Ada Lovelace", ["Makefile", "jiffies.c"]),
        ("Bob", ["jiffies.c"]),
    ]


def test_a_moodle_download_that_is_still_a_zip(arrived: Class, tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"jiffies.c": C}).read_bytes()
    whole = make_zip(
        tmp_path / "OS-101-Lab 1-4711.zip",
        {
            "Ada Lovelace_101_assignsubmission_file_/lab.zip": inner,
            "张伟_102_assignsubmission_file_/jiffies.c": C,
        },
    )
    found = arrived.collect(whole)
    assert [(s.student, list(files(s))) for s in found] == [("Ada Lovelace", ["jiffies.c"]), ("张伟", ["jiffies.c"])]


def test_canvas(arrived: Class) -> None:
    make_zip(arrived.place / "doejane_123_456_lab1.zip", {"jiffies.c": C})
    make_zip(arrived.place / "roerichard_LATE_124_457_my_lab.zip", {"jiffies.c": C})
    (arrived.place / "zhangwei_125_458_jiffies-1.c").write_bytes(C)
    (arrived.place / "zhangwei_125_459_Makefile").write_bytes(b"all:\n")
    (arrived.place / "anon_Xy9z_460_jiffies.c").write_bytes(C)
    (arrived.place / "zhangwei_125_text.html").write_text("<p>hello")
    found = arrived.collect()
    assert [(s.student, s.late) for s in found] == [
        ("anon_Xy9z", False), ("doejane", False), ("roerichard", True), ("zhangwei", False),
    ]  # fmt: skip
    assert files(found[3]) == {"Makefile": b"all:\n", "jiffies.c": C}


def test_who_only_typed_a_text_is_told(arrived: Class) -> None:
    text = arrived.place / "Ada Lovelace_101_assignsubmission_onlinetext_"
    text.mkdir()
    (text / "onlinetext.html").write_text("<p>int main")
    canvas = arrived.place.with_name("canvas")
    canvas.mkdir()
    (canvas / "typed_126_text.html").write_text("<p>int main")
    for place, student in ((arrived.place, "Ada Lovelace"), (canvas, "typed")):
        (only,) = arrived.collect(place)
        assert only.student == student
        assert "Hand in your source files" in only.problems[0]


_OTHERS = (("Ada", "103"), ("Eve", "104"))


@pytest.mark.parametrize(
    "theirs",
    [
        "Bob_102_assignsubmission_file_/jiffies.ko",
        "Bob_102_assignsubmission_file_report.pdf",
        "bob_102_457_jiffies.ko",
        "lab1/Bob/jiffies.ko",
    ],
)
def test_who_handed_in_no_source_is_in_the_class_of_a_zip(arrived: Class, tmp_path: Path, theirs: str) -> None:
    others = {theirs.replace("ob", name).replace("102", n).replace("457", n + "9"): name for name, n in _OTHERS}
    sources = {name.rpartition(".")[0] + ".c": C for name in others}
    whole = make_zip(tmp_path / "all.zip", {theirs: b"\x7fELF", **sources})
    found = {one.student: one.problems for one in arrived.collect(whole)}
    assert len(found) == 3
    (refused,) = [problems for problems in found.values() if problems]
    assert "There is no C source file in it" in refused[0]


def test_what_lies_beside_the_students_of_a_zip_is_no_student(arrived: Class, tmp_path: Path) -> None:
    members = {"lab/handout.pdf": b"", "lab/jiffies.ko": b"", "lab/in/ada/a.c": C, "lab/in/bob/a.c": C}
    assert [s.student for s in arrived.collect(make_zip(tmp_path / "all.zip", members))] == ["ada", "bob"]


def test_a_download_that_cannot_be_unpacked_is_no_submission(arrived: Class, tmp_path: Path) -> None:
    whole = make_zip(tmp_path / "all.zip", {"Ada_101_assignsubmission_file_/x.c": C, "../evil.c": C})
    with pytest.raises(UsageError, match=r"the download cannot be unpacked: '\.\./evil\.c' leads out"):
        arrived.collect(whole)


def test_classroom_clones(arrived: Class) -> None:
    for name in ("lab1-alice", "lab1-al-bob", "lab1-carol"):
        git = arrived.place / name / ".git"
        git.mkdir(parents=True)
        (git / "config").write_text("[core]\n\tfsmonitor = touch /tmp/evil\n")
        (arrived.place / name / "jiffies.c").write_bytes(C)
    found = arrived.collect()
    assert [s.student for s in found] == ["al-bob", "alice", "carol"]
    assert all(files(s) == {"jiffies.c": C} for s in found)


def test_nothing_to_grade(arrived: Class) -> None:
    (arrived.place / "notes.txt").write_text("")
    with pytest.raises(UsageError, match="nothing to grade"):
        arrived.collect()
    with pytest.raises(UsageError, match="there is no"):
        arrived.collect(arrived.place / "nowhere")


# Late, and several of one student


@pytest.mark.parametrize(
    ("name", "late"),
    [
        ("alice (late)", True), ("alice [LATE]", True), ("Ada (late)_1_assignsubmission_file_", True), ("kate", False),
        ("late", False), ("kim-late", False), ("Ada Late_1_assignsubmission_file_", False), ("translate (1).c", False),
    ],
)  # fmt: skip
def test_late_is_read_from_the_name(name: str, late: bool) -> None:
    assert is_late(name) is late


@pytest.mark.parametrize(("rule", "refused"), [("accept", False), ("penalty", False), ("refuse", True)])
def test_the_rule_for_late_ones(arrived: Class, rule: str, refused: bool) -> None:
    make_zip(arrived.place / "roe_LATE_124_457_lab.zip", {"jiffies.c": C})
    only = arrived.one(late={"rule": rule})
    assert only.late
    assert bool(only.problems) is refused


@pytest.mark.parametrize(("rule", "counts"), [("last", "lab-10.zip"), ("first", "lab-2.zip")])
def test_several_of_one_student(arrived: Class, rule: str, counts: str) -> None:
    for number, name in ((1, "lab-2.zip"), (2, "lab-10.zip")):
        make_zip(arrived.place / f"roe_124_{number}_{name}", {"jiffies.c": name.encode()})
    only = arrived.one(duplicates=rule)
    assert files(only) == {"jiffies.c": counts.encode()}
    assert f"the {rule} counts" in only.notes[0]
    assert counts in only.notes[0]


def test_where_late_ones_are_refused_the_last_in_time_counts(arrived: Class) -> None:
    make_zip(arrived.place / "roe_124_1_lab.zip", {"jiffies.c": b"in time"})
    make_zip(arrived.place / "roe_LATE_124_2_lab-1.zip", {"jiffies.c": b"late"})
    only = arrived.one(late={"rule": "refuse"})
    assert files(only) == {"jiffies.c": b"in time"}
    assert not only.problems


def test_two_archives_in_a_folder(arrived: Class) -> None:
    folder = arrived.place / "Ada_1_assignsubmission_file_"
    make_zip(folder / "v9.zip", {"jiffies.c": b"nine"})
    make_zip(folder / "v10.zip", {"jiffies.c": b"ten"})
    only = arrived.one()
    assert files(only) == {"jiffies.c": b"ten"}
    assert "'v10.zip'" in only.notes[0]


def test_namesakes_are_two(arrived: Class) -> None:
    for number in (1, 2):
        make_zip(arrived.place / f"Kim Lee_{number}_assignsubmission_file_" / "x.zip", {"jiffies.c": b"%d" % number})
    assert [files(s)["jiffies.c"] for s in arrived.collect()] == [b"1", b"2"]


# What is left out


def test_what_a_build_made_is_left_out(arrived: Class) -> None:
    built = ["jiffies.ko", "jiffies.o", "jiffies.mod.c", ".jiffies.o.cmd", "Module.symvers", "modules.order"]
    make_zip(arrived.place / "alice.zip", {"jiffies.c": C, **dict.fromkeys(built, b"\x7fELF"), "x.o_shipped": b""})
    only = arrived.one()
    assert files(only) == {"jiffies.c": C}
    assert "7 files that a build makes" in only.notes[0]


def test_only_built_files(arrived: Class) -> None:
    make_zip(arrived.place / "alice.zip", {"jiffies.ko": b"\x7fELF"})
    arrived.refused("no C source file")


def test_documents_do_not_count(arrived: Class) -> None:
    make_zip(
        arrived.place / "alice.zip", {"jiffies.c": C, "report.pdf": os.urandom(900_000), "b.png": os.urandom(90_000)}
    )
    assert files(arrived.one()) == {"jiffies.c": C}


@pytest.mark.parametrize(
    ("kind", "target", "what"),
    [
        (tarfile.SYMTYPE, "/etc/shadow", "a symbolic link"),
        (tarfile.SYMTYPE, "../../../etc", "a symbolic link"),
        (tarfile.LNKTYPE, "/etc/shadow", "a hard link"),
        (tarfile.CHRTYPE, "", "a device"),
        (tarfile.BLKTYPE, "", "a device"),
        (tarfile.FIFOTYPE, "", "a pipe"),
    ],
)
def test_specials_in_a_tar_are_left_out_by_name(arrived: Class, kind: bytes, target: str, what: str) -> None:
    make_tar(arrived.place / "alice.tar.gz", {"jiffies.c": C}, special("odd.c", kind, target))
    only = arrived.one()
    assert files(only) == {"jiffies.c": C}
    assert "'odd.c' was left out" in only.notes[0]
    assert what in only.notes[0]


def test_writing_through_a_link_of_the_archive(arrived: Class, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    path = arrived.place / "alice.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(special("d", tarfile.SYMTYPE, str(outside)))
        for name in ("d/evil.c", "jiffies.c"):
            info = tarfile.TarInfo(name)
            info.size = len(C)
            archive.addfile(info, io.BytesIO(C))
    only = arrived.one()
    assert not list(outside.iterdir())
    assert files(only) == {"d/evil.c": C, "jiffies.c": C}


def test_a_symbolic_link_in_a_zip(arrived: Class) -> None:
    link = zipfile.ZipInfo("link.c")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    make_zip(arrived.place / "alice.zip", {"jiffies.c": C, link: b"/etc/shadow"})
    only = arrived.one()
    assert files(only) == {"jiffies.c": C}
    assert "'link.c' was left out: it is a symbolic link" in only.notes[0]


def test_specials_in_a_folder(arrived: Class) -> None:
    folder = arrived.place / "alice"
    folder.mkdir()
    (folder / "jiffies.c").write_bytes(C)
    (folder / "shadow.c").symlink_to("/etc/shadow")
    (folder / "up").symlink_to("..", target_is_directory=True)
    os.mkfifo(folder / "pipe.c")
    (arrived.place.parent / "elsewhere.c").write_bytes(b"secret")
    (folder / "hard.c").hardlink_to(arrived.place.parent / "elsewhere.c")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(folder / "socket.c"))
    only = arrived.one()
    assert files(only) == {"jiffies.c": C}
    assert len(only.notes) == 5
    assert all("was left out" in note for note in only.notes)


def test_a_link_for_a_submission(arrived: Class) -> None:
    (arrived.place / "alice").symlink_to("/etc", target_is_directory=True)
    arrived.refused("is a symbolic link")


def test_a_pipe_for_a_submission(arrived: Class) -> None:
    os.mkfifo(arrived.place / "alice.zip")
    arrived.refused("no plain file")


def test_no_link_is_followed_and_no_pipe_waited_for(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    for name, why in (
        ("link", "cannot be read"),
        ("pipe", "no plain file"),
        (".", "no plain file"),
        ("none", "cannot"),
    ):
        with pytest.raises(Refused, match=why):
            open_plain(tmp_path / name)


def test_many_links_are_summed_up(arrived: Class) -> None:
    links = [special(f"l{n}.c", tarfile.SYMTYPE, "/etc/shadow") for n in range(30)]
    make_tar(arrived.place / "alice.tar.gz", {"jiffies.c": C}, *links)
    notes = arrived.one().notes
    assert len(notes) == 11
    assert "20 more links" in notes[-1]


# What is refused


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../evil.c", "leads out of its folder"),
        ("a/../../evil.c", "leads out of its folder"),
        ("a\\..\\..\\evil.c", "leads out of its folder"),
        ("/var/evil.c", "absolute path"),
        ("C:\\evil.c", "absolute path"),
        ("\\\\server\\evil.c", "absolute path"),
        ("d/" * 20 + "evil.c", "deeper than 16 folders"),
        ("x" * 256 + ".c", "longer than 255 bytes"),
    ],
)
def test_paths_that_lead_elsewhere(arrived: Class, name: str, why: str) -> None:
    make_zip(arrived.place / "alice.zip", {"jiffies.c": C, name: C})
    arrived.refused(why)
    (arrived.place / "alice.zip").unlink()
    make_tar(arrived.place / "alice.tar.gz", {"jiffies.c": C, name: C})
    arrived.refused(why)


def test_a_nul_byte_in_a_name() -> None:
    with pytest.raises(Refused, match="NUL byte"):
        parts_of("a\0b.c")


def test_a_zip_bomb_by_size(arrived: Class) -> None:
    make_zip(arrived.place / "alice.zip", {"jiffies.c": C, "zeros.c": bytes(2 << 20)})
    arrived.refused("larger than 1 MiB when unpacked")


def test_a_zip_bomb_by_ratio(arrived: Class) -> None:
    make_zip(arrived.place / "alice.zip", {"jiffies.c": C, "zeros.c": bytes(3 << 20)})
    arrived.refused("more than 100 times its size", limits={"upload": 8})


def test_a_zip_bomb_by_count(arrived: Class) -> None:
    make_zip(arrived.place / "alice.zip", {f"{n}.c": b"" for n in range(30)})
    arrived.refused("more than 20 files")
    make_zip(arrived.place / "alice.zip", {f"{n}.o": b"" for n in range(500)})
    arrived.refused("It has 500 files")


def test_a_zip_that_lies_about_sizes(arrived: Class) -> None:
    path = make_zip(arrived.place / "alice.zip", {"jiffies.c": bytes(5 << 20)})
    size = struct.pack("<I", 5 << 20)
    path.write_bytes(path.read_bytes().replace(size, struct.pack("<I", 10)))
    arrived.refused("is damaged")


def test_a_tar_bomb(arrived: Class) -> None:
    make_tar(arrived.place / "alice.tar.gz", {"jiffies.c": C, "zeros.c": bytes(2 << 20)})
    arrived.refused("larger than 1 MiB when unpacked")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_whose_header_claims_gigabytes(arrived: Class, pack: Callable[[bytes], bytes]) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 6 << 30
    (arrived.place / "alice.tar.gz").write_bytes(pack(info.tobuf(tarfile.USTAR_FORMAT) + bytes(20 << 20)))
    arrived.refused("more than anybody writes")


def test_a_sparse_tar_member(arrived: Class) -> None:
    info = tarfile.TarInfo("hole.c")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    buffer = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    buffer[483:495] = b"77777777777\0"  # the real size: 8 GiB
    buffer[148:156] = b"        "
    buffer[148:156] = b"%06o\0 " % sum(buffer)
    (arrived.place / "alice.tar").write_bytes(bytes(buffer) + bytes(1024))
    arrived.refused("larger than 1 MiB")


def test_an_endless_tar(arrived: Class) -> None:
    make_tar(arrived.place / "alice.tar.gz", {f"{n}.o": b"" for n in range(500)})
    arrived.refused("more than 400 entries")


def test_an_archive_that_is_itself_too_large(arrived: Class) -> None:
    (arrived.place / "alice.zip").write_bytes(b"PK\x03\x04" + os.urandom(2 << 20))
    arrived.refused("is larger than 1 MiB")


def test_a_folder_that_is_too_large(arrived: Class) -> None:
    (arrived.place / "alice").mkdir()
    (arrived.place / "alice" / "big.c").write_bytes(bytes(2 << 20))
    arrived.refused("larger than 1 MiB")


def test_a_folder_with_too_many_files(arrived: Class) -> None:
    (arrived.place / "alice").mkdir()
    (arrived.place / "alice" / "Makefile").write_bytes(b"obj-m := 1.o\n")
    for n in range(30):
        (arrived.place / "alice" / f"{n}.c").write_bytes(C)
    arrived.refused("more than 20 files")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is no zip or tar file"),
        (b"Rar!\x1a\x07\x00" + bytes(99), "is damaged"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(99), "no C source file"),
        (b"\x28\xb5\x2f\xfd" + bytes(99), "is damaged"),
        (b"<html>not found</html>", "is no zip or tar file"),
        (b"PK\x03\x04" + bytes(99), "is damaged"),
        (b"PK\x05\x06" + bytes(18), "no C source file"),
        (b"\x1f\x8b\x08" + bytes(99), "is damaged"),
        (gzip.compress(C, mtime=0), "is damaged"),
        (b"BZh9" + bytes(99), "is damaged"),
        (b"\xfd7zXZ\x00" + bytes(99), "is damaged"),
    ],
)
def test_what_is_no_archive(arrived: Class, content: bytes, why: str) -> None:
    (arrived.place / "alice.zip").write_bytes(content)
    arrived.refused(why)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_that_was_cut(arrived: Class, kind: str) -> None:
    path = arrived.place / f"alice.{kind}"
    (make_zip if kind == "zip" else make_tar)(path, {"jiffies.c": os.urandom(9000)})
    path.write_bytes(path.read_bytes()[:-4000])
    arrived.refused("is damaged")


def test_any_byte_may_be_wrong(arrived: Class) -> None:
    """No damage of an archive is more than a problem of one submission."""
    whole = make_zip(arrived.place / "alice.zip", {"a/jiffies.c": C, "a/Makefile": b"all:\n"}).read_bytes()
    packed = make_tar(arrived.place / "bob.tar.gz", {"a/jiffies.c": C}, mode="w").read_bytes()
    for number in range(len(whole)):
        at = number
        (arrived.place / "alice.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        at = number % 600
        (arrived.place / "bob.tar.gz").write_bytes(packed[:at] + bytes([packed[at] ^ 0xFF]) + packed[at + 1 :])
        assert len(arrived.collect()) == 2


def test_an_encrypted_zip(arrived: Class) -> None:
    path = make_zip(arrived.place / "alice.zip", {"jiffies.c": C})
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    path.write_bytes(data)
    arrived.refused("is encrypted")


def test_a_file_and_a_folder_at_once(arrived: Class) -> None:
    make_zip(arrived.place / "alice.zip", {"a": C, "a/jiffies.c": C})
    arrived.refused("a file and a folder at once")


def test_an_archive_in_an_archive(arrived: Class, tmp_path: Path) -> None:
    inner = make_tar(tmp_path / "inner.tar.gz", {"lab/jiffies.c": C}).read_bytes()
    make_zip(arrived.place / "alice.zip", {"hand in/inner.tar.gz": inner, "README.txt": b"see inside"})
    only = arrived.one()
    assert files(only) == {"jiffies.c": C}
    assert "packed twice" in only.notes[0]


def test_archives_three_deep(arrived: Class, tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "a.zip", {"jiffies.c": C}).read_bytes()
    inner = make_zip(tmp_path / "b.zip", {"a.zip": inner}).read_bytes()
    make_zip(arrived.place / "alice.zip", {"b.zip": inner})
    arrived.refused("two deep, no deeper")


def test_a_nested_archive_counts_with_the_outer_one(arrived: Class, tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "a.zip", {"jiffies.c": bytes(2 << 20)}).read_bytes()
    make_zip(arrived.place / "alice.zip", {"a.zip": inner})
    arrived.refused("larger than 1 MiB")


def test_one_bad_one_does_not_stop_the_others(arrived: Class) -> None:
    make_zip(arrived.place / "a.zip", {"../evil.c": C})
    (arrived.place / "b.zip").write_bytes(b"PK\x03\x04")
    make_zip(arrived.place / "c.zip", {"jiffies.c": C})
    assert [bool(s.problems) for s in arrived.collect()] == [True, True, False]


@pytest.mark.parametrize("ours", [True, False])
def test_a_full_disk_is_not_the_students_fault(tmp_path: Path, ours: bool) -> None:
    """Another error is the archive's."""

    class Full(Extraction):
        def put(self, *_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC if ours else errno.EINVAL, "No space left on device")

    archive, extraction = (
        make_zip(tmp_path / "alice.zip", {"jiffies.c": C}),
        Full(tmp_path / "extraction", megabytes=1, files=1),
    )
    with pytest.raises(OSError if ours else Refused, match="No space left"):
        take_archive(archive, extraction)


# Names


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Übung.h".encode(), "Übung.h"),  # no flag for UTF-8, but that is what it is
        (b"\x81bung.h", "übung.h"),  # code page 437
    ],
)
def test_names_in_a_zip_without_the_flag_for_utf_8(arrived: Class, raw: bytes, name: str) -> None:
    path = make_zip(arrived.place / "alice.zip", {"x" * len(raw): b"", "jiffies.c": C})
    path.write_bytes(path.read_bytes().replace(b"x" * len(raw), raw))
    assert set(files(arrived.one())) == {"jiffies.c", name}


def test_names_in_a_tar_that_are_no_utf_8(arrived: Class) -> None:
    with tarfile.open(arrived.place / "alice.tar", "w", encoding="latin-1") as archive:
        for name in ("Übung.h", "jiffies.c"):
            info = tarfile.TarInfo(name)
            info.size = len(C)
            archive.addfile(info, io.BytesIO(C))
    assert set(files(arrived.one())) == {"jiffies.c", "Übung.h"}


def test_a_student_whose_name_is_no_utf_8(arrived: Class) -> None:
    folder = os.fsencode(arrived.place) + b"/M\xfcller"
    os.mkdir(folder)  # noqa: PTH102
    Path(os.fsdecode(folder), "jiffies.c").write_bytes(C)
    only = arrived.one()
    assert (only.student, only.name) == ("Müller", "Müller")
    only.student.encode()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", "a�b"), ("a\x1b[1mb", "a�[1mb"), ("a\u202eb", "ab"), ("e\u0301", "é"), ("\udcff", "ÿ"),
        ("\ud800", "?"), ("\u0645\u06cc\u200c", "\u0645\u06cc\u200c"), ("\u2028", "�"),
    ],
)  # fmt: skip
def test_names_are_made_fit_to_show(name: str, shown: str) -> None:
    assert clean(name) == shown


@pytest.mark.parametrize(
    ("name", "slugged"), [("Zoë O'Neill", "Zoe-O-Neill"), ("张伟", "student"), ("../../x", "x"), ("a" * 99, "a" * 60)]
)
def test_slugs(name: str, slugged: str) -> None:
    assert slug(name) == slugged


@pytest.mark.parametrize(
    ("name", "participant", "user"),
    [
        ("Ada Lovelace_101_assignsubmission_file_", "101", ""),
        ("Ada Lovelace_101_assignsubmission_file", "101", ""),  # as Moodle since 4.1 names it
        ("A - Ada Lovelace_101_assignsubmission_file_x_1_2.zip", "101", ""),
        ("doejane_123_456_lab_1_2.zip", "", "123"),
        ("doejane_LATE_123_456_lab.zip", "", "123"),
        ("LATE_anon_Ab1_456_lab.zip", "", "anon_Ab1"),
        ("alice.zip", "", ""),
    ],
)
def test_ids_are_read_from_names(name: str, participant: str, user: str) -> None:
    origin = origin_of(name)
    assert (origin.participant, origin.user) == (participant, user)


def test_a_hostile_name_is_only_a_name(arrived: Class) -> None:
    for name in ("<script>alert(1)</script>".replace("/", "\u2215"), "$(reboot)", "-rf", "a'b\"c", "=1+1", "%s%n"):
        make_zip(arrived.place / f"{name}.zip", {"jiffies.c": C})
    found = arrived.collect()
    assert len(found) == 6
    assert all(s.files.is_relative_to(arrived.work) and not s.problems for s in found)


def test_the_order_and_the_copies_are_the_same_each_time(arrived: Class) -> None:
    for name in ("b 10", "B 9", "a", "ä"):
        make_zip(arrived.place / f"{name}.zip", {"jiffies.c": name.encode()})
    assert arrived.collect() == arrived.collect()


def test_the_digest_is_of_names_and_content(tmp_path: Path) -> None:
    digests = set()
    for number, members in enumerate(({"a.c": C}, {"b.c": C}, {"a.c": C + b"\n"}, {"a.c": C, "b.c": b""})):
        (tmp_path / str(number)).mkdir()
        arrived = Class(tmp_path / str(number))
        make_zip(arrived.place / "x.zip", members)
        digests.add(arrived.one().digest)
    assert len(digests) == 4


def test_a_tray_takes_no_more_than_its_limits(tmp_path: Path) -> None:
    extraction = Extraction(tmp_path / "extraction", megabytes=1, files=2)
    extraction.put(("a.c",), io.BytesIO(C))
    extraction.put(("b.c",), io.BytesIO(C))
    with pytest.raises(Refused, match="more than 2 files"):
        extraction.put(("c.c",), io.BytesIO(C))
    with pytest.raises(Refused, match="no plain file"):
        take_archive(tmp_path, extraction)

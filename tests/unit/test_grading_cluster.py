"""Workers of dask.distributed, as real processes: one that is killed loses nothing, and nothing is graded twice."""

from __future__ import annotations

import io
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import SECONDS

from kmodlab.errors import LabError
from kmodlab.grading.cluster import Cluster, image_of, pack, unpack
from kmodlab.grading.grade import Order, grade
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab
from kmodlab.grading.result import Verdict
from kmodlab.grading.store import Store
from kmodlab.image.image import images_dir
from kmodlab.image.plan import planned
from kmodlab.paths import project_dir
from kmodlab.process import Deadline

from .conftest import FakeProgram, make_image
from .grading_cluster import Running, cluster
from .grading_work import slow_work

LAB = project_dir() / "tests" / "grading" / "lab"


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Running]:
    """The address of a scheduler, and its two workers."""
    code = "import sys; from kmodlab.grading.cluster import serve; serve(sys.argv[1], 1)"
    with cluster(tmp_path, lambda address: [sys.executable, "-c", code, address]) as running:
        yield running


def lines_of(file: Path) -> list[str]:
    """Return the lines of a file that may not be there."""
    return file.read_text().splitlines() if file.exists() else []


def class_of(size: int, diary: Path) -> list[Submission]:
    """So many submissions; the name says where the work is noted."""
    (files := diary / "files").mkdir()
    (files / "a.c").write_text("int a;\n")
    return [Submission(f"s{number}", str(diary), files, digest=f"{number}") for number in range(size)]


def test_a_worker_that_is_killed_loses_nothing(workers: Running, tmp_path: Path) -> None:
    address, processes = workers
    lab = Lab.load(LAB)
    ours = Cluster(address, lab, slow_work)
    (diary := tmp_path / "diary").mkdir()
    deadline = Deadline(SECONDS)
    while ours.slots < 2:
        assert not deadline.expired, "the workers do not come"
        time.sleep(0.05)
    found, store = class_of(6, diary), Store(tmp_path / "results")

    def kill() -> None:
        while not deadline.expired and len(lines_of(diary / "begun")) < 2:
            time.sleep(0.02)
        processes[0].kill()
        processes[0].wait()
        (diary / "go").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    results = grade(found, Order(lab, "image", 6), ours.examine, store)
    killer.join()
    ours.close()
    assert [result.student for result in results] == [submission.student for submission in found]
    assert [result.verdict for result in results] == [Verdict.FAIL] * 6, results[0].reason
    ended = Counter(lines_of(diary / "ended"))
    assert ended == Counter(submission.student for submission in found), "graded twice, or lost"
    begun = [line.split() for line in lines_of(diary / "begun")]
    assert {int(number) for number, _ in begun} == {worker.pid for worker in processes}
    assert len(begun) == 7, "what the killed one had begun was begun again"


def test_a_folder_arrives_whole_and_nothing_else(tmp_path: Path) -> None:
    (source := tmp_path / "source").mkdir()
    (source / "a b.c").write_text("int a;\n")
    (source / "deep").mkdir()
    (source / "deep" / "ü.h").write_text("int b;\n")
    (source / "link").symlink_to("/etc/passwd")
    arrived = unpack(pack(source), tmp_path / "arrived")
    assert sorted(str(path.relative_to(arrived)) for path in arrived.rglob("*")) == ["a b.c", "deep", "deep/ü.h"]


def _made_by_another(*members: tuple[str, bytes], mode: int = 0o644) -> bytes:
    """An archive with members of any name and type."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = kind, "../outside", mode
            member.size = 1 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"x"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("../out", tarfile.REGTYPE)], "leads out of its folder"),
        ([("a/../../out", tarfile.DIRTYPE)], "leads out of its folder"),
        ([("/no/such/folder", tarfile.REGTYPE)], "leads out of its folder"),
        ([("link", tarfile.SYMTYPE)], "neither a file nor a folder"),
        ([("link", tarfile.LNKTYPE)], "neither a file nor a folder"),
        ([("pipe", tarfile.FIFOTYPE)], "neither a file nor a folder"),
        ([("null", tarfile.CHRTYPE)], "neither a file nor a folder"),
        ([("a", tarfile.REGTYPE), ("a", tarfile.REGTYPE)], "is there twice"),
    ],
)
def test_an_archive_that_another_has_made_is_refused(
    members: list[tuple[str, bytes]], words: str, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_text("kept")
    with pytest.raises(LabError, match=words) as error:
        unpack(_made_by_another(*members), tmp_path / "in" / "here")
    assert error.value.hint
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} <= {
        "outside",
        "in",
        "in/here",
        "in/here/a",
    }


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot be unpacked"):
        unpack(b"nothing of the kind", tmp_path / "arrived")


@pytest.mark.parametrize(("sent", "here"), [(0o6777, 0o755), (0o4755, 0o755), (0o666, 0o644), (0o000, 0o644)])
def test_modes_are_cleaned(sent: int, here: int, tmp_path: Path) -> None:
    unpack(_made_by_another(("a", tarfile.REGTYPE), mode=sent), tmp_path)
    assert (tmp_path / "a").stat().st_mode & 0o7777 == here


def test_a_lab_that_was_sent_is_the_same_lab(tmp_path: Path) -> None:
    lab = Lab.load(LAB)
    assert Lab.load(unpack(pack(lab.folder), tmp_path / lab.name)).digest == lab.digest


def test_workers_that_built_one_plan_are_alike_while_their_kernels_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fake_program: FakeProgram
) -> None:
    """Each has a build of its own, with an id of its own."""
    fake_program("apt-get", "exit 0")
    plan = planned("debian-12")
    said = []
    for build, kernel in (("01234567", "6.1.0-1"), ("76543210", "6.1.0-1"), ("00000000", "6.1.0-2")):
        monkeypatch.setenv("KMODLAB_CACHE_DIR", str(tmp_path / build))
        make_image(images_dir() / f"{plan.id}-{build}", kernel=kernel)
        said.append(image_of("debian-12"))
    assert said[0] == said[1] != said[2]


def test_no_scheduler_is_an_error_with_a_hint() -> None:
    with pytest.raises(LabError, match="no workers at the scheduler") as error:
        Cluster("tcp://127.0.0.1:1", Lab.load(LAB), patience=0.5)
    assert error.value.hint
    assert "kmodlab worker" in error.value.hint

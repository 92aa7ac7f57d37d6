"""What a snapshot's name depends on, and how snapshots come and go as files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kmodlab.errors import LabError
from kmodlab.image.image import Image
from kmodlab.vm import snapshot
from kmodlab.vm.accelerator import qemu_binary
from kmodlab.vm.hardware import Hardware

from .conftest import FakeProgram, make_image
from .fake_qmp import FakeQmp

HARDWARE = Hardware(1024, 2, "tcg")


@pytest.fixture(autouse=True)
def known_qemu(fake_program: FakeProgram) -> None:
    """A QEMU of a version that this host need not have."""
    fake_program(qemu_binary(), "echo QEMU emulator version 7.2.22")


def test_the_name_stays_while_nothing_changes(image: Image) -> None:
    path = snapshot.path(image, HARDWARE)
    assert path == snapshot.path(Image(image.directory), Hardware(1024, 2, "tcg"))
    assert path.parent == snapshot.snapshots_dir()
    assert path.name.startswith(f"{image.id}-")


@pytest.mark.parametrize("change", [{"memory": 1025}, {"cpus": 1}, {"accelerator": "kvm"}])
def test_the_name_changes_with_the_hardware(image: Image, change: dict[str, object]) -> None:
    assert snapshot.path(image, replace(HARDWARE, **change)) != snapshot.path(image, HARDWARE)  # type: ignore[arg-type]


def test_the_name_changes_with_the_image(image: Image) -> None:
    other = make_image(image.directory.with_name("debian-12-ba9876543210"))
    assert snapshot.path(other, HARDWARE) != snapshot.path(image, HARDWARE)


@pytest.mark.parametrize("path", [snapshot.path, snapshot.bootable_path])
def test_another_build_of_an_image_has_files_of_its_own(image: Image, path: Callable[[Image, Hardware], Path]) -> None:
    """What is in them knows the host key, and lies upon the disk, of one build alone."""
    other = make_image(image.directory.with_name(f"{image.id}-01234567"))
    names = [path(each, HARDWARE).name for each in (image, other)]
    assert [name.rpartition("-")[0] for name in names] == [image.id, other.id]


def test_the_name_changes_with_qemu(image: Image, fake_program: FakeProgram) -> None:
    before = snapshot.path(image, HARDWARE)
    fake_program(qemu_binary(), "echo QEMU emulator version 10.0.2")
    assert snapshot.path(image, HARDWARE) != before


def test_the_name_changes_with_the_users_key(image: Image, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = snapshot.path(image, HARDWARE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another-user"))
    assert snapshot.path(image, HARDWARE) != before


def test_the_name_does_not_know_where_guests_are(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot.path(image, HARDWARE)
    monkeypatch.setenv("KMODLAB_STATE_DIR", "/another/state")
    assert snapshot.path(image, HARDWARE) == before


def _guest(tmp_path: Path) -> Path:
    directory = tmp_path / "guest"
    directory.mkdir()
    (directory / "disk.qcow2").write_text("a disk")
    return directory


def test_a_snapshot_is_saved_while_the_machine_stands_still(tmp_path: Path) -> None:
    target = snapshot.snapshots_dir() / "debian-12-0123-4567.qcow2"
    directory = _guest(tmp_path)
    with FakeQmp(directory, lambda _: [{"return": ""}]) as server:
        snapshot.save(directory, target)
    assert [command["execute"] for command in server.received] == ["human-monitor-command", "stop", "cont"]
    assert server.received[0]["arguments"] == {"command-line": "savevm ready"}
    assert target.read_text() == "a disk"
    assert list(target.parent.iterdir()) == [target]


def test_a_copy_that_fails_leaves_no_snapshot_and_a_running_machine(tmp_path: Path, fake_program: FakeProgram) -> None:
    fake_program("cp", 'for last; do :; done; echo half >"$last"; echo "cp: No space left on device" >&2; exit 1')
    target = snapshot.snapshots_dir() / "debian-12-0123-4567.qcow2"
    directory = _guest(tmp_path)
    with FakeQmp(directory, lambda _: [{"return": ""}]) as server, pytest.raises(LabError) as caught:
        snapshot.save(directory, target)
    assert (caught.value.message, caught.value.output) == ("cp failed", "cp: No space left on device\n")
    assert caught.value.hint == "is the disk full? see `df -h`"
    assert server.received[-1]["execute"] == "cont"
    assert list(target.parent.iterdir()) == []


def test_a_guest_takes_a_copy(tmp_path: Path) -> None:
    source = tmp_path / "ready.qcow2"
    source.write_text("a saved machine")
    directory = tmp_path / "guest"
    directory.mkdir()
    snapshot.take(source, directory)
    (directory / "disk.qcow2").write_text("changed")
    assert source.read_text() == "a saved machine"


def test_prune_removes_the_snapshots_of_other_images() -> None:
    snapshot.snapshots_dir().mkdir(parents=True)
    files = [snapshot.snapshots_dir() / f"debian-{name}.qcow2" for name in ("12-aaaa-1", "12-aaaa-2", "13-bbbb-1")]
    for file in files:
        file.touch()
    assert sorted(snapshot.prune({"debian-13-bbbb"})) == files[:2]
    assert [file.exists() for file in files] == [False, False, True]

"""Where throw-away machines write, which of them are left, and which templates are kept."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kmodlab import paths
from kmodlab.errors import LabError
from kmodlab.grading.lab import Lab
from kmodlab.grading.machines import machines
from kmodlab.grading.session import Session
from kmodlab.image.image import Image
from kmodlab.paths import project_dir
from kmodlab.vm import template
from kmodlab.vm.agent import OWNER, Agent
from kmodlab.vm.console import Tape
from kmodlab.vm.machine import Machine
from kmodlab.vm.pool import Slot, answering, own_directory, sweep
from kmodlab.vm.qemu import Qemu
from kmodlab.vm.ssh import Ssh

from .fake_qmp import FakeQmp
from .stand_in import stand_in


def tape() -> Tape:
    """The console of a machine that has said nothing and has ended."""
    ours, theirs = os.pipe()
    os.close(theirs)
    return Tape(os.fdopen(ours, "rb", buffering=0), 1024)


def test_machines_write_in_memory_where_there_is_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(template, "_SHARED", tmp_path)
    directory = template.runtime_dir(1)
    assert directory.parent == tmp_path
    assert directory.stat().st_mode & 0o777 == 0o700


def _free(monkeypatch: pytest.MonkeyPatch, place: Path, *, shared: int, state: int) -> None:
    """Have so many MiB free in memory, which is at a place, and beside the user's state."""
    monkeypatch.setattr(template, "_SHARED", place)
    free = {place: shared, paths.state_dir(): state}
    monkeypatch.setattr(template, "free_space", lambda place: free[place.parent] << 20)


def test_the_room_that_is_needed_follows_from_jobs_and_limits() -> None:
    one = template.room(1, 512, 256)
    assert one >= (512 + 256) << 20, "a template's memory while it is made, and a slot's disk"
    assert template.room(3, 512, 256) - template.room(2, 512, 256) == (256 + 256) << 20
    assert template.room(1, 1024, 256) - one == 512 << 20
    assert template.room(4, 512, 1024) - template.room(4, 512, 256) == 4 * 768 << 20


@pytest.mark.parametrize(("shared", "where"), [(64, "state"), (1535, "state"), (1536, "shared")])
def test_machines_write_to_the_state_directory_else(
    shared: int, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A container has 64 MiB in /dev/shm."""
    (tmp_path / "shared").mkdir()
    _free(monkeypatch, tmp_path / "shared", shared=shared, state=1 << 20)
    parent = paths.state_dir() if where == "state" else tmp_path / "shared"
    assert template.runtime_dir(template.room(1, 512, 256)).parent == parent


def test_a_host_without_memory_for_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(template, "_SHARED", tmp_path / "none")
    assert template.runtime_dir(1).parent == paths.state_dir()


def test_too_little_room_is_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, image: Image
) -> None:
    _free(monkeypatch, tmp_path, shared=64, state=1000)
    with pytest.raises(LabError) as caught:
        machines(image, 2, memory=512, disk=256)
    assert caught.value.message == (
        "there is no room for what the machines write: 2048 MiB are needed, "
        f"{tmp_path} has 64 and {paths.state_dir()} has 1000"
    )
    assert "fewer --jobs" in (caught.value.hint or "")


@pytest.mark.parametrize(("state", "slots"), [(100, 1), (1536, 1), (2047, 1), (2048, 2), (9999, 4)])
def test_no_more_machines_at_a_time_than_there_is_room_for(
    state: int, slots: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _free(monkeypatch, tmp_path, shared=64, state=state)
    assert template.slots_in_room(4, 512, 256) == slots


_WHERE = """
from kmodlab.vm.template import room, runtime_dir, runtime_dirs, free_space
print(free_space(runtime_dirs()[0]) >> 20, runtime_dir(room(1, 512, 256)).parent)
"""


@pytest.mark.parametrize(("size", "memory"), [("64m", False), ("2000m", True)])
def test_a_real_memory_file_system_that_is_small_is_left_alone(size: str, memory: bool) -> None:
    """Mounted for this one process."""
    mount = f'mount -t tmpfs -o size={size} small /dev/shm && exec "$@"'
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", sys.executable, "-c", _WHERE]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode and done.stderr.startswith("unshare: "):
        pytest.skip("this machine has no user namespaces")
    free, parent = done.stdout.split()
    assert int(free) == int(size[:-1]), done.stderr
    assert parent == ("/dev/shm" if memory else str(paths.state_dir()))  # noqa: S108


def test_a_user_may_name_another_directory(tmp_path: Path) -> None:
    assert template.runtime_dir(1 << 60, tmp_path / "mine") == tmp_path / "mine"


def test_a_directory_of_someone_else_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    with pytest.raises(LabError, match="belongs to another user"):
        template.runtime_dir(1, tmp_path / "theirs")


def test_templates_of_images_that_are_gone_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KMODLAB_CACHE_DIR", str(tmp_path))
    for name in ("debian-12-aa-11", "debian-12-bb-22"):
        (template.templates_dir() / name).mkdir(parents=True)
    assert [path.name for path in template.prune({"debian-12-bb"})] == ["debian-12-aa-11"]
    assert [path.name for path in template.templates_dir().iterdir()] == ["debian-12-bb-22"]


def test_a_machine_that_ends_before_it_answers_is_the_labs_fault(tmp_path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(tmp_path / f"{OWNER}.sock"))
        listener.listen()
        with contextlib.closing(Agent(tmp_path, OWNER)) as agent:
            listener.accept()[0].close()
            with pytest.raises(LabError, match="the machine ended while it was to answer") as caught:
                answering(Qemu(tmp_path), tape(), agent)
    assert caught.value.log == tmp_path / "qemu.log"


def test_only_what_a_dead_grader_left_is_swept_away(tmp_path: Path) -> None:
    for name in ("slot-dead", "slot-kept", "template-new"):
        (tmp_path / name).mkdir()
    (tmp_path / "slot-dead" / "disk.qcow2").touch()
    (tmp_path / "slot-dead" / "pid").write_text(f"{os.getpid()}\n")
    (tmp_path / "slot-kept" / "kept").touch()
    removed = sweep(tmp_path)
    assert sorted(path.name for path in removed) == ["slot-dead", "slot-kept"], "the kept one's machine is gone, too"
    assert [path.name for path in tmp_path.iterdir()] == ["template-new"]


def test_one_that_was_kept_stays_while_its_machine_runs(tmp_path: Path) -> None:
    (tmp_path / "slot-kept").mkdir()
    (tmp_path / "slot-kept" / "kept").touch()
    with stand_in(tmp_path / "slot-kept") as process:
        assert sweep(tmp_path) == []
        assert process.poll() is None


def test_the_machine_that_a_dead_owner_left_is_ended(tmp_path: Path) -> None:
    (tmp_path / "slot-dead").mkdir()
    with stand_in(tmp_path / "slot-dead", "stubborn") as process:
        assert [path.name for path in sweep(tmp_path)] == ["slot-dead"]
        assert process.wait(30) == -9


def test_what_is_in_a_directory_of_someone_else_is_not_swept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "slot-theirs").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    assert sweep(tmp_path) == []
    assert (tmp_path / "slot-theirs").exists()


@pytest.mark.parametrize("state", ["io-error", "running"])
def test_a_machine_that_stands_still_for_want_of_room_is_the_hosts_fault(state: str, tmp_path: Path) -> None:
    """QEMU stops a machine where the host's disk is full; all that a test sees is that it hangs."""
    process = Qemu(tmp_path)
    with FakeQmp(tmp_path, lambda _: [{"return": {"status": state, "running": state == "running"}}]):
        if state == "running":
            process.require_room()
            return
        console = tape()
        slot = Slot(Image(tmp_path), process, console, Machine("the machine", process, console, Ssh(tmp_path, "x")))
        session = Session(slot, Lab.load(project_dir() / "tests" / "grading" / "lab"), [], tmp_path / "log")
        with pytest.raises(LabError, match="the host has no room left") as caught:
            session.timed_out("the test x did not end within 60 s")
        assert "df -h" in (caught.value.hint or "")
        assert session.finding is None


def test_a_machine_that_has_ended_is_not_asked_for_room(tmp_path: Path) -> None:
    Qemu(tmp_path).require_room()


def test_a_directory_that_was_emptied_meanwhile_is_made_anew(tmp_path: Path) -> None:
    """systemd does so with what a user has in /dev/shm when he logs out."""
    with own_directory(tmp_path / "runtime") as directory:
        assert directory.parent == tmp_path / "runtime"
        assert directory.parent.stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "runtime").iterdir()) == []

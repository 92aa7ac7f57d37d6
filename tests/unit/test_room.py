"""Where throw-away machines write, and what is said where there is no room for that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kmodlab import paths
from kmodlab.errors import LabError
from kmodlab.grading.lab import Limits
from kmodlab.grading.machines import machines
from kmodlab.host import Host
from kmodlab.image.image import Image
from kmodlab.vm import room


def test_machines_write_in_memory_where_there_is_room(tmp_path: Path) -> None:
    directory = room.runtime_dir(1, host=Host(shared=tmp_path))
    assert directory.parent == tmp_path
    assert directory.stat().st_mode & 0o777 == 0o700


def _host(place: Path, *, shared: int, state: int) -> Host:
    """A host with so many MiB free in memory, which is at a place, and beside the user's state."""
    free = {place: shared, paths.state_dir(): state}
    return Host(shared=place, space=lambda directory: free[directory.parent] << 20)


def test_the_room_that_is_needed_follows_from_jobs_and_limits() -> None:
    one = room.room(1, 512, 256)
    assert one >= (512 + 256) << 20, "a template's memory while it is made, and a slot's disk"
    assert room.room(3, 512, 256) - room.room(2, 512, 256) == (256 + 256) << 20
    assert room.room(1, 1024, 256) - one == 512 << 20
    assert room.room(4, 512, 1024) - room.room(4, 512, 256) == 4 * 768 << 20


@pytest.mark.parametrize(("shared", "where"), [(64, "state"), (1535, "state"), (1536, "shared")])
def test_machines_write_to_the_state_directory_else(shared: int, where: str, tmp_path: Path) -> None:
    """A container has 64 MiB in /dev/shm."""
    (tmp_path / "shared").mkdir()
    host = _host(tmp_path / "shared", shared=shared, state=1 << 20)
    parent = paths.state_dir() if where == "state" else tmp_path / "shared"
    assert room.runtime_dir(room.room(1, 512, 256), host=host).parent == parent


def test_a_host_without_memory_for_files(tmp_path: Path) -> None:
    assert room.runtime_dir(1, host=Host(shared=tmp_path / "none")).parent == paths.state_dir()


def test_too_little_room_is_said_before_anything_starts(tmp_path: Path, image: Image) -> None:
    with pytest.raises(LabError) as caught:
        machines(image, 2, Limits(memory=512, disk=256), host=_host(tmp_path, shared=64, state=1000))
    assert caught.value.message == (
        "there is no room for what the machines write: 2048 MiB are needed, "
        f"{tmp_path} has 64 and {paths.state_dir()} has 1000"
    )
    assert "fewer --jobs" in (caught.value.hint or "")


@pytest.mark.parametrize(("state", "slots"), [(100, 1), (1536, 1), (2047, 1), (2048, 2), (9999, 4)])
def test_no_more_machines_at_a_time_than_there_is_room_for(state: int, slots: int, tmp_path: Path) -> None:
    assert room.slots_in_room(4, 512, 256, _host(tmp_path, shared=64, state=state)) == slots


_WHERE = """
from kmodlab.host import free_space
from kmodlab.vm.room import room, runtime_dir, runtime_dirs
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
    assert room.runtime_dir(1 << 60, tmp_path / "mine") == tmp_path / "mine"


def test_a_directory_of_someone_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    with pytest.raises(LabError, match="belongs to another user"):
        room.runtime_dir(1, tmp_path / "theirs", Host(user=4242))

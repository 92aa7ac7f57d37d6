"""Vagrant boxes: what is in the file, and when another one is made; a real disk, but no machine."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmodlab.errors import LabError, UsageError
from kmodlab.grading.unpack import unpack_own
from kmodlab.guest import box
from kmodlab.image import overlay
from kmodlab.image.image import Image, images_dir
from kmodlab.image.places import Places
from kmodlab.image.plan import Plan, planned
from kmodlab.vm import ssh

from .conftest import FakeProgram, make_image, on_amd64

BOXFS = box.RECIPE.folder / "boxfs"
#: where Debian, and HashiCorp's own package, put the key that every box knows
INSECURE_KEYS = [
    *Path("/usr/share/rubygems-integration/all/gems").glob("vagrant-*/keys/vagrant.pub"),
    *Path("/opt/vagrant/embedded/gems").glob("gems/vagrant-*/keys/vagrant.pub"),
]


@pytest.fixture
def plan(debian_host: Places, fake_program: FakeProgram) -> Plan:
    """What the image is built of; apt, which takes a second to tell what it knows, knows nothing."""
    fake_program("apt-get", "exit 0")
    return planned("debian-12", debian_host)


@pytest.fixture
def image(plan: Plan) -> Image:
    """The image of that plan: nothing is built for a box."""
    return make_image(images_dir() / f"{plan.id}-01234567")


class Workshop:
    """Makes boxes, and no machine for any: an empty disk stands for each.

    Attributes:
        names: of the machines that were asked for.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names: list[str] = []

    def build(self, plan: Plan, recipe: box.Recipe = box.RECIPE) -> Path:
        """Return a box."""
        return box.build_box(plan, recipe, self._prepared)

    @contextlib.contextmanager
    def _prepared(self, _image: Image, name: str, _recipe: box.Recipe) -> Iterator[Path]:
        self.names.append(name)
        (directory := self._folder / name).mkdir()
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", directory / "disk.qcow2", "8M"], check=True)
        yield directory / "disk.qcow2"
        shutil.rmtree(directory)


@pytest.fixture
def workshop(tmp_path: Path, image: Image) -> Workshop:
    """Where boxes of that image are made."""
    del image
    return Workshop(tmp_path)


def test_a_box_is_three_files_that_vagrant_libvirt_takes(plan: Plan, workshop: Workshop, tmp_path: Path) -> None:
    file = workshop.build(plan)
    assert len(workshop.names) == 1
    with tarfile.open(file, "r:gz") as tar:
        members = {member.name: member for member in tar}
        unpack_own(tar, tmp_path / "box")
    assert set(members) == {"metadata.json", "Vagrantfile", "box.img"}
    assert {(m.uid, m.uname, m.mode, m.mtime) for m in members.values()} == {(0, "", 0o644, 0)}
    metadata = json.loads((tmp_path / "box/metadata.json").read_text())
    assert metadata == {"provider": "libvirt", "format": "qcow2", "virtual_size": 8}
    assert "config.vm.guest = :debian\n" in (tmp_path / "box/Vagrantfile").read_text()
    said = subprocess.check_output(["qemu-img", "info", "--output=json", tmp_path / "box/box.img"])
    info = json.loads(said)
    assert (info["format"], info["virtual-size"], "backing-filename" in info) == ("qcow2", 8 << 20, False)


def test_the_boxs_vagrantfile_is_ruby(plan: Plan, workshop: Workshop, tmp_path: Path) -> None:
    if shutil.which("ruby") is None:
        pytest.skip("ruby is not installed")
    with tarfile.open(workshop.build(plan), "r:gz") as tar:
        unpack_own(tar, tmp_path / "box")
    done = subprocess.run(
        ["ruby", "-wc", tmp_path / "box" / "Vagrantfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_box_is_made_once(plan: Plan, workshop: Workshop, image: Image) -> None:
    assert workshop.build(plan) == workshop.build(plan) == box.box_path(image)
    assert len(workshop.names) == 1


@pytest.fixture
def recipe(tmp_path: Path) -> box.Recipe:
    """A copy of the recipe, which may be changed."""
    shutil.copytree(box.RECIPE.folder, tmp_path / "recipe")
    return box.Recipe(tmp_path / "recipe")


def test_a_box_is_made_by_its_recipe(plan: Plan, workshop: Workshop, recipe: box.Recipe, tmp_path: Path) -> None:
    (recipe.folder / "box.Vagrantfile").write_text("# for DISTRIBUTION alone\n")
    with tarfile.open(workshop.build(plan, recipe), "r:gz") as tar:
        unpack_own(tar, tmp_path / "box")
    assert (tmp_path / "box" / "Vagrantfile").read_text() == "# for debian alone\n"
    workshop.build(plan)
    assert len(set(workshop.names)) == 2, "the box of another recipe is another one"


@pytest.mark.parametrize("changed", ["box.sh", "box.Vagrantfile", "boxfs/etc/sudoers.d/vagrant"])
def test_another_way_to_make_it_is_another_box(image: Image, recipe: box.Recipe, changed: str) -> None:
    assert box.box_path(image, recipe) == box.box_path(image)
    (recipe.folder / changed).write_text("other")
    assert box.box_path(image, recipe) != box.box_path(image)


def test_another_image_is_another_box_and_another_key_is_none(image: Image, tmp_path: Path) -> None:
    before = box.box_path(image)
    ssh.lab_key().unlink()
    ssh.lab_key().with_suffix(".pub").unlink()
    assert box.box_path(image) == before, "a box is anyone's: it does not depend on a user's key"
    other = make_image(tmp_path / "debian-12-other")
    assert box.box_path(other).name.startswith("debian-12-other-")
    assert before.name.startswith(f"{image.id}-")


def test_a_box_is_there_whole_or_not_at_all(
    plan: Plan, workshop: Workshop, image: Image, fake_program: FakeProgram
) -> None:
    real = shutil.which("qemu-img")
    fake_program("qemu-img", f'[ "$1" = convert ] && echo "No space left on device" >&2 && exit 1; exec {real} "$@"')
    with pytest.raises(LabError, match="qemu-img failed") as caught:
        workshop.build(plan)
    assert "No space left on device" in str(caught.value)
    assert not box.box_path(image).exists()
    assert not list(box.boxes_dir().glob("*.incoming"))
    assert len(workshop.names) == 1


@on_amd64
def test_a_release_that_cannot_boot_from_its_disk_has_no_box(workshop: Workshop) -> None:
    with pytest.raises(UsageError, match=r"^debian-12-arm64 cannot boot from its disk"):
        workshop.build(planned("debian-12-arm64"))
    assert workshop.names == []


def test_prune_keeps_the_boxes_of_images_that_stay(plan: Plan, workshop: Workshop, image: Image) -> None:
    file = workshop.build(plan)
    assert box.prune({image.id}) == []
    assert box.prune(set()) == [file]
    assert not file.exists()


def test_the_key_in_a_box_is_the_one_that_vagrant_tries() -> None:
    if not INSECURE_KEYS:
        pytest.skip("vagrant is not installed")
    ours = (BOXFS / "usr/local/lib/kmodlab/vagrant.pub").read_text().split()[:2]
    assert [line.split()[:2] for key in INSECURE_KEYS for line in key.read_text().splitlines()].count(ours)


def test_the_units_of_a_box_are_enabled() -> None:
    with_install = [file.name for file in (BOXFS / "etc/systemd/system").iterdir() if "[Install]" in file.read_text()]
    assert sorted(with_install) == ["kmodlab-dns.path", "kmodlab-emulated.service", "kmodlab-host-key.service"]
    assert all(name in box.RECIPE.script for name in with_install)
    modes = {member.name: member.mode for member in _members(overlay.packed(BOXFS))}
    assert modes["usr/local/lib/kmodlab/name-servers"] == 0o755


def _members(tree: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tree)) as tar:
        return tar.getmembers()

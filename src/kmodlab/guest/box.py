"""Vagrant boxes for the provider libvirt, made from an image.

A box is a tar archive, gzipped, of three files: metadata.json, a Vagrantfile with defaults, and box.img, a disk that
boots by itself. Source: vagrant-libvirt's documentation, "Box format", version 1.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from kmodlab import paths
from kmodlab.errors import UsageError
from kmodlab.guest.guest import Guest
from kmodlab.image import overlay
from kmodlab.image.image import Image, build_image
from kmodlab.image.plan import DISK_SIZE, Plan
from kmodlab.process import run, say
from kmodlab.vm import hardware, snapshot


@dataclass(frozen=True)
class Recipe:
    """What makes a box of an image.

    Attributes:
        folder: holds `boxfs`, which goes into the machine, `box.sh`, which turns it into one for Vagrant, and
            `box.Vagrantfile`, which goes into the box.
    """

    folder: Path = Path(__file__).parent

    @property
    def files(self) -> bytes:
        """What goes into the machine, a tar archive."""
        return overlay.packed(self.folder / "boxfs")

    @property
    def script(self) -> str:
        """What is run in the machine."""
        return (self.folder / "box.sh").read_text()

    @property
    def vagrantfile(self) -> str:
        """Vagrant's settings for the box, with DISTRIBUTION in place of the machine's."""
        return (self.folder / "box.Vagrantfile").read_text()


RECIPE = Recipe()


def boxes_dir() -> Path:
    """Return where boxes are kept."""
    return paths.cache_dir() / "boxes"


def box_path(image: Image, recipe: Recipe = RECIPE) -> Path:
    """Return the file of an image's box, whether it is there or not.

    Args:
        image: that it is made of.
        recipe: by which it is made.
    """
    parts = [hardware.keyless_arguments(image), recipe.vagrantfile, recipe.script]
    key = hashlib.sha256("\0".join(parts).encode() + recipe.files).hexdigest()[:12]
    return boxes_dir() / f"{image.id}-{key}.box"


@contextlib.contextmanager
def prepared_disk(image: Image, name: str, recipe: Recipe) -> Iterator[Path]:
    """The disk of a guest that has been turned into a machine for Vagrant and has shut down; gone afterwards.

    Args:
        image: that the guest runs.
        name: the guest's.
        recipe: what is done to it.
    """
    guest = Guest(name)
    try:
        guest.up(image=image)
        say("making a machine for Vagrant of it")
        guest.succeed("tar -C / -x", stdin=recipe.files)
        guest.succeed(f"sh -s {hardware.keyless_arguments(image)}", stdin=recipe.script.encode())
        guest.power_off()
        yield guest.directory / "disk.qcow2"
    finally:
        guest.down()


#: gives the disk of a machine that is ready for Vagrant; see `prepared_disk`
Prepared = Callable[[Image, str, Recipe], AbstractContextManager[Path]]


def build_box(plan: Plan, recipe: Recipe = RECIPE, prepared: Prepared = prepared_disk) -> Path:
    """Return the file of an image's Vagrant box; image and box are made where they are not there.

    Args:
        plan: what the image is built of.
        recipe: by which the box is made.
        prepared: makes the machine whose disk is packed.

    Raises:
        UsageError: a machine of that release cannot boot from its own disk.
        LabError: something the lab needs is missing or broke.
    """
    release = plan.release
    if not release.boot_loader:
        raise UsageError(f"{release.name} cannot boot from its disk, which a box has to", hint="choose another release")
    image = build_image(plan)
    target = box_path(image, recipe)
    with snapshot.made_once(target, f"making the Vagrant box of {release.name}") as missing:
        if missing:
            with prepared(image, f"box-{target.stem[-12:]}", recipe) as disk:
                say("packing the disk")
                _pack(disk, recipe.vagrantfile.replace("DISTRIBUTION", release.distribution), target)
    return target


def _pack(disk: Path, vagrantfile: str, target: Path) -> None:
    flat = disk.with_name("box.img")
    # Compressed there, where it stays so at Vagrant's and at libvirt's; gzip around it gains nothing.
    run(
        ["qemu-img", "convert", "-c", "-W", "-o", "compression_type=zstd", "-O", "qcow2", disk, flat],
        hint="is the disk full? see `df -h`",
    )
    texts = {
        "metadata.json": json.dumps({"provider": "libvirt", "format": "qcow2", "virtual_size": int(DISK_SIZE[:-1])}),
        "Vagrantfile": vagrantfile,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    incoming = target.with_suffix(".incoming")
    try:
        with tarfile.open(incoming, "w:gz", compresslevel=1) as tar:
            for name, text in texts.items():
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))
            tar.add(flat, "box.img", filter=_nobodys)
        incoming.rename(target)
    finally:
        incoming.unlink(missing_ok=True)


def _nobodys(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take the owner's name and the file's date out of an archive's entry."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    info.mode = 0o644
    return info


def prune(kept: set[str]) -> list[Path]:
    """Remove the boxes of images that are not among the ids in `kept`; return what was removed."""
    removed = [file for file in boxes_dir().glob("*.box") if file.name.rpartition("-")[0] not in kept]
    for file in removed:
        file.unlink()
    return removed

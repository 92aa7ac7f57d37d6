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
from collections.abc import Iterator
from pathlib import Path

from kmodlab import paths
from kmodlab.errors import UsageError
from kmodlab.guest.guest import Guest
from kmodlab.image import overlay
from kmodlab.image.image import Image, build_image
from kmodlab.image.plan import DISK_SIZE, Plan
from kmodlab.process import run, say
from kmodlab.vm import hardware, snapshot

_HERE = Path(__file__).parent
_VAGRANTFILE = """\
# The guest is named, because Vagrant's own way to find out takes seconds.
Vagrant.configure('2') do |config|
  config.vm.guest = :{distribution}
  config.vm.synced_folder '.', '/vagrant', disabled: true
  config.vm.provider(:libvirt) {{ |libvirt| libvirt.disk_bus = 'virtio' }}
end
"""


def boxes_dir() -> Path:
    """Return where boxes are kept."""
    return paths.cache_dir() / "boxes"


def box_path(image: Image) -> Path:
    """Return the file of an image's box, whether it is there or not."""
    parts = [hardware.keyless_arguments(image), _VAGRANTFILE, (_HERE / "box.sh").read_text()]
    key = hashlib.sha256("\0".join(parts).encode() + overlay.packed(_HERE / "boxfs")).hexdigest()[:12]
    return boxes_dir() / f"{image.id}-{key}.box"


def build_box(plan: Plan) -> Path:
    """Return the file of an image's Vagrant box; image and box are made where they are not there.

    Args:
        plan: what the image is built of.

    Raises:
        UsageError: a machine of that release cannot boot from its own disk.
        LabError: something the lab needs is missing or broke.
    """
    release = plan.release
    if not release.boot_loader:
        raise UsageError(f"{release.name} cannot boot from its disk, which a box has to", hint="choose another release")
    image = build_image(plan)
    target = box_path(image)
    with snapshot.made_once(target, f"making the Vagrant box of {release.name}") as missing:
        if missing:
            with _prepared_disk(image, f"box-{target.stem[-12:]}") as disk:
                say("packing the disk")
                _pack(disk, release.distribution, target)
    return target


@contextlib.contextmanager
def _prepared_disk(image: Image, name: str) -> Iterator[Path]:
    """The disk of a guest that has been turned into a machine for Vagrant and has shut down; gone afterwards."""
    guest = Guest(name)
    try:
        guest.up(image=image)
        say("making a machine for Vagrant of it")
        guest.succeed("tar -C / -x", stdin=overlay.packed(_HERE / "boxfs"))
        guest.succeed(f"sh -s {hardware.keyless_arguments(image)}", stdin=(_HERE / "box.sh").read_bytes())
        guest.power_off()
        yield guest.directory / "disk.qcow2"
    finally:
        guest.down()


def _pack(disk: Path, distribution: str, target: Path) -> None:
    flat = disk.with_name("box.img")
    # Compressed there, where it stays so at Vagrant's and at libvirt's; gzip around it gains nothing.
    run(
        ["qemu-img", "convert", "-c", "-W", "-o", "compression_type=zstd", "-O", "qcow2", disk, flat],
        hint="is the disk full? see `df -h`",
    )
    texts = {
        "metadata.json": json.dumps({"provider": "libvirt", "format": "qcow2", "virtual_size": int(DISK_SIZE[:-1])}),
        "Vagrantfile": _VAGRANTFILE.format(distribution=distribution),
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

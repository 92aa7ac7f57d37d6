"""Snapshots of a booted guest: boot once, then resume wherever a clean machine is needed.

A snapshot is a qcow2 overlay on an image's disk with a saved machine state named `ready` in it. A new guest is a
copy of that file and a QEMU that loads the state. It fits only the same build of an image, hardware, QEMU and ssh key:
all are in its name.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from kmodlab import paths
from kmodlab.image.image import Image
from kmodlab.process import locked, run
from kmodlab.vm import qemu, qmp
from kmodlab.vm.accelerator import qemu_version
from kmodlab.vm.hardware import Hardware

STATE = "ready"


def snapshots_dir() -> Path:
    """Return where snapshots are kept."""
    return paths.cache_dir() / "snapshots"


def path(image: Image, hardware: Hardware) -> Path:
    """Return the file of the snapshot of an image on some hardware, whether it is there or not."""
    # The port and the guest's name are the only parts of the command that do not change the machine's state.
    command = qemu.command("snapshot", image, hardware)
    key = hashlib.sha256("\0".join([*command, qemu_version(image.architecture)]).encode()).hexdigest()[:12]
    return snapshots_dir() / f"{image.id}-{key}.qcow2"


def bootable_path(image: Image, hardware: Hardware) -> Path:
    """Return the file of an image's disk with a boot loader for some hardware, whether it is there or not."""
    key = hashlib.sha256(hardware.kernel_arguments(image).encode()).hexdigest()[:12]
    return snapshots_dir() / f"{image.id}-boot{key}.qcow2"


@contextlib.contextmanager
def made_once(target: Path, what: str) -> Iterator[bool]:
    """Yield whether `target` is missing, alone with it until the block ends: nobody makes it twice.

    Args:
        target: a file of this directory.
        what: what is being made, for the message to whoever waits.
    """
    if target.exists():
        yield False
        return
    with locked(target.with_suffix(".lock"), what):
        yield not target.exists()


def new_disk(directory: Path, image: Image) -> None:
    """Make a guest's disk: an empty overlay on the image's."""
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.disk, directory / "disk.qcow2"])


def save(directory: Path, target: Path) -> None:
    """Save the running guest of a directory, which then goes on, as the snapshot `target`.

    Raises:
        LabError: QEMU could not save its state, or the disk is full.
    """
    qmp.human(directory, f"savevm {STATE}")
    qmp.execute(directory, "stop")
    try:
        publish(directory / "disk.qcow2", target)
    finally:
        qmp.execute(directory, "cont")


def publish(disk: Path, target: Path) -> None:
    """Keep a copy of a guest's disk, which nothing writes to just now, as `target`: whole or not at all.

    Raises:
        LabError: the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    incoming = target.with_suffix(".incoming")
    try:
        _copy(disk, incoming)
        incoming.rename(target)
    finally:
        incoming.unlink(missing_ok=True)


def take(source: Path, directory: Path) -> None:
    """Make a guest's disk from a snapshot: a copy, by reference where the file system can."""
    _copy(source, directory / "disk.qcow2")


def _copy(source: Path, target: Path) -> None:
    run(["cp", "--reflink=auto", "--sparse=always", source, target], hint="is the disk full? see `df -h`")


def prune(kept: set[str]) -> list[Path]:
    """Remove the snapshots of images that are not among the ids in `kept`; return what was removed."""
    removed = [file for file in snapshots_dir().glob("*.qcow2") if file.name.rpartition("-")[0] not in kept]
    for file in removed:
        file.unlink()
    return removed

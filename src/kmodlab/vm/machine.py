"""The QEMU process of one guest: its command line, its start, its end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kmodlab.errors import LabError
from kmodlab.image.image import Image
from kmodlab.process import Deadline, finish, tail
from kmodlab.vm import qmp, secure_boot, ssh
from kmodlab.vm.accelerator import qemu_binary

#: loglevel=4 keeps a chatty module from slowing the emulated serial line; oopses and lockups are above it.
_KERNEL_ARGUMENTS = "root=/dev/vda rw loglevel=4"
#: QEMU finds code that it has translated by its address: where each process has its own, each is translated anew.
#: A program starts in a third of the time without, and the compiler takes half.
_EMULATED = " norandmaps"
#: what starts a guest's kernel: QEMU the image's, or a boot loader (BIOS, UEFI) the one on the guest's own disk
Boot = Literal["direct", "disk", "secure"]


@dataclass(frozen=True)
class Board:
    """What QEMU calls a machine, one for each architecture.

    Attributes:
        machine: QEMU's name of it.
        cpu: the model that is emulated.
        kernel_arguments: what its kernel has to be told.
    """

    machine: str
    cpu: str
    kernel_arguments: str


BOARDS = {
    # The TSC is steady under QEMU, and the kernel's doubt of it would leave the slow HPET as clock.
    "amd64": Board("q35", "qemu64", "console=ttyS0 tsc=reliable clocksource=tsc"),
    # Pointer authentication by QEMU's own quick function: the architected one takes a third of the time to boot.
    "arm64": Board("virt", "max,pauth-impdef=on", "console=ttyAMA0"),
}


@dataclass(frozen=True)
class Hardware:
    """What a guest's machine is made of.

    Attributes:
        memory: in MiB.
        cpus: how many.
        accelerator: `kvm` or `tcg`.
        boot: `direct`, QEMU starts the image's kernel; or `disk`, a boot loader starts the kernel that the guest's own
            disk has, so that an upgraded one takes over at the next restart; or `secure`, the same by UEFI Secure Boot.
    """

    memory: int
    cpus: int
    accelerator: str
    boot: Boot = "direct"

    def arguments(self, image: Image) -> list[str]:
        """Return QEMU's options for it; together with the image they decide whether a snapshot fits."""
        # One thread for all emulated processors: with one each, a kernel that patches its own code (a kprobe that is
        # switched on or off) while another processor runs that code can meet a stale translation, and panics.
        accel = "kvm" if self.accelerator == "kvm" else "tcg,thread=single,tb-size=256"
        board = BOARDS[image.architecture]
        cpu = "host" if self.accelerator == "kvm" else board.cpu
        options = [
            "-machine",
            board.machine + (",smm=on" if self.boot == "secure" else ""),
            "-accel",
            accel,
            "-cpu",
            cpu,
            "-smp",
            str(self.cpus),
            "-m",
            str(self.memory),
        ]
        return options + (self._direct_boot(image) if self.boot == "direct" else [])

    def _direct_boot(self, image: Image) -> list[str]:
        files = ["-kernel", str(image.directory / "vmlinuz"), "-initrd", str(image.directory / "initrd")]
        return [*files, "-append", self.kernel_arguments(image)]

    def kernel_arguments(self, image: Image) -> str:
        """Return the kernel command line of an image's guests on it, the lab's public key included."""
        emulated = _EMULATED if self.accelerator == "tcg" else ""
        return f"{keyless_arguments(image)}{emulated} kmodlab.key={ssh.lab_public_key()}"


def keyless_arguments(image: Image) -> str:
    """Return the kernel command line of an image's guests without anyone's key, for disks that are given away."""
    return f"{_KERNEL_ARGUMENTS} {BOARDS[image.architecture].kernel_arguments}"


def command(name: str, image: Image, hardware: Hardware, *, port: int = 0, loadvm: str | None = None) -> list[str]:
    """Return the QEMU command of a guest whose files (disk.qcow2, sockets, logs) are in the working directory.

    Args:
        name: the guest's name, shown in the process list.
        image: its kernel and initramfs.
        hardware: memory, processors, accelerator, and what boots it.
        port: on the loopback address for ssh; 0 lets the system choose one.
        loadvm: the snapshot to resume from, instead of booting.
    """
    return [
        qemu_binary(image.architecture),
        *["-name", f"kmodlab-{name}", "-nodefaults", "-no-user-config", "-display", "none"],
        *hardware.arguments(image),
        *["-drive", "file=disk.qcow2,if=none,id=root,format=qcow2,cache=unsafe,discard=unmap"],
        # The firmware wakes only disks that it may boot from, and GRUB finds only those that are awake.
        *["-device", "virtio-blk-pci,drive=root" + (",bootindex=1" if hardware.boot == "secure" else "")],
        *(secure_boot.arguments(name) if hardware.boot == "secure" else []),
        *["-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22"],
        *["-device", "virtio-net-pci,netdev=net,romfile="],
        *["-device", "virtio-rng-pci"],
        *[
            "-chardev",
            "socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log,logappend=on",
        ],
        *["-serial", "chardev:console"],
        *["-qmp", "unix:qmp.sock,server=on,wait=off", "-pidfile", "pid", "-daemonize"],
        *(["-loadvm", loadvm] if loadvm else []),
    ]


def start(directory: Path, argv: list[str]) -> None:
    """Start QEMU in a directory; it makes itself a daemon, and gives up where this is interrupted before that.

    Raises:
        LabError: QEMU refused to start; its own words are the error's last output.
    """
    log = directory / "qemu.log"
    with log.open("ab") as sink:
        status, _, _ = finish(argv, cwd=directory, sink=sink)
    if status:
        words = tail(log, 5)
        hint = None
        if "hostfwd" in words or "forwarding" in words:
            hint = "that port is taken: choose another one with --port, or none and let the system choose"
        elif "memory" in words.lower():
            hint = "not enough memory: try a smaller --memory (MiB), or end other guests (`kmodlab guest list`)"
        raise LabError(
            "QEMU did not start",
            command=" ".join(argv),
            exit_code=status,
            output=words,
            log=log,
            hint=hint,
        )


def pid(directory: Path) -> int | None:
    """Return the process id of the QEMU that runs in a directory, or None; a stale pid file fools nobody."""
    try:
        number = int((directory / "pid").read_text())
        argv = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return None
    # QEMU leaves its working directory once it runs: its name and the open console log identify it.
    ours = f"kmodlab-{directory.name}".encode() in argv and state != "Z"
    return number if ours and _holds(number, directory / "console.log") else None


def _holds(number: int, file: Path) -> bool:
    try:
        wanted = file.stat()
        for descriptor in os.listdir(f"/proc/{number}/fd"):  # noqa: PTH208  # entries vanish while they are read
            try:
                found = os.stat(f"/proc/{number}/fd/{descriptor}")  # noqa: PTH116
            except OSError:
                continue
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    except OSError:
        pass
    return False


def ssh_port(directory: Path) -> int:
    """Return the loopback port that QEMU forwards to the guest's ssh.

    Raises:
        LabError: QEMU does not answer or forwards nothing.
    """
    return forwarded_port(qmp.human(directory, "info usernet"))


def forwarded_port(table: str) -> int:
    """Return the same port from what QEMU's monitor says to `info usernet`.

    Raises:
        LabError: QEMU forwards nothing.
    """
    found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", table)
    if not found:
        raise LabError("QEMU forwards no port to the guest's ssh", output=table)
    return int(found.group(1))


def stop(directory: Path, *, seconds: float = 10) -> bool:
    """End the QEMU of a directory: ask it over QMP, then terminate it, then kill it.

    Returns:
        Whether there was one to end.
    """
    number = pid(directory)
    if number is None:
        return False
    ways: tuple[Callable[[], object], ...] = (
        lambda: qmp.execute(directory, "quit", seconds=seconds),
        lambda: os.kill(number, signal.SIGTERM),
        lambda: os.kill(number, signal.SIGKILL),
    )
    for way in ways:
        with contextlib.suppress(LabError, ProcessLookupError):
            way()
        deadline = Deadline(seconds)
        while not deadline.expired:
            if pid(directory) is None:
                return True
            time.sleep(0.02)
    raise LabError(f"QEMU (process {number}) does not end", log=directory / "qemu.log")

"""What a machine is made of, and what QEMU and the kernel are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kmodlab.errors import UsageError
from kmodlab.image.image import Image
from kmodlab.vm import ssh

#: loglevel=4 keeps a chatty module from slowing the emulated serial line; oopses and lockups are above it.
_KERNEL_ARGUMENTS = "root=/dev/vda rw loglevel=4"
#: QEMU finds code that it has translated by its address: where each process has its own, each is translated anew.
#: A program starts in a third of the time without, and the compiler takes half.
_EMULATED = " norandmaps"
#: The clock goes on by 1 ns an instruction. While all tasks sleep it goes as fast as the host's, as timers want it.
_COUNTING = ("-icount", "shift=0,sleep=on")
#: What a processor's flaws cost depends on which processor the kernel takes the emulated one for.
_UNMITIGATED = " mitigations=off"
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
        counting: its clock counts instructions, so that what is timed in it comes out the same on every host, however
            busy. It needs emulation, and one processor: with two no kernel boots.
        kernel_line: what its kernel is told beyond what every guest's is.
    """

    memory: int
    cpus: int
    accelerator: str
    boot: Boot = "direct"
    counting: bool = False
    kernel_line: str = ""

    def __post_init__(self) -> None:
        """Refuse what QEMU cannot count.

        Raises:
            UsageError: instructions are to be counted, but by hardware, or on several processors.
        """
        if self.counting and (self.cpus != 1 or self.accelerator != "tcg"):
            raise UsageError("instructions are counted on one emulated processor", hint="cpus=1, accelerator tcg")

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
            *(_COUNTING if self.counting else ()),
        ]
        return options + (self._direct_boot(image) if self.boot == "direct" else [])

    def _direct_boot(self, image: Image) -> list[str]:
        initrd = image.directory / "initrd"
        files = ["-kernel", str(image.directory / "vmlinuz"), *(["-initrd", str(initrd)] if initrd.exists() else [])]
        return [*files, "-append", self.kernel_arguments(image)]

    def kernel_arguments(self, image: Image) -> str:
        """Return the kernel command line of an image's guests on it, the lab's public key included."""
        emulated = _EMULATED if self.accelerator == "tcg" else ""
        plain = _UNMITIGATED if self.counting else ""
        more = f" {self.kernel_line}" if self.kernel_line else ""
        return f"{keyless_arguments(image)}{emulated}{plain}{more} kmodlab.key={ssh.lab_public_key()}"


def keyless_arguments(image: Image) -> str:
    """Return the kernel command line of an image's guests without anyone's key, for disks that are given away."""
    own = f" {image.kernel_line}" if image.kernel_line else ""
    return f"{_KERNEL_ARGUMENTS} {BOARDS[image.architecture].kernel_arguments}{own}"

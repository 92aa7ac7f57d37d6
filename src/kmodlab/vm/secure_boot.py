"""UEFI Secure Boot for a guest: firmware, boot loaders and kernel, each signed by whom real machines trust.

The chain is Debian's own: the firmware trusts Microsoft, who signed shim; shim trusts Debian, who signed GRUB and the
kernel. GRUB starts what `/vmlinuz` on the guest's disk points to. The firmware's variables are a file of the guest's
own: a machine owner's key (MOK) that is enrolled in one guest is known to that guest only.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from kmodlab import paths
from kmodlab.errors import UsageError
from kmodlab.image.image import Image
from kmodlab.process import locked, run, say

#: unpacked, never installed: their installation would have a word with the host's own boot loader
PACKAGES = ("ovmf", "shim-signed", "shim-helpers-amd64-signed", "grub-efi-amd64-signed")
_FIRMWARE = "usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
_VARIABLES = "usr/share/OVMF/OVMF_VARS_4M.ms.fd"
#: file of the boot partition -> file of the packages; GRUB's own folder is where Debian's GRUB looks for its settings
_LOADERS = {
    "EFI/BOOT/BOOTX64.EFI": "usr/lib/shim/shimx64.efi.signed",
    "EFI/BOOT/mmx64.efi": "usr/lib/shim/mmx64.efi.signed",
    "EFI/BOOT/grubx64.efi": "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
}
_SETTINGS = "EFI/debian/grub.cfg"


def _unpacked() -> Path:
    return paths.cache_dir() / "secure-boot"


def arguments(name: str) -> list[str]:
    """Return QEMU's options for the files that `prepare` makes in the directory of the guest `name`."""
    # QEMU reads this folder while the guest runs, and is in another working directory by then.
    partition = str(paths.state_dir() / "guests" / name / "esp").replace(",", ",,")
    return [
        *["-global", "driver=cfi.pflash01,property=secure,value=on"],
        *["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={str(_unpacked() / _FIRMWARE).replace(',', ',,')}"],
        *["-drive", "if=pflash,unit=1,format=raw,file=variables.fd"],
        *["-drive", f"if=none,id=esp,driver=vvfat,read-only=on,dir={partition}"],
        *["-device", "virtio-blk-pci,drive=esp,bootindex=0"],
    ]


def prepare(directory: Path, image: Image, kernel_arguments: str) -> None:
    """Make what the firmware needs in a guest's directory: its variables, and the boot partition's files.

    Args:
        directory: the guest's.
        image: whose kernel GRUB is to start.
        kernel_arguments: for that kernel.

    Raises:
        UsageError: there is no Secure Boot for the image's architecture.
        LabError: the archive does not have the packages, or cannot be reached.
    """
    if image.architecture != "amd64":
        raise UsageError(f"{image.release.name} cannot start with Secure Boot", hint="try `--image debian-12`")
    _fetch()
    shutil.copy(_unpacked() / _VARIABLES, directory / "variables.fd")
    for name, source in {**_LOADERS, _SETTINGS: None}.items():
        target = directory / "esp" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source:
            shutil.copy(_unpacked() / source, target)
    (directory / "esp" / _SETTINGS).write_text(
        "search --set=root --label root\n"
        f"linux /vmlinuz {kernel_arguments}\n"
        "initrd /initrd.img\n"
        "boot\n"
    )  # fmt: skip


def _fetch() -> None:
    """Unpack the packages into the cache; they are there whole or not at all."""
    target = _unpacked()
    with locked(target.with_suffix(".lock"), "fetching firmware and signed boot loaders"):
        if target.exists():
            return
        say("fetching firmware and boot loaders for Secure Boot, once")
        incoming = target.with_suffix(".incoming")
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(parents=True)
        script = 'cd "$1"; shift; apt-get download -q "$@"; for file in *.deb; do dpkg -x "$file" .; done; rm ./*.deb'
        hint = "does this machine reach its archive? try `apt-get update`"
        run(["sh", "-euc", script, "fetch", incoming, *PACKAGES], hint=hint)
        incoming.rename(target)

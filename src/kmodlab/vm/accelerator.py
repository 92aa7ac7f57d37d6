"""Which accelerator QEMU can really use here.

/dev/kvm that opens proves nothing: there are hosts where it opens, creates machines and vCPUs, and then never
boots a stock kernel. So the question is answered by booting one, once for each boot of the host.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from kmodlab import paths
from kmodlab.errors import UsageError
from kmodlab.image.image import Image, list_images
from kmodlab.image.release import MACHINES
from kmodlab.process import Deadline, locked, run, say

_FIRST_LINE = b"Linux version"


@dataclass(frozen=True)
class Kvm:
    """What a host has to tell by whether its KVM boots a kernel.

    Attributes:
        device: opens where there is any.
        kernels: the folder with the host's own.
        seconds: in which a kernel has printed its first line: one is enough, a crowded host may need some more.
    """

    device: Path = Path("/dev/kvm")
    kernels: Path = Path("/boot")
    seconds: float = 15.0


KVM = Kvm()


def qemu_binary(architecture: str | None = None) -> str:
    """Return the name of the system emulator for an architecture.

    Args:
        architecture: Debian's name of it; by default the host's.
    """
    return f"qemu-system-{MACHINES.get(architecture or '', os.uname().machine)}"


def qemu_version(architecture: str | None = None) -> str:
    """Return what the emulator of an architecture (by default the host's) says of itself, one line."""
    return run([qemu_binary(architecture), "--version"]).decode().splitlines()[0]


def choose(image: Image, kvm: Kvm = KVM) -> str:
    """Return `kvm` where it boots a kernel, else `tcg`.

    `KMODLAB_ACCEL` (auto, kvm or tcg) overrides. The answer is remembered until the host boots anew or
    QEMU changes. An image of another architecture is always emulated.

    Args:
        image: whose kernel is booted as the probe.
        kvm: the host's.

    Raises:
        UsageError: KMODLAB_ACCEL is none of the three.
    """
    wish = _wish()
    return "tcg" if image.foreign else wish or _remembered_probe(image.directory / "vmlinuz", kvm)


def choose_for_others(kvm: Kvm = KVM) -> str:
    """Return `kvm` or `tcg` for machines that are no guests of this lab: Vagrant's, for instance.

    As `choose`, but no image is built for it: the probe boots the kernel of any image there is, or the host's own.
    Where neither can be read, /dev/kvm that opens has to do.

    Args:
        kvm: the host's.

    Raises:
        UsageError: KMODLAB_ACCEL is none of auto, kvm and tcg.
    """
    own = [image.directory / "vmlinuz" for image in list_images() if not image.foreign]
    kernels = [*own, kvm.kernels / f"vmlinuz-{os.uname().release}"]
    readable = (kernel for kernel in kernels if os.access(kernel, os.R_OK))
    return _wish() or _remembered_probe(next(readable, None), kvm)


def _wish() -> str | None:
    wish = os.environ.get("KMODLAB_ACCEL", "auto")
    if wish not in ("auto", "kvm", "tcg"):
        raise UsageError(f"KMODLAB_ACCEL={wish} is not an accelerator", hint="use auto, kvm or tcg")
    return None if wish == "auto" else wish


def _remembered_probe(kernel: Path | None, kvm: Kvm) -> str:
    if not os.access(kvm.device, os.R_OK | os.W_OK):
        return "tcg"
    memory = paths.cache_dir() / "accelerator.json"
    host = f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {qemu_version()}"
    with locked(memory.with_suffix(".lock"), "probing the accelerator"):
        try:
            known = json.loads(memory.read_text())
        except (OSError, ValueError):
            known = {}
        if known.get("host") != host:
            if kernel is None:
                return "kvm"
            known = {"host": host, "accelerator": "kvm" if _kvm_boots(kernel, kvm.seconds) else "tcg"}
            memory.write_text(json.dumps(known))
    return str(known["accelerator"])


def _kvm_boots(kernel: Path, seconds: float) -> bool:
    say("/dev/kvm opens: trying whether it boots a kernel")
    with tempfile.TemporaryDirectory(prefix="kmodlab-probe-") as temporary:
        console = Path(temporary) / "console.log"
        argv = [
            qemu_binary(),
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-m",
            "256",
            "-nodefaults",
            "-display",
            "none",
        ]
        argv += [
            "-kernel",
            str(kernel),
            "-append",
            "console=ttyS0 earlyprintk=ttyS0 panic=-1",
        ]
        argv += ["-serial", f"file:{console}", "-no-reboot"]
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as qemu:
            try:
                works = _prints_first_line(qemu, console, seconds)
            finally:
                qemu.kill()
    say("KVM works" if works else f"KVM did not boot a kernel within {seconds:g} s: emulating (TCG)")
    return works


def _prints_first_line(qemu: subprocess.Popen[bytes], console: Path, seconds: float) -> bool:
    deadline = Deadline(seconds)
    while not deadline.expired:
        if console.exists() and _FIRST_LINE in console.read_bytes():
            return True
        if qemu.poll() is not None:
            return False
        time.sleep(0.05)
    return False

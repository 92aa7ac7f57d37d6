"""A machine's memory as a template: booted once, from which throw-away machines resume in a tenth of a second.

A template is a directory in the cache: `ram`, the memory as a file; `state`, the devices; `disk.qcow2`, what was
written since the image; `overlay.qcow2`, an empty disk upon that one, of which each slot gets a copy. A slot maps
`ram` copy on write, so all slots of a template share the pages that they do not change, and the page cache holds them
once. It is made in memory (/dev/shm), for booting writes all over it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kmodlab import paths
from kmodlab.errors import LabError
from kmodlab.image.image import Image
from kmodlab.process import Deadline, run, say
from kmodlab.vm import accelerator, agent, qemu, qmp, ssh
from kmodlab.vm.console import TROUBLE, BoundedConsole
from kmodlab.vm.hardware import BOARDS, Hardware
from kmodlab.vm.machine import Machine
from kmodlab.vm.qemu import Bounds, Qemu
from kmodlab.vm.snapshot import made_once, new_disk

_FILES = ("ram", "state", "disk.qcow2")
_BOOT_SECONDS = 300

#: QEMU's command that leaves the memory, which is a file, out of what a migration carries
SHARE_MEMORY: dict[str, object] = {"capabilities": [{"capability": "x-ignore-shared", "state": True}]}
#: bytes that a command in a machine may print; the rest is not read
MOST_OUTPUT = 8 << 20


@dataclass(frozen=True)
class Preparation:
    """What is made of a machine before it becomes a template, by whoever needs such machines.

    Attributes:
        purpose: of the machines, as the end of a sentence.
        key: differs where what is done differs.
        run: is given the machine, which answers by ssh.
        sign: what a line of its console has where it means trouble.
        kernel_line: what its kernel is told beyond what every guest's is.
    """

    purpose: str
    key: str
    run: Callable[[Machine], None]
    sign: re.Pattern[bytes] = TROUBLE
    kernel_line: str = ""


@dataclass(frozen=True)
class Template:
    """A template that is there.

    Attributes:
        directory: holds ram, state and disk.qcow2.
        image: that was booted.
        hardware: of the machine, and of each slot.
    """

    directory: Path
    image: Image
    hardware: Hardware


def templates_dir() -> Path:
    """Return where templates are kept."""
    return paths.cache_dir() / "templates"


def command(name: str, image: Image, hardware: Hardware, bounds: Bounds, more: Sequence[str] = ()) -> list[str]:
    """Return the QEMU command of a machine whose memory is a file, `ram`, that is in `more`; see `qemu.command`."""
    apart = ["-machine", f"{BOARDS[image.architecture].machine},memory-backend=ram", *agent.devices()]
    return qemu.command(name, image, hardware, bounds, more=[*apart, *more])


@contextlib.contextmanager
def running(
    directory: Path, argv: Sequence[str], bounds: Bounds, sign: re.Pattern[bytes], *, kept: bool = False
) -> Iterator[tuple[Qemu, BoundedConsole]]:
    """Yield a machine's process, and its console; both are gone when the block ends.

    Args:
        directory: private, with `disk.qcow2` in it. Its name is the machine's.
        argv: from `command`.
        bounds: those of `argv`.
        sign: what a line of the console has where it means trouble.
        kept: they stay, for someone to look at.

    Raises:
        LabError: it does not start.
    """
    process = Qemu(directory)
    console = BoundedConsole(process.start_child(argv, bounds, kept=kept), bounds.log << 10, sign)
    try:
        yield process, console
    finally:
        if not kept:
            process.kill()
            console.wait(5)


def make_template(
    image: Image, preparation: Preparation, *, memory: int, cpus: int, disk: int, directory: Path
) -> Template:
    """Return the template of an image on some hardware; boot it on first use.

    Args:
        image: what boots.
        preparation: see there.
        memory: MiB.
        cpus: virtual processors.
        disk: MiB that the machine may write.
        directory: where it is made, see `room.runtime_dir`.

    Raises:
        LabError: it could not be made: no memory, disk full, the image does not boot.
    """
    hardware = Hardware(memory, cpus, accelerator.choose(image), kernel_line=preparation.kernel_line)
    target = templates_dir() / f"{image.id}-{_key(image, hardware, disk, preparation)}"
    with made_once(target, f"making the template for {preparation.purpose}") as missing:
        if missing:
            what = f"the template of all machines for {preparation.purpose}"
            say(f"booting {image.release.name} once ({hardware.accelerator}), as {what}")
            _make(image, hardware, preparation, target, directory)
    return Template(target, image, hardware)


def _key(image: Image, hardware: Hardware, disk: int, preparation: Preparation) -> str:
    parts = [*command("template", image, hardware, Bounds()), accelerator.qemu_version(image.architecture)]
    parts += [agent.installation(), preparation.key, str(disk)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _make(image: Image, hardware: Hardware, preparation: Preparation, target: Path, runtime: Path) -> None:
    bounds = Bounds(disk=max(hardware.memory, 8192))
    with tempfile.TemporaryDirectory(prefix="template-", dir=runtime) as temporary:
        directory = Path(temporary)
        new_disk(directory, image)
        ram = f"memory-backend-file,id=ram,size={hardware.memory}M,mem-path=ram,share=on"
        argv = command(directory.name, image, hardware, bounds, ["-object", ram])
        with running(directory, argv, bounds, preparation.sign) as (process, console):
            _prepare(process, console, image, preparation)
            _save(process)
        (directory / "state.incoming").rename(directory / "state")
        _publish(directory, target)


def _prepare(process: Qemu, console: BoundedConsole, image: Image, preparation: Preparation) -> None:
    name = process.directory.name
    ssh.write_config(process.directory, name, process.ssh_port(), image.host_key, quick=True)
    machine = Machine("the machine", process, console, ssh.Ssh(process.directory, name), most=MOST_OUTPUT)
    machine.wait_for_shell(_BOOT_SECONDS)
    machine.succeed("systemctl is-system-running --wait || systemctl --failed --no-legend >&2", 120)
    machine.succeed("sh -s", 120, stdin=agent.installation().encode())
    preparation.run(machine)
    machine.succeed("sync; dmesg -c >/dev/null", 60)
    machine.shell.close()


def _save(process: Qemu) -> None:
    process.ask("migrate-set-capabilities", SHARE_MEMORY)
    process.ask("stop")
    process.ask("migrate", {"uri": "exec:cat >state.incoming"})
    _wait_until_migrated(process)
    process.quit()


def _wait_until_migrated(process: Qemu) -> None:
    deadline = Deadline(60)
    while (status := qmp.status(known := process.ask("query-migrate"))) != "completed":
        if status in ("failed", "cancelled") or deadline.expired:
            raise LabError(f"QEMU could not write the template's state: {known}")
        time.sleep(0.05)


def _publish(directory: Path, target: Path) -> None:
    incoming = target.with_name(f".{target.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True)
    try:
        for name in _FILES:
            run(["cp", "--sparse=always", directory / name, incoming / name], hint="is the disk full? see `df -h`")
        _make_overlay(incoming, target)
        shutil.rmtree(target, ignore_errors=True)
        incoming.rename(target)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _make_overlay(incoming: Path, target: Path) -> None:
    overlay = incoming / "overlay.qcow2"
    upon = ["-F", "qcow2", "-b"]
    run(["qemu-img", "create", "-q", "-f", "qcow2", *upon, incoming / "disk.qcow2", overlay])
    run(["qemu-img", "rebase", "-q", "-u", *upon, target / "disk.qcow2", overlay])


def prune(kept: set[str]) -> list[Path]:
    """Remove the templates of images that are not among the ids in `kept`; return what was removed."""
    there = [path for path in templates_dir().glob("[!.]*") if path.is_dir()]
    removed = [path for path in there if path.name.rpartition("-")[0] not in kept]
    for path in removed:
        shutil.rmtree(path)
    return removed

"""A machine's memory as a template: booted once, from which throw-away machines resume in a tenth of a second.

A template is a directory in the cache: `ram`, the memory as a file; `state`, the devices; `disk.qcow2`, what was
written since the image; `overlay.qcow2`, an empty disk upon that one, of which each slot gets a copy. A slot maps
`ram` copy on write, so all slots of a template share the pages that they do not change, and the page cache holds them
once. It is made in memory (/dev/shm), for booting writes all over it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from kmodlab import paths
from kmodlab.errors import LabError
from kmodlab.grading import agent
from kmodlab.grading.vm import SHARE_MEMORY, Limits, Vm, command
from kmodlab.host import free_space
from kmodlab.image.image import Image
from kmodlab.process import run, say
from kmodlab.vm import accelerator
from kmodlab.vm.machine import Hardware
from kmodlab.vm.snapshot import made_once

_FILES = ("ram", "state", "disk.qcow2")
_BOOT_SECONDS = 300
_SHARED = Path("/dev/shm")  # noqa: S108  # a private directory in it, and its owner is checked
#: MiB that a machine writes to its disk while it boots
_BOOT_WRITES = 512
#: MiB that QEMU needs for a disk's own tables, and may write past what the machine has free: see `slot.Pool`
BESIDE = 256

#: Run in the machine before it becomes a template. Warnings and what has no level reach the console; what hangs is
#: reported soon; an NMI, which the grader sends to a machine that hangs, makes the kernel say where.
_PREPARE = """
set -e
printf 'UsePAM no\\nUseDNS no\\nPrintMotd no\\nPrintLastLog no\\n' >/etc/ssh/sshd_config.d/grading.conf
systemctl restart ssh
systemctl stop '*.timer' systemd-journald-audit.socket 2>/dev/null || true
dmesg -n 5
sysctl -q -w kernel.watchdog_thresh=5 kernel.unknown_nmi_panic=1
sysctl -q -w kernel.hung_task_timeout_secs=8 kernel.hung_task_check_interval_secs=2 kernel.hung_task_warnings=20
free=$(df --output=avail -m / | tail -n 1)
[ "$free" -le @DISK@ ] || fallocate -l $((free - @DISK@))M /var/tmp/.ballast
mkdir -p /lib/modules/$(uname -r)/updates
cat /sbin/insmod /sbin/rmmod /sbin/modinfo /bin/cat /bin/ls /usr/bin/find /usr/bin/head >/dev/null
dmesg -c >/dev/null
sync
"""


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


def room(slots: int, memory: int, disk: int) -> int:
    """Return the bytes that machines may write while they run: a template while it is made, and each slot.

    Args:
        slots: at a time.
        memory: MiB of each.
        disk: MiB that each may write.
    """
    return (memory + _BOOT_WRITES + slots * (disk + BESIDE)) << 20


def slots_in_room(most: int, memory: int, disk: int) -> int:
    """Return how many slots there is room for, at least one; the arguments are those of `room`, and `most` of them."""
    free = max(free_space(place) for place in runtime_dirs())
    return next((slots for slots in range(most, 1, -1) if room(slots, memory, disk) <= free), 1)


def runtime_dirs() -> list[Path]:
    """Return the directories that `runtime_dir` chooses from, the best first: that in memory."""
    return [parent / f"kmodlab-{os.getuid()}" for parent in (_SHARED, paths.state_dir())]


def runtime_dir(needed: int, wish: Path | None = None) -> Path:
    """Return the private directory for what machines write while they run: in memory, where there is room for it.

    Args:
        needed: bytes, see `room`.
        wish: the user's own choice.

    Raises:
        LabError: there is no room for it anywhere, or it belongs to someone else.
    """
    directory = wish.absolute() if wish else _roomy(needed)
    directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise LabError(f"{directory} belongs to another user", hint="name another directory")
    return directory


def _roomy(needed: int) -> Path:
    # In a container /dev/shm is often 64 MiB, and a machine whose memory finds no room there ends with SIGBUS.
    memory, disk = runtime_dirs()
    if os.access(memory.parent, os.W_OK) and free_space(memory) >= needed:
        return memory
    if free_space(disk) >= needed:
        return disk
    free = " and ".join(f"{place.parent} has {free_space(place) >> 20}" for place in (memory, disk))
    raise LabError(
        f"there is no room for what the machines write: {needed >> 20} MiB are needed, {free}",
        hint="fewer --jobs, smaller `limits` of the lab, or KMODLAB_STATE_DIR on a larger disk",
    )


def make_template(image: Image, *, memory: int, cpus: int, disk: int, directory: Path) -> Template:
    """Return the template of an image on some hardware; boot it on first use.

    Args:
        image: what boots.
        memory: MiB.
        cpus: virtual processors.
        disk: MiB that the machine may write.
        directory: where it is made, see `runtime_dir`.

    Raises:
        LabError: it could not be made: no memory, disk full, the image does not boot.
    """
    hardware = Hardware(memory, cpus, accelerator.choose(image))
    target = templates_dir() / f"{image.id}-{_key(image, hardware, disk)}"
    with made_once(target, "making the template for grading") as missing:
        if missing:
            what = f"{image.release.name} once ({hardware.accelerator})"
            say(f"booting {what}, as the template of all machines for grading")
            _make(image, hardware, disk, target, directory)
    return Template(target, image, hardware)


def _key(image: Image, hardware: Hardware, disk: int) -> str:
    helper = [path.read_bytes() for path in sorted(_contract().glob("helpers/*"))]
    helper.append((_contract() / "machine.py").read_bytes())
    parts = [*command("template", image, hardware), accelerator.qemu_version(image.architecture)]
    parts += [_PREPARE, agent.installation(), str(disk)]
    parts.append(hashlib.sha256(b"\0".join(helper)).hexdigest())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _contract() -> Path:
    return paths.project_dir() / "tests" / "contract"


def _make(image: Image, hardware: Hardware, disk: int, target: Path, runtime: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="template-", dir=runtime) as temporary:
        directory = Path(temporary)
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.disk, directory / "disk.qcow2"])
        ram = f"memory-backend-file,id=ram,size={hardware.memory}M,mem-path=ram,share=on"
        argv = [*command(directory.name, image, hardware), "-object", ram]
        with Vm(directory, argv, image, Limits(disk=max(hardware.memory, 8192))) as vm:
            _prepare(vm, disk)
            vm.qmp("migrate-set-capabilities", SHARE_MEMORY)
            vm.qmp("stop")
            vm.qmp("migrate", {"uri": "exec:cat >state.incoming"})
            _wait_until_migrated(vm)
            vm.quit()
        (directory / "state.incoming").rename(directory / "state")
        _publish(directory, target)


def _prepare(vm: Vm, disk: int) -> None:
    vm.wait_for_login(_BOOT_SECONDS)
    vm.succeed("systemctl is-system-running --wait || systemctl --failed --no-legend >&2", 120)
    vm.succeed(_PREPARE.replace("@DISK@", str(disk)), 120)
    vm.succeed("sh -s", 120, stdin=agent.installation().encode())
    # What the contract tests run in the machine, compiled there once and for all slots.
    install = "import sys, testinfra; from tests.contract.machine import Machine;"
    install += "Machine(testinfra.get_host('ssh://' + sys.argv[1], ssh_config=sys.argv[2]))"
    run([sys.executable, "-c", install, vm.name, vm.ssh_config], env={"PYTHONPATH": str(paths.project_dir())})
    vm.succeed("sync; dmesg -c >/dev/null", 60)
    vm.close_connection()


def _wait_until_migrated(vm: Vm) -> None:
    for _ in range(600):
        known = vm.qmp("query-migrate")
        status = known.get("status") if isinstance(known, dict) else None
        if status == "completed":
            return
        if status in ("failed", "cancelled"):
            break
        time.sleep(0.05)
    raise LabError(f"QEMU could not write the template's state: {known}")


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

"""The machines that submissions run in: what is made of a guest before it becomes their template."""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path

from kmodlab import contract
from kmodlab.grading.lab import Limits
from kmodlab.grading.verdict import SIGN
from kmodlab.host import HOST, Host
from kmodlab.image.image import Image
from kmodlab.image.plan import Plan
from kmodlab.process import run
from kmodlab.vm import agent
from kmodlab.vm.machine import Machine
from kmodlab.vm.pool import Pool
from kmodlab.vm.template import Preparation

#: the program that does what the grader itself does in a machine
_TOOLS = Path(__file__).with_name("tools.c")
#: where it is there
TOOLS = f"{agent.FOLDER}/tools"

#: What lay in memory decides no verdict: what a module is given by kmalloc() is full of 0x5a, what it gave back of 0x6b
#: and what is beyond its end watched, so that a pointer that was never set, used after kfree(), or read past the end
#: makes the same report each time. Debian zeroes memory otherwise, which hides such faults here and not elsewhere.
#: Other caches are left alone, for they cost time in every call: see docs/grading.md.
KERNEL_LINE = "init_on_alloc=0 slub_debug=FZP,kmalloc-*"

#: Run in the machine before it becomes a template. Warnings and what has no level reach the console; what hangs is
#: reported soon; an NMI, which the grader sends to a machine that hangs, makes the kernel say where.
_PREPARE = """
set -e
printf 'UsePAM no\nUseDNS no\nPrintMotd no\nPrintLastLog no\n' >/etc/ssh/sshd_config.d/grading.conf
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


def machines(
    image: Image | Plan,
    slots: int = 1,
    limits: Limits | None = None,
    *,
    directory: Path | None = None,
    host: Host = HOST,
) -> Pool:
    """Return a pool of machines for grading; see `Pool`, also for the other arguments.

    Args:
        limits: what a submission may use of a machine; by default those of a lab that names none.

    Raises:
        LabError: as `Pool`.
    """
    limits = limits or Limits()
    return Pool(
        image,
        slots,
        preparation=preparation(limits.disk),
        memory=limits.memory,
        cpus=limits.processors,
        disk=limits.disk,
        log=limits.log,
        directory=directory,
        host=host,
    )


def preparation(disk: int) -> Preparation:
    """Return what is made of a machine that may write so many MiB."""
    return Preparation("grading", _key(), functools.partial(_prepare, disk), SIGN, KERNEL_LINE)


def _key() -> str:
    helpers = [file for file in sorted(contract.FOLDER.glob("helpers/*")) if file.is_file()]
    files = [_TOOLS, contract.FOLDER / "machine.py", *helpers]
    return hashlib.sha256(b"\0".join([_PREPARE.encode(), *(file.read_bytes() for file in files)])).hexdigest()


def _prepare(disk: int, machine: Machine) -> None:
    machine.succeed(_PREPARE.replace("@DISK@", str(disk)), 120)
    machine.succeed("sh -s", 120, stdin=f"set -e\n{agent.compiled('tools', _TOOLS)}".encode())
    # What the contract tests run in the machine, compiled there once and for all slots.
    install = "import sys, testinfra; from kmodlab.contract.machine import Machine;"
    install += "Machine(testinfra.get_host('ssh://' + sys.argv[1], ssh_config=sys.argv[2]))"
    directory = machine.qemu.directory
    argv: list[str | Path] = [sys.executable, "-c", install, directory.name, directory / "ssh_config"]
    run(argv)

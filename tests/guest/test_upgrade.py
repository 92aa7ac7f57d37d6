"""With dkms a module is there after a kernel upgrade and a restart.

It is the lister, for the compiler is slow under emulation. The tracer goes through the same tasks: test_build.py
compiles the tree that dkms gets of it, and test_lab.py restarts a machine that has its parameters and filters.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kmodlab.guest import Guest
from kmodlab.image.plan import planned

from .test_lab import play, recap

#: another series of Debian 12, with its headers, as an upgrade brings them
UPGRADE = "linux-image-6.12-cloud-amd64 linux-headers-6.12-cloud-amd64"
IN_DKMS = "modinfo -F filename task_lister | grep -c /updates/dkms/"
BOOK = """
- hosts: lab
  become: true
  gather_facts: false
  roles: [kernel_headers, task_lister]
"""


class Lister:
    """The guest `lab`, which starts the kernel of its own disk, and the playbook that deploys the lister to it."""

    def __init__(self, guest: Guest, folder: Path) -> None:
        self.guest = guest
        self.book = folder / "lister.yml"
        self.book.write_text(BOOK)

    def deploy(self, *more: str) -> dict[str, int]:
        """Deploy it by dkms; return the recap's counts."""
        done = play(self.book, "-e", '{"kernel_module_dkms": true}', *more)
        assert done.returncode == 0, done.stdout
        return recap(done)


@pytest.fixture(scope="module")
def lister(lab: Guest, tmp_path_factory: pytest.TempPathFactory) -> Lister:
    """The lister, deployed by dkms."""
    lab.up(image=planned("debian-12"), boot="disk")
    one = Lister(lab, tmp_path_factory.mktemp("lister"))
    assert one.deploy()["changed"] > 5
    return one


def test_dkms_has_built_the_module(lister: Lister) -> None:
    """dkms knows it, its file is where dkms puts it, and a second run or a check changes nothing."""
    status = lister.guest.succeed("dkms status").splitlines()
    assert [line.partition("/")[0] for line in status] == ["task_lister"]
    assert all(line.endswith(": installed") for line in status)
    assert lister.guest.succeed(IN_DKMS).strip() == "1"
    assert lister.deploy()["changed"] == 0
    assert lister.deploy("--check")["changed"] == 0


def test_upgraded_and_restarted(lister: Lister) -> None:
    """The new kernel has the module, built by dkms, loaded at boot; a deployment has nothing to do."""
    lab = lister.guest
    before = lab.succeed("uname -r").strip()
    lab.succeed(f"apt-get update -q && apt-get install -qy {UPGRADE} 2>&1")
    lab.reboot()
    after = lab.succeed("uname -r").strip()
    assert after.startswith("6.12.")
    assert not before.startswith("6.12.")
    assert lab.succeed("cat /sys/module/task_lister/initstate; head -n 3 /proc/task_lister").startswith("live\n")
    assert lab.succeed(f"{IN_DKMS}; modinfo -F vermagic task_lister").split()[:2] == ["1", after]
    assert lister.deploy()["changed"] == 0


def test_teardown_takes_it_from_every_kernel(lister: Lister) -> None:
    """Nothing of the module is left in dkms, for any kernel, or anywhere else."""
    done = play("playbooks/teardown.yml")
    assert done.returncode == 0, done.stdout
    left = lister.guest.succeed(
        "dkms status; ls -d /sys/module/task_lister /proc/task_lister 2>/dev/null;"
        "find /etc /lib/modules /usr/src /var/lib /usr/local /opt -xdev -name '*task_lister*' -print"
    )
    assert left == ""

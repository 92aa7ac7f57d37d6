"""With dkms a module is there after a kernel upgrade and a restart.

It is a module that says nothing, for the compiler is slow under emulation, built by the lister's own Makefile and words
to dkms. The modules go through the same tasks: test_build.py compiles the tree that dkms gets of each, and test_lab.py
restarts a machine that has them, with parameters and filters.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kmodlab.guest import Guest
from kmodlab.image.plan import planned
from kmodlab.paths import project_dir

from .test_lab import play, recap

#: another series of Debian 12, with its headers, as an upgrade brings them
UPGRADE = "linux-image-6.12-cloud-amd64 linux-headers-6.12-cloud-amd64"
IN_DKMS = "modinfo -F filename least | grep -c /updates/dkms/"
SOURCE = '#include <linux/module.h>\nMODULE_DESCRIPTION("says nothing");\nMODULE_LICENSE("GPL");\n'
BOOK = """
- hosts: lab
  become: true
  gather_facts: false
  tasks:
    - ansible.builtin.import_role:
        name: kernel_headers
      when: wanted == 'present'
    - ansible.builtin.import_role:
        name: kernel_module
      vars:
        kernel_module_name: least
        kernel_module_source: {source}
        kernel_module_state: "{{{{ wanted }}}}"
        kernel_module_dkms: true
"""


class Least:
    """The guest `lab`, which starts the kernel of its own disk, and the playbook that deploys the module to it."""

    def __init__(self, guest: Guest, folder: Path) -> None:
        self.guest = guest
        self.book = folder / "least.yml"
        source = folder / "least"
        source.mkdir()
        lister = project_dir() / "kernel" / "task_lister"
        for name in ("Makefile", "dkms.conf"):
            (source / name).write_text((lister / name).read_text().replace("task_lister", "least"))
        (source / "Kbuild").write_text("obj-m := least.o\n")
        (source / "least.c").write_text(SOURCE)
        self.book.write_text(BOOK.format(source=source))

    def play(self, *more: str, wanted: str = "present") -> dict[str, int]:
        """Deploy it by dkms, or remove it; return the recap's counts."""
        done = play(self.book, "-e", f"wanted={wanted}", *more)
        assert done.returncode == 0, done.stdout
        return recap(done)


@pytest.fixture(scope="module")
def least(lab: Guest, tmp_path_factory: pytest.TempPathFactory) -> Least:
    """The module, deployed by dkms."""
    lab.up(image=planned("debian-12"), boot="disk")
    one = Least(lab, tmp_path_factory.mktemp("least"))
    assert one.play()["changed"] > 5
    return one


def test_dkms_has_built_the_module(least: Least) -> None:
    """dkms knows it, its file is where dkms puts it, and a second run or a check changes nothing."""
    status = least.guest.succeed("dkms status").splitlines()
    assert [line.partition("/")[0] for line in status] == ["least"]
    assert all(line.endswith(": installed") for line in status)
    assert least.guest.succeed(IN_DKMS).strip() == "1"
    assert least.play()["changed"] == 0
    assert least.play("--check")["changed"] == 0


def test_upgraded_and_restarted(least: Least) -> None:
    """The new kernel has the module, built by dkms, loaded at boot; a deployment has nothing to do."""
    lab = least.guest
    before = lab.succeed("uname -r").strip()
    lab.succeed(f"apt-get update -q && apt-get install -qy {UPGRADE} 2>&1")
    lab.reboot()
    after = lab.succeed("uname -r").strip()
    assert after.startswith("6.12.")
    assert not before.startswith("6.12.")
    assert lab.succeed("cat /sys/module/least/initstate") == "live\n"
    assert lab.succeed(f"{IN_DKMS}; modinfo -F vermagic least").split()[:2] == ["1", after]
    assert least.play()["changed"] == 0


def test_removal_takes_it_from_every_kernel(least: Least) -> None:
    """Nothing of the module is left in dkms, for any kernel, or anywhere else."""
    assert least.play(wanted="absent")["changed"] > 0
    left = least.guest.succeed(
        "dkms status; ls -d /sys/module/least 2>/dev/null;"
        "find /etc /lib/modules /usr/src /var/lib/dkms /var/lib/kmodlab /usr/local /opt -xdev"
        r" \( -name least -o -name 'least[.-]*' -o -name 'kmodlab-least*' \) -print 2>/dev/null; true"
    )
    assert left == ""

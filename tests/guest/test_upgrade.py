"""With dkms, both modules, their parameters and the filters are there after a kernel upgrade and a restart."""

from __future__ import annotations

import pytest

from kmodlab.guest import Guest

from .test_lab import play, recap

SETTINGS = (
    '{"kernel_module_dkms": true, "syscall_tracer_log_entries": 2048, "syscall_tracer_filters": ["unlink block"]}'
)
#: another series of Debian 12, with its headers, as an upgrade brings them
UPGRADE = "linux-image-6.12-cloud-amd64 linux-headers-6.12-cloud-amd64"
IN_DKMS = "modinfo -F filename syscall_tracer task_lister | grep -c /updates/dkms/"


@pytest.fixture(scope="module")
def lab(lab: Guest) -> Guest:
    """The guest `lab`, which starts the kernel that its own disk has, with both modules deployed by dkms."""
    lab.up(image="debian-12", boot="disk")
    done = play("deploy.yml", "-e", SETTINGS)
    assert done.returncode == 0, done.stdout
    return lab


def test_dkms_has_built_both_modules(lab: Guest) -> None:
    """dkms knows both, their files are where it puts them, and a second run or a check changes nothing."""
    status = lab.succeed("dkms status").splitlines()
    assert [line.partition("/")[0] for line in status] == ["syscall_tracer", "task_lister"]
    assert all(line.endswith(": installed") for line in status)
    assert lab.succeed(IN_DKMS).strip() == "2"
    for more in ((), ("--check",)):
        again = play("deploy.yml", "-e", SETTINGS, *more)
        assert again.returncode == 0, again.stdout
        assert recap(again)["changed"] == 0, again.stdout


def test_upgraded_and_restarted(lab: Guest) -> None:
    """The new kernel has both modules, built by dkms, with parameters and filters; a deployment has nothing to do."""
    before = lab.succeed("uname -r").strip()
    lab.succeed(f"apt-get update -q && apt-get install -qy {UPGRADE} 2>&1")
    lab.reboot()
    after = lab.succeed("uname -r").strip()
    assert after.startswith("6.12.")
    assert not before.startswith("6.12.")
    assert lab.succeed("ls /sys/module | grep -cxE 'syscall_tracer|task_lister'").strip() == "2"
    assert lab.succeed(f"{IN_DKMS}; modinfo -F vermagic task_lister").split()[:2] == ["2", after]
    assert lab.succeed("cat /sys/module/syscall_tracer/parameters/log_entries").strip() == "2048"
    lab.settle()
    page = lab.succeed("cat /proc/syscall_tracer")
    assert page[page.rindex("Active Filters:") :].splitlines()[2:] == ["unlink: BLOCK"]
    again = play("deploy.yml", "-e", SETTINGS)
    assert again.returncode == 0, again.stdout
    assert recap(again)["changed"] == 0, again.stdout


def test_teardown_takes_both_from_every_kernel(lab: Guest) -> None:
    """Nothing of the modules is left in dkms, for any kernel, or anywhere else."""
    done = play("playbooks/teardown.yml")
    assert done.returncode == 0, done.stdout
    left = lab.succeed(
        "dkms status; ls -d /sys/module/syscall_tracer /sys/module/task_lister /proc/syscall_tracer 2>/dev/null;"
        "find /etc /lib/modules /usr/src /var/lib /usr/local /opt -xdev"
        r" \( -name '*syscall_tracer*' -o -name '*task_lister*' \) -print"
    )
    assert left == ""

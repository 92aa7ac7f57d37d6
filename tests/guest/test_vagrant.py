"""`vagrant up` for real: a box made of the lab's image, libvirt, the checkout's Vagrantfile and inventory, deploy.yml.

libvirtd and Vagrant run in namespaces of their own (libvirt.py). The tests are one story, told in order.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import SECONDS

from kmodlab.guest import box
from kmodlab.image.image import build_image
from kmodlab.image.plan import planned
from kmodlab.process import Deadline
from kmodlab.vm import accelerator

from .libvirt import OwnLibvirt, own_libvirt
from .test_lab import recap

MACHINE = "ubuntu-22.04"
BOX = "kmodlab/test"


def _network_of_the_host() -> list[str]:
    said = subprocess.check_output(["ip", "-oneline", "address"], text=True)
    addresses = [re.sub(r"valid_lft.*", "", line) for line in said.splitlines()]
    routes = subprocess.check_output(["ip", "route"], text=True).splitlines()
    filters = Path("/proc/net/ip_tables_names")
    tables = filters.read_text().split() if filters.exists() else []
    return [*addresses, *routes, *tables, Path("/proc/sys/net/ipv4/ip_forward").read_text()]


@pytest.fixture(scope="module")
def libvirt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnLibvirt]:
    """A libvirtd with the lab's box known to Vagrant; the host's network is the same afterwards."""
    if os.getuid():
        pytest.skip("libvirtd in namespaces of its own needs root")
    before = _network_of_the_host()
    directory = tmp_path_factory.mktemp("libvirt")
    file = box.build_box(planned("auto"))
    with own_libvirt(directory) as own:
        own.environment |= {"KMODLAB_VAGRANT_BOX": BOX, "KMODLAB_VAGRANT_MEMORY": "1024"}
        own.succeed("vagrant", "box", "add", "--name", BOX, file)
        yield own
    shutil.rmtree(directory)
    assert _network_of_the_host() == before


def _inside(libvirt: OwnLibvirt, command: str) -> str:
    """Run a command in the machine, as its user."""
    return libvirt.succeed("vagrant", "ssh", MACHINE, "-c", command)


def test_up_makes_a_machine_with_both_modules(libvirt: OwnLibvirt) -> None:
    """It makes the machine that the inventory describes, with what really accelerates here, and deploys to it."""
    output = libvirt.succeed("vagrant", "up", MACHINE)
    counts = recap(subprocess.CompletedProcess([], 0, output), MACHINE)
    assert counts["failed"] == counts["unreachable"] == 0
    assert counts["changed"] > 0
    assert re.search(rf"Build the module\] \*+\n\s*changed: \[{MACHINE}\]", output), output
    driver, cpus = {"kvm": ("kvm", 2), "tcg": ("qemu", 1)}[accelerator.choose_for_others()]
    settings = dict(re.findall(r" -- ([\w ]+): +(\S.*)", output))
    assert (settings["Domain type"], settings["Cpus"], settings["Memory"]) == (driver, str(cpus), "1024M")
    assert settings["Base box"] == BOX
    seen = _inside(libvirt, "lsmod; head -n 1 /proc/task_lister; sudo head -n 1 /proc/syscall_tracer; hostname; nproc")
    for line in ("System Call Tracer Log", "LINUX KERNEL TASK LISTER", MACHINE.replace(".", "-")):
        assert line in seen
    assert len(re.findall(r"(?m)^(?:syscall_tracer|task_lister) ", seen)) == 2, seen
    assert f"the page   vagrant ssh {MACHINE} -- -L 8480:127.0.0.1:8480" in output


def test_the_machine_is_its_own(libvirt: OwnLibvirt) -> None:
    """Nothing that belongs to whoever built the box, and no key that everyone has, is left in a machine."""
    assert "kmodlab.key=" not in _inside(libvirt, "cat /proc/cmdline")
    private = subprocess.check_output(
        ["ssh-keygen", "-y", "-f", libvirt.directory / "dot" / "machines" / MACHINE / "libvirt" / "private_key"],
        text=True,
    )
    keys = _inside(libvirt, "cat ~/.ssh/authorized_keys /run/kmodlab/authorized_keys")
    assert [line.split()[1] for line in keys.splitlines() if line.startswith("ssh-")] == [private.split()[1]]
    image = build_image(planned("auto"))
    assert image.host_key.split()[1] not in _inside(libvirt, "cat /etc/ssh/ssh_host_*_key.pub")
    assert _inside(libvirt, "cat /etc/resolv.conf").split() == ["nameserver", "192.168.121.1"]


def test_provision_again_changes_nothing(libvirt: OwnLibvirt) -> None:
    """`vagrant provision` is idempotent."""
    output = libvirt.succeed("vagrant", "provision", MACHINE)
    counts = recap(subprocess.CompletedProcess([], 0, output), MACHINE)
    assert counts["changed"] == counts["failed"] == counts["unreachable"] == 0, output
    # What follows is about the machine and its modules, and goes twice as fast where nobody records it.
    _inside(libvirt, "sudo systemctl disable --now kmodlab-recorder kmodlab-dashboard")


def test_what_it_built_is_cleaned_away(libvirt: OwnLibvirt) -> None:
    """It has built both modules for itself, and `make clean` by hand leaves nothing of that."""
    trees = [f"/usr/src/kmodlab-{module}/{module}" for module in ("syscall_tracer", "task_lister")]
    outputs = f"find {' '.join(trees)} -name '*.o' -o -name '*.ko' -o -name '*.mod*' -o -name '.*.cmd'"
    assert len(re.findall(r"(?m)\.ko\s*$", _inside(libvirt, outputs))) == 2
    _inside(libvirt, " && ".join(f"sudo make -C {tree} clean" for tree in trees))
    assert _inside(libvirt, outputs).strip() == ""


def test_the_playbooks_find_the_machine(libvirt: OwnLibvirt) -> None:
    """With the project's own inventory verify.yml takes the machine that is up, and its contract holds."""
    output = libvirt.succeed(
        "ansible-playbook", "--limit", MACHINE, "playbooks/verify.yml", "-e", "verify_markers=quick"
    )
    assert f"PASS: {MACHINE}\n" in output.replace("'", "")
    assert int(re.findall(r"(\d+) passed", output)[-1]) > 10, output
    assert not re.search(r"\d+ (?:failed|error)", output), output


def test_halt_and_up_again(libvirt: OwnLibvirt) -> None:
    """`vagrant halt` shuts it down in good order; `vagrant up` boots it from its own disk, and the modules are back."""
    domain = libvirt.virsh("list", "--name")[0]
    assert "Forcing shutdown" not in libvirt.succeed("vagrant", "halt", MACHINE)
    assert libvirt.virsh("domstate", domain) == ["shut off"]
    assert "Machine already provisioned" in libvirt.succeed("vagrant", "up", MACHINE)
    assert len(re.findall(r"(?m)^(?:syscall_tracer|task_lister) ", _inside(libvirt, "lsmod"))) == 2


def test_the_power_button_works(libvirt: OwnLibvirt) -> None:
    """The machine shuts down by itself when asked by ACPI, which is what Vagrant falls back to."""
    domain = libvirt.virsh("list", "--name")[0]
    libvirt.virsh("shutdown", domain)
    deadline = Deadline(SECONDS)
    while libvirt.virsh("domstate", domain) != ["shut off"]:
        assert not deadline.expired, libvirt.virsh("domstate", domain)


def test_destroy_leaves_nothing(libvirt: OwnLibvirt) -> None:
    """No domain, network, disk, address or file of the machine; what is left is the box, which is Vagrant's."""
    libvirt.succeed("vagrant", "destroy", "-f")
    assert libvirt.virsh("list", "--all") == []
    assert libvirt.virsh("net-list", "--all") == []
    volumes = [line.split()[0] for line in libvirt.virsh("vol-list", "default")]
    assert [name for name in volumes if "_vagrant_box_image_" not in name] == []
    assert [line.split()[0] for line in libvirt.succeed("ip", "-brief", "link").splitlines()] == ["lo"]
    assert [path for path in (libvirt.directory / "dot" / "machines").rglob("*") if path.is_file()] == []
    assert "not created" in libvirt.succeed("vagrant", "status", MACHINE)

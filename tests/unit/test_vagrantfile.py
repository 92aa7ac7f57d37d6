"""The Vagrantfile, as far as it can be judged without a provider."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HOSTS = yaml.safe_load((ROOT / "inventory/hosts.yml").read_text(encoding="utf-8"))
MACHINES = HOSTS["all"]["children"]["vagrant_machines"]["hosts"]

# What Vagrant asks VirtualBox before it believes that it is there; validation needs no more of it.
STUB = '#!/bin/sh\n[ "$1" = --version ] && echo 7.0.20r163906\nexit 0\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what Vagrant reads, with a VirtualBox that only says its version."""
    for name in ("Vagrantfile", "deploy.yml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "inventory", tmp_path / "inventory")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/VBoxManage").write_text(STUB, encoding="utf-8")
    (tmp_path / "bin/VBoxManage").chmod(0o755)
    return tmp_path


def vagrant(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Vagrant in `project`, with a home of its own."""
    if shutil.which("vagrant") is None:
        pytest.skip("vagrant is not installed")
    home = {"VAGRANT_HOME": str(project / "home"), "VAGRANT_CHECKPOINT_DISABLE": "1"}
    path = f"{project / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["vagrant", *arguments],
        cwd=project,
        env={**os.environ, **home, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def spoil(project: Path, old: str, new: str) -> None:
    """Replace `old` in the Vagrantfile, which must have it."""
    file = project / "Vagrantfile"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_ruby_syntax() -> None:
    """Ruby understands the file."""
    if shutil.which("ruby") is None:
        pytest.skip("ruby is not installed")
    done = subprocess.run(["ruby", "-wc", "Vagrantfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Syntax OK\n", "")


def test_validate(project: Path) -> None:
    """Vagrant accepts the file, VirtualBox's settings included."""
    done = vagrant(project, "validate")
    assert (done.returncode, done.stdout) == (0, "Vagrantfile validated successfully.\n"), done.stderr


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("machine.vm.hostname =", "machine.vm.hostnam =", "The following settings shouldn't exist: hostnam"),
        ("settings.memory =", "settings.memorie =", "The following settings shouldn't exist: memorie"),
        ("ansible.playbook =", "ansible.playbok =", "playbok"),
    ],
)
def test_validate_refuses_a_bad_option(project: Path, old: str, new: str, complaint: str) -> None:
    """Validation sees a wrong word in each part of the file."""
    spoil(project, old, new)
    done = vagrant(project, "validate")
    assert done.returncode != 0
    assert complaint in done.stdout + done.stderr


def test_the_machines_are_those_of_the_inventory(project: Path) -> None:
    """`vagrant status` lists the group vagrant_machines and nothing else."""
    done = vagrant(project, "status", "--machine-readable")
    listed = {line.split(",")[1] for line in done.stdout.splitlines() if line.split(",")[1]}
    assert listed == set(MACHINES), done.stderr


def test_a_machine_added_to_the_inventory_is_a_machine_of_vagrant(project: Path) -> None:
    """Nothing but inventory/hosts.yml has to be touched."""
    changed = yaml.safe_load((project / "inventory/hosts.yml").read_text(encoding="utf-8"))
    hosts = changed["all"]["children"]["vagrant_machines"]["hosts"]
    hosts["ubuntu-26.04"] = {"vagrant_box": "bento/ubuntu-26.04", "ansible_host": "192.168.56.26"}
    (project / "inventory/hosts.yml").write_text(yaml.safe_dump(changed), encoding="utf-8")
    assert "ubuntu-26.04" in vagrant(project, "status").stdout

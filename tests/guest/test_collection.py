"""The repository as an Ansible collection: built, installed into an empty folder, and used from there alone."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from kmodlab import __version__
from kmodlab.guest import Guest
from kmodlab.paths import project_dir

from .test_lab import BIN, recap

FAST = {"ANSIBLE_STRATEGY": "kmodlab.lab.kmodlab_linear"}
SUMMARY = {"ANSIBLE_CALLBACKS_ENABLED": "kmodlab.lab.kmodlab_summary"}


class Controller:
    """A folder with the collection and a list of hosts, and nothing of the checkout, `ansible.cfg` least of all."""

    def __init__(self, folder: Path, guest: Guest) -> None:
        self.folder = folder
        (folder / "my-hosts").write_text(
            f"mine ansible_host={guest.name} ansible_user=root ansible_ssh_common_args='-F {guest.ssh_config}'"
            f' kernel_module_builder=\'["{BIN}/kmodlab", "guest", "build", "{guest.name}"]\'\n'
        )

    def run(self, program: str, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one of Ansible's programs here."""
        inherited = {name: value for name, value in os.environ.items() if name != "ANSIBLE_CONFIG"}
        own = {"ANSIBLE_COLLECTIONS_PATH": str(self.folder), "ANSIBLE_NOCOLOR": "1", **env}
        done = subprocess.run(
            [BIN / program, *arguments],
            cwd=self.folder,
            env={**inherited, **own},
            # Streams of its own: Ansible refuses those that an ssh elsewhere has made non-blocking.
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def play(self, playbook: str, *arguments: str, **env: str) -> dict[str, int]:
        """Run a playbook of the collection; return the recap's counts."""
        done = self.run("ansible-playbook", "-i", "my-hosts", f"kmodlab.lab.{playbook}", *arguments, **env)
        return recap(done, "mine")


@pytest.fixture
def controller(tmp_path: Path, guest: Guest) -> Controller:
    """A controller on which the collection was just installed, from a file, without a network."""
    one = Controller(tmp_path, guest)
    one.run("ansible-galaxy", "collection", "build", "--output-path", tmp_path, project_dir())
    (archive,) = tmp_path.glob("kmodlab-lab-*.tar.gz")
    one.run("ansible-galaxy", "collection", "install", "--offline", "--no-deps", "-p", tmp_path, archive)
    return one


def test_deployed_from_the_installed_collection(controller: Controller, guest: Guest) -> None:
    """Deploy over mitogen, again over Ansible's own strategy, the contract, the teardown: all from the collection."""
    assert controller.play("deploy", "-e", "deploy_report=report.json", **FAST, **SUMMARY)["changed"] > 10
    assert json.loads((controller.folder / "report.json").read_text())["hosts"]["mine"]["verdict"] == "deployed"
    assert guest.succeed("ls /sys/module | grep -cxE 'syscall_tracer|task_lister'").strip() == "2"
    assert guest.succeed("kmodlab --version") == f"kmodlab {__version__}\n"
    assert controller.play("deploy")["changed"] == 0
    # What records costs an emulated machine half its time. It is stopped, and removed with the rest.
    guest.succeed("systemctl stop kmodlab-recorder kmodlab-dashboard")
    assert controller.play("verify", "-e", "verify_markers=quick", **FAST)["failed"] == 0
    assert controller.play("teardown", **FAST)["changed"] > 3
    left = "/sys/module/syscall_tracer /sys/module/task_lister /usr/local/bin/kmodlab"
    assert guest.succeed(f"ls -d {left} 2>/dev/null; true") == ""

"""Which machines the playbooks manage (playbooks/targets.yml), with a `kmodlab` that only notes what it was asked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import SECONDS

ROOT = Path(__file__).resolve().parents[2]

PLAY = f"""
- ansible.builtin.import_playbook: {ROOT}/playbooks/targets.yml
- hosts: targets
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: managed {{{{ inventory_hostname }}}}
"""
STUB = """#!/bin/sh
echo "$*" >> "$0.log"
[ -e "$0.broken" ] && { echo "no room on the disk" >&2; exit 3; }
echo '{"name": "lab", "changed": true, "state": "running"}'
"""


class Lab:
    """A controller whose `kmodlab` is a stub."""

    def __init__(self, folder: Path, python: list[str]) -> None:
        self.folder = folder
        self._python = python
        self.stub = folder / "kmodlab"
        self.stub.write_text(STUB, encoding="utf-8")
        self.stub.chmod(0o755)
        (folder / "play.yml").write_text(PLAY, encoding="utf-8")

    def play(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Choose the machines, with further arguments of ansible-playbook."""
        program = Path(sys.executable).with_name("ansible-playbook")
        extra = ["-e", f"lab_guest_command={self.stub}", "-e", f"ansible_python_interpreter={sys.executable}"]
        return subprocess.run(
            [*self._python, str(program), str(self.folder / "play.yml"), *extra, *arguments],
            cwd=ROOT,
            env={**os.environ, "KMODLAB_STATE_DIR": str(self.folder / "state")},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def asked(self) -> list[str]:
        """Return the arguments of each call of `kmodlab`."""
        log = self.folder / "kmodlab.log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


@pytest.fixture
def lab(tmp_path: Path, ansible_python: list[str]) -> Lab:
    """A controller with no machine running."""
    return Lab(tmp_path, ansible_python)


def test_hosts_of_ones_own_are_managed_as_they_stand(lab: Lab) -> None:
    """Every host of -i, whatever its groups, and no guest is ever started."""
    hosts = lab.folder / "my-hosts"
    hosts.write_text(
        "[embedded_guests]\none ansible_connection=local\n[web]\ntwo ansible_connection=local\n", encoding="utf-8"
    )
    done = lab.play("-i", str(hosts))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [name in done.stdout for name in ("managed one", "managed two")] == [True, True]
    assert recapped(done) == ["one", "two"]
    assert lab.asked() == []


def test_the_guest_is_brought_up_where_no_machine_answers(lab: Lab) -> None:
    """The embedded guest, and only that, is started, managed and spoken of."""
    done = lab.play()
    assert (done.returncode, recapped(done)) == (0, ["lab"]), done.stdout + done.stderr
    assert lab.asked() == ["guest up lab --json --image=auto --memory=1024 --cpus=2 --boot=direct"]
    assert "managed lab" in done.stdout
    assert "managed ubuntu" not in done.stdout


def test_a_machine_that_answers_is_enough(lab: Lab) -> None:
    """No guest is started where a machine of the inventory answers; the others are left out."""
    done = lab.play("-i", "inventory", "-i", str(answering(lab)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "managed here" in done.stdout
    assert recapped(done) == ["here"]
    assert "managed lab" not in done.stdout
    assert lab.asked() == []


def recapped(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the machines that the recap names."""
    recap = done.stdout[done.stdout.rindex("PLAY RECAP") :]
    return re.findall(r"(?m)^(\S+) +: ok=", recap)


def test_the_guest_may_be_named(lab: Lab) -> None:
    """And then as well the other machines of the inventory are not spoken of."""
    done = lab.play("--limit", "lab")
    assert recapped(done) == ["lab"], done.stdout + done.stderr


def test_what_is_left_of_machines_is_no_sign_of_them(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are neither asked nor spoken of.

    The directory of a guest that died is still there, with the number of a process that is not, or with none; a
    machine of Vagrant that is halted keeps its id.
    """
    for name, number in (("debian-11", "4194305"), ("debian-12", "")):
        left = lab.folder / "state/guests" / name
        left.mkdir(parents=True)
        (left / "ssh_config").touch()
        (left / "pid").write_text(f"{number}\n")
    vagrant(lab, monkeypatch, answer="")
    done = lab.play()
    assert (done.returncode, recapped(done)) == (0, ["lab"]), done.stdout + done.stderr
    assert "UNREACHABLE" not in done.stdout


def test_a_machine_of_vagrant_that_is_up_is_asked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose ssh server answers, and spoken of even where it does not let Ansible in."""
    vagrant(lab, monkeypatch, answer="a key")
    done = lab.play()
    assert (done.returncode, recapped(done)) == (0, ["lab", "ubuntu-22.04"]), done.stdout + done.stderr


def vagrant(lab: Lab, monkeypatch: pytest.MonkeyPatch, *, answer: str) -> None:
    """Have Vagrant know a machine whose ssh server gives an answer."""
    (lab.folder / "vagrant/machines/ubuntu-22.04/libvirt").mkdir(parents=True)
    (lab.folder / "vagrant/machines/ubuntu-22.04/libvirt/id").touch()
    for program, does in (("ssh-keyscan", f"echo {answer}"), ("ssh", "exit 255")):
        stub = lab.folder / "bin" / program
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
        stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{lab.folder}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("VAGRANT_DOTFILE_PATH", str(lab.folder / "vagrant"))


def answering(lab: Lab) -> Path:
    """Return an inventory with one more machine that comes and goes, and is there."""
    file = lab.folder / "more.ini"
    file.write_text("here ansible_connection=local\n", encoding="utf-8")
    return file


def test_a_guest_that_fails_says_why(lab: Lab) -> None:
    """What `kmodlab` said is in the message."""
    (lab.folder / "kmodlab.broken").touch()
    done = lab.play()
    assert done.returncode != 0
    assert "The guest lab did not come up. no room on the disk" in done.stdout + done.stderr


def test_a_check_starts_nothing(lab: Lab) -> None:
    """With --check no guest is started, and that is no failure."""
    done = lab.play("--check")
    assert (done.returncode, recapped(done), lab.asked()) == (0, ["lab"], []), done.stdout + done.stderr
    assert "managed lab" not in done.stdout


def test_a_limit_without_a_machine_that_answers_is_an_error(lab: Lab) -> None:
    """The message names the machine and the ways to start one."""
    done = lab.play("--limit", "ubuntu-24.04")
    assert (done.returncode != 0, recapped(done)) == (True, ["ubuntu-24.04"]), done.stdout + done.stderr
    assert "None of the machines answers: ubuntu-24.04. Start one of them" in done.stdout + done.stderr

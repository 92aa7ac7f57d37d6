"""What is said at the end of a deployment (plugins/callback/kmodlab_summary.py), by real runs on this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# `first` fails for good, `second` is well, `third` is not there, `fourth` fails and is rescued, `fifth` comes too late.
HOSTS = """
first ansible_connection=local
second ansible_connection=local
third ansible_host=127.0.0.1 ansible_port=1
fourth ansible_connection=local
fifth ansible_connection=local
[targets]
first
second
third
fourth
fifth
"""
PLAY = """
- hosts: targets
  gather_facts: false
  serial: [4, 1]
  max_fail_percentage: 20
  vars: {vars}
  tasks:
    - block:
        - ansible.builtin.ping:
        - name: Break
          ansible.builtin.fail:
            msg: "broke\\non {{{{ inventory_hostname }}}}"
          when: inventory_hostname in ["first", "fourth"]
      rescue:
        - kmodlab_health:
            expect: any
    - name: Count it
      ansible.builtin.fail:
        msg: counted
      when: inventory_hostname == "first"
"""


def play(python: list[str], folder: Path, marks: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the play with these variables of its own."""
    (folder / "hosts").write_text(HOSTS, encoding="utf-8")
    (folder / "play.yml").write_text(PLAY.format(vars=marks), encoding="utf-8")
    program = Path(sys.executable).with_name("ansible-playbook")
    argv = [
        *python,
        str(program),
        "-i",
        f"{folder}/hosts",
        f"{folder}/play.yml",
        "-e",
        f"ansible_python_interpreter={sys.executable}",
    ]
    return subprocess.run([*argv, *words], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def told(ansible_python: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a run shows, and its report."""
    folder = tmp_path_factory.mktemp("summary")
    report = folder / "report.json"
    done = play(ansible_python, folder, "{__fleet_job: deploy}", "-e", f"deploy_report={report}")
    assert done.returncode != 0
    return done.stdout, json.loads(report.read_text(encoding="utf-8"))


def test_every_host_has_its_verdict(told: tuple[str, dict[str, Any]]) -> None:
    """Also those that were never begun; a failure that was rescued is none."""
    assert told[1]["job"] == "deploy"
    found = {name: (host["verdict"], host["reason"]) for name, host in told[1]["hosts"].items()}
    assert found.pop("third")[0] == "unreachable"
    assert found == {
        "first": ("failed", "counted"),
        "second": ("deployed", ""),
        "fourth": ("deployed", ""),
        "fifth": ("untouched", ""),
    }
    assert re.match(r"at 'ansible.builtin.ping': .*Connection refused", told[1]["hosts"]["third"]["reason"])
    assert told[1]["hosts"]["first"]["kernel"] == told[1]["hosts"]["fourth"]["kernel"] == os.uname().release
    assert told[1]["hosts"]["second"]["kernel"] == ""


def test_a_person_sees_the_same(told: tuple[str, dict[str, Any]]) -> None:
    """One line a host, with the reason below it."""
    summary = told[0][told[0].rindex("DEPLOY SUMMARY") :].splitlines()[1:]
    shown = [line.split()[:2] for line in summary if line and not line.startswith(" ")]
    assert shown == [[name, host["verdict"]] for name, host in told[1]["hosts"].items()]
    assert summary[summary.index(f"first   failed       {os.uname().release}") + 1] == "    counted"


def test_other_plays_are_not_summed_up(ansible_python: list[str], tmp_path: Path) -> None:
    """Nothing is shown and nothing written for a play that is no job of this project."""
    done = play(ansible_python, tmp_path, "{}", "-e", f"deploy_report={tmp_path}/report.json", "--limit", "second")
    assert "PLAY RECAP" in done.stdout
    assert "SUMMARY" not in done.stdout
    assert not (tmp_path / "report.json").exists()


def test_a_report_that_cannot_be_written_stops_the_deployment_before_it_begins(
    ansible_python: list[str], tmp_path: Path
) -> None:
    """For want of the folder, or of the callback; the message says which."""
    # A host that is not there: nothing could be done to it.
    (tmp_path / "hosts").write_text("one ansible_host=127.0.0.1 ansible_port=1\n", encoding="utf-8")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    # The Python that has Ansible already has read which callbacks there are.
    for python, folder, callbacks, message in (
        (ansible_python, tmp_path / "gone", "", f"there is no folder {tmp_path}/gone on this machine"),
        ([], tmp_path, "ansible.posix.timer", "ANSIBLE_CALLBACKS_ENABLED=kmodlab.lab.kmodlab_summary"),
    ):
        argv = [*python, program, "-i", f"{tmp_path}/hosts", "deploy.yml", "-e", f"deploy_report={folder}/report.json"]
        env = {**os.environ, **({"ANSIBLE_CALLBACKS_ENABLED": callbacks} if callbacks else {})}
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert message in re.sub(r"\s+", " ", done.stdout)
        assert "kernel_headers" not in done.stdout

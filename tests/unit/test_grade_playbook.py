"""playbooks/grade.yml hands everything to `kmodlab grade`, here a stand-in that notes what it was asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import SECONDS

ROOT = Path(__file__).resolve().parents[2]
STUB = """#!/bin/sh
printf '%s\\n' "$PWD" "$@" >"$0.asked"
cat "$0.prints"
[ ! -e "$0.broken" ] || { echo "1 of 2 are not graded: bob" >&2; exit 3; }
"""


class Controller:
    """A folder in which somebody grades, with a `kmodlab` that is a stand-in."""

    def __init__(self, folder: Path, python: list[str]) -> None:
        self.folder = folder
        self._python = python
        self.stub = folder / "kmodlab"
        self.stub.write_text(STUB, encoding="utf-8")
        self.stub.chmod(0o755)
        self.prints(
            "1/2  pass        100 of 100    ada", "2/2  fail        30 of 100     bob  (known)", "grades/index.html"
        )

    def prints(self, *lines: str) -> None:
        """Have the command print these."""
        Path(f"{self.stub}.prints").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def play(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the playbook there."""
        program = Path(sys.executable).with_name("ansible-playbook")
        env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PWD": str(self.folder), "COLUMNS": "400"}
        return subprocess.run(
            [*self._python, program, ROOT / "playbooks" / "grade.yml", "-e", f"grade_command={self.stub}", *arguments],
            cwd=self.folder, env=env, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip

    def asked(self) -> list[str]:
        """Return the folder in which the command ran, and its arguments; empty where it did not."""
        file = Path(f"{self.stub}.asked")
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


@pytest.fixture
def controller(tmp_path: Path, ansible_python: list[str]) -> Controller:
    return Controller(tmp_path, ansible_python)


def test_it_hands_over_what_it_was_given(controller: Controller) -> None:
    options = '{"grade_options": ["--only", "ada*"]}'
    done = controller.play(
        "-e", "lab=proc_pid", "-e", '{"submissions": "my class.zip"}', "-e", "out=lab1", "-e", options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert controller.asked() == [
        *(str(controller.folder), "grade", "proc_pid", "my class.zip", "--out", "lab1", "--only", "ada*")
    ]
    assert "1/2  pass        100 of 100    ada" in done.stdout
    assert "changed=1" in done.stdout


def test_out_has_the_default_of_the_command_and_known_results_are_no_change(controller: Controller) -> None:
    controller.prints("1/1  pass        100 of 100    ada  (known)", "grades/index.html")
    done = controller.play("-e", "lab=proc_pid", "-e", "submissions=class")
    assert done.returncode == 0, done.stdout + done.stderr
    assert controller.asked()[1:] == ["grade", "proc_pid", "class", "--out", "grades"]
    assert "changed=0" in done.stdout


@pytest.mark.parametrize(("given", "missing"), [("lab=proc_pid", "submissions"), ("submissions=class", "lab")])
def test_what_is_missing_is_named_before_anything_is_done(controller: Controller, given: str, missing: str) -> None:
    done = controller.play("-e", given)
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert "-e lab=LAB -e submissions=PATH" in said
    assert f"There is no {missing}." in said
    assert controller.asked() == []


def test_a_class_that_is_not_all_graded_fails_with_the_commands_words(controller: Controller) -> None:
    Path(f"{controller.stub}.broken").touch()
    done = controller.play("-e", "lab=proc_pid", "-e", "submissions=class")
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert "ended with 3. 1 of 2 are not graded: bob" in said
    assert "30 of 100 bob (known)" in said, "and what was graded is shown"

"""Running the project's playbooks on one machine, and reading what the contract tests found there."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from kmodlab import paths
from kmodlab.errors import LabError
from kmodlab.process import finish


@dataclass(frozen=True)
class Check:
    """One check of the contract and its result.

    Attributes:
        sentence: what holds if it passed.
        verdict: `PASS`, `FAIL` or `SKIP`.
        detail: the first line of the failure, or why it was skipped.
    """

    sentence: str
    verdict: str
    detail: str = ""


def read_checks(report: Path) -> list[Check]:
    """Return the checks of a JUnit XML report, in the order they ran.

    Args:
        report: as pytest's `--junitxml` writes it; a property `sentence` of a case says what the check is.

    Raises:
        LabError: there is no such report: the tests did not get as far as running.
    """
    try:
        cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314  # written by our own pytest
    except (OSError, ElementTree.ParseError) as error:
        raise LabError("the contract tests left no report", hint="the lines above say why they did not run") from error
    return [_check(case) for case in cases]


def _check(case: ElementTree.Element) -> Check:
    found = case.find("properties/property[@name='sentence']")
    sentence = found.get("value", "") if found is not None else case.get("name", "")
    for kind, verdict in (("failure", "FAIL"), ("error", "FAIL"), ("skipped", "SKIP")):
        if (result := case.find(kind)) is not None:
            message = result.get("message", "").splitlines()
            return Check(sentence, verdict, message[0] if message else "")
    return Check(sentence, "PASS")


def play(host: str, *arguments: str, log: Path | None = None) -> int:
    """Run playbooks on one machine of the inventory; return ansible-playbook's exit status.

    Args:
        host: the machine.
        arguments: playbooks, relative to the project, and options.
        log: append all output there; by default it is shown.
    """
    binary = Path(sys.executable).with_name("ansible-playbook")
    env = {**os.environ, "PATH": f"{binary.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [str(binary), "--limit", host, *arguments]
    if not log:
        return finish(command, sink=None, env=env, cwd=paths.project_dir())[0]
    with log.open("ab") as sink:
        return finish(command, sink=sink, env={**env, "ANSIBLE_NOCOLOR": "1"}, cwd=paths.project_dir())[0]


def verify(host: str, selection: str = "", *, log: Path | None = None) -> tuple[int, list[Check]]:
    """Run the contract tests on one machine.

    Args:
        host: the machine.
        selection: which tests, an expression for pytest's `-m`; all by default.
        log: as for `play`.

    Returns:
        ansible-playbook's exit status, and each check.

    Raises:
        LabError: they did not run.
    """
    with tempfile.TemporaryDirectory(prefix="kmodlab-") as temporary:
        report = Path(temporary) / "contract.xml"
        extra = {"verify_markers": selection, "verify_arguments": [f"--junitxml={report}"]}
        status = play(host, "playbooks/verify.yml", "--extra-vars", json.dumps(extra), log=log)
        return status, read_checks(report)

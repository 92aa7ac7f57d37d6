"""Running the project's playbooks on a guest, and reading what the contract tests found there."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from kmodlab import contract, environment, paths
from kmodlab.errors import LabError
from kmodlab.guest import Guest
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


def play(guest: Guest, *arguments: str, log: Path | None = None) -> int:
    """Run playbooks on a guest, which the inventory knows; return ansible-playbook's exit status.

    Args:
        guest: it is up, and watched meanwhile.
        arguments: playbooks, relative to the project, and options.
        log: append all output there; by default it is shown.

    Raises:
        GuestCrashed: at once, where the guest breaks.
    """
    binary = Path(sys.executable).with_name("ansible-playbook")
    env = environment.settled(os.environ)
    env["PATH"] = f"{binary.parent}{os.pathsep}{env.get('PATH', '')}"
    # The inventory asks the environment; what it holds may be relative, or begin with a tilde.
    env |= {"KMODLAB_STATE_DIR": str(paths.state_dir()), "KMODLAB_CACHE_DIR": str(paths.cache_dir())}
    command = [str(binary), "--limit", guest.name, *arguments]
    guest.console.unseen()
    with log.open("ab") if log else contextlib.nullcontext() as sink:
        env |= {"ANSIBLE_NOCOLOR": "1"} if log else {}
        watch = functools.partial(guest.machine.check, "running the playbooks")
        status, _, _ = finish(command, sink=sink, env=env, cwd=paths.project_dir(), watch=watch)
    guest.machine.check("running the playbooks")
    return status


def verify(
    guest: Guest, selection: str = "", *, tests: Path = contract.FOLDER, log: Path | None = None
) -> tuple[int, list[Check]]:
    """Run the contract tests on a guest.

    Args:
        guest: as for `play`.
        selection: which tests, an expression for pytest's `-m`; all by default.
        tests: the folder that they are in.
        log: as for `play`.

    Returns:
        ansible-playbook's exit status, and each check.

    Raises:
        LabError: they did not run.
        GuestCrashed: as for `play`.
    """
    with tempfile.TemporaryDirectory(prefix="kmodlab-") as temporary:
        report = Path(temporary) / "contract.xml"
        extra = {
            "verify_markers": selection,
            "verify_tests": str(tests),
            "verify_arguments": [f"--junitxml={report}"],
        }
        status = play(guest, "playbooks/verify.yml", "--extra-vars", json.dumps(extra), log=log)
        return status, read_checks(report)

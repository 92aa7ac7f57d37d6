"""`kmodlab lab`: the main job from a bare machine to a verified lab, and a summary that a person can read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.text import Text

from kmodlab import paths
from kmodlab.errors import LabError
from kmodlab.guest import Guest
from kmodlab.guest.guest import guests_dir
from kmodlab.process import locked, say

GUEST = "lab"

#: what the summary shows of the guest: a title, and the command whose output it is
EXCERPTS = (
    (
        "/proc/syscall_tracer",
        # The rows of the workload, whose process is named kmw- and a nonce.
        r"""page=$(cat /proc/syscall_tracer); show() { printf '%s\n' "$page"; };"""
        "show | head -n 4; show | grep kmw- | tail -n 8; echo ...; show | tail -n 9",
    ),
    ("/proc/task_lister", "head -n 8 /proc/task_lister; echo ...; tail -n 2 /proc/task_lister"),
    ("/proc/task_stats", "cat /proc/task_stats"),
    (
        "dmesg",
        "dmesg | grep -E '(syscall_tracer|task_lister): loaded' | tail -n 2;"
        "dmesg | grep 'syscall_tracer: Blocked' | tail -n 4",
    ),
)


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


def _play(*arguments: str) -> int:
    """Run playbooks on the guest, showing what they do; return ansible-playbook's exit status."""
    binary = Path(sys.executable).with_name("ansible-playbook")
    path = f"{binary.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    command = [str(binary), "--limit", GUEST, *arguments]
    return subprocess.run(command, cwd=paths.project_dir(), env={**os.environ, "PATH": path}, check=False).returncode


def _require(status: int, what: str) -> None:
    if status:
        raise LabError(
            what,
            exit_code=status,
            hint=f"the task that failed is above; `kmodlab guest ssh {GUEST}` looks around, `make lab` tries again",
        )


def _verify(selection: str) -> tuple[int, list[Check]]:
    with tempfile.TemporaryDirectory(prefix="kmodlab-") as temporary:
        report = Path(temporary) / "contract.xml"
        extra = {"verify_markers": selection, "verify_arguments": [f"--junitxml={report}"]}
        status = _play("playbooks/verify.yml", "--extra-vars", json.dumps(extra))
        return status, read_checks(report)


def _excerpts(guest: Guest) -> list[tuple[str, str]]:
    return [(title, guest.execute(command).stdout.rstrip()) for title, command in EXCERPTS]


def _show_excerpts(excerpts: list[tuple[str, str]], console: Console) -> None:
    for title, text in excerpts:
        console.rule(Text(title), align="left")
        console.print(Text(text), soft_wrap=True)


def _show_checks(checks: list[Check], console: Console) -> None:
    console.rule(Text("checks"), align="left")
    styles = {"PASS": "green", "FAIL": "bold red", "SKIP": "yellow"}
    for check in checks:
        line = Text.assemble((check.verdict, styles[check.verdict]), "  ", check.sentence)
        if check.detail:
            line.append(f"\n      {check.detail}")
        console.print(line, soft_wrap=True)


def run_lab(*, image: str, memory: int, cpus: int, selection: str = "quick") -> bool:
    """Bring the lab's guest up, deploy both modules, drive a workload, verify, and show it all.

    Args:
        image: the guest's release.
        memory: MiB.
        cpus: virtual processors.
        selection: which contract tests, an expression for pytest's `-m`.

    Returns:
        Whether every check passed.

    Raises:
        LabError: something broke before there was anything to check.
    """
    started = time.monotonic()
    guest = Guest(GUEST)
    with locked(guests_dir() / ".lab-run.lock", "another `make lab`"):
        ours = guest.up(image=image, memory=memory, cpus=cpus)
        if not ours:
            say(f"guest {GUEST}: already up")
        try:
            return _run_on(guest, selection, started)
        except (SystemExit, KeyboardInterrupt):
            # Interrupted: what this run started ends with it. A guest in which something failed stays, to be looked at.
            if ours:
                guest.down()
            raise


def _run_on(guest: Guest, selection: str, started: float) -> bool:
    _require(_play("deploy.yml", "playbooks/workload.yml"), "deploying the modules failed")
    # Before the checks, which fill the log with calls of their own.
    excerpts = _excerpts(guest)
    status, checks = _verify(selection)
    console = Console(highlight=False)
    _show_excerpts(excerpts, console)
    _show_checks(checks, console)
    return _show_verdict(guest, checks, status, console, time.monotonic() - started)


def _show_verdict(guest: Guest, checks: list[Check], status: int, console: Console, seconds: float) -> bool:
    passed = sum(check.verdict == "PASS" for check in checks)
    good = status == 0 and passed == len(checks) > 0
    settings = guest.settings
    console.rule(Text("lab"), align="left")
    console.print(
        f"guest    {guest.name}: {settings['image']} on 127.0.0.1:{settings['port']} ({settings['accelerator']})\n"
        f"log in   ssh -F {guest.ssh_config} {guest.name}    (or: kmodlab guest ssh {guest.name})\n"
        f"end      make down\n"
        f"{'PASS' if good else 'FAIL'}     {passed} of {len(checks)} checks passed, in {seconds:.0f} s",
        style=None if good else "bold red",
        soft_wrap=True,
    )
    return good

"""`kmodlab lab`: the main job from a bare machine to a verified lab, and a summary that a person can read."""

from __future__ import annotations

import time

from rich.console import Console
from rich.text import Text

from kmodlab.errors import LabError
from kmodlab.guest import Guest
from kmodlab.guest.guest import guests_dir
from kmodlab.image.plan import Plan
from kmodlab.playbook import Check, play, verify
from kmodlab.process import locked, say

GUEST = "lab"

#: what the summary shows of the guest: a title, and the command whose output it is
EXCERPTS = (
    (
        "/proc/syscall_tracer",
        # The rows of the workload, whose process is named kmw- and a nonce.
        r"""page=$(cat /proc/syscall_tracer); show() { printf '%s\n' "$page"; };"""
        "show | head -n 4; show | grep kmw- | tail -n 8; echo ...; show | sed -n '/^Total entries/,$p'",
    ),
    ("/proc/syscall_tracer_stats", "cat /proc/syscall_tracer_stats"),
    ("/proc/task_lister", "head -n 8 /proc/task_lister; echo ...; tail -n 2 /proc/task_lister"),
    ("/proc/task_stats", "cat /proc/task_stats"),
    (
        "dmesg",
        "dmesg | grep -E '(syscall_tracer|task_lister): loaded' | tail -n 2;"
        "dmesg | grep 'syscall_tracer: Blocked' | tail -n 4",
    ),
)


def _require(status: int, what: str) -> None:
    if status:
        raise LabError(
            what,
            exit_code=status,
            hint=f"the task that failed is above; `kmodlab guest ssh {GUEST}` looks around, `make lab` tries again",
        )


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


def run_lab(*, image: Plan, memory: int, cpus: int, selection: str = "quick") -> bool:
    """Bring the lab's guest up, deploy both modules, drive a workload, verify, and show it all.

    Args:
        image: what the guest's image is built of.
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
    _require(play(guest, "deploy.yml", "playbooks/workload.yml"), "deploying the modules failed")
    # Before the checks, which fill the log with calls of their own.
    excerpts = _excerpts(guest)
    status, checks = verify(guest, selection)
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
        f"page     kmodlab dashboard    (what the tracer sees, live, and its history)\n"
        f"end      make down\n"
        f"{'PASS' if good else 'FAIL'}     {passed} of {len(checks)} checks passed, in {seconds:.0f} s",
        style=None if good else "bold red",
        soft_wrap=True,
    )
    return good

"""Scripts that were written against the original system go on working: what they grep for is there."""

from __future__ import annotations

import pytest

from .machine import Machine
from .readers.wording import require_none
from .script import TRACER, step, write

TRACER_COMMANDS = {
    "the title": "head -n 1 {f} | grep -qx 'System Call Tracer Log'",
    "a rule under the title": "sed -n 2p {f} | grep -qx '=*'",
    "the first four columns": "sed -n 3p {f} | grep -Eq '^Syscall +PID +Timestamp +Status( |$)'",
    "Total entries": "grep -Eq '^Total entries: [0-9]+$' {f}",
    "entries are counted": "test $(sed -n 's/^Total entries: //p' {f}) -gt 0",
    "a row": "sed -n 5p {f} | grep -Eq '^[a-z0-9_]+ +[0-9]+ +[0-9]+ +(ALLOWED|BLOCKED)( |$)'",
    "tail shows calls": "tail -n 10 {f} | grep -Eq '^[a-z0-9_]+ +[0-9]+ +[0-9]+ +(ALLOWED|BLOCKED)( |$)'",
    "Active Filters": "grep -q '^Active Filters:' {f}",
    "No filters active": "grep -q 'No filters active' {f}",
    "openat is seen": "cat /etc/hostname >/dev/null; grep -q '^openat ' {f}",
    "echo block": "echo 'unlink block' > {f} && grep -q '^unlink: BLOCK' {f}",
    "not without filters now": "! grep -q 'No filters active' {f}",
    "echo delete": "echo 'unlink delete' > {f} && grep -q 'No filters active' {f}",
    "echo allow": "echo 'unlink allow' > {f} && grep -q '^unlink: ALLOW' {f} && echo clear > {f}",
    "a blocked unlink": "echo 'unlink block' > {f} && : > /tmp/gone && rm /tmp/gone && grep -Eq '^unlink.*BLOCKED' {f}",
    "it is permissive": "! test -e /tmp/gone",
    "clear": "echo clear > {f} && grep -q 'No filters active' {f}",
}  # fmt: skip
TASK_COMMANDS = {
    "the title": "head -n 1 /proc/task_lister | grep -q 'LINUX KERNEL TASK LISTER'",
    "the title's rule": "head -n 1 /proc/task_lister | grep -Eq '^={{20}} .* ={{20}}$'",
    "the header": "sed -n 2p /proc/task_lister | grep -Eq '^PID +PPID +COMMAND +STATE '",
    "the rules": "test $(grep -c '^=*$' /proc/task_lister) = 2",
    "PID 1": "grep '^[[:space:]]*1[[:space:]]' /proc/task_lister | grep -q .",
    "PID 1 once": "test $(grep -c '^[[:space:]]*1[[:space:]]' /proc/task_lister) = 1",
    "one task a line": "test $(grep -Ec '^[[:space:]]*[0-9]+[[:space:]]' /proc/task_lister) -gt 10",
    "the total": "grep -Eq '^Total processes listed: [0-9]+$' /proc/task_lister",
    "this shell": "grep -Eq \"^$$ +$PPID \" /proc/task_lister",
    "detail": "grep -qx 'PID: 1' /proc/task_detail",
    "detail's title": "head -n 1 /proc/task_detail | grep -q 'DETAILED TASK INFORMATION'",
    "detail's command": "grep -A 1 -x 'PID: 1' /proc/task_detail | grep -q '^  Command: '",
    "statistics": "grep -q 'TASK STATISTICS' /proc/task_stats",
    "Total Virtual Memory": "grep -Eq 'Total Virtual Memory: [0-9]+ MB' /proc/task_stats",
    "Total RSS": "grep -Eq 'Total RSS: +[0-9]+ MB' /proc/task_stats",
    "states": "test $(grep -Ec '^ +(Running|Sleeping|Stopped|Zombie|Total): +[0-9]+$' /proc/task_stats) = 5",
    "awk": "awk '/Total processes listed/ {{ t = $4 }} /^[0-9]/ {{ n++ }} END {{ exit n != t }}' /proc/task_lister",
}  # fmt: skip


ASKED = "The layout is that of the handout. Each of these shell commands, run as root, should succeed."


def run_all(machine: Machine, commands: dict[str, str], **names: str) -> list[str]:
    """Run each command in a shell of its own, and return those that failed."""
    told = {what: command.format(**names) for what, command in commands.items()}
    answers = machine.play(*(step("sh", command) for command in told.values()))
    return [f"{what}: `{told[what]}`" for what, answer in zip(told, answers, strict=True) if answer["rc"]]


@pytest.mark.any_kernel
@pytest.mark.syscall_tracer
def test_scripts_for_the_original_tracer_work(tracer: Machine) -> None:
    """What scripts for the original tracer grep for is there: title, columns, totals, filters."""
    tracer.play(write("clear"))
    require_none(run_all(tracer, TRACER_COMMANDS, f=TRACER), ASKED)


@pytest.mark.any_kernel
@pytest.mark.task_lister
def test_scripts_for_the_original_lister_work(machine: Machine) -> None:
    """What scripts for the original task lister grep for is there: title, columns, PID 1, totals."""
    require_none(run_all(machine, TASK_COMMANDS), ASKED)


@pytest.mark.any_kernel
@pytest.mark.task_lister
@pytest.mark.quick
def test_pid_1_is_found_as_scripts_look_for_it(machine: Machine) -> None:
    """`grep '^[[:space:]]*1[[:space:]]' /proc/task_lister` finds PID 1, and `Total Virtual Memory` is in task_stats."""
    require_none(run_all(machine, {key: TASK_COMMANDS[key] for key in ("PID 1", "Total Virtual Memory")}), ASKED)

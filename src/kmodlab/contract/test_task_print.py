"""The processes in the kernel's log, one after the other and depth first."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from .machine import Machine
from .modules import find_module, put_back, require
from .readers.wording import require_none, require_that, text_of
from .script import TREE, Answer, nonce, read, step

pytestmark = pytest.mark.task_lister

PRINT = "/sys/module/task_lister/parameters/print"
_LINE = re.compile(r"\btask_lister: (.*)")
_TREE = re.compile(r"\[(\d+)\] ( *)\S+\(\d+\)")
_LISTED = re.compile(r"(\d+) (\d+) ([A-Z_]+) (\S+)")


def printed(kmsg: Answer) -> list[str]:
    """Return what the module has said, without its name."""
    return [found[1] for line in kmsg["records"] if (found := _LINE.search(line))]


def said(machine: Machine, *steps: str) -> tuple[list[Answer], list[str]]:
    """Play steps; return their answers, and what the module has said meanwhile."""
    (start,) = machine.play(step("kmsg", 1 << 40))
    *answers, kmsg = machine.play(*steps, step("kmsg", start["last"]))
    return answers, printed(kmsg)


def parent_of(files: Mapping[str, str]) -> int:
    """Return the parent of a process; see proc_pid_stat(5)."""
    return int(files["stat"].rpartition(") ")[2].split()[1])


def test_the_list_is_printed(machine: Machine) -> None:
    """`echo list` says of each process its number, its parent's, its state and its name, once."""
    name = nonce("printed")
    look = step("procs", whole=1)
    steps = step("spawn", "sleeper", name), look, step("sh", f"echo list >{PRINT}"), look
    (made, before, done, after), lines = said(machine, *steps)
    require(done)
    rows = {int(found[1]): found for line in lines if (found := _LISTED.fullmatch(line))}
    require_that(len(rows) == len(lines), "Each line is a process, each process a line.", f"{len(lines)} lines")
    first, last = ({int(pid): parent_of(files) for pid, files in one["procs"].items()} for one in (before, after))
    stay = {pid: parent for pid, parent in first.items() if last.get(pid) == parent}
    missing = [f"PID {pid} is missing" for pid in stay.keys() - rows.keys()]
    require_none(missing, "Who lives all the while is there.")
    strange = [f"PID {pid} is a child of {rows[pid][2]}" for pid, parent in stay.items() if int(rows[pid][2]) != parent]
    require_none(strange, "Each has the parent that /proc says.")
    seen = rows[made["pid"]].group(3, 4)
    require_that(seen == ("SLEEPING", name[:15]), "The sleeper is shown as it is.", f"{seen}")
    require_that([*rows] == sorted(rows), "They come by their number.", f"{[*rows]}")


def test_the_tree_is_printed(machine: Machine) -> None:
    """`echo tree` says the same as /proc/task_tree, in its order, with the depth before it."""
    answers, lines = said(machine, step("sh", f"echo tree >{PRINT}"), read(TREE))
    require(answers[0])
    told = text_of(answers[1], TREE).splitlines()[1:-2]
    shown = [re.sub(r"^\[(\d+)\] ", "", line) for line in lines]
    wrong = [line for line in lines if not (found := _TREE.fullmatch(line)) or len(found[2]) != 2 * int(found[1])]
    require_none(wrong, "A generation is two blanks.")
    both = set(told) & set(shown)
    require_that(len(both) > 20, "Both have the processes of the machine.", f"{len(both)} of {len(told)}")
    order = [line for line in told if line in both], [line for line in shown if line in both]
    require_that(order[0] == order[1], "They have them in the same order.", f"{lines[:9]}")


def test_it_is_printed_at_load_and_only_what_was_asked_for(machine: Machine) -> None:
    """`print=tree` prints once the module is loaded; any word that is none is refused, and prints nothing."""
    module = find_module(machine, "task_lister")
    answers, lines = said(machine, module.unload(), module.load("print=tree"))
    require(*answers)
    (bad, none, shown), silence = said(
        machine, *(step("sh", f"echo {word} >{PRINT}") for word in ("both", "none")), step("sh", f"cat {PRINT}")
    )
    (unloaded, refused), _ = said(machine, module.unload(), module.load("print=all"))
    put_back(machine, module)
    require(none, unloaded)
    require_that(
        "loaded" in lines and any(line.startswith("[0] ") for line in lines), "The tree is printed.", f"{lines[:5]}"
    )
    require_that(bad["rc"] != 0 and refused["rc"] != 0, "Other words are refused.", f"{bad} {refused}")
    require_that(silence == [] and shown["text"] == "none\n", "Nothing is printed.", f"{silence[:5]} {shown}")

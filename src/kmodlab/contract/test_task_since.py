"""What changed since a pass of /proc/task_lister: who came, who moved, who is gone."""

from __future__ import annotations

import pytest

from .machine import Machine
from .readers.task_rows import Pass, Value, parse_jsonl
from .readers.wording import require_none, require_that
from .script import nonce, step
from .selection import PASSES, SHELL, STORM

pytestmark = pytest.mark.task_lister

SLEEPERS = 8
"""As many processes sleep from before the first pass on; what else a machine runs may wake at any time."""


def _passes(machine: Machine, shell: str) -> tuple[set[Value], list[Pass]]:
    """Run a shell that looks some times, beside some who sleep; return who these are, and the passes."""
    name = nonce("sleeps")
    *made, answer = machine.play(*[step("spawn", "sleeper", name)] * SLEEPERS, step("sh", SHELL + shell))
    require_that(answer["text"].endswith("end\n"), "Each look comes to its end.", answer["text"][-300:])
    return {each["pid"] for each in made}, [parse_jsonl(text) for text in answer["text"].split("end\n")[:-1]]


def _require_asleep(sleepers: set[Value], first: Pass, second: Pass) -> None:
    """Require that who sleeps was shown once."""
    require_that(sleepers <= first.by_pid().keys(), "The first pass has all.", f"{first}")
    require_none([f"{row}" for row in second.rows if row["pid"] in sleepers], "Who sleeps is not shown again.")


def test_what_changed_since_a_pass(machine: Machine) -> None:
    """since= shows who is new, who has moved and, with its identity alone, who is gone; who sleeps is not shown."""
    sleepers, answers = _passes(machine, "nap; look; look; end; again; look; p=7; look; end")
    first, second, third, unknown = answers
    rows = first.by_pid()
    ends = next(pid for pid, row in rows.items() if row["comm"] == b"sleep")
    require_that(1 in rows, "The first pass has all.", f"{rows}")
    _require_asleep(sleepers, first, second)
    moved = [row for row in second.rows if row["comm"] == b"sh" and row["id"] in {row["id"] for row in first.rows}]
    require_that(moved, "Who has run is shown again: the shell that looks.", f"{second}")
    wanted = {"id": rows[ends]["id"], "pid": ends, "comm": None, "uid": None, "state": None}
    require_that(wanted in third.rows, "Who is gone has its identity alone.", f"{third}")
    new = [row for row in third.rows if row["comm"] == b"sleep"]
    require_that([row["pid"] for row in new] == [ends], "Who is new is shown, also with a used number.", f"{third}")
    everybody = unknown.by_pid()
    require_that({*sleepers, 1} <= everybody.keys(), "Since a pass that is not remembered all is shown.", f"{unknown}")


def test_a_pass_that_was_not_read_is_not_remembered(machine: Machine) -> None:
    """Who read a part of a pass has not seen the rest: the next one tells what changed since the last whole one."""
    part = 'echo "columns=id,pid,comm,uid,state format=jsonl kthreads=0 since=$p" >&3; head -c 100 <&3 >/dev/null; '
    sleepers, passes = _passes(machine, f"look; nap; {part} look; end")
    new = [row for row in passes[1].rows if row["comm"] == b"sleep"]
    require_that(new, "Who is new is shown, as nobody has got it.", f"{passes[1]}")
    _require_asleep(sleepers, *passes)


def test_another_selection_is_not_what_is_remembered(machine: Machine) -> None:
    """Who looks at something else meanwhile, with the same open file, is told what changed since its pass."""
    other = 'echo "columns=pid" >&3; cat <&3 >/dev/null; echo "ended=0 columns=pid" >&3; cat <&3 >/dev/null; '
    sleepers, passes = _passes(machine, f"look; {other} nap; look; end")
    new = [row for row in passes[1].rows if row["comm"] == b"sleep"]
    require_that(new, "Who is new is shown.", f"{passes[1]}")
    _require_asleep(sleepers, *passes)


def test_changes_add_up(machine: Machine) -> None:
    """Under a storm of forks, who applies all changes to what it had has what a whole pass has."""
    shell = f"({STORM}) & for i in $(seq {PASSES}); do look; done; wait; look; p=0; look"
    _, passes = _passes(machine, shell)
    known: dict[Value, dict[str, Value]] = {}
    for one in passes[:-1]:
        for row in one.rows:
            if row["state"] is None:
                require_that(row["id"] in known, "Who is gone was there.", f"{row}")
                del known[row["id"]]
            else:
                known[row["id"]] = row
    whole = {row["id"]: row for row in passes[-1].rows}
    # Who looks is there at its own look alone.
    short = {key for key, row in {**known, **whole}.items() if row["comm"] in (b"cat", b"sed")}
    missing = [whole[key] for key in whole.keys() - known.keys() - short]
    beside = [known[key] for key in known.keys() - whole.keys() - short]
    require_none([f"{row} was not told of" for row in missing], "All that came was told.")
    require_none([f"{row} was not said to be gone" for row in beside], "All that went was told.")
    require_that(len(known) > 10 and len(passes) == PASSES + 2, "There is something to add up.", f"{len(known)}")

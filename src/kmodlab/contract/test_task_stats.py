"""/proc/task_stats counts what /proc has, whatever its layout is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .machine import Machine
from .proc_measure import Process
from .readers.task_pages import parse_stats
from .readers.wording import require_none, text_of, wrong
from .script import STATS, read, script, step
from .zoo import PLAIN, Picture, Zoo, about_equal, visit

pytestmark = pytest.mark.task_lister

GROUPS = {"R": "Running", "S": "Sleeping", "T": "Stopped", "t": "Stopped", "Z": "Zombie"}
"""The letters of /proc/PID/stat; any other is `Other`."""
VISITS = 3


@pytest.fixture(scope="module")
def zoo(machine: Machine) -> Zoo:
    """Processes of every kind, and pictures of the statistics."""
    return visit(machine, PLAIN, STATS)


def bounds(picture: Picture, belongs: Callable[[Process], bool]) -> tuple[int, int]:
    """Return how many processes certainly belonged, and how many at most: things change between two looks.

    Who was born after the first look is among the second's. Who ran in between was there, but may have been in any
    state, whatever the two looks say: it counts as one that does not belong, and as one that does.
    """
    before, after = ({pid for pid, one in seen.items() if belongs(one)} for seen in (picture.before, picture.after))
    sure, everybody = before & after, set(picture.before) & set(picture.after)
    if sure == everybody:
        return len(sure), len(before | after)
    restless = (set(picture.before) | set(picture.after)) - set(picture.still)
    return len(sure - restless), len(before | after | restless)


def outside(zoo: Zoo, key: str, belongs: Callable[[Process], bool]) -> list[str]:
    """Return a sentence for each picture in which a count is outside of its bounds."""
    found = []
    for picture in zoo.pictures:
        least, most = bounds(picture, belongs)
        if not least <= (shown := picture.stats.of(key)) <= most:
            expected = str(least) if least == most else f"{least} to {most}"
            found.append(f"It is {shown}, expected {expected}.")
    return found


def check_count(machine: Machine, key: str, belongs: Callable[[Process], bool], hint: str) -> None:
    """Fail where a count is outside of its bounds at each visit.

    Who was born and has ended between two looks is in neither, which is seldom. What is counted wrong is so each time.
    """
    said = []
    for number in range(VISITS):
        said = outside(visit(machine, PLAIN, STATS, number=number), key, belongs)
        if not said:
            return
    wrong(f"`{key}:` counts the processes of /proc.", said[0], hint)


@pytest.mark.quick
@pytest.mark.parametrize("key", ["Running", "Sleeping", "Stopped", "Zombie"])
def test_states_are_counted(key: str, machine: Machine) -> None:
    """`{key}:` counts the processes in that state."""
    hint = "exit_state" if key == "Zombie" else "TRACED ones are stopped" if key == "Stopped" else "task->__state"
    check_count(machine, key, lambda process: GROUPS.get(process.state) == key, hint)


def test_others_are_counted(machine: Machine, zoo: Zoo) -> None:
    """`Other:` counts the processes in all other states, and all states add up to the total."""
    hint = "idle kernel threads, uninterruptible sleep"
    check_count(machine, "Other", lambda process: process.state not in GROUPS, hint)
    for picture in zoo.pictures:
        total = sum(picture.stats.of(key) for key in ("Running", "Sleeping", "Stopped", "Zombie", "Other"))
        if total != picture.stats.of("Total"):
            wrong("The states add up to the total.", f"They are {total}, and Total is {picture.stats.of('Total')}.")


@pytest.mark.quick
def test_all_are_counted(machine: Machine) -> None:
    """`Total:` counts all processes."""
    check_count(machine, "Total", lambda _: True, "each process once, and no threads")


def check_memory(picture: Picture) -> None:
    """Fail where a sum of memory is not that of /proc."""
    for key, measured, label in (("VM", "vm_kb", "Total Virtual Memory"), ("RSS", "rss_kb", "Total RSS")):
        sums = [sum(getattr(one, measured) for one in seen.values()) for seen in (picture.before, picture.after)]
        if not about_equal(1024 * (shown := picture.stats.of(key)) + 512, *sums):
            hint = "sum pages, and make MB of the sum: pages * PAGE_SIZE >> 20"
            asked = f"`{label}:` is the sum over all processes in MB."
            wrong(asked, f"It is {shown}, expected {sums[0] // 1024}.", hint)


@pytest.mark.quick
def test_memory_is_summed(zoo: Zoo) -> None:
    """The memory of all processes is summed up, in MB."""
    for picture in zoo.pictures:
        check_memory(picture)


def test_memory_is_summed_in_pages_and_rounded_once(machine: Machine) -> None:
    """Many small processes weigh what they weigh: nothing is rounded away one by one."""
    answers = machine.play(step("crowd", 200, "apart"), step("procs"), read(STATS), step("procs"), step("disband"))
    check_memory(Picture({STATS: answers[2]}, answers[1], answers[3]))


def test_a_pid_namespace_counts_its_own_processes_only(machine: Machine) -> None:
    """In a PID namespace with its own /proc, only the processes of that namespace are counted."""
    inner = step("pidns", script(step("spawn", "sleeper", "inner"), step("spawn", "zombie", "dead"), read(STATS)))
    (outer,) = machine.play(inner)
    stats = parse_stats(text_of(outer["inner"][-1], STATS))
    expected = {"Running": 1, "Sleeping": 1, "Stopped": 0, "Zombie": 1, "Other": 0, "Total": 3}
    seen = [f"{key} is {stats.of(key)}, expected {count}" for key, count in expected.items() if stats.of(key) != count]
    require_none(seen, "In a PID namespace with its own /proc only its processes are counted.")

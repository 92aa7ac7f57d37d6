"""/proc/task_stats are the sums of task_lister."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from .machine import Machine
from .script import LISTER, STATS, read, script, step
from .task_pages import Stats, TaskList, parse_list, parse_stats
from .zoo import PICTURES, Zoo, visit

pytestmark = pytest.mark.task_lister

GROUPS = {"RUNNING": "Running", "SLEEPING": "Sleeping", "STOPPED": "Stopped", "TRACED": "Stopped", "ZOMBIE": "Zombie"}
TRIES, PLAYS = 20, 3


@pytest.fixture(scope="module")
def zoo(machine: Machine) -> Zoo:
    """Processes of every kind, and pictures of them."""
    return visit(machine)


def sums(listed: TaskList) -> Stats:
    """Return the statistics that belong to a list."""
    counted = Counter(GROUPS.get(task.state, "Other") for task in listed.tasks)
    states = {name: counted[name] for name in ("Running", "Sleeping", "Stopped", "Zombie", "Other")}
    vm, rss = (sum(getattr(task, key) for task in listed.tasks) // 1024 for key in ("vm_kb", "rss_kb"))
    return Stats(states | {"Total": len(listed.tasks)}, vm, rss)


def at_rest(machine: Machine, *setup: str, of: Callable[[Stats], object] = lambda stats: stats) -> Stats:
    """Return the statistics when they were those of the list between two looks at them; things change all the time.

    Args:
        machine: to look at.
        setup: steps before.
        of: what of the statistics has to be at rest, and that of the list.
    """
    tried = []
    for _ in range(PLAYS):
        answers = machine.play(*setup, *[read(STATS), read(LISTER), read(STATS)] * TRIES)[len(setup) :]
        for before, listed, after in zip(*[iter(answers)] * 3, strict=True):
            stats, expected = parse_stats(before["text"]), sums(parse_list(listed["text"]))
            if of(stats) == of(parse_stats(after["text"])) == of(expected):
                return stats
            tried.append(f"{stats} is not {expected}")
    pytest.fail("\n".join(tried))


@pytest.mark.quick
def test_the_statistics_are_the_sums_of_the_list(machine: Machine) -> None:
    """task_stats are the sums of task_lister: states, total, memory in MB (read again while things change)."""
    stats = at_rest(machine, *[step("spawn", kind, kind) for kind in ("zombie", "stopped", "traced", "vfork")])
    assert stats.states["Zombie"] >= 1
    assert stats.states["Stopped"] >= 2


def test_the_states_add_up(zoo: Zoo) -> None:
    """The states add up to the total."""
    for picture in zoo.pictures:
        for stats in (picture.stats_before, picture.stats_after):
            assert sum(stats.states.values()) == 2 * stats.states["Total"]
    assert len(zoo.pictures) == PICTURES


def test_a_pid_namespace_counts_its_own_processes_only(machine: Machine) -> None:
    """In a PID namespace with its own /proc, only the processes of that namespace are counted."""
    inner = step("pidns", script(step("spawn", "sleeper", "inner"), step("spawn", "zombie", "dead"), read(STATS)))
    (outer,) = machine.play(inner)
    stats = parse_stats(outer["inner"][-1]["text"])
    expected = {"Running": 1, "Sleeping": 1, "Stopped": 0, "Zombie": 1, "Other": 0, "Total": 3}
    assert stats.states == expected


def test_memory_is_summed_in_pages_and_rounded_once(machine: Machine) -> None:
    """Many small processes weigh as much in the statistics as in the list: nothing is rounded away one by one."""
    # The states are no part of it: a kernel thread that wakes up now and then would decide.
    stats = at_rest(machine, step("crowd", 300), of=lambda stats: (stats.vm_mb, stats.rss_mb))
    assert stats.states["Total"] > 300

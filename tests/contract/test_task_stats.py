"""/proc/task_stats are the sums of task_lister."""

from __future__ import annotations

from collections import Counter

import pytest

from .machine import Machine
from .script import LISTER, STATS, read, script, step
from .task_pages import Stats, TaskList, parse_list, parse_stats
from .zoo import PICTURES, Zoo, visit

pytestmark = pytest.mark.task_lister

GROUPS = {"RUNNING": "Running", "SLEEPING": "Sleeping", "STOPPED": "Stopped", "TRACED": "Stopped", "ZOMBIE": "Zombie"}
TRIES = 20


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


@pytest.mark.quick
def test_the_statistics_are_the_sums_of_the_list(machine: Machine) -> None:
    """task_stats are the sums of task_lister: states, total, memory in MB (read again while things change)."""
    zoo = [step("spawn", kind, kind) for kind in ("zombie", "stopped", "traced", "vfork")]
    answers = machine.play(*zoo, *[read(STATS), read(LISTER), read(STATS)] * TRIES)[len(zoo) :]
    tried = []
    for before, listed, after in zip(*[iter(answers)] * 3, strict=True):
        stats = parse_stats(before["text"])
        tried.append((stats, sums(parse_list(listed["text"]))))
        if stats == parse_stats(after["text"]) == tried[-1][1]:
            assert stats.states["Zombie"] >= 1
            assert stats.states["Stopped"] >= 2
            return
    pytest.fail("\n".join(f"{stats} is not {expected}" for stats, expected in tried))


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
    answers = machine.play(step("crowd", 300), *[read(STATS), read(LISTER), read(STATS)] * TRIES)[1:]
    for before, listed, after in zip(*[iter(answers)] * 3, strict=True):
        stats, expected = parse_stats(before["text"]), sums(parse_list(listed["text"]))
        if stats == parse_stats(after["text"]) == expected:
            return
    pytest.fail(f"{stats} is not {expected}")

"""The task files as docs/abi.md prints them, to the byte; and they agree with each other, as far as that is exact.

The other tests of these files read whatever has the columns: so what scripts rely on is held here, by strict readers.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable

import pytest

from .machine import Machine
from .proc_measure import Process
from .readers.task_pages import STATES, Node
from .readers.tracer_page import escape
from .script import DETAIL, LISTER, STATS, TASK_FILES, TREE, call, read, script, step
from .task_layout import Stats, Task, TaskList, parse_detail, parse_list, parse_stats, parse_tree
from .zoo import CHAIN, SLACK_KB, ZOO, Picture, Zoo, visit

pytestmark = pytest.mark.task_lister

GROUPS = {"RUNNING": "Running", "SLEEPING": "Sleeping", "STOPPED": "Stopped", "TRACED": "Stopped", "ZOMBIE": "Zombie"}
TRIES, PLAYS = 20, 3
CROWD = 3200


@pytest.fixture(scope="module")
def zoo(machine: Machine) -> Zoo:
    """Processes of every kind, and pictures of all files."""
    return visit(machine, ZOO, STATS, LISTER, DETAIL, TREE)


def listed(picture: Picture) -> TaskList:
    """Return a picture's list."""
    return parse_list(picture.text(LISTER))


def detailed(picture: Picture) -> dict[int, dict[str, str]]:
    """Return a picture's blocks."""
    return parse_detail(picture.text(DETAIL))


def tree_of(picture: Picture) -> list[Node]:
    """Return a picture's tree."""
    return parse_tree(picture.text(TREE))


def shown_name(raw: bytes) -> str:
    """The escaped name, which is never an empty word."""
    return escape(raw) or "\\000"


def name_agrees(task: Task, process: Process) -> bool:
    """The name is the kernel's; /proc alone adds to a kernel thread's what it is working at, or its full name."""
    if process.kernel_thread:
        return escape(process.comm).startswith(task.comm)
    return task.comm == shown_name(process.comm)


def as_detail(row: Task) -> dict[str, str]:
    """Return what the block must say of what the list's row says."""
    return {
        "Command": row.comm,
        "State": row.state,
        "Parent PID": str(row.ppid),
        "UID": str(row.uid),
        "GID": str(row.gid),
        "Virtual Memory": str(row.vm_kb),
        "Resident Memory (RSS)": str(row.rss_kb),
        "Number of Threads": str(row.threads),
    }


@pytest.mark.quick
def test_the_zoo_is_listed_as_what_it_is(zoo: Zoo) -> None:
    """A zombie, stopped, traced, sleeping, many-threaded, renamed, oddly named process is shown as what it is."""
    for picture in zoo.pictures:
        rows = listed(picture).by_pid()
        for what, animal in ZOO.items():
            row = rows[zoo.pids[what]]
            expected = (shown_name(animal.comm), animal.state, animal.threads, animal.uid, animal.gid)
            assert (row.comm, row.state, row.threads, row.uid, row.gid) == expected, what


def test_rows_are_what_proc_says(zoo: Zoo) -> None:
    """Every row has the exact name, parent, threads, user and group, and the state of who did not run meanwhile."""
    for picture in zoo.pictures:
        rows = listed(picture).by_pid()
        assert set(picture.steady) <= set(rows)
        assert len(picture.still) > len(ZOO)
        for pid, process in picture.steady.items():
            row, expected = rows[pid], (process.ppid, process.threads, process.uid, process.gid)
            assert (row.ppid, row.threads, row.uid, row.gid) == expected, f"{row} is not {process}"
            assert name_agrees(row, process), f"{row} is not {process}"
            assert pid not in picture.still or row.state == STATES[process.state], row


def test_every_block_agrees_with_the_list(zoo: Zoo) -> None:
    """task_detail has a block for every process, and says the same as task_lister, field by field."""
    for picture in zoo.pictures:
        rows, blocks = listed(picture).by_pid(), detailed(picture)
        assert set(picture.steady) <= set(blocks)
        for pid in (pid for pid, process in picture.still.items() if process.state not in "RZ"):
            assert {key: blocks[pid][key] for key in as_detail(rows[pid])} == as_detail(rows[pid]), f"PID {pid}"


@pytest.mark.parametrize("what", list(ZOO))
def test_the_block_of_an_odd_process(what: str, zoo: Zoo) -> None:
    """The block of {what} says what the list says, and its scheduling policy."""
    pid = zoo.pids[what]
    for picture in zoo.pictures:
        block = dict(detailed(picture)[pid])
        expected = as_detail(listed(picture).by_pid()[pid]) | {"Scheduling Policy": ZOO[what].policy}
        rss, row = int(block.pop("Resident Memory (RSS)")), int(expected.pop("Resident Memory (RSS)"))
        assert {key: block[key] for key in expected} == expected
        assert abs(rss - row) <= SLACK_KB


@pytest.mark.any_kernel
def test_the_page_size_stands_below_the_list(machine: Machine, zoo: Zoo) -> None:
    """`Page size:` is the machine's."""
    assert listed(zoo.pictures[0]).page_size == int(machine.sh("getconf PAGESIZE"))


@pytest.mark.any_kernel
def test_any_buffer_size_is_laid_out(machine: Machine) -> None:
    """In pieces of any size the list ascends and ends as it has to, also with thousands of processes."""
    reads = [step("read", LISTER, size) for size in (1, 7, 61, 4096, 1 << 20)]
    _, *answers = machine.play(step("crowd", 150), *reads, step("disband"))
    for answer in answers[:-1]:
        assert len(parse_list(answer["text"]).tasks) > 150
    crowd, *answers = machine.play(step("crowd", CROWD), read(LISTER), step("read", LISTER, 1000), step("disband"))
    for answer in answers[:2]:
        assert set(crowd["pids"]) <= set(parse_list(answer["text"]).by_pid())


@pytest.mark.any_kernel
def test_a_list_that_is_half_read_goes_on_with_who_is_there(machine: Machine) -> None:
    """A list that is half read when hundreds of processes end has those that remain, and who came behind the cursor."""
    steps = [
        step("spawn", "sleeper", "early"), step("crowd", 400), step("open", 0, LISTER, "r"),
        step("fread", 0, bytes=9000), step("disband"), step("spawn", "sleeper", "late"),
        step("fread", 0), step("close", 0), step("pids"),
    ]  # fmt: skip
    answers = machine.play(*steps)
    early, crowd, late, alive = answers[0]["pid"], set(answers[1]["pids"]), answers[5]["pid"], set(answers[8]["pids"])
    rows = set(parse_list(answers[3]["text"] + answers[6]["text"]).by_pid())
    assert {1, 2, early} <= rows
    assert late in rows or late < max(crowd), "a process that started behind the cursor is listed"
    assert len(rows - alive) < 400


@pytest.mark.any_kernel
def test_namespaces_have_the_same_layout(machine: Machine) -> None:
    """In a PID namespace, in a user namespace and for an unprivileged reader the files are laid out as everywhere."""
    look = script(*map(read, TASK_FILES))
    wrapped = [step("pidns", look), step("userns", look), step("as", 65534, 65534, look)]
    for answer in machine.play(*wrapped):
        if "trouble" in answer:
            continue
        parsers = (parse_list, parse_detail, parse_stats, parse_tree)
        for path, parse, one in zip(TASK_FILES, parsers, answer["inner"], strict=True):
            if path != DETAIL or one["errno"] != errno.EACCES:
                assert parse(one["text"])


def sums(page: TaskList) -> Stats:
    """Return the statistics that belong to a list."""
    counted = Counter(GROUPS.get(task.state, "Other") for task in page.tasks)
    states = {name: counted[name] for name in ("Running", "Sleeping", "Stopped", "Zombie", "Other")}
    vm, rss = (sum(getattr(task, key) for task in page.tasks) // 1024 for key in ("vm_kb", "rss_kb"))
    return Stats(states | {"Total": len(page.tasks)}, vm, rss)


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
        for before, page, after in zip(*[iter(answers)] * 3, strict=True):
            stats, expected = parse_stats(before["text"]), sums(parse_list(page["text"]))
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
        stats = parse_stats(picture.text(STATS))
        assert sum(stats.states.values()) == 2 * stats.states["Total"]


def test_memory_is_the_sum_of_the_list(machine: Machine) -> None:
    """Many small processes weigh as much in the statistics as in the list: nothing is rounded away one by one."""
    # The states are no part of it: a kernel thread that wakes up now and then would decide.
    stats = at_rest(machine, step("crowd", 300, "apart"), of=lambda stats: (stats.vm_mb, stats.rss_mb))
    assert stats.states["Total"] > 300


def parents(nodes: list[Node]) -> dict[int, int]:
    """Return each process's parent as the indentation tells it, 0 for a root; a jump in the indentation fails."""
    above: list[int] = []
    found: dict[int, int] = {}
    for node in nodes:
        assert node.depth <= len(above), f"{node} is indented deeper than a child of the line before"
        del above[node.depth :]
        assert node.pid not in found, f"{node} is there twice"
        found[node.pid] = above[-1] if above else 0
        above.append(node.pid)
    return found


def test_the_tree_is_indented_by_two_blanks(zoo: Zoo) -> None:
    """Every process is in the tree, two blanks deeper than its parent; a chain goes down line by line."""
    for picture in zoo.pictures:
        nodes = tree_of(picture)
        found, expected = parents(nodes), {pid: process.ppid for pid, process in picture.steady.items()}
        assert {pid: found.get(pid) for pid in expected} == expected
        at = next(i for i, node in enumerate(nodes) if node.pid == zoo.chain[0])
        links = nodes[at : at + CHAIN + 1]
        assert [node.pid for node in links] == zoo.chain
        assert [node.depth - links[0].depth for node in links] == list(range(CHAIN + 1))


def test_the_tree_has_the_processes_of_the_list(zoo: Zoo) -> None:
    """Names and processes are those of the list."""
    for picture in zoo.pictures:
        rows, nodes = listed(picture).by_pid(), {node.pid: node for node in tree_of(picture)}
        for pid in picture.steady:
            assert nodes[pid].comm == rows[pid].comm
        assert not picture.strangers(nodes)


@pytest.mark.any_kernel
def test_trees_of_all_kinds_are_laid_out(machine: Machine) -> None:
    """A tree with a thousand siblings, and one in pieces, are laid out as any; who has ended is gone."""
    crowd, tree, _ = machine.play(step("crowd", 1000), read(TREE), step("disband"))
    found = parents(parse_tree(tree["text"]))
    keepers = {found.get(pid) for pid in crowd["pids"]}
    assert len(keepers) == 1
    assert None not in keepers
    ended, tree = machine.play(call("getppid", "ended"), step("read", TREE, 61))
    assert ended["pid"] not in parents(parse_tree(tree["text"]))

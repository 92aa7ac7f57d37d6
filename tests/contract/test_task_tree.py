"""/proc/task_tree: the processes by descent."""

from __future__ import annotations

import pytest

from .machine import Machine
from .script import LISTER, TREE, call, read, script, step
from .task_pages import Node, parse_list, parse_tree
from .zoo import CHAIN, Picture, Zoo, visit

pytestmark = pytest.mark.task_lister


@pytest.fixture(scope="module")
def zoo(machine: Machine) -> Zoo:
    """Processes of every kind, and pictures of them."""
    return visit(machine)


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


def settled(picture: Picture) -> dict[int, int]:
    """Return the processes that lived through the picture, with the parent they had all the while."""
    return {pid: process.ppid for pid, process in picture.steady().items()}


@pytest.mark.quick
def test_every_process_is_in_the_tree_once_under_its_parent(zoo: Zoo) -> None:
    """task_tree has every process once, after its parent and indented one generation deeper, siblings ascending."""
    for picture in zoo.pictures:
        found, expected = parents(picture.tree), settled(picture)
        assert {pid: found.get(pid) for pid in expected} == expected
        shown = [(found[node.pid], node.pid) for node in picture.tree]
        for parent in {ppid for ppid, _ in shown}:
            siblings = [pid for ppid, pid in shown if ppid == parent]
            assert siblings == sorted(siblings), f"children of {parent}"


def test_the_roots_are_init_and_kthreadd(zoo: Zoo) -> None:
    """The tree starts with PID 1, kthreadd comes after all of PID 1's descendants, and there is no other root."""
    for picture in zoo.pictures:
        assert [node.pid for node in picture.tree if node.depth == 0] == [1, 2]
        assert picture.tree[0].pid == 1


def test_the_tree_has_the_processes_of_the_list(zoo: Zoo) -> None:
    """Names and processes are those of the list."""
    for picture in zoo.pictures:
        rows, nodes = picture.listed.by_pid(), {node.pid: node for node in picture.tree}
        for pid in picture.steady():
            assert nodes[pid].comm == rows[pid].comm
        assert not set(nodes) - set(picture.before) - set(picture.after)


def test_a_chain_of_descendants_is_indented_step_by_step(zoo: Zoo) -> None:
    """A chain of twelve generations descends line by line, two blanks deeper each."""
    for picture in zoo.pictures:
        at = next(i for i, node in enumerate(picture.tree) if node.pid == zoo.chain[0])
        links = picture.tree[at : at + CHAIN + 1]
        assert [node.pid for node in links] == zoo.chain
        assert [node.depth - links[0].depth for node in links] == list(range(CHAIN + 1))


def test_the_picture_is_that_of_the_opening(machine: Machine) -> None:
    """The tree shows the processes that exist at open: in any buffer size, on a rewind too."""
    steps = [
        step("spawn", "sleeper", "early"), step("open", 0, TREE, "r"), step("spawn", "sleeper", "late"),
        step("fread", 0, bytes=50), step("fread", 0), step("rewind", 0), step("fread", 0), step("close", 0),
        step("sizes", TREE, 1, 7, 4096, 1 << 20),
    ]  # fmt: skip
    early, _, late, start, rest, _, again, _, sizes = machine.play(*steps)
    whole = start["text"] + rest["text"]
    pids = {node.pid for node in parse_tree(whole)}
    assert early["pid"] in pids
    assert late["pid"] not in pids
    assert again["text"] == whole
    assert (sizes["differs_at"], sizes["pread_differs_at"]) == (-1, -1)


def test_orphans_are_shown_under_who_took_them_in(machine: Machine) -> None:
    """A process whose parent has ended is shown under its new parent."""
    orphan = step("sh", "(sleep 1000 >/dev/null 2>&1 & echo $!)")
    made, tree, listed = machine.play(orphan, read(TREE), read(LISTER))
    pid = int(made["text"])
    machine.play(step("sh", f"kill {pid}"))
    assert parents(parse_tree(tree["text"]))[pid] == parse_list(listed["text"]).by_pid()[pid].ppid


def test_a_pid_namespace_has_its_own_tree(machine: Machine) -> None:
    """In a PID namespace with its own /proc the tree has the processes of that namespace only, from its PID 1."""
    inner = script(step("spawn", "chain", "link", depth=3), step("spawn", "sleeper", "child"), read(TREE))
    (outer,) = machine.play(step("pidns", inner))
    chain, child, tree = outer["inner"]
    nodes = parse_tree(tree["text"])
    assert [node.pid for node in nodes] == [1, chain["pid"], *chain["links"], child["pid"]]
    assert [node.depth for node in nodes] == [0, 1, 2, 3, 4, 1]


def test_who_entered_a_pid_namespace_begins_a_tree(machine: Machine) -> None:
    """A process that entered a PID namespace from outside has no parent there, and begins a tree of its own."""
    holder = "unshare -pf --mount-proc sleep 1000 >/dev/null 2>&1 & a=$!; "
    wait = 'until pid=$(cat /proc/$a/task/$a/children) && [ -n "$pid" ] && '
    wait += "nsenter -t $pid -m grep -q sleep /proc/1/comm 2>/dev/null; do :; done; "
    (answer,) = machine.play(step("sh", f"{holder}{wait}nsenter -t $pid -p -m cat {TREE}; kill -9 $pid; wait"))
    nodes = parse_tree(answer["text"])
    assert [(node.depth, node.comm) for node in nodes] == [(0, "sleep"), (0, "cat")], answer["text"]


def test_a_tree_of_thousands(machine: Machine) -> None:
    """With a thousand siblings the tree has them all, ascending, under their parent."""
    crowd, tree, _ = machine.play(step("crowd", 1000), read(TREE), step("disband"))
    found = parents(parse_tree(tree["text"]))
    keepers = {found.get(pid) for pid in crowd["pids"]}
    assert len(keepers) == 1
    assert None not in keepers


def test_a_process_that_ended_is_gone(machine: Machine) -> None:
    """A process that has ended and was reaped is not in the tree."""
    ended, tree = machine.play(call("getppid", "ended"), read(TREE))
    assert ended["pid"] not in {node.pid for node in parse_tree(tree["text"])}

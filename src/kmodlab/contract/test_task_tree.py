"""/proc/task_tree: the processes by descent."""

from __future__ import annotations

import pytest

from .machine import Machine
from .readers.tables import means, unescaped
from .readers.task_pages import Node, parse_tree
from .readers.wording import require_none, text_of, wrong
from .script import TREE, call, read, script, step
from .zoo import CHAIN, PLAIN, Zoo, named, visit

pytestmark = pytest.mark.task_lister

STILL = [step("spawn", "sleeper", f"still{i}") for i in range(40)]


@pytest.fixture(scope="module")
def zoo(machine: Machine) -> Zoo:
    """Processes of every kind, and pictures of the tree."""
    return visit(machine, PLAIN, TREE)


def parents(nodes: list[Node]) -> dict[int, int]:
    """Return each process's parent as the indentation tells it, 0 for a root; a process that is there twice fails."""
    above: list[int] = []
    found: dict[int, int] = {}
    for node in nodes:
        if node.pid in found:
            wrong("Every process is in /proc/task_tree once.", f"PID {node.pid} (`{node.comm}`) is there twice.")
        del above[node.depth :]
        found[node.pid] = above[-1] if above else 0
        above.append(node.pid)
    return found


@pytest.mark.quick
def test_every_process_is_in_the_tree_once_under_its_parent(zoo: Zoo) -> None:
    """task_tree has every process once, after its parent and indented deeper, siblings ascending."""
    for picture in zoo.pictures:
        found, expected = parents(picture.tree), {pid: process.ppid for pid, process in picture.steady.items()}
        missing = [f"{named(picture.steady[pid])} is missing" for pid in expected if pid not in found]
        require_none(missing, "/proc/task_tree has every process.")
        seen = [
            f"{named(picture.steady[pid])} is under PID {found[pid]}, expected {parent}"
            for pid, parent in expected.items()
            if found[pid] != parent
        ]
        require_none(seen, "In /proc/task_tree each process is under its parent.", "two blanks a generation")
        shown = [(found[node.pid], node.pid) for node in picture.tree]
        for parent in {ppid for ppid, _ in shown}:
            siblings = [pid for ppid, pid in shown if ppid == parent]
            if siblings != sorted(siblings):
                wrong("Siblings stand by ascending PID.", f"The children of {parent} are in the order {siblings[:20]}.")


def test_the_roots_are_init_and_kthreadd(zoo: Zoo) -> None:
    """The tree starts with PID 1, kthreadd comes after all of PID 1's descendants, and there is no other root."""
    for picture in zoo.pictures:
        if (roots := [node.pid for node in picture.tree if node.depth == 0]) != [1, 2]:
            asked = "The tree begins with PID 1, kthreadd (2) comes after that, and all others are below."
            wrong(asked, f"Not indented are {roots[:9]}.")


def test_the_tree_has_the_names_of_the_processes(zoo: Zoo) -> None:
    """Names and processes are those of /proc."""
    for picture in zoo.pictures:
        seen = []
        for node in picture.tree:
            process = picture.steady.get(node.pid)
            if not process or means(node.comm, process.comm):
                continue
            if not (process.kernel_thread and node.comm and process.comm.startswith(unescaped(node.comm))):
                seen.append(f"{named(process)} is called `{node.comm}`")
        require_none(seen, "Each line of /proc/task_tree is `COMMAND(PID)`.")
        strangers = sorted(picture.strangers(node.pid for node in picture.tree))
        require_none([f"PID {pid} is none" for pid in strangers], "/proc/task_tree has processes alone.")


def test_a_chain_of_descendants_is_indented_step_by_step(zoo: Zoo) -> None:
    """A chain of twelve generations descends line by line, one step deeper each."""
    for picture in zoo.pictures:
        depths = {node.pid: node.depth for node in picture.tree}
        shown = [depths.get(pid, -1) - depths.get(zoo.chain[0], 0) for pid in zoo.chain]
        if shown != list(range(CHAIN + 1)):
            seen = f"A chain of {CHAIN + 1} generations has the depths {shown}."
            wrong("Each generation is indented one step deeper.", seen)


@pytest.mark.any_kernel
def test_the_tree_is_read_in_any_pieces(machine: Machine) -> None:
    """The page is the same in any buffer size and from any offset."""
    text_of(machine.play(read(TREE))[0], TREE)
    (outer,) = machine.play(step("pidns", script(*STILL, step("sizes", TREE, 1, 7, 4096, 1 << 20))))
    sizes = outer["inner"][-1]
    if (sizes["differs_at"], sizes["pread_differs_at"]) != (-1, -1):
        wrong("/proc/task_tree is the same in pieces of any size.", f"It differs at byte {sizes['differs_at']}.")
    if (nodes := len(parse_tree(sizes["text"]))) != 1 + len(STILL):
        wrong(f"In a namespace of {1 + len(STILL)} processes the tree has so many.", f"It has {nodes}.")


def test_a_pid_namespace_has_its_own_tree(machine: Machine) -> None:
    """In a PID namespace with its own /proc the tree has the processes of that namespace only, from its PID 1."""
    inner = script(step("spawn", "chain", "link", depth=3), step("spawn", "sleeper", "child"), read(TREE))
    (outer,) = machine.play(step("pidns", inner))
    chain, child, tree = outer["inner"]
    shown = [(node.pid, node.depth) for node in parse_tree(text_of(tree, TREE))]
    expected = list(zip([1, chain["pid"], *chain["links"], child["pid"]], [0, 1, 2, 3, 4, 1], strict=True))
    if shown != expected:
        asked = "In a PID namespace the tree is that of the namespace: " + str(expected)
        wrong(asked, f"It has (PID, depth) {shown[:9]}.")


def test_who_entered_a_pid_namespace_begins_a_tree(machine: Machine) -> None:
    """A process that entered a PID namespace from outside has no parent there, and begins a tree of its own."""
    holder = "unshare -pf --mount-proc sleep 1000 >/dev/null 2>&1 & a=$!; "
    wait = 'until pid=$(cat /proc/$a/task/$a/children) && [ -n "$pid" ] && '
    wait += "nsenter -t $pid -m grep -q sleep /proc/1/comm 2>/dev/null; do :; done; "
    (answer,) = machine.play(step("sh", f"{holder}{wait}nsenter -t $pid -p -m cat {TREE}; kill -9 $pid; wait"))
    nodes = [(node.depth, node.comm) for node in parse_tree(answer["text"])]
    if nodes != [(0, "sleep"), (0, "cat")]:
        wrong("Who entered a PID namespace begins a tree there.", f"(depth, name): {nodes[:9]}.")


def test_a_tree_of_thousands(machine: Machine) -> None:
    """With a thousand siblings the tree has them all, ascending, under their parent."""
    crowd, tree, _ = machine.play(step("crowd", 1000), read(TREE), step("disband"))
    found = parents(parse_tree(text_of(tree, TREE)))
    missing = [f"PID {pid} is missing" for pid in crowd["pids"] if pid not in found]
    require_none(missing, "A thousand siblings are all in the tree.")
    if len(keepers := {found[pid] for pid in crowd["pids"]}) != 1:
        wrong("A thousand siblings are under one parent.", f"They are under {sorted(keepers)[:9]}.")


def test_a_process_that_ended_is_gone(machine: Machine) -> None:
    """A process that has ended and was reaped is not in the tree."""
    ended, tree = machine.play(call("getppid", "ended"), read(TREE))
    if ended["pid"] in {node.pid for node in parse_tree(text_of(tree, TREE))}:
        wrong("A process that has ended is not in the tree.", f"PID {ended['pid']} is.")

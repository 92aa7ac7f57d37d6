"""/proc/task_tree: the processes by descent."""

from __future__ import annotations

import errno

import pytest

from .machine import Machine
from .script import LISTER, TASK_FILES, TREE, call, read, script, step
from .task_pages import Node, parse_list, parse_tree
from .zoo import CHAIN, Picture, Zoo, visit

pytestmark = pytest.mark.task_lister

STILL = [step("spawn", "sleeper", f"still{i}") for i in range(40)]


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
        assert not picture.strangers(nodes)


def test_a_chain_of_descendants_is_indented_step_by_step(zoo: Zoo) -> None:
    """A chain of twelve generations descends line by line, two blanks deeper each."""
    for picture in zoo.pictures:
        at = next(i for i, node in enumerate(picture.tree) if node.pid == zoo.chain[0])
        links = picture.tree[at : at + CHAIN + 1]
        assert [node.pid for node in links] == zoo.chain
        assert [node.depth - links[0].depth for node in links] == list(range(CHAIN + 1))


def test_the_picture_is_that_of_the_first_read(machine: Machine) -> None:
    """The tree shows the processes that exist at the first read, to the end of the file; a rewind then looks anew."""
    steps = [
        step("open", 0, TREE, "r"), step("spawn", "sleeper", "early"), step("fread", 0, bytes=50),
        step("spawn", "sleeper", "late"), step("rewind", 0), step("fread", 0), step("rewind", 0), step("fread", 0),
        step("close", 0),
    ]  # fmt: skip
    _, early, start, late, _, whole, _, again, _ = machine.play(*steps)
    assert whole["text"].startswith(start["text"])
    first, second = ({node.pid for node in parse_tree(one["text"])} for one in (whole, again))
    assert (early["pid"] in first, late["pid"] in first) == (True, False)
    assert {early["pid"], late["pid"]} <= second


def test_the_tree_is_read_in_any_pieces(machine: Machine) -> None:
    """The page is the same in any buffer size and from any offset."""
    (outer,) = machine.play(step("pidns", script(*STILL, step("sizes", TREE, 1, 7, 4096, 1 << 20))))
    sizes = outer["inner"][-1]
    assert (sizes["differs_at"], sizes["pread_differs_at"]) == (-1, -1)
    assert len(parse_tree(sizes["text"])) == 1 + len(STILL)


def test_a_user_holds_few_pictures(machine: Machine) -> None:
    """A user holds up to 64 pictures half read. The next read fails (EMFILE), but not root's."""
    lines = [
        "import os",
        f"fds = [os.open('{TREE}', os.O_RDONLY) for _ in range(66)]",
        "def take(fd):",
        "    try: return len(os.read(fd, 1))",
        "    except OSError as error: return error.errno",
        "print([take(fd) for fd in fds[:65]]); os.close(fds[0]); print(take(fds[65]))",
    ]
    program = "\n".join(lines)
    nobody = step("as", 65534, 65534, step("sh", f'python3 -c "{program}"'))
    answer, root = machine.play(nobody, step("sh", f'python3 -c "{program}"'))
    assert answer["inner"][0]["text"] == f"{[1] * 64 + [errno.EMFILE]}\n1\n"
    assert root["text"] == f"{[1] * 65}\n1\n"


def test_deep_trees_are_not_wide(machine: Machine) -> None:
    """Beyond 64 generations a line is indented no further, and begins with its depth in brackets."""
    (outer,) = machine.play(step("pidns", script(step("spawn", "chain", "link", depth=70), read(TREE))))
    chain, tree = outer["inner"]
    lines = tree["text"].splitlines()[1:-2]
    pids = [1, chain["pid"], *chain["links"]]
    names = ["helper", *["link"] * (len(pids) - 1)]
    wanted = [
        "  " * min(depth, 64) + (f"[{depth}] " if depth > 64 else "") + f"{name}({pid})"
        for depth, (name, pid) in enumerate(zip(names, pids, strict=True))
    ]
    assert lines == wanted
    assert [node.depth for node in parse_tree(tree["text"])] == list(range(len(pids)))


def test_a_killed_reader_leaves_no_trace(machine: Machine) -> None:
    """Readers that are killed in the middle of each task file end, and the kernel has nothing to say of it."""
    program = "\n".join(
        [
            "import os, time",
            "for n in range(100):",
            "    pid = os.fork()",
            "    while not pid:",
            f"        fd = os.open({TASK_FILES!r}[n % 4], os.O_RDONLY)",
            "        while os.read(fd, 1 << 16): pass",
            "        os.close(fd)",
            "    time.sleep(0.0002 * n); os.kill(pid, 9); print(os.waitpid(pid, 0)[1], end='')",
        ]
    )
    crowd, answer, _ = machine.play(step("crowd", 1000), step("sh", f'python3 -c "{program}"'), step("disband"))
    assert len(crowd["pids"]) == 1000
    assert answer["text"] == "9" * 100


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

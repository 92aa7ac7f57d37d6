"""/proc/task_tree under stress: one picture, however it is read, and bounds on what it takes."""

from __future__ import annotations

import errno

import pytest

from .machine import Machine
from .script import LISTER, TASK_FILES, TREE, read, script, step
from .task_layout import parse_list, parse_tree
from .test_layout_tasks import parents

pytestmark = pytest.mark.task_lister


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


@pytest.mark.any_kernel
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


@pytest.mark.any_kernel
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

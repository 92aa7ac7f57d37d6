"""The tolerant readers of the task files: whatever the layout, what is said is read; what is missing costs itself."""

from __future__ import annotations

import pytest

from kmodlab.contract.proc_measure import parse_process
from kmodlab.contract.readers.task_pages import Node, parse_detail, parse_list, parse_stats, parse_tree
from kmodlab.contract.readers.wording import require_none, text_of
from kmodlab.contract.zoo import named

ROWS = [
    ("1", "0", "systemd", "SLEEPING", "168000", "12000", "1", "0", "0"),
    ("2", "0", "kthreadd", "SLEEPING", "0", "0", "1", "0", "0"),
    ("812", "1", "kmz-zombie", "ZOMBIE", "0", "0", "1", "1234", "2345"),
]
COLUMNS = ("PID", "PPID", "COMMAND", "STATE", "VM(KB)", "RSS(KB)", "THREADS", "UID", "GID")


def table(columns: tuple[str, ...] = COLUMNS, cell: str = "{:<10}", between: str = " ", end: str = "") -> str:
    """Return a page of the three rows."""
    lines = [between.join(map(cell.format, row)) + end for row in (columns, *ROWS)]
    return "\n".join([*lines, "Total processes listed: 3", ""])


LAYOUTS = {
    "as in the handout": "=== LINUX KERNEL TASK LISTER ===\n" + table().replace("\n", "\n" + "=" * 132 + "\n", 1),
    "bare": table(),
    "another banner": "PID 1 and others, by me\n\n" + table(),
    "a banner that names columns": "My Lister: PID and COMMAND of each\n----\n" + table(),
    "right-aligned": table(cell="{:>12}"),
    "tabs": table(cell="{}", between="\t"),
    "bars": table(cell="| {}", end=" |"),
    "blanks at the end": table(end="    "),
    "DOS": table(end="\r"),
    "small letters": table(tuple(name.lower() for name in COLUMNS)),
    "no units": table(("PID", "PPID", "COMMAND", "STATE", "VM", "RSS", "THREADS", "UID", "GID")),
    "other units": table(("PID", "PPID", "COMM", "State", "VM (kB)", "RSS (kB)", "Threads", "UID", "GID")),
    "a box": table(cell="\xe2\x94\x82 {:<10}", end=" \xe2\x94\x82"),
    "commas": table(cell="{}", between=","),
    "tabs and blanks": table(cell="{:<7}", between="\t"),
    "units as words": table(("PID", "PPID", "NAME", "STATE", "VmSize", "RSS KB", "NLWP", "UID", "GID")),
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_a_list_is_read_in_any_layout(layout: str) -> None:
    listed = parse_list(LAYOUTS[layout])
    assert [task.pid for task in listed.tasks] == [1, 2, 812]
    row = listed.by_pid()[812]
    assert (row.number("PPID"), row.state, row.is_named(b"kmz-zombie")) == (1, "ZOMBIE", True)
    assert [row.number(key) for key in ("VM", "RSS", "THREADS", "UID", "GID")] == [0, 0, 1, 1234, 2345]
    assert listed.by_pid()[1].number("VM") == 168000
    assert listed.total == 3


def test_columns_stand_anywhere_and_there_may_be_more() -> None:
    page = "UID PRIO PID COMMAND STATE PPID\n7 120 12 bash SLEEPING 1\n"
    (task,) = parse_list(page).tasks
    assert (task.pid, task.number("UID"), task.number("PPID"), task.state) == (12, 7, 1, "SLEEPING")


@pytest.mark.parametrize("other", ["USER", "NAME", "Process", "PARENT", "status", "NICE VALUE", "START TIME IN MS"])
@pytest.mark.parametrize("between", [" ", "\t", " | "])
def test_a_further_column_is_not_taken_for_one_of_the_handouts(other: str, between: str) -> None:
    lines = [(*COLUMNS[:4], other, *COLUMNS[4:]), *((*row[:4], "7", *row[4:]) for row in ROWS)]
    listed = parse_list("\n".join(between.join(line) for line in lines))
    shown = [
        (task.pid, task.number("PPID"), task.is_named(row[2].encode()), task.state, task.number("UID"))
        for task, row in zip(listed.tasks, ROWS, strict=True)
    ]
    assert shown == [(1, 0, True, "SLEEPING", 0), (2, 0, True, "SLEEPING", 0), (812, 1, True, "ZOMBIE", 1234)]


@pytest.mark.parametrize("between", [" ", "   ", "\t", " | ", ", "])
def test_numbers_may_have_their_unit_behind_them(between: str) -> None:
    row = ("12", "1", "vfork 9", "SLEEPING", "99 kB", "7 KB", "1", "3", "0")
    page = between.join(COLUMNS) + "\n" + between.join(row)
    (task,) = parse_list(page).tasks
    assert (task.number("VM"), task.number("RSS"), task.number("THREADS")) == (99, 7, 1)
    assert task.state == "SLEEPING"
    assert task.is_named(b"vfork 9")


def test_cells_between_bars_may_have_blanks_or_nothing() -> None:
    page = "| PID | COMMAND | VM | UID | NOTE |\n| 12 | vfork parent | 100 KB | 7 | |\n| 13 |  | 0 KB | 8 | a b |\n"
    first, second = parse_list(page).tasks
    assert first.is_named(b"vfork parent")
    assert second.is_named(b"")
    assert [(task.number("VM"), task.number("UID")) for task in (first, second)] == [(100, 7), (0, 8)]


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        ("bash", b"bash"), ("vfork parent", b"vfork parent"), ("a\\040b", b"a b"), ("", b""), ("\\000", b""),
        ("na\\303\\257ve", "na\u00efve".encode()), ("na\u00c3\u00afve", "na\u00efve".encode()),
    ],
)  # fmt: skip
def test_names_are_read_escaped_or_not(shown: str, name: bytes) -> None:
    (task,) = parse_list(f"PID COMMAND STATE UID\n12 {shown} SLEEPING 7\n").tasks
    assert task.is_named(name)
    assert (task.state, task.number("UID")) == ("SLEEPING", 7)


def test_states_are_read_in_any_case_and_in_two_words() -> None:
    listed = parse_list("PID COMMAND STATE UID\n1 a sleeping 0\n2 b Disk Sleep 0\n")
    assert [task.state for task in listed.tasks] == ["SLEEPING", "DISK_SLEEP"]


def test_a_missing_column_costs_who_asks_for_it() -> None:
    (task,) = parse_list("PID COMMAND\n1 init\n").tasks
    assert task.is_named(b"init")
    with pytest.raises(AssertionError, match="has a column THREADS"):
        task.number("THREADS")


def test_a_cell_that_is_no_number_is_told() -> None:
    (task,) = parse_list("PID COMMAND UID\n1 init root\n").tasks
    with pytest.raises(AssertionError, match=r"UID of PID 1 is a number\.\nIt was `root`"):
        task.number("UID")


def test_a_page_without_columns_shows_how_it_begins() -> None:
    with pytest.raises(AssertionError, match=r"line with the columns PID(.|\n)*    hello world"):
        parse_list("hello world\n")


@pytest.mark.parametrize(
    ("footer", "total"),
    [
        ("Total processes listed: 3", 3), ("Total: 3 processes", 3), ("Total processes = 3", 3), ("TOTAL TASKS 3", 3),
        ("--- Total number of processes: 3 ---", 3), ("", None), ("Total processes listed: 3 (page size 4096)", 3),
        ("Total memory: 9 KB\nTotal processes: 3", 3), ("Total processes: 3\nTotal of memory: 9 KB", 3),
    ],
)  # fmt: skip
def test_the_total_is_found_by_its_label(footer: str, total: int | None) -> None:
    assert parse_list(f"PID COMMAND\n1 init\n{footer}\n").total == total


BLOCKS = {
    "as in the handout": """=== DETAILED TASK INFORMATION ===

PID: 812
  Command: kmz-zombie
  State: ZOMBIE
  Parent PID: 1
  UID: 1234, GID: 2345
  Virtual Memory: 168000 KB
  Resident Memory (RSS): 12000 KB
  Number of Threads: 2
  Nice Value: -5

""",
    "short": """PID = 812
Name = kmz-zombie
state = zombie
PPID = 1
uid = 1234
gid = 2345
VM (KB) = 168000
RSS (KB) = 12000
threads = 2
nice = -5
""",
    "a tree": """PID: 812
|-Command: kmz-zombie
|-State: ZOMBIE  Parent PID: 1
+ UID: 1234  GID: 2345
\xe2\x94\x9c\xe2\x94\x80 Virtual Memory: 168000 KB | Resident Memory (RSS): 12000 KB
> Threads: 2
`-Nice: -5
""",
    "boxed": """| PID: 812 |
| Command: kmz-zombie |
| State: ZOMBIE; PPID: 1 |
| UID = 1234 / GID = 2345 |
| VM: 168000 KB |
| RSS: [12000] KB |
| Threads: 2 |
| Nice: -5 |
""",
    "starred": """*** PID: 812 ***
    COMM      : kmz-zombie
    STATE     : Zombie
    PARENT    : 1
    UID       : 1234
    GID       : 2345
    VM Size   : 168000 kB
    RSS       : 12000 kB
    Threads   : 2
    Nice      : -5
""",
}


@pytest.mark.parametrize("layout", list(BLOCKS))
def test_blocks_are_read_by_what_their_keys_mean(layout: str) -> None:
    (block,) = parse_detail(BLOCKS[layout]).values()
    assert (block.pid, block.state, block.is_named(b"kmz-zombie")) == (812, "ZOMBIE", True)
    numbers = [block.number(key) for key in ("Parent", "UID", "GID", "VM", "RSS", "Threads", "Nice")]
    assert numbers == [1, 1234, 2345, 168000, 12000, 2, -5]
    with pytest.raises(AssertionError, match="a line `Scheduling Policy:` in each block"):
        block.text("Policy")


def test_names_with_colons_and_commas_stay_whole() -> None:
    blocks = parse_detail("PID: 7\n  Command: kworker/0:0, GID: 3\n  UID: 1\n\nPID: 8\n  Command: \n")
    assert blocks[7].text("Command") == "kworker/0:0, GID: 3"
    assert (blocks[7].number("UID"), blocks[8].is_named(b"")) == (1, True)


@pytest.mark.parametrize(
    "page",
    [
        "States:\n  Running:  1\n  Zombie:  2\n  Total:  30\n\n  Total Virtual Memory: 900 MB\n  Total RSS: 120 MB\n",
        "running = 1\nzombies = 2\nTotal processes = 30\ntotal VM (MB) = 900\nTotal resident memory (MB) = 120\n",
        "| Running: 1 | Zombie: 2 | Total tasks: 30 |\n| Total VM: 900 | Total RSS: 120 |\n",
        "| Running: | 1 |\n| Zombie | 2 |\n| Total | : | 30 |\n| Total VM [MB]: | 900 |\n| RSS: | 120 MB |\n",
        "Running.....: 1\nZombie ..... : [2]\nTotal processes..: 30\nTotal VM: +900 MB\nTotal RSS: 120 MB\n",
    ],
)
def test_statistics_are_found_by_their_labels(page: str) -> None:
    stats = parse_stats(page)
    assert [stats.of(key) for key in ("Running", "Zombie", "Total", "VM", "RSS")] == [1, 2, 30, 900, 120]
    with pytest.raises(AssertionError, match="has a line `Other: N`"):
        stats.of("Other")


@pytest.mark.parametrize(
    "page",
    [
        "=== TASK TREE ===\nsystemd(1)\n  sshd(402)\n    bash(977)\nkthreadd(2)\nTotal: 4\n",
        "systemd(1)\n\tsshd(402)\n\t\tbash(977)\nkthreadd(2)\n",
        "systemd (1)\n|-- sshd (402)\n|   `-- bash (977)\nkthreadd (2)\n",
    ],
)
def test_a_tree_is_read_by_how_far_its_lines_are_indented(page: str) -> None:
    expected = [Node(0, "systemd", 1), Node(1, "sshd", 402), Node(2, "bash", 977), Node(0, "kthreadd", 2)]
    assert parse_tree(page) == expected


def test_a_tree_says_how_deep_its_deepest_are() -> None:
    assert parse_tree("  " * 64 + "[65] link(9)\n") == [Node(65, "link", 9)]


def test_three_differences_are_shown_and_the_rest_is_counted() -> None:
    require_none([], "Nothing is wrong.")
    with pytest.raises(AssertionError) as caught:
        require_none([f"PID {n}" for n in range(5)], "All is well.", "look")
    assert str(caught.value) == "All is well.\nPID 0\nPID 1\nPID 2\nand 2 more\nHint: look"


def test_a_file_that_cannot_be_read_is_told() -> None:
    with pytest.raises(AssertionError, match=r"/proc/x can be read\.\nReading it failed: No such file"):
        text_of({"errno": 2, "text": ""}, "/proc/x")
    with pytest.raises(AssertionError, match="It was empty"):
        text_of({"errno": 0, "text": ""}, "/proc/x")


def test_a_name_of_several_lines_is_told_in_one() -> None:
    """A process may be called anything, and a student reads of it in a list."""
    stat = "906 (new\nline \x1b[) S 1 1 1 0 0 0 0 0 0 0 1 2 0 0 20 0 1 0 99 " + " ".join("0" * 30)
    status = "Uid:\t0\t0\nGid:\t0\t0\nThreads:\t1\nvoluntary_ctxt_switches:\t1\nnonvoluntary_ctxt_switches:\t1\n"
    assert named(parse_process(stat, status)) == r"PID 906 (`new\012line \033[`)"

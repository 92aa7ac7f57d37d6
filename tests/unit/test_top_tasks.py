"""The text of the tasks: orders, the window of a long table, columns for each width, what is said above."""

from __future__ import annotations

from typing import Any

import pytest

from kmodlab.top import tasks
from kmodlab.top.tables import head
from kmodlab.top.tasks import Order, Window
from kmodlab.top.words import DASH, Clock, size

BASH = {
    "pid": 977, "ppid": 402, "uid": 1000, "gid": 100, "state": "DISK_SLEEP", "rss": 5000, "vm": 9000, "threads": 3,
    "comm": "bash",
}  # fmt: skip
IN_TREE = {**BASH, "depth": 2, "children": 1, "tasks": 3, "rss_sum": 65_000}


def answer(pids: list[int], offset: int = 0, shown: int | None = None, **others: Any) -> dict[str, Any]:
    """What the interface says, with these rows."""
    rows = {"pid": pids, **{name: others.pop(name) for name in ("depth",) if name in others}}
    plain = {"wall": 0.0, "n": len(pids), "states": {}, "vm": 0, "rss": 0, "matched": len(pids), "missing": []}
    return {**plain, "offset": offset, "shown": len(pids) if shown is None else shown, "rows": rows, **others}


# -- the order -----------------------------------------------------------------------------------------------------


def test_a_column_begins_as_one_wants_it_and_turns_when_it_is_taken_again() -> None:
    by_name = Order().by("comm")
    assert (by_name.sort, by_name.down) == ("comm", False)
    assert by_name.by("comm").down
    assert Order(sort="pid", down=False).by("threads").down
    assert Order().by("rss").down is False


def test_the_column_beside_goes_round() -> None:
    columns = ["pid", "rss", "comm"]
    assert [Order().beside(step, columns).sort for step in (-1, 1, 2)] == ["pid", "comm", "pid"]
    assert Order(sort="gid").beside(1, columns).sort == "rss", "as from the first, where its own is not seen"


def test_a_tree_takes_its_sums_with_it() -> None:
    tree = Order().reshaped().by("rss_sum")
    assert (tree.is_tree, tree.sort, tree.down) == (True, "rss_sum", True)
    flat = tree.turned().reshaped()
    assert (flat.is_tree, flat.sort, flat.down) == (False, "rss", True)
    assert Order(sort="comm", down=False, is_tree=True).reshaped().sort == "comm"


def test_what_is_asked_for() -> None:
    assert Order().query(0) == {
        "filter": None, "sort": "rss", "order": "down", "shape": "flat", "closed": None, "offset": None, "limit": 500,
    }  # fmt: skip
    tree = Order(is_tree=True, search="cc1").turned().toggled(7, close=True).toggled(9, close=True)
    assert tree.query(40) == {
        "filter": "cc1", "sort": "rss", "order": "up", "shape": "tree", "closed": "7,9", "offset": 40, "limit": 500,
    }  # fmt: skip
    assert tree.reshaped().query(0)["closed"] is None
    assert tree.toggled(7, close=False).closed == (9,)


def test_what_is_closed_fits_into_a_question() -> None:
    order = Order(is_tree=True)
    for pid in range(4_000_000, 4_000_400):
        order = order.toggled(pid, close=True)
    closed = str(order.query(0)["closed"])
    assert len(closed) <= 2048
    assert closed.endswith("4000399"), "those that were closed last"


# -- a part of a long table ----------------------------------------------------------------------------------------


def test_a_window_knows_its_rows_and_that_there_are_others() -> None:
    window = Window(answer([5, 3, 9], offset=100, shown=20_000))
    assert len(window) == 20_000
    assert [one and one["pid"] for one in window[99:104]] == [None, 5, 3, 9, None]
    assert window.place(9) == 102
    assert window.place(4) is None
    assert window.covers(100, 102)
    assert not window.covers(99, 101)
    assert not window.covers(101, 103)


def test_what_is_beyond_the_end_is_not_lacking() -> None:
    assert Window(answer([1, 2])).covers(0, 40)
    assert Window(answer([])).covers(0, 40)
    assert not Window(answer([], shown=3)).covers(0, 40)


def test_the_parent_in_a_tree() -> None:
    window = Window(answer([1, 402, 977, 1200, 1201, 2], depth=[0, 1, 2, 3, 3, 0]))
    assert [window.parent(at) for at in range(6)] == [None, 0, 1, 2, 2, None]


@pytest.mark.parametrize(("sight", "offset"), [((0, 20), 0), ((100, 120), 0), ((9_000, 9_020), 8_760)])
def test_what_is_in_sight_is_in_the_middle_of_what_is_asked_for(sight: tuple[int, int], offset: int) -> None:
    assert tasks.offset(*sight) == offset


# -- lines ---------------------------------------------------------------------------------------------------------


def line(row: Any, order: Order, width: int, missing: tuple[str, ...] = ()) -> list[str]:
    """A head and a line below it, as they are seen."""
    names = tasks.names(order, width, missing)
    shown = [head(tasks.columns(order, names), width), tasks.task_line(row, order, names, width)]
    assert all(one.cell_len == width for one in shown if row), "as wide as the terminal"
    return [one.plain.rstrip() for one in shown]


def test_a_line_of_80_columns() -> None:
    assert line(BASH, Order(), 79) == [
        "    PID  Parent    UID State      Memory▼  Threads Command",
        "    977     402   1000 disk sleep   4.88M        3 bash",
    ]
    assert line(IN_TREE, Order(is_tree=True, sort="tasks", down=False), 79) == [
        "    PID    UID State       Memory Subtree▲  Its memory Command",
        "    977   1000 disk sleep   4.88M        3       63.5M     ▾ bash",
    ]


def test_a_wide_line_has_all() -> None:
    titles = line(IN_TREE, Order(is_tree=True, sort="comm", down=False), 140)[0].split()
    assert titles == [
        "PID", "Parent", "UID", "GID", "State", "Memory", "Address", "space", "Threads", "Subtree", "Its", "memory",
        "Command▲",
    ]  # fmt: skip


def test_what_the_lister_does_not_tell_is_no_column() -> None:
    row = {name: value for name, value in IN_TREE.items() if name not in ("rss", "uid")}
    titles = line(row, Order(is_tree=True), 79, ("RSS(KB)", "UID"))[0].split()
    assert titles == ["PID", "State", "Subtree", "Command"], "nor is a sum of it"


def test_marks_of_a_tree() -> None:
    order = Order(is_tree=True, closed=(977,))
    assert line(IN_TREE, order, 79)[1].endswith("    ▸ bash")
    assert line({**IN_TREE, "children": 0}, order, 79)[1].endswith("      bash")
    searched = Order(is_tree=True, closed=(977,), search="x")
    assert line(IN_TREE, searched, 79)[1].endswith("    ▾ bash"), "what is found is shown"


def test_a_deep_tree_leaves_room_for_names() -> None:
    deep = line({**IN_TREE, "depth": 90}, Order(is_tree=True), 79)[1]
    assert deep.endswith("[90] ▾ bash")


def test_a_row_that_is_not_there_yet() -> None:
    assert tasks.task_line(None, Order(), tasks.names(Order(), 79, ()), 79).plain == "…"


@pytest.mark.parametrize(
    ("x", "name"),
    [(0, "pid"), (6, "pid"), (7, "ppid"), (8, "ppid"), (23, "state"), (60, "comm"), (78, "comm"), (79, None)],
)  # fmt: skip
def test_which_column_has_a_place(x: int, name: str | None) -> None:
    assert tasks.at(tasks.names(Order(), 79, ()), x, 79) == name


@pytest.mark.parametrize(
    ("kib", "shown"),
    [(None, DASH), (0, "0"), (512, "512K"), (999, "999K"), (1000, "0.98M"), (12_000, "11.7M"), (1_258_291, "1.20G"),
     (2**52, "4096P")],
)  # fmt: skip
def test_a_size(kib: int | None, shown: str) -> None:
    assert size(kib) == shown


# -- what stands above ---------------------------------------------------------------------------------------------


def test_sums() -> None:
    found = answer([1] * 3, n=1234, rss=1_258_291, states={"idle": 1, "sleeping": 1230, "zombie": 2, "a\x1bb": 1})
    assert tasks.sums(found, 100).plain.rstrip() == (
        r"1,234 tasks, 1.20G of memory: 2 zombie, 1,230 sleeping, 1 idle, 1 a\u{1b}b"
    )
    assert tasks.sums(found, 40).plain == "1,234 tasks, 1.20G of memory: 2 zombie,…"
    assert tasks.sums({**found, "n": 1, "rss": None}, 100).plain.startswith("1 task: 2 zombie")


@pytest.mark.parametrize(
    ("seconds", "ago", "style"), [(0.4, "now", ""), (9.4, "9 s ago", ""), (600, "10 min ago", "yellow")]
)
def test_how_old_it_is(seconds: float, ago: str, style: str) -> None:
    text = tasks.age(1_700_000_000.0, seconds, Clock("utc"))
    assert text.plain == f"as of 22:13:20, {ago}"
    assert [str(span.style) for span in text.spans if span.style] == ([style] if style else [])


def test_how_it_is_sorted_and_what_was_searched_for() -> None:
    when = tasks.age(0, 0, Clock("utc"))

    def said(order: Order, **others: Any) -> str:
        return tasks.said(answer([1], **others), order, when, 150).plain.rstrip().removeprefix("as of 00:00:00, now; ")

    assert said(Order()) == "by memory"
    assert said(Order("pid", is_tree=True)) == "by PID, as a tree"
    assert said(Order(search="a\x1bb"), matched=3) == r"search: a\u{1b}b, 3 found; by memory"
    assert said(Order(search="x", is_tree=True)).startswith("search: x, 1 found, below their parents")
    assert said(Order(), missing=["UID", "GID"]) == "its lister is older and does not tell UID, GID; by memory"


def test_all_of_a_task() -> None:
    text = tasks.details({**IN_TREE, "comm": "b\x1b"}).plain
    assert text.startswith("b\\u{1b}\n")
    assert "PID, parent        977, 402\n" in text
    assert "With all below it  3 tasks, 63.5M in memory\n" in text
    old = tasks.details({"pid": 1, "comm": "x", "state": "IDLE"}).plain
    assert f"PID, parent    1, {DASH}\n" in old
    assert f"Memory in use  {DASH}\n" in old, "what is not known is no zero"
    assert "With all" not in old

"""The view of the tasks, driven by keys and clicks against the real server; what is seen is what is asserted."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from rich.cells import cell_len

from kmodlab.daemon.api.problem import Denied
from kmodlab.errors import ModuleUnavailable
from kmodlab.top import words
from kmodlab.top.client import UnixWay
from kmodlab.top.panes.tasks import TaskLines
from unit.live_server import Live
from unit.live_source import TASKS, tick
from unit.top_screen import Screen, driven

HOSTILE = {
    "\x1b[2J\x1b[1;31m": r"\u{1b}[2J\u{1b}[1;31m",
    "\x9b31m": r"\u{9b}31m",
    "a\x00b": r"a\u{0}b",
    "\u202egpj.exe": r"\u{202e}gpj.exe",
    "\u2066x\u2069": r"\u{2066}x\u{2069}",
    "[bold]x[/]": "[bold]x[/]",
    "[@click=app.quit]x": "[@click=app.quit]x",
    "統計プロセス": "統計プロセス",
    r"snap\040shot\342\200\256": r"snap\040shot\342\200\256",
}
"""What a process may call itself, and how it is shown. The kernel escapes most of it; a page must not rely on that."""
FIRST = 4
"""The row of the screen that has the head of the table."""


def commands(screen: Screen) -> list[str]:
    """The names in the table, as they stand below one another."""
    return [line.split()[-1] for line in screen.lines[FIRST + 1 : -1] if line.strip()]


def chosen(screen: Screen) -> Any:
    return screen.app.query_one(TaskLines).item


async def begin(screen: Screen, text: str = "systemd") -> str:
    await screen.until(lambda: screen.app.model.machine)
    await screen.press("7")
    return await screen.until(text)


def test_all_of_them_with_sums_and_of_when_that_is(way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await begin(screen)
        lines = screen.lines
        assert lines[1].rstrip().endswith("[7 Tasks]  ? keys")
        assert lines[2].startswith("7 tasks, 84.0M of memory: 1 running, 1 zombie, 4 sleeping, 1 idle")
        assert re.match(r"as of \d\d:13:20, \d+ d ago; by memory", lines[3])
        assert lines[FIRST].split() == ["PID", "Parent", "UID", "State", "Memory▼", "Threads", "Command"]
        assert lines[FIRST + 1].split() == ["1200", "977", "1000", "running", "58.6M", "4", "cc1"]
        assert commands(screen) == ["cc1", "systemd", "sshd", "bash", "kthreadd", "kworker/0:0", "gone"]

    driven(way, script)


def test_how_old_they_are_grows_while_nobody_answers(live: Live, way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        live.tell(tick(1, wall=time.time()))
        live.source.task_clock = time.time
        await begin(screen)
        await screen.until(lambda: re.search(r"as of \d\d:\d\d:\d\d, (now|1 s ago)", screen.text))
        live.source.task_fault = Denied(503, "it takes too long")
        await screen.until(lambda: re.search(r"as of \d\d:\d\d:\d\d, ([3-9]|\d\d+) s ago; ", screen.text))
        assert "cc1" in screen.text, "what was known is still there"
        live.source.task_fault = None
        await screen.until(lambda: re.search(r"as of \d\d:\d\d:\d\d, (now|1 s ago); by", screen.text))

    driven(way, script)


def test_it_is_sorted_by_keys(way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await begin(screen)
        await screen.press("N")
        await screen.until("PID▲")
        assert commands(screen)[:3] == ["systemd", "kthreadd", "kworker/0:0"]
        await screen.press("R")
        await screen.until("PID▼")
        assert commands(screen)[:2] == ["gone", "cc1"]
        await screen.press("less_than_sign")
        await screen.until("Command▲")
        assert commands(screen)[:2] == ["bash", "cc1"]
        await screen.press("less_than_sign", "less_than_sign")
        await screen.until("Memory▼")
        await screen.press("greater_than_sign")
        await screen.until("Threads▼")
        assert commands(screen)[0] == "cc1"
        await screen.press("M")
        await screen.until("Memory▼")

    driven(way, script)


def test_it_is_sorted_by_a_click_on_a_head(way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await begin(screen)
        head = screen.lines[FIRST]
        await screen.pilot.click("#all-tasks", offset=(head.index("UID"), 0))
        await screen.until("UID▼")
        assert commands(screen)[0] == "bash"
        await screen.pilot.click("#all-tasks", offset=(head.index("UID"), 0))
        await screen.until("UID▲")
        assert commands(screen)[0] == "systemd"
        await screen.pilot.click("#all-tasks", offset=(head.index("Command") + 20, 0))
        await screen.until("Command▲")
        assert chosen(screen)["comm"] == "bash", "no line was chosen by that"

    driven(way, script)


def test_what_is_searched_for_is_found_or_not_or_refused(way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await begin(screen)
        await screen.press("slash", *"SSH", "enter")
        await screen.until("search: SSH, 1 found")
        assert commands(screen) == ["sshd"]
        assert "7 tasks, 84.0M" in screen.text, "the sums are those of all"
        await screen.press("slash", *["backspace"] * 3, *"977", "enter")
        await screen.until("search: 977, 1 found")
        assert commands(screen) == ["bash"]
        await screen.press("f3", *["backspace"] * 3, *"pid=x", "enter")
        await screen.until("The search is not understood.")
        assert "pid=x is no number" in screen.text
        await screen.press("slash", *["backspace"] * 5, *"nobody", "enter")
        await screen.until("No task matches.")
        await screen.press("slash", *["backspace"] * 6, "enter")
        await screen.until("systemd")
        assert "search" not in screen.text

    driven(way, script)


def test_a_tree_has_its_sums_and_is_walked(way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await begin(screen)
        await screen.press("t")
        await screen.until("Its memory")
        lines = [line.rstrip() for line in screen.lines[FIRST + 1 :]]
        assert re.match(r" +1 +0 sleeping +11\.7M +5 +84\.0M ▾ systemd$", lines[0])
        assert re.match(r" +977 +1000 sleeping +4\.88M +3 +63\.5M     ▾ bash$", lines[2])
        assert re.match(r" +1201 +1000 zombie +0 +1 +0         gone$", lines[4])
        await screen.press("down", "left")
        await screen.until("▸ sshd")
        assert "bash" not in screen.text
        await screen.press("right")
        await screen.until("bash")
        await screen.press("down", "down", "left")
        await screen.until(lambda: chosen(screen)["comm"] == "bash")
        await screen.press("slash", *"gone", "enter")
        await screen.until("1 found, below their parents")
        assert commands(screen) == ["systemd", "sshd", "bash", "gone"]
        await screen.press("f5")
        await screen.until(lambda: commands(screen) == ["gone"])
        assert "Its memory" not in screen.text

    driven(way, script)


def test_a_task_that_was_chosen_stays_it_wherever_it_moves(live: Live, way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await begin(screen)
        await screen.press("down", "down")
        assert chosen(screen)["comm"] == "sshd"
        rows = [row.replace(" 9000 1 0 0", " 900000 1 0 0") for row in TASKS]
        live.source.task_rows = [*rows, "1300 1 big SLEEPING 0 990000 1 0 0"]
        await screen.until("big")
        assert commands(screen)[:3] == ["big", "sshd", "cc1"]
        assert chosen(screen)["comm"] == "sshd"
        await screen.press("N")
        await screen.until("PID▲")
        assert chosen(screen)["comm"] == "sshd"
        live.source.task_rows = [row for row in rows if "sshd" not in row]
        await screen.until(lambda: "sshd" not in screen.text)
        assert chosen(screen)["comm"] == "bash", "who ends leaves the place to the next"

    driven(way, script)


def test_without_a_choice_the_first_line_stays_the_first(live: Live, way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await begin(screen)
        assert chosen(screen)["comm"] == "cc1"
        live.source.task_rows = [*TASKS, "1300 1 big SLEEPING 0 990000 1 0 0"]
        await screen.until("big")
        assert chosen(screen)["comm"] == "big"

    driven(way, script)


def test_a_task_that_moves_out_of_sight_is_followed(live: Live, way: UnixWay) -> None:
    many = [f"{pid} 0 c{pid} SLEEPING 0 {100_000 - pid} 1 0 0" for pid in range(1, 100)]

    async def script(screen: Screen) -> None:
        live.source.task_rows = many
        await begin(screen, "c18")
        await screen.press("down")
        live.source.task_rows = [row.replace("c2 SLEEPING 0 99998", "c2 SLEEPING 0 1") for row in many]
        await screen.until(lambda: commands(screen)[-1] == "c2")
        assert chosen(screen)["comm"] == "c2"

    driven(way, script)


def test_a_long_table_is_asked_for_where_one_is(live: Live, way: UnixWay) -> None:
    live.source.task_rows = [f"{pid} 0 c{pid} SLEEPING 0 0 1 0 0" for pid in range(1, 20_001)]

    async def script(screen: Screen) -> None:
        await begin(screen, "20,000 tasks")
        await screen.press("N")
        await screen.until("PID▲")
        await screen.press("end")
        await screen.until("c20000")
        assert chosen(screen)["pid"] == 20_000
        await screen.press("pageup", "enter")
        await screen.until("its children")
        await screen.press("escape", "home")
        await screen.until(lambda: commands(screen)[0] == "c1")

    driven(way, script)


def test_all_of_a_task_its_children_and_its_calls(way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await begin(screen)
        await screen.press("N")
        await screen.until("PID▲")
        await screen.press("down", "down", "down", "down", "enter")
        text = await screen.until("PID, parent    977, 402")
        assert "User, group    1000, 1000" in text
        await screen.press("c")
        await screen.until("search: ppid=977, 2 found")
        assert commands(screen) == ["cc1", "gone"]
        await screen.press("home", "enter")
        await screen.until("PID, parent    1200, 977")
        await screen.press("e")
        await screen.until("Filter: pid=1200")

    driven(way, script)


def test_a_machine_without_a_lister_says_so(live: Live, way: UnixWay) -> None:
    live.source.no_tasks = ModuleUnavailable(
        "the module task_lister is not loaded on this machine", hint="`modprobe task_lister` as root"
    )

    async def script(screen: Screen) -> None:
        await begin(screen, "Nobody sees them.")
        assert screen.lines[2].startswith("Tasks are not seen: the module task_lister is not loaded on this machine.")
        assert screen.lines[3].startswith("`modprobe task_lister` as root")
        await screen.press("t", "greater_than_sign", "R", "left", "enter")
        live.source.no_tasks = None
        await screen.until("systemd")
        assert "not seen" not in screen.text

    driven(way, script)


def test_before_an_answer_it_says_that_it_looks(live: Live, way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        live.source.task_fault = Denied(503, "it takes too long")
        await screen.press("7")
        await screen.until("Looking.")
        live.source.task_fault = None
        await screen.until("systemd")
        assert "Looking." not in screen.text

    driven(way, script)


def test_an_older_lister_lacks_columns_and_that_is_said(live: Live, way: UnixWay) -> None:
    live.source.task_head = "PID COMMAND STATE RSS(KB)"
    live.source.task_rows = ["1 systemd SLEEPING 12000", "9 bash RUNNING 5000"]

    async def script(screen: Screen) -> None:
        await begin(screen)
        assert screen.lines[FIRST].split() == ["PID", "State", "Memory▼", "Command"]
        assert "its lister is older and does not tell PPID" in screen.text
        await screen.press("enter")
        await screen.until(f"PID, parent    1, {words.DASH}")

    driven(way, script)


@pytest.mark.parametrize("given", HOSTILE, ids=ascii)
@pytest.mark.parametrize("size", [(80, 24), (160, 40)], ids=["80x24", "160x40"])
def test_what_a_process_calls_itself_is_written_out(
    live: Live, way: UnixWay, given: str, size: tuple[int, int]
) -> None:
    live.source.task_rows = [*TASKS, f"4242 977 {given} RUNNING 0 99000 1 0 0"]

    async def script(screen: Screen) -> None:
        shown = HOSTILE[given]
        await begin(screen, "4242")
        for key in ("M", "t"):
            await screen.press(key)
            await screen.until(lambda: any("4242" in line and shown[:14] in line for line in screen.lines))
        assert all(cell_len(line.rstrip()) <= size[0] for line in screen.lines)
        await screen.press("f5", "slash", *"4242", "enter")
        await screen.until("search: 4242, 1 found")
        await screen.press("enter")
        await screen.until("PID, parent    4242, 977")
        assert shown in screen.text
        assert not [letter for letter in screen.text if words.plain(letter) != letter and letter != "\n"]
        assert screen.app.is_running

    driven(way, script, size)


def test_wide_letters_stay_in_their_columns(live: Live, way: UnixWay) -> None:
    live.source.task_rows = ["1 0 統計 SLEEPING 4 4 1 0 0", "2 1 cat SLEEPING 4 4 1 0 0"]

    async def script(screen: Screen) -> None:
        await begin(screen, "統計")
        await screen.press("t", "greater_than_sign")
        await screen.until("Subtree▼")
        wide, narrow = (next(line for line in screen.lines if name in line) for name in ("統計", "cat"))
        assert (wide.index("統"), narrow.index("cat")) == (55 + 2, 55 + 4)

    driven(way, script)


@pytest.mark.parametrize(("size", "titles"), [((60, 12), 7), ((80, 24), 7), ((115, 30), 7), ((116, 30), 10)])
def test_it_is_as_wide_as_the_terminal(way: UnixWay, size: tuple[int, int], titles: int) -> None:
    async def script(screen: Screen) -> None:
        await begin(screen)
        head = next(line for line in screen.lines if "PID" in line)
        assert len(head.replace("Address space", "Space").split()) == titles - (size[0] >= 116)
        assert max(len(line) for line in screen.lines) <= size[0]

    driven(way, script, size)


def test_keys_of_the_tasks_are_theirs_alone(way: UnixWay) -> None:
    async def script(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.machine)
        await screen.press("t", "R", "M", "f3")
        assert not screen.app.query_one("#asked").has_class("open")
        await screen.press("question_mark")
        text = await screen.until("pause the events, and go on")
        assert "Keys in Tasks" not in "\n".join(text.split("\n")[:5])
        await screen.press("escape", "7")
        await screen.until("Memory▼")
        await screen.press("question_mark")
        text = await screen.until("as a tree, with the sums of all below each")
        assert "state=running,zombie" in text
        await screen.press("escape", "slash", *"tRM<>", "enter")
        await screen.until("search: tRM<>, 0 found")

    driven(way, script)

"""The small labs' tests: what is right is taken in any words, what is wrong is told in those of the task."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from kmodlab.grading.expect import Unmet
from kmodlab.paths import project_dir

from .jargon import jargon_of

LABS = project_dir() / "labs"
SMALL = ("list_tasks", "proc_jiffies", "proc_pid", "proc_seconds")


def loaded(lab: str) -> ModuleType:
    """Return a lab's test file."""
    (file,) = (LABS / lab / "tests").glob("test_*.py")
    specification = importlib.util.spec_from_file_location(f"{lab}_{file.stem}", file)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[module.__name__] = module
    specification.loader.exec_module(module)
    return module


JIFFIES, SECONDS, PID, TASKS = (loaded(lab) for lab in ("proc_jiffies", "proc_seconds", "proc_pid", "list_tasks"))
#: what the counter is at two looks: soon after the start, and days later
EARLY, LATE = (4_294_900_000, 4_294_900_321), (4_301_000_000, 4_301_000_123)
WRAP = 1 << 32
#: as it is, its lower half, and since the start of the machine with 250 and with 1000 ticks a second
VIEWS: tuple[Callable[[int], int], ...] = (
    lambda counter: counter,
    lambda counter: counter % WRAP,
    lambda counter: counter - (WRAP - 300 * 250),
    lambda counter: counter - (WRAP - 300 * 1000),
)


@pytest.mark.parametrize("counters", [EARLY, LATE])
@pytest.mark.parametrize(
    "shown",
    [
        "{}\n",
        "{}",
        "The value of jiffies is {}, HZ is 250.\n",
        "HZ:\n250\njiffies:\n{}\n",
        "jiffies={};",
        "{} jiffies and 250 HZ",
        "64 bits: {}",
    ],
)
def test_jiffies_are_found_in_any_words(shown: str, counters: tuple[int, int]) -> None:
    for view in VIEWS:
        JIFFIES.require_value([JIFFIES.Look(c - 2, shown.format(view(c)), c + 3) for c in counters])


@pytest.mark.parametrize(
    "shown",
    ["", "0\n", "{signed}", "0x{value:x}", "{value:x}", "{seconds}", "4294900000", "jiffies", "1 2 3 4 5", "{value}9"],
)
def test_what_are_no_jiffies_is_told(shown: str) -> None:
    texts = [shown.format(value=c, signed=c - WRAP, seconds=c // 250) for c in EARLY]
    with pytest.raises(Unmet) as raised:
        JIFFIES.require_value([JIFFIES.Look(c - 2, text, c + 3) for c, text in zip(EARLY, texts, strict=True)])
    assert re.fullmatch(r"a number from \d+ to \d+, what jiffies was during the read", raised.value.expected)
    assert raised.value.seen in {f"`{text}`" for text in texts} | {f"`{text.strip()}`" for text in texts} | {"nothing"}
    assert jargon_of(raised.value.expected, raised.value.seen, raised.value.hint) == []


@pytest.mark.parametrize(
    "shown",
    [
        "{down}\n",
        "{up}",
        "{exact:.2f} s",
        "00:00:0{down}",
        "The module has been loaded for {down} seconds.\n",
        "jiffies: 812\nseconds: {down}\n",
        "{down}s, 250 HZ",
    ],
)
def test_seconds_are_found_in_any_words(shown: str) -> None:
    looks = [SECONDS.Look(t - 0.02, t + 0.05, shown.format(down=int(t), up=int(t) + 1, exact=t)) for t in (2.34, 5.91)]
    SECONDS.require_value(looks)


@pytest.mark.parametrize("shown", ["", "0", "{ms}", "-{down}", "{boot}", "1 2 3 4 5 6 7", "4"])
def test_what_are_no_seconds_is_told(shown: str) -> None:
    looks = [
        SECONDS.Look(t - 0.02, t + 0.05, shown.format(down=int(t), ms=int(t * 1000), boot=int(t) + 40))
        for t in (2.34, 5.91)
    ]
    with pytest.raises(Unmet) as raised:
        SECONDS.require_value(looks)
    assert re.fullmatch(r"about \d, the seconds since the module was loaded", raised.value.expected)
    assert jargon_of(raised.value.expected, raised.value.seen, raised.value.hint) == []


@dataclass
class Answer:
    """What a command came to."""

    stdout: str
    stderr: str = ""
    rc: int = 0


class Machine:
    """A machine in which a module answers what it is told to, whatever it is asked."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)

    def run(self, _command: str) -> Answer:
        """Return the next answer."""
        return Answer(self._answers.pop(0))


@pytest.mark.parametrize(
    ("asleep", "stopped"),
    [
        ("command = [{name}] pid = [{pid}] state = [1]", "command = [{name}] pid = [{pid}] state = [260]"),
        ("{pid} {name} 8193", "{pid} {name} 4"),
        ("Name: {name}\nState: S (sleeping)\nPid: {pid}", "Name: {name}\nState:\tT (stopped)\nPid: {pid}"),
        ("{name},{pid},TASK_INTERRUPTIBLE", "{name},{pid},__TASK_STOPPED"),
        ("pid {pid} status: 0x1 comm {name}", "pid {pid} status: 0x104 comm {name}"),
    ],
)
def test_a_state_is_found_in_any_words(asleep: str, stopped: str) -> None:
    def answer(text: str, dice: random.Random, pid: int) -> str:
        return f"{pid}\n{PID.MARK}\n{text.format(name=f'n{dice.getrandbits(40):010x}', pid=pid)}\n"

    dice = random.Random(1)  # noqa: S311
    answers = [answer(asleep, dice, 411), answer(stopped, dice, 444)]
    PID.test_the_state_is_shown(Machine(*answers), random.Random(1))  # noqa: S311
    asleep_twice = Machine(answers[0], answers[0].replace("411", "444"))
    with pytest.raises(Unmet) as raised:
        PID.test_the_state_is_shown(asleep_twice, random.Random(1))  # noqa: S311
    assert raised.value.expected == "the state of PID 444, which is stopped: 4 or a word for it"
    assert jargon_of(raised.value.expected, raised.value.seen, raised.value.hint) == []


def test_tasks_are_found_at_the_place_where_most_lines_have_a_pid() -> None:
    lines = ["[ 1.5] task 7 (20) of 1: a1", "[ 1.5] task 8 (20) of 7: b1", "[12.25] task 9 (20) of 8.", "20 things"]
    assert TASKS.best_column(lines, {1, 7, 8, 9}) == [7, 8, 9, 20]
    logged = TASKS.Logged({7: 1, 8: 7, 9: 8}, {"a1": 7, "b1": 8, "c1": 9}, lines)
    with pytest.raises(Unmet) as raised:
        TASKS.test_a_new_process_is_shown_with_pid_and_name(logged)
    assert raised.value.expected == "a line with PID 9 and command `c1`"
    assert "task 7" in raised.value.seen


TOLD: dict[str, list[str]] = json.loads((project_dir() / "tests" / "grading" / "told.json").read_text())


def test_every_fixture_has_its_words() -> None:
    folders = {folder.name for folder in (project_dir() / "tests" / "grading" / "submissions").iterdir()}
    assert set(TOLD) == folders | {"good"}


@pytest.mark.parametrize("fixture", TOLD)
def test_what_is_said_of_a_fixture_has_no_python_in_it(fixture: str) -> None:
    assert jargon_of(*TOLD[fixture]) == []


@pytest.mark.parametrize("lab", SMALL)
def test_a_lab_has_deviations_that_say_what_they_cost(lab: str) -> None:
    ids = set(re.findall(r"- id: (\S+)", (LABS / lab / "lab.yml").read_text()))
    patches = sorted((LABS / lab / "deviations").glob("*.patch"))
    assert len(patches) >= 8
    for patch in patches:
        about = patch.read_text().partition("--- a/")[0].strip().splitlines()
        costs = about[-1].removeprefix("Costs: ")
        assert costs == "nothing" or set(costs.split(", ")) <= ids, patch.name


@pytest.mark.parametrize("handout", sorted(LABS.glob("*/HANDOUT.md")), ids=lambda handout: handout.parent.name)
def test_a_handout_says_how_to_try_it(handout: Path) -> None:
    assert f"`kmodlab check {handout.parent.name} FOLDER`" in handout.read_text()


@pytest.mark.parametrize("file", sorted(LABS.glob("*/tests/*.py")), ids=lambda file: file.name)
def test_no_lab_leaves_its_words_to_python(file: Path) -> None:
    source = file.read_text()
    assert not re.search(r"^\s*assert ", source, re.MULTILINE)
    assert "!r}" not in source
    assert "submission.items()" not in source.replace("in submission.items()", "")

"""What a test that failed says: in words of the task, whatever it raised; a test that breaks itself blames nobody."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pytest

from kmodlab.contract.readers.wording import Wrong
from kmodlab.grading.expect import Unmet, quoted, require
from kmodlab.grading.runner import BROKEN, SILENT, Event, Job, Node, Runner
from kmodlab.grading.words import Compared, Words, words_of

from .jargon import jargon_of

#: each a test as an author might write it: its lines, and what it comes to
TESTS = {
    "passes": ("assert 1 == 1", Event("end", "passes")),
    "requires": (
        "require(False, 'a line for PID 812', 'nothing', 'Do you list it?')",
        Event("end", "requires", "", "failed", "a line for PID 812", "nothing", "Do you list it?"),
    ),
    "message": (
        "assert [1] == [2], 'PID 812: STATE is SLEEPING, expected ZOMBIE\\nassert yourself'",
        Event("end", "message", "", "failed", "", "PID 812: STATE is SLEEPING, expected ZOMBIE\nassert yourself"),
    ),
    "fails": ("pytest.fail('the file does not end')", Event("end", "fails", "", "failed", "", "the file does not end")),
    "raises": ("raise AssertionError('two zombies')", Event("end", "raises", "", "failed", "", "two zombies")),
    "equal": ("assert 3 == 4", Event("end", "equal", "", "failed", "4", "3")),
    "called": ("assert ''.strip()", Event("end", "called", "", "failed", "", "it does not hold")),
    "rows": (
        "assert ['a 1', 'b 2', 'c 3', 'd 4', 'e'] == ['a 1', 'b 3', 'c 4', 'd 5', 'f']",
        Event(
            *("end", "rows", "", "failed", "row 2: b 3\nrow 3: c 4\nrow 4: d 5"),
            "row 2: b 2\nrow 3: c 3\nrow 4: d 4\n(and 1 more that differ)",
        ),
    ),
    "property": (
        "record_property('expected', 'all of them'); assert {1, 2} == {1, 3}",
        Event("end", "property", "", "failed", "all of them", "missing: 3; besides: 2"),
    ),
    "memory": (
        "raise MemoryError",
        Event(
            *("end", "memory", "", "failed", "output that comes to an end", "more than a test can read"),
            "Does your read function return 0?",
        ),
    ),
    "unpacks": (
        "((name, file),) = {'a': 1, 'b': 2}.items()",
        Event(
            *("end", "unpacks", "", "infra-error", "", BROKEN, ""),
            fault="test_words.py:LINE: ValueError: too many values to unpack (expected 1)",
        ),
    ),
    "misses": (
        "{}['PID']",
        Event("end", "misses", "", "infra-error", "", BROKEN, "", fault="test_words.py:LINE: KeyError: 'PID'"),
    ),
    "digits": (
        "assert int('9' * 5000) == 1, 'a number of 5000 digits'",
        Event("end", "digits", "", "failed", "", "a number of 5000 digits"),
    ),
    "reaches": ("host.run('true')", Event("end", "reaches", "", "broken")),
    "rolls": ("pytest.fail(f'{chance.randrange(10**9)} {seed}')", Event("end", "rolls", "", "failed")),
}


def bare(event: Event) -> Event:
    """Return an event without what differs from run to run."""
    fault = re.sub(r":\d+:", ":LINE:", event.fault, count=1)
    return Event("end", event.test, "", event.outcome, event.expected, event.seen, event.hint, fault)


def run(folder: Path, seed: int = 4242, only: Collection[str] = TESTS) -> list[Event]:
    """Run the tests above, or some of them, as the grader does, with a machine that no test asks for anything."""
    file, lines = folder / "test_words.py", ["import pytest", "from kmodlab.grading.expect import require"]
    for name, (body, _) in TESTS.items():
        asked = "record_property, chance, seed" + (", host" if body.startswith("host.") else "")
        lines += ["", f"def test_{name}({asked}):", f"    {body}"]
    file.write_text("\n".join(lines) + "\n")
    nodes = tuple(Node(name, file, f"test_{name}") for name in only)
    events = []
    with Runner(Job(nodes, "nobody", folder, (), "", folder / "log", seed)) as runner:
        while (event := runner.next(60)) is not None and event.what != "done":
            if event.what == "end":
                events.append(event)
                runner.go_on()
    return events


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Event]:
    """What the tests above came to."""
    return {event.test: event for event in run(tmp_path_factory.mktemp("words"))}


@pytest.mark.parametrize("name", [name for name in TESTS if name not in ("rolls", "reaches")])
def test_what_a_test_says_is_told_in_words(events: dict[str, Event], name: str) -> None:
    assert bare(events[name]) == TESTS[name][1]


def test_a_test_that_asks_the_machine_for_nothing_is_quiet(events: dict[str, Event]) -> None:
    """Nobody waits for what its machine may have to say of it."""
    assert [name for name, event in events.items() if not event.quiet] == ["reaches"]


def test_a_machine_that_takes_no_command_is_told_without_its_log(events: dict[str, Event]) -> None:
    told = events["reaches"]
    assert (told.outcome, told.seen) == ("broken", SILENT)
    assert "cannot be reached" in told.fault


def test_nothing_that_a_student_reads_has_python_in_it(events: dict[str, Event]) -> None:
    said = [text for event in events.values() for text in (event.expected, event.seen, event.hint)]
    assert jargon_of(*(text for text in said if "assert yourself" not in text)) == []


def test_the_same_seed_throws_the_same_dice(events: dict[str, Event], tmp_path: Path) -> None:
    """Also to a test that runs alone."""
    rolled, again, other = events["rolls"].seen, run(tmp_path)[-1].seen, run(tmp_path, 4243)[-1].seen
    assert rolled == again == run(tmp_path, only=["rolls"])[-1].seen
    assert rolled.endswith(" 4242")
    assert other.endswith(" 4243")
    assert rolled.split()[0] != other.split()[0]


@dataclass(frozen=True)
class Row:
    """A row of a table, say."""

    pid: int
    state: str


@pytest.mark.parametrize(
    ("compared", "words"),
    [
        (Compared("==", Row(1, "ZOMBIE"), Row(1, "SLEEPING")), Words("pid 1, state SLEEPING", "pid 1, state ZOMBIE")),
        (Compared("in", "ZOMBIE", "PID STATE"), Words("ZOMBIE", "PID STATE, without ZOMBIE")),
        (Compared("in", 7, []), Words("7", "nothing")),
        (Compared("not in", "x", "a x"), Words("no x", "a x")),
        (Compared("<=", 9, 5), Words("at most 5", "9")),
        (Compared("<=", {1, 2}, {2, 3}), Words("2, 3", "missing: 3; besides: 1")),
        (Compared("!=", "", ""), Words("anything but nothing", "nothing")),
        (Compared("is", None, True), Words("yes", "nothing")),
        (Compared("==", {"a": 1}, {"a": 2, "b": b"x"}), Words("a: 2\nb: x", "a: 1\nb: not there")),
        (Compared("==", "a\nb", "a\nc"), Words("row 2: c", "row 2: b")),
        (Compared("==", list(range(20)), 0), Words("0", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 10 more")),
    ],
)
def test_a_comparison_is_told_by_its_two_sides(compared: Compared, words: Words) -> None:
    assert words_of(AssertionError("assert comparison 0"), compared) == words
    assert jargon_of(words.expected, words.seen) == []


def test_a_command_that_fails_is_told_with_its_own_words() -> None:
    said = "Unexpected exit code 1 for command `cat /proc/x`: cat: /proc/x: No such file or directory\nassert 1 == 0"
    words = Words("`cat /proc/x` succeeds", "it ends with status 1: cat: /proc/x: No such file or directory")
    assert words_of(AssertionError(said)) == words


def test_the_parts_of_what_a_contract_test_says_are_told_apart() -> None:
    assert words_of(Wrong("STATE is ZOMBIE.", "It is SLEEPING.", "exit_state")) == Words(
        "STATE is ZOMBIE.", "It is SLEEPING.", "exit_state"
    )


def test_require_goes_on_or_says_what_was_asked() -> None:
    require(True, "a", "b")
    with pytest.raises(Unmet, match=r"^expected: a; seen: b$") as raised:
        require(0, "a", "b", "c")
    assert words_of(raised.value) == Words("a", "b", "c")


@pytest.mark.parametrize(
    ("text", "shown"),
    [(" \n", "nothing"), ("a\n", "`a`"), ("x" * 12, "`xxxxxxxxxx` (and 2 characters more)")],
)
def test_what_a_module_printed_is_quoted(text: str, shown: str) -> None:
    assert quoted(text, 10) == shown

"""What a failed test of the tracer says, and that what a module does wrong is never the test's own mistake."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import cast

import pytest

from kmodlab import contract, paths
from kmodlab.contract import test_drop_in, test_tracer_bad_input, test_tracer_filters, test_tracer_log
from kmodlab.contract.machine import Machine
from kmodlab.contract.readers.tracer_page import HEADER, ROW, RULE, TITLE, page_of, stats_of
from kmodlab.contract.readers.tracer_words import (
    accepted,
    filters_in,
    refused,
    require_blocked,
    require_filters,
    require_recorded,
)
from kmodlab.contract.readers.wording import Wrong, quoted, require_that
from kmodlab.contract.script import TRACER_STATS, Answer
from kmodlab.grading.words import Words, words_of

from .jargon import jargon_of

LABS = paths.project_dir() / "labs"
GRADED = re.compile(r"(contract/\w+\.py)::(\w+)")
#: what the machine says, and not the module
DONE = {"ret": 0, "errno": 0, "pid": 7, "path_exists": 0, "fresh_exists": 1, "tries": 1, "found": 1}


def page(*rows: tuple[str, str, str], filters: str = "No filters active") -> Answer:
    """Return the answer to a read of a log with these rows: call, status and command."""
    lines = [ROW % (call, 7, 42, status, 7, 0, 0, comm, "64", "-", "-", 0, "-") for call, status, comm in rows]
    text = "\n".join([*TITLE, HEADER, RULE, *lines, "", f"Total entries: {len(rows)}", "", "Active Filters:"])
    return {"errno": 0, "text": f"{text}\n===============\n{filters}\n"}


def said(check: Callable[[], object]) -> Words:
    """Return what a student reads of a check, which fails."""
    with pytest.raises(Wrong) as raised:
        check()
    words = words_of(raised.value)
    assert jargon_of(words.expected, words.seen, words.hint) == []
    return words


MADE = page(("read", "ALLOWED", "one"), ("close", "BLOCKED", "one"), ("close", "BLOCKED", "one"))
NO_FILTERS = "Active Filters:\n===============\nNo filters active\n"
SAID: dict[str, tuple[Callable[[], object], Words]] = {
    "not accepted": (
        lambda: accepted({"errno": 22}, "unlink block", "clear"),
        Words("`unlink block` and `clear` is accepted by /proc/syscall_tracer.", "The write failed with EINVAL."),
    ),
    "not refused": (
        lambda: refused({"ret": 7, "errno": 0}, quoted(b"a\0\n"), 22, "look"),
        Words(r"`a\000\012` is refused with EINVAL.", "It was accepted.", "look"),
    ),
    "refused for another reason": (
        lambda: refused({"ret": -1, "errno": 5}, "`bogus`", 22),
        Words("`bogus` is refused with EINVAL.", "It failed with EIO."),
    ),
    "other filters": (
        lambda: require_filters({"errno": 0, "text": NO_FILTERS}, ["a"], "A."),
        Words("A.", "`Active Filters:` has nothing; expected a."),
    ),
    "no filters": (
        lambda: filters_in({"errno": 5, "text": ""}),
        Words("/proc/syscall_tracer can be read.", "Reading it failed: Input/output error."),
    ),
    "other calls blocked": (
        lambda: require_blocked({"read": "BLOCKED", "close": "ALLOWED"}, ["close", "unlink"], "close block"),
        Words(
            "After `close block` the calls that are BLOCKED are close, unlink, and no others.",
            "read: BLOCKED\nclose: ALLOWED\nunlink: there is no row of it",
            "of all filters that match, the first one decides",
        ),
    ),
    "other rows": (
        lambda: require_recorded(page_of(MADE), [("one", "late", ["read"]), ("two", "never", [])], "All.", "look"),
        Words("All.", "late: read, close, close; expected read", "look"),
    ),
    "not one row": (
        lambda: page_of(MADE).only("one"),
        Words("Each call has one row.", "`one` made one call; the log has of it: read, close, close."),
    ),
    "statistics of another form": (
        lambda: stats_of({"errno": 0, "text": "Mode: permissive\nLogged: 1\nIssued: 2\nCPU 0: nothing\n"}),
        Words(
            "The file has the form that is described.",
            "the counters should be Issued, Logged, Overwritten, Dropped, Missed, In flight, Orphaned, Returns missed: "
            "`Logged, Issued`",
        ),
    ),
    "no statistics": (
        lambda: stats_of({"errno": 2, "text": ""}),
        Words(f"{TRACER_STATS} can be read.", "Reading it failed: No such file or directory."),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", list(SAID))
def test_what_is_wrong_is_said_in_the_words_of_the_handout(what: str) -> None:
    check, words = SAID[what]
    assert said(check) == words


def test_nothing_is_said_of_what_is_right() -> None:
    accepted({"errno": 0}, "clear")
    refused({"ret": -1, "errno": 22}, "`bogus`", 22)
    require_blocked({"read": "ALLOWED", "close": "BLOCKED"}, ["close"], "close block")
    require_recorded(page_of(MADE), [("one", "", ["read", "close", "close"])], "All.")
    require_that(1, "All.", "")


class Tape:
    """A machine of which it is known what it will answer."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = [{**DONE, **answer} for answer in answers]

    def play(self, *steps: str) -> list[Answer]:
        """Return the next answers."""
        taken, self._answers = self._answers[: len(steps)], self._answers[len(steps) :]
        return taken


def machine(*answers: Answer) -> Machine:
    """Return a machine that answers so."""
    return cast("Machine", Tape(*answers))


def test_a_blocked_call_without_a_row_is_the_modules_fault() -> None:
    """Its test once looked for the row by its command, and broke where there was none."""
    calls = [{}, {}, {"ret": 8}]
    missing = machine({}, *calls, page(), {})
    words = said(lambda: test_tracer_filters.test_blocked_calls_still_take_effect(missing))
    assert "unlinkat: there is no row of it" in words.seen.splitlines()


def test_a_page_without_its_reader_is_the_modules_fault() -> None:
    """Its test once took the last of the reader's rows, and broke where there was none."""
    rows = machine({}, page(), page())
    assert said(lambda: test_tracer_log.test_the_reader_does_not_chase_itself(rows)).seen == "Of 50 there are 0."


def test_a_refusal_without_a_reason_is_the_modules_fault() -> None:
    """Its test once took the line apart where the reason begins, and broke where there was none."""
    line = 'syscall_tracer: refused "bogus'
    words = said(
        lambda: test_tracer_bad_input.test_the_kernel_log_says_why("one word", "bogus", machine({}, {"line": line}, {}))
    )
    assert words.expected == 'For `bogus` (one word) dmesg has a line `syscall_tracer: refused "bogus...": REASON`.'
    assert words.seen == f"After 1 such writes it had: {line}."


def test_a_command_that_fails_is_told_as_it_was_run() -> None:
    ran = machine({}, *({"rc": what == "clear"} for what in test_drop_in.TRACER_COMMANDS))
    words = said(lambda: test_drop_in.test_scripts_for_the_original_tracer_work(ran))
    assert words.seen == (
        "clear: `echo clear > /proc/syscall_tracer && grep -q 'No filters active' /proc/syscall_tracer`"
    )


def _graded() -> dict[str, set[str]]:
    """Return the contract tests that labs have, by their files."""
    found: dict[str, set[str]] = {}
    for lab in LABS.glob("*/lab.yml"):
        for file, name in GRADED.findall(lab.read_text()):
            found.setdefault(file, set()).add(name)
    return found


def test_no_test_that_grades_compares_without_words() -> None:
    """A bare `assert` shows two sides, and not what they are."""
    bare = []
    for file, names in _graded().items():
        body = ast.parse((contract.FOLDER.parent / file).read_text()).body
        tests = [one for one in body if isinstance(one, ast.FunctionDef) and one.name in names]
        assert len(tests) == len(names), f"{file} has all tests that labs name"
        nodes = ((test.name, node) for test in tests for node in ast.walk(test))
        bare += [name for name, node in nodes if isinstance(node, ast.Assert) and not node.msg]
    assert bare == []

"""Writing to /proc/syscall_tracer: filters, their order, families, exceptions, transactions, the kernel's log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from .calls import FAMILIES, OTHERS, TRACED, members, plain
from .machine import Machine
from .script import TRACER, call, nonce, read, script, step, write
from .tracer_page import Page, parse_filters, parse_page

pytestmark = pytest.mark.syscall_tracer

DEADLINE_MS = 30000


@dataclass(frozen=True)
class Outcome:
    """What became of the calls that were made under some filters."""

    page: Page
    comms: Mapping[str, str] = field(default_factory=dict)

    def verdicts(self, comm: str) -> dict[str, str]:
        """Return the recorded calls of a process with their status; a call is in it once, or the test fails."""
        rows = self.page.of(comm)
        assert len({row.call for row in rows}) == len(rows), f"a call is recorded twice: {rows}"
        return {row.call: row.status for row in rows}


def each_under(machine: Machine, calls: str, *transactions: tuple[str, ...]) -> list[dict[str, str]]:
    """Under the filters of each transaction make the calls, and return what became of each."""
    comms = [nonce("caller") for _ in transactions]
    tries = [
        [write("clear"), write(*lines), call(calls, comm)] for lines, comm in zip(transactions, comms, strict=True)
    ]
    answers = machine.play(*(one for steps in tries for one in steps), read(TRACER), write("clear"))
    assert all(answer["errno"] == 0 for answer in answers[1:-2:3]), answers
    outcome = Outcome(parse_page(answers[-2]["text"]))
    return [outcome.verdicts(comm) for comm in comms]


def under(machine: Machine, *lines: str, calls: str) -> dict[str, str]:
    """Set these filters in one transaction, make the calls, and return what became of each."""
    return each_under(machine, calls, lines)[0]


def blocked(verdicts: dict[str, str]) -> set[str]:
    """Return the calls that were BLOCKED."""
    return {name for name, status in verdicts.items() if status == "BLOCKED"}


def filters_after(machine: Machine, *transactions: tuple[str, ...]) -> tuple[str, ...]:
    """Return the filters after these transactions, each of which is accepted, on none."""
    answers = machine.play(write("clear"), *(write(*lines) for lines in transactions), step("filters"), write("clear"))
    assert all(answer["errno"] == 0 for answer in answers), answers
    return parse_filters(answers[-2]["text"])


def make_every_family(machine: Machine) -> dict[str, Outcome]:
    """Block one family after the other, and make every call of every family under each."""
    outcomes: dict[str, Outcome] = {}
    default = ",".join(name for family in TRACED for name in members(machine, family))
    for family in FAMILIES:
        comms = {name: nonce(plain(name)) for name in (*members(machine, family), "rest")}
        calls = [call(name, comms[name]) for name in members(machine, family) if family in OTHERS]
        steps = [write("clear", f"{family} block"), *calls, call(default, comms["rest"]), read(TRACER)]
        answers = machine.play(*steps, write("clear", *([f"untrace {family}"] if family in OTHERS else [])))
        assert answers[0]["errno"] == 0, f"`{family} block` was refused: {answers[0]}"
        outcomes[family] = Outcome(parse_page(answers[-2]["text"]), comms)
    return outcomes


@pytest.fixture(scope="module")
def families(tracer: Machine) -> dict[str, Outcome]:
    """What became of the calls while each family was blocked."""
    return make_every_family(tracer)


@pytest.mark.quick
def test_the_kernel_log_names_the_blocked_call(tracer: Machine) -> None:
    """For a blocked call the kernel's log says `syscall_tracer: Blocked unlinkat() from PID n`."""
    wanted = "syscall_tracer: Blocked unlinkat() from PID {pid}"
    until = step("until", DEADLINE_MS, wanted, script(call("unlinkat", "blocked", uid=1000, thread=1)))
    _, answer, _ = tracer.play(write("clear", "=unlinkat block"), until, write("clear"))
    pid = answer["inner"][0]["pid"]
    assert answer["found"], f"after {answer['tries']} blocked calls the kernel had not said {wanted!r}"
    assert answer["line"] == f"syscall_tracer: Blocked unlinkat() from PID {pid}"


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_family_covers_its_calls_and_no_other(family: str, tracer: Machine, families: dict[str, Outcome]) -> None:
    """`{family} block` blocks all calls of the family, and none of another."""
    outcome = families[family]
    default = {name for one in TRACED for name in members(tracer, one)}
    rest = outcome.verdicts(outcome.comms["rest"])
    assert set(rest) == default
    assert blocked(rest) == (set(members(tracer, family)) if family in TRACED else set())
    if family in OTHERS:
        own = {name: outcome.verdicts(outcome.comms[name]).get(name) for name in members(tracer, family)}
        assert own == dict.fromkeys(own, "BLOCKED")


@pytest.mark.quick
def test_a_filter_blocks_exactly_the_matching_calls(tracer: Machine) -> None:
    """`unlink block` turns unlink and unlinkat to BLOCKED, and nothing else."""
    family = members(tracer, "unlink")
    verdicts = under(tracer, "unlink block", calls=",".join([*family, "openat", "read", "write", "close"]))
    assert blocked(verdicts) == set(family)
    assert set(verdicts) == {*family, "openat", "read", "write", "close"}


def test_an_exact_name_covers_one_call(tracer: Machine) -> None:
    """`=unlinkat block` blocks unlinkat and leaves the rest of its family."""
    calls = ",".join([*members(tracer, "unlink"), "read", "pread64", "readv"])
    assert blocked(under(tracer, "=unlinkat block", calls=calls)) == {"unlinkat"}
    assert blocked(under(tracer, "=read block", calls=calls)) == {"read"}


def test_a_name_that_is_no_family_stands_for_the_one_call(tracer: Machine) -> None:
    """`pread64 block` blocks pread64 alone."""
    assert blocked(under(tracer, "pread64 block", calls="read,pread64,readv,preadv")) == {"pread64"}


@pytest.mark.quick
def test_blocked_calls_still_take_effect(tracer: Machine) -> None:
    """Permissive: a call that is marked BLOCKED still takes effect: the file is gone, the folder is there."""
    comms = [nonce("gone"), nonce("there"), nonce("written")]
    steps = [
        write("clear", "unlink block", "mkdir block", "write block"),
        *(call(name, comm) for name, comm in zip(("unlinkat", "mkdirat", "write"), comms, strict=True)), read(TRACER),
        write("clear", "untrace mkdir"),
    ]  # fmt: skip
    _, gone, there, written, page, _ = tracer.play(*steps)
    rows = {row.comm: row for row in parse_page(page["text"]).rows}
    assert all(rows[comm].blocked for comm in comms)
    assert (gone["ret"], gone["path_exists"]) == (0, 0)
    assert (there["ret"], there["fresh_exists"]) == (0, 1)
    assert written["ret"] == 8


@pytest.mark.quick
def test_the_first_filter_that_matches_decides(tracer: Machine) -> None:
    """An exception added before the rule wins; added after it, it does not: the first match decides."""
    calls = ",".join(members(tracer, "read"))
    everything = set(members(tracer, "read"))
    exception, rule = "=pread64 allow", "read block"
    tries = each_under(tracer, calls, (exception, rule), (rule, exception), ("read allow", "=pread64 block"))
    assert list(map(blocked, tries)) == [everything - {"pread64"}, everything, set()]


def test_filters_are_listed_in_the_order_they_are_tried(tracer: Machine) -> None:
    """`Active Filters:` lists the filters as they were written, in the order they were added."""
    shown = filters_after(
        tracer, ("unlink block",), ("=openat allow", "close block"), ("=unlinkat allow", "read allow")
    )
    assert shown == ("unlink: BLOCK", "=openat: ALLOW", "close: BLOCK", "=unlinkat: ALLOW", "read: ALLOW")


def test_adding_twice_changes_nothing(tracer: Machine) -> None:
    """A filter that is there already is accepted and stays where it is; a different verdict is a filter of its own."""
    shown = filters_after(tracer, ("unlink block", "read allow"), ("unlink block",), ("read allow", "unlink allow"))
    assert shown == ("unlink: BLOCK", "read: ALLOW", "unlink: ALLOW")


@pytest.mark.quick
def test_delete_removes_the_filters_of_exactly_that_name(tracer: Machine) -> None:
    """`unlink delete` removes every filter added as `unlink`; those added as `=unlinkat` or `read` stay."""
    lines = ("unlink block", "=unlinkat allow", "unlink allow", "read block")
    by_family, by_name = ("unlink delete",), ("=unlinkat delete", "read delete")
    _, _, _, shown, _, _, also, _ = tracer.play(
        write("clear"), write(*lines), write(*by_family), step("filters"), write("clear", *lines), write(*by_name),
        step("filters"), write("clear"),
    )  # fmt: skip
    assert parse_filters(shown["text"]) == ("=unlinkat: ALLOW", "read: BLOCK")
    assert parse_filters(also["text"]) == ("unlink: BLOCK", "unlink: ALLOW")
    assert blocked(under(tracer, *lines, "unlink delete", calls="unlinkat,read,pread64")) == {"read", "pread64"}


@pytest.mark.quick
def test_clear_removes_all_filters(tracer: Machine) -> None:
    """`clear` removes all filters and is no error without any; afterwards nothing is BLOCKED."""
    assert filters_after(tracer, ("unlink block", "read allow"), ("clear",), ("clear",)) == ()
    cleared, replaced = each_under(
        tracer, "unlinkat,read", ("unlink block", "read block", "clear"), ("unlink block", "clear", "read block")
    )
    assert (blocked(cleared), blocked(replaced)) == (set(), {"read"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("# a comment\n\n#\nunlink block\n# unlink delete\n", ("unlink: BLOCK",), id="comments"),
        pytest.param("unlink block", ("unlink: BLOCK",), id="no newline"),
        pytest.param("\n\n\n", (), id="blank lines"),
        pytest.param(" \t \n", (), id="blanks only"),
        pytest.param("unlink\t \tblock  \t\n", ("unlink: BLOCK",), id="tabs"),
        pytest.param("unlink block\nread allow\n", ("unlink: BLOCK", "read: ALLOW"), id="lines"),
        pytest.param("unlink block\nunlink delete\nread block\n", ("read: BLOCK",), id="added and deleted"),
        pytest.param("#" * 4083 + "\nunlink block", ("unlink: BLOCK",), id="4096 bytes"),
        pytest.param("# \"quotes\" %s %n \\ ` $(reboot)\nread allow\n", ("read: ALLOW",), id="odd comment"),
    ],
)  # fmt: skip
def test_good_transactions(text: str, expected: tuple[str, ...], tracer: Machine) -> None:
    """A transaction may have several lines, comments, blank lines, tabs, and up to 4096 bytes."""
    _, written, shown, _ = tracer.play(write("clear"), step("write", TRACER, text), step("filters"), write("clear"))
    assert (written["ret"], written["errno"]) == (len(text), 0)
    assert parse_filters(shown["text"]) == expected


def test_a_filter_starts_the_tracing_and_untracing_keeps_it(tracer: Machine) -> None:
    """A filter on a call that is not traced, new or there already, starts to trace it; `untrace` leaves the filter."""
    comms = [nonce("before"), nonce("during"), nonce("after"), nonce("again")]
    before, during, after, again = (call("sched_yield", comm) for comm in comms)
    steps = [
        write("clear", "untrace sched_yield"), before, write("=sched_yield block"), during,
        write("untrace sched_yield"), after, step("filters"), write("=sched_yield block"), again, read(TRACER),
        write("clear", "untrace sched_yield"),
    ]  # fmt: skip
    answers = tracer.play(*steps)
    page = parse_page(answers[9]["text"])
    assert [[row.status for row in page.of(comm)] for comm in comms] == [[], ["BLOCKED"], [], ["BLOCKED"]]
    assert parse_filters(answers[6]["text"]) == ("=sched_yield: BLOCK",)


def test_allowed_calls_are_not_named_as_blocked(tracer: Machine) -> None:
    """A call that an exception allows is not in the kernel's log."""
    steps = [write("clear", "=unlinkat allow", "unlink block"), call("unlinkat", "allowed"), step("kmsg", -1)]
    _, answer, kmsg, _ = tracer.play(*steps, write("clear"))
    assert not [line for line in kmsg["records"] if line.endswith(f"Blocked unlinkat() from PID {answer['pid']}")]


def test_the_kernel_log_is_rate_limited_and_counts_what_it_left_out(tracer: Machine) -> None:
    """Of a thousand blocked calls at most 50 in 5 seconds are named; the next burst comes after how many were not."""
    flood = call("unlinkat:1000", "flood")
    wanted = "Blocked unlinkat() from PID {pid}"
    setup, (start,), began = write("clear", "=unlinkat block"), tracer.play(step("kmsg", 1 << 40)), time.monotonic()
    until = step("until", DEADLINE_MS, wanted, script(call("unlinkat", "one")))
    answers = tracer.play(setup, flood, step("kmsg", start["last"]), until, step("kmsg", start["last"]), write("clear"))
    lines = [line for line in answers[2]["records"] if "Blocked unlinkat()" in line]
    assert len(lines) <= 50 * (1 + (time.monotonic() - began) // 5), "the log is not rate-limited"
    assert answers[3]["found"]
    said = [line for line in answers[4]["records"] if "suppressed" in line and "syscall_tracer" in line]
    counts = [int(word) for line in said for word in line.split() if word.isdigit()]
    assert counts, "nothing says how many lines were suppressed"
    assert sum(counts) + len(lines) >= 1000

"""Writing to /proc/syscall_tracer: filters, their order, families, exceptions, transactions, the kernel's log."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from .calls import FAMILIES, OTHERS, TRACED, members, plain
from .machine import Machine
from .readers.tracer_page import Page, page_of
from .readers.tracer_words import accepted, commands, require_blocked, require_filters, require_recorded
from .readers.wording import listed, quoted, require_none, require_that
from .script import TRACER, call, nonce, read, script, step, write

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
        calls = [row.call for row in rows]
        seen = f"`{comm}` made each call once; the log has of it: {listed(calls)}."
        require_that(len(set(calls)) == len(calls), "Each call has one row.", seen)
        return {row.call: row.status for row in rows}


def each_under(machine: Machine, calls: str, *transactions: tuple[str, ...]) -> list[dict[str, str]]:
    """Under the filters of each transaction make the calls, and return what became of each."""
    comms = [nonce("caller") for _ in transactions]
    tries = [
        [write("clear"), write(*lines), call(calls, comm)] for lines, comm in zip(transactions, comms, strict=True)
    ]
    answers = machine.play(*(one for steps in tries for one in steps), read(TRACER), write("clear"))
    for answer, lines in zip(answers[1:-2:3], transactions, strict=True):
        accepted(answer, *lines)
    outcome = Outcome(page_of(answers[-2]))
    return [outcome.verdicts(comm) for comm in comms]


def under(machine: Machine, *lines: str, calls: str, wanted: set[str]) -> dict[str, str]:
    """Set these filters in one transaction, and make the calls: those wanted are BLOCKED; return what each became."""
    (verdicts,) = each_under(machine, calls, lines)
    require_blocked(verdicts, wanted, *lines)
    return verdicts


def listed_after(machine: Machine, transactions: Sequence[tuple[str, ...]], wanted: Sequence[str], asked: str) -> None:
    """Fail where these transactions, on no filters, are not all accepted, or other filters are listed after them."""
    written = (("clear",), *transactions, ("clear",))
    steps = [write(*lines) for lines in written]
    *answers, shown, cleared = machine.play(*steps[:-1], step("filters"), steps[-1])
    for answer, lines in zip((*answers, cleared), written, strict=True):
        accepted(answer, *lines)
    require_filters(shown, wanted, asked)


def make_every_family(machine: Machine) -> dict[str, Outcome]:
    """Block one family after the other, and make every call of every family under each."""
    outcomes: dict[str, Outcome] = {}
    default = ",".join(name for family in TRACED for name in members(machine, family))
    for family in FAMILIES:
        comms = {name: nonce(plain(name)) for name in (*members(machine, family), "rest")}
        calls = [call(name, comms[name]) for name in members(machine, family) if family in OTHERS]
        steps = [write("clear", f"{family} block"), *calls, call(default, comms["rest"]), read(TRACER)]
        answers = machine.play(*steps, write("clear", *([f"untrace {family}"] if family in OTHERS else [])))
        accepted(answers[0], f"{family} block")
        outcomes[family] = Outcome(page_of(answers[-2]), comms)
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
    written, answer, _ = tracer.play(write("clear", "=unlinkat block"), until, write("clear"))
    accepted(written, "clear", "=unlinkat block")
    expected = wanted.format(pid=answer["inner"][0]["pid"])
    seen = f"After {answer['tries']} blocked calls it had: {answer['line'] or 'no such line'}."
    hint = "PID is that of the process, not of the thread"
    require_that(answer["line"] == expected, f"dmesg has `{expected}`.", seen, hint)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_family_covers_its_calls_and_no_other(family: str, tracer: Machine, families: dict[str, Outcome]) -> None:
    """`{family} block` blocks all calls of the family, and none of another."""
    outcome = families[family]
    default = {name for one in TRACED for name in members(tracer, one)}
    rest = outcome.verdicts(outcome.comms["rest"])
    own = members(tracer, family)
    missing = [f"{name} is not in the log" for name in sorted(default - set(rest))]
    require_none(missing, "The calls of the families that are traced from the start are in the log.")
    more = [f"{name} was not called" for name in sorted(set(rest) - default)]
    require_none(more, "A row has the name of the call that was made.")
    require_blocked(rest, own if family in TRACED else (), f"{family} block")
    if family in OTHERS:
        made = {name: outcome.verdicts(outcome.comms[name]) for name in own}
        require_blocked({name: rows[name] for name, rows in made.items() if name in rows}, own, f"{family} block")


@pytest.mark.quick
def test_a_filter_blocks_exactly_the_matching_calls(tracer: Machine) -> None:
    """`unlink block` turns unlink and unlinkat to BLOCKED, and nothing else."""
    family = members(tracer, "unlink")
    calls = [*family, "openat", "read", "write", "close"]
    verdicts = under(tracer, "unlink block", calls=",".join(calls), wanted=set(family))
    seen = f"The log has of them: {listed(verdicts)}."
    require_that(set(verdicts) == set(calls), f"Each call is in the log: {listed(calls)}.", seen)


@pytest.mark.any_kernel
def test_an_exact_name_covers_one_call(tracer: Machine) -> None:
    """`=unlinkat block` blocks unlinkat and leaves the rest of its family."""
    calls = ",".join([*members(tracer, "unlink"), "read", "pread64", "readv"])
    under(tracer, "=unlinkat block", calls=calls, wanted={"unlinkat"})
    under(tracer, "=read block", calls=calls, wanted={"read"})


@pytest.mark.any_kernel
def test_a_name_that_is_no_family_stands_for_the_one_call(tracer: Machine) -> None:
    """`pread64 block` blocks pread64 alone."""
    under(tracer, "pread64 block", calls="read,pread64,readv,preadv", wanted={"pread64"})


@pytest.mark.quick
def test_blocked_calls_still_take_effect(tracer: Machine) -> None:
    """Permissive: a call that is marked BLOCKED still takes effect: the file is gone, the folder is there."""
    comms = {name: nonce(name) for name in ("unlinkat", "mkdirat", "write")}
    lines = ("clear", "unlink block", "mkdir block", "write block")
    calls = (call(name, comm) for name, comm in comms.items())
    done, gone, there, written, page, _ = tracer.play(
        write(*lines), *calls, read(TRACER), write("clear", "untrace mkdir")
    )
    accepted(done, *lines)
    shown = page_of(page)
    require_blocked({row.call: row.status for comm in comms.values() for row in shown.of(comm)}, list(comms), *lines)
    seen = [f"unlinkat returned {gone['ret']}"] if (gone["ret"], gone["path_exists"]) != (0, 0) else []
    seen += [f"mkdirat returned {there['ret']}"] if (there["ret"], there["fresh_exists"]) != (0, 1) else []
    seen += [f"write of 8 bytes returned {written['ret']}"] if written["ret"] != 8 else []
    require_none(seen, "BLOCKED is a remark: the call takes place all the same.", "the handler only records")


@pytest.mark.any_kernel
@pytest.mark.quick
def test_the_first_filter_that_matches_decides(tracer: Machine) -> None:
    """An exception added before the rule wins; added after it, it does not: the first match decides."""
    everything = set(members(tracer, "read"))
    exception, rule = "=pread64 allow", "read block"
    wanted = {
        (exception, rule): everything - {"pread64"},
        (rule, exception): everything,
        ("read allow", "=pread64 block"): set(),
    }
    tries = each_under(tracer, ",".join(members(tracer, "read")), *wanted)
    for verdicts, (lines, those) in zip(tries, wanted.items(), strict=True):
        require_blocked(verdicts, those, *lines)


@pytest.mark.any_kernel
def test_filters_are_listed_in_the_order_they_are_tried(tracer: Machine) -> None:
    """`Active Filters:` lists the filters as they were written, in the order they were added."""
    written = (("unlink block",), ("=openat allow", "close block"), ("=unlinkat allow", "read allow"))
    wanted = ("unlink: BLOCK", "=openat: ALLOW", "close: BLOCK", "=unlinkat: ALLOW", "read: ALLOW")
    listed_after(tracer, written, wanted, "The filters are listed as they were written, in the order they were added.")


@pytest.mark.any_kernel
def test_adding_twice_changes_nothing(tracer: Machine) -> None:
    """A filter that is there already is accepted and stays where it is; a different verdict is a filter of its own."""
    written = (("unlink block", "read allow"), ("unlink block",), ("read allow", "unlink allow"))
    wanted = ("unlink: BLOCK", "read: ALLOW", "unlink: ALLOW")
    listed_after(tracer, written, wanted, "A filter that is there already stays where it is, once.")


@pytest.mark.any_kernel
@pytest.mark.quick
def test_delete_removes_the_filters_of_exactly_that_name(tracer: Machine) -> None:
    """`unlink delete` removes every filter added as `unlink`; those added as `=unlinkat` or `read` stay."""
    lines = ("unlink block", "=unlinkat allow", "unlink allow", "read block")
    by_family, by_name = ("unlink delete",), ("=unlinkat delete", "read delete")
    _, _, _, shown, _, _, also, _ = tracer.play(
        write("clear"), write(*lines), write(*by_family), step("filters"), write("clear", *lines), write(*by_name),
        step("filters"), write("clear"),
    )  # fmt: skip
    asked = f"After {commands(lines)} and then {{}} those are left that were added under another name."
    require_filters(shown, ("=unlinkat: ALLOW", "read: BLOCK"), asked.format(commands(by_family)))
    require_filters(also, ("unlink: BLOCK", "unlink: ALLOW"), asked.format(commands(by_name)))
    under(tracer, *lines, "unlink delete", calls="unlinkat,read,pread64", wanted={"read", "pread64"})


@pytest.mark.any_kernel
@pytest.mark.quick
def test_clear_removes_all_filters(tracer: Machine) -> None:
    """`clear` removes all filters and is no error without any; afterwards nothing is BLOCKED."""
    written = (("unlink block", "read allow"), ("clear",), ("clear",))
    listed_after(tracer, written, (), "`clear` removes all filters, and is no error where there are none.")
    under(tracer, "unlink block", "read block", "clear", calls="unlinkat,read", wanted=set())
    under(tracer, "unlink block", "clear", "read block", calls="unlinkat,read", wanted={"read"})


@pytest.mark.any_kernel
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
    accepted(written, text)
    seen = f"Of {len(text)} bytes write took {written['ret']}."
    require_that(written["ret"] == len(text), "One write is one transaction, of up to 4096 bytes.", seen)
    require_filters(shown, expected, f"{quoted(text)} is accepted: blank lines, comments and tabs change nothing.")


def test_a_filter_starts_the_tracing_and_untracing_keeps_it(tracer: Machine) -> None:
    """A filter on a call that is not traced, new or there already, starts to trace it; `untrace` leaves the filter."""
    name, untrace, block = "sched_yield", "untrace sched_yield", "=sched_yield block"
    written = ((untrace,), (block,), (block, untrace), (block, untrace, block))
    comms = {f"{name} after {commands(lines)}": nonce("yield") for lines in written}
    before, during, after, again = (call(name, comm) for comm in comms.values())
    answers = tracer.play(
        write("clear", untrace), before, write(block), during, write(untrace), after, step("filters"), write(block),
        again, read(TRACER), write("clear", untrace),
    )  # fmt: skip
    page, asked = page_of(answers[9]), "A filter on a call that is not traced, be it new or there already, traces it."
    require_recorded(page, zip(comms.values(), comms, ([], [name], [], [name]), strict=True), asked)
    allowed = [when for when, comm in comms.items() for row in page.of(comm) if not row.blocked]
    require_none([f"{when}: ALLOWED" for when in allowed], f"After {commands([block])} the call is BLOCKED.")
    require_filters(answers[6], ("=sched_yield: BLOCK",), "`untrace` leaves the filters on a call.")


def test_allowed_calls_are_not_named_as_blocked(tracer: Machine) -> None:
    """A call that an exception allows is not in the kernel's log."""
    steps = [write("clear", "=unlinkat allow", "unlink block"), call("unlinkat", "allowed"), step("kmsg", -1)]
    _, answer, kmsg, _ = tracer.play(*steps, write("clear"))
    said = [line for line in kmsg["records"] if line.endswith(f"Blocked unlinkat() from PID {answer['pid']}")]
    require_none(list(map(quoted, said)), "dmesg names blocked calls, and not those that a filter allows.")


def test_the_kernel_log_is_rate_limited_and_counts_what_it_left_out(tracer: Machine) -> None:
    """Of a thousand blocked calls at most 50 in 5 seconds are named; the next burst comes after how many were not."""
    flood = call("unlinkat:1000", "flood")
    wanted = "Blocked unlinkat() from PID {pid}"
    setup, (start,), began = write("clear", "=unlinkat block"), tracer.play(step("kmsg", 1 << 40)), time.monotonic()
    until = step("until", DEADLINE_MS, wanted, script(call("unlinkat", "one")))
    answers = tracer.play(setup, flood, step("kmsg", start["last"]), until, step("kmsg", start["last"]), write("clear"))
    lines = [line for line in answers[2]["records"] if "Blocked unlinkat()" in line]
    asked, hint = "Of blocked calls at most 50 in 5 seconds are named in dmesg.", "printk_ratelimited()"
    most = 50 * (1 + (time.monotonic() - began) // 5)
    require_that(len(lines) <= most, asked, f"Of 1000 blocked calls in a row {len(lines)} were named.", hint)
    later = f"None was named in the {DEADLINE_MS // 1000} seconds after 1000 blocked calls."
    require_that(answers[3]["found"], "After 5 seconds blocked calls are named again.", later)
    said = [line for line in answers[4]["records"] if "suppressed" in line and "syscall_tracer" in line]
    counts = [int(word) for line in said for word in line.split() if re.fullmatch("[0-9]+", word)]
    asked = "Where lines were left out, dmesg says how many were suppressed before it names the next call."
    seen = f"Of 1000 blocked calls {len(lines)} were named; suppressed were {listed(counts)}."
    require_that(counts and sum(counts) + len(lines) >= 1000, asked, seen, hint)

"""Writing nonsense to /proc/syscall_tracer: refused with the right errno, without any effect, with a reason."""

from __future__ import annotations

import errno
import hashlib
import re
from dataclasses import dataclass

import pytest

from .calls import EVERY_CALL, why_missing
from .machine import Machine
from .readers.tracer_page import page_of
from .readers.tracer_words import error_name, filters_in, refused, require_filters
from .readers.wording import listed, quoted, require_none, require_that
from .script import TRACER, Answer, call, nonce, read, script, step, write

pytestmark = [pytest.mark.syscall_tracer, pytest.mark.any_kernel]

DEADLINE_MS = 30000
STANDING = ("=unlinkat block", "rename allow", "close block")
SHOWN = ("=unlinkat: BLOCK", "rename: ALLOW", "close: BLOCK")
NOTHING_CHANGES = "What is refused changes nothing."
WHOLE = "one write is one transaction: look at all lines of it before the first one takes effect"
MAX_FILTERS = 128


@dataclass(frozen=True)
class Bad:
    """One bad write: so many times this text, and the errno it deserves."""

    text: bytes
    expected: int
    repeat: int = 1


def _noise() -> bytes:
    return hashlib.sha512(b"noise").digest()[:60]


INVAL, NOENT, TOOBIG, NOSPC = errno.EINVAL, errno.ENOENT, errno.E2BIG, errno.ENOSPC
BAD = {
    "one word": Bad(b"bogus\n", INVAL),
    "a name alone": Bad(b"unlink\n", INVAL),
    "an exact name alone": Bad(b"=unlinkat\n", INVAL),
    "no such command": Bad(b"unlink frobnicate\n", INVAL),
    "a word too many": Bad(b"unlink block please\n", INVAL),
    "a word too many after delete": Bad(b"close delete now\n", INVAL),
    "command in capitals": Bad(b"unlink BLOCK\n", INVAL),
    "command and more in one word": Bad(b"unlink block;read block\n", INVAL),
    "comma for a blank": Bad(b"unlink,block\n", INVAL),
    "clear and a word": Bad(b"clear everything\n", INVAL),
    "trace nothing": Bad(b"trace\n", INVAL),
    "untrace nothing": Bad(b"untrace \t \n", INVAL),
    "block alone": Bad(b"block\n", INVAL),
    "no such call": Bad(b"nosuchcall block\n", NOENT),
    "no such call, exactly": Bad(b"=nosuchcall block\n", NOENT),
    "no such call, allowed": Bad(b"nosuchcall allow\n", NOENT),
    "name in capitals": Bad(b"UNLINK block\n", NOENT),
    "a number for a name": Bad(b"87 block\n", NOENT),
    "the kernel's own symbol": Bad(b"__x64_sys_unlink block\n", NOENT),
    "a name that only the kernel uses": Bad(b"newuname block\n", NOENT),
    "a wild card": Bad(b"=unlink* block\n", NOENT),
    "a name of 63 characters": Bad(b"u" * 63 + b" block\n", NOENT),
    "a family with an equals sign": Bad(b"=exec block\n", NOENT),
    "delete what is not there": Bad(b"unlink delete\n", NOENT),
    "delete by a member": Bad(b"=rename delete\n", NOENT),
    "delete by the family": Bad(b"unlinkat delete\n", NOENT),
    "delete twice": Bad(b"rename delete\nrename delete\n", NOENT),
    "trace no such call": Bad(b"trace nosuchcall\n", NOENT),
    "trace one good, one bad": Bad(b"trace sched_yield nosuchcall\n", NOENT),
    "untrace one good, one bad": Bad(b"untrace read nosuchcall\n", NOENT),
    "no errno": Bad(b"unlink block errno=ENOTHING\n", INVAL),
    "errno 0": Bad(b"unlink block errno=0\n", INVAL),
    "errno 134": Bad(b"unlink block errno=134\n", INVAL),
    "an errno that allows": Bad(b"unlink allow errno=EPERM\n", INVAL),
    "a predicate twice": Bad(b"unlink block pid=1 pid=2\n", INVAL),
    "no predicate": Bad(b"unlink block gid=1\n", INVAL),
    "a predicate without a value": Bad(b"unlink block comm=\n", INVAL),
    "a pid that is none": Bad(b"unlink block pid=-1\n", INVAL),
    "a pid with a plus": Bad(b"unlink block pid=+1\n", INVAL),
    "a pid of minus zero": Bad(b"unlink block pid=-0\n", INVAL),
    "a uid with a plus": Bad(b"unlink block uid=+1\n", INVAL),
    "an errno with a plus": Bad(b"unlink block errno=+1\n", INVAL),
    "a uid that is none": Bad(b"unlink block uid=4294967296\n", INVAL),
    "a bad escape": Bad(b"unlink block comm=\\09\n", INVAL),
    "an escaped NUL": Bad(b"unlink block comm=a\\000\n", INVAL),
    "a path where there is none": Bad(b"read block path=/\n", INVAL),
    "a path longer than is kept": Bad(b"unlink block path=" + b"/" * 125 + b"\n", INVAL),
    "a path longer than is kept of each of two": Bad(b"rename block path=" + b"/" * 61 + b"\n", INVAL),
    "a predicate before the verb": Bad(b"unlink pid=1 block\n", INVAL),
    "delete with a predicate": Bad(b"unlink delete pid=1\n", INVAL),
    "a comm of 16 characters": Bad(b"unlink block comm=abcdefghijklmnop\n", TOOBIG),
    "a path of 256 characters": Bad(b"unlink block path=" + b"/" * 256 + b"\n", TOOBIG),
    "a word of 64 characters": Bad(b"u" * 64 + b" block\n", TOOBIG),
    "a command of 64 characters": Bad(b"unlink " + b"b" * 64 + b"\n", TOOBIG),
    "a third word of 2000 characters": Bad(b"trace close " + b"b" * 2000 + b"\n", TOOBIG),
    "4097 bytes": Bad(b"#" * 4084 + b"\nunlink block", TOOBIG),
    "1 MiB of letters": Bad(b"A" * 1024, TOOBIG, 1024),
    "1 MiB of good lines": Bad(b"=unlink block\n##\n" * 64, TOOBIG, 964),
    "1 MiB of NUL bytes": Bad(b"\0" * 1024, TOOBIG, 1024),
    "noise": Bad(_noise(), INVAL),
    "a NUL byte": Bad(b"unlink\0block\n", INVAL),
    "a NUL byte at the end": Bad(b"unlink block\n\0", INVAL),
    "a NUL byte in a comment": Bad(b"# \0\nunlink block\n", INVAL),
    "bytes above 127": Bad(b"\xff\xfe unlink block\n", INVAL),
    "UTF-8": Bad("únlink block\n".encode(), INVAL),
    "an escape sequence": Bad(b"\x1b[31munlink block\n", INVAL),
    "a carriage return": Bad(b"unlink block\r\n", INVAL),
    "a vertical tab": Bad(b"unlink\x0bblock\n", INVAL),
    "DEL": Bad(b"unlink block\x7f\n", INVAL),
    "a bad line first": Bad(b"bogus\nunlink block\nmkdir block\n", INVAL),
    "a bad line in the middle": Bad(b"unlink block\ntrace sched_yield\nbogus\nmkdir block\n", INVAL),
    "a bad line last": Bad(b"clear\nuntrace read\nmkdir block\nnosuchcall block\n", NOENT),
    "a bad line after a comment": Bad(b"# fine\nunlink frobnicate\n", INVAL),
    "a bad line without an end": Bad(b"clear\nclose", INVAL),
}


def _write(bad: Bad) -> str:
    return step("write", TRACER, bad.text, bad.repeat)


def write_some(machine: Machine, names: list[str]) -> dict[str, list[Answer]]:
    """Make bad writes on standing filters; look at the filters, and at the traced set by calls, after each."""
    steps: list[str] = []
    probes = [nonce("probe") for _ in names]
    for name, probe in zip(names, probes, strict=True):
        steps += [_write(BAD[name]), step("filters"), call("sched_yield,read,unlinkat,close", probe)]
    setup = write("clear", "untrace sched_yield", *STANDING)
    _, *answers, page, _ = machine.play(setup, *steps, read(TRACER), write("clear"))
    rows = page_of(page)
    made = [{"made": [(row.call, row.status) for row in rows.of(probe)]} for probe in probes]
    trios = zip(*[iter(answers)] * 3, strict=True)
    return {name: [*trio, calls] for name, trio, calls in zip(names, trios, made, strict=True)}


def write_all(machine: Machine) -> dict[str, list[Answer]]:
    """Make every bad write, a few at a time, so that the log holds them."""
    names = list(BAD)
    answers: dict[str, list[Answer]] = {}
    for at in range(0, len(names), 12):
        answers |= write_some(machine, names[at : at + 12])
    return answers


def shown(what: str) -> str:
    """Return a bad write as a sentence has it."""
    bad = BAD[what]
    text = quoted(bad.text.rstrip(b"\n"))
    return f"{text}{f', {bad.repeat} times' if bad.repeat > 1 else ''} ({what})"


@pytest.fixture(scope="module")
def tried(tracer: Machine) -> dict[str, list[Answer]]:
    """The answers to every bad write of the table."""
    return write_all(tracer)


@pytest.mark.parametrize("what", list(BAD))
def test_a_bad_write_is_refused_and_changes_nothing(what: str, tried: dict[str, list[Answer]]) -> None:
    """A write with {what} is refused with the right errno; filters and traced calls stay as they were."""
    written, filters, _, made = tried[what]
    refused(written, shown(what), BAD[what].expected)
    require_filters(filters, SHOWN, NOTHING_CHANGES, WHOLE)
    wanted = [("read", "ALLOWED"), ("unlinkat", "BLOCKED"), ("close", "BLOCKED")]
    told, expected = (listed(f"{name} {status}" for name, status in calls) for calls in (made["made"], wanted))
    seen = f"After it the log has of sched_yield, read, unlinkat, close: {told}; expected {expected}."
    require_that(made["made"] == wanted, NOTHING_CHANGES, seen, WHOLE)


@pytest.mark.quick
def test_bad_writes_are_refused_and_change_nothing(tracer: Machine) -> None:
    """Bad commands are refused with EINVAL, ENOENT or E2BIG, also in the middle of good ones, and change nothing."""
    some = ["no such command", "no such call", "a bad line in the middle", "1 MiB of letters", "a NUL byte", "noise"]
    answers = tracer.play(
        write("clear", *STANDING), *(_write(BAD[name]) for name in some), step("filters"), write("clear")
    )
    for answer, name in zip(answers[1:-2], some, strict=True):
        refused(answer, shown(name), BAD[name].expected)
    require_filters(answers[-2], SHOWN, NOTHING_CHANGES, WHOLE)


@pytest.mark.parametrize(
    ("what", "beginning"),
    [
        ("no such command", "unlink frobnicate"),
        ("no such call", "nosuchcall block"),
        ("delete what is not there", "unlink delete"),
        ("a bad line in the middle", "bogus"),
        ("4097 bytes", "####"),
        ("a word of 64 characters", "uuuu"),
    ],
)
def test_the_kernel_log_says_why(what: str, beginning: str, tracer: Machine) -> None:
    """A write with {what} is answered by one line of the kernel's log that quotes it and says why."""
    until = step("until", DEADLINE_MS, f'refused "{beginning}', script(_write(BAD[what])))
    _, answer, _ = tracer.play(write("clear", "=unlinkat block"), until, write("clear"))
    wanted = f'syscall_tracer: refused "{beginning}'
    asked = f'For {shown(what)} dmesg has a line `{wanted}...": REASON`.'
    seen = f"After {answer['tries']} such writes it had: {answer['line'] or 'no such line'}."
    require_that(re.match(rf'{re.escape(wanted)}.*": *\S', answer["line"]), asked, seen, "pr_info_ratelimited()")


def test_refusals_are_rate_limited(tracer: Machine) -> None:
    """Two thousand bad writes do not flood the kernel's log."""
    bad = _write(BAD["one word"])
    (start,) = tracer.play(step("kmsg", 1 << 40))
    *_, kmsg = tracer.play(*[bad] * 2000, step("kmsg", start["last"]))
    lines = [line for line in kmsg["records"] if 'refused "bogus"' in line]
    asked = "Lines about what is refused are rate-limited: dmesg has at most 400 for 2000 writes."
    require_that(len(lines) <= 400, asked, f"It had {len(lines)}.", "pr_info_ratelimited()")


def test_a_bad_address_is_refused(tracer: Machine) -> None:
    """A write from memory that is not there fails with EFAULT and changes nothing."""
    _, written, filters, _ = tracer.play(
        write("clear", *STANDING), step("write", TRACER, null=1), step("filters"), write("clear")
    )
    refused(written, "A write from an address where there is no memory", errno.EFAULT, "copy_from_user() tells")
    require_filters(filters, SHOWN, NOTHING_CHANGES)


def distinct_filters(machine: Machine) -> list[str]:
    """Return more different filters than there may be, most of them on calls that are traced anyway."""
    calls = [name for name in EVERY_CALL if not why_missing(machine, name)]
    calls += ["sched_yield", "getpgid", "getsid", "getppid", "getpgrp", "capget", "capset", "sethostname", "setns"]
    calls += ["setdomainname", "acct", "quotactl", "reboot", "swapon", "swapoff", "pivot_root", "personality", "umask"]
    return [f"{mark}{name} {verb}" for verb in ("block", "allow") for name in calls for mark in ("=", "")]


def test_more_than_128_filters_are_refused(tracer: Machine) -> None:
    """128 filters fit; one more is refused with ENOSPC, alone or in a transaction, which then has no effect at all."""
    filters = distinct_filters(tracer)
    full, more = filters[:MAX_FILTERS], filters[MAX_FILTERS:]
    names = sorted({line.split()[0].lstrip("=") for line in filters} - {*EVERY_CALL})
    answers = tracer.play(
        write("clear", *full[: MAX_FILTERS // 2]), write(*full[MAX_FILTERS // 2 :]), step("filters"),
        write(more[0]), write(full[0]), step("filters"),
        write("close delete", *more[:3]), step("filters"),
        write("clear", *full, more[0]), step("filters"),
        write("clear"), write("untrace " + " ".join(names)),
    )  # fmt: skip
    fit = f"{MAX_FILTERS} filters fit, and one that is there already changes nothing."
    failed = [error_name(answers[i]["errno"]) for i in (0, 1, 4) if answers[i]["errno"]]
    require_none([f"A write of filters failed with {name}" for name in failed], fit)
    for i, what in ((3, "One filter more"), (6, "`close delete` with 3 filters more"), (8, "A write of 129 filters")):
        refused(answers[i], what, NOSPC)
    listings = [filters_in(answers[i]) for i in (2, 5, 7, 9)]
    seen = f"`Active Filters:` has {len(listings[0])} lines."
    require_that(len(listings[0]) == MAX_FILTERS, fit, seen)
    require_that(listings == listings[:1] * 4, NOTHING_CHANGES, "After it the filters are others.", WHOLE)

"""/proc/syscall_tracer does what its handout asks first, whatever the layout: log, bound, filters, remarks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest

from .calls import why_missing
from .conftest import as_command, filters_of
from .machine import Machine
from .modules import find_module
from .readers.tracer_log import Entry, Log, parse_log
from .readers.tracer_words import accepted
from .readers.wording import require_none, text_of, wrong
from .script import TRACER, Answer, call, nonce, read, script, step, write

pytestmark = [pytest.mark.syscall_tracer, pytest.mark.any_kernel]

NOBODY = 65534
FLOOD = 20_000
FULL = 10_000
"""Rows below which a log is taken for one with a bound: two processors have 1024 of them each, by default."""
WAITED = 100
"""Ticks that a call may wait on one CPU for a log that another CPU writes to, its time stamp being taken."""
FLOODS = 4
"""Times that a larger one may grow by as many calls: no bound was asked for, but that there is one."""
DEADLINE_MS = 15_000
"""For a line that is rate-limited: calls are made again until one of them is named."""
BAD_WRITES = {
    "one word": b"bogus\n",
    "a call without a command": b"unlink\n",
    "no such command": b"unlink frobnicate\n",
    "nothing but signs": b"%s%n%s%n !!\n",
    "5000 letters": b"A" * 5000,
    "a word of 3000 letters": b"unlink " + b"b" * 3000 + b"\n",
    "bytes that are no text": bytes(range(1, 60)) * 4,
}


@pytest.fixture(scope="module")
def log(machine: Machine) -> Iterator[Machine]:
    """The machine, with no filter where the module can clear them; those that were found are put back afterwards."""
    found = filters_of(machine.play(read(TRACER), write("clear"))[0])
    yield machine
    machine.play(write("clear"), *(write(as_command(line)) for line in found))


def made(machine: Machine, *steps: str) -> tuple[list[Answer], Log]:
    """Return the answers to some steps, and the log after them.

    Where a process that made calls has no row in it, they are made once more, right after a reload: a log that takes
    no more when it is full, or a page that is cut, fails the tests of that, and not those of what is in the first rows.
    """
    answers, page = _made(machine, *steps)
    pids = [answer["pid"] for answer in answers if "pid" in answer]
    if page.entries and not all(page.of(pid) for pid in pids):
        module = find_module(machine, "syscall_tracer")
        (_, _, *answers), page = _made(machine, module.unload(), module.load(*module.parameters), *steps)
    return answers, page


def _made(machine: Machine, *steps: str) -> tuple[list[Answer], Log]:
    *answers, page = machine.play(*steps, read(TRACER))
    return answers, parse_log(text_of(page, TRACER))


def rows(machine: Machine, family: str, *names: str) -> list[Entry]:
    """Make those calls of a family that the machine has, in a process of its own; return their rows, one for each."""
    there = [name for name in names if not why_missing(machine, name)]
    (answer,), page = made(machine, call(",".join(there), nonce(family)))
    found = page.of(answer["pid"], family)
    if len(found) < len(there):
        others = ", ".join(one.call for one in page.of(answer["pid"])) or "nothing"
        seen = f"PID {answer['pid']} made {' and '.join(there)}, each once; the log has of it: {others}. {_read(page)}"
        wrong(f"A call of {' or '.join(there)} is in the log.", seen, "a kprobe on the entry point of each")
    return found


def _read(page: Log) -> str:
    """Return how much of a page could be read: a table that is not understood is no table that lacks a call."""
    if not page.entries:
        return "No row could be read below the names of the columns."
    return f"{len(page.entries)} rows could be read; the last is {page.entries[-1].call} by PID {page.entries[-1].pid}."


@pytest.mark.quick
def test_open_is_recorded(log: Machine) -> None:
    """Calls of open and openat are in the log, with the PID of their process."""
    rows(log, "open", "open", "openat")


def test_read_is_recorded(log: Machine) -> None:
    """A call of read is in the log, with the PID of its process."""
    rows(log, "read", "read")


def test_write_is_recorded(log: Machine) -> None:
    """A call of write is in the log, with the PID of its process."""
    rows(log, "write", "write")


def test_close_is_recorded(log: Machine) -> None:
    """A call of close is in the log, with the PID of its process."""
    rows(log, "close", "close")


def test_unlink_is_recorded(log: Machine) -> None:
    """Calls of unlink and unlinkat are in the log, with the PID of their process."""
    rows(log, "unlink", "unlink", "unlinkat")


def recorded(machine: Machine) -> tuple[list[Entry], list[str]]:
    """Return the rows of three calls by one process, of those kinds that are recorded, and the kinds."""
    (answer,), page = made(machine, call("close,read,write", nonce("three")))
    if not (found := page.of(answer["pid"])):
        wrong("Calls of close, read and write are in the log.", f"PID {answer['pid']} made one each, none is there.")
    return found, [one.call for one in found]


def test_every_call_is_recorded_once(log: Machine) -> None:
    """Ten calls in a row have ten rows."""
    names = {"openat": "open", "read": "read", "write": "write", "close": "close", "unlinkat": "unlink"}
    (answer,), page = made(log, call(",".join(f"{name}:10" for name in names), nonce("ten")))
    counts = {name: len(page.of(answer["pid"], family)) for name, family in names.items()}
    if not set(counts.values()) <= {0, 10} or not any(counts.values()):
        seen = f"Of 10 calls each by PID {answer['pid']} the log has " + ", ".join(
            f"{counts[n]} of {n}" for n in counts
        )
        wrong("Every call has one row.", f"{seen}.", "no row for another process, none twice, none left out")


def test_without_a_filter_calls_are_allowed(log: Machine) -> None:
    """The Status of a call that no filter is about is ALLOWED."""
    found, _ = recorded(log)
    seen = [f"{one.call} by PID {one.pid}: Status is {one.cells['Status']}" for one in found if one.status != "ALLOWED"]
    require_none(seen, "The Status of a call that no filter is about is ALLOWED.")


def test_timestamps_are_jiffies(log: Machine) -> None:
    """Timestamp is the value of jiffies at the call, and the oldest call is the first of the page."""
    calls = [call("close,read,write", nonce(name)) for name in ("earlier", "later")]
    (before, *answers, after), page = made(log, step("ticks"), *calls, step("ticks"))
    earlier, later = ([(at, one) for at, one in enumerate(page.entries) if one.pid == each["pid"]] for each in answers)
    if not earlier or not later:
        pids = " and ".join(str(each["pid"]) for each in answers)
        wrong("Calls of close, read and write are in the log.", f"PIDs {pids} made one each, one of them has no row.")
    low, high = before["jiffies"], after["jiffies"]
    found = [one for _, one in (*earlier, *later)]
    seen = [f"{one.call}: {one.timestamp}, jiffies was {low} before and {high} after" for one in found]
    far = [text for text, one in zip(seen, found, strict=True) if low > 0 and not low <= one.timestamp <= high]
    require_none(far, "Timestamp is jiffies at the call.", "jiffies, not milliseconds or seconds")
    stamps = [one.timestamp for one in page.entries]
    back = [f"{b} comes after {a}" for a, b in itertools.pairwise(stamps) if b < a - WAITED]
    if earlier[-1][0] > later[0][0]:
        back = [f"A call of PID {answers[1]['pid']} stands above one of PID {answers[0]['pid']}, which was earlier."]
    require_none(back, "The oldest call is the first of the page.")


def test_the_total_is_the_number_of_rows(log: Machine) -> None:
    """`Total entries: N` counts the rows."""
    _, page = made(log)
    if page.total is None:
        wrong("Below the rows stands `Total entries: N`.", "There is no such line.")
    if page.total != len(page.entries):
        wrong("`Total entries: N` counts the rows.", f"There are {len(page.entries)} rows, and N is {page.total}.")


def flooded(machine: Machine) -> tuple[int, Log]:
    """Make many calls in a process, then two of another kind; return its PID and the log."""
    (answer,), page = _made(machine, call(f"close:{FLOOD},read:2,write:2", nonce("flood"), cpu=0))
    return answer["pid"], page


@pytest.mark.quick
def test_the_log_is_bounded(log: Machine) -> None:
    """However many calls are made, the log does not grow without end."""
    sizes = [len(flooded(log)[1].entries)]
    while sizes[-1] > FULL and len(sizes) < FLOODS:
        sizes.append(len(flooded(log)[1].entries))
        if sizes[-1] <= sizes[-2]:
            return
    if sizes[-1] > FULL:
        seen = "; ".join(f"After {FLOOD * (n + 1)} calls it has {size} rows" for n, size in enumerate(sizes)) + "."
        wrong(
            "The log is bounded: new calls take the place of the oldest.", seen, "an array of a fixed size, as a ring"
        )


def test_the_log_keeps_the_newest(log: Machine) -> None:
    """What was called last is in the log, however many calls there were before."""
    pid, page = flooded(log)
    last = [name for name in ("read", "write") if len(page.of(pid, name)) == 2]
    if not last:
        seen = f"The last four calls of PID {pid}, after {FLOOD} others, are not there."
        wrong("The log keeps the newest calls.", seen, "the oldest make room, not the newest")


def test_any_buffer_size_reads_the_whole_log(log: Machine) -> None:
    """Read in pieces of 61 bytes the log ends, has the calls that were made, and its total."""
    (answer, pieces), _ = made(log, call("close:5,read:5", nonce("pieces")), step("read", TRACER, 61))
    whole = parse_log(text_of(pieces, TRACER))
    if not whole.of(answer["pid"]):
        wrong(
            "The log is whole, in pieces of any size.",
            f"Read in pieces of 61 bytes it has no row of PID {answer['pid']}.",
        )
    if whole.filters is None:
        wrong(
            "The log is whole, in pieces of any size.", "Read in pieces of 61 bytes it has no `Active Filters:` below."
        )


@pytest.mark.quick
def test_a_filter_blocks_the_calls_of_its_name(log: Machine) -> None:
    """After `unlink block` a call of unlinkat is BLOCKED, and one of close is not."""
    (written, one, other), page = made(
        log, write("unlink block"), call("unlinkat", nonce("one")), call("close,read,write", nonce("other"))
    )
    accepted(written, "unlink block")
    own, others = page.of(one["pid"], "unlink"), page.of(other["pid"])
    if not own or not all(entry.status == "BLOCKED" for entry in own):
        seen = f"PID {one['pid']} called unlinkat: " + (
            f"Status is {own[0].cells['Status']}." if own else "it is not there."
        )
        hint = "`unlink block` is about both, `open block` about open and openat"
        wrong("After `unlink block` calls of unlink and unlinkat are BLOCKED.", seen, hint)
    seen_too = [f"{entry.call} by PID {entry.pid} is BLOCKED" for entry in others if entry.status == "BLOCKED"]
    require_none(seen_too, "`unlink block` blocks no other calls.")


def test_blocked_is_a_remark(log: Machine) -> None:
    """A call that is BLOCKED takes place all the same: the file is gone."""
    (written, gone), _ = made(log, write("unlink block"), call("unlinkat", nonce("gone")))
    accepted(written, "unlink block")
    if (gone["ret"], gone["path_exists"]) != (0, 0):
        wrong("BLOCKED is a remark: the call takes place.", f"unlinkat returned {gone['ret']}, and the file is there.")


def test_a_filter_allows_the_calls_of_its_name(log: Machine) -> None:
    """After `close allow` a call of close is ALLOWED."""
    (written, one), page = made(log, write("close allow"), call("close,read", nonce("one")))
    accepted(written, "close allow")
    seen = [f"{entry.call} by PID {entry.pid} is {entry.cells['Status']}" for entry in page.of(one["pid"])]
    if not seen or any(entry.status != "ALLOWED" for entry in page.of(one["pid"])):
        wrong("After `close allow` a call of close is ALLOWED.", "\n".join(seen) or "It is not in the log.")


def test_active_filters_are_listed(log: Machine) -> None:
    """Below the log `Active Filters:` has a line for each filter: `unlink: BLOCK`."""
    (first, second), page = made(log, write("unlink block"), write("close allow"))
    accepted(first, "unlink block")
    accepted(second, "close allow")
    if page.filters is None:
        wrong("Below the rows stands `Active Filters:`.", "There is no such line.")
    missing = [
        f"{name}: {verdict}"
        for name, verdict in (("unlink", "BLOCK"), ("close", "ALLOW"))
        if (name, verdict) not in page.filters
    ]
    there = "; ".join(line.strip() for line in page.lines[:5]) or "nothing"
    require_none([f"`{line}` is not there" for line in missing], f"`Active Filters:` has each filter. It has: {there}.")


@pytest.mark.quick
def test_the_kernel_log_names_blocked_calls(log: Machine) -> None:
    """For a blocked call the kernel's log says `syscall_tracer: Blocked unlinkat() from PID n`."""
    # Whoever takes the filter for unlink alone loses the test of the filter, and not this one.
    there = [name for name in ("unlinkat", "unlink") if not why_missing(log, name)]
    until = step("until", DEADLINE_MS, "from PID {pid}", script(call(",".join(there), nonce("one"))))
    written, answer = log.play(write("unlink block"), until)
    accepted(written, "unlink block")
    pid = answer["inner"][0]["pid"]
    wanted = rf"syscall_tracer: blocked (?:sys_)?unlink(?:at)?(?:\(\))? from PID {pid}\b"
    if not re.search(wanted, answer["line"], re.IGNORECASE):
        seen = f"After `unlink block`, {' and '.join(there)} by PID {pid} it had: {answer['line'] or 'no such line'}."
        wrong("dmesg has `syscall_tracer: Blocked unlinkat() from PID N`.", seen, "pr_info() or printk_ratelimited()")


@pytest.mark.parametrize("what", list(BAD_WRITES))
def test_a_bad_write_is_refused(what: str, log: Machine) -> None:
    """What is no command ({what}) is refused with an error, and changes nothing."""
    _, before = made(log)
    (answer,), after = made(log, step("write", TRACER, BAD_WRITES[what]))
    shown = BAD_WRITES[what][:20].decode("ascii", "replace").strip()
    if not answer["errno"]:
        wrong("What is no command is refused: write returns an error.", f"`{shown}` ({what}) was taken.", "-EINVAL")
    if before.filters != after.filters:
        wrong("What is refused changes nothing.", f"After `{shown}` ({what}) the filters are others.")


def test_others_can_neither_read_nor_write(log: Machine) -> None:
    """A user other than root can neither read nor write the file."""
    (answer,) = log.play(step("as", NOBODY, NOBODY, script(read(TRACER), write("unlink block"))))
    page, written = answer["inner"]
    seen = ["Another user reads it."] if not page["errno"] else []
    seen += ["Another user writes it."] if not written["open_errno"] else []
    require_none(seen, "/proc/syscall_tracer is for root alone: its mode is 0600.", "proc_create(NAME, 0600, ...)")

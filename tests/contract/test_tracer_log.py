"""Reading /proc/syscall_tracer: the calls that are made appear in it, whole, in order, bounded."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from .calls import EVERY_CALL, why_missing
from .machine import Machine
from .script import TRACER, TRACER_STATS, Answer, call, nonce, read, script, step, write
from .tracer_page import Page, escape, parse_page, parse_stats

pytestmark = pytest.mark.syscall_tracer

UID = 4242
NAMES = [b"two words", b"back\\slash", b"new\nline", b"\x1b[31mred\x07", "ümläut€".encode(), b"%s%n", b"tab\there"]


@dataclass(frozen=True)
class Made:
    """A page, and the calls that were made before it was read."""

    page: Page
    answers: dict[str, Answer]
    ticks: tuple[int, int]


def make_every_call(machine: Machine) -> Made:
    """Make each call once in a process of its own, by a user of its own; half of them in a second thread."""
    names = [name for name in EVERY_CALL if not why_missing(machine, name)]
    comms = [nonce(name) for name in names]
    options = [{"uid": UID + i} | ({"thread": 1} if i % 2 else {}) for i in range(len(names))]
    steps = [call(name, comm, **more) for name, comm, more in zip(names, comms, options, strict=True)]
    answers = machine.play(write("clear"), step("ticks"), *steps, read(TRACER), step("ticks"))
    made = {name: answer | {"comm": comm} for name, answer, comm in zip(names, answers[2:-2], comms, strict=True)}
    return Made(parse_page(answers[-2]["text"]), made, (answers[1]["jiffies"], answers[-1]["jiffies"]))


@pytest.fixture(scope="module")
def made(tracer: Machine) -> Made:
    """Every call that is traced by default, made once."""
    return make_every_call(tracer)


@pytest.mark.quick
def test_every_default_call_is_recorded_once_by_its_real_name(made: Made) -> None:
    """Each traced system call, made once by a process of its own, is recorded once, with PID, TID, UID and name."""
    for i, (name, answer) in enumerate(made.answers.items()):
        rows = made.page.of(answer["comm"])
        assert [row.call for row in rows] == [name], f"{name} was made once by {answer}"
        assert (rows[0].pid, rows[0].tid, rows[0].uid) == (answer["pid"], answer["tid"], UID + i), name
        assert rows[0].status == "ALLOWED", name


@pytest.mark.parametrize("name", EVERY_CALL)
def test_the_call_is_recorded(name: str, tracer: Machine, made: Made) -> None:
    """A process that calls {name} appears with its PID and thread id, real user id and command."""
    if reason := why_missing(tracer, name):
        pytest.skip(reason)
    answer = made.answers[name]
    assert "missing" not in answer, f"the machine's headers know no {name}"
    row = made.page.only(answer["comm"])
    expected = (name, answer["pid"], answer["tid"], UID + list(made.answers).index(name))
    assert (row.call, row.pid, row.tid, row.uid) == expected


@pytest.mark.quick
def test_timestamps_never_decrease_and_are_jiffies(made: Made) -> None:
    """Time stamps never decrease down the page, and lie between the jiffies before and after."""
    stamps = [row.timestamp for row in made.page.rows]
    assert all(a <= b for a, b in itertools.pairwise(stamps))
    before, after = made.ticks
    own = [row.timestamp for answer in made.answers.values() for row in made.page.of(answer["comm"])]
    assert own == sorted(own), "the calls were made one after the other"
    if before > 0:
        assert before <= min(own)
        assert max(own) <= after


def test_no_filter_means_no_blocked_row(made: Made) -> None:
    """Without filters the page says so and the calls made are ALLOWED."""
    assert made.page.filters == ()
    assert not any(row.blocked for answer in made.answers.values() for row in made.page.of(answer["comm"]))


def test_the_cpu_is_where_the_call_was_made(tracer: Machine) -> None:
    """A call made on a certain CPU is recorded with that CPU."""
    online = tracer.sh("nproc").strip()
    cpus = range(min(int(online), 4))
    comms = [nonce("cpu") for _ in cpus]
    *_, answer = tracer.play(*(call("close", comms[n], cpu=n) for n in cpus), read(TRACER))
    page = parse_page(answer["text"])
    assert [[row.cpu for row in page.of(comm)] for comm in comms] == [[n] for n in cpus]


def test_command_names_are_escaped(tracer: Machine) -> None:
    """Whatever a process calls itself, its row stays one line of printable words, and the name can be read back."""
    names = [name + nonce("")[1:].encode() for name in NAMES]
    *_, nameless, answer = tracer.play(*(call("close", name) for name in names), call("close", ""), read(TRACER))
    page = parse_page(answer["text"])
    assert [row.comm for row in page.rows if row.pid == nameless["pid"]] == ["\\000"], "an empty name is a word too"
    for name in names:
        assert [row.call for row in page.of(escape(name))] == ["close"], name


def test_pids_are_those_of_the_initial_namespace(tracer: Machine) -> None:
    """A process in a PID namespace of its own is recorded with the PID that the host knows."""
    comm = nonce("inside")
    inside, answer = tracer.play(call("close", comm, pidns=1), read(TRACER))
    row = parse_page(answer["text"]).only(comm)
    assert inside["seen_pid"] == 1
    assert (row.pid, row.tid) == (inside["pid"], inside["pid"])


@pytest.mark.quick
def test_the_log_is_bounded_and_keeps_the_newest(tracer: Machine) -> None:
    """The log is bounded: a flood of calls drops the oldest, keeps the newest, and is counted as Overwritten."""
    oldest, comm = "openat2", nonce("flood")
    names = f"{oldest}:3,close:3000,pread64:2"
    before, flood, page, after = tracer.play(
        read(TRACER_STATS), call(names, comm, cpu=0), read(TRACER), read(TRACER_STATS)
    )
    old, new = parse_stats(before["text"]), parse_stats(after["text"])
    seen = parse_page(page["text"])
    rows = [row for row in seen.rows if row.cpu == 0]
    made = [row.call for row in seen.of(comm)]
    assert len(rows) >= 1000
    assert len(rows) & (len(rows) - 1) == 0, "the size of the log is a power of two"
    if len(rows) < 3000:
        assert oldest not in made, "the oldest are dropped first"
        assert new.overwritten > old.overwritten
    assert made[-2:] == ["pread64", "pread64"], "the newest are kept"
    assert {row.pid for row in seen.of(comm)} == {flood["pid"]}


def test_overwritten_adds_up(tracer: Machine) -> None:
    """Logged plus Overwritten grow by the calls that were made between two looks."""
    fill = call("close:2000", "fill")
    steps = [read(TRACER_STATS), call("close:700,pread64:300", "count"), read(TRACER_STATS)]
    answers = tracer.play(fill, *steps * 5)[1:]
    kept = [
        seen.counters["Logged"] + seen.overwritten
        for seen in (parse_stats(answer["text"]) for answer in answers if answer["step"] == "read")
    ]
    grown = [after - before for before, after in zip(kept[::2], kept[1::2], strict=True)]
    assert all(n >= 1000 for n in grown), grown
    assert min(grown) <= 1100, f"1000 calls and the helper's own were made, but the counters grew by {grown}"


def test_nothing_is_dropped_or_missed_in_a_quiet_minute(tracer: Machine) -> None:
    """A thousand calls in a row are neither dropped nor missed."""
    comm = nonce("steady")
    before, _, page, after = tracer.play(read(TRACER_STATS), call("close:1000", comm), read(TRACER), read(TRACER_STATS))
    old, new = parse_stats(before["text"]), parse_stats(after["text"])
    assert new.counters["Dropped"] == old.counters["Dropped"]
    assert new.counters["Missed"] == old.counters["Missed"]
    assert len(parse_page(page["text"]).of(comm)) == 1000 or new.overwritten > old.overwritten


def test_any_buffer_size_reads_the_same_page(tracer: Machine) -> None:
    """One open file reads the same, byte for byte, in pieces of 1, 7, 4096 bytes and 1 MiB, by lseek and pread."""
    fill = call("close:300,pread64:300", "fill")
    _, answer = tracer.play(fill, step("sizes", TRACER, 1048576, 1, 7, 4096))
    page = parse_page(answer["text"])
    assert answer["differs_at"] == -1, answer
    assert answer["pread_differs_at"] == -1
    assert len(page.rows) >= 600, "the reader's own reads must not push out what it reads"


def test_the_reader_does_not_chase_itself(tracer: Machine) -> None:
    """Reading a byte at a time ends, although each of these reads is itself recorded."""
    comm = nonce("before")
    _, answer, again = tracer.play(call("close:50", comm), step("read", TRACER, 1), read(TRACER))
    page = parse_page(answer["text"])
    assert len(page.of(comm)) == 50
    assert page.of("helper")[-1].call.startswith("open"), "the reader's last call before the picture was taken is open"
    assert len([row for row in parse_page(again["text"]).rows if row.call == "read"]) > 500


def test_a_file_shows_the_log_as_it_was_at_open(tracer: Machine) -> None:
    """What happens after open is not in the page, not even after a rewind; a new open shows it."""
    comms = early, late, later = nonce("early"), nonce("late"), nonce("later")
    steps = [
        call("close", early), step("open", 0, TRACER, "r"), call("close", late), step("fread", 0),
        step("rewind", 0), call("close", later), step("fread", 0), step("close", 0), read(TRACER),
    ]  # fmt: skip
    answers = tracer.play(*steps)
    first, rewound, fresh = (answers[i]["text"] for i in (3, 6, 8))
    assert [len(parse_page(first).of(comm)) for comm in comms] == [1, 0, 0]
    assert rewound == first
    assert [len(parse_page(fresh).of(comm)) for comm in comms] == [1, 1, 1]


def test_an_open_file_keeps_its_page_while_the_log_turns_over(tracer: Machine) -> None:
    """A file that is read slowly keeps its page while the log is overwritten several times, filters included."""
    comm = nonce("turn")
    turn = call("close:3000", comm, cpu=0)
    steps = [
        write("clear", "=unlinkat block"), step("open", 0, TRACER, "r"), step("fread", 0, bytes=1000), turn,
        write("clear"), step("fread", 0), step("rewind", 0), step("fread", 0), step("close", 0),
    ]  # fmt: skip
    answers = tracer.play(*steps)
    whole = answers[2]["text"] + answers[5]["text"]
    assert whole == answers[7]["text"]
    assert parse_page(whole).filters == ("=unlinkat: BLOCK",)
    assert not parse_page(whole).of(comm)


def test_untrace_and_trace(tracer: Machine) -> None:
    """`untrace` stops the recording of a call, `trace` starts it again, also of calls not traced by default."""
    comms = one, two, three = nonce("one"), nonce("two"), nonce("three")
    steps = [
        write("untrace close", "trace sched_yield getpgid"), call("close,sched_yield,getpgid", one),
        write("trace close", "untrace sched_yield"), call("close,sched_yield,getpgid", two),
        write("untrace =getpgid"), call("close,getpgid", three), read(TRACER),
    ]  # fmt: skip
    answers = tracer.play(*steps)
    page = parse_page(answers[-1]["text"])
    assert [answer["errno"] for answer in answers if answer["step"] == "write"] == [0, 0, 0]
    made = [[row.call for row in page.of(comm)] for comm in comms]
    assert made == [["sched_yield", "getpgid"], ["close", "getpgid"], ["close"]]


def test_the_statistics_name_what_is_traced(tracer: Machine) -> None:
    """`Traced:` names the calls that are traced just now, and no others."""
    begin, on, off = tracer.play(
        read(TRACER_STATS), write("trace getpgid", "untrace close"), read(TRACER_STATS),
        write("untrace getpgid", "trace close"), read(TRACER_STATS),
    )[::2]  # fmt: skip
    before, during, after = (parse_stats(answer["text"]).traced for answer in (begin, on, off))
    assert {"openat", "read", "write", "close", "unlinkat"} <= before == after
    assert during == before - {"close", "close_range"} | {"getpgid"}


def test_untracing_one_call_leaves_its_family(tracer: Machine) -> None:
    """`untrace =NAME` stops exactly that call; tracing what is traced is no error."""
    some, every = nonce("some"), nonce("every")
    steps = [
        write("untrace =pread64"), call("read,pread64,readv", some),
        write("trace read", "trace read", "trace =pread64"), call("read,pread64,readv", every), read(TRACER),
    ]  # fmt: skip
    answers = tracer.play(*steps)
    page = parse_page(answers[-1]["text"])
    assert answers[2]["errno"] == 0
    assert [row.call for row in page.of(some)] == ["read", "readv"]
    assert [row.call for row in page.of(every)] == ["read", "pread64", "readv"]


def test_a_user_namespace_does_not_hide_the_user(tracer: Machine) -> None:
    """A call made inside a user namespace is recorded with the user id that the host knows."""
    comm = nonce("inside")
    inner = step("userns", script(call("close", comm)))
    steps = step("as", UID, UID, inner)
    outer, answer = tracer.play(steps, read(TRACER))
    if trouble := outer["inner"][0].get("trouble"):
        pytest.skip(f"the machine allows no user namespace: {trouble}")
    row = parse_page(answer["text"]).only(comm)
    assert (row.call, row.uid) == ("close", UID)

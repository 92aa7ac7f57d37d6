"""Reading /proc/syscall_tracer: the calls that are made appear in it, whole, in order, bounded."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from .calls import EVERY_CALL, why_missing
from .machine import Machine
from .readers.tracer_page import Page, escape, page_of, stats_of
from .readers.tracer_words import accepted, commands, require_recorded
from .readers.wording import listed, quoted, require_none, require_that, text_of
from .script import TRACER, TRACER_STATS, Answer, call, nonce, read, script, step, write

pytestmark = pytest.mark.syscall_tracer

UID = 4242
NAMES = [b"two words", b"back\\slash", b"new\nline", b"\x1b[31mred\x07", "ümläut€".encode(), b"%s%n", b"tab\there"]
RECORDED = "Each call is recorded once, by its real name, with PID, TID and UID of who made it."
WHO = "a process is task_tgid_nr(current), a thread task_pid_nr(current), the real user id current_uid()"
AS_OPENED = "An open file shows the log as it was when it was opened."
PICTURE = "what open finds is copied, and kept until the file is closed"
LOSSES = "log_entries is rounded up to a power of two; the newest take the place of the oldest"


@dataclass(frozen=True)
class Made:
    """A page, and the calls that were made before it was read."""

    page: Page
    answers: dict[str, Answer]
    ticks: tuple[int, int]

    def faults(self, name: str) -> list[str]:
        """Return what is wrong with the record of a call."""
        answer = self.answers[name]
        rows = self.page.of(answer["comm"])
        if (calls := [row.call for row in rows]) != [name]:
            return [f"`{answer['comm']}` called {name} once; the log has of it: {listed(calls)}"]
        shown = {"PID": rows[0].pid, "TID": rows[0].tid, "UID": rows[0].uid, "Status": rows[0].status}
        wanted = {"PID": answer["pid"], "TID": answer["tid"], "UID": answer["uid"], "Status": "ALLOWED"}
        return [f"{name}: {key} is {shown[key]}, expected {wanted[key]}" for key in wanted if shown[key] != wanted[key]]


def make_every_call(machine: Machine) -> Made:
    """Make each call once in a process of its own, by a user of its own; half of them in a second thread."""
    names = [name for name in EVERY_CALL if not why_missing(machine, name)]
    comms = [nonce(name) for name in names]
    options = [{"uid": UID + i} | ({"thread": 1} if i % 2 else {}) for i in range(len(names))]
    steps = [call(name, comm, **more) for name, comm, more in zip(names, comms, options, strict=True)]
    answers = machine.play(write("clear"), step("ticks"), *steps, read(TRACER), step("ticks"))
    known = ({"comm": comm, "uid": UID + i} for i, comm in enumerate(comms))
    made = {name: answer | more for name, answer, more in zip(names, answers[2:-2], known, strict=True)}
    return Made(page_of(answers[-2]), made, (answers[1]["jiffies"], answers[-1]["jiffies"]))


@pytest.fixture(scope="module")
def made(tracer: Machine) -> Made:
    """Every call that is traced by default, made once."""
    return make_every_call(tracer)


@pytest.mark.quick
def test_every_default_call_is_recorded_once_by_its_real_name(made: Made) -> None:
    """Each traced system call, made once by a process of its own, is recorded once, with PID, TID, UID and name."""
    require_none([fault for name in made.answers for fault in made.faults(name)], RECORDED, WHO)


@pytest.mark.parametrize("name", EVERY_CALL)
def test_the_call_is_recorded(name: str, tracer: Machine, made: Made) -> None:
    """A process that calls {name} appears with its PID and thread id, real user id and command."""
    if reason := why_missing(tracer, name):
        pytest.skip(reason)
    assert "missing" not in made.answers[name], f"the machine's headers know no {name}"
    require_none(made.faults(name), RECORDED, WHO)


@pytest.mark.quick
def test_timestamps_never_decrease_and_are_jiffies(made: Made) -> None:
    """Time stamps never decrease down the page, and lie between the jiffies before and after."""
    own = [row.timestamp for answer in made.answers.values() for row in made.page.of(answer["comm"])]
    require_that(own, "The calls that were made are in the log.", "None of them is there.")
    for asked, stamps in (
        ("Timestamps never decrease down the page.", [row.timestamp for row in made.page.rows]),
        ("Of calls made one after the other the first one has the smallest Timestamp.", own),
    ):
        back = [f"{earlier} is followed by {later}" for earlier, later in itertools.pairwise(stamps) if later < earlier]
        require_none(back, asked, "the logs of all CPUs are one page, sorted by time")
    before, after = made.ticks
    outside = [f"It is {stamp}; jiffies was {before} to {after}" for stamp in own if not before <= stamp <= after]
    require_none(outside if before > 0 else [], "Timestamp is the value of jiffies at the call.")


def test_no_filter_means_no_blocked_row(made: Made) -> None:
    """Without filters the page says so and the calls made are ALLOWED."""
    seen = f"It has {listed(made.page.filters)}."
    require_that(made.page.filters == (), "After `clear` there is nothing below `Active Filters:`.", seen)
    rows = (row for answer in made.answers.values() for row in made.page.of(answer["comm"]))
    require_none([f"{row.call} is BLOCKED" for row in rows if row.blocked], "Without a filter nothing is BLOCKED.")


def test_the_cpu_is_where_the_call_was_made(tracer: Machine) -> None:
    """A call made on a certain CPU is recorded with that CPU."""
    online = tracer.sh("nproc").strip()
    cpus = range(min(int(online), 4))
    comms = [nonce("cpu") for _ in cpus]
    *_, answer = tracer.play(*(call("close", comms[n], cpu=n) for n in cpus), read(TRACER))
    page = page_of(answer)
    found = [[row.cpu for row in page.of(comm)] for comm in comms]
    seen = [f"Of a call on CPU {n} the log has CPU {listed(found[n])}" for n in cpus if found[n] != [n]]
    require_none(seen, "CPU is the one on which the call was made.", "smp_processor_id() in the handler")


@pytest.mark.any_kernel
def test_command_names_are_escaped(tracer: Machine) -> None:
    """Whatever a process calls itself, its row stays one line of printable words, and the name can be read back."""
    names = [name + nonce("")[1:].encode() for name in NAMES]
    *answers, answer = tracer.play(*(call("close", name) for name in (*names, b"")), read(TRACER))
    page, wanted = page_of(answer), [*map(escape, names), "\\000"]
    found = [[row.comm for row in page.rows if row.pid == one["pid"]] for one in answers]
    differ = [(comms, name) for comms, name in zip(found, wanted, strict=True) if comms != [name]]
    seen = [f"COMM is {quoted(listed(comms))}, expected `{name}`" for comms, name in differ]
    require_none(seen, r"A byte of a name outside `!`..`~`, and the backslash, is shown as `\ooo`; no name as `\000`.")


def test_pids_are_those_of_the_initial_namespace(tracer: Machine) -> None:
    """A process in a PID namespace of its own is recorded with the PID that the host knows."""
    comm = nonce("inside")
    inside, answer = tracer.play(call("close", comm, pidns=1), read(TRACER))
    row, pid = page_of(answer).only(comm), inside["pid"]
    assert inside["seen_pid"] == 1, "the process is the first of a namespace of its own"
    seen = f"PID is {row.pid} and TID {row.tid}; expected {pid} for both."
    require_that(row.pid == row.tid == pid, "PID and TID are those of the initial namespace.", seen, WHO)


@pytest.mark.quick
def test_the_log_is_bounded_and_keeps_the_newest(tracer: Machine) -> None:
    """The log is bounded: a flood of calls drops the oldest, keeps the newest, and is counted as Overwritten."""
    oldest, comm = "openat2", nonce("flood")
    names = f"{oldest}:3,close:3000,pread64:2"
    before, flood, page, after = tracer.play(
        read(TRACER_STATS), call(names, comm, cpu=0), read(TRACER), read(TRACER_STATS)
    )
    old, new, seen = stats_of(before), stats_of(after), page_of(page)
    rows = len([row for row in seen.rows if row.cpu == 0])
    made = [row.call for row in seen.of(comm)]
    asked = "The log keeps at least 1000 records of each CPU, and their number is a power of two."
    there = f"After 3005 calls on CPU 0 it has {rows} of them."
    require_that(rows >= 1000 and rows & (rows - 1) == 0, asked, there, LOSSES)
    if rows < 3000:
        require_that(oldest not in made, "The oldest make room.", f"{oldest}, before 3000 others, is there.", LOSSES)
        grown = f"It was {old.overwritten}, and is {new.overwritten} after 3005 calls."
        require_that(new.overwritten > old.overwritten, "`Overwritten` counts what made room.", grown)
    last = f"The last two calls were pread64; in the log they are {listed(made[-2:])}."
    require_that(made[-2:] == ["pread64", "pread64"], "The newest records are kept.", last, LOSSES)
    pids = {row.pid for row in seen.of(comm)}
    require_that(pids == {flood["pid"]}, f"PID is {flood['pid']}.", f"It is {listed(sorted(pids))}.", WHO)


def test_overwritten_adds_up(tracer: Machine) -> None:
    """Logged plus Overwritten grow by the calls that were made between two looks."""
    fill = call("close:2000", "fill")
    steps = [read(TRACER_STATS), call("close:700,pread64:300", "count"), read(TRACER_STATS)]
    answers = tracer.play(fill, *steps * 5)[1:]
    kept = [
        seen.counters["Logged"] + seen.overwritten
        for seen in (stats_of(answer) for answer in answers if answer["step"] == "read")
    ]
    grown = [after - before for before, after in zip(kept[::2], kept[1::2], strict=True)]
    seen = f"While 1000 calls and few others were made they grew by {listed(grown)}."
    require_that(1000 <= min(grown) <= 1100, "`Logged` and `Overwritten` together grow by one a call.", seen)


def test_nothing_is_dropped_or_missed_in_a_quiet_minute(tracer: Machine) -> None:
    """A thousand calls in a row are neither dropped nor missed."""
    comm = nonce("steady")
    before, _, page, after = tracer.play(read(TRACER_STATS), call("close:1000", comm), read(TRACER), read(TRACER_STATS))
    old, new = stats_of(before), stats_of(after)
    grown = {name: new.counters[name] - old.counters[name] for name in ("Dropped", "Missed")}
    seen = [f"`{name}` grew by {n} in 1000 calls" for name, n in grown.items() if n]
    require_none(seen, "Calls in a row are neither dropped nor missed.")
    rows = len(page_of(page).of(comm))
    there = f"Of 1000 calls there are {rows}, and `Overwritten` has not grown."
    require_that(rows == 1000 or new.overwritten > old.overwritten, "What is not there is counted.", there)


@pytest.mark.any_kernel
def test_any_buffer_size_reads_the_same_page(tracer: Machine) -> None:
    """One open file reads the same, byte for byte, in pieces of 1, 7, 4096 bytes and 1 MiB, by lseek and pread."""
    fill = call("close:300,pread64:300", "fill")
    _, answer = tracer.play(fill, step("sizes", TRACER, 1048576, 1, 7, 4096))
    page, asked = page_of({"errno": 0, **answer}), "One open file is read the same in pieces of any size."
    there = f"In pieces of {answer.get('bad_size')} bytes it differs from byte {answer['differs_at']} on."
    require_that(answer["differs_at"] == -1, asked, there, PICTURE)
    there = f"pread gives something else at byte {answer['pread_differs_at']}."
    require_that(answer["pread_differs_at"] == -1, asked, there, PICTURE)
    there = f"Before it was opened 600 calls were made, and there are {len(page.rows)} rows."
    require_that(len(page.rows) >= 600, "What a reader calls pushes nothing out of what it reads.", there, PICTURE)


@pytest.mark.any_kernel
def test_the_reader_does_not_chase_itself(tracer: Machine) -> None:
    """Reading a byte at a time ends, although each of these reads is itself recorded."""
    comm = nonce("before")
    _, answer, again = tracer.play(call("close:50", comm), step("read", TRACER, 1), read(TRACER))
    page = page_of(answer)
    require_that((rows := len(page.of(comm))) == 50, "The calls are in the log.", f"Of 50 there are {rows}.", PICTURE)
    last = [row.call for row in page.of("helper")[-1:]]
    seen, asked = f"It is {listed(last)}.", "A reader's last call in its page is that of opening it."
    require_that(listed(last).startswith("open"), asked, seen, PICTURE)
    rows = len([row for row in page_of(again).rows if row.call == "read"])
    seen = f"After many hundred of them there are {rows}."
    require_that(rows > 500, "The reads of the log are recorded like all others.", seen)


@pytest.mark.any_kernel
def test_a_file_shows_the_log_as_it_was_at_open(tracer: Machine) -> None:
    """What happens after open is not in the page, not even after a rewind; a new open shows it."""
    comms = early, late, later = nonce("early"), nonce("late"), nonce("later")
    steps = [
        call("close", early), step("open", 0, TRACER, "r"), call("close", late), step("fread", 0),
        step("rewind", 0), call("close", later), step("fread", 0), step("close", 0), read(TRACER),
    ]  # fmt: skip
    answers = tracer.play(*steps)
    first, rewound, fresh = (answers[i] for i in (3, 6, 8))
    times = ("close before it was opened", "close after that", "close after it was read")
    for page, wanted in ((first, (1, 0, 0)), (fresh, (1, 1, 1))):
        calls = [["close"] * n for n in wanted]
        require_recorded(page_of(page), zip(comms, times, calls, strict=True), AS_OPENED, PICTURE)
    require_that(rewound["text"] == first["text"], AS_OPENED, "After a rewind it reads differently.", PICTURE)


@pytest.mark.any_kernel
def test_an_open_file_keeps_its_page_while_the_log_turns_over(tracer: Machine) -> None:
    """A file that is read slowly keeps its page while the log is overwritten several times, filters included."""
    comm = nonce("turn")
    turn = call("close:3000", comm, cpu=0)
    steps = [
        write("clear", "=unlinkat block"), step("open", 0, TRACER, "r"), step("fread", 0, bytes=1000), turn,
        write("clear"), step("fread", 0), step("rewind", 0), step("fread", 0), step("close", 0),
    ]  # fmt: skip
    answers = tracer.play(*steps)
    whole = text_of(answers[2], TRACER) + text_of(answers[5], TRACER)
    differs = "Read again after a rewind it is another one."
    require_that(whole == answers[7]["text"], AS_OPENED, differs, PICTURE)
    page = page_of(answers[7])
    seen = [f"`Active Filters:` has {listed(page.filters)}, which was =unlinkat: BLOCK"]
    seen = seen if page.filters != ("=unlinkat: BLOCK",) else []
    seen += [f"There are {len(rows)} calls that were made later"] if (rows := page.of(comm)) else []
    require_none(seen, AS_OPENED, PICTURE)


def test_untrace_and_trace(tracer: Machine) -> None:
    """`untrace` stops the recording of a call, `trace` starts it again, also of calls not traced by default."""
    comms = one, two, three = nonce("one"), nonce("two"), nonce("three")
    first, second, third = (
        ("untrace close", "trace sched_yield getpgid"), ("trace close", "untrace sched_yield"), ("untrace =getpgid",),
    )  # fmt: skip
    steps = [
        write(*first), call("close,sched_yield,getpgid", one),
        write(*second), call("close,sched_yield,getpgid", two),
        write(*third), call("close,getpgid", three), read(TRACER),
    ]  # fmt: skip
    *answers, page = tracer.play(*steps)
    for answer, lines in zip(answers[::2], (first, second, third), strict=True):
        accepted(answer, *lines)
    wanted = (["sched_yield", "getpgid"], ["close", "getpgid"], ["close"])
    times = (f"close, sched_yield, getpgid after {commands(lines)}" for lines in (first, second, third))
    asked = "`untrace` stops the recording of a call, `trace` starts it again."
    require_recorded(page_of(page), zip(comms, times, wanted, strict=True), asked)


def test_the_statistics_name_what_is_traced(tracer: Machine) -> None:
    """`Traced:` names the calls that are traced just now, and no others."""
    begin, on, off = tracer.play(
        read(TRACER_STATS), write("trace getpgid", "untrace close"), read(TRACER_STATS),
        write("untrace getpgid", "trace close"), read(TRACER_STATS),
    )[::2]  # fmt: skip
    before, during, after = (stats_of(answer).traced for answer in (begin, on, off))
    assert {"openat", "read", "write", "close", "unlinkat"} <= before == after
    assert during == before - {"close", "close_range"} | {"getpgid"}


def test_untracing_one_call_leaves_its_family(tracer: Machine) -> None:
    """`untrace =NAME` stops exactly that call; tracing what is traced is no error."""
    some, every = nonce("some"), nonce("every")
    untrace, trace = "untrace =pread64", ("trace read", "trace read", "trace =pread64")
    made = "read,pread64,readv"
    _, _, traced, _, page = tracer.play(
        write(untrace), call(made, some), write(*trace), call(made, every), read(TRACER)
    )
    accepted(traced, *trace)
    wanted = (
        (some, f"{made} after {commands([untrace])}", ["read", "readv"]),
        (every, f"{made} after {commands(trace)}", ["read", "pread64", "readv"]),
    )
    require_recorded(page_of(page), wanted, "`untrace =NAME` stops the recording of exactly that call.")


def test_a_user_namespace_does_not_hide_the_user(tracer: Machine) -> None:
    """A call made inside a user namespace is recorded with the user id that the host knows."""
    comm = nonce("inside")
    inner = step("userns", script(call("close", comm)))
    steps = step("as", UID, UID, inner)
    outer, answer = tracer.play(steps, read(TRACER))
    if trouble := outer["inner"][0].get("trouble"):
        pytest.skip(f"the machine allows no user namespace: {trouble}")
    row = page_of(answer).only(comm)
    seen, hint = f"It is {row.uid} for {row.call}; expected {UID} for close.", "from_kuid(&init_user_ns, uid)"
    require_that((row.call, row.uid) == ("close", UID), "UID is the one that the host knows.", seen, hint)

"""The options of `kmodlab trace` that are strace's, beside strace itself where that can be run."""

from __future__ import annotations

import io
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kmodlab.modules import classes_gen, cli
from kmodlab.modules.changes import Changes
from kmodlab.modules.classes import CLASSES
from kmodlab.modules.live import kept, view
from kmodlab.modules.machine import HERE, Machine
from kmodlab.modules.options import OPTIONS, SORTS, Options, options, page_lines
from kmodlab.modules.output import Files
from kmodlab.modules.record import Row, rows
from kmodlab.modules.stamps import Stamps
from kmodlab.modules.tracer import Tracer
from kmodlab.modules.wanted import EVERYTHING, STATUSES, Wanted, calls, statuses
from kmodlab.modules.watch import Choice, Who
from kmodlab.paths import project_dir

from .fake_netlink import FakeKernel, item, record
from .trace_done import TRACED, Trace

SECOND = 1_000_000_000
as_root = pytest.mark.skipif(os.getuid() != 0, reason="who is not root cannot be somebody else")


def strace(*words: str) -> subprocess.CompletedProcess[str]:
    """Run strace; what it writes is on standard error."""
    return subprocess.run(["strace", *words], capture_output=True, text=True, timeout=100, check=False)


def can_strace() -> bool:
    """Return whether strace is here, and may trace."""
    return shutil.which("strace") is not None and strace("-o", "/dev/null", "true").returncode == 0


beside_strace = pytest.mark.skipif(not can_strace(), reason="strace is not here, or may not trace")


def given(*words: str, command: str = "run") -> Options:
    """Return what the options of a command line come to."""
    return options(cli.parser().parse_args([command, *words, *(["--", "true"] if command == "run" else [])]))


@pytest.fixture
def tracer(tmp_path: Path) -> Tracer:
    """A tracer that knows the calls of the kernel that is made up."""
    return Tracer(Machine(tmp_path, tmp_path / "claims", FakeKernel().link))


def row(call: str, data: bytes = b"", **fields: int) -> Row:
    """Return a record of a call as a row."""
    (one,) = rows(record(data, (), b"cat", call=FakeKernel().ids()[call], **fields))
    return one


def shown(tracer: Tracer, options: Options, *made: Row) -> str:
    """Return what is written of rows."""
    out = io.StringIO()
    found = view(tracer, options, out, lambda _: "")
    found.show(made)
    found.end()
    return out.getvalue()


# -- times -------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_kathmandu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time zone that is no whole hours off."""
    monkeypatch.setenv("TZ", "NPT-5:45")
    time.tzset()


@pytest.mark.parametrize(
    ("words", "first", "second"),
    [
        ((), "", ""),
        (("-t",), "07:31:40 ", "07:31:42 "),
        (("-tt",), "07:31:40.000001 ", "07:31:42.250001 "),
        (("-ttt",), "1000000000.000001 ", "1000000002.250001 "),
        (("-tttt",), "1000000000.000001 ", "1000000002.250001 "),
        (("-r",), "     0.000000 ", "     2.250000 "),
        (("-t", "-r"), "07:31:40 (+     0.000000) ", "07:31:42 (+     2.250000) "),
        (("-tt", "-r"), "07:31:40.000001 (+     0.000000) ", "07:31:42.250001 (+     2.250000) "),
    ],
)
@pytest.mark.usefixtures("in_kathmandu")
def test_when_a_call_was_made(words: tuple[str, ...], first: str, second: str) -> None:
    """The time is cut off, not rounded, as strace has it; what was made at the same time is no negative time apart."""
    chosen = given(*words)
    stamps = Stamps(chosen.absolute, relative=chosen.relative, epoch=SECOND * (1_000_000_000 - 1))
    assert stamps(row("read", clock=SECOND + 1999)) == first
    assert stamps(row("read", clock=3 * SECOND + 250_001_999)) == second
    assert not chosen.relative or "     0.000000" in stamps(row("read", clock=SECOND))


@beside_strace
@pytest.mark.parametrize("words", [("-t",), ("-tt",), ("-ttt",), ("-r",), ("-t", "-r"), ("-tt", "-r"), ("-ttt", "-r")])
def test_times_look_like_those_of_strace(words: tuple[str, ...]) -> None:
    theirs = strace(*words, "-e", "execve", "true").stderr.splitlines()[0].partition("execve(")[0]
    chosen = given(*words)
    ours = Stamps(chosen.absolute, relative=chosen.relative)(row("execve", clock=time.monotonic_ns()))
    assert re.sub(r"\d", "0", ours) == re.sub(r"\d", "0", theirs)


def test_the_time_goes_behind_the_process(trace: Trace) -> None:
    done = trace("calls", "run", "-tt", "-T", "-e", "read", "--", "true")
    first, second = done.err.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{6} read\(0, NULL, 0\) = -1 ENOENT \(.*\) <0\.000001>", first)
    assert re.fullmatch(r"\[pid +\d+\] \d\d:\d\d:\d\d\.\d{6} read\(0, NULL, 0\) = \? \[BLOCKED\]", second)
    assert (done.kernel["meanwhile"], done.kernel["returns"]) == ("1", "0")  # -T is --returns
    assert re.match(r"\d{10}\.\d{6} cat\[777\] ", trace("calls", "watch", "-n", "4", "-ttt").out) is None
    assert re.search(r"(?m)^cat\[777\] \d{10}\.\d{6} \w+\(", trace("calls", "watch", "-n", "4", "-ttt").out)


# -- outputs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", "|!")
def test_a_command_reads_what_is_shown(trace: Trace, mark: str) -> None:
    """It is waited for, writes where this process does, and is none of what is traced or waited for."""
    command = f"{mark}sed s/^/read:/; sleep 1; touch ended"
    words = ("run", "-e", "open", "-o", command, "--", "sh", "-c", "exit 4")
    done = trace("calls", *words, script='"$@"; s=$?; ls ended >&2; exit $s')
    assert (done.status, done.err) == (4, "ended\n")
    line = 'openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3 <1.234567>'
    assert done.out == f"read:{line}\n"
    assert done.kernel["traced"] == TRACED


def test_a_command_that_does_not_read(trace: Trace) -> None:
    """The program goes on."""
    done = trace("calls", "run", "-o", "|true", "--", "sh", "-c", "sleep 1; exit 5")
    assert (done.status, done.err) == (5, "")
    assert done.kernel["traced"] == TRACED


def test_a_command_that_does_not_end(trace: Trace, tmp_path: Path) -> None:
    """A signal ends who waits for it; it is not killed itself."""
    stubborn = "echo $$ >reader; cat >shown; touch read; until [ -e free ]; do sleep 0.1; done; touch ended"
    wait = "until [ -e {} ]; do sleep 0.1; done"
    script = f'"$@" & {wait.format("read")}; kill $!; wait $!; echo $?; ls ended; touch free; {wait.format("ended")}'
    done = trace("nothing", "run", "-o", f"|{stubborn}", "--", "true", script=script)
    assert done.out == f"{128 + signal.SIGTERM}\n"
    assert "ended" in done.err  # that was not there yet
    assert (tmp_path / "ended").exists()


def test_a_file_for_each_thread(trace: Trace, tmp_path: Path) -> None:
    """What was in one of that name is gone; lines say nothing of whose they are."""
    done = trace("calls", "run", "-ff", "-o", str(tmp_path / "out"), "-e", "open,read", "--", "true")
    assert (done.status, done.err) == (0, "")
    first, second = sorted(tmp_path.glob("out.*"), key=lambda path: int(path.suffix[1:]))
    opened, failed = first.read_text().splitlines()
    assert opened == 'openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3 <1.234567>'
    assert failed == "read(0, NULL, 0) = -1 ENOENT (No such file or directory) <0.000001>"
    assert second.read_text() == "read(0, NULL, 0) = ? [BLOCKED]\n"
    assert not (tmp_path / "out").exists()


def test_more_threads_than_files_may_be_open(tmp_path: Path) -> None:
    files = Files(str(tmp_path / "out"), most=2)
    (tmp_path / "out.1").write_text("of the last time\n")
    for tid in (1, 2, 3, 1):
        files.write(tid, f"{tid}\n")
    files.close()
    assert [(tmp_path / f"out.{tid}").read_text() for tid in (1, 2, 3)] == ["1\n1\n", "2\n", "3\n"]


# -- which calls -------------------------------------------------------------------------------------------------


def test_sets_of_calls() -> None:
    both = ("-e", "trace=%ipc,=openat", "-e", "read")
    assert given(*both).wanted == Wanted(("=openat", "read"), frozenset(CLASSES["ipc"].split()))
    assert calls(["/^(m|un)lock"]) == Wanted((), frozenset({"mlock", "mlock2", "mlockall"}))
    assert calls(["?nothing,?open"]) == Wanted((), frozenset(["nothing", *["open", "openat", "openat2", "creat"]]))
    found = calls(["!%desc,open"])
    assert found
    assert found.calls == EVERYTHING - set(CLASSES["desc"].split()) - {"open", "openat", "openat2", "creat"}
    found = calls(["%ipc", "!shmat,/get$"])
    assert found
    assert found.calls == {"msgctl", "msgrcv", "msgsnd", "semctl", "semop", "semtimedop", "shmctl", "shmdt"}
    assert calls(["all"]) == Wanted((), EVERYTHING)
    assert calls(["none"]) == Wanted()
    assert given("-t").wanted is None
    assert given("-e", "t=%net").wanted == calls(["%network"])
    assert given("-P", "/etc/passwd").wanted == calls(["%file"])


def test_a_table_of_strace_is_read() -> None:
    text = (
        '[  2] = { 3,\tTD|TF,\t\tSEN(open),\t"open"\t},\n[BASE_NR + 9] = { 4,\t0,\tSEN(futex_wake),\t"futex_wake"\t},\n'
    )
    text += '[  4] = { 2,\tTF|TST|TSTA|SI,\tSEN(stat),\t"stat"\t},\n/* [ 5] = { 2,\tTF,\tSEN(no),\t"no"\t}, */\n'
    found = classes_gen.classes([text])
    filled = {name: calls for name, calls in found.items() if calls}
    assert filled == {
        "all": {"open", "futex_wake", "stat"},
        "desc": {"open"},
        "file": {"open", "stat"},
        "stat": {"stat"},
        "%stat": {"stat"},
    }
    assert set(found) == set(CLASSES)
    made = {name: set(calls.split()) for name, calls in CLASSES.items()}
    assert classes_gen.MADE.read_text() == classes_gen.text(made)


BUSY = """
import mmap, os, signal, socket, threading
t = threading.Thread(target=print); t.start(); t.join()
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(); socket.create_connection(s.getsockname())
a, b = socket.socketpair(); a.send(b"x"); b.recv(1)
os.stat("/"); os.statvfs("/"); os.getuid(); os.pipe(); mmap.mmap(-1, 4096)
signal.signal(signal.SIGUSR1, print); os.kill(os.getpid(), 0); os.system("true")
"""
"""Calls of most classes."""


@beside_strace
def test_classes_are_those_of_strace() -> None:
    """Of each class a program's calls that strace shows are those that are of it here."""
    seen = set(re.findall(r"(?m)^(?:\d+ +)?(\w+)\(", _straced("all")))
    assert len(seen) > 40
    for name, members in CLASSES.items():
        if name == "all":
            continue
        theirs = set(re.findall(r"(?m)^(?:\d+ +)?(\w+)\(", _straced(f"%{name}")))
        assert theirs & seen == set(members.split()) & seen, name


def _straced(what: str) -> str:
    return strace("-f", "-e", f"trace={what}", "-e", "signal=none", "-o", "/dev/stderr", "python3", "-c", BUSY).stderr


def test_what_the_kernel_has_not_is_left_out(trace: Trace) -> None:
    """Of a class the calls are traced that there are; all is put back."""
    done = trace("calls", "run", "-e", "%file,?nothing", "--", "true")
    assert [line.partition("(")[0] for line in done.err.splitlines()] == ["execve", "openat"]
    started = {name for call, values in done.asked if values["traced"] for name in values["name"]}
    assert {"=openat", "=execve", "=unlink", "=nothing"} <= started
    assert done.kernel["traced"] == TRACED
    done = trace("calls", "run", "-e", "!%file,close", "--", "true")
    assert [line.partition("(")[0].split()[-1] for line in done.err.splitlines()] == ["read", "read"]
    assert trace("calls", "run", "-e", "none", "--", "true").err == ""
    assert trace("calls", "watch", "-e", "/^read$", "-n", "3").out.count(" read(") == 3


def test_calls_of_which_one_is_refused(tmp_path: Path) -> None:
    """However many are wanted, those that there are get traced, and put back."""
    kernel = FakeKernel()
    (tmp_path / "parameters").mkdir()
    changes = Changes(Tracer(Machine(tmp_path, tmp_path / "claims", kernel.link)))
    changes.trace_some(["openat", "gone", "close", "never", "connect"])
    assert {name for name, on in kernel.calls.items() if on} == {"read", "openat", "close", "connect"}
    changes.restore()
    assert {name for name, on in kernel.calls.items() if on} == {"read"}


# -- how calls ended, and what they name -------------------------------------------------------------------------

ENDED = {
    "successful": ("read", {"ret": 5, "flags": 1}),
    "failed": ("close", {"ret": -9, "flags": 1}),
    "unfinished": ("getppid", {}),
    "blocked": ("connect", {"ret": -13, "flags": 4, "status": 1}),
}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("-z",), ["read"]),
        (("-Z",), ["close", "connect"]),
        (("-z", "-Z"), ["close", "connect"]),
        (("-Z", "-z"), ["read"]),
        (("-e", "status=unfinished,successful"), ["read", "getppid"]),
        (("-e", "status=!failed"), ["read", "getppid"]),
        (("-e", "status=none"), []),
        (("-e", "status=detached,unavailable"), []),
        (("-e", "status=all"), ["read", "close", "getppid", "connect"]),
    ],
)
def test_how_calls_have_ended(tracer: Tracer, words: tuple[str, ...], names: list[str]) -> None:
    chosen = given(*words)
    made = [row(call, b"", **fields) for call, fields in ENDED.values()]
    assert re.findall(r"(?m)^\w+", shown(tracer, chosen, *made)) == names
    assert [one for one in made if kept(tracer, chosen)(one)] == [
        one for one in made if tracer.signature(one).name in names
    ]
    assert chosen.returns


@beside_strace
def test_strace_has_the_same_statuses() -> None:
    for word in (*STATUSES, "all", "none", "!failed"):
        assert strace("-e", f"status={word}", "true").returncode == 0, word
        statuses([word])


PATHS = [b"/etc/passwd", b"/etc/passwd2", b"/" + b"x" * 123, b"passwd"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("-P", "/etc/passwd"), [0]),
        (("-P", "/etc/../etc/passwd"), [0]),
        (("-P", "passwd"), [3]),
        (("-P", "passwd", "-P", "/etc/passwd2"), [1, 3]),
        (("-P", "/" + "x" * 140), [2]),
        (("-P", "/" + "x" * 120), []),
        (("-P", "/nowhere"), []),
    ],
)
def test_calls_that_name_a_path(tracer: Tracer, words: tuple[str, ...], names: list[int]) -> None:
    """As the caller wrote it, or where that leads to; of a path that was cut what is left is compared."""
    made = [row("openat", item(1, path), flags=16 if len(path) == 124 else 0, tid=at) for at, path in enumerate(PATHS)]
    made.append(row("read"))
    out = shown(tracer, given(*words), *made)
    expected = [f'"{PATHS[at].decode()}"{"..." if at == 2 else ""}' for at in names]
    assert re.findall(r'"[^"]*"(?:\.\.\.)?', out) == expected
    assert shown(tracer, given(*words, "-c"), *made).splitlines()[-1].split()[3] == str(len(names))


def test_some_calls_of_a_program(trace: Trace) -> None:
    done = trace("calls", "run", "-P", "/etc/passwd", "--", "true")
    assert done.err.splitlines() == ['openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3 <1.234567>']
    done = trace("calls", "run", "-Z", "-e", "open,read", "--", "true")
    assert done.err.splitlines() == ["read(0, NULL, 0) = -1 ENOENT (No such file or directory) <0.000001>"]
    assert done.kernel["meanwhile"] == "1"
    done = trace("calls", "watch", "-Z", "-T", "-n", "1")
    assert done.out == "cat[777] read(0, NULL, 0) = -1 ENOENT (No such file or directory) <0.000001>\n"
    assert done.status == 0


def test_who_reads_is_not_watched() -> None:
    """Nor are its children: what they do to show a call would be calls to show."""
    made = [row("read", b"", pid=pid, ppid=ppid) for pid, ppid in ((os.getpid(), 1), (5, 1), (6, 5), (7, 6), (8, 1))]
    assert Choice(Who(), None, lambda _: True, reader=5)(made) == made[3:]


# -- tables ------------------------------------------------------------------------------------------------------

MADE = [
    ("read", {"latency": 4000, "flags": 1}),
    ("close", {"latency": 3000, "flags": 1, "ret": -9}),
    ("close", {"latency": 2000, "flags": 1, "ret": -9}),
    ("openat", {"latency": 4500, "flags": 1, "ret": -2}),
    ("openat", {"latency": 500, "flags": 1}),
    ("openat", {"latency": 500, "flags": 1}),
]


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("time", ["openat", "close", "read"]),
        ("min-time", ["read", "close", "openat"]),
        ("max-time", ["openat", "read", "close"]),
        ("avg-time", ["read", "close", "openat"]),
        ("calls", ["openat", "close", "read"]),
        ("errors", ["close", "openat", "read"]),
        ("name", ["close", "openat", "read"]),
        ("nothing", ["read", "close", "openat"]),
    ],
)
def test_a_table_is_sorted(tracer: Tracer, sort: str, names: list[str]) -> None:
    made = [row(call, b"", **fields) for call, fields in MADE]
    lines = shown(tracer, given("-c", "-S", sort), *made).splitlines()
    assert [line.split()[-1] for line in lines[2:-2]] == names
    assert lines[-1] == "100.00    0.000015           2         6         3 total"


@beside_strace
def test_strace_sorts_by_the_same_words(tracer: Tracer) -> None:
    for word in SORTS:
        assert strace("-c", "-S", word, "true").returncode == 0, word
    theirs = strace("-c", "-S", "name", "-e", "read,openat,close", "true").stderr.splitlines()
    ours = shown(tracer, given("-c", "-S", "name"), *(row(call, b"", **fields) for call, fields in MADE)).splitlines()
    assert ours[:2] == theirs[:2]
    assert (ours[-2], [line.split()[-1] for line in ours]) == (theirs[-2], [line.split()[-1] for line in theirs])
    assert {len(line.rpartition(" ")[0]) for line in theirs[2:]} == {len(line.rpartition(" ")[0]) for line in ours[2:]}


def test_calls_and_their_table(trace: Trace) -> None:
    """What -Z leaves out of the lines is counted, as strace counts it."""
    done = trace("calls", "run", "-C", "-Z", "-S", "calls", "-e", "open,read", "--", "true")
    lines = done.err.splitlines()
    assert lines[0] == "read(0, NULL, 0) = -1 ENOENT (No such file or directory) <0.000001>"
    assert lines[1].startswith("% time")
    assert [line.split()[-1] for line in lines[3:5]] == ["read", "openat"]
    assert lines[-1] == "100.00    1.234569      411522         3         1 total"


# -- quiet -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("-c",)])
def test_losses_are_told_of_with_fewer_words(trace: Trace, words: tuple[str, ...]) -> None:
    hint = "larger log_entries"
    assert hint in trace("losses", "run", *words, "--", "true").err
    done = trace("losses", "run", "-q", *words, "--", "true")
    assert sum(map(int, re.findall(r"kmodlab: (\d+) records were lost", done.err))) == 4
    assert hint not in done.err
    done = trace("losses", "run", "-qq", *words, "--", "true")
    assert done.err.splitlines()[-1] == "kmodlab: 4 records were lost, of whatever process"
    assert done.err.count("lost") == 1


# -- the program -------------------------------------------------------------------------------------------------


@beside_strace
def test_the_environment_is_that_of_strace(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GONE", "before")
    monkeypatch.setenv("OTHER", "before")
    words = ("-E", "GONE", "-E", "NEW=a=b", "-E", "OTHER=x", "-E", "OTHER=y", "-E", "EMPTY=")
    ours = trace("nothing", "run", *words, "--", "sh", "-c", "env | grep -E '^(GONE|NEW|OTHER|EMPTY)=' | sort").out
    theirs = strace("-o", "/dev/null", *words, "sh", "-c", "env | grep -E '^(GONE|NEW|OTHER|EMPTY)=' | sort").stdout
    assert ours == theirs == "EMPTY=\nNEW=a=b\nOTHER=y\n"


AS_SOMEBODY = """
import os, signal, sys
from kmodlab.modules.program import Identity, Program
before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
for file, *words in (["/usr/bin/id"], ["/usr/bin/grep", "SigBlk", "/proc/self/status"]):
    os.waitpid(Program(file, [file, *words], before, Identity(user=sys.argv[1])).pid, 0)
"""
"""A process that blocks a signal, and starts programs as another user that do not."""


@as_root
def test_the_program_is_somebody_else(trace: Trace, tmp_path: Path) -> None:
    """With all groups of that user, and with no more signals blocked than before."""
    name = next(one.pw_name for one in pwd.getpwall() if one.pw_name in ("nobody", "daemon"))
    become = ["setpriv", f"--reuid={name}", "--init-groups", "--regid", str(pwd.getpwnam(name).pw_gid)]
    theirs = subprocess.run([*become, "id"], capture_output=True, text=True, check=True).stdout
    done = trace("nothing", "run", "-u", name, "--", "sh", "-c", "id; exit 3")
    assert (done.status, done.out) == (3, theirs), done.err
    python = ["setpriv", "--groups", "7,8", sys.executable, "-c", AS_SOMEBODY, name]
    env = {**os.environ, "PYTHONPATH": str(project_dir() / "src")}
    out = subprocess.run(python, env=env, capture_output=True, text=True, check=True).stdout
    assert out == f"{theirs}SigBlk:\t{0:016x}\n"
    (tmp_path / "closed").write_text("#!/bin/sh\n")
    (tmp_path / "closed").chmod(0o700)
    done = trace("nothing", "run", "-u", name, "--", "./closed")
    assert (done.status, done.kernel["traced"]) == (126, TRACED)
    assert done.err == (
        "kmodlab: error: ./closed cannot be started: Permission denied\n"
        f"  hint: may {name} execute it? Who is not root cannot be somebody else\n"
    )


# -- bad values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-e", "%flie"), "-e: there is no class %flie\n  hint: did you mean %file"),
        (
            ("-e", "/["),
            "-e: /[ is no regular expression: unterminated character set at position 0\n  hint: for",
        ),
        (("-e", "!opne"), "-e: there is no system call opne\n  hint: did you mean open"),
        (("-e", "!"), "-e: a name is missing\n  hint: for instance"),
        (("-e", "signal=SIGIO"), "-e signal=SIGIO: signal= selects nothing here\n  hint: trace= and status= do"),
        (("-e", "status=filed"), "-e status=filed: 'filed' is no status\n  hint: those are all, none, successful"),
        (("-e", "file"), "this kernel has no system call file\n  hint: did you mean %file"),
        (("-P", ""), "-P: a path is missing\n  hint: for instance"),
        (("-o", "|"), "-o: there is no command behind the |\n  hint: for instance"),
        (("-ff", "-o", "no/such"), "no/such.TID cannot be written: there is no directory no\n  hint: mkdir -p no"),
        (("-ff",), "-ff: there is no name for the files\n  hint: -o NAME makes NAME.TID"),
        (("-ff", "-o", "|cat"), "-ff: a command takes no files\n  hint: -o NAME"),
        (("-ff", "-o", "x", "-c"), "-ff: -c and -C count all threads together\n  hint: leave out"),
        (("-ff", "-o", "x", "--json"), "-ff: --json has one file\n  hint: each line has its `tid`"),
        (("-r", "--json"), "-t and -r are for lines\n  hint: each line of --json"),
        (("-C", "--json"), "-C: --json is either calls or counts\n  hint: -c counts"),
        (("-c", "-C"), "-c shows no calls, and -C does\n  hint: leave out"),
        (("-c", "-t"), "-t and -r show nothing beside -c\n  hint: -C shows"),
        (("-S", "time"), "-S: there is no table to sort\n  hint: -c makes one"),
        (("-c", "-S", "nmae"), "-S nmae: nothing to sort by\n  hint: did you mean name?"),
        (("-E", "=x"), "-E =x: there is no name\n  hint: -E NAME=VALUE"),
        (("-u", "no-such-user"), "-u: there is no user no-such-user\n  hint: `getent passwd`"),
    ],
)
def test_values_that_make_no_sense(trace: Trace, words: tuple[str, ...], message: str) -> None:
    done = trace("nothing", "run", *words, "--", "true")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"kmodlab: error: {message}")
    assert done.err.count("\n") == 2
    assert (done.kernel["traced"], bool(done.asked)) == (TRACED, words == ("-e", "file"))


def test_one_f_changes_nothing() -> None:
    assert given("-f") == given()
    assert given("-ftT", "-e", "read") == given("-t", "--returns", "-e", "read")


# -- help --------------------------------------------------------------------------------------------------------


def test_help_says_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help"], HERE) == 0
    text = capsys.readouterr().out
    words = " ".join(text.split())
    for option in OPTIONS:
        assert f"\n{option.letters}\n" in text
        assert f" {option.text}." in words
        assert not option.unlike or f"Unlike strace: {option.unlike}" in words


def test_the_page_says_the_same() -> None:
    page = (project_dir() / "docs" / "trace.md").read_text()
    assert "\n".join(page_lines()) in page


def test_each_command_has_its_options_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("run", "watch"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"], HERE)
        listed = set(re.findall(r"(?m)^  (--?[\w]+)", capsys.readouterr().out))
        assert listed & {each.flag for each in OPTIONS} == {each.flag for each in OPTIONS if command in each.commands}

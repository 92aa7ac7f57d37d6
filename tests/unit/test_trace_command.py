"""`kmodlab trace` as a user meets it, with real programs and a kernel that is made up (trace_driver.py)."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path

import pytest

from .trace_done import TRACED, Trace


def test_the_calls_of_a_program(trace: Trace) -> None:
    """Not those of its process before its exec, and not those of others; its output is left alone."""
    done = trace("calls", "run", "-e", "open,=read,exec,close", "--", "sh", "-c", "echo out; exit 7")
    assert (done.status, done.out) == (7, "out\n")
    first, second, third, fourth = done.err.splitlines()
    assert first == "execve(NULL, NULL, NULL) = 0 <0.005000>"
    assert second == 'openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3 <1.234567>'
    assert third == "read(0, NULL, 0) = -1 ENOENT (No such file or directory) <0.000001>"
    assert re.fullmatch(r"\[pid +\d+\] read\(0, NULL, 0\) = \? \[BLOCKED\]", fourth)


def test_only_what_was_asked_for_is_shown_and_all_is_put_back(trace: Trace) -> None:
    done = trace("calls", "run", "-e", "trace=open", "--returns", "--", "true")
    assert (done.status, done.err.count("\n")) == (0, 1)
    assert done.err.startswith("openat(")
    assert done.asked[0] == ("call-set", {"name": ["open", "exec", "fork"], "traced": 1})
    assert done.asked[1] == ("call-set", {"name": ["=clone", "=execve", "=openat"], "traced": 0})
    assert (done.kernel["traced"], done.kernel["returns"]) == (TRACED, "0")


def test_returns_that_were_on_stay_on(trace: Trace) -> None:
    assert trace("nothing", "run", "--returns", "--", "true", returns="1").kernel["returns"] == "1"


def test_without_a_choice_it_shows_what_is_traced_and_exec(trace: Trace) -> None:
    done = trace("calls", "run", "--", "true")
    assert [line.partition("(")[0].rpartition(" ")[2] for line in done.err.splitlines()] == ["execve", "read", "read"]


def test_what_comes_late_from_another_cpu_is_shown_in_its_place(trace: Trace) -> None:
    done = trace("late", "run", "-e", "exec,read,close", "--", "true")
    assert [line.partition("(")[0] for line in done.err.splitlines()] == ["execve", "read", "close"]


def test_numbers_stay_numbers_where_they_are_asked_for(trace: Trace) -> None:
    done = trace("calls", "run", "--raw", "-e", "open", "--", "sh", "-c", "exit 7")
    assert 'openat(AT_FDCWD, "/etc/passwd", 0x0, 00) = 3 <1.234567>' in done.err.splitlines()


def test_calls_as_json(trace: Trace, tmp_path: Path) -> None:
    file = tmp_path / "calls"
    done = trace("calls", "run", "--json", "-o", str(file), "-e", "open,read", "--", "true")
    assert done.err == ""
    opened, failed, blocked = map(json.loads, file.read_text().splitlines())
    assert (opened["call"], opened["arguments"][1], opened["returned"]) == ("openat", '"/etc/passwd"', 3)
    assert (opened["arguments"][2:], opened["symbols"][2:]) == (["0x0", "00"], ["O_RDONLY"])
    assert (failed["error"], failed["latency"], failed["comm"]) == ("ENOENT", 1000, "cat")
    assert (blocked["blocked"], blocked["returned"], blocked["ppid"]) == (True, None, opened["pid"])


def test_a_summary(trace: Trace) -> None:
    done = trace("calls", "run", "-c", "-e", "open,read", "--", "true")
    assert done.err.splitlines() == [
        "% time     seconds  usecs/call     calls    errors syscall",
        "------ ----------- ----------- --------- --------- ----------------",
        "100.00    1.234568     1234567         1           openat",
        "  0.00    0.000001           0         2         1 read",
        "------ ----------- ----------- --------- --------- ----------------",
        "100.00    1.234569      411522         3         1 total",
    ]
    assert (done.kernel["meanwhile"], done.kernel["returns"]) == ("1", "0")
    done = trace("calls", "run", "-c", "--json", "-e", "open", "--", "true")
    assert json.loads(done.err) == {"calls": {"openat": {"calls": 1, "errors": 0, "ns": 1234567890}}, "lost": 0}


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_lost_records_are_told_by_number(trace: Trace, words: tuple[str, ...]) -> None:
    done = trace("losses", "run", *words, "--", "true")
    assert done.status == 0
    assert sum(map(int, re.findall(r"kmodlab: (\d+) records were lost", done.err))) == 4
    assert "larger log_entries" in done.err
    assert sum(map(int, re.findall(r'(?m)^\{"lost":(\d+)\}$', done.err))) == (4 if words else 0)


def test_a_summary_says_that_it_lacks_records(trace: Trace) -> None:
    assert "kmodlab: 4 records were lost" in trace("losses", "run", "-c", "--", "true").err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_dies_of_what_the_program_has_died_of(trace: Trace, number: signal.Signals) -> None:
    done = trace("calls", "run", "-e", "open", "--", "sh", "-c", f"kill -{number} $$")
    assert done.status == -number
    assert done.err.startswith("openat(")
    assert done.kernel["traced"] == TRACED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_and_all_is_put_back(trace: Trace, number: signal.Signals) -> None:
    code = f"import os, time; os.kill(os.getppid(), {number}); time.sleep(60)"
    done = trace("calls", "run", "-e", "open", "--returns", "--", sys.executable, "-c", code)
    assert done.status in (-number, 1)  # Python itself dies of SIGINT, after an exception
    assert "openat(" in done.err
    assert (done.kernel["traced"], done.kernel["returns"]) == (TRACED, "0")


def test_a_second_signal_ends_the_tracing_of_a_stubborn_program(trace: Trace, tmp_path: Path) -> None:
    stubborn = 'trap "" TERM; kill -TERM $PPID; sleep 1; kill -TERM $PPID; sleep 1; touch alive'
    done = trace("calls", "run", "-e", "open", "--", "sh", "-c", stubborn, script='"$@"; s=$?; sleep 2; exit $s')
    assert done.status == 128 + signal.SIGTERM
    assert done.kernel["traced"] == TRACED
    assert (tmp_path / "alive").exists()


def test_orphans_are_waited_for(trace: Trace) -> None:
    orphan = "(sleep 1; touch late) & exit 3"
    done = trace("nothing", "run", "--", "sh", "-c", orphan, script='"$@"; echo $?; ls late')
    assert (done.status, done.out) == (0, "3\nlate\n")


def test_the_module_is_unloaded_meanwhile(trace: Trace) -> None:
    done = trace("gone", "run", "-e", "open", "--returns", "--", "sleep", "2")
    assert (done.status, done.err) == (3, "kmodlab: error: the module syscall_tracer was unloaded meanwhile\n")


def test_nobody_reads_what_is_shown(trace: Trace) -> None:
    """The program goes on, and its status is passed on."""
    done = trace(
        "calls", "run", "--", "sh", "-c", "sleep 1; exit 5", script='exec 3>&1; { "$@" 2>&1 >&3; echo $? >&3; } | true'
    )
    assert done.out == "5\n"
    assert done.kernel["traced"] == TRACED


def test_programs_that_cannot_be_started(trace: Trace, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/no/such/interpreter\n")
    (tmp_path / "script").chmod(0o755)
    (tmp_path / "text").write_text("text")
    (tmp_path / "empty").touch(0o755)
    for word, status, message in (
        ("no-such-program", 127, "no-such-program: no such program\n  hint: its options go behind it"),
        ("./none", 127, "./none: no such program"),
        ("./text", 126, "./text is not executable\n  hint: chmod +x ./text"),
        ("./script", 127, "./script cannot be started: No such file or directory\n  hint: is the interpreter"),
        ("./empty", 126, "./empty cannot be started: Exec format error"),
        ("./", 126, "./ is a directory"),
    ):
        done = trace("nothing", "run", "--", word)
        assert done.status == status, done.err
        assert done.err.startswith(f"kmodlab: error: {message}")
        assert done.kernel["traced"] == TRACED


def test_words_that_make_no_sense(trace: Trace) -> None:
    for words, message in (
        (("run",), "there is no program to trace"),
        (("run", "-e", "opne", "--", "true"), "this kernel has no system call opne\n  hint: did you mean open"),
        (("run", "-e", "open,", "--", "true"), "-e: a name is missing"),
        (("run", "-o", "/no/such/file", "--", "true"), "/no/such/file cannot be written: No such file or directory"),
        (("filter", "add", "unlink"), "'unlink' is no filter\n  hint: NAME block"),
    ):
        done = trace("nothing", *words)
        assert (done.status, done.out) == (2, "")
        assert done.err.startswith(f"kmodlab: error: {message}")
        assert done.kernel["traced"] == TRACED


def test_the_filters(trace: Trace) -> None:
    done = trace("nothing", "filter", "add", "getppid", "block", "path=/x")
    assert (done.status, done.err) == (
        1,
        "kmodlab: error: the filter `getppid: BLOCK path=/x` is refused: it takes no path (EINVAL)\n",
    )
    done = trace("nothing", "filter", "add", "unlink block uid=7")
    assert done.kernel["asked"] == [["filter-add", {"name": "unlink", "verdict": 1, "uid": 7}]]
    assert trace("nothing", "filter", "list").out == "No filters active\n"
    assert trace("nothing", "filter", "list", "--json").out == "[]\n"
    assert "no such filter (ENOENT)" in trace("nothing", "filter", "delete", "unlink").err
    assert trace("nothing", "filter", "clear").kernel["asked"] == [["filter-clear", {}]]


def test_the_status(trace: Trace) -> None:
    done = trace("nothing", "status")
    assert done.out.splitlines()[:2] == ["version   1.0.0, hooked by ftrace", "mode      enforcing, 0 filters"]
    assert done.out.splitlines()[-1] == "traced    read"
    done = trace("nothing", "status", "--json")
    assert json.loads(done.out)["traced"] == TRACED


def test_watching_shows_whose_call_it_is_until_there_were_enough(trace: Trace) -> None:
    done = trace("calls", "watch", "-n", "4")
    assert done.status == 0
    lines = done.out.splitlines()
    assert sorted(lines)[:3] == [
        "cat[777] close(0) = ?",
        "cat[777] execve(NULL, NULL, NULL) = 0 <0.005000>",
        'cat[777] openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3 <1.234567>',
    ]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("--pid", "777"), 4),
        (("--pid", "777", "--pid", "778"), 5),
        (("--comm", "other"), 1),
        (("--uid", "0", "-e", "read"), 3),
        (("--uid", "1"), 0),
        (("-e", "=read", "--pid", "778"), 1),
    ],
)
def test_watching_some(trace: Trace, words: tuple[str, ...], count: int) -> None:
    """Ended by a signal it has shown all there was, and put everything back."""
    done = trace("interrupted", "watch", *words, "--returns")
    assert done.status == 130, done.err
    assert done.err.startswith("kmodlab: 1 records were lost")
    assert len(done.out.splitlines()) == count
    assert (done.kernel["traced"], done.kernel["returns"]) == (TRACED, "0")


def test_watching_ends_when_nobody_reads(trace: Trace) -> None:
    for scene in ("calls", "nothing"):
        done = trace(scene, "watch", "-e", "open,read", "--json", script='{ "$@"; echo $? >&2; } | true')
        assert done.err == "0\n"
        assert done.kernel["traced"] == TRACED


def test_a_reader_that_has_gone_is_no_error(trace: Trace) -> None:
    done = trace("nothing", "status", script='{ sleep 0.5; "$@"; echo $? >&2; } | sh -c "exec <&-; sleep 3"')
    assert done.err == "0\n"

"""How the benchmark measures, without a guest: the rows' scripts, and what is read from their output."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from bench import harness, instructions
from bench.figures import LOOPS, Count, Row, Session
from bench.guest import listen
from bench.tracers import CALLS, TRACERS, Tracer

from kmodlab.errors import LabError

ROWS = pytest.mark.parametrize("tracer", TRACERS, ids=lambda tracer: tracer.key)


def _output(*more: str) -> str:
    lines = []
    for kind, ns in (("plain", 361000), ("load", 541000), ("plain", 363000)):
        for workload, threads in LOOPS:
            lines += [f"{kind} {workload} {threads} 1000 {ns + noise}" for noise in (0, 1000, 9000000)]
    lines += [f"issued {call} 3000" for call in CALLS]
    return "\n".join([*lines, "cpus=2", *more])


def test_a_session_is_read_from_what_its_script_prints() -> None:
    session = harness.parse(_output("event total 12000", "lost 3", "lost 4"))
    assert session.plain["getppid:1"] == 363.5
    assert session.traced["openat:2"] == 542.0
    assert session.rate == {"getppid:1": 282380, "openat:1": 282380}
    assert session.issued["close"] == 3000
    assert session.events == {"total": 12000}
    assert session.lost == 7


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["event total 0"], "nothing was traced: total"),
        (["event getppid 3000", "event openat 5", "event close 5"], "nothing was traced: unlinkat"),
        ([], "nothing was traced: getppid, openat, close, unlinkat"),
        (["error it ended before it was ready: no permission"], "it ended before it was ready: no permission"),
    ],
)
def test_a_tracer_that_did_not_trace_is_no_figure(lines: list[str], message: str) -> None:
    with pytest.raises(LabError) as caught:
        harness.parse(_output(*lines))
    assert caught.value.message == message


def test_the_chunks_are_those_alone_and_those_with_the_tracer() -> None:
    chunks = harness.read_chunks(_output("event total 12000"))
    assert chunks["load"]["getppid:1"] == [(1000, 541000), (1000, 542000), (1000, 9541000)]
    assert len(chunks["plain"]["getppid:1"]) == 6
    assert Count.of(chunks["plain"]["openat:2"]).least == 361000


@ROWS
def test_a_loop_that_is_counted_is_the_same_with_the_tracer_and_without(tracer: Tracer) -> None:
    words = instructions.loads(tracer.pace)
    assert [word.partition(":")[0] for word in words] == ["getppid", "openat", "unlink", "untraced"]
    assert all(int(word.split(":")[2]) >= 7 for word in words)
    assert harness.script(tracer, words).count(" ".join(["./load", *words])) == 2


def test_a_load_that_did_not_run_is_no_figure() -> None:
    with pytest.raises(LabError, match="the workload did not run"):
        harness.parse("event total 7")


@ROWS
def test_a_script_is_bash_that_shellcheck_accepts(tracer: Tracer, tmp_path: Path) -> None:
    file = tmp_path / "script"
    parts = [harness.script(tracer), tracer.absent, tracer.version]
    file.write_text("#!/bin/bash\n" + "\n".join(parts) + "\n")
    # Not followed is lib.sh, which sets and reads variables, too.
    command = ["shellcheck", "-S", "warning", "-e", "SC1091,SC2154,SC2034,SC2046", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@ROWS
def test_a_tracer_runs_between_the_loops_alone_and_is_taken_back(tracer: Tracer) -> None:
    lines = harness.script(tracer).splitlines()
    assert lines.index("trap undo EXIT") < lines.index("alone")
    assert lines[-2:] == ["undo", "alone"]
    assert len([line for line in lines if line == "alone"]) == 2
    undo = next(line for line in lines if line.startswith("undo()"))
    assert all(command in undo for command in tracer.after.splitlines())
    assert tracer.before or tracer.command


def test_the_keys_are_different() -> None:
    assert len({tracer.key for tracer in TRACERS}) == len(TRACERS)


def test_a_reader_is_given_enough_to_overrun_its_buffers() -> None:
    words = harness.loads("reader", traced=True, reads=True)
    assert words[0] == f"getppid:1:40000:{harness.CHUNKS}"
    assert harness.loads("reader", traced=False, reads=False) == harness.loads("fast", traced=True, reads=False)
    assert [word.rsplit(":", 2)[0] for word in words] == [f"{name}:{threads}" for name, threads in LOOPS]


class StubLaboratory:
    """Tracers that answer at once; `failing` fails each time, `absent` is not there."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def row(self, tracer: Tracer) -> Row:
        """Return an empty row."""
        why = "not there" if tracer.key == "absent" else ""
        return Row(tracer.key, tracer.label, tracer.group, tracer.sees, tracer.shown, absent=why)

    def session(self, tracer: Tracer) -> Session:
        """Return a session, or fail."""
        self.calls.append(tracer.key)
        if tracer.key == "failing":
            raise LabError("nothing was traced", output="its\nwords\n")
        return Session({"getppid:1": 361}, {"getppid:1": 541})


def test_tracers_take_turns_and_one_that_fails_twice_is_left_out() -> None:
    tracers = [Tracer(key, key, "peer", "", "") for key in ("one", "failing", "absent", "two")]
    laboratory = StubLaboratory()
    rows = harness.measure(laboratory, tracers, 4)  # type: ignore[arg-type]  # as far as it is used
    assert laboratory.calls == ["one", "failing", "two", "failing", "two", "one", "two", "one", "two", "one"]
    assert [(row.key, len(row.sessions), row.absent) for row in rows] == [
        ("one", 4, ""),
        ("failing", 0, ""),
        ("absent", 0, "not there"),
        ("two", 4, ""),
    ]
    assert rows[1].failures == ["nothing was traced: its\nwords"] * 2


@pytest.fixture
def library(tmp_path: Path) -> Callable[[str], str]:
    """Runs a line of bash with the functions of lib.sh."""

    def run(line: str) -> str:
        text = f". {harness.HERE}/guest/lib.sh; OUT={tmp_path}; echo its words >$OUT/err; {line}"
        return subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False).stdout

    return run


def test_a_program_that_ends_too_soon_is_not_waited_for(library: Callable[[str], str]) -> None:
    assert library("true & pid=$!; wait_until ready false; echo after") == (
        "error it ended before it was ready: its words \n"
    )
    assert library("sleep 60 & pid=$!; wait_until ready true; end TERM; echo after $pid") == "after\n"


def test_a_file_is_steady_once_it_no_longer_grows(library: Callable[[str], str]) -> None:
    grow = "(for i in 1 2 3; do echo $i; sleep 0.3; done) >$OUT/out & pid=$!"
    assert library(f"{grow}; until steady $OUT/out; do :; done; tail -n 1 $OUT/out") == "3\n"


def _record(seq: int, call: int, data: bytes = b"") -> bytes:
    """A struct sct_record as docs/abi.md has it."""
    head = struct.pack(
        "=QQQq6QQIIIIHHBBH16s", seq, 1, 0, 0, *range(6), 2, 3, 3, 1, 0, call, 0, 0, 0, len(data), b"load"
    )
    return head + data + b"\0" * (-len(data) % 8)


def _batch(cpu: int, *records: bytes) -> bytes:
    content = b"".join(records)
    attributes = struct.pack("=HHI", 8, 1, cpu) + struct.pack("=HHI", 8, 2, 0)
    attributes += struct.pack("=HH", 4 + len(content), 3) + content
    return struct.pack("=IHHIIBBH", 20 + len(attributes), 30, 0, 0, 0, 9, 1, 0) + attributes


def test_the_listener_counts_what_it_keeps_and_what_is_missing() -> None:
    path = b"\1\0\3\0abc"
    datagrams = [
        _batch(0, _record(5, 1), _record(6, 1), _record(7, 2)),
        _batch(1, _record(90, 3, path), _record(91, 1)),
        _batch(0, _record(10, 1), _record(11, 1)),
        _batch(1, _record(92, 3, path), _record(95, 3)),
        _batch(1),
    ]
    calls, lost = listen.count(datagrams)
    assert calls == {1: 5, 2: 1, 3: 3}
    assert lost == 2 + 2


def test_plain_records_are_not_walked_one_by_one() -> None:
    assert listen.last_of_plain(_record(5, 1) + _record(6, 1)) == 6
    assert listen.last_of_plain(_record(5, 1) + _record(7, 1)) is None
    assert listen.last_of_plain(_record(5, 1, b"x" * 8) + _record(6, 1)) is None
    assert listen.last_of_plain(_record(5, 1, b"x" * 128) + _record(6, 1)) is None


def test_messages_of_an_answer_are_told_apart() -> None:
    datagram = struct.pack("=IHHII", 19, 30, 0, 0, 0) + b"abc\0" + struct.pack("=IHHII", 16, 3, 0, 0, 0)
    assert list(listen.messages(datagram)) == [(30, b"abc"), (3, b"")]

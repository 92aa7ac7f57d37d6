"""Running programs, deadlines and locks, all with real processes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest
from patience import SECONDS

from kmodlab.errors import LabError
from kmodlab.process import Deadline, finish, locked, run, tail

from .conftest import FakeProgram


def test_run_returns_standard_output_alone() -> None:
    assert run(["sh", "-c", "echo out; echo err >&2"]) == b"out\n"


def test_run_feeds_standard_input_and_adds_to_the_environment() -> None:
    assert run(["sh", "-c", 'cat; echo "$ANSWER $HOME"'], stdin=b"in ", env={"ANSWER": "42"}) == (
        f"in 42 {os.environ['HOME']}\n".encode()
    )


def test_run_without_input_reads_nothing_from_the_terminal() -> None:
    assert run(["cat"]) == b""


def test_a_failed_program_is_told_in_full() -> None:
    with pytest.raises(LabError) as caught:
        run(["sh", "-c", "echo out; echo 'it is broken' >&2; exit 7"], hint="mend it")
    error = caught.value
    assert error.message == "sh failed"
    assert error.command == "sh -c 'echo out; echo '\"'\"'it is broken'\"'\"' >&2; exit 7'"
    assert (error.exit_code, error.output, error.hint) == (7, "it is broken\n", "mend it")


def test_a_failed_program_that_is_silent_on_stderr_shows_its_output() -> None:
    with pytest.raises(LabError) as caught:
        run(["sh", "-c", "echo to stdout; exit 1"], what="the check failed")
    assert (caught.value.message, caught.value.output) == ("the check failed", "to stdout\n")


def test_a_log_takes_both_streams_and_the_error_points_to_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    assert run(["sh", "-c", "echo out; echo err >&2"], log=log) == b""
    assert log.read_text() == "before\nout\nerr\n"
    with pytest.raises(LabError) as caught:
        run(["sh", "-c", "echo last; exit 2"], log=log)
    assert (caught.value.log, caught.value.output) == (log, "before\nout\nerr\nlast")


def test_a_program_killed_by_a_signal_has_a_negative_status() -> None:
    with pytest.raises(LabError) as caught:
        run(["sh", "-c", "kill -9 $$"])
    assert caught.value.exit_code == -signal.SIGKILL


def test_a_missing_program_is_named_with_where_to_look() -> None:
    with pytest.raises(LabError) as caught:
        run(["no-such-program", "--version"])
    assert caught.value.message == "no-such-program is not installed"
    assert caught.value.command == "no-such-program --version"
    assert "kmodlab doctor" in (caught.value.hint or "")


def test_a_program_that_may_not_be_run_is_an_error_of_the_lab(fake_program: FakeProgram) -> None:
    program = fake_program("unwilling", "exit 0")
    program.chmod(0o644)
    with pytest.raises(LabError, match="unwilling cannot be run: Permission denied"):
        run([program])


INTERRUPTED = """
import sys
from kmodlab.process import run
run(["sh", "-c", sys.argv[1]])
"""


@pytest.mark.parametrize("manners", ["", "trap '' TERM;"], ids=["polite", "stubborn"])
def test_an_interrupted_program_takes_its_children_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manners: str
) -> None:
    monkeypatch.chdir(tmp_path)
    patience = "kmodlab.process.end_group.__defaults__ = (0.3,);"
    script = f"{manners} sleep 300 & echo $! >child.tmp; mv child.tmp child; wait"
    code = INTERRUPTED.replace("run([", f"import kmodlab.process; {patience} run([")
    with subprocess.Popen([sys.executable, "-c", code, script], stderr=subprocess.PIPE) as process:
        child = int(_appears(tmp_path / "child").read_text())
        process.send_signal(signal.SIGINT)
        try:
            _, words = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert b"KeyboardInterrupt" in words
    assert not _alive(child)


def test_a_watch_that_raises_ends_the_program_and_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"

    def watch() -> None:
        if child.exists():
            raise LabError("seen enough")

    with pytest.raises(LabError, match="seen enough"):
        finish(["sh", "-c", f"sleep 300 & echo $! >{child}.tmp; mv {child}.tmp {child}; wait"], watch=watch)
    assert not _alive(int(child.read_text()))


def test_a_watched_program_is_fed_and_answers() -> None:
    slow = ["sh", "-c", "sleep 1; cat; echo err >&2; exit 3"]
    assert finish(slow, stdin=b"in", watch=lambda: None) == (3, b"in", b"err\n")


def test_a_watched_program_that_starts_to_read_late_is_fed_all() -> None:
    """More than a pipe holds, and the program reads after the first time that the wait for it has timed out."""
    deadline, data = Deadline(SECONDS), bytes(3 << 20)

    def watch() -> None:
        assert not deadline.expired, "the program still waits for the end of its input"

    assert finish(["sh", "-c", "sleep 1; cat"], stdin=data, watch=watch) == (0, data, b"")


INTERRUPTED_AT_START = """
import os, signal, subprocess, sys, time
from kmodlab import process
class Popen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        while not os.path.exists("child"):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
subprocess.Popen = Popen
process.run(["sh", "-c", "sleep 300 & echo $! >child.tmp; mv child.tmp child; wait"])
"""


def test_an_interruption_while_a_program_starts_is_put_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_AT_START], capture_output=True, check=False)
    assert b"KeyboardInterrupt" in done.stderr
    assert not _alive(int(_appears(tmp_path / "child").read_text()))


def _appears(path: Path) -> Path:
    deadline = Deadline(SECONDS)
    while not path.exists():
        assert not deadline.expired, f"{path} did not appear"
        time.sleep(0.01)
    return path


def _alive(number: int) -> bool:
    """Whether a process runs, after a moment in which init may collect it."""
    deadline = Deadline(SECONDS)
    while not deadline.expired:
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.01)
    return True


def test_the_tail_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(100)))
    assert tail(path, 2) == "line 98\nline 99"
    assert len(tail(path).splitlines()) == 15
    assert tail(path, 1000, size=16) == "line 98\nline 99"
    assert tail(tmp_path / "absent") == ""


def test_a_deadline_runs_out_and_is_never_negative() -> None:
    assert 50 < Deadline(60).remaining <= 60
    assert not Deadline(60).expired
    over = Deadline(0)
    assert over.expired
    assert over.remaining == 0
    assert Deadline(-5).remaining == 0


HOLDER = """
import sys
from pathlib import Path
from kmodlab.process import locked
with locked(Path(sys.argv[1]), "holding it"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def _holder(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that takes a lock, says so, and keeps it until it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _line(stream: IO[str] | None) -> str:
    """The next line of a stream, or nothing when none comes in time."""
    assert stream
    ready, _, _ = select.select([stream], [], [], 60)
    return stream.readline() if ready else ""


def test_a_second_process_waits_and_says_for_whom(tmp_path: Path) -> None:
    lock = tmp_path / "deep" / "lock"
    with _holder(lock) as first:
        assert _line(first.stdout) == "held\n"
        with _holder(lock) as second:
            words = _line(second.stderr)
            assert words == f"kmodlab: waiting for another kmodlab (process {first.pid}) to finish: holding it\n"
            first.communicate("\n", timeout=SECONDS)
            assert _line(second.stdout) == "held\n"
            assert lock.read_text() == f"{second.pid}\n"
            second.communicate("\n", timeout=SECONDS)
            assert (first.returncode, second.returncode) == (0, 0)


def test_a_lock_dies_with_its_holder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "lock"
    with _holder(lock) as first:
        assert _line(first.stdout) == "held\n"
    with locked(lock, "trying"):
        assert lock.read_text() == f"{os.getpid()}\n"
    assert capsys.readouterr().err == ""


def test_a_lock_whose_file_the_holder_removed_is_taken_on_a_new_file(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with ExitStack() as stack:
        with locked(lock, "removing"):
            second = stack.enter_context(_holder(lock))
            assert "waiting for another" in _line(second.stderr)
            lock.unlink()
        assert _line(second.stdout) == "held\n"
        assert lock.read_text() == f"{second.pid}\n"
        second.communicate("\n", timeout=SECONDS)

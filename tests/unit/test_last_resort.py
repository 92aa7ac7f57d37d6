"""What breaks in our own code is one line and a log, whatever the command and wherever its output goes."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import SECONDS

from kmodlab import __version__, paths
from kmodlab.process import Deadline

from .test_role_modules import client_program

#: a function of the product that breaks, and the command that comes to it
FAULTS = {
    "lab": ("kmodlab.cli.run_lab", ["lab"]),
    "guest": ("kmodlab.cli.list_guests", ["guest", "list"]),
    "guest build": ("kmodlab.cli.Guest", ["guest", "build", "web", "."]),
    "image": ("kmodlab.cli.list_images", ["image", "list"]),
    "doctor": ("kmodlab.doctor.examine", ["doctor"]),
    "grade": ("kmodlab.grading.instructor.grade_class", ["grade", "task_lister", "."]),
    "lab check": ("kmodlab.grading.instructor.check_lab", ["lab", "check", "task_lister"]),
    "worker": ("kmodlab.grading.cluster.serve", ["worker", "tcp://127.0.0.1:1"]),
    "trace": ("kmodlab.modules.cli.Tracer", ["trace", "status"]),
}
#: as the installed program, with one function replaced: TARGET raises RAISED
_PLANTED = """
import importlib, os, sys
from kmodlab import start
module, _, name = os.environ["TARGET"].rpartition(".")
def broken(*words, **options):
    exec(os.environ["RAISED"])
setattr(importlib.import_module(module), name, broken)
start.main()
"""
ZERO = "1 / 0"
Run = Callable[..., subprocess.CompletedProcess[bytes]]


def _run(
    python: list[str], target: str, raised: str, *words: str, script: str = "", **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the program with a fault in it; `script` is shell words around it, `"$@"`."""
    argv = [*python, "-c", _PLANTED, *words]
    env = {**os.environ, "TARGET": target, "RAISED": raised, "COLUMNS": "200", **variables}
    env.pop("PYTHONUNBUFFERED", None)
    command = ["bash", "-c", script, "sh", *argv] if script else argv
    return subprocess.run(command, env=env, capture_output=True, check=False, timeout=SECONDS)


def _only_log(folder: Path) -> Path:
    (log,) = folder.glob("kmodlab-fault-*.log")
    return log


@pytest.fixture
def run(python: list[str]) -> Run:
    """A function that runs the program with a fault in it, in a Python that has the package already."""
    return functools.partial(_run, python)


@pytest.mark.parametrize("which", FAULTS)
def test_a_fault_is_one_message_with_a_log(run: Run, which: str) -> None:
    target, words = FAULTS[which]
    done = run(target, ZERO, *words)
    log = _only_log(paths.state_dir() / "log")
    assert (done.returncode, done.stdout) == (70, b"")
    assert done.stderr.decode() == (
        "kmodlab: error: this is a fault of kmodlab itself, and not yours: ZeroDivisionError: division by zero\n"
        f"  log: {log}\n"
        "  hint: report it with that file: it has what was run, the versions, and where it broke\n"
    )
    said = log.read_text()
    for words_of_it in (f"kmodlab: {__version__}\n", repr(words[0]), f"Python: {sys.version}", ", in broken\n"):
        assert words_of_it in said
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_where_it_belongs_is_with_temporary_files(run: Run, tmp_path: Path, near: Path) -> None:
    (tmp_path / "file").touch()
    variables = {"KMODLAB_STATE_DIR": str(tmp_path / "file" / "state"), "TMPDIR": str(near)}
    done = run("kmodlab.cli.list_images", ZERO, "image", "list", **variables)
    assert done.returncode == 70
    assert f"  log: {_only_log(near)}\n" in done.stderr.decode()


def test_a_fault_where_no_file_can_be_written_is_told_all_the_same(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = f"import tempfile; tempfile.tempdir = {str(tmp_path / 'file')!r}; {ZERO}"
    state = {"KMODLAB_STATE_DIR": str(tmp_path / "file" / "state")}
    done = run("kmodlab.cli.list_images", nowhere, "image", "list", **state)
    assert done.returncode == 70
    assert b"ZeroDivisionError" in done.stderr
    assert b"no file with the details could be written" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        ("raise MemoryError", 3, "there is not enough memory\n  hint: "),
        ("f = lambda: g(); g = lambda: f(); globals().update(f=f, g=g); f()", 70, "RecursionError: maximum recursion"),
        ("raise BrokenPipeError(32, 'of a socket of ours')", 70, "BrokenPipeError: "),
        ("raise EOFError", 70, "itself, and not yours: EOFError\n"),
        ("raise KeyboardInterrupt", 130, ""),
        ("raise OSError(28, 'No space left on device', '/x')", 3, "No space left on device: /x\n  hint: the disk is"),
        ("raise FileNotFoundError(2, 'No such file', '/x')", 3, "No such file: /x\n  hint: KMODLAB_CACHE_DIR and"),
        ("raise ConnectionRefusedError(111, 'refused')", 70, "ConnectionRefusedError: "),
        ("raise ValueError('\\udcff \\u20ac\\n\\n  two lines')", 70, "ValueError: \\udcff \\u20ac two lines\n"),
        (
            "class Odd(Exception):\n    def __str__(self): raise KeyError\nraise Odd",
            70,
            "not yours: Odd: (it cannot be shown)\n",
        ),
    ],
)
def test_what_is_told_of_each_kind(run: Run, raised: str, status: int, words: str) -> None:
    done = run("kmodlab.cli.list_images", raised, "image", "list", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (status, b"")
    assert words in done.stderr.decode("ascii")
    assert b"Traceback" not in done.stderr
    assert len([*(paths.state_dir() / "log").glob("*")]) == (status == 70)


READ_BY_NOBODY = '"$@" | head -c 0; echo "${PIPESTATUS[0]}"'


def test_whoever_reads_may_go_at_any_time(run: Run) -> None:
    """Of a flood of lines the first is refused; a single one only at the end."""
    flood = "[print('x' * 100) for _ in range(10000)]; return []"
    several = f"def work():\n    {flood.replace('; ', chr(10) + '    ')}\nimport kmodlab.cli\nwork()"
    for raised in (several, "print('one line')"):
        done = run("kmodlab.doctor.examine", f"{raised}\nraise SystemExit(5)", "doctor", script=READ_BY_NOBODY)
        assert done.stderr == b""
        assert done.stdout in (b"1\n", b"5\n")
    done = run("kmodlab.cli.nothing", "", "guest", "list", script=READ_BY_NOBODY)
    assert (done.stdout, done.stderr) in ((b"1\n", b""), (b"0\n", b""))


def test_output_that_cannot_be_written_is_an_error(run: Run) -> None:
    done = run("kmodlab.cli.nothing", "", "guest", "list", "--json", script='"$@" >/dev/full')
    assert done.returncode == 3
    assert b"kmodlab: error: No space left on device" in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_output_that_is_closed_is_no_error(run: Run) -> None:
    assert run("kmodlab.cli.nothing", "", "guest", "list", script='"$@" >&-').returncode == 0
    assert run("kmodlab.cli.list_images", ZERO, "image", "list", script='"$@" >&- 2>&-').returncode == 70


@pytest.mark.parametrize(
    "encoding",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "iso-8859-1"},
        {"PYTHONIOENCODING": "utf-8"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
)
def test_what_the_terminal_cannot_show_is_escaped(encoding: dict[str, str]) -> None:
    """By a Python that begins with it: what it makes of a locale is the subject."""
    shown = "print('a \\u20ac \\udcff b'); raise SystemExit(0)"
    done = _run([sys.executable], "kmodlab.cli.list_images", shown, "image", "list", **encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    euro = "€".encode() if encoding.get("PYTHONIOENCODING") == "utf-8" else b"\\u20ac"
    assert done.stdout == b"a " + euro + b" \\udcff b\n"


def test_help_is_shown_under_any_encoding(run: Run) -> None:
    done = run("kmodlab.cli.nothing", "", "grade", "--help", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()


def test_a_fault_beside_the_main_thread_is_told_and_kept(run: Run) -> None:
    raised = "import threading; t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join(); raise SystemExit(0)"
    done = run("kmodlab.cli.list_images", raised, "image", "list")
    assert done.returncode == 0
    assert done.stderr.decode().startswith("kmodlab: this is a fault of kmodlab itself, and not yours: ZeroDivision")
    assert f"  log: {_only_log(paths.state_dir() / 'log')}\n" in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_ctrl_c_before_the_program_has_begun(tmp_path: Path) -> None:
    """While it still imports what it is made of."""
    slow = tmp_path / "rich.py"
    slow.write_text(f"import pathlib, time\npathlib.Path({str(tmp_path / 'here')!r}).touch()\ntime.sleep(60)\n")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    program = [sys.executable, "-c", "from kmodlab.start import main; main()", "guest", "list"]
    with subprocess.Popen(program, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = Deadline(SECONDS)
        while not (tmp_path / "here").exists():
            assert not deadline.expired
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, err) == (130, b"", b"kmodlab: interrupted\n")


def test_a_package_that_is_not_installed_is_named(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import no_such_package\n")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    program = [sys.executable, "-c", "from kmodlab.start import main; main()", "guest", "list"]
    done = subprocess.run(program, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith("kmodlab: error: the Python package no_such_package is not installed\n  hint: run `")


# -- the client, which has nothing but the standard library ------------------------------------------------------

_CLIENT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
sys.argv[0] = "kmodlab"
from kmodlab.modules import cli
from collections.abc import Callable
from pathlib import Path
place = Path(sys.argv.pop(1))
cli._log_places = lambda: iter([place])
def broken(*_):
    print("a \\u20ac")
    1 / 0
cli.main = broken
cli.program()
"""


def test_a_fault_of_the_client_is_one_message_with_a_log(tmp_path: Path) -> None:
    client = client_program(tmp_path / "kmodlab")
    argv = [sys.executable, "-I", "-c", _CLIENT, str(client), str(tmp_path / "log"), "trace", "status"]
    done = subprocess.run(argv, capture_output=True, check=False, env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    log = _only_log(tmp_path / "log")
    assert done.returncode == 70
    assert done.stderr.decode() == (
        "kmodlab: error: this is a fault of kmodlab itself, and not yours: ZeroDivisionError: division by zero\n"
        f"  log: {log}\n"
        "  hint: report it with that file: it has what was run, the versions, and where it broke\n"
    )
    assert re.search(r"in broken\n", log.read_text())


def test_the_client_as_it_is_installed_ends_in_one_line(tmp_path: Path) -> None:
    client = client_program(tmp_path / "kmodlab")
    python = [sys.executable, "-I", str(client)]
    done = subprocess.run([*python, "trace", "status"], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3)
    assert "Traceback" not in done.stderr
    usage = subprocess.run(python, capture_output=True, text=True, check=False)
    assert usage.returncode == 2

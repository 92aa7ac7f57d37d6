"""The table of where a run's time went, of small runs with programs that pretend to be QEMU and ssh."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from cost import BUDGETS, COLLECTING, MARK, PERIOD, Meter, Process
from guest.conftest import INDEPENDENT
from guest.test_kernels import KERNELS

from kmodlab.paths import project_dir

TESTS = project_dir() / "tests"
#: uses 0.4 seconds of processor, says so, and stays; with `-daemonize` as QEMU does it: in a session of its own
QEMU = """#!{python}
import os, sys, time
if "-daemonize" in sys.argv:
    begun, say = os.pipe()
    if os.fork():
        sys.exit(0 if os.read(begun, 1) else 1)
    os.setsid()
    if os.fork():
        os._exit(0)
while "--idle" not in sys.argv and time.process_time() < 0.4:
    pass
open("pid", "w").write(str(os.getpid()))
if "-daemonize" in sys.argv:
    os.write(say, b"1")
time.sleep(60)
"""
UNIT = """
import os, subprocess, sys, time
from cost import PERIOD

BURN = "import time\\nwhile time.process_time() < 0.3: pass"

def test_a_child_and_a_child_of_a_child(tmp_path):
    machine = subprocess.Popen(["qemu-system-x86_64", "-drive", "x", "-incoming", "defer"], cwd=tmp_path)
    subprocess.run([sys.executable, "-c", BURN], check=True)
    while not (tmp_path / "pid").exists():
        time.sleep(0.02)
    time.sleep(2 * PERIOD)
    machine.kill()
    machine.wait()

def test_what_is_no_machine(tmp_path):
    asked = ["qemu-system-x86_64", "--version", "--idle"]
    another_runs = ["qemu-system-x86_64", "-drive", "x", "--idle"]
    for argv, mark in ((asked, {}), (another_runs, {"COST_OF_TESTS": "another run's"})):
        (tmp_path / "pid").unlink(missing_ok=True)
        process = subprocess.Popen(argv, cwd=tmp_path, env={**os.environ, **mark})
        while not (tmp_path / "pid").exists():
            time.sleep(0.02)
        time.sleep(2 * PERIOD)
        process.kill()
        process.wait()
"""
GUEST = """
import os, signal, subprocess, time
from cost import PERIOD

def test_a_daemon(tmp_path):
    argv = ["qemu-system-x86_64", "-drive", "x", "-daemonize", *LOADVM]
    for _ in range(2):
        subprocess.run(argv, cwd=tmp_path, process_group=0, check=True)
        time.sleep(2 * PERIOD)  # for a look at what it has used in all: where it is reaped at once, it is gone then
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

def test_commands():
    subprocess.run(["ssh", "-M", "-N", "-f", "guest"], check=True)
    subprocess.run(["ssh", "guest", "true"], check=True)
    subprocess.run(["ssh", "guest", "true"], check=True)
    subprocess.run(["sh", "-c", "ssh guest true; :"], check=True)
"""
RESUMED = GUEST.replace("*LOADVM", "'-loadvm', 'ready'")
BOOTED = GUEST.replace(", *LOADVM", "").partition("def test_commands")[0]


def session(directory: Path, *words: str, over: Mapping[str, float] | None = None, **files: str) -> str:
    """Run tests, each in the file and folder that its name is, with two underscores for the slash."""
    programs = directory / "bin"
    programs.mkdir()
    for name, text in (
        ("qemu-system-x86_64", QEMU.format(python=sys.executable)),
        ("ssh", f"#!/bin/sh\nsleep {2 * PERIOD}"),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name, text in files.items():
        file = directory / "tests" / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\n")
    (directory / "tests" / "conftest.py").write_text(f"import cost\ncost.BUDGETS.update({dict(over or {})})\n")
    env = {**os.environ, "PYTHONPATH": f"{TESTS}", "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    argv = [sys.executable, "-m", "pytest", "-p", "cost", *words, "tests"]
    done = subprocess.run(argv, cwd=directory, env=env, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def rows(output: str) -> dict[str, dict[str, str]]:
    """Return the cells of the table by stage and by column; what follows the last column is `mark`."""
    lines = [line for line in output.partition("where the time went: ")[2].splitlines()[1:] if line]
    head, found = lines[0].split(), {}
    for line in lines[1:]:
        cells = line.split(maxsplit=len(head))
        found[cells[0]] = dict(zip([*head, "mark"], cells, strict=False))
        if cells[0] == "total":
            break
    return found


def test_the_table_tells_what_each_stage_took(tmp_path: Path) -> None:
    """Processor by kind, machines, commands; daemons, and what is waited for, are each counted once."""
    files = {"unit__test_one": UNIT, "guest__test_fleet": RESUMED, "guest__test_guest": BOOTED}
    output = session(tmp_path, "-n", "2", "--dist", "loadfile", over={"unit": 0.1}, **files)
    assert " 5 passed" in output, output
    found = rows(output)
    assert set(found) == {"unit", "test_fleet.py", "test_guest.py", COLLECTING, "total"}, output
    assert [found[stage]["tests"] for stage in ("unit", "test_fleet.py", "total")] == ["2", "2", "5"], output
    machines = [
        (found[stage]["booted"], found[stage]["resumed"]) for stage in ("unit", "test_fleet.py", "test_guest.py")
    ]
    assert machines == [("0", "1"), ("0", "2"), ("2", "0")], output
    for stage, least in (("unit", 0.3), ("test_fleet.py", 0.7), ("test_guest.py", 0.7)):
        assert least < float(found[stage]["QEMU"]) < least + 0.5, output
    assert 0.3 <= float(found["unit"]["host"]) < 1.2, output
    assert float(found["test_fleet.py"]["host"]) < 0.6, output
    assert float(found["unit"]["wall"]) > 4 * PERIOD, output
    assert [found[stage]["ssh"] for stage in ("unit", "test_fleet.py", "total")] == ["0", "2+~1", "2+~1"], output


def test_processor_is_counted_once_whoever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child used moves to its parent; a daemon's goes with it, and takes nothing of the others' along."""
    monkeypatch.setenv(MARK, "")  # a meter sets it: this run's comes back
    me, tick = os.getpid(), 1 / os.sysconf("SC_CLK_TCK")
    looks: tuple[dict[int, Process], ...] = (
        {me: Process("pytest", 7, me, 10, 0)},
        # A child came and went since: 50. A daemon is there.
        {me: Process("pytest", 7, me, 10, 50), 8: Process("daemon", 1, 8, 30, 0)},
        # It has ended while the tests' process worked.
        {me: Process("pytest", 7, me, 110, 50)},
        {me: Process("pytest", 7, me, 110, 50), 9: Process("child", me, 9, 40, 0)},
        # The child has used another 5, and was waited for.
        {me: Process("pytest", 7, me, 110, 95)},
        # Another's parent was killed before it could wait.
        {me: Process("pytest", 7, me, 110, 95), 10: Process("sh", me, 10, 0, 0), 11: Process("cc1", 10, 10, 60, 0)},
        {me: Process("pytest", 7, me, 110, 95)},
        {me: Process("pytest", 7, me, 111, 95)},
    )
    meter = Meter()
    used = []
    for look in looks:
        meter.add(look)
        used.append(round(meter.costs[COLLECTING].host / tick))
    assert used == [10, 90, 190, 230, 235, 295, 295, 296]


def test_a_stage_over_its_budget_is_marked_and_fails_nothing(tmp_path: Path) -> None:
    """The percentage is that of the stage's budget; the total's, that of all together."""
    test = "def test_one(): pass\n"
    slow = "import time\ndef test_one(): time.sleep(0.4)\n"
    output = session(tmp_path, over={"unit": 0.2, COLLECTING: 99.8}, unit__test_one=slow, fuzz__test_two=test)
    assert " 2 passed" in output, output
    found = rows(output)
    assert found["unit"]["mark"].strip() == "over its budget", output
    used, wall = int(found["unit"]["used"].rstrip("%")), float(found["unit"]["wall"])
    assert used == pytest.approx(wall / 0.2 * 100, abs=26), output
    assert [stage for stage in found if "mark" in found[stage]] == ["unit"], output
    assert float(found["total"]["budget"]) == 100 + BUDGETS["fuzz"], output


def test_a_worker_that_crashed_is_told(tmp_path: Path) -> None:
    """What it has measured went with it: the table says that it lacks something."""
    output = session(tmp_path, "-n", "1", unit__test_one="import os\ndef test_one(): os._exit(1)\n")
    assert "what 1 crashed worker(s) did is not in the table of costs" in output, output


def test_every_stage_of_make_test_has_a_budget() -> None:
    """A file that was renamed, or a kernel that is no longer tried, has none left behind."""
    of_make_grading = {"test_grading_labs.py"}
    files = {path.name for path in (TESTS / "guest").glob("test_*.py")} - {INDEPENDENT} - of_make_grading
    assert set(BUDGETS) == {COLLECTING, "unit", "fuzz", "browser", "live", "mutants", *files, *KERNELS}


def test_make_test_prints_the_table_of_each_of_its_runs() -> None:
    """Both commands load the plugin."""
    done = subprocess.run(["make", "-n", "test"], cwd=project_dir(), capture_output=True, text=True, check=True)
    runs = [line for line in done.stdout.splitlines() if "/pytest" in line]
    assert len(runs) == 2
    assert all("PYTHONPATH=tests " in run and " -p cost " in run for run in runs), runs


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_a_failure_is_told_before_the_end(workers: tuple[str, ...], tmp_path: Path) -> None:
    """Who watches a long run sees at once what has failed and why, and not only in its summary."""
    tests = "def test_one(): assert 6 * 7 == 54\ndef test_two(): pass\n"
    output = session(tmp_path, *workers, unit__test_one=tests)
    early = output.partition("= FAILURES =")[0]
    assert "unit/test_one.py::test_one failed (call):" in early
    assert "assert (6 * 7) == 54" in early
    assert "test_two failed" not in output

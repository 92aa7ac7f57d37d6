"""The grader's machines and verdicts, for real: the fixtures of tests/grading come to what expected.yml says."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from patience import SECONDS
from unit.jargon import jargon_of, told

from kmodlab.errors import DeadlineExpired, GuestCrashed
from kmodlab.grading.examine import examine
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab
from kmodlab.grading.machines import machines
from kmodlab.grading.result import GradingResult, Verdict
from kmodlab.grading.sandbox import BuildLimits, build
from kmodlab.image.buildroot import own_mounts
from kmodlab.image.plan import planned
from kmodlab.paths import project_dir
from kmodlab.process import Deadline
from kmodlab.vm.agent import TESTS, Agent
from kmodlab.vm.pool import Pool, sweep

from .grading_command import KMODLAB

GRADING = project_dir() / "tests" / "grading"
SHAPES = GRADING / "shapes"
EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load((GRADING / "expected.yml").read_text())["lab"]
#: one for each way to end that is not the compiler's; the others run with `make grading`
QUICK = ("good", "panic-at-load", "oops-in-read", "forged-oops", "proc-entry-left", "touches-host")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the slots of these tests are, and no others."""
    return tmp_path_factory.mktemp("slots")


@pytest.fixture(scope="module")
def pool(runtime: Path) -> Pool:
    """Machines of the host's own release."""
    return machines(planned("auto"), 1, directory=runtime)


@pytest.fixture(scope="module")
def lab() -> Lab:
    """The small lab."""
    return Lab.load(GRADING / "lab")


def submission(name: str, work: Path) -> Submission:
    """One of the fixtures, as intake gives it."""
    files = GRADING / "submissions" / name
    if name == "good":
        files = work / name
        subprocess.run([sys.executable, GRADING / "good.py", files], check=True)
    return Submission(name, name, files, digest=name)


def compare(result: GradingResult) -> None:
    """A result is what the table says."""
    wanted = EXPECTED[result.student]
    shown = f"{result.verdict} {result.score}: {result.reason}\n{result.build_log[-1500:]}\n{result.console[-3000:]}"
    assert result.verdict == wanted["verdict"], shown
    assert result.score == wanted["score"], shown
    assert wanted.get("reason", "") in result.reason, shown
    assert wanted.get("place", "") in result.reason, shown
    assert jargon_of(*told(result)) == []


def test_every_fixture_has_an_expected_verdict() -> None:
    folders = {folder.name for folder in (GRADING / "submissions").iterdir()} - {"good"}
    assert folders == set(EXPECTED) - {"good"}
    assert set(QUICK) <= set(EXPECTED)


@pytest.mark.parametrize("name", QUICK)
def test_a_fixture_comes_to_its_verdict(name: str, lab: Lab, pool: Pool, tmp_path: Path) -> None:
    compare(examine(submission(name, tmp_path), lab, pool))
    assert not Path("/etc/kmodlab-was-here").exists()


@pytest.mark.grading
@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in QUICK])
def test_another_fixture_comes_to_its_verdict(name: str, lab: Lab, pool: Pool, tmp_path: Path) -> None:
    compare(examine(submission(name, tmp_path), lab, pool))


@pytest.mark.parametrize("name", ["proc_jiffies", "proc_seconds"])
@pytest.mark.parametrize("shape", sorted(folder.name for folder in SHAPES.iterdir()))
def test_what_is_right_is_right_in_the_shapes_that_students_give_it(name: str, shape: str, pool: Pool) -> None:
    """Three modules of one Makefile, one of two sources; the textbook's read function; what is printed in any words."""
    result = examine(Submission(shape, shape, SHAPES / shape, digest=shape), Lab.load(name), pool)
    assert (result.verdict, result.score) == (Verdict.PASS, 100), f"{result.reason}\n{result.build_log[-1500:]}"


def test_what_lay_in_memory_decides_nothing(pool: Pool, tmp_path: Path) -> None:
    """What is read after kfree() is seen to be that, each time."""
    lab = Lab.load("proc_jiffies")
    shutil.copytree(lab.folder / "solution", tmp_path / "solution")
    patch = lab.folder / "deviations" / "after-kfree.patch"
    subprocess.run(["patch", "--quiet", "--strip=1", "--directory", tmp_path, "--input", patch], check=True)
    submission = Submission("after-kfree", "after-kfree", tmp_path / "solution", digest="after-kfree")
    results = [examine(submission, lab, pool) for _ in range(3)]
    assert [(result.verdict, result.score) for result in results] == [(Verdict.FAIL, 40)] * 3
    assert {result.tests[2].seen for result in results} == {f"`{'k' * 12}`"}


def test_a_student_checks_a_module_and_gets_the_same_words(tmp_path: Path) -> None:
    """With the command: 0 where all visible tests pass, else 1; the same seed, the same numbers."""
    lab = project_dir() / "labs" / "proc_jiffies"
    good = subprocess.run(
        [KMODLAB, "check", "proc_jiffies", lab / "solution"], capture_output=True, text=True, check=False
    )
    assert (good.returncode, good.stdout.splitlines()[0]) == (0, "pass: all 3 tests passed"), good.stdout + good.stderr
    (own := tmp_path / "own").mkdir()
    shutil.copy(lab / "starter" / "proc_jiffies.c", own)
    bad = subprocess.run(
        [KMODLAB, "check", "proc_jiffies", "--seed", "4711"], cwd=own, capture_output=True, text=True, check=False
    )
    assert bad.returncode == 1, bad.stdout + bad.stderr
    assert "fail: 1 of 3 tests failed: value" in bad.stdout
    assert re.search(
        r"expected  a number from \d+ to \d+, what jiffies was during the read\n +seen      `0`\n +hint", bad.stdout
    )
    assert "seed: 4711" in bad.stdout
    assert jargon_of(*bad.stdout.replace("seconds", "").splitlines()) == []


def test_a_submission_that_hangs_costs_no_more_than_its_time(lab: Lab, pool: Pool, tmp_path: Path) -> None:
    """Its tests have two minutes each, and 4 s together: the first that hangs is the last, and soon over."""
    brief = lab.model_copy(update={"limits": lab.limits.model_copy(update={"test": 120.0, "total": 4.0})})
    result = examine(submission("deadlock", tmp_path), brief, pool)
    assert (result.verdict, result.score) == (Verdict.HANG, 10), result.reason
    assert "all tests together did not end within 4 s; the test read was under way" in result.reason
    assert "task_lister.c" in result.reason
    assert [test.outcome for test in result.tests] == ["passed", "crashed", "not-run", "not-run"]
    assert result.tests[1].seconds < 100
    assert {test.seen for test in result.tests[2:]} == {"not run: the 4 s that this lab gives a submission were over"}


def test_what_a_machine_that_is_killed_was_doing_is_done_again(
    lab: Lab, pool: Pool, runtime: Path, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill() -> None:
        deadline = Deadline(SECONDS)
        while not deadline.expired and not (found := [*runtime.glob("slot-*/ssh_config")]):
            time.sleep(0.05)
        killed.append(int(found[0].with_name("pid").read_text()))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    result = examine(submission("good", tmp_path), lab, pool)
    killer.join()
    assert killed
    compare(result)
    assert result.attempts == 2


def makefile(work: Path, *lines: str) -> Path:
    """A submission whose Makefile runs these lines."""
    recipe = "".join(f"\t{line}\n" for line in lines)
    (work / "Makefile").write_text(f"SHELL := /bin/bash\nall:\n{recipe}")
    return work


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("sleep 600", "more than 3 s"),
        ("yes it is", "more than 3 s"),
        ("head -c 300M /dev/zero >fill", "No space left"),
        ("head -c 900M /dev/zero | tail -c 900M >/dev/null", "tail: "),
        ("sh -c 'while :; do sleep 600 & done'", "Cannot fork"),
        ("ln -s /etc/passwd a.ko", "there is no module"),
        ("mkfifo a.ko", "there is no module"),
        ("mount -t tmpfs none /tmp", "must be superuser"),
        ("cat /proc/kmsg", "cat: /proc/kmsg: "),
        ("mknod disk b 254 0", "Operation not permitted"),
        ("test $$(id -u) = 0", "Error 1"),
    ],
)
def test_a_build_is_kept_within_its_limits(line: str, reason: str, pool: Pool, tmp_path: Path) -> None:
    # Only what goes on for ever is stopped soon: a busy host has time for all else.
    seconds = 3 if "3 s" in reason else 120
    limits = BuildLimits(seconds=seconds, memory=512, processes=64, disk=128, log=16)
    (sources := tmp_path / "sources").mkdir()
    (output := tmp_path / "output").mkdir()
    built = build(makefile(sources, line), pool.image, output, limits=limits)
    assert not built.ok
    assert reason in built.reason + built.log
    assert len(built.log) < (16 << 10) + 100
    assert not list(output.iterdir())


def test_a_slot_is_fresh_has_no_network_and_leaves_nothing(pool: Pool, runtime: Path) -> None:
    with pool.slot() as slot:
        slot.machine.succeed("echo changed >/etc/motd; echo changed >/dev/shm/changed", 30)
        reached = slot.machine.execute(
            "timeout 3 python3 -c 'import socket; socket.create_connection((\"10.0.2.2\", 22), 2)'", 60
        )
        assert reached.status != 0
        assert [path.name for path in runtime.glob("slot-*")] == [slot.directory.name]
    with pool.slot() as slot:
        assert "changed" not in slot.machine.succeed("cat /etc/motd; ls /dev/shm", 30)
    assert not list(runtime.glob("slot-*"))


def test_a_machine_that_ends_and_one_that_hangs_are_told_apart(pool: Pool) -> None:
    with pool.slot() as slot:
        with pytest.raises(DeadlineExpired, match="`sleep 60` did not end within 1 s"):
            slot.machine.execute("sleep 60", 1)
        with pytest.raises(GuestCrashed, match="QEMU ended while running"):
            slot.machine.execute("echo b >/proc/sysrq-trigger; sleep 60", 30)
        assert not slot.qemu.killed
    with pool.slot() as slot:
        os.kill(int((slot.directory / "pid").read_text()), signal.SIGKILL)
        with pytest.raises(GuestCrashed):
            slot.machine.execute("true", 10)
        assert slot.qemu.killed


class _Dying(Agent):
    """That of a process which is killed: from then on nothing more is said."""

    dead = False

    def _say(self, kind: bytes, content: bytes = b"") -> None:
        if not self.dead:
            super()._say(kind, content)


def test_what_the_tests_were_doing_ends_with_their_process(pool: Pool) -> None:
    with pool.slot() as slot:
        tests, deadline = _Dying(slot.directory, TESTS), Deadline(SECONDS)

        def watch() -> None:
            assert not deadline.expired
            if slot.machine.execute("pgrep -fxc 'sleep 4321'", 30).stdout == "2\n":
                tests.dead = True
                raise InterruptedError

        with pytest.raises(InterruptedError):
            tests.run("sleep 4321 & exec sleep 4321", watch)
        tests.close()
        slot.machine.succeed("while pgrep -fx 'sleep 4321'; do sleep 0.1; done", 60)
        again = Agent(slot.directory, TESTS)
        assert again.run("cat", lambda: None, stdin=bytes(3 << 20)).out == bytes(3 << 20)
        again.close()


def test_commands_in_a_slot_are_ordinary_processes_of_root(pool: Pool) -> None:
    with pool.slot() as slot:
        assert slot.machine.succeed("id -un; pwd; echo $HOME", 30).splitlines() == ["root", "/root", "/root"]
        shown = slot.machine.execute("yes | head -n 1", 30)
        assert (shown.stdout, shown.stderr) == ("y\n", ""), "SIGPIPE is ignored"
        # More than systemd lets a service have in a machine of this size.
        many = "for i in $(seq 700); do sleep 600 >/dev/null 2>&1 & done; pgrep -xc sleep"
        assert slot.machine.succeed(many, 240).strip() == "700"


_FULL = """
import os, sys
from pathlib import Path
from kmodlab.errors import DeadlineExpired, LabError
from kmodlab.grading.lab import Lab
from kmodlab.grading.machines import machines
from kmodlab.grading.session import Session
from kmodlab.image.plan import planned
place = Path(sys.argv[1])
with machines(planned("auto"), directory=place).slot() as slot:
    with (place / "filler").open("wb") as filler:
        room = os.statvfs(place)
        filler.write(bytes(room.f_bavail * room.f_frsize - (4 << 20)))
    try:
        slot.machine.execute("dd if=/dev/zero of=/var/tmp/many bs=1M count=100 oflag=direct", 30)
    except DeadlineExpired:
        print("hangs")
    session = Session(slot, Lab.load(sys.argv[2]), [], place / "log")
    try:
        session.timed_out("the test did not end")
    except LabError as error:
        print(error.message)
    print(session.finding)
"""


def test_a_host_whose_room_runs_out_blames_no_submission(pool: Pool, tmp_path: Path) -> None:
    """In a memory file system that is small, and this one process's own."""
    assert pool.template
    mount = 'mount -t tmpfs -o size=64m small "$1" && shift && exec "$@"'
    user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    words = [
        "unshare",
        *user,
        *own_mounts(),
        "sh",
        "-c",
        mount,
        "sh",
        str(tmp_path),
        sys.executable,
        "-c",
        _FULL,
        str(tmp_path),
    ]
    done = subprocess.run([*words, str(GRADING / "lab")], capture_output=True, text=True, check=False, timeout=300)
    said = "hangs\nthe host has no room left for what the machine writes\nNone\n"
    assert (done.returncode, done.stdout) == (0, said), done.stderr


def test_the_slots_of_a_killed_grader_are_gone(runtime: Path, pool: Pool) -> None:
    assert pool.template
    words = "import sys, time, pathlib; from kmodlab.grading.machines import machines;"
    words += "from kmodlab.image.plan import planned;"
    words += "held = machines(planned('auto'), directory=pathlib.Path(sys.argv[1])).slot(); slot = held.__enter__();"
    words += "print(slot.directory.name, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", words, runtime], stdout=subprocess.PIPE, text=True) as grader:
        assert grader.stdout
        try:
            name = grader.stdout.readline().strip()
            number = int((runtime / name / "pid").read_text())
        finally:
            grader.kill()
    deadline = Deadline(10)
    while Path(f"/proc/{number}").exists() and "Z" not in Path(f"/proc/{number}/stat").read_text().split(")")[1][:3]:
        assert not deadline.expired, "its machine still runs"
        time.sleep(0.05)
    assert sweep(runtime) == [runtime / name]
    assert not (runtime / name).exists()

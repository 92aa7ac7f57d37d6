"""The matrix of kernels without a guest: which there are, how several run at a time, and the page that shows them."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from patience import SECONDS

from kmodlab import matrix, matrix_page
from kmodlab.errors import UsageError
from kmodlab.matrix_page import Row, Run
from kmodlab.paths import project_dir
from kmodlab.playbook import Check
from kmodlab.process import Deadline

from .conftest import on_amd64

DOCS = project_dir() / "docs"
GOOD = Row(
    *("debian-12", "pass", "", "6.1.0", "gcc-12", "Debian 12", ("FPROBE",), "kprobe (ftrace)", 251, 0),
    date="2026-01-02",
)
KERNELS = {
    "debian-11", "debian-12", "debian-12-generic", "debian-12-rt", "debian-12-arm64", "debian-13",
    "debian-13-backports", "debian-testing",
}  # fmt: skip


class StubGuest:
    """A guest that only answers what kernel it runs."""

    name = "debian-12"

    def succeed(self, _command: str) -> str:
        """Return the facts of a kernel, one probe by breakpoint and none by ftrace."""
        return "6.1.0-56\ngcc-12 (Debian) 12.2.0\nDebian 12\nFPROBE PREEMPT_RT \n0\n1\nkprobe\n"


@on_amd64
def test_the_kernels_are_those_of_the_inventory() -> None:
    assert set(matrix.known_kernels()) == KERNELS


def test_an_unknown_kernel_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        matrix.run_matrix(["debian-3.1"])
    assert caught.value.message == "no kernel guest: debian-3.1"
    assert "debian-11" in (caught.value.hint or "")


def _row(status: int, *checks: Check) -> Row:
    return matrix._row(StubGuest(), status, list(checks))  # type: ignore[arg-type]  # as far as it is used


def test_a_row_tells_what_the_kernel_is() -> None:
    row = _row(0, Check("It works.", "PASS"))
    assert row == Row(
        "debian-12", "pass", "", "6.1.0-56", "gcc-12 (Debian) 12.2.0", "Debian 12", ("FPROBE", "PREEMPT_RT"),
        "kprobe (breakpoint)", 1, 0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "checks", "verdict", "detail"),
    [
        (0, [Check("A.", "PASS"), Check("B.", "SKIP", "aarch64 has no system call open")], "pass", ""),
        (2, [Check("A.", "PASS"), Check("B.", "FAIL", "assert 1 == 2")], "fail", "B."),
        (0, [Check("A.", "PASS"), Check("B.", "SKIP", "no task_lister.ko to load")], "fail", "skipped: no task_lister"),
        (0, [Check("A.", "SKIP", "aarch64 has no system call open")], "fail", "see the log"),
        (2, [Check("A.", "PASS")], "fail", "see the log"),
        (0, [], "fail", "see the log"),
        (2, [Check(f"{letter}.", "FAIL") for letter in "ABCDE"], "fail", "A. B. and 3 more"),
    ],
)
def test_a_kernel_passes_only_if_all_that_applies_there_passed(
    status: int, checks: list[Check], verdict: str, detail: str
) -> None:
    row = _row(status, *checks)
    assert row.verdict == verdict
    assert row.detail.startswith(detail)
    assert bool(row.detail) == bool(detail)


@pytest.mark.parametrize(
    ("kind", "ftrace", "breakpoints", "hook"),
    [
        ("ftrace", 0, 0, "ftrace"),
        ("kprobe", 9, 0, "kprobe (ftrace)"),
        ("kprobe", 0, 9, "kprobe (breakpoint)"),
        ("kprobe", 8, 1, "kprobe (8 by ftrace, 1 by breakpoint)"),
    ],
)
def test_how_the_probes_are_placed_is_named(kind: str, ftrace: int, breakpoints: int, hook: str) -> None:
    assert matrix._hook(kind, ftrace, breakpoints) == hook


#: notes when it begins and ends, then does as it was told
STAND_IN = """
import json, os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # as the real one does, whatever it was started with
name, log, what = sys.argv[1:]
def note(word):
    with open(log, "a") as file:
        file.write(f"{word} {name} {os.environ['KMODLAB_STATE_DIR']}\\n")
def ended(*_):
    note("ended")
    sys.exit(143)
signal.signal(signal.SIGTERM, ended)
note("begin")
while what == "waits":
    time.sleep(0.05)
while what == "pair" and open(log).read().count("begin") < 2:
    time.sleep(0.05)
note("end")
print("no JSON at all" if what == "dies" else json.dumps({"guest": name, "verdict": "pass", "features": ["A"]}))
sys.exit(3 if what == "dies" else 0)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the stand-ins note what they do."""
    return tmp_path / "log"


KNOWN = ("debian-11", "debian-12", "debian-13")


def _stand_in(log: Path, **what: str) -> matrix.Command:
    command = [sys.executable, "-c", STAND_IN]
    return lambda name: [*command, name, str(log), what.get(name.replace("-", "_"), "passes")]


def test_rows_come_in_order_and_one_that_dies_is_an_error_of_the_lab(log: Path, tmp_path: Path) -> None:
    rows = matrix.run_matrix(jobs=1, known=KNOWN, command=_stand_in(log, debian_12="dies"))
    assert rows == [
        Row("debian-11", "pass", features=("A",)),
        Row("debian-12", "error", "its process ended with 3"),
        Row("debian-13", "pass", features=("A",)),
    ]
    state = tmp_path / "state" / "matrix"
    assert log.read_text().splitlines() == [f"{word} {name} {state}" for name in KNOWN for word in ("begin", "end")]


def test_several_run_at_a_time(log: Path) -> None:
    command = _stand_in(log, debian_11="pair", debian_12="pair")
    rows = matrix.run_matrix(["debian-11", "debian-12"], jobs=2, known=KNOWN, command=command)
    assert [row.verdict for row in rows] == ["pass", "pass"]
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["begin", "begin", "end", "end"]


def test_an_interruption_ends_those_that_run(log: Path) -> None:
    """It comes when the second one is about to start, and the first is at work."""
    stand_in, deadline = _stand_in(log, debian_11="waits"), Deadline(SECONDS)

    def command(name: str) -> list[str]:
        if name == "debian-11":
            return stand_in(name)
        while not (log.exists() and log.read_text().endswith("\n")) and not deadline.expired:
            time.sleep(0.02)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        matrix.run_matrix(["debian-11", "debian-12"], jobs=2, known=KNOWN, command=command)
    words = [line.split()[:2] for line in log.read_text().splitlines()]
    assert words == [["begin", "debian-11"], ["ended", "debian-11"]]


def test_the_page_shows_each_verdict_and_why_tests_were_skipped() -> None:
    arm = replace(GOOD, guest="arm", skipped=("no open", "no creat"), seconds={"up": 1.5, "verify": 80.4})
    bad = replace(GOOD, guest="bad", verdict="fail", detail="It works.", failed=2)
    page = matrix_page.page(Run(2, 2, "QEMU", (arm, bad)))
    assert "| 251 passed, 2 skipped | pass | 82 s | 2026-01-02 |" in page
    assert "| 251 passed, 2 failed | fail It works. | 0 s | 2026-01-02 |" in page
    assert page.endswith("\nSkipped, and why: no creat; no open.\n")


def test_what_was_not_run_again_stays_on_the_page_and_what_is_no_kernel_of_the_suite_goes(tmp_path: Path) -> None:
    names = ("debian-11", "no-kernel-any-more", "debian-12", "debian-12-rt")
    matrix.write([replace(GOOD, guest=name) for name in names], 2, "neighbours", tmp_path)
    matrix.write([replace(GOOD, passed=7, date="2026-03-04")], 1, "neighbours", tmp_path)
    run = Run.read(json.loads((tmp_path / "neighbours.json").read_text()))
    rows = [(row.guest, row.passed, row.date) for row in run.rows]
    assert rows == [
        ("debian-11", 251, "2026-01-02"),
        ("debian-12", 7, "2026-03-04"),
        ("debian-12-rt", 251, "2026-01-02"),
    ]
    assert (tmp_path / "neighbours.md").read_text() == matrix_page.page(run, matrix_page.NEIGHBOURS)


def shown(suite: str) -> Run:
    """Return the run of a suite that docs/ shows."""
    return Run.read(json.loads((DOCS / f"{suite}.json").read_text()))


@pytest.mark.parametrize("suite", matrix.SUITES)
def test_the_page_of_a_suite_is_written_from_its_json(suite: str) -> None:
    run = shown(suite)
    assert (DOCS / f"{suite}.md").read_text() == matrix_page.page(run, matrix.SUITES[suite].page)
    assert Run.read(json.loads(json.dumps(asdict(run)))) == run


@on_amd64
@pytest.mark.parametrize("suite", matrix.SUITES)
def test_the_page_of_a_suite_has_every_kernel_of_it_and_each_passed(suite: str) -> None:
    kernels = matrix.SUITES[suite].kernels or KERNELS
    assert {row.guest: row.verdict for row in shown(suite).rows} == dict.fromkeys(kernels, "pass")


@pytest.mark.parametrize("suite", matrix.SUITES)
def test_what_a_page_says_was_skipped_was_skipped_for_the_one_kind_of_reason(suite: str) -> None:
    pattern = matrix.SUITES[suite].skipped
    assert [reason for row in shown(suite).rows for reason in row.skipped if not pattern.search(reason)] == []


def test_a_suite_has_its_own_kernels_and_its_own_reasons_to_skip(log: Path) -> None:
    suite = matrix.SUITES["neighbours"]
    rows = matrix.run_matrix(suite="neighbours", jobs=2, known=tuple(KERNELS), command=_stand_in(log))
    assert tuple(row.guest for row in rows) == suite.kernels
    assert set(suite.kernels) < KERNELS
    checks = [Check("A.", "PASS"), Check("B.", "SKIP", "6.1.0 has no CONFIG_FPROBE, so no BPF kprobe.multi")]
    assert matrix._row(StubGuest(), 0, checks, suite).verdict == "pass"  # type: ignore[arg-type]  # as above
    assert _row(0, *checks).verdict == "fail"

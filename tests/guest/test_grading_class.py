"""Classes graded by the command itself, on real machines: every file that is promised, and what is killed midway."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from patience import SECONDS
from unit.grading_cluster import Running, cluster
from unit.grading_files import require_same_everywhere, scores

from kmodlab.paths import project_dir

from .grading_command import (
    EXPECTED,
    GRADING,
    KMODLAB,
    Grading,
    at_work,
    attempts,
    kept,
    machines,
    names_in_use,
    require_expected,
    same_gradebook,
    side_by_side,
    until,
)

LAB = GRADING / "lab"
FIXTURES = {folder.name for folder in (GRADING / "submissions").iterdir()} - {"good"}
#: a class of seconds each, with one of nearly each kind of end
SMALL = ("does-not-compile", "fake-answer", "good", "load-error", "panic-at-load", "proc-entry-left")
#: of the whole lab, what comes to its end soon
QUICK = ("does-not-compile", "load-error", "panic-at-load")


def class_of(folder: Path, names: set[str]) -> Path:
    """Make a folder with these fixtures, and return it."""
    for name in names - {"good"}:
        shutil.copytree(GRADING / "submissions" / name, folder / name)
    if "good" in names:
        subprocess.run([sys.executable, GRADING / "good.py", folder / "good"], check=True)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small class."""
    return class_of(tmp_path_factory.mktemp("class"), set(SMALL))


@pytest.fixture(scope="module")
def undisturbed(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small class was graded, two at a time, with nothing in the way."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    most = 0
    with Grading(LAB, small, out, "--jobs", "2") as grading:
        while grading.process.poll() is None:
            most = max(most, len(machines(grading.process.pid)))
        grading.finish()
    assert 1 <= most <= 2, "two machines at a time were asked for"
    assert side_by_side(out) > 1, "one after the other"
    return out


def test_a_class_comes_to_what_is_expected_and_every_file_says_so(undisturbed: Path) -> None:
    require_expected(undisturbed, "lab", set(SMALL))
    require_same_everywhere(undisturbed)
    assert len(kept(undisturbed)) == len(SMALL)


def test_the_command_of_the_handbook_on_the_fixtures(tmp_path: Path) -> None:
    only = [word for name in QUICK for word in ("--only", name)]
    with Grading("task_lister", "tests/grading/submissions", tmp_path / "out", *only) as grading:
        grading.finish()
    require_expected(tmp_path / "out", "task_lister", set(QUICK))
    require_same_everywhere(tmp_path / "out")
    shown = {name: verdict for name, (verdict, _, _) in grading.results().items()}
    assert shown == {name: EXPECTED["task_lister"][name]["verdict"] for name in QUICK}


def test_every_fixture_has_a_verdict_in_each_lab() -> None:
    assert {lab: set(table) for lab, table in EXPECTED.items()} == dict.fromkeys(
        ("lab", "task_lister"), FIXTURES | {"good"}
    )


@pytest.mark.grading
def test_the_whole_class_comes_to_what_is_expected(tmp_path: Path) -> None:
    submissions = class_of(tmp_path / "class", FIXTURES | {"good"})
    with Grading("task_lister", submissions, tmp_path / "out", "--jobs", "2") as grading:
        grading.finish(seconds=7200)
    require_same_everywhere(tmp_path / "out")
    require_expected(tmp_path / "out", "task_lister", FIXTURES | {"good"})


@pytest.mark.grading
def test_ten_runs_give_the_same_points(small: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Test by test, one with each kind of end: what lay in memory, or who came first, decides nothing."""
    for number in range(9):
        with Grading(LAB, small, tmp_path / str(number), "--jobs", "2") as grading:
            grading.finish()
        same_gradebook(undisturbed, tmp_path / str(number))


# -- live -----------------------------------------------------------------------------------------------------


def frames(printed: Callable[[], str]) -> Iterator[dict[str, Any]]:
    """Yield what the page of a class is told, from its first state until it is over."""
    until(lambda: re.search(r"#token=\S+\n", printed()), "no address was printed")
    found = re.search(r"http://(127\.0\.0\.1:\d+)/#token=(\S+)", printed())
    assert found
    with contextlib.closing(HTTPConnection(found[1], timeout=300)) as connection:
        kind = {"content-type": "application/json"}
        connection.request("POST", "/api/v1/session", json.dumps({"token": found[2]}), kind)
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
        cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
        answer.read()
        connection.request("GET", "/api/v1/stream", headers={"cookie": cookie})
        for line in connection.getresponse():
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


def test_a_class_is_shown_while_it_is_graded(small: Path, tmp_path: Path) -> None:
    phases: dict[str, set[str]] = {}
    tests: dict[str, set[str | None]] = {}
    slots: dict[int, dict[str, Any]] = {}
    consoles: dict[str, str] = {}
    results: dict[str, str] = {}
    states: list[str] = []
    out = tmp_path / "out"
    with Grading(LAB, small, out, "--jobs", "2", "--live", "--no-browser") as grading:
        for frame in frames(lambda: grading.printed):
            states.append(str(frame.get("state", frame.get("reason"))))
            for slot in frame.get("slots", ()):
                phases.setdefault(slot["student"], set()).add(slot["phase"])
                tests.setdefault(slot["student"], set()).add(slot.get("test"))
                slots[slot["slot"]] = slot
                new, before = slot["console"], consoles.get(slot["student"], "")
                consoles[slot["student"]] = new["text"] if new["anew"] else before + new["text"]
            results |= {row["student"]: row["verdict"] for row in frame.get("results", ())}
        grading.finish()
    assert list(dict.fromkeys(states))[-3:] == ["grading", "finished", "the grading has ended"]
    assert results == {name: EXPECTED["lab"][name]["verdict"] for name in SMALL}
    assert {"build", "load", "tests"} & phases["good"], "some of them are longer than a frame"
    assert tests["good"] - {None}, "and so is a test"
    assert {(slot["slot"], slot["phase"]) for slot in slots.values()} == {(1, "done"), (2, "done")}
    assert "does not like this machine" in consoles["panic-at-load"]
    assert "task_lister: loading out-of-tree module" in consoles["good"]
    require_expected(out, "lab", set(SMALL))


# -- from a Moodle download -----------------------------------------------------------------------------------


def moodle_download(folder: Path, target: Path) -> dict[str, str]:
    """Pack a class as Moodle does; return each student's number."""
    numbers = {path.name: str(4711 + place) for place, path in enumerate(sorted(folder.iterdir()))}
    with zipfile.ZipFile(target, "w") as packed:
        for student, participant in numbers.items():
            for file in sorted((folder / student).rglob("*")):
                inside = file.relative_to(folder / student)
                packed.write(file, f"{student}_{participant}_assignsubmission_file_/{inside}")
    return numbers


def test_a_moodle_download_becomes_a_worksheet_and_feedback_files(
    small: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """And the same files, handed in anew, need no machine."""
    shutil.copytree(undisturbed, out := tmp_path / "out")
    shutil.rmtree(out / "students")
    numbers = moodle_download(small, download := tmp_path / "OS-Lab1-4711.zip")
    with Grading(LAB, download, out) as grading:
        grading.finish()
    assert {student: known for student, (_, _, known) in grading.results().items()} == dict.fromkeys(SMALL, True)
    wanted = {name: EXPECTED["lab"][name] for name in SMALL}
    with (out / "gradebook.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["Identifier"]: row for row in csv.DictReader(file)}
    assert {row["Full name"]: identifier for identifier, row in rows.items()} == {
        student: f"Participant {number}" for student, number in numbers.items()
    }
    assert {row["Full name"]: float(row["Grade"]) for row in rows.values()} == {
        name: about["score"] for name, about in wanted.items()
    }
    assert all(row["Feedback comments"].startswith(wanted[row["Full name"]]["verdict"]) for row in rows.values())
    with zipfile.ZipFile(out / "moodle-feedback.zip") as packed:
        assert set(packed.namelist()) == {
            f"{student}_{number}_assignsubmission_file_/feedback.html" for student, number in numbers.items()
        }
        pages = {name.partition("_")[0]: packed.read(name).decode() for name in packed.namelist()}
    assert all(f">{wanted[student]['verdict']}</span>" in page for student, page in pages.items())


# -- what is killed midway ------------------------------------------------------------------------------------


def gone(place: Path) -> bool:
    """Whether nothing that belongs to a slot runs any more."""
    return not names_in_use(place.name)


def require_kept(out: Path, before: dict[str, tuple[int, bytes]]) -> None:
    """Check that what had a result has that same one, and that there is one for each submission."""
    after = kept(out)
    assert {name: after[name] for name in before} == before, "graded twice"
    assert len(after) == len(SMALL)


def test_a_grader_that_is_killed_goes_on_where_it_was(small: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Grading(LAB, small, out, "--jobs", "1") as grading:
        until(lambda: len(kept(out)) >= 2 and at_work(grading.process.pid), "nothing was under way")
        slots = list(machines(grading.process.pid).values())
        grading.kill()
    before = kept(out)
    assert 2 <= len(before) < len(SMALL)
    assert not (out / "gradebook.csv").exists()
    for place in slots:
        until(lambda place=place: gone(place), f"of {place.name} something still runs", 30)  # type: ignore[misc]
    with Grading(LAB, small, out, "--jobs", "1") as again:
        again.finish()
    require_kept(out, before)
    assert sum(known for _, _, known in again.results().values()) == len(before)
    assert set(again.results()) == set(SMALL)
    same_gradebook(out, undisturbed)
    require_same_everywhere(out)
    assert not any(place.exists() for place in slots), "a slot is left behind"


@pytest.mark.grading
def test_a_machine_that_is_killed_costs_nobody_a_point(small: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Grading(LAB, small, out, "--jobs", "1") as grading:
        until(lambda: at_work(grading.process.pid), "no machine came up")
        os.kill(next(iter(at_work(grading.process.pid))), signal.SIGKILL)
        grading.finish()
    assert Counter(attempts(out).values()) == {1: len(SMALL) - 1, 2: 1}
    same_gradebook(out, undisturbed)
    require_kept(out, {})


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Running]:
    """A scheduler's address, and its two workers."""
    with cluster(tmp_path, lambda address: [KMODLAB, "worker", address, "--slots", "1"]) as running:
        yield running


def moves(dask_scheduler: Any) -> list[tuple[str, str]]:
    """Return what became of each piece of work, as the scheduler noted it; runs in the scheduler."""
    return [(str(key), after) for key, _, after, *_ in dask_scheduler.transition_log]


def test_a_worker_that_is_killed_loses_nothing(
    small: Path, undisturbed: Path, workers: Running, tmp_path: Path
) -> None:
    from distributed import Client  # it takes a second, and only this test needs it

    address, (victim, other) = workers
    out = tmp_path / "out"
    with Client(address) as client:  # type: ignore[no-untyped-call]
        client.wait_for_workers(2, timeout=SECONDS)
        with Grading(LAB, small, out, "--scheduler", address) as grading:
            until(lambda: kept(out) and at_work(victim.pid), "the worker had nothing to do")
            places = list(machines(victim.pid).values())
            before = kept(out)
            victim.kill()
            victim.wait()
            for place in places:
                until(lambda place=place: gone(place), f"of {place.name} something still runs", 30)  # type: ignore[misc]
            grading.finish()
        noted: list[tuple[str, str]] = client.run_on_scheduler(moves)
    assert other.poll() is None
    require_kept(out, before)
    same_gradebook(out, undisturbed)
    begun, ended = (Counter(key for key, state in noted if state == now) for now in ("processing", "memory"))
    work = {key for key in ended if key.startswith("examine_here")}
    assert len(work) == len(SMALL)
    assert {ended[key] for key in work} == {1}, "graded twice"
    assert sorted(begun[key] for key in work) == [1] * (len(SMALL) - 1) + [2], "what it was at was begun again"


# -- one submission, to look at -------------------------------------------------------------------------------


def test_a_machine_that_is_kept_can_be_looked_at(small: Path, tmp_path: Path) -> None:
    """With the module as the tests left it; and it ends as the command says."""
    with Grading(LAB, small, tmp_path / "out", "--only", "proc-entry*", "--keep") as grading:
        grading.finish()
    found = re.search(r"the machine is left up: (ssh -F \S+ \S+); to end it: kill (\d+)", grading.printed)
    assert found, grading.printed
    number = int(found[2])
    try:
        done = subprocess.run(
            [*shlex.split(found[1]), "ls /proc/task_lister; lsmod"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert "/proc/task_lister" in done.stdout, done.stderr
        assert f"kmodlab-{found[1].split()[-1]}".encode() in Path(f"/proc/{number}/cmdline").read_bytes()
    finally:
        os.kill(number, signal.SIGTERM)
    until(lambda: gone(Path(found[1].split()[-1])), "it does not end", 30)
    assert scores(tmp_path / "out")["proc-entry-left"]["Verdict"] == "leak"


def test_only_one_machine_is_kept(small: Path, tmp_path: Path) -> None:
    with Grading(LAB, small, tmp_path / "out", "--keep") as grading:
        grading.finish(status=2)
    assert f"--keep is for one submission, and here are {len(SMALL)}" in grading.printed


# -- from Ansible ---------------------------------------------------------------------------------------------


def play(out: Path) -> str:
    """Grade one submission with the playbook, and return what Ansible says."""
    given = {"lab": str(LAB), "submissions": str(GRADING / "submissions" / "load-error"), "out": str(out)}
    done = subprocess.run(
        [KMODLAB.with_name("ansible-playbook"), "playbooks/grade.yml", "-e", json.dumps(given)],
        cwd=project_dir(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_playbook_grades_once(tmp_path: Path) -> None:
    first = play(tmp_path / "out")
    assert "changed=1" in first
    assert "load-error" in first
    require_expected(tmp_path / "out", "lab", {"load-error"})
    again = play(tmp_path / "out")
    assert "changed=0" in again
    assert "(known)" in again

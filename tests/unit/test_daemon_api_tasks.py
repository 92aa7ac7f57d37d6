"""The tasks as the server tells them: a window of a table that may be very long, in an order, searched, as a tree."""

from __future__ import annotations

from typing import Any

import pytest

from kmodlab.errors import ModuleUnavailable
from unit.live_server import Live
from unit.live_source import BEGAN, TASKS

V1 = "/api/v1"


@pytest.fixture
def ask(live: Live) -> Any:
    headers = live.log_in()
    return lambda path: live.ask("GET", f"{V1}/{path}", headers)


def test_all_of_a_small_machine(ask: Any) -> None:
    found = ask("tasks").json
    assert {key: found[key] for key in ("wall", "n", "matched", "shown", "offset", "missing")} == {
        "wall": BEGAN, "n": 7, "matched": 7, "shown": 7, "offset": 0, "missing": [],
    }  # fmt: skip
    assert set(found["rows"]) == {"pid", "ppid", "comm", "state", "vm", "rss", "threads", "uid", "gid"}
    assert found["rows"]["comm"] == [row.split()[2] for row in TASKS]
    assert found["states"] == {"sleeping": 4, "idle": 1, "running": 1, "zombie": 1}
    assert (found["vm"], found["rss"]) == (168000 + 15000 + 9000 + 90000, 12000 + 9000 + 5000 + 60000)


def test_sums_are_those_of_all_whatever_is_searched_for(ask: Any) -> None:
    found = ask("tasks?filter=cc1&limit=1").json
    assert (found["matched"], sum(found["states"].values()), found["rss"]) == (1, found["n"], 86000)


def test_a_lister_that_tells_no_sizes_has_no_sums_of_them(live: Live, ask: Any) -> None:
    live.source.task_head = "PID PPID COMMAND STATE UID"
    live.source.task_rows = ["1 0 systemd SLEEPING 0"]
    found = ask("tasks").json
    assert (found["vm"], found["rss"], found["states"]) == (None, None, {"sleeping": 1})


def test_a_window_of_a_long_table(live: Live, ask: Any) -> None:
    live.source.task_rows = [f"{pid} 0 c{pid} SLEEPING 4 {pid * 7 % 10007} 1 0 0" for pid in range(1, 20_001)]
    found = ask("tasks?sort=rss&order=down&offset=5&limit=3&columns=pid,rss").json
    wanted = sorted(range(1, 20_001), key=lambda pid: (-(pid * 7 % 10007), pid))[5:8]
    assert (found["n"], found["shown"], found["rows"]["pid"]) == (20_000, 20_000, wanted)
    assert set(found["rows"]) == {"pid", "rss"}
    assert ask("tasks?offset=20000").json["rows"]["pid"] == []
    assert len(ask("tasks").json["rows"]["pid"]) == 100


def test_a_search_in_a_tree(ask: Any) -> None:
    found = ask(
        "tasks?shape=tree&filter=state%3Dzombie,running+uid%3D1000&sort=rss_sum&order=down&columns=pid,tasks"
    ).json
    assert (found["matched"], found["shown"]) == (2, 5)
    assert found["rows"] == {
        "pid": [1, 402, 977, 1200, 1201], "tasks": [5, 4, 3, 1, 1], "depth": [0, 1, 2, 3, 3],
        "children": [1, 1, 2, 0, 0],
    }  # fmt: skip
    assert ask("tasks?shape=tree&closed=1,2&columns=pid").json["rows"]["pid"] == [1, 2]


def test_a_snapshot_is_asked_for_by_its_time(live: Live, ask: Any) -> None:
    live.source.no_tasks = ModuleUnavailable("the module task_lister is not loaded on this machine", hint="`modprobe`")
    assert ask("tasks?at=1700000123.5").json["wall"] == 1700000123.5
    assert ("tasks", 1700000123.5) in live.source.asked


def test_a_machine_without_a_lister_is_said_in_one_sentence(live: Live, ask: Any) -> None:
    live.source.no_tasks = ModuleUnavailable("the module task_lister is not loaded on this machine", hint="`modprobe`")
    answer = ask("tasks")
    said = {"detail": "the module task_lister is not loaded on this machine", "hint": "`modprobe`"}
    assert (answer.status, answer.json["trouble"], answer.json["n"], answer.json["rows"]) == (200, said, 0, {})
    assert (answer.json["states"], answer.json["vm"], answer.json["rss"]) == ({}, None, None)
    assert ask("tasks?at=5").json["trouble"] is None
    assert ask("tasks/rates").status == 200, "what was is there all the same"


def test_names_are_text_whatever_they_are(live: Live, ask: Any) -> None:
    live.source.task_rows = [r"9 1 <img\040onerror=x>\342\200\256\000 SLEEPING 0 0 1 0 0"]
    assert ask("tasks?filter=%3Cimg").json["rows"]["comm"] == [r"<img\040onerror=x>\342\200\256\000"]


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("tasks?sort=size", "sort has to be one of pid, ppid, comm, state, vm, rss, threads, uid, gid, tasks, rss_sum"),
        ("tasks?sort=rss_sum", "rss_sum is there in a tree alone"),
        ("tasks?order=rising", "order has to be one of up, down"),
        ("tasks?shape=round", "shape has to be one of flat, tree"),
        ("tasks?closed=1,x", "closed has to be PIDs with commas between them"),
        ("tasks?closed=", "closed has to be PIDs with commas between them"),
        ("tasks?closed=12345678901", "closed has to be PIDs with commas between them"),
        ("tasks?columns=pid,secret", "there is no column 'secret'"),
        ("tasks?columns=", "there is no column ''"),
        ("tasks?offset=-1", "offset has to be a whole number from 0 to 10000000"),
        ("tasks?limit=1001", "limit has to be a whole number from 1 to 1000"),
        ("tasks?at=x", "at has to be a number from 0 to 253402300799"),
        ("tasks?filter=pid%3Dx", "pid=x is no number"),
        ("tasks?filter=pid%3D1+pid%3D2", "the filter has pid twice"),
        ("tasks?filter=%22a", "the filter has a quotation mark too few"),
        ("tasks/rates?begin=5&end=5", "begin has to be before end"),
        ("tasks/rates?step=0", "step has to be more than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(ask: Any, path: str, detail: str) -> None:
    answer = ask(path)
    assert (answer.status, answer.json["detail"]) == (400, detail)


def test_what_came_and_went_is_beside_the_states(ask: Any) -> None:
    found = ask("tasks/rates?begin=1000&end=1030&step=10").json
    assert (found["started"], found["ended"], found["looked"]) == ([None, 3, 6], [None, 2, 4], [None, 10, 10])


def test_it_takes_a_session(live: Live) -> None:
    for path in ("tasks", "tasks/rates"):
        assert live.ask("GET", f"{V1}/{path}").status == 401


def test_metrics_have_the_tasks_by_state_and_no_others(live: Live) -> None:
    headers = live.log_in()
    text = live.ask("GET", "/metrics", headers).body.decode()
    found = [line for line in text.splitlines() if line.startswith("kmodlab_tasks")]
    assert found == [
        'kmodlab_tasks{state="running"} 1.0', 'kmodlab_tasks{state="sleeping"} 3.0',
        'kmodlab_tasks{state="stopped"} 0.0', 'kmodlab_tasks{state="zombie"} 1.0', 'kmodlab_tasks{state="other"} 2.0',
        'kmodlab_tasks_memory_bytes{kind="virtual"} 9.437184e+08',
        'kmodlab_tasks_memory_bytes{kind="resident"} 1.2582912e+08', "kmodlab_tasks_started_total 41.0",
        "kmodlab_tasks_ended_total 7.0",
    ]  # fmt: skip
    live.source.no_tasks = ModuleUnavailable("no")
    answer = live.ask("GET", "/metrics", headers)
    assert answer.status == 200
    assert b"kmodlab_tasks" not in answer.body, "nobody sees them, which is no zero"

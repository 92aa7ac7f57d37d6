"""A day of sums with 5,000 processes: each question of the page has a bounded answer, and nothing waits for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from bench.live import DAY, a_day
from unit.daemon_tape import Tape
from unit.live_server import Events

from live.daemon import Daemon, serving, wait
from live.feeds import Player

STEPS = 240
"""Of a chart of the past, as the page asks for them."""
CALLS, A_SECOND = 7, 100
"""How many calls the day has, and how often each is made in a second."""
TOTAL = CALLS * A_SECOND * DAY
EVERY_PROCESS = 65
"""Calls that all processes of the day together are said to make in a second."""
NOBODY = 5_000_000
LETTERS = 1 << 20
"""What an answer may have at most."""

Day = tuple[Daemon, Player, float]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    folder = tmp_path_factory.mktemp("day")
    end = a_day(folder / "history")
    player = Player()
    with serving(folder, player) as daemon:
        tape = Tape(size=200, lossy=False, pids=NOBODY)
        player.play(tape.begin())
        wait(lambda: daemon.get("/api/v1/machine")["state"] == "recording", "it records")
        yield daemon, player, end


def questions(end: float) -> dict[str, str]:
    """What the page asks for where a day is chosen, and at its beginning."""
    span = f"begin={end - DAY}&end={end}"
    step = DAY // STEPS
    return {
        **{f"rates by {by}": f"rates?{span}&step={step}&by={by}" for by in ("call", "status", "process")},
        **{f"busiest by {by}": f"top?{span}&by={by}&limit=64" for by in ("call", "status", "process")},
        "calls one by one": f"events?{span}&limit=100",
        "of one process": f"events?{span}&limit=100&filter=pid%3D1000",
        "a text in any argument": f"events?{span}&limit=100&filter=%2Fnowhere",
        "blocked": f"blocked?{span}&limit=100",
        "changes": f"changes?{span}",
        "rates of three minutes": f"rates?begin={end - 180}&end={end}&step=1&by=call",
        "ledger": "ledger",
        "machine": "machine",
    }


def asked(daemon: Daemon, path: str) -> tuple[Any, int, float]:
    """An answer, its length, and how long it took, seconds."""
    begun = time.perf_counter()
    answer = daemon.way.ask("GET", f"/api/v1/{path}", {"authorization": f"Bearer {daemon.reader}"})
    took = time.perf_counter() - begun
    assert answer.status == 200, answer.body
    return answer.json, len(answer.body), took


def test_each_question_of_a_day_is_bounded(day: Day, capsys: pytest.CaptureFixture[str]) -> None:
    daemon, _, end = day
    found, lines = {}, []
    for name, path in questions(end).items():
        found[name], length, took = asked(daemon, path)
        lines.append(f"{name:<30}{took * 1000:>9.1f} ms{length:>10,} bytes")
        assert length < LETTERS, name
    with capsys.disabled():
        print("", *lines, sep="\n")
    for by in ("call", "status"):
        rates = found[f"rates by {by}"]
        assert (rates["steps"], rates["stopped"]) == (STEPS, False)
        assert sum(sum(one["n"]) for one in rates["series"]) == TOTAL
        assert sum(found[f"busiest by {by}"]["n"]) == TOTAL
    assert set(found["busiest by call"]["n"]) == {A_SECOND * DAY}
    assert len(found["busiest by process"]["name"]) <= 65
    _is_whole(found["rates by process"])
    assert found["rates of three minutes"]["tier"] == 1
    assert {n for one in found["rates of three minutes"]["series"] for n in one["n"][1:-1]} == {A_SECOND}


def _is_whole(rates: Any) -> None:
    """A chart by process has the busiest of thousands, and all that others did as `other`."""
    sums = {one["name"]: sum(one["n"]) for one in rates["series"]}
    assert len(sums) == 65
    assert sum(sums.values()) == EVERY_PROCESS * DAY
    assert sums["other"] > sum(sums.values()) * 0.9


def test_the_live_view_goes_on_meanwhile(day: Day) -> None:
    """Ticks come while the heaviest questions are answered or stopped, and their sums are right."""
    daemon, player, end = day
    tape = Tape(size=200, lossy=False, pids=NOBODY)
    tape.next = {0: 0, 1: 0}
    key = {"authorization": f"Bearer {daemon.reader}"}
    connection = daemon.way.send("GET", "/api/v1/stream", key)
    with contextlib.closing(connection):
        stream = Events(connection, connection.getresponse())
        kind, state, _ = stream.next()
        assert kind == "state"
        base = state["base"]["ledger"].get("rolled", 0) if state["base"] else 0
        player.play(tape.batches(40_000))
        for path in questions(end).values():
            asked(daemon, path)
        came = 0
        while came < 40_000:
            kind, tick, _ = stream.next()
            came += tick["events"]
            assert tick["ledger"]["rolled"] == base + came
    assert came == 40_000


def test_a_search_that_finds_nothing_has_bounded_answers(day: Day) -> None:
    """Of calls one by one, where there are many: each answer has an end, and says where to go on."""
    daemon, player, _ = day
    before = daemon.get("/api/v1/ledger")["totals"].get("rolled", 0)
    tape = Tape(size=500, lossy=False, pids=NOBODY)
    tape.next = dict.fromkeys((0, 1), before // 2)
    player.play(tape.batches(200_000))
    daemon.books(before + 200_000)
    path, places = "events?begin=0&end=9000000000&limit=100&filter=%2Fnowhere", list[str]()
    page, length, _ = asked(daemon, path)
    while page["before"]:
        assert page["stopped"]
        assert length < LETTERS
        places.append(page["before"])
        page, length, _ = asked(daemon, f"{path}&before={page['before']}")
    assert page["rows"]["seq"] == []
    assert len(places) == len(set(places)), "each goes on behind the one before"

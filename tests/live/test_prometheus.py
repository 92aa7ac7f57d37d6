"""Debian's Prometheus, set up as the documentation says, has what the interface says, in as many series as ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.daemon_tape import NS, WALL, Tape, batch, ids, record
from unit.test_daemon_station import Hand

from kmodlab.daemon.items import Begin, CallInfo, Clock
from live.daemon import Daemon, serving, wait
from live.docs import snippet
from live.prometheus import Prometheus, scraping

PROCESSES = 10_000
#: process ids from here on are no process's: Linux has at most 2^22
NOBODY = 5_000_000
HOSTILE = [
    'quote"s',
    "back\\slash",
    "line\nkmodlab_calls_total{call=\"forged\"} 1",
    '",status="x"} 7\n# HELP forged x\nforged 1\n',
    "{}=~\".*\" # EOF",
    "<img src=x onerror=alert(1)>",
    "\u202egnp.exe",
    "\x00\x1b[2J",
]  # fmt: skip


@pytest.fixture(scope="module")
def feed() -> Hand:
    return Hand()


@pytest.fixture(scope="module")
def tape() -> Tape:
    return Tape(size=200, seed=4, pids=NOBODY)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, feed: Hand, tape: Tape) -> Iterator[Daemon]:
    with serving(tmp_path_factory.mktemp("daemon"), feed) as one:
        feed.give(*tape.begin(), *tape.batches(20_000), tape.counters(unsent=3))
        wait(lambda: one.get("/api/v1/ledger")["totals"].get("rolled") == 20_000, "all is counted")
        yield one


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, daemon: Daemon) -> Iterator[Prometheus]:
    with scraping(tmp_path_factory.mktemp("prometheus"), daemon, snippet("yaml")) as one:
        yield one


def rolled(prometheus: Prometheus, records: int) -> dict[tuple[str, str], float]:
    """The ledger, by CPU and term, as of a look at which so many were counted."""

    def ledger() -> dict[tuple[str, str], float]:
        found = prometheus.query("sum by (cpu, term) (kmodlab_ledger_records)")
        return {(labels["cpu"], labels["term"]): value for labels, value in found}

    def counted() -> dict[tuple[str, str], float] | None:
        found = ledger()
        return found if by_term(found).get("rolled") == records else None

    looked: dict[tuple[str, str], float] = wait(counted, "a look", ledger)
    return looked


def by_term(ledger: dict[tuple[str, str], float]) -> dict[str, float]:
    """The ledger over all CPUs."""
    found: dict[str, float] = {}
    for (_, term), value in ledger.items():
        found[term] = found.get(term, 0) + value
    return found


def test_it_is_let_in_by_its_key_alone(prometheus: Prometheus) -> None:
    good = wait(lambda: (found := prometheus.target("kmodlab"))["health"] == "up" and found, "it is up")
    assert good["lastError"] == ""
    refused = "server returned HTTP status 401 Unauthorized"
    wait(lambda: prometheus.target("stranger")["lastError"] == refused, "it is refused")
    assert prometheus.target("stranger")["health"] == "down"


def test_it_has_the_ledger_as_the_interface_tells_it(prometheus: Prometheus, daemon: Daemon, tape: Tape) -> None:
    ledger = rolled(prometheus, 20_000)
    books = daemon.get("/api/v1/ledger")
    assert by_term(ledger) == books["totals"]
    sums = [one for one in books["equations"] if one["scope"] != "all"]
    assert {one["scope"] for one in sums} == {"epoch 1 CPU 0", "epoch 1 CPU 1"}
    for one in sums:
        cpu = one["scope"][-1]
        for name, number in {one["left"]: one["number"], **one["right"]}.items():
            assert ledger[cpu, name] == number, (cpu, name)
    lost = {"lost_ring": tape.ring, "lost_socket": tape.socket, "lost_dropped": tape.dropped}
    for name, numbers in lost.items():
        assert by_term(ledger)[name] == sum(numbers.values()) > 0
    assert wait(lambda: prometheus.query("sum(kmodlab_ledger_open)"), "a look") == [({}, 0.0)]


def test_it_has_the_sums_of_the_tape(prometheus: Prometheus, tape: Tape) -> None:
    rolled(prometheus, 20_000)
    found = wait(lambda: prometheus.query("sum by (call, status) (kmodlab_calls_total)"), "a look")
    assert {(labels["call"], labels["status"]): value for labels, value in found} == dict(tape.calls)


def test_ten_thousand_process_names_make_no_series(
    prometheus: Prometheus, daemon: Daemon, feed: Hand, tape: Tape
) -> None:
    rolled(prometheus, 20_000)
    before = prometheus.ask("series", **{"match[]": '{job="kmodlab"}'})
    assert len(before) > 100
    seq = tape.next[0]
    for start in range(0, PROCESSES, 500):
        records = [
            record(
                ids()["openat"], path=b"/x", seq=seq + n, pid=NOBODY + n, comm=b"name-%d" % n,
                at=tape.now + NS + n * 10_000,
            )
            for n in range(start, start + 500)
        ]  # fmt: skip
        feed.give(batch(records))
    tape.next[0] += PROCESSES
    tape.now += 2 * NS
    feed.give(tape.counters())
    rolled(prometheus, 20_000 + PROCESSES)
    for name in ("name-0", f"name-{PROCESSES - 1}"):
        # What is counted is written, and found, within a second.
        wait(lambda name=name: newest(daemon, f"comm={name}") == name, f"{name} went through")  # type: ignore[misc]
    assert prometheus.ask("series", **{"match[]": '{job="kmodlab"}'}) == before


def newest(daemon: Daemon, only: str) -> str:
    """The command of the newest call that a filter takes; a search that its limit ended goes on."""
    begin, before = WALL / NS, ""
    while True:
        asked = f"/api/v1/events?filter={only}&limit=1&begin={begin}&end={begin + 3600}{before}"
        page = daemon.get(asked)
        if page["rows"]["comm"] or not page["before"]:
            return str(*page["rows"]["comm"])
        before = f"&before={page['before']}"


def test_hostile_names_are_labels_and_nothing_else(tmp_path: Path) -> None:
    """Of calls, of the host and of its kernel: all that a machine can name which comes into a label."""
    feed = Hand()
    calls = tuple(CallInfo(number, name, "x") for number, name in enumerate(HOSTILE))
    counts = {0: len(HOSTILE)}
    start = Begin("boot", HOSTILE[3], "boot", HOSTILE[2], "1.0.0", 128, calls, {0: 0}, {0: 0})
    (tmp_path / "daemon").mkdir()
    (tmp_path / "prometheus").mkdir()
    with (
        serving(tmp_path / "daemon", feed) as daemon,
        scraping(tmp_path / "prometheus", daemon, snippet("yaml")) as prometheus,
    ):
        records = [record(number, seq=number, pid=NOBODY, at=5 * NS + number) for number in range(len(HOSTILE))]
        feed.give(start, Clock(NS, 0, WALL), batch(records))
        rolled(prometheus, counts[0])
        found = wait(lambda: prometheus.query("kmodlab_calls_total"), "a look")
        assert sorted(labels["call"] for labels, _ in found) == sorted(HOSTILE)
        assert {value for _, value in found} == {1.0}
        ((labels, _),) = wait(lambda: prometheus.query("kmodlab_machine_info"), "a look")
        assert (labels["host"], labels["kernel"]) == (HOSTILE[3], HOSTILE[2])
        every = prometheus.ask("label/__name__/values")
        assert not [name for name in every if "forged" in name]
        wait(lambda: prometheus.target("kmodlab")["health"] == "up", "it is read to its end")

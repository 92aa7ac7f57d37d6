"""What the daemon tells Prometheus: the right numbers, escaped, in a bounded number of series."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read

from kmodlab.daemon.api.hub import Hub
from kmodlab.daemon.api.metrics import MOST_CALLS, Metrics
from kmodlab.daemon.ledger import Books
from kmodlab.daemon.tick import Count, Process, ProcessCount
from unit.live_server import Live
from unit.live_source import FakeSource, histogram, row, terms, tick

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(page: bytes) -> Samples:
    found: Samples = {}
    for family in read(page.decode()):
        for one in family.samples:
            found[one.name, frozenset(one.labels.items())] = one.value
    return found


def page(hub: Hub, books: Books | None = None) -> bytes:
    source = FakeSource()
    return Metrics(hub, source.machine(), books or source.books, 2).page("")[0]


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


@pytest.fixture
def hub() -> Hub:
    return Hub(FakeSource())


def test_what_was_told_is_counted(hub: Hub) -> None:
    hub.publish(tick(1, [row(1), row(2, "unlink", "BLOCKED"), row(3, "unlink", "FAILED")], more=7))
    hub.publish(tick(2, [row(4)], behind=1.5))
    found = samples(page(hub))
    assert value(found, "kmodlab_calls_total", call="openat", status="LOGGED") == 9
    assert value(found, "kmodlab_calls_total", call="unlink", status="BLOCKED") == 1
    assert value(found, "kmodlab_errors_total", call="unlink", status="FAILED") == 1
    assert value(found, "kmodlab_behind_seconds") == 1.5
    assert value(found, "kmodlab_sessions") == 2


def test_latencies_are_a_histogram(hub: Hub) -> None:
    counts = {
        ("read", "LOGGED"): Count(4, 0, 4000, histogram(8, 3)),
        ("read", "FAILED"): Count(1, 1, 1, histogram(40, 1)),
    }
    hub.publish(tick(1, calls=counts))
    found = samples(page(hub))
    assert value(found, "kmodlab_latency_seconds_bucket", call="read", le="2.55e-07") == 3
    assert value(found, "kmodlab_latency_seconds_bucket", call="read", le="17.1798692") == 3
    assert value(found, "kmodlab_latency_seconds_bucket", call="read", le="+Inf") == 4
    assert value(found, "kmodlab_latency_seconds_sum", call="read") == pytest.approx(4001e-9)


def test_the_ledger_is_told_by_cpu_over_all_boots(hub: Hub) -> None:
    books = Books({(1, 0): terms(10), (2, 0): terms(5), (2, 1): terms(3, stored=2)}, troubles=("the disk is full",))
    found = samples(page(hub, books))
    assert value(found, "kmodlab_ledger_records", cpu="0", term="received") == 15
    assert value(found, "kmodlab_ledger_records", cpu="1", term="stored") == 2
    assert value(found, "kmodlab_ledger_open") == 2
    assert value(found, "kmodlab_troubles") == 1


def test_names_are_escaped(hub: Hub) -> None:
    name = 'a"b\\c\nkmodlab_calls_total{call="forged"} 1'
    hub.publish(tick(1, [row(1, name)]))
    found = samples(page(hub))
    assert value(found, "kmodlab_calls_total", call=name, status="LOGGED") == 1
    assert not [key for key in found if ("call", "forged") in key[1]]


def test_the_number_of_series_is_bounded(hub: Hub) -> None:
    for number in range(20):
        processes = tuple(
            ProcessCount(Process(n, 1, n, f"p{n}", 0, 1, 0.0), 1, 0, 0, 0)
            for n in range(number * 500, number * 500 + 500)
        )
        hub.publish(tick(number, [row(1, f"call{number * 100 + n}") for n in range(100)], processes=processes))
    found = samples(page(hub))
    calls = {dict(labels)["call"]: number for (name, labels), number in found.items() if name == "kmodlab_calls_total"}
    assert len(calls) == MOST_CALLS + 1
    assert sum(calls.values()) == 2000
    assert not any("p77" in str(labels) for _, labels in found)


def test_what_became_of_frames_is_told(live: Live) -> None:
    headers = live.log_in()
    events = live.stream("", headers)
    events.next()
    live.tell(tick(1, more=1))
    events.next()
    found = samples(live.ask("GET", "/metrics", headers).body)
    assert (
        value(found, "kmodlab_frames_total", fate="offered") == value(found, "kmodlab_frames_total", fate="sent") == 1
    )
    assert value(found, "kmodlab_streams") == 1


def test_both_formats_are_spoken(live: Live) -> None:
    live.tell(tick(1, [row(1)], more=4))
    headers = live.log_in()
    plain = live.ask("GET", "/metrics", headers)
    assert plain.headers["content-type"].startswith("text/plain")
    modern = live.ask("GET", "/metrics", {**headers, "accept": "application/openmetrics-text; version=1.0.0"})
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    families = list(read_open(modern.body.decode()))  # type: ignore[no-untyped-call]
    assert {family.name for family in families} >= {"kmodlab_calls", "kmodlab_machine"}

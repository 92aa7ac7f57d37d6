"""What the daemon's server is asked for, and what it makes of it."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from kmodlab.daemon.api import operations, query
from kmodlab.daemon.api.problem import Denied
from kmodlab.daemon.api.sessions import Role
from kmodlab.daemon.ledger import Books
from kmodlab.daemon.tick import Count, Filter, Process, Ranked, Source
from kmodlab.errors import LabError
from kmodlab.paths import project_dir
from unit.live_server import Live
from unit.live_source import BEGAN, FakeSource, histogram, row, terms

API = yaml.safe_load((project_dir() / "src/kmodlab/daemon/api/openapi.yaml").read_text())
V1 = "/api/v1"


@pytest.fixture
def ask(live: Live) -> Any:
    headers = live.log_in(Role.ADMIN)
    return lambda path: live.ask("GET", f"{V1}/{path}", headers)


# -- the description -----------------------------------------------------------------------------------------------


def _described() -> set[tuple[str, str, str]]:
    found = set()
    for path, methods in API["paths"].items():
        found |= {(one["operationId"], method.upper(), path) for method, one in methods.items()}
    return found


def test_the_description_and_the_server_agree() -> None:
    assert _described() == {(one.id, one.method, one.path) for one in operations.OPERATIONS}


def test_what_the_description_says_of_roles_is_so() -> None:
    for one in operations.OPERATIONS:
        described = API["paths"][one.path][one.method.lower()]
        assert (described.get("security") == []) == (one.role is None), one.id
        assert ("role admin" in described["summary"]) == (one.role is Role.ADMIN), one.id
        assert "default" in described["responses"], one.id


def test_every_operation_is_bound(live: Live) -> None:
    for one in operations.OPERATIONS:
        answer = live.ask(one.method, one.path, body={} if one.method == "POST" else None)
        assert answer.status in (400, 401), one.id


def _schema(operation: str, status: str = "200") -> dict[str, Any]:
    for methods in API["paths"].values():
        for one in methods.values():
            if one["operationId"] == operation:
                content = one["responses"][status]["content"]
                return {**content["application/json"]["schema"], "components": API["components"]}
    raise AssertionError(operation)


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        ("readSession", "session"),
        ("readMachine", "machine"),
        ("readLedger", "ledger"),
        ("listRates", "rates?begin=1000&end=1100&step=10"),
        ("listTop", "top?by=process"),
        ("listEvents", "events"),
        ("listBlocked", "blocked"),
        ("listChanges", "changes"),
        ("listTasks", "tasks"),
        ("listTasks", "tasks?shape=tree&filter=cc1&at=1700000000&columns=pid,comm,rss_sum"),
        ("listTaskRates", "tasks/rates?begin=1000&end=1100&step=10"),
    ],
)
def test_answers_are_as_described(live: Live, ask: Any, operation: str, path: str) -> None:
    live.source.rows = [row(1), row(2, "unlink", "BLOCKED")]
    process = Process(1, 1, 977, "cat", 1000, 1, BEGAN)
    live.source.ranked = [Ranked("cat", Count(3, 1, 90, histogram(5, 3)), 1, process), Ranked("other", Count(1), 0)]
    live.source.control("chmod block", "anna")
    answer = ask(path)
    assert answer.status == 200
    Draft202012Validator(_schema(operation)).validate(answer.json)


def test_problems_are_as_described(ask: Any) -> None:
    answer = ask("events?limit=0")
    schema = {"$ref": "#/components/schemas/Problem", "components": API["components"]}
    Draft202012Validator(schema).validate(answer.json)
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_description_is_served_as_it_is(live: Live, ask: Any) -> None:
    assert yaml.safe_load(ask("openapi.yaml").body) == API
    assert live.ask("GET", f"{V1}/openapi.yaml").status == 401


def test_the_collector_that_is_made_up_is_one() -> None:
    source: Source = FakeSource()
    assert source.machine().host == "lab"


# -- times, steps, limits ------------------------------------------------------------------------------------------


def test_an_hour_up_to_now_is_what_nobody_asked_for(live: Live, ask: Any) -> None:
    assert ask("rates").status == 200
    _, begin, end, step, by = live.source.asked[-1]
    assert (round(end - begin), by) == (3600, "call")
    assert abs(end - time.time()) < 10
    assert step == pytest.approx(18)


def test_a_time_is_handed_on_as_it_was_asked_for(live: Live, ask: Any) -> None:
    ask("top?begin=100&end=200.5&by=process&limit=7")
    assert list(live.source.asked[-1]) == ["top", 100.0, 200.5, "process", 7]
    ask("blocked?begin=1&end=2&limit=1000&before=abc")
    assert list(live.source.asked[-1]) == ["blocked", 1.0, 2.0, 1000, "abc"]
    ask("events?begin=1&end=2&filter=pid%3D7&before=x")
    assert list(live.source.asked[-1]) == ["events", 1.0, 2.0, Filter(pid=7), 100, "x"]


def test_there_are_never_more_than_two_thousand_steps(live: Live, ask: Any) -> None:
    ask("rates?begin=0&end=1000000&step=1")
    assert live.source.asked[-1][3] == 500


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("rates?begin=5&end=5", "begin has to be before end"),
        ("rates?begin=x", "begin has to be a number from 0 to 253402300799"),
        ("rates?begin=nan", "begin has to be a number from 0 to 253402300799"),
        ("rates?end=inf", "end has to be a number from 0 to 253402300799"),
        ("rates?begin=-1", "begin has to be a number from 0 to 253402300799"),
        ("rates?begin=1&begin=2", "begin is given more than once"),
        ("rates?step=0", "step has to be more than 0"),
        ("rates?by=colour", "by has to be one of call, status, process"),
        ("top?limit=0", "limit has to be a whole number from 1 to 1000"),
        ("top?limit=1001", "limit has to be a whole number from 1 to 1000"),
        ("top?limit=1e3", "limit has to be a whole number from 1 to 1000"),
        ("top?limit=%D9%A3", "limit has to be a whole number from 1 to 1000"),
        ("top?limit=" + "9" * 100, "limit has to be a whole number from 1 to 1000"),
        ("events?before=" + "x" * 129, "before may have 128 letters"),
        ("events?filter=" + "x" * 513, "filter may have 512 letters"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(live: Live, ask: Any, path: str, detail: str) -> None:
    answer = ask(path)
    assert (answer.status, answer.json["detail"]) == (400, detail)
    assert live.source.asked == []


# -- filters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", Filter()),
        ("call=openat,unlink", Filter(calls=frozenset({"openat", "unlink"}))),
        ("status=Blocked,failed", Filter(statuses=frozenset({"BLOCKED", "FAILED"}))),
        ("pid=7 uid=0 comm=ba", Filter(pid=7, uid=0, comm="ba")),
        ("/etc/", Filter(text="/etc/")),
        ('"a b" pid=1', Filter(text="a b", pid=1)),
        ("path=/etc", Filter(text="path=/etc")),
        (r"a\040b #c", None),
        (r"a\040b", Filter(text=r"a\040b")),
        ("#1", Filter(text="#1")),
    ],
)
def test_what_a_filter_means(text: str, meant: Filter | None) -> None:
    if meant is None:
        with pytest.raises(Denied, match="the filter has text twice"):
            query.parsed(text)
    else:
        assert query.parsed(text) == meant


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("pid=x", "pid=x is no number"),
        ("pid=-1", "pid=-1 is no number"),
        ("uid=4294967296", "uid=4294967296 is no number"),
        ("pid=1 pid=2", "the filter has pid twice"),
        ("status=odd", "there is no status 'odd'"),
        ('"half', "the filter has a quotation mark too few"),
    ],
)
def test_a_filter_that_is_none_is_said(text: str, detail: str) -> None:
    with pytest.raises(Denied) as caught:
        query.parsed(text)
    assert (caught.value.status, caught.value.detail) == (400, detail)
    assert caught.value.hint


# -- bodies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"", 400, "the body is no JSON"),
        (b"{", 400, "the body is no JSON"),
        (b"[" * 4000, 400, "the body is no JSON"),
        (b"\xff", 400, "the body is no JSON"),
        (b"[]", 400, 'the body has to be {"command": "..."} and nothing else'),
        (b'{"command": 7}', 400, 'the body has to be {"command": "..."} and nothing else'),
        (b'{"command": "x", "who": "root"}', 400, 'the body has to be {"command": "..."} and nothing else'),
        (b'{"command": ""}', 400, "command has to have 1 to 1024 letters"),
        (b'{"command": "%s"}' % (b"x" * 1025), 400, "command has to have 1 to 1024 letters"),
        (b'{"command": "\\ud800"}', 400, "command is no text: it has half a letter"),
        (b'{"command": "unlink block\\nclear"}', 400, "a command is one line of text"),
        (b'{"command": "unlink\\u0000"}', 400, "a command is one line of text"),
        (b" " * 5000, 413, "the body may have 4096 bytes"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(live: Live, body: bytes, status: int, detail: str) -> None:
    answer = live.ask("POST", f"{V1}/control", live.log_in(Role.ADMIN), body)
    assert (answer.status, answer.json["detail"]) == (status, detail)
    assert live.source.filters == ("unlink block",)


def test_a_body_says_that_it_is_json(live: Live) -> None:
    headers = {**live.log_in(Role.ADMIN), "content-type": "text/plain"}
    answer = live.ask("POST", f"{V1}/control", headers, b'{"command": "clear"}')
    assert (answer.status, answer.json["detail"]) == (415, "the body has to be application/json")


# -- what goes wrong -----------------------------------------------------------------------------------------------


def test_what_the_collector_cannot_answer_is_said_with_its_hint(live: Live, ask: Any) -> None:
    def gone() -> Any:
        raise LabError("the history is on a disk that is gone", hint="mount it again")

    live.source.machine = gone  # type: ignore[method-assign]
    answer = ask("machine")
    assert (answer.status, answer.json["detail"]) == (503, "the history is on a disk that is gone")
    assert answer.json["hint"] == "mount it again"


def test_a_fault_tells_nothing_of_the_inside(live: Live, ask: Any) -> None:
    def broken() -> Any:
        raise ZeroDivisionError("a secret path")

    live.source.machine = broken  # type: ignore[method-assign]
    answer = ask("machine")
    assert (answer.status, answer.json["detail"]) == (500, "the server has a fault; its log tells more")
    assert b"secret" not in answer.body
    assert "content-security-policy" in answer.headers


def test_the_ledger_says_which_sum_does_not_close(live: Live, ask: Any) -> None:
    assert ask("ledger").json["closes"]
    live.source.books = Books({(1, 0): terms(10), (1, 1): terms(7, stored=6)}, troubles=("the disk is full",))
    told = ask("ledger").json
    assert (told["closes"], told["troubles"]) == (False, ["the disk is full"])
    broken = [(one["scope"], one["name"], one["difference"]) for one in told["equations"] if not one["closes"]]
    assert ("epoch 1 CPU 1", "journal", 1) in broken
    assert all(scope == "epoch 1 CPU 1" for scope, _, _ in broken)

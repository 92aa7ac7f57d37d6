"""The hosts of a fleet: which of them something is wrong with, in what words; and how long one alone is followed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from kmodlab.daemon.api import alone
from kmodlab.daemon.hosts import LEVELS, LOST, HostState, ranked, span
from kmodlab.daemon.ledger import LOSSES
from kmodlab.daemon.tick import Source
from kmodlab.paths import project_dir
from unit.live_server import Live, running
from unit.live_source import FakeSource, tick

API = yaml.safe_load((project_dir() / "src/kmodlab/daemon/api/openapi.yaml").read_text())
V1 = "/api/v1"
FINE = HostState("fine", seen=1_000.0, ago=5.0, now=1_005.0, copied_to=990.0, recent=120)


@pytest.mark.parametrize(
    ("one", "level", "behind", "rate", "said"),
    [
        (FINE, "fine", 0.0, 2.0, []),
        (replace(FINE, ago=120.0, now=1_120.0), "fine", 0.0, 2.0, []),
        (replace(FINE, ago=121.0, now=1_121.0), "silent", 121.0, None, ["not heard of for 2 min"]),
        (replace(FINE, waiting=3), "fine", 15.0, 2.0, []),
        (replace(FINE, complete=False, copied_to=944.0), "behind", 61.0, None, ["its copy is 61 s behind"]),
        (replace(FINE, complete=False, copied_to=None), "fine", 5.0, 2.0, []),
        (
            replace(FINE, ago=9e5, now=901_000.0, waiting=1, open=1),
            "silent",
            900_010.0,
            None,
            ["not heard of for 10 d", "a sum does not close"],
        ),
        (replace(FINE, open=2), "open", 0.0, 2.0, ["2 sums of its ledger do not close"]),
        (replace(FINE, losses={"lost_ring": 4, "away": 9}), "lost", 0.0, 2.0, []),
        (replace(FINE, losses={"away": 9, "expired_age": 9, "expired_size": 9}), "fine", 0.0, 2.0, []),
    ],
)
def test_what_is_wrong_with_a_host_is_said(
    one: HostState, level: str, behind: float, rate: float | None, said: list[str]
) -> None:
    assert (one.level, one.behind, one.rate, list(one.troubles())) == (level, behind, rate, said)


def test_what_is_wrong_is_on_top_and_else_names_decide() -> None:
    found = [
        replace(FINE, name="b"),
        replace(FINE, name="a"),
        replace(FINE, name="lost", losses={"damaged": 1}),
        replace(FINE, name="behind", complete=False, copied_to=0.0),
        replace(FINE, name="open", open=1),
        replace(FINE, name="silent", ago=200.0),
        replace(FINE, name="a-silent-one", ago=150.0),
    ]
    assert [one.name for one in ranked(found)] == ["silent", "a-silent-one", "open", "behind", "lost", "a", "b"]
    assert [LEVELS.index(one.level) for one in ranked(found)] == [0, 0, 1, 2, 3, 4, 4]


def test_what_is_lost_is_what_the_page_calls_so() -> None:
    text = (project_dir() / "src/kmodlab/daemon/web/views/health.js").read_text()
    (line,) = [one for one in text.splitlines() if one.startswith("export const LOST = ")]
    assert [f'"{term}"' in line for term in LOSSES] == [term in LOST for term in LOSSES]


def test_a_time_in_words() -> None:
    assert [span(one) for one in (0, 89, 90, 5399, 5400, 172_799, 172_800)] == [
        "0 s", "89 s", "2 min", "90 min", "2 h", "48 h", "2 d",
    ]  # fmt: skip


# -- one alone -----------------------------------------------------------------------------------------------------


@dataclass
class Made:
    """Two hosts, and who of them was followed, and is."""

    names: tuple[str, ...] = ("one", "two")
    sources: dict[str, FakeSource] = field(default_factory=dict)
    followed: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def hosts(self) -> list[HostState]:
        return [replace(FINE, name=name) for name in self.names]

    @contextlib.contextmanager
    def of(self, name: str) -> Iterator[Source]:
        self.followed.append(name)
        self.sources[name] = FakeSource(mode=f"of {name}")
        yield self.sources[name]
        self.ended.append(name)


@pytest.fixture
def made() -> Made:
    return Made()


@pytest.fixture
def fleet(tmp_path: Path, made: Made) -> Iterator[Live]:
    with running(tmp_path, several=made) as one:
        yield one
    assert sorted(made.followed) == sorted(made.ended), "who ends, ends them all"


@pytest.fixture
def ask(fleet: Live) -> Any:
    headers = fleet.log_in()
    return lambda path: fleet.ask("GET", f"{V1}/{path}", headers)


def test_the_list_is_as_described(ask: Any) -> None:
    answer = ask("hosts")
    assert answer.status == 200
    schema = {**API["components"]["schemas"]["Hosts"], "components": API["components"]}
    Draft202012Validator(schema).validate(answer.json)
    assert (answer.json["name"], answer.json["rate"]) == (["one", "two"], [2.0, 2.0])


@pytest.mark.parametrize(
    "operation",
    [
        one["operationId"]
        for path in API["paths"].values()
        for one in path.values()
        if {"$ref": "#/components/parameters/Host"} in one.get("parameters", [])
    ],
)
def test_every_question_that_takes_a_host_is_asked_of_that_one(
    fleet: Live, ask: Any, made: Made, operation: str
) -> None:
    path = next(path for path, one in API["paths"].items() if one.get("get", {}).get("operationId") == operation)
    path = path.removeprefix(f"{V1}/")
    if operation == "streamTicks":
        stream = fleet.stream("?host=two")
        assert stream.next()[1]["machine"]["mode"] == "of two"
    else:
        assert ask(f"{path}?host=two").status == 200
    assert made.followed == ["two"]
    assert ask(f"{path}?host=three").status == 404
    assert ask(f"{path}?host=").status == 404
    assert ask(f"{path}?host=two&host=one").json["detail"] == "host is given more than once"
    assert made.followed == ["two"], "it is followed once, and others are not"


def test_each_has_ticks_of_its_own_and_both_end_with_the_server(fleet: Live, made: Made) -> None:
    streams = {name: fleet.stream(f"?host={name}") for name in made.names}
    for number, (name, stream) in enumerate(streams.items(), 1):
        assert stream.next()[0] == "state"
        source = made.sources[name]
        fleet.run(lambda source=source, number=number: source.tell(tick(1, more=number)))  # type: ignore[misc]
        kind, data, _ = stream.next()
        assert (kind, data["events"]) == ("tick", number)
    fleet.serving.should_exit = True
    for stream in streams.values():
        assert stream.next()[1] == {"reason": "the server ends"}


def test_who_is_looked_at_no_more_is_followed_no_more(
    fleet: Live, ask: Any, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alone, "MOST_HOSTS", 1)
    stream = fleet.stream("?host=one")
    assert stream.next()[0] == "state"
    answer = ask("machine?host=two")
    assert (answer.status, answer.json["detail"]) == (503, "too many hosts are looked at one by one")
    assert made.ended == [], "somebody looks at it"
    stream.close()
    fleet.wait_until(lambda: all(not hub.clients for hub in fleet.hub.beside))
    assert ask("machine?host=two").json["mode"] == "of two"
    assert (made.ended, len(fleet.hub.beside)) == (["one"], 1)


def test_after_a_while_nobody_is_followed(tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(alone, "IDLE_SECONDS", 0.0)
    with running(tmp_path, several=made) as fleet:
        headers = fleet.log_in()
        assert fleet.ask("GET", f"{V1}/machine?host=one", headers).json["mode"] == "of one"
        fleet.wait_until(lambda: made.ended == ["one"])
        assert fleet.ask("GET", f"{V1}/machine?host=one", headers).json["mode"] == "of one", "and is so again"
    assert made.followed == made.ended == ["one", "one"]


def test_a_server_of_one_host_has_no_list_and_is_not_asked_for_it(live: Live) -> None:
    headers = live.log_in()
    for path in ("hosts", "machine?host=lab"):
        answer = live.ask("GET", f"{V1}/{path}", headers)
        assert (answer.status, answer.json["detail"]) == (404, "this server shows one host alone")
    assert live.ask("GET", f"{V1}/machine", headers).json["fleet"] is False

"""The hosts of a fleet, one by one: what is said of each, and each shown alone by the hub that shows all."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from kmodlab.daemon import postgres
from kmodlab.daemon.postgres import Address
from kmodlab.paths import project_dir
from live.daemon import wait
from live.fleet import copied, goes_on, heard, showing, steady

API = yaml.safe_load((project_dir() / "src/kmodlab/daemon/api/openapi.yaml").read_text())


def told(found: dict[str, list[Any]]) -> dict[str, dict[str, Any]]:
    """The rows of the list of hosts, by their names, in their order."""
    rows = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
    return {row["name"]: row for row in rows}


def test_each_host_is_told_of_and_what_is_wrong_is_on_top(tmp_path: Path, database: Address) -> None:
    well = copied(tmp_path / "well", database, "well", 2_000, kernel="6.12.0", loads=2)
    lossy = copied(tmp_path / "a-lossy", database, "a-lossy", 20_000, lossy=True, seed=3)
    copied(tmp_path / "silent", database, "silent", ago=4_000.0)
    copied(tmp_path / "open", database, "open")
    copied(tmp_path / "old", database, "an-old-one", ago=3 * 86_400.0)
    copied(tmp_path / "behind", database, "behind", ago=500.0)
    steady(tmp_path / "steady", database, "steady", 20)
    for host in ("well", "a-lossy", "open", "an-old-one", "behind", "steady"):
        heard(database, host, -3_600.0)
    heard(database, "silent", 7_300.0)
    with contextlib.closing(postgres.connect(database)) as base:
        (number, cpu, text) = base.execute(
            "select l.epoch, cpu, terms from ledger l join epoch e on e.id = l.epoch where host = 'open' limit 1"
        ).fetchone() or (0, 0, "{}")
        terms = json.dumps({**json.loads(text), "stored": json.loads(text)["stored"] - 1})
        base.execute("update ledger set terms = %s where (epoch, cpu) = (%s, %s)", (terms, number, cpu))
        base.execute("update source set complete = false where host = 'behind'")
    with showing(tmp_path, database) as hub:
        assert hub.get("/api/v1/machine")["fleet"] is True
        found = hub.get("/api/v1/hosts")
        Draft202012Validator({**API["components"]["schemas"]["Hosts"], "components": API["components"]}).validate(found)
    hosts = told(found)
    assert list(hosts) == ["silent", "open", "behind", "a-lossy", "an-old-one", "steady", "well"]
    assert [one["level"] for one in hosts.values()] == ["silent", "open", "behind", "lost", "fine", "fine", "fine"]
    one = hosts["well"]
    assert (one["kernel"], one["version"], one["boot"]) == ("6.12.0", "1.0.0", "boot-of-well")
    assert (one["boots"], one["epochs"], one["behind"], one["waiting"], one["troubles"]) == (1, 2, 0, 0, [])
    assert one["day"] == 2_000
    assert hosts["steady"]["rate"] == 20
    assert 0 < one["blocked"] == sum(n for (_, status), n in well.calls.items() if status == "BLOCKED")
    assert one["errors"] == sum(n for (_, status), n in well.calls.items() if status != "LOGGED")
    assert (hosts["an-old-one"]["day"], hosts["an-old-one"]["rate"]) == (0, 0)
    one = hosts["a-lossy"]
    gone = {"lost_ring": lossy.ring, "lost_socket": lossy.socket, "lost_dropped": lossy.dropped}
    assert one["losses"] == {term: n.total() for term, n in gone.items() if n.total()}
    assert len(one["losses"]) == 3, "the tape has all three"
    assert one["lost"] == sum(one["losses"].values())
    one = hosts["silent"]
    assert re.fullmatch(r"not heard of for [23] h", *one["troubles"])
    assert one["ago"] >= 7_300
    assert one["rate"] is None
    assert hosts["open"]["troubles"] == ["2 sums of its ledger do not close"]
    assert re.fullmatch(r"its copy is \d+ min behind", *hosts["behind"]["troubles"])
    assert hosts["behind"]["behind"] >= 500
    assert hosts["behind"]["rate"] is None


def test_what_was_removed_before_it_was_copied_and_another_index_are_of_the_same_host(
    tmp_path: Path, database: Address
) -> None:
    copied(tmp_path / "before", database, "web", 1_000)
    heard(database, "web", 9_000.0)
    copied(tmp_path / "after", database, "web", 2_000, seed=2)
    with contextlib.closing(postgres.connect(database)) as base:
        base.execute("update source set seen = now() + interval '1 hour' where id = 1")
    with contextlib.closing(postgres.connect(database)) as base:
        base.execute("insert into unshipped values (0, 1, 0, 'expired_size', 70)")
    with showing(tmp_path, database) as hub:
        (one,) = told(hub.get("/api/v1/hosts")).values()
    assert (one["level"], one["day"], one["epochs"], one["unshipped"]) == ("fine", 3_000, 2, {"expired_size": 70})


def test_each_host_is_shown_alone_by_the_hub_of_all(tmp_path: Path, database: Address) -> None:
    for number, host in enumerate(("one", "two"), 1):
        copied(tmp_path / host, database, host, 2_000 * number, kernel=f"6.{number}.0")
    span = "begin=0&end=9000000000"
    with showing(tmp_path, database) as hub:
        for host, records in (("&host=one", 2_000), ("&host=two", 4_000), ("", 6_000)):
            assert sum(hub.get(f"/api/v1/top?{span}&by=call{host}")["n"]) == records
            series = hub.get(f"/api/v1/rates?{span}&step=3600{host}")["series"]
            assert sum(sum(one["n"]) for one in series) == records
            assert hub.get(f"/api/v1/ledger?{host}")["totals"]["rolled"] == records
            rows = hub.get(f"/api/v1/events?{span}&limit=1000{host}")["rows"]
            assert len(rows["epoch"]) == 1_000
            assert len(set(rows["epoch"])) == 1 or not host
            blocked = hub.get(f"/api/v1/blocked?{span}&limit=1000{host}")["rows"]
            assert len(set(blocked["epoch"])) == (1 if host else 2)
        machine = hub.get("/api/v1/machine?host=two")
        assert (machine["host"], machine["kernel"], machine["fleet"]) == ("two", "6.2.0", True)
        assert hub.get("/api/v1/machine")["host"] == "2 hosts"
        for path in ("machine", "events", "stream"):
            answer = hub.answer(f"/api/v1/{path}?host=three")
            assert (answer.status, answer.json["detail"]) == (404, "the fleet has no host of that name")
        assert hub.answer("/api/v1/machine?host=").status == 404
        assert hub.answer(f"/api/v1/machine?host={'x' * 254}").json["detail"] == "host may have 253 letters"
        assert hub.way.ask("GET", "/api/v1/hosts").status == 401


def test_the_stream_of_one_host_has_its_calls_alone(tmp_path: Path, database: Address) -> None:
    one, two = (copied(tmp_path / host, database, host, 2_000) for host in ("one", "two"))
    with showing(tmp_path, database) as hub:
        headers = {"authorization": f"Bearer {hub.reader}"}
        with contextlib.closing(hub.way.send("GET", "/api/v1/stream?host=one", headers)) as connection:
            response = connection.getresponse()
            assert response.status == 200
            assert wait(lambda: _event(response, "tick"), "a tick comes")["ledger"]["rolled"] == 0
            # The newest second may still grow: it is told of when there is another.
            for records in (1_000, 200):
                goes_on(tmp_path / "one", database, one, records)
                goes_on(tmp_path / "two", database, two, 5 * records)
            last = wait(lambda: (it := _event(response, "tick"))["ledger"]["rolled"] >= 3_000 and it, "its calls come")
        assert last["ledger"]["rolled"] == 3_000, "what one has, and nothing of two"


def _event(response: Any, kind: str) -> Any:
    """The data of the next event of a kind."""
    while line := response.readline():
        if line == f"event: {kind}\n".encode():
            return json.loads(response.readline().decode().partition(": ")[2])
    raise EOFError("the stream has ended")


def test_a_page_of_one_host_has_no_list(tmp_path: Path, database: Address) -> None:
    copied(tmp_path / "one", database, "one")
    with showing(tmp_path, database, "--host", "one") as hub:
        assert hub.get("/api/v1/machine")["fleet"] is False
        answer = hub.answer("/api/v1/hosts")
        assert (answer.status, answer.json["detail"]) == (404, "this server shows one host alone")
        assert answer.json["hint"] == "`kmodlabd hub` shows those of a fleet"
        assert hub.answer("/api/v1/machine?host=one").status == 404

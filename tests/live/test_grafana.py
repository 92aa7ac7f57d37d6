"""The dashboard for Grafana: every expression of it has an answer, and names nothing that there is not."""

from __future__ import annotations

import itertools
import json
import math
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kmodlab.daemon.demo import Demo
from kmodlab.daemon.ledger import LOSSES, TERMS, explained
from kmodlab.paths import project_dir
from live.daemon import serving, wait
from live.docs import snippet
from live.prometheus import Prometheus, scraping

BOARD: dict[str, Any] = json.loads((project_dir() / "docs" / "grafana.json").read_text())
PANELS: list[dict[str, Any]] = BOARD["panels"]
#: what Grafana puts into an expression: the machines that are chosen, and an interval that has some samples
CHOSEN = {"$instance": ".*", "$__rate_interval": "30s"}
EXPRESSIONS = [(panel, target["expr"]) for panel in PANELS for target in panel["targets"]]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that has watched a demo, with its blocked and failed calls, for some samples."""
    with (
        serving(tmp_path_factory.mktemp("daemon"), Demo(past=60)) as daemon,
        scraping(tmp_path_factory.mktemp("prometheus"), daemon, snippet("yaml")) as one,
    ):
        blocked = "rate(kmodlab_calls_total{status='BLOCKED'}[30s])"
        wait(lambda: one.query(blocked) and one.query("rate(kmodlab_frames_total[30s])"), "some samples")
        yield one


def filled(expression: str) -> str:
    """An expression as Grafana sends it."""
    for name, value in CHOSEN.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, "a variable that nobody fills"
    return expression


def shown(prometheus: Prometheus, expression: str) -> list[tuple[dict[str, str], float]]:
    """What an expression is; of a machine on which everything happens it is something."""
    asked = filled(expression)
    found: list[tuple[dict[str, str], float]] = wait(lambda: prometheus.query(asked), f"an answer to {asked}")
    return found


@pytest.mark.parametrize(
    "expression",
    [pytest.param(text, id=f"{panel['title']}-{number}") for number, (panel, text) in enumerate(EXPRESSIONS)],
)
def test_every_expression_has_an_answer(prometheus: Prometheus, expression: str) -> None:
    asked = filled(expression)
    now = time.time()
    data = prometheus.ask("query_range", query=asked, start=str(now - 5), end=str(now), step="1")
    assert data["resultType"] == "matrix"
    found = shown(prometheus, expression)
    assert all(value >= 0 or math.isnan(value) for _, value in found), found


def test_every_name_is_there(prometheus: Prometheus) -> None:
    there = set(prometheus.ask("label/__name__/values"))
    named = {name for _, text in EXPRESSIONS for name in re.findall(r"\bkmodlab_\w+", text)}
    assert named - there == set()
    # Whatever counts calls, losses and delay is on it.
    assert named >= {
        "kmodlab_calls_total", "kmodlab_errors_total", "kmodlab_ledger_records", "kmodlab_ledger_open",
        "kmodlab_behind_seconds", "kmodlab_latency_seconds_bucket", "kmodlab_troubles",
    }  # fmt: skip
    for label, values in {"status": ["BLOCKED", "FAILED"], "fate": ["coalesced"]}.items():
        assert set(values) <= set(prometheus.ask(f"label/{label}/values"))
        assert {one for _, text in EXPRESSIONS for one in re.findall(rf'\b{label}="(\w+)"', text)} == set(values)


def test_every_legend_has_its_labels(prometheus: Prometheus) -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            for labels, _ in shown(prometheus, target["expr"]):
                assert wanted <= set(labels), (panel["title"], labels)


def test_the_variable_finds_the_machines(prometheus: Prometheus) -> None:
    (variable,) = [one for one in BOARD["templating"]["list"] if one["name"] == "instance"]
    match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
    assert match
    found = prometheus.ask("series", **{"match[]": match[1]})
    assert [one[match[2]] for one in found] == [prometheus.target("kmodlab")["labels"]["instance"]]


def test_whatever_is_lost_is_on_it() -> None:
    """Each cause of the ledger's but those by which a record has reached its age, and nothing else."""
    known = {*TERMS, *explained({})}
    matched = {}
    for panel, text in EXPRESSIONS:
        for pattern in re.findall(r'term=~"([^"]+)"', text):
            matched[panel["title"]] = {name for name in known if re.fullmatch(pattern, name)}
    causes = set(LOSSES) - {"expired_age", "expired_size"}
    assert matched == {"Lost, by cause": causes, "Lost for good": causes - {"away"}}


def test_it_can_be_imported_anywhere() -> None:
    """It names no data source of its maker's, has each panel once, and no panel upon another."""
    text = json.dumps(BOARD)
    assert set(re.findall(r'"uid": "([^"]*)"', text)) == {"${datasource}", BOARD["uid"]}
    assert "id" not in BOARD
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) > 0

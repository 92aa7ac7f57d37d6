"""What a record costs, in instructions: the same on every machine, however busy, so a few more are seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bench import budget
from bench.harness import Laboratory
from bench.instructions import count, counting_guest
from bench.tracers import TRACERS, Tracer

from kmodlab.image.release import host_architecture

pytestmark = pytest.mark.skipif(host_architecture() != "amd64", reason="the budget is in instructions of amd64")
BUDGET = budget.read()


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    """A guest whose clock counts instructions, with the modules and the workload."""
    with counting_guest(budget.IMAGE, "budget") as guest:
        made = Laboratory(guest)
        made.prepare()
        yield made


@pytest.mark.parametrize("tracer", [tracer for tracer in TRACERS if tracer.key in BUDGET], ids=lambda one: one.key)
def test_a_record_costs_what_it_may(laboratory: Laboratory, tracer: Tracer) -> None:
    row = count(laboratory, tracer)
    assert row.traced["getppid"].agreed > 1, "what was counted is not exact"
    if found := list(budget.breaches(BUDGET[tracer.key], row)):
        pytest.fail("\n".join(found), pytrace=False)

"""What a record costs, in instructions: the same on every machine, however busy, so a few more are seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bench import budget
from bench.figures import Counted
from bench.harness import Laboratory
from bench.instructions import count, counting_guest
from bench.tracers import TRACERS, Tracer

from kmodlab.image.release import host_architecture

pytestmark = pytest.mark.skipif(host_architecture() != "amd64", reason="the budget is in instructions of amd64")
BUDGET = budget.read()
#: A device interrupts when the host likes: on a busy one that can be in nearly every chunk, and it is counted anew.
ATTEMPTS = 4


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    """A guest whose clock counts instructions, with the modules and the workload."""
    with counting_guest(budget.IMAGE, "budget") as guest:
        made = Laboratory(guest)
        made.prepare()
        yield made


def counted(laboratory: Laboratory, tracer: Tracer) -> Counted:
    """Count what a tracer adds, until two chunks agree on it."""
    for _ in range(ATTEMPTS):
        row = count(laboratory, tracer)
        if row.traced["getppid"].agreed > 1:
            return row
    pytest.fail(f"in {ATTEMPTS} times, no two chunks came to the same: {row.traced['getppid']}")


@pytest.mark.parametrize("tracer", [tracer for tracer in TRACERS if tracer.key in BUDGET], ids=lambda one: one.key)
def test_a_record_costs_what_it_may(laboratory: Laboratory, tracer: Tracer) -> None:
    row = counted(laboratory, tracer)
    if found := list(budget.breaches(BUDGET[tracer.key], row)):
        pytest.fail("\n".join(found), pytrace=False)

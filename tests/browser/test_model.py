"""The page and the terminal merge what the stream tells in the same way: the same events come to the same sums."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page
from unit.live_source import BEGAN, FakeSource, histogram, row, tick

from browser.conftest import Demo
from kmodlab.daemon.api import frames
from kmodlab.daemon.api.hub import Sums
from kmodlab.daemon.tick import Count, Filter, Status, Tick, merged
from kmodlab.top.model import Model

Event = tuple[str, Any]
CALLS = ("openat", "unlink", "close")
STATUSES: tuple[Status, ...] = ("LOGGED", "FAILED", "BLOCKED")
#: has the page's model take the events, and tells what it then knows
IN_THE_PAGE = """async (events) => {
  const {Model} = await import("./web/model.js");
  const model = new Model();
  const takes = {state: (x) => model.begin(x), tick: (x) => model.apply(x), rates: (x) => model.prime(x)};
  for (const [kind, what] of events) takes[kind](what);
  const {base, events: came, rolled, missing, open, closes} = model.sums;
  const {second, epochs, troubles, blocked, blockedMore: more} = model;
  const recent = model.recent().map((one) => [one.call, one.n, one.errors, one.blocked, one.rate, [...one.histogram]]);
  const ids = (rows) => rows.map((one) => one.seq);
  return {
    sums: [base, came, rolled, missing, open, closes], rates: Object.values(model.rates()),
    second, epochs, troubles, recent, more, blocked: ids(blocked),
    views: [...model.views].map(([filter, view]) => [filter, ids(view.rows), view.matched, view.shown]),
    bins: [...model.bins].map(([second, bin]) => [second, bin.n]).sort((a, b) => a[0] - b[0]),
  };
}"""


def in_the_terminal(events: list[Event]) -> dict[str, Any]:
    """The same of the terminal's model."""
    model = Model()
    for kind, what in events:
        {"state": model.begin, "tick": model.apply, "rates": model.prime}[kind](what)
    sums, rates = model.sums, model.rates()
    return {
        "sums": [sums.base, sums.events, sums.rolled, sums.missing, list(sums.open), sums.closes],
        "second": model.second,
        "epochs": model.epochs,
        "troubles": model.troubles,
        "recent": [[call, one.n, one.errors, one.blocked, rate, one.histogram] for call, one, rate in model.recent()],
        "rates": [rates.n, rates.errors, rates.blocked],
        "blocked": [one["seq"] for one in model.blocked],
        "more": model.blocked_more,
        "views": [
            [text, [one["seq"] for one in view.rows], view.matched, view.shown] for text, view in model.views.items()
        ],
        "bins": [[second, sum(one.n for one in bin_.values())] for second, bin_ in sorted(model.bins.items())],
    }


def made_up(rng: random.Random) -> Iterator[Tick]:
    """Ticks of a machine, some of them long, some of another epoch."""
    clock, rolled, seq, epoch = 100.0, 1000, 0, 1
    for number in range(2, 80):
        seconds = rng.choice((0.25, 0.25, 0.25, 1.0, 1.3, 3.5, 40.0))
        clock += seconds
        epoch += rng.random() < 0.05
        rows = [row(seq + one, rng.choice(CALLS), rng.choice(STATUSES)) for one in range(rng.randrange(6))]
        seq += len(rows)
        calls = {(rng.choice(CALLS), one): Count(rng.randrange(1, 90), 1, 9, histogram(9, 1)) for one in STATUSES}
        rolled += sum(count.n for count in calls.values())
        of = tick(number, rows, clock=clock, wall=BEGAN + clock, seconds=seconds, epoch=epoch, blocked_more=number % 3)
        yield replace(of, calls=calls, ledger={"rolled": rolled}, troubles=("the disk is full",) * (number % 2))


def told(rng: random.Random) -> list[Event]:
    """What a stream tells: a state, what was before, ticks, some of which were merged, got lost, or came twice."""
    base = tick(1, more=1000, ledger={"rolled": 1000}, clock=100.0, wall=BEGAN + 100)
    series = {"name": "openat", "n": [3, 0, 5], "errors": [1, 0, 0]}
    events: list[Event] = [("state", frames.state(FakeSource().machine(), base))]
    ticks = list(made_up(rng))
    while ticks:
        one = ticks.pop(0)
        if ticks and ticks[0].epoch == one.epoch and rng.random() < 0.2:
            one = merged(one, ticks.pop(0))
        events += [("tick", frames.frame(one, {"": Filter(), "uid=0": Filter(uid=0)}, Sums()))] * rng.choice(
            (1,) * 30 + (0, 2)
        )
    events.insert(3, ("rates", {"begin": BEGAN + 90, "step": 1, "series": [series]}))
    return json.loads(json.dumps(events))  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", range(5))
def test_the_same_events_come_to_the_same(page: Page, demo: Demo, seed: int) -> None:
    page.goto(f"{demo.origin}/#health")
    events = told(random.Random(seed))  # noqa: S311
    ours = json.loads(json.dumps(in_the_terminal(events)))
    theirs = page.evaluate(IN_THE_PAGE, events)
    for name, value in ours.items():
        if name in ("bins", "rates", "recent"):
            assert flat(value) == pytest.approx(flat(theirs[name])), name
        else:
            assert value == theirs[name], name
    assert ours["sums"][1] > 0


def flat(values: Any) -> list[float]:
    """All numbers, in their order, and each text as a number."""
    if isinstance(values, list):
        return [one for value in values for one in flat(value)]
    return [float(hash(values) % 1000) if isinstance(values, str) else float(values)]

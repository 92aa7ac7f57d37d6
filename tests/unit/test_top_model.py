"""What the terminal knows of a machine: a state and ticks, as the server makes them, and sums that have to close."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from kmodlab.daemon.api import frames
from kmodlab.daemon.api.hub import Sums
from kmodlab.daemon.tick import Count, Filter, Status, Tick, merged
from kmodlab.top.model import MOST_BLOCKED, MOST_ROWS, WINDOW, Model, identity
from unit.live_source import BEGAN, FakeSource, histogram, row, tick


class Clock:
    """Seconds that go on when they are told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def wire(what: Any) -> Any:
    """What comes out at the other end of the wire."""
    return json.loads(json.dumps(what))


def framed(one: Tick, *views: str, opened: Sequence[str] = ()) -> Any:
    """A tick as a client gets it; views match everything."""
    return wire(frames.frame(one, {text: Filter() for text in views}, Sums(), opened))


def counted(number: int, events: int, rolled: int, **others: Any) -> Any:
    """A tick with so many calls, after which the server has counted so many."""
    return framed(tick(number, more=events, ledger={"rolled": rolled}, **others))


def begun(rolled: int = 1000) -> Model:
    """A model that has had a state, of tick 1."""
    model = Model(Clock())
    base = tick(1, more=rolled, ledger={"rolled": rolled})
    model.begin(wire(frames.state(FakeSource().machine(), base)))
    return model


# -- the sums ------------------------------------------------------------------------------------------------------


def test_nothing_is_said_to_close_before_anything_was_heard() -> None:
    assert not Model().sums.known
    assert not Model().sums.closes


def test_a_state_and_ticks_close() -> None:
    model = begun(1000)
    assert model.sums.closes, "with what was counted before"
    model.apply(counted(2, 7, 1007))
    model.apply(counted(3, 5, 1012))
    assert (model.sums.base, model.sums.events, model.sums.rolled, model.sums.missing) == (1000, 12, 1012, 0)
    assert model.sums.closes


def test_a_tick_that_is_lost_is_noticed() -> None:
    model = begun(1000)
    model.apply(counted(3, 5, 1012))
    assert (model.sums.missing, model.sums.closes) == (7, False)


def test_a_tick_that_comes_twice_is_noticed() -> None:
    model = begun(1000)
    for _ in range(2):
        model.apply(counted(2, 7, 1007))
    assert (model.sums.missing, model.sums.closes) == (-7, False)


def test_ticks_that_were_merged_for_somebody_slow_close() -> None:
    model = begun(1000)
    first = tick(2, more=7, ledger={"rolled": 1007})
    model.apply(framed(merged(first, tick(3, more=5, ledger={"rolled": 1012}))))
    assert model.sums.closes
    assert model.events == 12


def test_a_sum_of_the_server_that_is_open_is_ours_too() -> None:
    model = begun(1000)
    model.apply(framed(tick(2, more=3, ledger={"rolled": 1003}), opened=["epoch 1 CPU 0: journal: 5 is not 4"]))
    assert model.sums.open == ("epoch 1 CPU 0: journal: 5 is not 4",)
    assert (model.sums.missing, model.sums.closes) == (0, False)


def test_without_a_state_the_first_tick_says_what_was_before() -> None:
    model = Model()
    model.apply(counted(9, 7, 1007))
    assert (model.sums.base, model.sums.closes) == (1000, True)


def test_a_state_begins_anew() -> None:
    model = begun(1000)
    model.apply(framed(tick(2, [row(1, status="BLOCKED")], ledger={"rolled": 1001}), ""))
    model.begin(wire(frames.state(FakeSource().machine(), tick(50, more=9, ledger={"rolled": 5000}))))
    assert (model.events, model.bins, model.views, model.blocked) == (0, {}, {}, [])
    assert model.sums.closes, "what was missed meanwhile is what was counted before"


def test_another_epoch_is_counted() -> None:
    model = begun()
    model.apply(counted(2, 1, 1001))
    model.apply(counted(3, 1, 1002, epoch=2))
    assert model.epochs == 1


def test_lost_is_what_is_gone_for_good() -> None:
    model = begun()
    ledger = {"rolled": 1000, "lost_ring": 3, "shed_full": 4, "shed_behind": 2, "overwritten": 99, "expired_age": 99}
    model.apply(framed(tick(2, ledger=ledger)))
    assert model.lost == 9


# -- the seconds ---------------------------------------------------------------------------------------------------


def test_ticks_of_a_second_are_put_together() -> None:
    model = begun()
    for number, clock in enumerate((110.25, 110.5, 110.75, 111.0), 2):
        model.apply(counted(number, 5, 1000, clock=clock))
    model.apply(counted(6, 3, 1000, clock=111.25))
    assert (model.bins[110]["openat"].n, model.bins[111]["openat"].n) == (20, 3)
    assert model.second == 110, "the last that is whole"
    assert model.recent()[0][0] == "openat"
    assert model.recent()[0][2] == 20
    assert model.recent()[0][1].histogram[11] == 20


def test_a_long_tick_is_spread_over_its_seconds() -> None:
    model = begun()
    model.apply(counted(2, 30, 1030, clock=113.0, seconds=3.0))
    assert [model.bins[second]["openat"].n for second in (110, 111, 112)] == [10, 10, 10]
    assert sum(model.bins[112]["openat"].histogram) == 30, "latencies cannot be parted"


@pytest.mark.parametrize("seconds", [0.25, 0.99, 1.0, 1.01, 1.3, 1.49, 2.7])
def test_no_second_is_without_a_tick_however_long_each_is(seconds: float) -> None:
    """A busy machine sends one each second, more or less: each second of the chart has some."""
    model, clock = begun(), 101.0
    for number in range(2, 40):
        clock += seconds
        model.apply(counted(number, 10, 1000 + 10 * (number - 1), clock=clock, seconds=seconds))
    first, last = min(model.bins), max(model.bins)
    assert sorted(model.bins) == list(range(first, last + 1))
    assert sum(kept["openat"].n for kept in model.bins.values()) == pytest.approx(380)


def test_seconds_that_nobody_shows_any_more_are_forgotten() -> None:
    model = begun()
    model.apply(counted(2, 1, 1001, clock=200.0))
    model.apply(counted(3, 1, 1002, clock=200.0 + WINDOW + 10))
    assert min(model.bins) > 200


def test_blocked_and_failed_calls_are_apart() -> None:
    model = begun()
    calls: dict[tuple[str, Status], Count] = {
        ("unlink", "BLOCKED"): Count(4, 4, 0, histogram(3, 4)),
        ("unlink", "FAILED"): Count(2, 2),
        ("unlink", "LOGGED"): Count(10),
    }
    model.apply(framed(replace(tick(2, ledger={"rolled": 1016}), calls=calls, clock=101.0)))
    model.apply(counted(3, 0, 1016, clock=102.0))
    one = model.recent()[0][1]
    assert (one.n, one.errors, one.blocked) == (16, 6, 4)
    assert (model.rates().n, model.rates().blocked) == (8, 2), "of two seconds"


def test_the_history_fills_what_was_before_and_nothing_else() -> None:
    model = begun()
    model.apply(counted(2, 5, 1005, clock=150.25, wall=BEGAN + 50.25))
    series: dict[str, Any] = {"name": "openat", "n": [3, 0, 4, 9, 9], "errors": [1, 0, 0, 0, 0], "latency_sum": [0] * 5}
    model.prime({"begin": BEGAN + 47, "step": 1, "series": [series]})
    assert [model.bins.get(second, {}) != {} for second in range(147, 152)] == [True, False, True, True, False]
    assert (model.bins[147]["openat"].n, model.bins[147]["openat"].errors) == (3, 1)
    assert model.bins[150]["openat"].n == 5, "what came is not counted twice"
    series["n"][1] = 8
    model.prime({"begin": BEGAN + 47, "step": 1, "series": [series]})
    assert [model.bins[second]["openat"].n for second in (147, 148, 149, 150)] == [3, 8, 4, 5], "it knows more later"


def test_a_series_has_holes_where_nothing_is_known() -> None:
    model = begun()
    model.apply(counted(2, 5, 1005, clock=110.0))
    model.apply(counted(3, 0, 1005, clock=112.0))
    assert model.series("openat", 4) == [None, 5, None, 0]
    assert model.series("close", 4) == [None, 0, None, 0]
    assert model.series(None, 3) == [5, None, 0]


# -- the rows ------------------------------------------------------------------------------------------------------


def test_the_newest_rows_come_first_whichever_cpu_sent_them_first() -> None:
    model = begun()
    model.apply(framed(tick(2, [row(3), row(1), row(2)], ledger={"rolled": 1003}), "", "uid=0"))
    model.apply(framed(tick(3, [row(5)], ledger={"rolled": 1004}), "", "uid=0"))
    assert [one["seq"] for one in model.views[""].rows] == [5, 3, 2, 1]
    assert (model.views["uid=0"].matched, model.views["uid=0"].shown) == (4, 4)


def test_rows_are_bounded() -> None:
    model = begun()
    for number in range(2, 10):
        model.apply(framed(tick(number, [row(number * 100 + one) for one in range(50)], ledger={"rolled": 0}), ""))
    assert len(model.views[""].rows) == MOST_ROWS
    assert model.views[""].rows[0]["seq"] == 949


def test_rows_of_the_history_are_put_behind_those_that_came_and_none_is_there_twice() -> None:
    model = begun()
    model.apply(framed(tick(2, [row(8), row(9)], ledger={"rolled": 1002}), ""))
    older = wire([dict(vars(row(seq))) for seq in (9, 8, 7, 6)])
    model.prefill("", older)
    assert [one["seq"] for one in model.views[""].rows] == [9, 8, 7, 6]
    assert len({identity(one) for one in model.views[""].rows}) == 4


def test_blocked_calls_are_kept_newest_first_and_what_is_beyond_is_counted() -> None:
    model = begun()
    rows = [row(seq, status="BLOCKED") for seq in range(3)]
    model.apply(framed(tick(2, rows, ledger={"rolled": 1003}, blocked_more=5)))
    model.apply(framed(tick(3, [row(9, status="BLOCKED")], ledger={"rolled": 1004})))
    assert [one["seq"] for one in model.blocked] == [9, 2, 1, 0]
    assert model.blocked_more == 5
    assert MOST_BLOCKED == 2000


# -- the time ------------------------------------------------------------------------------------------------------


def test_the_time_is_the_machines_and_goes_on_between_ticks() -> None:
    model = begun()
    clock = model._clock
    assert isinstance(clock, Clock)
    model.apply(counted(2, 1, 1001, wall=BEGAN))
    clock.now += 2.5
    assert model.now == pytest.approx(BEGAN + 2.5)
    assert model.silence == pytest.approx(2.5)

"""Records come to who chooses among them in their order, however late a CPU sends; the stream is made up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from kmodlab.modules.live import IN_THE_MAKING, OVERDUE, Show, Whole
from kmodlab.modules.record import CLOCK, Row
from kmodlab.modules.show import UNDER_WAY, View
from kmodlab.modules.stream import Stream

SECOND = 1_000_000_000


class Late:
    """A stream of which a test says what has come."""

    lost = 0
    waiting = 0

    def __init__(self) -> None:
        self.missing = 0
        self.came: list[Row] = []

    def behind(self, _issued: Mapping[int, int]) -> int:
        """Stand in for `Stream.behind`."""
        return self.missing

    def take(self, _datagrams: int) -> list[Row]:
        """Stand in for `Stream.take`."""
        came, self.came = self.came, []
        return came


def row(clock: int) -> Row:
    """Return a row made at this time, in ns."""
    values = [0] * (CLOCK + 1)
    values[CLOCK] = clock
    return tuple(values)


def whole(late: Late) -> Whole:
    """Return what says until when all have come."""
    return Whole(cast(Stream, late), lambda: {0: 7})


def test_what_soon_comes_needs_no_question() -> None:
    assert Whole(cast(Stream, Late()), None).until(SECOND) == SECOND - UNDER_WAY


def test_nothing_is_whole_before_what_was_counted_has_come() -> None:
    """Until then it stays as it was; then all is there from before the question."""
    late = Late()
    one = whole(late)
    late.missing = 3
    assert [one.until(SECOND), one.until(SECOND + 900_000_000)] == [0, 0]
    late.missing = 0
    assert one.until(2 * SECOND) == SECOND - IN_THE_MAKING
    late.missing = 1
    assert one.until(3 * SECOND) == SECOND - IN_THE_MAKING
    late.missing = 0
    assert one.until(3 * SECOND + 1) == 2 * SECOND - IN_THE_MAKING


def test_what_does_not_come_is_not_waited_for() -> None:
    late = Late()
    one = whole(late)
    late.missing = 1
    assert one.until(SECOND) == 0
    assert one.until(SECOND + OVERDUE) == 0
    assert one.until(SECOND + OVERDUE + 1) == SECOND - IN_THE_MAKING


def test_a_cpu_that_is_late_changes_no_order() -> None:
    """A record that comes a second after later ones of another CPU is chosen before them."""
    late, chosen = Late(), list[int]()

    def choose(rows: list[Row]) -> list[Row]:
        chosen.extend(one[CLOCK] for one in rows)
        return []

    show = Show(cast(Stream, late), cast(View, None), choose, 0, lambda: {0: 1, 1: 1})
    late.missing, late.came = 1, [row(20), row(30)]
    for _ in range(3):
        show.step()
    assert chosen == []
    late.missing, late.came = 0, [row(10)]
    show.step()
    assert chosen == [10, 20, 30]

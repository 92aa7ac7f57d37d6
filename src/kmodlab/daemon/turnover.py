"""Which processes came and went between two looks at all of them.

What is known of a process is its PID: the task lister tells no time at which it began. So what is counted is a lower
bound: a process that lives between two looks is not seen, and neither is one that ends while another gets its PID.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from .lister import Moment
from .tally import NS


@dataclass(frozen=True)
class Turnover:
    """What two looks differ by.

    Attributes:
        moment: of the later one.
        ms: how long ago the earlier one was then.
        started: processes that were not there before.
        ended: processes that are not there any more.
    """

    moment: Moment
    ms: int
    started: int
    ended: int


class Comparison:
    """Compares each look with the one before.

    Attributes:
        total: how many have started, and ended; None as long as nothing was compared.
    """

    def __init__(self) -> None:
        self.total: tuple[int, int] | None = None
        self._before: tuple[Moment, array[int]] | None = None

    def forget(self) -> None:
        """Have the next look be the first: what was in between nobody knows."""
        self._before = None

    def look(self, moment: Moment, pids: Iterable[int]) -> Turnover | None:
        """Take the PIDs of a moment; return how they differ from those before, if there were any in this boot."""
        now, before = array("q", pids), self._before
        self._before = moment, now
        if before is None or before[0].boot != moment.boot or before[0].t >= moment.t:
            return None
        common = len(set(now).intersection(before[1]))
        found = Turnover(moment, (moment.t - before[0].t) * 1000 // NS, len(now) - common, len(before[1]) - common)
        started, ended = self.total or (0, 0)
        self.total = started + found.started, ended + found.ended
        return found

"""Which records are those of one program and its descendants."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable

from .record import CALL, CLOCK, PID, PPID, Row

EXEC = ("execve", "execveat")
FOLLOWED = ("exec", "fork")
"""Families to trace so that no process is missed: whoever has a child has made one of these calls."""


def running() -> set[int]:
    """Return the processes that there are."""
    return {int(name) for name in os.listdir("/proc") if name.isdecimal()}  # noqa: PTH208  # numbers, not paths


class Tree:
    """The processes below `root`, by the parents that the records tell.

    `root` adopts orphans (as a child subreaper), so whoever is of the tree always has a parent in it. A record of a
    process whose parent is not known yet waits: the parent's own records may come later, from another CPU.

    A number that a process of the tree had may become another one's, and the other way round: whose it is, its newest
    record tells. So records have to come in their order, as far as that is known; one that is late changes nothing.
    What has waited and is older than its parent's first record is of another parent, who had the number before: nobody
    has a child without having made a call.

    Args:
        root: the process whose children's children are followed; not itself of the tree.
        others: the processes that were there before.
    """

    def __init__(self, root: int, others: Iterable[int]) -> None:
        # Number -> the time of its newest record.
        self._members: dict[int, float] = {root: math.inf}
        self._others: dict[int, float] = dict.fromkeys({0, *others} - {root}, 0)
        self._waiting: dict[int, list[Row]] = {}

    def select(self, rows: Iterable[Row]) -> list[Row]:
        """Return the records of the tree among these, and among those that have waited for them."""
        chosen: list[Row] = []
        members, others, waiting = self._members, self._others, self._waiting
        for row in rows:
            parent = row[PPID]
            if parent in members:
                chosen.append(row)
                if _comes(row, members, others) and row[PID] in waiting:
                    children = waiting.pop(row[PID])
                    self._leave([child for child in children if child[CLOCK] < row[CLOCK]])
                    chosen += self.select([child for child in children if child[CLOCK] >= row[CLOCK]])
            elif parent in others:
                self._leave([row])
            else:
                waiting.setdefault(parent, []).append(row)
        return chosen

    def _leave(self, rows: Iterable[Row]) -> None:
        """Note that these are others', and so is what waits for them."""
        for row in rows:
            if _comes(row, self._others, self._members):
                self._leave(self._waiting.pop(row[PID], ()))


def _comes(row: Row, mine: dict[int, float], theirs: dict[int, float]) -> bool:
    """Note that the process of a record is one of `mine`; return whether it was not before."""
    pid, clock = row[PID], row[CLOCK]
    known = mine.get(pid)
    if known is None:
        if theirs.get(pid, -1) > clock:
            return False
        theirs.pop(pid, None)
    mine[pid] = max(clock, known or 0)
    return known is None


class Start:
    """Leaves out what the program's process did before it was the program: up to its exec.

    Args:
        pid: of the program.
        execs: ids of the calls that begin it.
    """

    def __init__(self, pid: int, execs: Collection[int]) -> None:
        self._pid = pid
        self._execs = execs
        self._held: list[Row] = []
        self._began: int | None = None

    def select(self, rows: list[Row]) -> list[Row]:
        """Return the records among these that are not from before the exec."""
        if self._began is not None:
            return rows
        mine = [row for row in rows if row[PID] == self._pid]
        self._held += mine
        self._began = min((row[CLOCK] for row in mine if row[CALL] in self._execs), default=None)
        rest = [row for row in rows if row[PID] != self._pid]
        return rest if self._began is None else rest + self.rest()

    def rest(self) -> list[Row]:
        """Return what is still held back: without an exec among the records, all."""
        held, self._held = self._held, []
        return [row for row in held if row[CLOCK] >= (self._began or 0)]

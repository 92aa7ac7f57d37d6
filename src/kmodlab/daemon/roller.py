"""The second stage: what the recorder has written is counted, packed, indexed, and told.

It may be behind and may be killed at any moment: all it has done is written in one transaction with the number of the
last journal item that is in it, and it goes on behind that one.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import math
import os
import sqlite3
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kmodlab.errors import KmodlabError
from kmodlab.modules.record import CPU, LAYOUT, PID, SEQ, made_at, rows
from kmodlab.modules.record import Row as Raw

from . import segments
from .epochs import Epoch
from .follow import Block, Follower, Ledger, Note
from .items import Begin, Blocked, Calls, Changed, Clock, Settings, offsets
from .journal import Hole
from .ledger import KEPT, ROLLER, Books
from .packer import Packer, Piece
from .processes import Processes
from .pulse import Pulse
from .store import Delta, HoleRow, Index, is_damaged, opened
from .tally import HIST, NS, SET_NS, Second, Who, add, tally
from .task_store import Kept
from .tick import BUCKETS, Tick

log = logging.getLogger(__name__)

_AWAITED = 1 << 16
"""So many blocked calls may have come by one of their two ways only."""
_PID, _SIZE = struct.Struct("=88xI"), struct.Struct("=110xH")


@dataclass(frozen=True)
class Limits:
    """When the roller writes, and how large its files get.

    Attributes:
        flush_seconds: how long what was counted may wait to be written.
        flush_bytes: how much of it.
        segment_bytes: how large a segment gets.
        segment_seconds: how old.
        wal_bytes: the log of the index gets no longer: when a reader holds it, writing waits for that reader.
    """

    flush_seconds: float = 1.0
    flush_bytes: int = 8 << 20
    segment_bytes: int = 32 << 20
    segment_seconds: float = 3600.0
    wal_bytes: int = 24 << 20


class Roller:
    """The only writer of the index and of the segments.

    Args:
        folder: of the history.
        own: process ids of this daemon, whose calls are counted and left out.
        limits: see there.
        clock: seconds that only go on.
        ships: whether to note what a fleet's database is to get.

    Attributes:
        own: as given; may be set anew at any time.
        epoch: the newest one; None while there is none.
        troubles: what is wrong now, by what it is about.

    Raises:
        KmodlabError: another process writes here, or a newer program did.
    """

    def __init__(
        self,
        folder: Path,
        own: frozenset[int] = frozenset(),
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        ships: bool = False,
    ) -> None:
        self.folder = folder
        self._ships = ships
        self.troubles: dict[str, str] = {}
        self.limits = limits or Limits()
        self.own, self._clock = own, clock
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._held = _hold(folder)
        self.pulse = Pulse()
        self.index = opened(folder)
        self.index.ship(ships)
        self.packer = Packer(folder / "raw", self.limits.segment_bytes, self.limits.segment_seconds, clock)
        self.follower = Follower(folder, self.index.position())
        self.recorded: Ledger = self.index.ledger()
        self.terms: Ledger = {whose: _own_terms(terms) for whose, terms in self.recorded.items()}
        self._epochs = self.index.epochs()
        self._begins = self.index.begins()
        self._settings = {number: begin.settings for number, begin in self._begins.items()}
        self.epoch: Epoch | None = self._epochs[max(self._epochs)] if self._epochs else None
        self._processes: dict[int, Processes] = {}
        self._next_process = self.index.next_process()
        self._last: dict[tuple[int, int], tuple[int, int]] = {}
        self._once: dict[tuple[int, int, int], None] = {}
        self._seconds: dict[tuple[int, int], Second] = {}
        self._ended: dict[tuple[int, int], list[Who]] = {}
        self._delta = Delta(position=self.follower.position)
        self._pieces: list[Piece] = []
        self._bytes = 0
        self._flushed_at = clock()
        self._written: tuple[int, Ledger] = (self.follower.position, self.ledger())
        # When calls have told the time of day; what tasks told, how far it was ahead, and when.
        self._calls_told = -math.inf
        self._tasks_told = (0.0, 0, -math.inf)
        self._cut_unfinished()

    def _cut_unfinished(self) -> None:
        """Remove from the newest segment what was written into it, and never into the index."""
        for path in sorted((self.folder / "raw").glob("*.db"))[-1:]:
            try:
                base = segments.connect(path)
                try:
                    segments.cut(base, self.index.position())
                finally:
                    base.close()
            except sqlite3.Error as error:
                log.error("%s cannot be read: %s", path, error)

    def close(self) -> None:
        """Write what was counted, and let go of the folder."""
        self.flush()
        self.follower.close()
        self.packer.close()
        self.index.close()
        os.close(self._held)

    # -- one step after another --------------------------------------------------------------------------------------

    def step(self, most: int = 64) -> bool:
        """Count the next items; return whether there may be more at once."""
        if self._bytes > 4 * self.limits.flush_bytes:
            self.flush()
            if self._bytes > 4 * self.limits.flush_bytes:
                return False
        items = self.follower.read(most)
        for item in items:
            if isinstance(item, Block):
                self._take_block(item)
            else:
                self._take_note(item)
            self._delta.position = item.id
        self._delta.position = max(self._delta.position, self.follower.position)
        self.recorded.update(self.follower.ledger)
        for whose, terms in self.follower.settle().items():
            self._catch_up(whose, terms.get("stored", 0), None)
        if self._bytes > self.limits.flush_bytes or self._clock() - self._flushed_at > self.limits.flush_seconds:
            self.flush()
        return bool(items)

    # -- notes -------------------------------------------------------------------------------------------------------

    def _take_note(self, note: Note) -> None:
        item = note.item
        if isinstance(item, tuple):
            cpu, reason, hole = item
            self._add_hole(note.epoch, cpu, hole, reason)
        elif isinstance(item, Begin):
            self._enter(note.epoch, item)
        elif epoch := self._epochs.get(note.epoch):
            if isinstance(item, Blocked):
                self._blocked(epoch, [raw for raw in rows(item.data) if raw[PID] not in self.own])
            elif isinstance(item, Clock):
                self._set_clock(epoch, item)
            elif isinstance(item, Calls):
                epoch.learn(item.calls)
                self._delta.calls.append((note.epoch, item.calls))
            elif isinstance(item, Changed):
                self._change(epoch, item)

    def _enter(self, number: int, begin: Begin) -> None:
        self._merge()
        epoch = self._epochs.get(number)
        if epoch is None:
            epoch = self._epochs[number] = Epoch(number, begin.boot, begin.data_bytes)
            same_boot = [one for one in self._epochs.values() if one.boot == begin.boot and one.number < number]
            if same_boot:
                epoch.asleep, epoch.offset = same_boot[-1].asleep, same_boot[-1].offset
            elif self.epoch:
                self.pulse.reset()
            log.info("epoch %d: %s, %s", number, begin.host, begin.kernel)
        epoch.learn(begin.calls)
        self._begins[number], self._settings[number] = begin, begin.settings
        self._delta.epochs.append((number, begin, 0))
        self._delta.calls.append((number, begin.calls))
        if self.epoch is None or number >= self.epoch.number:
            self.epoch = epoch

    def _set_clock(self, epoch: Epoch, clock: Clock) -> None:
        t = clock.monotonic + clock.asleep
        offset = clock.real - t
        asleep, epoch.asleep = epoch.asleep, clock.asleep
        self.pulse.at(t, self._clock())
        self._calls_told = self._clock()
        is_set = not epoch.offset or abs(offset - epoch.offset) > SET_NS
        if is_set or clock.asleep != asleep:
            if epoch.offset and is_set:
                log.warning("the clock was set by %.3f s", (offset - epoch.offset) / NS)
            for one in self._epochs.values():
                if one.boot == epoch.boot and is_set:
                    one.set_by += offset - one.offset if one.offset else 0
                if one.boot == epoch.boot:
                    one.offset, one.asleep = offset if is_set else one.offset, clock.asleep
            self._delta.clocks.append((epoch.boot, t, epoch.offset, clock.asleep))

    def _change(self, epoch: Epoch, item: Changed) -> None:
        after = item.settings
        before = self._settings[epoch.number]
        self._settings[epoch.number] = after
        self._delta.settings.append((epoch.number, after))
        was, now = ("; ".join((one.mode, *one.filters)) for one in (before, after))
        self._delta.changes.append((epoch.number, item.clock + epoch.asleep, item.who, item.what, was, now))

    def _add_hole(self, epoch: int, cpu: int, hole: Hole, reason: str) -> None:
        asleep = self._epochs[epoch].asleep if epoch in self._epochs else 0
        log.warning("CPU %d: %d records from %d to %d are not there: %s", cpu, hole.n, hole.first, hole.last, reason)
        self._delta.holes.append(
            (epoch, cpu, hole.begin + asleep, hole.end + asleep, hole.first, hole.last, hole.n, reason)
        )

    # -- blocks ------------------------------------------------------------------------------------------------------

    def _of(self, whose: tuple[int, int]) -> dict[str, int]:
        return self.terms.setdefault(whose, _own_terms({}))

    def _catch_up(self, whose: tuple[int, int], stored: int, block: Block | None) -> None:
        """Count as unread what the recorder has stored and what did not come: its journal was damaged."""
        terms = self._of(whose)
        gone = stored - sum(terms[name] for name in ROLLER)
        if gone <= 0:
            return
        terms["unread"] += gone
        last, at = self._last.get(whose, (0, 0))
        first, until = (block.first, block.begin) if block else (self.recorded[whose].get("next", 0), at)
        self._add_hole(*whose, Hole(last + 1 if last else first - gone, first - 1, gone, at or until, until), "damaged")

    def _take_block(self, block: Block) -> None:
        epoch = self._epochs.get(block.epoch)
        whose = block.epoch, block.cpu
        if epoch is None:
            log.error("block %d is of an epoch that nothing is known of", block.id)
            return
        self._catch_up(whose, block.ordinal, block)
        data, own = _without(self.own, block.data)
        self._of(whose)["own"] += own
        self._last[whose] = block.last, block.end
        if not data:
            return
        found = tally(data, self._turn(epoch), epoch.ending())
        # What a block lacks is missing from the next one's count of those before it, and is said to be a hole then.
        data = data[: found.end].ljust(found.end, b"\0")
        if not found.starts:
            return
        self._of(whose)["rolled"] += len(found.starts)
        self._of(whose)["kept"] += len(found.starts)
        self._keep(epoch, block, data, found.starts)
        self._blocked(epoch, [_row(data, at) for at in found.blocked])
        for who, made in found.ended:
            self._ended.setdefault((epoch.number, (made + epoch.asleep) // NS), []).append(who)

    def _turn(self, epoch: Epoch) -> Callable[[int], tuple[Second, int, int]]:
        number, asleep, seconds = epoch.number, epoch.asleep, self._seconds

        def turn(made: int) -> tuple[Second, int, int]:
            t = (made + asleep) // NS
            second = seconds.get((number, t))
            if second is None:
                second = seconds[number, t] = Second()
            return second, t * NS - asleep, (t + 1) * NS - asleep

        return turn

    def _keep(self, epoch: Epoch, block: Block, data: bytes, starts: list[int]) -> None:
        begin, end = (made_at(_row(data, at)) + epoch.asleep for at in (starts[0], starts[-1]))
        numbers = (block.id, block.epoch, block.cpu, block.first, block.last, len(starts), begin, end, epoch.asleep)
        self._pieces.append(Piece(*numbers, data, starts))
        self._bytes += len(data)
        self.pulse.block(epoch, block.cpu, block.first, block.last, data, starts)
        self.pulse.at(end, self._clock())

    def _blocked(self, epoch: Epoch, found: list[Raw]) -> None:
        """Take blocked calls. Each comes twice, unless one of its ways has lost it: the first that comes is taken."""
        for raw in found:
            whose = epoch.number, raw[CPU], raw[SEQ]
            if whose in self._once:
                del self._once[whose]
                continue
            self._once[whose] = None
            self._delta.blocked.append(epoch.stored(raw, made_at(raw) + epoch.asleep))
            self.pulse.blocked(epoch.row(raw) if self.pulse.wants_blocked else None)
        for whose in list(itertools.islice(self._once, max(0, len(self._once) - _AWAITED))):
            del self._once[whose]

    # -- sums --------------------------------------------------------------------------------------------------------

    def _processes_of(self, epoch: Epoch) -> Processes:
        found = self._processes.get(epoch.number)
        if found is None:
            found = Processes(epoch.number, self.index.processes(epoch.number), self._next_process)
            self._processes = {epoch.number: found}
        return found

    def _merge(self) -> None:
        """Add what was counted to what is to be written and what is to be told."""
        for key in sorted(self._seconds):
            number, t = key
            epoch = self._epochs[number]
            # This may read the index, and fail: nothing is half done then.
            processes = self._processes_of(epoch)
            self._add(epoch, processes, t, self._seconds.pop(key))
            processes.ended(self._ended.pop(key, ()))
            self._next_process = processes.next_id
            self._delta.known.update(processes.take_changed())

    def _add(self, epoch: Epoch, processes: Processes, t: int, second: Second) -> None:
        for key, sums in second.calls.items():
            sums[HIST + BUCKETS - 1] += sums.pop()
            self.pulse.call(epoch.name(key >> 2), key & 3, sums)
            add(self._delta.rolls, (epoch.number, t, key >> 2, key & 3), sums)
        for who, sums in second.whos.items():
            one = processes.of(who, t * NS)
            self.pulse.process(one, epoch, sums)
            add(self._delta.procs, (epoch.number, t, one.id), sums)

    # -- the disk ----------------------------------------------------------------------------------------------------

    def flush(self) -> bool:
        """Write what was counted; return whether that was possible. `troubles` says why not."""
        self._flushed_at = self._clock()
        self._merge()
        delta = self._delta
        delta.ledger = self.ledger()
        if (delta.position, delta.ledger) == self._written:
            return True
        try:
            self._write(delta)
        except (sqlite3.Error, OSError) as error:
            self._trouble("index", f"the history cannot be written: {error}")
            if is_damaged(error):
                self._begin_again(segments.set_aside(self.index.path, self.folder / "damaged"))
            return False
        self._trouble("index", "")
        self._written = delta.position, delta.ledger
        self._delta, self._pieces, self._bytes = Delta(position=delta.position), [], 0
        self.packer.finished()
        self._forget_journals(delta.position)
        return True

    def _write(self, delta: Delta) -> None:
        if not self.index.is_there():
            segments.remove(self.index.path)
            self._begin_again(None)
        if self._held_by_reader():
            raise sqlite3.OperationalError("a reader holds it, and its log is at its limit")
        delta.segments = self.packer.write(self._pieces, self.index.position())
        delta.ledger = self.ledger()
        self.index.flush(delta)

    def _begin_again(self, aside: Path | None) -> None:
        """Make the index anew, for it was removed, or set aside: what was in it is gone, and the books say so."""
        log.error(
            "%s was %s: the history begins anew", self.index.path, f"damaged, see {aside}" if aside else "removed"
        )
        self.index.close()
        self.packer.close()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.index = Index(self.folder)
        self.index.ship(self._ships)
        waiting = {(piece.epoch, piece.cpu): 0 for piece in self._pieces}
        for piece in self._pieces:
            waiting[piece.epoch, piece.cpu] += piece.n
        for whose, terms in self.terms.items():
            left = waiting.get(whose, 0)
            terms["damaged"] += terms["kept"] - left
            terms["kept"] = left
        self.index.begin_again(sum(terms.get("rolled", 0) for terms in self._written[1].values()))
        self._processes.clear()
        self._delta.epochs[:0] = [(number, begin, 0) for number, begin in self._begins.items()]
        self._delta.calls[:0] = [(number, tuple(one.calls.values())) for number, one in self._epochs.items()]
        self._delta.clocks[:0] = [(one.boot, 0, one.offset, one.asleep) for one in self._epochs.values()]

    def ledger(self, recorded: Ledger | None = None) -> Ledger:
        """Return all terms; the recorder's as far as it has written them, or as they are given."""
        return {whose: {**terms, **self._of(whose)} for whose, terms in {**self.recorded, **(recorded or {})}.items()}

    def machine(self) -> tuple[Begin, Settings] | None:
        """Return what was told of the newest epoch, and how the tracer is set now."""
        if self.epoch is None:
            return None
        return self._begins[self.epoch.number], self._settings[self.epoch.number]

    def keep_tasks(self, kept: Kept) -> bool:
        """Write samples and snapshots of tasks, which no journal has; return whether that was possible."""
        if not kept.moments:
            return True
        try:
            # What is wrong with the index is for `flush` to say, and to mend.
            if not self.index.is_there() or self._held_by_reader():
                return False
            self.index.write_tasks(kept)
        except (sqlite3.Error, OSError) as error:
            log.debug("tasks cannot be written: %s", error)
            return False
        if kept.samples:
            at = kept.samples[-1][0]
            self._tasks_told = at.wall / NS, at.wall - at.t, self._clock()
        return True

    def _held_by_reader(self) -> bool:
        """Return whether the index's log is at its limit, and cannot be emptied."""
        wal = self.index.path.with_name(self.index.path.name + "-wal")
        try:
            if wal.stat().st_size <= self.limits.wal_bytes:
                return False
        except OSError:
            return False
        return not self.index.empty_log()

    def _forget_journals(self, position: int) -> None:
        if self.follower.has_done:
            # What is in the journals has to be on the disk elsewhere before they go.
            self.packer.settle()
            self.index.settle()
            self.follower.forget(position)

    def _trouble(self, about: str, text: str) -> None:
        before = self.troubles.pop(about, "")
        if text:
            self.troubles[about] = text
        if text and not before:
            log.error("%s", text)
        elif before and not text:
            log.warning("this is over: %s", before)

    # -- what is gone: only where nothing waits to be written, see `flush` ---------------------------------------------

    def now(self) -> float:
        """Return the time of day as it was told last, seconds since 1970: the latest one may be a clock's set back."""
        if self.epoch and self._is_of_calls():
            return self.epoch.wall(int(self.pulse.clock(self._clock()) * NS))
        return self._tasks_told[0]

    def _is_of_calls(self) -> bool:
        return self._calls_told >= self._tasks_told[2]

    def offset(self) -> int:
        """Return how far the time of day is ahead of CLOCK_BOOTTIME, ns; 0 where nobody has told."""
        return self.epoch.offset if self.epoch and self._is_of_calls() else self._tasks_told[1]

    def expire(self, name: str, term: str) -> None:
        """Take notice that a segment is removed: `term` of the ledger says why."""
        self._gone(name, term, [])

    def damaged(self, name: str, text: str) -> None:
        """Take notice that a segment was set aside."""
        self.troubles[name] = text
        holes = []
        for epoch, cpu in (cpus := self.index.segments().get(name, {})):
            first, last, begin, end = self.index.stretch(name, epoch, cpu)
            holes.append((epoch, cpu, begin, end, first, last, cpus[epoch, cpu], "damaged"))
        self._gone(name, "damaged", holes)

    def _gone(self, name: str, term: str, holes: list[HoleRow]) -> None:
        for whose, n in self.index.segments().get(name, {}).items():
            self._of(whose)["kept"] -= n
            self._of(whose)[term] += n
        self.index.forget_segment(name, term, self.ledger(), holes)

    def lose(self, name: str, epoch: int, cpu: int, n: int, hole: Hole | None = None, block: int | None = None) -> None:
        """Take notice that some records of a segment are damaged: a block, where that is known."""
        self._of((epoch, cpu))["kept"] -= n
        self._of((epoch, cpu))["damaged"] += n
        if hole is None:
            hole = Hole(*(stretch := self.index.stretch(name, epoch, cpu))[:2], n, *stretch[2:])
        row = (epoch, cpu, hole.begin, hole.end, hole.first, hole.last, n, "damaged")
        self.index.lose((name, epoch, cpu), n, self.ledger(), row, block)

    # -- ticks -------------------------------------------------------------------------------------------------------

    def tick(self, ledger: Ledger | None = None, troubles: tuple[str, ...] = ()) -> Tick:
        """Return what was counted since the last one.

        Args:
            ledger: the recorder's terms as of now, where they are known better than from its journal.
            troubles: what is wrong elsewhere.
        """
        self._merge()
        cpus = self.ledger(ledger)
        return self.pulse.tick(
            self.epoch,
            self._clock(),
            self._behind(),
            Books(cpus).totals(),
            {whose: terms for whose, terms in cpus.items() if self.epoch and whose[0] == self.epoch.number},
            (*self.troubles.values(), *troubles),
        )

    def _behind(self) -> float:
        if not self.follower.more or not self.epoch:
            return 0.0
        newest = self.follower.newest()
        counted = max(
            (end for (epoch, _), (_, end) in self._last.items() if epoch == self.epoch.number), default=newest
        )
        return max(0.0, (newest - counted) / NS) if newest and counted else 0.0


def _row(data: bytes, at: int) -> Raw:
    (size,) = _SIZE.unpack_from(data, at)
    (raw,) = rows(data[at : at + LAYOUT.size + (size + 7 & -8)])
    return raw


def _own_terms(terms: dict[str, int]) -> dict[str, int]:
    return {name: terms.get(name, 0) for name in (*ROLLER, *KEPT)}


def _hold(folder: Path) -> int:
    held = os.open(folder / "roller.lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(held)
        hint = "end that one first; `kmodlab history` only reads, and works beside it"
        raise KmodlabError(f"another process keeps the history in {folder}", hint=hint) from error
    return held


def _without(own: frozenset[int], data: bytes) -> tuple[bytes, int]:
    """Return records without those of some processes, and how many these were."""
    # Nearly no block has any: bytes that look like one of the numbers are found fast, and then it is looked properly.
    if not any(struct.pack("=I", pid) in data for pid in own):
        return data, 0
    starts = [*offsets(data), len(data)]
    kept = [data[at:end] for at, end in itertools.pairwise(starts) if _PID.unpack_from(data, at)[0] not in own]
    return b"".join(kept), len(starts) - 1 - len(kept)

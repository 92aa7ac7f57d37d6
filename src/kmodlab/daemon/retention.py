"""What is kept, and for how long: by age, by size; and what is damaged, which is set aside and said to be a hole."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import segments
from .journal import Hole
from .roller import Roller
from .segments import Head
from .store import TIERS
from .tally import NS

log = logging.getLogger(__name__)

DAY = 86400.0
TRUSTED_AFTER = 3600.0
"""For so many seconds after the clock was set by a day or more nothing is removed for its age."""


@dataclass(frozen=True)
class Keep:
    """How much is kept.

    Attributes:
        bytes: of all records, those in journals among them.
        records: seconds that a record is kept.
        blocked: seconds that a blocked call is kept.
        tiers: seconds that the sums of seconds, minutes, hours are kept, of calls and of tasks.
        snapshots: bytes of all snapshots of tasks, which are kept as long as records.
    """

    bytes: int = 2 << 30
    records: float = 30 * DAY
    blocked: float = 90 * DAY
    tiers: tuple[float, float, float] = (DAY, 30 * DAY, 731 * DAY)
    snapshots: int = 256 << 20


class Keeper:
    """Removes what is too old or too much, and looks for what is damaged; it works within the roller's thread.

    Args:
        roller: the writer.
        keep: see there.
        clock: seconds that only go on.

    Attributes:
        now: the time of day when this was last looked at, seconds since 1970; 0 where it is not to be trusted.
    """

    def __init__(self, roller: Roller, keep: Keep | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.keep = keep or Keep()
        self._roller, self._clock = roller, clock
        self._folder = roller.folder
        self._raw = roller.folder / "raw"
        self._offset: int | None = None
        self._trusted_at = 0.0
        self._scrubbed = ""
        self.now = 0.0

    # -- at the beginning ------------------------------------------------------------------------------------------

    def inspect(self) -> None:
        """Compare the segments with what the index says of them, by the heads of their blocks."""
        known = self._roller.index.segments()
        for name, cpus in known.items():
            path = self._raw / name
            try:
                found = self._counts(path)
            except (sqlite3.Error, OSError) as error:
                self._set_aside(path, error)
                continue
            for (epoch, cpu), n in cpus.items():
                if lost := n - found.get((epoch, cpu), 0):
                    log.error("%s: %d records of CPU %d are not there", path, lost, cpu)
                    self._roller.lose(name, epoch, cpu, lost)
        for path in sorted(self._raw.glob("*.db")):
            if path.name not in known and path != self._roller.packer.path:
                self._unknown(path)

    @staticmethod
    def _counts(path: Path) -> dict[tuple[int, int], int]:
        base = segments.connect(path)
        try:
            return segments.counts(base)
        finally:
            base.close()

    def _unknown(self, path: Path) -> None:
        """Remove a segment that the index does not know, if nothing is in it."""
        try:
            empty = not self._counts(path)
        except (sqlite3.Error, OSError):
            empty = False
        if empty:
            segments.remove(path)
        else:
            target = segments.set_aside(path, self._folder / "damaged")
            log.error("the index knows nothing of the segment %s: it is %s", path, target)

    def _set_aside(self, path: Path, error: Exception) -> None:
        target = segments.set_aside(path, self._folder / "damaged")
        text = f"the segment {path.name} was damaged ({error}): it is in {target.parent}"
        log.error("%s", text)
        self._roller.damaged(path.name, text)

    # -- now and then ----------------------------------------------------------------------------------------------

    def scrub(self, name: str) -> list[Head]:
        """Read all of a segment; take what is damaged out of it, or set it aside.

        Returns:
            The blocks that were damaged.
        """
        path = self._raw / name
        try:
            base = segments.connect(path)
            try:
                bad = segments.damaged(base)
                segments.drop(base, bad)
            finally:
                base.close()
        except (sqlite3.Error, OSError) as error:
            self._set_aside(path, error)
            return []
        for head in bad:
            log.error("%s: block %d, %d records of CPU %d, is damaged", path, head.id, head.n, head.cpu)
            hole = Hole(head.first, head.last, head.n, head.begin, head.end)
            self._roller.lose(name, head.epoch, head.cpu, head.n, hole, head.id)
        return bad

    def scrub_next(self) -> None:
        """Look at one segment, each time at another."""
        names = sorted(self._roller.index.segments())
        if names and self._roller.flush():
            self._scrubbed = next((name for name in names if name > self._scrubbed), names[0])
            self.scrub(self._scrubbed)

    def expire(self) -> None:
        """Remove what is too old or too much; nothing while nothing can be written."""
        if not self._roller.flush():
            return
        self._by_size()
        self._roller.index.limit_snapshots(self.keep.snapshots)
        trusted = self._is_trusted()
        self.now = self._roller.now() if trusted else 0.0
        if trusted:
            self._by_age()

    def _is_trusted(self) -> bool:
        """Return whether the time of day is to be believed."""
        offset = self._roller.offset()
        if not offset:
            return False
        if self._offset is not None and abs(offset - self._offset) > DAY * NS:
            log.warning("the clock was set: nothing is removed for its age for %d s", TRUSTED_AFTER)
            self._trusted_at = self._clock() + TRUSTED_AFTER
        self._offset = offset
        return self._clock() >= self._trusted_at

    def _files(self) -> Iterator[tuple[Path, int]]:
        for path in sorted((self._folder / "journal").glob("*.db")):
            yield path, segments.size(path)
        for path in sorted(self._raw.glob("*.db")):
            yield path, segments.size(path)

    def _by_size(self) -> None:
        files = list(self._files())
        total = sum(size for _, size in files)
        for path, size in files:
            if total <= self.keep.bytes:
                return
            if path.parent == self._raw and path != self._roller.packer.path:
                self._roller.expire(path.name, "expired_size")
                segments.remove(path)
                total -= size

    def _by_age(self) -> None:
        now = self._roller.now()
        for name, end in self._roller.index.segment_ends().items():
            path = self._raw / name
            if path != self._roller.packer.path and end < now - self.keep.records:
                self._roller.expire(name, "expired_age")
                segments.remove(path)
        tiers = {tier: now - age for tier, age in zip(TIERS, self.keep.tiers, strict=True)}
        self._roller.index.expire(tiers, now - self.keep.blocked)
        self._roller.index.expire_tasks(tiers, now - self.keep.records)

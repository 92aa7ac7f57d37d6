"""What records mean: the calls of an epoch by name, their arguments as text, and the time of day."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from kmodlab.modules.decode import Signature, comm_text
from kmodlab.modules.record import (
    CALL,
    CLOCK,
    COMM,
    COMPAT,
    CPU,
    ENFORCED,
    FLAGS,
    LATENCY,
    PID,
    PPID,
    RET,
    RETURNED,
    SEQ,
    STATUS,
    TID,
    UID,
)
from kmodlab.modules.record import Row as Raw

from .items import CallInfo
from .tally import ERRORS, NS
from .tick import STATUSES, Row, Status


@dataclass
class Epoch:
    """An epoch, as far as it takes to read its records.

    Attributes:
        number: see `tick.Machine`.
        boot: boot id.
        data_bytes: bytes kept of paths and addresses of a call.
        calls: by id.
        asleep: how far CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC, ns.
        offset: how far the time of day is ahead of CLOCK_BOOTTIME, ns.
        set_by: by how much the time of day was set since this program began, ns.
    """

    number: int
    boot: str
    data_bytes: int
    calls: dict[int, CallInfo] = field(default_factory=dict)
    asleep: int = 0
    offset: int = 0
    set_by: int = 0
    _signatures: dict[tuple[int, bool], Signature] = field(default_factory=dict)

    def learn(self, calls: Iterable[CallInfo]) -> None:
        """Take the table of calls, or what is new in it."""
        self.calls.update((one.id, one) for one in calls)
        self._signatures.clear()

    def name(self, call: int) -> str:
        """Return the name of a call; one that nobody told of is `call N`."""
        one = self.calls.get(call)
        return one.name if one else f"call_{call}"

    def ending(self) -> int:
        """Return the call that ends a process, or -1 where nobody told of it."""
        return next((one.id for one in self.calls.values() if one.name == "exit_group"), -1)

    def wall(self, t: int) -> float:
        """Return a time of CLOCK_BOOTTIME, ns, as seconds since 1970."""
        return (t + self.offset) / NS

    def arguments(self, raw: Raw) -> tuple[str, ...]:
        """Return the arguments of a record as text."""
        key = raw[CALL], bool(raw[FLAGS] & COMPAT)
        found = self._signatures.get(key)
        if found is None:
            one = self.calls.get(raw[CALL], CallInfo(raw[CALL], "", ""))
            kinds = one.compat_arguments if key[1] else one.arguments
            found = self._signatures[key] = Signature(one.name, kinds, self.data_bytes, key[1])
        return tuple(found.arguments(raw))

    def row(self, raw: Raw, asleep: int | None = None) -> Row:
        """Return a record as a row; `asleep` is as of its block, by default as of now."""
        flags = raw[FLAGS]
        returned = raw[RET] if flags & (RETURNED | ENFORCED) else None
        clock = raw[CLOCK]
        return Row(
            epoch=self.number,
            cpu=raw[CPU],
            seq=raw[SEQ],
            clock=clock,
            wall=self.wall(clock + (self.asleep if asleep is None else asleep)),
            pid=raw[PID],
            tid=raw[TID],
            ppid=raw[PPID],
            uid=raw[UID],
            comm=comm_text(raw[COMM]),
            call=self.name(raw[CALL]),
            arguments=self.arguments(raw),
            status=status_of(bool(raw[STATUS]), returned),
            enforced=bool(flags & ENFORCED),
            returned=returned,
            latency=raw[LATENCY] if flags & RETURNED else None,
        )

    def stored(self, raw: Raw, t: int) -> tuple[object, ...]:
        """Return a blocked record as the index has it; `t` is when it was complete, ns of CLOCK_BOOTTIME."""
        row = self.row(raw)
        ids = (row.clock, row.pid, row.tid, row.ppid, row.uid, row.comm, raw[CALL], json.dumps(row.arguments))
        return (row.epoch, t, row.cpu, row.seq, *ids, int(row.enforced), row.returned, row.latency)


def status_of(blocked: bool, returned: int | None) -> Status:
    """Return what has become of a call."""
    if blocked:
        return STATUSES[1]
    return STATUSES[2] if returned is not None and -ERRORS < returned < 0 else STATUSES[0]

"""What a feed brings: batches of records as the kernel sends them, and the little else that is to be known of them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kmodlab.errors import KmodlabError
from kmodlab.modules.record import LAYOUT, SEQ, made_at, rows

_SIZE = struct.Struct("=110xH")
"""Of a record, how much data follows it."""


@dataclass(frozen=True)
class CallInfo:
    """A call as `call-get` has it: id in records, name, a letter for each argument, and for each of 32 bits."""

    id: int
    name: str
    arguments: str
    compat_arguments: str = ""


@dataclass(frozen=True)
class Settings:
    """How the tracer is set: what a page shows of it, and what may change at any time."""

    hook: str = ""
    mode: str = "permissive"
    returns: bool = False
    filters: tuple[str, ...] = ()
    traced: tuple[str, ...] = ()


@dataclass(frozen=True)
class Begin:
    """A tracer was found, or found again: what follows is of its records.

    Attributes:
        key: of the boot and the load of the module; another one is another epoch, the same one goes on.
        host: name of the machine.
        boot: boot id.
        kernel: release.
        version: of the module.
        data_bytes: bytes kept of the paths and addresses of one call.
        calls: the table of calls.
        issued: CPU -> calls counted up to now.
        dropped: CPU -> calls dropped up to now.
        settings: see there.
    """

    key: str
    host: str
    boot: str
    kernel: str
    version: str
    data_bytes: int
    calls: tuple[CallInfo, ...]
    issued: Mapping[int, int]
    dropped: Mapping[int, int]
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Batch:
    """Records of one CPU in their order, as one message of the kernel has them.

    Attributes:
        cpu: whose.
        first: number of the first record.
        last: number of the last record.
        n: how many records.
        begin: the earliest time that one was called or complete at, CLOCK_MONOTONIC in ns.
        end: the latest.
        lost: records that were overwritten before they could be sent, since the batch before.
        data: the records.
    """

    cpu: int
    first: int
    last: int
    n: int
    begin: int
    end: int
    lost: int
    data: bytes


@dataclass(frozen=True)
class Blocked:
    """Records of blocked calls of one CPU, as the group of their own has them, where no others push them out.

    They come among the others as well, unless they are lost there.

    Attributes:
        cpu: whose.
        number: how many the CPU had made for this group before the first one.
        n: how many records.
        lost: those that were overwritten before they could be sent, since the batch before.
        data: the records.
    """

    cpu: int
    number: int
    n: int
    lost: int
    data: bytes


@dataclass(frozen=True)
class Counters:
    """What the kernel has counted: CPU -> issued, logged, overwritten, dropped; and excluded, which have no number."""

    cpus: Mapping[int, tuple[int, int, int, int, int]]


@dataclass(frozen=True)
class Clock:
    """The clocks at one moment, ns: CLOCK_MONOTONIC, how far CLOCK_BOOTTIME is ahead of it, CLOCK_REALTIME."""

    monotonic: int
    asleep: int
    real: int


@dataclass(frozen=True)
class Calls:
    """The table of calls, when it has grown."""

    calls: tuple[CallInfo, ...]


@dataclass(frozen=True)
class Changed:
    """The tracer was set otherwise: when (CLOCK_MONOTONIC, ns), by whom, what, and how it is set now."""

    clock: int
    who: str
    what: str
    settings: Settings


@dataclass(frozen=True)
class End:
    """There is no more: the module is gone, or a recording is at its end."""

    reason: str


Item = Begin | Batch | Blocked | Counters | Clock | Calls | Changed | End


NO_MODULE = "no module"
"""The state of a feed whose module is not loaded."""


class Feed(Protocol):
    """Where items come from.

    Attributes:
        patient: whether it can wait, for what it has does not come by itself.
        state: why nothing comes just now, though more may follow; empty while it comes.
    """

    patient: bool
    state: str

    def receive(self, seconds: float) -> list[Item]:
        """Return what has come, in its order; wait up to so long for the first."""

    def attend(self, is_watched: bool) -> None:
        """Say whether somebody looks: if not, what does not come by itself is looked at less often."""

    def leave_out(self, pid: int) -> None:
        """Have the calls of another process of this daemon left out, as long as it runs."""

    def control(self, command: str, who: str) -> None:
        """Change the tracer; what it has become follows as `Changed`. Raises a KmodlabError where it is refused."""

    def close(self) -> None:
        """Let go of it."""


def described(cpu: int, lost: int, data: bytes) -> Batch:
    """Return records as a batch, where the kernel does not say what they are: each is looked at.

    Raises:
        KmodlabError: they end in the middle of one, or are none.
    """
    found = rows(data)
    if not found:
        raise KmodlabError("a batch without records")
    first, last = found[0], found[-1]
    return Batch(cpu, first[SEQ], last[SEQ], len(found), made_at(first), made_at(last), lost, data)


def offsets(data: bytes) -> list[int]:
    """Return where each record begins; records end where the data does, or a KmodlabError is raised."""
    at, end = 0, len(data)
    found: list[int] = []
    while at + LAYOUT.size <= end:
        found.append(at)
        at += LAYOUT.size + (_SIZE.unpack_from(data, at)[0] + 7 & -8)
    if at != end:
        raise KmodlabError(f"a batch of {end} bytes ends in the middle of a record")
    return found

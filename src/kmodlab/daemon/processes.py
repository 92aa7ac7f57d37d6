"""Which process a call is of: a PID that was used again is another one."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from kmodlab.modules.decode import comm_text

from .store import Known
from .tally import NS, Who

_IDS = struct.Struct("=IIII")
INIT = 1
LINGER = NS
"""So long after a process has said that it ends its threads may be heard of, ns; times are whole seconds here."""


class Processes:
    """The processes of an epoch, by what their records say.

    A PID is another process once its process has called exit_group, or where both the parent and the name or the user
    are others than before: a program that another one is executed in keeps its parent, and an orphan its name.

    Args:
        epoch: whose.
        known: the latest process of each PID.
        next_id: the first id that is free.
    """

    def __init__(self, epoch: int, known: dict[int, Known], next_id: int) -> None:
        self.epoch = epoch
        self.next_id = next_id
        self.changed: dict[int, Known] = {}
        self._known = known

    def of(self, who: Who, at: int) -> Known:
        """Return the process of a record.

        Args:
            who: as the record has it.
            at: when, ns of CLOCK_BOOTTIME.
        """
        pid, tid, ppid, uid = _IDS.unpack(who[0])
        comm = comm_text(who[1])
        one = self._known.get(pid)
        if one is None or _is_another(one, ppid, uid, comm, at):
            one = Known(self.next_id, self.epoch, pid, comm, uid, ppid, at, at)
            self._known[pid] = one
            self.next_id += 1
            self.changed[one.id] = one
        elif (one.ppid, one.uid) != (ppid, uid) or (tid == pid and one.comm != comm):
            one.ppid, one.uid = ppid, uid
            one.comm = comm if tid == pid else one.comm
            self.changed[one.id] = one
        one.last = max(one.last, at)
        return one

    def ended(self, whos: Iterable[Who]) -> None:
        """Take notice that processes have said that they end."""
        for ids, comm in whos:
            pid, _, ppid, _ = _IDS.unpack(ids)
            one = self._known.get(pid)
            if one and one.ppid == ppid and one.comm == comm_text(comm):
                one.ended = True
                self.changed[one.id] = one

    def take_changed(self) -> dict[int, Known]:
        """Return the processes that are new or have changed since this was asked."""
        changed, self.changed = self.changed, {}
        return changed


def _is_another(one: Known, ppid: int, uid: int, comm: str, at: int) -> bool:
    if one.ended:
        return (one.ppid, one.comm) != (ppid, comm) or at > one.last + LINGER
    return one.ppid != ppid != INIT and (one.comm, one.uid) != (comm, uid)

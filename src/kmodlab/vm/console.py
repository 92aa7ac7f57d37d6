"""The guest's console log, and what in it means that the kernel is in trouble."""

from __future__ import annotations

import re
from pathlib import Path

from kmodlab.errors import GuestCrashed
from kmodlab.process import tail

#: A kernel that prints one of these will not give a test a fair answer any more. Source of the wordings: the
#: kernel's own kernel/panic.c, arch/*/kernel/{traps,dumpstack}.c and mm/fault.c, kernel/watchdog.c, kernel/hung_task.c,
#: kernel/rcu/tree_stall.h. A program's own fault (`traps: a.out[7] general protection fault ip:`) is none of them.
TROUBLE = re.compile(
    rb"Kernel panic - not syncing|Oops: |\bBUG: |kernel BUG at |Unable to handle kernel|"
    rb"general protection fault[,:] |: [0-9a-f]{4,16} \[#\d+\]|blocked for more than \d+ seconds|"
    rb"soft lockup|hard LOCKUP|rcu: INFO: .* (?:self-)?detected stall|rcu: INFO: rcu_\w+ detected"
)


class Console:
    """Follows a console log from where it stood when this object was made.

    Args:
        log: the file that QEMU records the console in.
        offset: where to start, in bytes; by default the file's present end.
    """

    def __init__(self, log: Path, offset: int | None = None) -> None:
        self.log = log
        self._offset = offset if offset is not None else (log.stat().st_size if log.exists() else 0)

    def unseen(self) -> bytes:
        """Return what was printed since the last call, whole lines only."""
        if not self.log.exists():
            return b""
        with self.log.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        self._offset += len(text)
        return text

    def check(self, doing: str) -> None:
        """Raise if the kernel printed a sign of trouble since the last call.

        Args:
            doing: what was under way, for the message.

        Raises:
            GuestCrashed: with the line that says so, and the end of the console.
        """
        text = self.unseen()
        if found := TROUBLE.search(text):
            start = text.rfind(b"\n", 0, found.start()) + 1
            line = text[start : text.find(b"\n", start)].decode(errors="replace").strip()
            raise GuestCrashed(f"the guest's kernel broke while {doing}: {line}", output=self.tail(30), log=self.log)

    def tail(self, lines: int = 15) -> str:
        """Return the end of the log, without terminal control sequences."""
        return re.sub(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()].|c)|\r", "", tail(self.log, lines))

"""What several clients at once have changed about the one tracer, so that the last of them puts it back."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


class Claims:
    """What this client has changed, beside what others have.

    A claim is a file that its client holds a lock on: the kernel drops the lock when the client ends, however it does.
    Where the files cannot be made, as for a user with CAP_SYS_ADMIN alone, each client is as if it were the only one.

    Args:
        place: the directory of the files, which is made.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._mine: TextIO | None = None
        self._name = Path()

    @contextlib.contextmanager
    def together(self) -> Iterator[set[str]]:
        """Keep other clients from changing anything in a `with` block, and give what they claim."""
        with contextlib.ExitStack() as stack:
            try:
                self._place.mkdir(mode=0o700, exist_ok=True)
                lock = stack.enter_context((self._place / "lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX)
                others = self._others()
            except OSError:
                others = set()
            yield others

    def claim(self, what: set[str]) -> None:
        """Say what this client has changed; nothing ends its claim. To be called in a block of `together`."""
        with contextlib.suppress(OSError):
            if not what:
                self._end()
                return
            if self._mine is None:
                number, name = tempfile.mkstemp(prefix="claim-", dir=str(self._place))
                self._mine = os.fdopen(number, "w")
                self._name = Path(name)
                fcntl.flock(self._mine, fcntl.LOCK_EX)
            self._mine.seek(0)
            self._mine.truncate()
            json.dump(sorted(what), self._mine)
            self._mine.flush()

    def _end(self) -> None:
        if self._mine:
            self._name.unlink()
            self._mine.close()
            self._mine = None

    def _others(self) -> set[str]:
        found: set[str] = set()
        for path in self._place.glob("claim-*"):
            if self._mine and path == self._name:
                continue
            with path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    with contextlib.suppress(ValueError):  # there was no room for it
                        found |= set(json.load(file))
                else:
                    path.unlink()  # its client was killed
        return found

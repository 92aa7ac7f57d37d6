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
        about: is there for as long as what is claimed was not undone with the module itself: each time that is loaded
            it has another inode.
    """

    def __init__(self, place: Path, about: Path) -> None:
        self._place = place
        self._about = about
        self._mine: TextIO | None = None
        self._name = Path()
        self._dead: list[Path] = []
        self.left: set[str] = set()
        """In a block of `together`: what clients claimed that have ended without putting it back; `claim` takes it."""

    @contextlib.contextmanager
    def together(self) -> Iterator[set[str]]:
        """Keep other clients from changing anything in a `with` block, and give what they claim.

        What is `left` then is for this one to put back.
        """
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
            if what:
                self._say(what)
            else:
                self._end()
            # Not before: this one may be killed at any time as well.
            for path in self._dead:
                path.unlink()
            self._dead = []

    def _say(self, what: set[str]) -> None:
        if self._mine is None:
            number, name = tempfile.mkstemp(prefix="claim-", dir=str(self._place))
            self._mine = os.fdopen(number, "w")
            self._name = Path(name)
            fcntl.flock(self._mine, fcntl.LOCK_EX)
        self._mine.seek(0)
        self._mine.truncate()
        json.dump([self._module(), sorted(what)], self._mine)
        self._mine.flush()

    def _module(self) -> int:
        """Return what tells this loading of the module from each other one."""
        try:
            return self._about.stat().st_ino
        except OSError:
            return 0

    def _end(self) -> None:
        if self._mine:
            self._name.unlink()
            self._mine.close()
            self._mine = None

    def _others(self) -> set[str]:
        found: set[str] = set()
        self.left, self._dead = set(), []
        for path in self._place.glob("claim-*"):
            if self._mine and path == self._name:
                continue
            with path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    found |= self._read(file)
                else:
                    self.left |= self._read(file)
                    self._dead.append(path)
        return found

    def _read(self, file: TextIO) -> set[str]:
        try:
            module, claimed = json.load(file)
        except (ValueError, TypeError):  # there was no room for it
            return set()
        return set(claimed) if module == self._module() else set()

"""Keys of programs, in a file: a line for each, with whose it is, what it may do, and what the key hashes to."""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...errors import UsageError
from .sessions import Caller, Role, hashed

log = logging.getLogger(__name__)

FILE = "keys"
"""In the folder of the history, unless another one is named."""
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")
_ROLES = {role.word: role for role in Role}
_HINT = "a line is NAME ROLE HASH, as `kmodlabd key NAME` writes it"


class Keys(Mapping[str, Caller]):
    """The keys that a file has now: a line that was taken out of it is a key that has ended.

    Args:
        path: of the file; one that is not there has no keys.

    Raises:
        UsageError: it cannot be read, or a line of it is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._stamp()
        self._keys = _read(path)

    def _stamp(self) -> tuple[int, ...]:
        """Return what is another one once the file is."""
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _now(self) -> Mapping[str, Caller]:
        if (stamp := self._stamp()) != self._seen:
            self._seen = stamp
            try:
                self._keys = _read(self._path)
            except UsageError as error:
                # Whoever is meant to be kept out is: a file that cannot be read lets nobody in.
                log.warning("no key is good until this is put right: %s", error)
                self._keys = {}
        return self._keys

    def __getitem__(self, key: str) -> Caller:
        return self._now()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())


def _read(path: Path) -> dict[str, Caller]:
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"the keys in {path} cannot be read: {why}", hint=_HINT) from error
    return dict(_parsed(path, number, line) for number, line in enumerate(lines, 1) if line.strip())


def _parsed(path: Path, number: int, line: str) -> tuple[str, Caller]:
    words = line.split()
    if len(words) != 3 or words[1] not in _ROLES or not _HASH.fullmatch(words[2]):
        raise UsageError(f"line {number} of {path} is no key", hint=_HINT)
    return words[2], Caller(words[0], _ROLES[words[1]])


def made(path: Path, name: str, role: str) -> str:
    """Return a new key, which is written nowhere else; the file gets what it hashes to.

    Args:
        path: of the file, which is made where there is none.
        name: of the program.
        role: `reader` or `admin`.

    Raises:
        UsageError: that program has one, or the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a program", hint="up to 64 letters, digits, and any of _ . @ -")
    if any(caller.who == name for caller in _read(path).values()):
        raise UsageError(f"{name} has a key already", hint=f"its line taken out of {path} ends that one")
    key = secrets.token_urlsafe(32)
    try:
        _append(path, f"{name} {role} {hashed(key)}\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="--keys names another file") from error
    return key


def _append(path: Path, line: str) -> None:
    """Add a line. The server may be another user, and nobody comes from a hash to a key that is random: all may read.

    A link is not followed: root may write here into a folder that is the server's.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(file, "w") as out:
        os.fchmod(file, 0o644)
        out.write(line)

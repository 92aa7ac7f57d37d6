"""Who may ask: one-time tokens, the sessions that they are exchanged for, and keys of programs.

No secret is kept, only what it hashes to: what reads this memory, or a copy of it, cannot log in.
"""

from __future__ import annotations

import enum
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

INVITATION_SECONDS = 600.0
IDLE_SECONDS = 1800.0
"""How long a session lives that asks for nothing; an open stream asks."""
LIFE_SECONDS = 86400.0
MOST_SESSIONS = 256
MOST_INVITATIONS = 64
ATTEMPTS = 10
"""Wrong tokens that an address may try at once; then one a second."""
MOST_ADDRESSES = 1024

Clock = Callable[[], float]


class Role(enum.IntEnum):
    """What somebody may do: an admin may do what a reader may."""

    READER = 1
    ADMIN = 2

    @property
    def word(self) -> str:
        """The role as the interface has it."""
        return self.name.lower()


@dataclass(frozen=True)
class Caller:
    """Who asks: `who` is what the history of changes says, `session` what ends it, if that can be ended."""

    who: str
    role: Role
    session: str | None = None


@dataclass
class _Session:
    caller: Caller
    began: float
    used: float


class Bucket:
    """A token bucket.

    Args:
        most: how many at once.
        per_second: how many come back.
    """

    def __init__(self, most: float, per_second: float, clock: Clock = time.monotonic) -> None:
        self._most, self._rate, self._clock = most, per_second, clock
        self._left, self._seen = most, clock()

    def take(self) -> bool:
        """Return whether there was one, and take it."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._seen) * self._rate)
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def hashed(secret: str) -> str:
    """Return what is kept of a secret, which is random: no salt, no stretching."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass
class Sessions:
    """All sessions of one server.

    Args:
        keys: what a program's key hashes to (`hashed`), and whose it is.
        clock: seconds that never step.
    """

    keys: Mapping[str, Caller] = field(default_factory=dict)
    clock: Clock = time.monotonic
    _invitations: dict[str, tuple[Caller, float]] = field(default_factory=dict)
    _sessions: dict[str, _Session] = field(default_factory=dict)
    _attempts: dict[str, Bucket] = field(default_factory=dict)
    cookie: str = field(default_factory=lambda: f"kmodlab-{secrets.token_hex(4)}")
    """Cookies do not know ports: each server on a host has a name of its own."""

    def count(self) -> int:
        """Return how many sessions are open."""
        self._forget()
        return len(self._sessions)

    def invite(self, caller: Caller, seconds: float = INVITATION_SECONDS) -> str:
        """Return a token that opens one session, once, in the next ten minutes, or in as many seconds."""
        self._forget()
        while len(self._invitations) >= MOST_INVITATIONS:
            del self._invitations[next(iter(self._invitations))]
        token = secrets.token_urlsafe(32)
        self._invitations[hashed(token)] = caller, self.clock() + seconds
        return token

    def may_try(self, address: str) -> bool:
        """Return whether an address may try a token now; each try counts."""
        if address not in self._attempts:
            while len(self._attempts) >= MOST_ADDRESSES:
                del self._attempts[next(iter(self._attempts))]
            self._attempts[address] = Bucket(ATTEMPTS, 1, self.clock)
        return self._attempts[address].take()

    def open(self, token: str) -> tuple[str, Caller] | None:
        """Return a new session's secret, and whose it is; None for a token that is none, or is used up."""
        self._forget()
        caller, _ = self._invitations.pop(hashed(token), (None, 0.0))
        if caller is None:
            return None
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[min(self._sessions, key=lambda one: self._sessions[one].used)]
        secret = secrets.token_urlsafe(32)
        owner = Caller(caller.who, caller.role, hashed(secret))
        self._sessions[hashed(secret)] = _Session(owner, self.clock(), self.clock())
        return secret, owner

    def caller(self, secret: str) -> Caller | None:
        """Return whose session this is, which has been used by that."""
        return self.touch(hashed(secret))

    def touch(self, session: str) -> Caller | None:
        """Return whose session this is, by `Caller.session`, which has been used by that; None once it has ended."""
        self._forget()
        found = self._sessions.get(session)
        if found is None:
            return None
        found.used = self.clock()
        return found.caller

    def key(self, secret: str) -> Caller | None:
        """Return whose key this is."""
        return self.keys.get(hashed(secret))

    def close(self, session: str) -> None:
        """End a session, by `Caller.session`."""
        self._sessions.pop(session, None)

    def _forget(self) -> None:
        """Forget what has run out."""
        now = self.clock()
        for token in [token for token, (_, until) in self._invitations.items() if until < now]:
            del self._invitations[token]
        for session in [key for key, one in self._sessions.items() if self._over(one, now)]:
            del self._sessions[session]

    @staticmethod
    def _over(session: _Session, now: float) -> bool:
        return now - session.used > IDLE_SECONDS or now - session.began > LIFE_SECONDS

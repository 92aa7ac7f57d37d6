"""Scripts for the helper that runs on the host under test: see helpers/helper.h."""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterable
from typing import Any

Answer = dict[str, Any]
"""What one step of a script had to say."""

Word = str | bytes | int

TRACER = "/proc/syscall_tracer"
TRACER_STATS = "/proc/syscall_tracer_stats"
LISTER = "/proc/task_lister"
DETAIL = "/proc/task_detail"
STATS = "/proc/task_stats"
TREE = "/proc/task_tree"
_NONCES: set[str] = set()
TASK_FILES = (LISTER, DETAIL, STATS, TREE)
CORE_FILES = {"syscall_tracer": (TRACER,), "task_lister": (LISTER, DETAIL, STATS)}
"""What a handout's first page asks for."""


def quote(word: Word) -> str:
    """Write a word so that it stays one: every byte but plain letters as %XX."""
    raw = word if isinstance(word, bytes) else str(word).encode()
    return "".join(chr(b) if (chr(b).isalnum() and b < 128) or b in b"/._,:=-" else f"%{b:02X}" for b in raw) or "%"


def step(name: str, *words: Word, **options: Word) -> str:
    """Return one line of a script."""
    named = [f"{key}={quote(value)}" for key, value in options.items()]
    return " ".join([name, *map(quote, words), *named])


def nonce(name: str) -> str:
    """Return a command name that nothing else of this run has, nor, but for one in a million, of an earlier one."""
    letters = string.ascii_lowercase + string.digits
    while (end := "".join(secrets.choice(letters) for _ in range(4))) in _NONCES:
        pass
    _NONCES.add(end)
    return f"{name[:10]}.{end}"


def script(*steps: str) -> str:
    """Join steps, for the machine or for a step that runs other steps."""
    return "\n".join(steps)


def write(*lines: str) -> str:
    """One transaction: these lines in one write to the tracer."""
    return step("write", TRACER, "".join(f"{line}\n" for line in lines))


def call(names: str, comm: Word, **options: Word) -> str:
    """A process called `comm` makes these system calls: `NAME[:COUNT],...`."""
    return step("call", names, comm, **options)


def read(path: str) -> str:
    """Read a whole file."""
    return step("read", path)


def beside(loops: Iterable[str], work: str) -> str:
    """Return a step: these commands run again and again while `work` is done; then each has ended, and none goes on."""
    flag = f"/run/kmodlab-{secrets.token_hex(4)}"
    started = " ".join(f"while [ -e {flag} ]; do {loop}; done &" for loop in loops)
    return step("sh", f": >{flag}; rc=0; {started} {work}; rm {flag}; wait; exit $rc")

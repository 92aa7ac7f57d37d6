"""A process that looks like the QEMU of a directory: by the lock that it holds on the pid file there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: ignores the polite ways to end where asked to, and says when it is ready
_PROGRAM = """
import fcntl, os, signal, sys
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print(os.getpid(), file=file, flush=True)
print("ready", flush=True)
signal.pause()
"""


@contextmanager
def stand_in(directory: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have one run; `stubborn` among its words keeps it from ending when it is asked to."""
    argv = [sys.executable, "-c", _PROGRAM, str(directory / "pid"), *words]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()

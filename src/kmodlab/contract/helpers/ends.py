"""Processes that end in many ways: what wait4() says of each, and what the lister has of those that have ended.

It runs on the host under test, from Python's standard library alone, and prints JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FILE = "/proc/task_lister"
ROUNDS = 40
"""Processes whose threads all end at once."""
STORM = 300
libc = ctypes.CDLL(None)


def now() -> int:
    """Return ns since boot."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Ended:
    """The open file."""

    def __init__(self) -> None:
        self._file = os.open(FILE, os.O_RDWR)

    def look(self, number: int, words: str = "") -> str:
        """Return the ends from a number on, in JSON lines."""
        os.write(self._file, f"ended={number} columns={sys.argv[1]} format=jsonl {words}".encode())
        parts = []
        while part := os.read(self._file, 1 << 16):
            parts.append(part)
        return b"".join(parts).decode("latin-1")

    def next(self) -> int:
        """Return the number that the next end will have."""
        return int(json.loads(self.look(0).splitlines()[-1])["next"])


def compute(seconds: float) -> None:
    """Use the processor."""
    begin = time.thread_time()
    while time.thread_time() - begin < seconds:
        pass


def compute_in_threads() -> None:
    """Have others compute, and end before this one."""
    threads = [threading.Thread(target=compute, args=(0.1,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def end_at_once(number: int = 8) -> None:
    """End with threads that still wait."""
    for _ in range(number):
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    os._exit(5)


def _end_later() -> None:
    # The main thread is gone once it is a zombie.
    state = Path(f"/proc/self/task/{os.getpid()}/stat")
    while state.read_text().rpartition(") ")[2][0] != "Z":
        time.sleep(0.01)
    os._exit(7)


def end_the_main_thread_first() -> None:
    """Leave it to another thread to end the process."""
    threading.Thread(target=_end_later).start()
    libc.syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)


def become_another() -> None:
    """Take another user and group."""
    os.setgid(1234)
    os.setuid(4321)


def take_a_name() -> None:
    """Take a name that is escaped."""
    Path("/proc/self/comm").write_text('a "b\\')


def take_memory() -> None:
    """Use 40 MiB once, and give them back."""
    bytearray(40 << 20)


def be_killed() -> None:
    """End by a signal."""
    os.kill(os.getpid(), signal.SIGKILL)


WAYS: dict[str, Callable[[], None]] = {
    "exits": lambda: os._exit(3),
    "killed": be_killed,
    "another": become_another,
    "named": take_a_name,
    "computes": lambda: compute(0.3),
    "memory": take_memory,
    "threads": compute_in_threads,
    "at once": end_at_once,
    "main first": end_the_main_thread_first,
}


def made(child: Callable[[], None]) -> dict[str, Any]:
    """Have a child end; return what the system says of it."""
    begin = now()
    pid = os.fork()
    if not pid:
        try:
            child()
        finally:
            os._exit(0)
    _, status, usage = os.wait4(pid, 0)
    names = ("ru_utime", "ru_stime", "ru_maxrss", "ru_minflt", "ru_nvcsw", "ru_nivcsw")
    return {"pid": pid, "status": status, "begin": begin, "end": now(), **{key: getattr(usage, key) for key in names}}


def storm() -> Iterator[int]:
    """Have many end at the same time; yield their numbers."""
    pids = []
    for _ in range(STORM):
        pid = os.fork()
        if not pid:
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
        yield pid


def main() -> None:
    """Make all of them."""
    ended = Ended()
    first = ended.next()
    found: dict[str, Any] = {"parent": os.getpid(), "ways": {what: made(child) for what, child in WAYS.items()}}
    found["rounds"] = [made(end_at_once)["pid"] for _ in range(ROUNDS)]
    found["storm"] = list(storm())
    found["all"] = ended.look(first)
    found["named"] = ended.look(first, 'comm=a\\040"b\\134')
    found["another"] = ended.look(first, "uid=4321")
    pid = found["ways"]["killed"]["pid"]
    found["numbered"] = ended.look(first, f"pid={pid}")
    found["children"] = ended.look(first, f"ppid={os.getpid()} kthreads=0 state=X")
    found["living"] = ended.look(first, "state=RSDZ")
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

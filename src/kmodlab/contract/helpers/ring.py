"""Requests of io_uring beside a block: they are no system calls, so nobody blocks them and there is no record.

It runs on the host under test: `ring.py COMM ...`. It prints in JSON what a request to unlink and one to make a
directory came to while both calls are blocked, which of the two the kernel knows, and what io_uring_setup returns where
that is blocked.
"""

from __future__ import annotations

import ctypes
import functools
import json
import mmap
import struct
import tempfile
from pathlib import Path
from typing import Any

from neighbours import COMM, NUMBERS, PARAMETERS, TRACER, attempt, system_call, write

NUMBERS.update({"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427})
# uapi/linux/io_uring.h
ENTRIES, GETEVENTS = 4, 1
MAP_RING, MAP_REQUESTS, REQUEST_SIZE = 0, 0x10000000, 64
UNLINKAT, MKDIRAT, HERE = 36, 37, -100
#: an io_uring_probe has 16 bytes and 8 for each operation, whose flags are at 2
REGISTER_PROBE, PROBE_SIZE, PROBED, SUPPORTED = 8, 16, 256, 1
BLOCKED = "unlink mkdir"


class Ring:
    """An io_uring."""

    def __init__(self) -> None:
        parameters = ctypes.create_string_buffer(120)
        self.file = system_call("io_uring_setup", ENTRIES, parameters)
        if self.file < 0:
            raise OSError(ctypes.get_errno(), "io_uring_setup")
        # io_sqring_offsets at 40, io_cqring_offsets at 80: the tail, the array; the tail, the entries
        _, self.tail, _, _, _, _, self.array = struct.unpack_from("7I", parameters, 40)
        _, self.done, _, _, _, self.answers = struct.unpack_from("6I", parameters, 80)
        size = max(self.array + 4 * ENTRIES, self.answers + 16 * 2 * ENTRIES)
        self.ring = mmap.mmap(self.file, size, offset=MAP_RING)
        self.requests = mmap.mmap(self.file, REQUEST_SIZE * ENTRIES, offset=MAP_REQUESTS)

    def ask(self, operation: int, path: bytes, length: int) -> int:
        """Make one request about a path; return its result."""
        kept = ctypes.create_string_buffer(path)
        request = struct.pack("<BBHiQQII", operation, 0, 0, HERE, 0, ctypes.addressof(kept), length, 0)
        self.requests[:REQUEST_SIZE] = request.ljust(REQUEST_SIZE, b"\0")
        struct.pack_into("I", self.ring, self.array, 0)
        struct.pack_into("I", self.ring, self.tail, 1)
        if system_call("io_uring_enter", self.file, 1, 1, GETEVENTS, None, 0) != 1:
            raise OSError(ctypes.get_errno(), "io_uring_enter")
        return int(struct.unpack_from("<Qi", self.ring, self.answers)[1])

    def knows(self, operation: int) -> bool:
        """Whether the kernel has an operation: 5.10.162 took over the io_uring of 5.15 without all of them."""
        probe = ctypes.create_string_buffer(PROBE_SIZE + 8 * PROBED)
        if system_call("io_uring_register", self.file, REGISTER_PROBE, probe, PROBED):
            raise OSError(ctypes.get_errno(), "io_uring_register")
        (flags,) = struct.unpack_from("<H", probe, PROBE_SIZE + 8 * operation + 2)
        return bool(flags & SUPPORTED)


def answer(result: int) -> int:
    """Return a result as the C library does."""
    ctypes.set_errno(-result if result < 0 else 0)
    return -1 if result < 0 else result


def make(path: str) -> int:
    """Make a directory by a request."""
    return answer(Ring().ask(MKDIRAT, path.encode(), 0o755))


def remove(victim: str, _path: str) -> int:
    """Unlink a file by a request."""
    return answer(Ring().ask(UNLINKAT, victim.encode(), 0))


def set_up(_path: str) -> int:
    """Make an io_uring, which may be refused."""
    try:
        Ring()
    except OSError as error:
        return answer(-(error.errno or 1))
    return 0


def remove_a_file() -> list[object]:
    """Unlink a file by a request, in a process of its own: its result, the errno, whether the file is gone."""
    with tempfile.TemporaryDirectory() as folder:
        victim = Path(folder) / "victim"
        victim.write_bytes(b"")
        *result, _ = attempt(functools.partial(remove, str(victim)))
        return [*result, not victim.exists()]


def rows() -> list[str]:
    """Return the records of the calls that are blocked."""
    return [line for line in TRACER.read_text().splitlines() if f" {COMM} " in line and ": " not in line]


def main() -> None:
    """Block the calls, and make requests that come to the same."""
    write(TRACER, "".join(f"{name} block errno=EDQUOT comm={COMM}\n" for name in BLOCKED.split()))
    write(PARAMETERS / "enforce", "1")
    found: dict[str, Any] = {"call": attempt(), "mkdirat": attempt(make), "unlinkat": remove_a_file(), "rows": rows()}
    known = {"mkdirat": MKDIRAT, "unlinkat": UNLINKAT}
    found["known"] = [name for name, operation in known.items() if Ring().knows(operation)]
    write(TRACER, f"=io_uring_setup block errno=EDQUOT comm={COMM}\n")
    found["io_uring_setup"] = attempt(set_up)
    write(PARAMETERS / "enforce", "0")
    write(TRACER, f"clear\nuntrace {BLOCKED} =io_uring_setup\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""The names that Linux's headers have for numbers: `python -m kmodlab.modules.uapi_gen` writes `uapi.py` anew.

Only of what is the same on every architecture, and of what Python's own modules do not have: those know their machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

INCLUDE = Path("/usr/include")
MADE = Path(__file__).with_name("uapi.py")
#: table -> header, what its names match, what they do not
TABLES: dict[str, tuple[str, str, str]] = {
    "AT": (
        "linux/fcntl.h",
        r"AT_(SYMLINK_|NO_AUTOMOUNT|EMPTY_PATH|STATX_|RECURSIVE)\w+|AT_NO_AUTOMOUNT|AT_EMPTY_PATH",
        "TYPE",
    ),
    "CLONE": ("linux/sched.h", r"CLONE_\w+", "CLONE_ARGS"),
    "CLOCK": ("linux/time.h", r"CLOCK_\w+", r"ALARM|SGI"),
    "EPOLL_CTL": ("linux/eventpoll.h", r"EPOLL_CTL_\w+", ""),
    "FADV": ("linux/fadvise.h", r"POSIX_FADV_\w+", ""),
    "FUTEX": (
        "linux/futex.h",
        r"FUTEX_\w+",
        r"PRIV|WAITERS|OWNER|TID|T_MATCH|X2|SIZE|NUMA|X_32|CLOCK|MASK",
    ),
    "GRND": ("linux/random.h", r"GRND_\w+", ""),
    "IOCTL": ("asm-generic/ioctls.h", r"(TC|TIO|FIO)\w+", "PKT|SER_TEMT"),
    "MADV": ("asm-generic/mman-common.h", r"MADV_\w+", ""),
    "MAP": ("asm-generic/mman-common.h", r"MAP_\w+", r"TYPE|FILE|SHIFT|MASK"),
    "MAP_MORE": ("asm-generic/mman.h", r"MAP_\w+", ""),
    "MAP_KIND": ("linux/mman.h", r"MAP_(SHARED|PRIVATE|SHARED_VALIDATE)", ""),
    "MFD": ("linux/memfd.h", r"MFD_\w+", r"HUGE_"),
    "MREMAP": ("linux/mman.h", r"MREMAP_\w+", ""),
    "MS": (
        "linux/mount.h",
        r"MS_\w+",
        r"MASK|MGC|VERB|RMT|USER|SUB|NOREM|NOSEC|BORN|ACTIVE|KERN",
    ),
    "PR": (
        "linux/prctl.h",
        r"PR_(SET|GET|CAP|CAPBSET|TASK|MCE|MPX|PAC|SVE|SME|SCHED|RISCV|PPC)_\w+",
        r"_MM_|PTRACER_ANY",
    ),
    "PROT": ("asm-generic/mman-common.h", r"PROT_\w+", ""),
    "RENAME": ("linux/fs.h", r"RENAME_\w+", ""),
    "RLIMIT": ("asm-generic/resource.h", r"RLIMIT_\w+", ""),
    "SECCOMP": ("linux/seccomp.h", r"SECCOMP_(SET|GET)_\w+", "MODE"),
    "TIMER": ("linux/time.h", r"TIMER_\w+", ""),
    "SO": ("asm-generic/socket.h", r"SO_\w+", ""),
    "STATX": ("linux/stat.h", r"STATX_\w+", r"ATTR|RESERVED|ALL|BASIC"),
}
_DEFINE = re.compile(r"^#[ \t]*define[ \t]+(\w+)[ \t]+(.+?)[ \t]*(?:/\*.*)?$", re.MULTILINE)
_ENUM = re.compile(r"^\s+(\w+)\s*=\s*(0x[0-9a-fA-F]+|\d+)\s*,", re.MULTILINE)
_NUMBER = re.compile(r"\(?\s*(0x[0-9a-fA-F]+|\d+)[uUlL]*\s*(?:<<\s*(\d+))?\s*\)?")


def _number(text: str) -> int | None:
    """Return what a plain number is, or one that is shifted; nothing of what takes more than that."""
    found = _NUMBER.fullmatch(text)
    if not found:
        return None
    digits = found.group(1)
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") and digits != "0" else 10
    return int(digits, base) << int(found.group(2) or 0)


def named(text: str, wanted: str, unwanted: str) -> Iterator[tuple[str, int]]:
    """Yield the names in a header that are wanted, with their numbers, in its order."""
    for name, value in [*_DEFINE.findall(text), *_ENUM.findall(text)]:
        number = _number(value)
        if number is not None and re.fullmatch(wanted, name) and not (unwanted and re.search(unwanted, name)):
            yield name, number


def tables(include: Path = INCLUDE) -> dict[str, dict[int, str]]:
    """Return number -> name of each table: of several names for one number the first, of a name its last number.

    Where a header has two, the first one is of an architecture that this project does not know.
    """
    found: dict[str, dict[int, str]] = {}
    for table, (header, wanted, unwanted) in TABLES.items():
        known = found[table] = {}
        numbers = dict(named((include / header).read_text(), wanted, unwanted))
        for name, number in numbers.items():
            known.setdefault(number, name)
    return found


def text(include: Path = INCLUDE) -> str:
    """Return the module that has them."""
    parts = ['"""Names of numbers. Made by `python -m kmodlab.modules.uapi_gen` of the kernel\'s headers."""']
    for table, known in tables(include).items():
        rows = [f'    0x{number:X}: "{name}",' for number, name in sorted(known.items())]
        parts += ["", f"{table} = {{", *rows, "}"]
    return "\n".join([*parts, ""])


if __name__ == "__main__":
    MADE.write_text(text())

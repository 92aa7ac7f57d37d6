"""The families of system calls as docs/abi.md names them, and where which call is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .machine import Machine

TRACED = {
    "open": ("open", "openat", "openat2", "creat"),
    "read": ("read", "pread64", "readv", "preadv", "preadv2"),
    "write": ("write", "pwrite64", "writev", "pwritev", "pwritev2"),
    "close": ("close", "close_range"),
    "unlink": ("unlink", "unlinkat"),
}
"""The families that are traced from the start."""

OTHERS = {
    "rename": ("rename", "renameat", "renameat2"),
    "mkdir": ("mkdir", "mkdirat"),
    "link": ("link", "linkat"),
    "symlink": ("symlink", "symlinkat"),
    "readlink": ("readlink", "readlinkat"),
    "mknod": ("mknod", "mknodat"),
    "chmod": ("chmod", "fchmodat"),
    "chown": ("chown", "lchown", "fchownat"),
    "access": ("access", "faccessat", "faccessat2"),
    "exec": ("execve", "execveat"),
    "fork": ("fork", "clone"),
    "stat": ("stat", "lstat", "newfstatat", "statx"),
}
"""Families that are traced on demand, with those members that user space is sure to mean by the name."""

FAMILIES: Mapping[str, tuple[str, ...]] = TRACED | OTHERS
EVERY_CALL = [name for members in TRACED.values() for name in members]

_GENERIC_LACKS = {
    "open", "creat", "unlink", "rename", "mkdir", "link", "symlink", "readlink", "mknod", "chmod", "chown", "lchown",
    "access", "fork", "stat", "lstat",
}  # fmt: skip
_COMPAT = {"compat_openat", "compat_unlinkat", "compat_getppid"}
LACKING: Mapping[str, set[str]] = {
    "x86_64": set(),
    "aarch64": _GENERIC_LACKS | _COMPAT,
    "riscv64": _GENERIC_LACKS | _COMPAT | {"renameat"},
}
"""The calls that each architecture does not have: the newer ones were given the at-calls only."""

_NAMES = r"""
sed -n 's/.* __\(x64\|arm64\|riscv\)_sys_\([a-z0-9_]*\)$/\2/p' /proc/kallsyms | sort -u >/tmp/kmodlab-entries
echo '#include <sys/syscall.h>' | gcc -E -dM - | sed -n 's/^#define __NR_\([a-z0-9_]*\) .*/\1/p' | sort -u |
comm -12 - /tmp/kmodlab-entries; rm /tmp/kmodlab-entries
"""
"""The calls that the machine's C library knows by the name of their entry point, without looking 300 times."""


def why_missing(machine: Machine, name: str) -> str | None:
    """Return the reason why this call cannot be made on the machine, if there is one."""
    arch = machine.once("arch", lambda: machine.sh("uname -m").strip())
    if name in LACKING.get(arch, set()):
        return f"{arch} has no system call {name}"
    return None


def members(machine: Machine, family: str) -> list[str]:
    """Return the calls of a family that the machine has."""
    return [name for name in FAMILIES[family] if not why_missing(machine, name)]


def plain(name: str) -> str:
    """Turn a name into one that may stand in a command name."""
    return re.sub(r"[^a-z0-9]", "", name)


def calls_there(machine: Machine) -> list[str]:
    """Return the calls that both the machine's kernel and its C library know."""
    return machine.once("calls", lambda: machine.sh(_NAMES).split())

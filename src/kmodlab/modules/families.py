"""Families: the system calls that a user means by one name, as kernel/syscall_tracer/family.c has them."""

from __future__ import annotations

from collections.abc import Iterable

FAMILIES: dict[str, str] = {
    "open": "open openat openat2 creat",
    "read": "read pread64 readv preadv preadv2",
    "write": "write pwrite64 writev pwritev pwritev2",
    "close": "close close_range",
    "dup": "dup dup2 dup3",
    "pipe": "pipe pipe2",
    "truncate": "truncate ftruncate",
    "sync": "sync syncfs fsync fdatasync",
    "unlink": "unlink unlinkat",
    "rename": "rename renameat renameat2",
    "mkdir": "mkdir mkdirat",
    "link": "link linkat",
    "symlink": "symlink symlinkat",
    "readlink": "readlink readlinkat",
    "mknod": "mknod mknodat",
    "chmod": "chmod fchmod fchmodat fchmodat2",
    "chown": "chown fchown lchown fchownat",
    "access": "access faccessat faccessat2",
    "stat": "stat fstat lstat newfstatat statx",
    "statfs": "statfs fstatfs",
    "utime": "utime utimes futimesat utimensat",
    "chdir": "chdir fchdir",
    "getdents": "getdents getdents64",
    "umount": "umount2",
    "getxattr": "getxattr lgetxattr fgetxattr getxattrat",
    "setxattr": "setxattr lsetxattr fsetxattr setxattrat",
    "listxattr": "listxattr llistxattr flistxattr listxattrat",
    "removexattr": "removexattr lremovexattr fremovexattr removexattrat",
    "exec": "execve execveat",
    "fork": "fork vfork clone clone3",
    "clone": "clone clone3",
    "exit": "exit exit_group",
    "wait": "wait4 waitid",
    "kill": "kill tkill tgkill",
    "nanosleep": "nanosleep clock_nanosleep",
    "accept": "accept accept4",
    "send": "sendto sendmsg sendmmsg",
    "recv": "recvfrom recvmsg recvmmsg",
    "poll": "poll ppoll",
    "select": "select pselect6",
    "epoll_create": "epoll_create epoll_create1",
    "epoll_wait": "epoll_wait epoll_pwait epoll_pwait2",
    "eventfd": "eventfd eventfd2",
    "signalfd": "signalfd signalfd4",
    "inotify_init": "inotify_init inotify_init1",
}
"""The calls of each, those the architecture has; a test compares them with the module's source."""


def members(names: Iterable[str]) -> set[str]:
    """Return the calls that these names stand for.

    Args:
        names: families, calls, or `=` and a call.
    """
    found: set[str] = set()
    for name in names:
        found.update([name[1:]] if name.startswith("=") else FAMILIES.get(name, name).split())
    return found

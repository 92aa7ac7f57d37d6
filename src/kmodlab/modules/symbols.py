"""Arguments of calls as the names that programs have for them, the way strace writes them.

The numbers are those of the machine's own Python, which knows its architecture, and of the kernel's headers where no
module has them: see `uapi`. What has no name stays a number.
"""

from __future__ import annotations

import fcntl
import functools
import os
import select
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

from . import uapi

Names = Mapping[int, str]
Decoder = Callable[[int], str]

_ACCESS_MODE = 3
_SIGNAL = 0xFF
_KIND = 0xF
_FUTEX_PRIVATE, _FUTEX_CLOCK = 128, 256
"""Bits beside the command. Source: include/uapi/linux/futex.h"""
_FUTEX_COMMAND = ~(_FUTEX_PRIVATE | _FUTEX_CLOCK)
_REAL_TIME = 32
"""The first real-time signal, as the kernel counts them."""
_LAST_SIGNAL = 64


def _of(module: ModuleType, prefix: str, *, but: Sequence[str] = (), first: Sequence[str] = ()) -> dict[int, str]:
    """Return number -> name of a module's constants; `first` are those that go before others of the same number."""
    names = [name for name in dir(module) if name.startswith(prefix) and name not in but]
    found: dict[int, str] = {}
    for name in [*first, *names]:
        value = getattr(module, name, None)
        if isinstance(value, int) and not isinstance(value, bool):
            found.setdefault(int(value), name)
    return dict(sorted(found.items()))


def one(names: Names) -> Decoder:
    """Return what names a number, or leaves it as it is."""
    return lambda value: names.get(value, str(value))


def flags(names: Names, nothing: str = "0") -> Decoder:
    """Return what names the bits of a number, in the order of the names; the rest of the bits is in hex."""
    # Of what is a part of something else, the whole goes first: O_SYNC has the bit of O_DSYNC.
    order = sorted((value for value in names if value), key=lambda value: -bin(value).count("1"))
    nothing = names.get(0, nothing)

    def decode(value: int) -> str:
        found, rest = [], value
        for bits in order:
            if rest & bits == bits:
                found.append(bits)
                rest &= ~bits
        words = [name for bits, name in names.items() if bits in found] + ([hex(rest)] if rest else [])
        return "|".join(words) or nothing

    return decode


def _plus(kind: Decoder, mask: int, more: Decoder) -> Decoder:
    """Return what names a number whose low bits are one of some, and whose others are flags."""

    def decode(value: int) -> str:
        rest = value & ~mask
        return kind(value & mask) + (f"|{more(rest)}" if rest else "")

    return decode


_O_ACCESS = {os.O_RDONLY: "O_RDONLY", os.O_WRONLY: "O_WRONLY", os.O_RDWR: "O_RDWR"}
_O_BITS = _of(
    os, "O_", but=("O_ACCMODE", "O_RDONLY", "O_WRONLY", "O_RDWR", "O_RSYNC", "O_FSYNC"), first=("O_NONBLOCK", "O_SYNC")
)
_O_BITS.pop(0, None)
_AT = {value: name for value, name in uapi.AT.items() if value}
_SYNC = {value: name for value, name in uapi.AT.items() if "_SYNC" in name}
_AT_UNLINK = {**_AT, 0x200: "AT_REMOVEDIR"}
_AT_ACCESS = {**_AT, 0x200: "AT_EACCESS"}
_SOCK_KINDS = {value: name for value, name in _of(socket, "SOCK_").items() if value <= _KIND}
_SOCK_BITS = {value: name for value, name in _of(socket, "SOCK_").items() if value > _KIND}
_FAMILIES = _of(socket, "AF_", first=("AF_UNIX", "AF_NETLINK"))
_SIGNALS = {
    **_of(signal, "SIG", but=("SIGRTMIN", "SIGRTMAX"), first=("SIGABRT", "SIGCHLD", "SIGIO")),
    _REAL_TIME: "SIGRTMIN",
    **{number: f"SIGRT_{number - _REAL_TIME}" for number in range(_REAL_TIME + 1, _LAST_SIGNAL + 1)},
}
_SIGNALS = {value: name for value, name in _SIGNALS.items() if value > 0 and not name.startswith("SIG_")}
_LOCKS = ("F_RDLCK", "F_WRLCK", "F_UNLCK", "F_EXLCK", "F_SHLCK")
_SEALS = tuple(name for name in dir(fcntl) if name.startswith("F_SEAL_"))
_FCNTL = _of(fcntl, "F_", but=(*_LOCKS, *_SEALS), first=("F_GETLK", "F_SETLK", "F_SETLKW"))
_MMAP = {**uapi.MAP_KIND, **uapi.MAP, **uapi.MAP_MORE}

open_flags = _plus(one(_O_ACCESS), _ACCESS_MODE, flags(_O_BITS))
signal_name = one(_SIGNALS)
access_mode = flags({os.F_OK: "F_OK", os.R_OK: "R_OK", os.W_OK: "W_OK", os.X_OK: "X_OK"})
socket_kind = _plus(one(_SOCK_KINDS), _KIND, flags(_SOCK_BITS))
family = one(_FAMILIES)
whence = one(_of(os, "SEEK_"))
protection = flags(uapi.PROT)
message = flags(_of(socket, "MSG_"))
level = one({socket.SOL_SOCKET: "SOL_SOCKET", **_of(socket, "SOL_", but=("SOL_CAN_BASE",))})
o_bits = flags(_O_BITS)
at_bits = flags(_AT)
sync = flags(_SYNC)
shared = flags(uapi.CLONE)


def clone(value: int) -> str:
    """Name what a clone shares, and the signal of its end."""
    ends = value & _SIGNAL
    words = [shared(value & ~_SIGNAL)] if value & ~_SIGNAL else []
    return "|".join([*words, *([signal_name(ends)] if ends else [])]) or "0"


def futex(value: int) -> str:
    """Name what is asked of a futex."""
    name = uapi.FUTEX.get(value & _FUTEX_COMMAND, str(value & _FUTEX_COMMAND))
    private = "_PRIVATE" if value & _FUTEX_PRIVATE else ""
    return f"{name}{private}{'|FUTEX_CLOCK_REALTIME' if value & _FUTEX_CLOCK else ''}"


def synchronised(value: int) -> str:
    """Name how a file is looked at; that it is as up to date as for stat goes without a bit."""
    kind = value & sum(_SYNC)
    rest = value & ~kind
    return "|".join([sync(kind), *([at_bits(rest)] if rest else [])])


def octal(value: int) -> str:
    """Write a mode."""
    return f"0{value:o}" if value else "0"


def _hex(value: int) -> str:
    return hex(value) if value else "0"


#: call -> argument's number -> what names it
CALLS: dict[str, dict[int, Decoder]] = {
    "accept4": {3: flags(_SOCK_BITS)},
    "access": {1: access_mode},
    "clock_getres": {0: one(uapi.CLOCK)},
    "clock_gettime": {0: one(uapi.CLOCK)},
    "clock_nanosleep": {0: one(uapi.CLOCK), 1: flags(uapi.TIMER)},
    "clock_settime": {0: one(uapi.CLOCK)},
    "clone": {0: clone},
    "dup3": {2: o_bits},
    "epoll_create1": {0: flags({select.EPOLL_CLOEXEC: "EPOLL_CLOEXEC"})},
    "epoll_ctl": {1: one(uapi.EPOLL_CTL)},
    "eventfd2": {1: flags({os.O_CLOEXEC: "EFD_CLOEXEC", os.O_NONBLOCK: "EFD_NONBLOCK", 1: "EFD_SEMAPHORE"})},
    "execveat": {4: at_bits},
    "fadvise64": {3: one(uapi.FADV)},
    "faccessat": {2: access_mode},
    "faccessat2": {2: access_mode, 3: flags(_AT_ACCESS)},
    "fchmodat2": {3: at_bits},
    "fchownat": {4: at_bits},
    "fcntl": {1: one(_FCNTL)},
    "flock": {1: flags(_of(fcntl, "LOCK_"))},
    "futex": {1: futex},
    "getrandom": {2: flags(uapi.GRND)},
    "getrlimit": {0: one(uapi.RLIMIT)},
    "getsockopt": {1: level},
    "ioctl": {1: lambda value: uapi.IOCTL.get(value, hex(value))},
    "kill": {1: signal_name},
    "linkat": {4: at_bits},
    "lseek": {2: whence},
    "madvise": {2: one(uapi.MADV)},
    "memfd_create": {1: flags(uapi.MFD)},
    "mmap": {2: protection, 3: flags(_MMAP), 5: _hex},
    "mount": {3: flags(uapi.MS)},
    "mprotect": {2: protection},
    "mremap": {3: flags(uapi.MREMAP)},
    "newfstatat": {3: at_bits},
    "open": {1: open_flags},
    "openat": {2: open_flags},
    "pidfd_send_signal": {1: signal_name},
    "pipe2": {1: o_bits},
    "prctl": {0: one(uapi.PR)},
    "prlimit64": {1: one(uapi.RLIMIT)},
    "recvfrom": {3: message},
    "recvmsg": {2: message},
    "renameat2": {4: flags(uapi.RENAME)},
    "rt_sigaction": {0: signal_name},
    "rt_sigprocmask": {0: one({int(value): value.name for value in signal.Sigmasks})},
    "seccomp": {0: one(uapi.SECCOMP)},
    "sendmsg": {2: message},
    "sendto": {3: message},
    "setns": {1: shared},
    "setrlimit": {0: one(uapi.RLIMIT)},
    "setsockopt": {1: level},
    "shutdown": {1: one(_of(socket, "SHUT_"))},
    "socket": {0: family, 1: socket_kind},
    "socketpair": {0: family, 1: socket_kind},
    "statx": {2: synchronised, 3: flags(uapi.STATX)},
    "tgkill": {2: signal_name},
    "tkill": {1: signal_name},
    "umask": {0: octal},
    "unlinkat": {2: flags(_AT_UNLINK)},
    "unshare": {0: shared},
    "utimensat": {3: at_bits},
}
#: calls whose mode counts where a file may be made -> the numbers of the flags and of the mode
_MAKES = {"open": (1, 2), "openat": (2, 3)}
_MAY_MAKE = os.O_CREAT | getattr(os, "O_TMPFILE", 0) & ~getattr(os, "O_DIRECTORY", 0)
_POINTERS = "*pa"
#: requests of fcntl -> what names what is asked for; those without have no more arguments
_FCNTL_MORE: dict[str, Decoder] = {"F_SETFD": flags({fcntl.FD_CLOEXEC: "FD_CLOEXEC"}), "F_SETFL": open_flags}
_FCNTL_ALONE = {"F_GETFD", "F_GETFL", "F_GETOWN", "F_GETSIG", "F_GETLEASE", "F_GETPIPE_SZ", "F_GET_SEALS"}


def number(text: str) -> int | None:
    """Return what a number is that the log shows: decimal, hex, or octal as modes are; nothing of other text."""
    try:
        return int(text, 8) if text.startswith("0") and text.isdigit() else int(text, 0)
    except ValueError:
        return None


@functools.lru_cache(maxsize=4096)
def _named(call: str, at: int, text: str, kind: str) -> str:
    value = number(text)
    if value is None:
        return text
    if kind in _POINTERS and not value:
        return "NULL"
    if kind == "m":
        return f"0{value:o}" if value else "000"
    decode = CALLS.get(call, {}).get(at)
    return decode(value) if decode else text


def named(call: str, kinds: str, arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a call by their names, and without those that count for nothing.

    Args:
        call: its name.
        kinds: a letter for each argument, as `call-get` has them.
        arguments: the text of each, as the log has it.
    """
    letters = [*kinds, *" " * len(arguments)]
    found = [_named(call, at, text, letters[at]) for at, text in enumerate(arguments)]
    if call in _MAKES and len(arguments) > _MAKES[call][1]:
        asked = number(arguments[_MAKES[call][0]])
        return found if asked is not None and asked & _MAY_MAKE else found[: _MAKES[call][1]]
    if call == "fcntl" and len(found) > 2:  # the descriptor and the request
        return _fcntl(found, arguments[2])
    if call in ("getsockopt", "setsockopt") and len(found) > 2 and found[1] == "SOL_SOCKET":
        asked = number(arguments[2])
        found[2] = uapi.SO.get(-1 if asked is None else asked, found[2])
    return found


def _fcntl(found: list[str], more: str) -> list[str]:
    request, value = found[1], number(more)
    if request in _FCNTL_ALONE:
        return found[:2]
    if request in _FCNTL_MORE and value is not None:
        return [*found[:2], _FCNTL_MORE[request](value)]
    return found

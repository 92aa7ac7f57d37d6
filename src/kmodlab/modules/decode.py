"""The arguments of a call as text, exactly as `/proc/syscall_tracer` has them in its column ARGS (docs/abi.md)."""

from __future__ import annotations

import functools
import socket
import struct
from collections.abc import Callable, Iterator, Sequence

from .record import ARGS, ARGUMENTS, DATA, FLAGS, SIZE, TRUNCATED, Row

_AT_FDCWD = "-100"
_ITEM = struct.Struct("=HH")
_SOCKADDR_IN = 16
_SOCKADDR_IN6 = 24
"""Without the scope, which was not always part of it."""

_PLAIN = frozenset(range(0x21, 0x7F)) - {ord("\\")}
_ESCAPES = {byte: f"\\{byte:03o}" for byte in range(256) if byte not in _PLAIN}
_QUOTED_ESCAPES = {**_ESCAPES, ord('"'): "\\042"}


def escape(raw: bytes) -> str:
    r"""Return what a process chose as one word: every byte outside `!`..`~`, and the backslash, as `\ooo`."""
    return raw.decode("latin-1").translate(_ESCAPES)


def unescape(text: str) -> bytes:
    r"""Return the bytes that a word stands for: the inverse of `escape`.

    Raises:
        ValueError: a backslash without three octal digits behind it, or a byte above 255.
    """
    head, *rest = text.encode("utf-8", "surrogateescape").split(b"\\")
    return head + b"".join(bytes([_octal(part[:3])]) + part[3:] for part in rest)


def _octal(digits: bytes) -> int:
    if len(digits) != 3 or not all(48 <= digit < 56 for digit in digits):
        raise ValueError(f"{digits.decode(errors='replace')!r} after a backslash is not three octal digits")
    return int(digits, 8)


def quote(raw: bytes) -> str:
    """Return a path in double quotes, escaped."""
    return f'"{raw.decode("latin-1").translate(_QUOTED_ESCAPES)}"'


@functools.lru_cache(maxsize=4096)
def comm_text(comm: bytes) -> str:
    r"""Return a command name out of a record, escaped; an empty one is `\000`."""
    return escape(comm.partition(b"\0")[0]) or "\\000"


def _signed(value: int) -> str:
    return str(((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000)


def _directory(value: int) -> str:
    shown = _signed(value)
    return "AT_FDCWD" if shown == _AT_FDCWD else shown


def _unsigned(value: int) -> str:
    return str(value & 0xFFFFFFFF)


def _long(value: int) -> str:
    return str((value ^ 1 << 63) - (1 << 63))


def _flags(value: int) -> str:
    return hex(value & 0xFFFFFFFF)


def _mode(value: int) -> str:
    return f"0{value & 0o7777777:o}"


_NUMBERS: dict[str, Callable[[int], str]] = {
    "f": _signed,
    "D": _directory,
    "i": _signed,
    "u": _unsigned,
    "l": _long,
    "z": str,
    "x": _flags,
    "m": _mode,
    "L": _long,
}
_WIDE = "LH"
"""Of a 32-bit program: 64 bits, of which the next register has the upper half."""


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield what arguments point to: the argument's index, and the bytes."""
    at = 0
    while at + _ITEM.size <= len(data):
        arg, size = _ITEM.unpack_from(data, at)
        at += _ITEM.size
        yield arg, data[at : at + size]
        at += size


def _zeros(words: list[int]) -> tuple[int, int]:
    """Return where the longest run of zeros begins, the first of them, and how long it is."""
    best, length, start = 0, 0, 0
    for index, word in enumerate([*words, 1]):
        if word:
            start = index + 1
        elif index + 1 - start > length:
            best, length = start, index + 1 - start
    return best, length


def inet6(raw: bytes) -> str:
    """Return an IPv6 address as the kernel's `%pI6c` has it, which is not quite what `inet_ntop` makes.

    Source: ip6_compressed_string() in lib/vsprintf.c
    """
    words = list(struct.unpack("!8H", raw))
    mapped = not any(words[:5]) and words[5] == 0xFFFF
    isatap = words[4] | 0x0200 == 0x0200 and words[5] == 0x5EFE
    last = [socket.inet_ntoa(raw[12:])] if mapped or isatap else []
    words = words[:6] if last else words
    start, length = _zeros(words)
    texts = [f"{word:x}" for word in words] + last
    if length < 2:
        return ":".join(texts)
    return f"{':'.join(texts[:start])}::{':'.join(texts[start + length :])}"


def sockaddr(raw: bytes) -> str:
    """Return a socket address as the log has it."""
    if len(raw) < 2:
        return "family:?"
    family = struct.unpack_from("=H", raw)[0]
    if family == socket.AF_INET and len(raw) >= _SOCKADDR_IN:
        return f"inet:{socket.inet_ntoa(raw[4:8])}:{int.from_bytes(raw[2:4], 'big')}"
    if family == socket.AF_INET6 and len(raw) >= _SOCKADDR_IN6:
        return f"inet6:[{inet6(raw[8:24])}]:{int.from_bytes(raw[2:4], 'big')}"
    if family == socket.AF_UNIX:
        # The name of an abstract socket begins with a zero, and may have more.
        return f"unix:{quote(raw[2:] if raw[2:3] == bytes(1) else raw[2:].partition(bytes(1))[0])}"
    return f"family:{family}"


class Signature:
    """A call: its name, and how its arguments are shown.

    Args:
        name: what users call it.
        kinds: a letter for each argument, as `call-get` has them.
        data_bytes: how many bytes of paths and addresses a record may have.
        compat: a 32-bit program has made the call: a letter for each register.

    Attributes:
        letters: one for each argument that is shown.
    """

    def __init__(self, name: str, kinds: str, data_bytes: int, compat: bool = False) -> None:
        self.name = name
        self.kinds = kinds[:ARGUMENTS]
        self.compat = compat
        self.letters = self.kinds.replace("-", "") if compat else self.kinds
        self._show = [_signed if compat and kind == "l" else _NUMBERS.get(kind, hex) for kind in self.kinds]
        pointees = sum(kind in "pa" for kind in kinds)
        self._room = data_bytes // min(max(pointees, 1), 2) - _ITEM.size

    def arguments(self, row: Row) -> list[str]:
        """Return the text of each argument of a record."""
        registers = row[ARGS : ARGS + ARGUMENTS]
        values = self._narrow(registers) if self.compat else registers
        shown = [show(value) for show, value in zip(self._show, values)]  # noqa: B905
        if row[SIZE]:
            seen = set()
            for arg, raw in _items(row[DATA]):
                if arg < len(shown) and arg not in seen:
                    seen.add(arg)
                    shown[arg] = self._pointee(arg, raw, row[FLAGS])
        if self.compat:
            return [text for text, kind in zip(shown, self.kinds) if kind != "-"]  # noqa: B905
        return shown

    def _narrow(self, values: Sequence[int]) -> list[int]:
        """Return what 32-bit registers hold, or this one and the next together."""
        halves = [value & 0xFFFFFFFF for value in (*values, 0)]
        return [
            halves[index] | halves[index + 1] << 32 if kind in _WIDE else halves[index]
            for index, kind in enumerate(self.kinds)
        ]

    def _pointee(self, arg: int, raw: bytes, flags: int) -> str:
        if self.kinds[arg] == "a":
            return sockaddr(raw)
        return f"{quote(raw)}..." if flags & TRUNCATED and len(raw) >= self._room else quote(raw)

    def column(self, row: Row) -> str:
        """Return the arguments as the column ARGS has them."""
        return ",".join(self.arguments(row)) or "-"

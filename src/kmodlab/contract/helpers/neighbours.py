"""Others who hook a call that is blocked: they come before the block and after it, and go, and each time it is tried.

It runs on the host under test, from Python's standard library alone, and prints what each try came to, in JSON. That is
the core; `beside.py` tries these neighbours, and those of `more_neighbours.py`, in every order.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import json
import os
import platform
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CALL = "mkdirat"
COMM = sys.argv[1] if len(sys.argv) > 1 else "neighbours"
TRACER, PARAMETERS = Path("/proc/syscall_tracer"), Path("/sys/module/syscall_tracer/parameters")
X86 = platform.machine() == "x86_64"
FUNCTION = f"__{'x64' if X86 else 'arm64'}_sys_{CALL}"
NUMBERS = {"bpf": 321, CALL: 258} if X86 else {"bpf": 280, CALL: 34}
TRACING = next(path for path in map(Path, ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")) if path.exists())
BTF = Path("/sys/kernel/btf/vmlinux")
# uapi/linux/bpf.h
PROG_LOAD, RAW_TRACEPOINT_OPEN, TYPE_TRACING = 5, 17, 26
ATTACH = {"fentry": 24, "fexit": 25}
# linux/errno.h: the kernel's own, which reaches user space here
ENOTSUPP = 524
# uapi/linux/btf.h: what follows a type, in bytes, and in bytes for each of its members
KIND_FUNC = 12
BEHIND = {
    1: (4, 0),
    3: (12, 0),
    4: (0, 12),
    5: (0, 12),
    6: (0, 8),
    13: (0, 8),
    14: (4, 0),
    15: (0, 12),
    17: (4, 0),
    19: (0, 12),
}

libc = ctypes.CDLL(None, use_errno=True)
Neighbour = Callable[[], "contextlib.AbstractContextManager[object]"]


def system_call(name: str, *arguments: object) -> int:
    """Make a system call by its number; return what it returned."""
    libc.syscall.restype = ctypes.c_long
    return int(libc.syscall(NUMBERS[name], *arguments))


# -- who else is there ---------------------------------------------------------------------------------------------


@functools.cache
def find_function() -> int:
    """Return the number that the kernel's types have for the function."""
    data = BTF.read_bytes()
    start, at, length, strings = struct.unpack_from("<4I", data, 4)
    types, texts = data[start + at : start + at + length], data[start + strings :]
    wanted = texts.index(b"\0" + FUNCTION.encode() + b"\0") + 1
    number, here = 1, 0
    while here < length:
        name, info = struct.unpack_from("<2I", types, here)
        kind, members = info >> 24 & 31, info & 0xFFFF
        if kind == KIND_FUNC and name == wanted:
            return number
        fixed, each = BEHIND.get(kind, (0, 0))
        here, number = here + 12 + fixed + each * members, number + 1
    raise LookupError(FUNCTION)


def bpf(command: int, attributes: bytes) -> int:
    """Call bpf(2)."""
    done = system_call("bpf", command, ctypes.create_string_buffer(attributes, len(attributes)), len(attributes))
    if done < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return done


def load_program(kind: int, attach: int = 0, function: int = 0) -> int:
    """Load a program of BPF that does nothing; return its descriptor."""
    code = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    code_buffer, license_buffer = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    addresses = ctypes.addressof(code_buffer), ctypes.addressof(license_buffer)
    load = struct.pack("<IIQQ", kind, 2, *addresses) + struct.pack("<IIQII", 0, 0, 0, 0, 0) + bytes(16)
    load += struct.pack("<IIII", 0, attach, 0, 0) + struct.pack("<QIIQIII", 0, 0, 0, 0, 0, function, 0)
    return bpf(PROG_LOAD, load)


@contextlib.contextmanager
def attached(loaded: int, attach: Callable[[int], int]) -> Iterator[None]:
    """What `attach` makes of a loaded program is there; afterwards both are gone."""
    try:
        link = attach(loaded)
    finally:
        os.close(loaded)
    try:
        yield
    finally:
        os.close(link)


def program(kind: str, function: int) -> contextlib.AbstractContextManager[None]:
    """A program of BPF at the entry or the exit of the function."""
    loaded = load_program(TYPE_TRACING, ATTACH[kind], function)
    return attached(loaded, lambda loaded: bpf(RAW_TRACEPOINT_OPEN, struct.pack("<QIi", 0, loaded, 0)))


def has_trampolines() -> bool:
    """Whether the kernel can attach BPF to a function: on arm64 it cannot before 6.4."""
    try:
        with program("fentry", find_function()):
            return True
    except OSError as error:
        if error.errno == ENOTSUPP:
            return False
        raise


def trace(name: str, text: str) -> None:
    """Write to a file of tracefs: to that of the probes at its end, for the others' have to stay."""
    mode = os.O_APPEND if name == "kprobe_events" else os.O_TRUNC
    file = os.open(TRACING / name, os.O_WRONLY | mode)
    try:
        os.write(file, text.encode() or b"\n")
    finally:
        os.close(file)


@contextlib.contextmanager
def probe_event(letter: str) -> Iterator[None]:
    """A kprobe event (p) or a kretprobe event (r)."""
    trace("kprobe_events", f"{letter}:neighbour {FUNCTION}\n")
    try:
        trace("events/kprobes/neighbour/enable", "1")
        yield
        trace("events/kprobes/neighbour/enable", "0")
    finally:
        trace("kprobe_events", "-:neighbour\n")


@contextlib.contextmanager
def function_tracer(name: str) -> Iterator[None]:
    """The tracer `function` or `function_graph`, of this function alone."""
    trace("set_ftrace_filter", FUNCTION)
    try:
        trace("current_tracer", name)
        yield
    finally:
        trace("current_tracer", "nop")
        trace("set_ftrace_filter", "")


def neighbours() -> dict[str, Neighbour]:
    """Return all that this kernel can have, by name."""
    found: dict[str, Neighbour] = {
        "kprobe event": functools.partial(probe_event, "p"),
        "kretprobe event": functools.partial(probe_event, "r"),
    }
    tracers = (TRACING / "available_tracers").read_text().split()
    found |= {
        name: functools.partial(function_tracer, name) for name in ("function", "function_graph") if name in tracers
    }
    if BTF.exists() and has_trampolines():
        found |= {kind: functools.partial(program, kind, find_function()) for kind in ATTACH}
    return found


# -- the call --------------------------------------------------------------------------------------------------------


def make_directory(path: str) -> int:
    """Make the call."""
    return system_call(CALL, -100, path.encode(), 0o755)


def attempt(make: Callable[[str], int] = make_directory, comm: str = COMM) -> list[object]:
    """Make the call in a process of its own: what it returned, its errno, and whether it ran."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/new"
        ours, theirs = os.pipe()
        pid = os.fork()
        if not pid:
            Path("/proc/self/comm").write_text(comm)
            ret = make(path)
            os.write(theirs, struct.pack("qi", ret, ctypes.get_errno() if ret else 0))
            os._exit(0)
        os.close(theirs)
        answer = struct.unpack("qi", os.read(ours, 12))
        os.close(ours)
        os.waitpid(pid, 0)
        return [*answer, Path(path).exists()]


def write(path: Path, text: str) -> int:
    """Write in one go; return 0 or the errno."""
    try:
        with path.open("wb", buffering=0) as file:
            file.write(text.encode())
    except OSError as error:
        return error.errno or -1
    return 0


@contextlib.contextmanager
def blocked() -> Iterator[int]:
    """The call is blocked, if that is not refused: yields 0 or the errno of the refusal."""
    yield write(TRACER, f"={CALL} block comm={COMM}\n") or write(PARAMETERS / "enforce", "1")
    write(PARAMETERS / "enforce", "0")
    write(TRACER, f"clear\nuntrace ={CALL}\n")


def before(neighbour: Neighbour) -> dict[str, Any]:
    """The neighbour is there first."""
    with neighbour(), blocked() as refused:
        together = attempt()
    return {"refused": refused, "together": together, "afterwards": attempt()}


def after(neighbour: Neighbour) -> dict[str, Any]:
    """The block is there first, and stays when the neighbour has gone."""
    refused, together = 0, None
    with blocked() as failed:
        try:
            with neighbour():
                together = attempt()
        except OSError as error:
            refused = error.errno or -1
        alone = attempt()
    return {"failed": failed, "refused": refused, "together": together, "alone": alone, "afterwards": attempt()}


def main() -> None:
    """Try each neighbour, with and without return values; nothing is left of any of them."""
    tries: dict[str, dict[str, Any]] = {}
    for returns in ("0", "1"):
        if number := write(PARAMETERS / "returns", returns):
            sys.exit(f"returns={returns}: {errno.errorcode[number]}")
        for name, neighbour in neighbours().items():
            tries[f"{name}, returns={returns}"] = {"before": before(neighbour), "after": after(neighbour)}
    write(PARAMETERS / "returns", "0")
    print(json.dumps(tries))


if __name__ == "__main__":
    main()

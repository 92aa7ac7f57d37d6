"""More who hook a call, or stand before it: BPF by kprobes and tracepoints, programs, a module that redirects, seccomp.

Whatever a kernel has not, it has not by its configuration: `lacking` says so. What should be there and is not, fails.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import platform
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import neighbours as core
from neighbours import CALL, FUNCTION, NUMBERS, X86, Neighbour

NUMBERS.update(
    {"perf_event_open": 298, "finit_module": 313, "delete_module": 176}
    if X86
    else {"perf_event_open": 241, "finit_module": 273, "delete_module": 106}
)
# uapi/linux/bpf.h
LINK_CREATE, TYPE_KPROBE, TYPE_RAW_TRACEPOINT, KPROBE_MULTI, KPROBE_MULTI_RETURN = 28, 2, 17, 42, 1
# uapi/linux/perf_event.h
KPROBE_TYPE = Path("/sys/bus/event_source/devices/kprobe/type")
SET_BPF, ENABLE, ATTR_SIZE = 0x40042408, 0x2400, 112
# uapi/linux/seccomp.h, filter.h, audit.h
ERRNO, ALLOW, AUDIT_ARCH = 0x00050000, 0x7FFF0000, 0xC000003E if X86 else 0xC00000B7
STRACE = "strace"
REDIRECT = "/var/cache/kmodlab-contract/redirect.ko"
DEADLINE_SECONDS = 90

saw: list[str] = []
"""What the programs among the neighbours have printed."""
in_the_child: list[Callable[[], None]] = []
"""What a process does to itself before it makes the call."""


# -- BPF -----------------------------------------------------------------------------------------------------------


def probe_by_perf(returns: int, loaded: int) -> int:
    """Attach a program to a kprobe or kretprobe of perf's."""
    name = ctypes.create_string_buffer(FUNCTION.encode())
    kind, address = int(KPROBE_TYPE.read_text()), ctypes.addressof(name)
    attributes = struct.pack("<IIQQQQQIIQQ", kind, ATTR_SIZE, returns, 1, 0, 0, 0, 0, 0, address, 0)
    event = core.system_call("perf_event_open", attributes.ljust(ATTR_SIZE, b"\0"), -1, 0, -1, 0)
    if event < 0:
        raise OSError(ctypes.get_errno(), "perf_event_open")
    fcntl.ioctl(event, SET_BPF, loaded)
    fcntl.ioctl(event, ENABLE, 0)
    return event


def probe_by_link(returns: int, loaded: int) -> int:
    """Attach a program to the function by a link: by fprobe."""
    name = ctypes.create_string_buffer(FUNCTION.encode())
    names = (ctypes.c_void_p * 1)(ctypes.addressof(name))
    link = struct.pack("<4I", loaded, 0, KPROBE_MULTI, 0)
    link += struct.pack("<2I3Q", returns, 1, ctypes.addressof(names), 0, 0)
    return core.bpf(LINK_CREATE, link)


def tracepoint(name: str, loaded: int) -> int:
    """Attach a program to a raw tracepoint."""
    text = ctypes.create_string_buffer(name.encode())
    return core.bpf(core.RAW_TRACEPOINT_OPEN, struct.pack("<QIi", ctypes.addressof(text), loaded, 0))


def bpf_neighbour(kind: int, attach: Callable[[int], int], expected: int = 0) -> Neighbour:
    """Return a neighbour: a program of that kind, attached."""
    return lambda: core.attached(core.load_program(kind, expected), attach)


# -- tracefs -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def trace_events() -> Iterator[None]:
    """The trace events at the entry and the exit of the call."""
    names = [f"events/syscalls/sys_{where}_{CALL}/enable" for where in ("enter", "exit")]
    for name in names:
        core.trace(name, "1")
    try:
        yield
    finally:
        for name in names:
            core.trace(name, "0")


# -- programs ------------------------------------------------------------------------------------------------------


def knock() -> None:
    """Make the call as somebody whom nothing blocks: who traces all has something to show."""
    core.attempt(comm="knock")


@contextlib.contextmanager
def running(*words: str, here: Callable[[str], bool]) -> Iterator[None]:
    """A program that traces; from when it is `here`, by what it has printed, until it has ended by Ctrl-C."""
    with tempfile.NamedTemporaryFile("w+") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            wait_for(process, Path(output.name), here)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(DEADLINE_SECONDS)
            saw.append(Path(output.name).read_text(errors="replace"))


def wait_for(process: subprocess.Popen[bytes], output: Path, here: Callable[[str], bool]) -> None:
    """Knock until the program has seen it."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not here(output.read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{process.args!r} does not trace:\n{output.read_text(errors='replace')}")
        knock()
        time.sleep(0.05)


def heard(text: str) -> bool:
    """Whether a program has shown the call of the one who knocks."""
    return "knock" in text


def bpftrace() -> contextlib.AbstractContextManager[None]:
    """A script of bpftrace's with a kprobe, a kretprobe and a tracepoint."""
    show = '{ printf("%s %d\\n", comm, retval); }'
    script = f"kprobe:{FUNCTION} {{ @calls = count(); }} tracepoint:syscalls:sys_enter_{CALL} {{ @enter = count(); }} "
    return running("bpftrace", "-B", "none", "-e", f"{script} kretprobe:{FUNCTION} {show}", here=heard)


def perf_trace() -> contextlib.AbstractContextManager[None]:
    """The tracer perf, on the whole machine."""
    return running("perf", "trace", "-a", "-e", CALL, here=heard)


def strace() -> contextlib.AbstractContextManager[None]:
    """The tracer strace, on this process and all that it begins."""
    return running(STRACE, "-f", "-e", f"trace={CALL}", "-p", str(os.getpid()), here=lambda text: "mkdirat(" in text)


# -- a module that redirects -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def redirect() -> Iterator[None]:
    """As a live patch does: the function is another one, which returns EUCLEAN."""
    file = os.open(REDIRECT, os.O_RDONLY)
    try:
        done = core.system_call("finit_module", file, f"function={FUNCTION}".encode(), 0)
    finally:
        os.close(file)
    if done:
        raise OSError(ctypes.get_errno(), "finit_module")
    try:
        yield
    finally:
        if core.system_call("delete_module", b"redirect", os.O_NONBLOCK):
            raise OSError(ctypes.get_errno(), "delete_module")


# -- seccomp -------------------------------------------------------------------------------------------------------


def sandbox(verdict: int) -> None:
    """Have seccomp give its verdict on the call, in this process."""
    lines = [(0x20, 0, 0, 0), (0x15, 0, 1, NUMBERS[CALL]), (0x06, 0, 0, verdict), (0x06, 0, 0, ALLOW)]
    code = b"".join(struct.pack("<HBBI", *line) for line in lines)
    kept = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("<HxxxxxxQ", len(lines), ctypes.addressof(kept))
    if core.libc.prctl(38, 1, 0, 0, 0) or core.libc.prctl(22, 2, program, 0, 0):
        os._exit(1)


@contextlib.contextmanager
def seccomp(verdict: int) -> Iterator[None]:
    """Who makes the call has a filter of seccomp's."""
    in_the_child.append(functools.partial(sandbox, verdict))
    try:
        yield
    finally:
        in_the_child.clear()


# -- all of them -----------------------------------------------------------------------------------------------------


def by_kernel() -> dict[str, Neighbour]:
    """Return those that live in the kernel, by name."""
    return {
        "kprobe event": functools.partial(core.probe_event, "p"),
        "kretprobe event": functools.partial(core.probe_event, "r"),
        "function": functools.partial(core.function_tracer, "function"),
        "function_graph": functools.partial(core.function_tracer, "function_graph"),
        "trace events": trace_events,
        "BPF fentry": lambda: core.program("fentry", core.find_function()),
        "BPF fexit": lambda: core.program("fexit", core.find_function()),
        "BPF kprobe": bpf_neighbour(TYPE_KPROBE, functools.partial(probe_by_perf, 0)),
        "BPF kretprobe": bpf_neighbour(TYPE_KPROBE, functools.partial(probe_by_perf, 1)),
        "BPF kprobe.multi": bpf_neighbour(TYPE_KPROBE, functools.partial(probe_by_link, 0), KPROBE_MULTI),
        "BPF kretprobe.multi": bpf_neighbour(
            TYPE_KPROBE, functools.partial(probe_by_link, KPROBE_MULTI_RETURN), KPROBE_MULTI
        ),
        "BPF sys_enter": bpf_neighbour(TYPE_RAW_TRACEPOINT, functools.partial(tracepoint, "sys_enter")),
    }


def all_neighbours() -> dict[str, Neighbour]:
    """Return all that there may be, by name."""
    return by_kernel() | {
        "perf trace": perf_trace,
        "bpftrace": bpftrace,
        "strace": strace,
        "redirect": redirect,
        "seccomp errno": functools.partial(seccomp, ERRNO | errno.EXDEV),
        "seccomp allow": functools.partial(seccomp, ALLOW),
    }


NEEDS = {
    "function": "FUNCTION_TRACER",
    "function_graph": "FUNCTION_GRAPH_TRACER",
    "trace events": "FTRACE_SYSCALLS",
    "BPF fentry": "DEBUG_INFO_BTF",
    "BPF fexit": "DEBUG_INFO_BTF",
    "BPF kprobe.multi": "FPROBE",
    "BPF kretprobe.multi": "FPROBE",
}
"""The option that a kernel has to be built with."""


def lacking(name: str) -> str:
    """Return why this kernel cannot have a neighbour, or nothing where it can."""
    release = platform.release()
    option = f"CONFIG_{NEEDS.get(name, 'KPROBES')}"
    there = f"{option}=y" in Path(f"/boot/config-{release}").read_text().splitlines()
    return "" if there else f"{release} has no {option}, so no {name}"

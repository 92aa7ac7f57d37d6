"""The trace event syscall_tracer:syscall, for the kernel's own tracers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from .machine import Machine
from .modules import find_module, put_back, require
from .parameters import set_parameter
from .readers.tracer_page import parse_page
from .script import TRACER, call, nonce, read, step, write

pytestmark = pytest.mark.syscall_tracer

TRACING = "/sys/kernel/tracing"
EVENT = f"{TRACING}/events/syscall_tracer/syscall"
FIELDS = ["name", "call", "pid", "uid", "status", "flags", "ret", "latency", "args"]
LINE = re.compile(
    r"syscall: (?P<name>\w+) call=(?P<call>\d+) pid=(?P<pid>\d+) uid=(?P<uid>\d+) status=(?P<status>\d) "
    r"flags=(?P<flags>0x[0-9a-f]+) ret=(?P<ret>-?\d+) latency=(?P<latency>\d+) args=\{(?P<args>[0-9a-fx,]+)\}$",
    re.MULTILINE,
)


@pytest.fixture
def traced(tracer: Machine) -> Iterator[Machine]:
    """The machine with tracefs mounted; the event is disabled afterwards and the trace empty."""
    mounted = f"mountpoint -q {TRACING} || mount -t tracefs tracefs {TRACING}"
    require(*tracer.play(step("sh", f"{mounted}; echo 0 >{EVENT}/enable; echo >{TRACING}/trace")))
    yield tracer
    tracer.play(step("sh", f"for f in {EVENT}/filter {EVENT}/enable; do echo 0 >$f; done; echo >{TRACING}/trace; true"))


def enable(on: bool) -> str:
    """Enable the event, or disable it."""
    return step("sh", f"echo {int(on)} >{EVENT}/enable")


def test_the_format_is_as_specified(traced: Machine) -> None:
    """The event has the fields of the contract; it is disabled at first."""
    shape, enabled = traced.play(step("sh", f"cat {EVENT}/format"), step("sh", f"cat {EVENT}/enable"))
    declared = dict(re.findall(r"field:(.+?) ?(?:\[6\])?;\toffset:\d+;\tsize:(\d+)", shape["text"]))
    fields = [name.split()[-1].removesuffix("[6]") for name in declared if not name.split()[-1].startswith("common_")]
    assert sorted(fields) == sorted(FIELDS)
    assert "field:u64 args[6];" in shape["text"]
    assert enabled["text"].strip() == "0"


def test_events_are_the_records(traced: Machine) -> None:
    """While the event is enabled each record is one event, with its fields; a blocked call has its errno."""
    comm = nonce("traced")
    answers = traced.play(
        write(f"mkdir block errno=EXDEV comm={comm}"), set_parameter("enforce", 1), enable(True),
        call("read,close:2,mkdirat", comm), enable(False), call("close:3", comm), set_parameter("enforce", 0),
        read(TRACER),
        step("sh", f"cat {TRACING}/trace"), write("clear", "untrace mkdir"),
    )  # fmt: skip
    rows = parse_page(answers[7]["text"]).of(comm)
    pids = {str(row.pid) for row in rows}
    events = [match.groupdict() for match in LINE.finditer(answers[8]["text"]) if match["pid"] in pids]
    assert [row.call for row in rows] == ["read", "close", "close", "mkdirat", *["close"] * 3]
    assert [event["name"] for event in events] == ["read", "close", "close", "mkdirat"]
    assert [(event["status"], event["flags"], event["ret"]) for event in events[2:]] == [
        ("0", "0x0", "0"),
        ("1", "0x4", "-18"),
    ]
    assert all(event["uid"] == "0" and len(event["args"].split(",")) == 6 for event in events)
    assert [int(event["args"].split(",")[2], 16) for event in events[:1]] == [8]
    assert int(events[1]["args"].split(",")[0], 16) == int(rows[1].arguments[0])


def test_events_have_return_values(traced: Machine) -> None:
    """With returns=1 the event has the return value and the latency."""
    comm = nonce("returned")
    answers = traced.play(
        set_parameter("returns", 1), enable(True), call("read,unlinkat:2", comm), enable(False),
        set_parameter("returns", 0), read(TRACER), step("sh", f"cat {TRACING}/trace"),
    )  # fmt: skip
    pids = {str(row.pid) for row in parse_page(answers[5]["text"]).of(comm)}
    events = [match.groupdict() for match in LINE.finditer(answers[6]["text"]) if match["pid"] in pids]
    assert [(event["name"], event["ret"]) for event in events] == [("read", "8"), ("unlinkat", "0"), ("unlinkat", "-2")]
    assert all(event["flags"] == "0x1" and int(event["latency"]) > 0 for event in events)


def test_the_kernel_can_filter_events(traced: Machine) -> None:
    """The kernel's own filters of events know the fields: only calls of this name come."""
    comm = nonce("chosen")
    _, made, _, trace = traced.play(
        step("sh", f"echo 'name == \"unlinkat\"' >{EVENT}/filter && echo 1 >{EVENT}/enable"),
        call("close:2,unlinkat,read", comm), enable(False), step("sh", f"cat {TRACING}/trace"),
    )  # fmt: skip
    names = {match["name"] for match in LINE.finditer(trace["text"])}
    assert names == {"unlinkat"}
    assert made


def test_unloading_while_the_event_is_enabled(traced: Machine) -> None:
    """The module can go while the event is enabled; when it comes back the event is there, disabled."""
    module = find_module(traced, "syscall_tracer")
    try:
        enabled, unloaded, gone, loaded, off = traced.play(
            enable(True),
            module.unload(),
            step("sh", f"test ! -e {EVENT}"),
            module.load(),
            step("sh", f"cat {EVENT}/enable"),
        )
        require(enabled, unloaded, gone, loaded)
        assert off["text"].strip() == "0"
    finally:
        put_back(traced, module)

"""What a tracer must survive: hostile callers, load, and being loaded and unloaded under it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from .calls import calls_there
from .machine import DEADLINE_SECONDS, Machine
from .modules import Module, find_module, put_back, require
from .parameters import set_parameter
from .readers.tracer_page import parse_page, parse_stats
from .script import TRACER, TRACER_STATS, Answer, nonce, read, script, step, write

pytestmark = pytest.mark.syscall_tracer

EFAULT, ENOENT, EINVAL, ECONNREFUSED = 14, 2, 22, 111
EXPECTED = {
    "null": EFAULT, "kernel": EFAULT, "not canonical": EFAULT, "unmapped": EFAULT, "to the edge": ENOENT,
    "over the edge": EFAULT, "two paths": EFAULT, "negative size": EFAULT, "null address": EFAULT,
    "kernel's address": EFAULT, "negative length": EINVAL, "huge length": EINVAL, "no length": EINVAL,
    "over the edge with its length": EFAULT, "misaligned": ECONNREFUSED,
}  # fmt: skip
"""What the kernel itself says to these calls."""
ROUNDS = int(os.environ.get("KMODLAB_RELOADS", "2"))
"""How often the tracer is loaded and unloaded under load."""
WORKERS = ("files", "tasks", "killed", "reader", "writer", "writer too")

LEFT = """
cd /sys/kernel/debug && grep -hE '_sys_|__do_sys_' kprobes/list tracing/enabled_functions; true
"""


@pytest.fixture
def module(machine: Machine) -> Iterator[Module]:
    """The tracer, which the test may unload and load."""
    module = find_module(machine, "syscall_tracer")
    yield module
    put_back(machine, module)


def worked(answer: Answer) -> Answer:
    """Return the answer of a load, each part of which was at work."""
    assert all(answer[name] > 0 for name in WORKERS), answer
    return answer


@pytest.mark.parametrize("returns", [0, 1])
def test_bad_pointers_harm_nobody(tracer: Machine, returns: int) -> None:
    """Calls with bad pointers and lengths return what they always do; the log has the pointer it could not read at."""
    comm = nonce("hostile")
    *_, hostile, page, off, _ = tracer.play(
        write("clear", "trace connect rename"), set_parameter("returns", returns), step("hostile", comm), read(TRACER),
        set_parameter("returns", 0), write("untrace connect rename"),
    )  # fmt: skip
    assert off["errno"] == 0
    assert {name: hostile[name] for name in EXPECTED} == EXPECTED
    rows = [row for row in parse_page(page["text"]).of(comm) if row.call in ("openat", "renameat2", "connect")]
    assert len(rows) == 14
    shown = [row.arguments[1] for row in rows]
    assert shown[:3] == ["0x0", "0xffffffff81000000", "0x7234567890abcdef"]
    assert shown[3].startswith("0x")
    assert shown[4] == '"/nothing"'
    assert shown[5].startswith("0x")
    assert (shown[6], rows[6].arguments[3]) == ("0xffffffff81000000", "0x0")
    assert shown[7:9] == ["0x0", "0xffffffff81000000"]
    assert shown[13] == "inet:127.0.0.1:1"
    if returns:
        assert [row.returned for row in rows] == [-EXPECTED[name] for name in EXPECTED if name != "negative size"]


@pytest.mark.parametrize("returns", [0, 1])
def test_a_page_that_another_thread_takes_away(tracer: Machine, returns: int) -> None:
    """A path in a page that comes and goes while it is read: the caller sees what it would without us."""
    on, unmapping, off = set_parameter("returns", returns), step("unmapping", 3000), set_parameter("returns", 0)
    *_, answer, page, ended = tracer.play(write("clear"), on, unmapping, read(TRACER), off)
    assert ended["errno"] == 0
    assert answer["other"] == 0, answer
    assert answer["opened"] + answer["no page"] + answer["no name"] == 3000
    parse_page(page["text"])


def test_a_sleeper_that_is_killed_has_returned(tracer: Machine) -> None:
    """With returns=1 the call of a process that is killed in it is recorded, and is in flight no more."""
    shell = (
        "sleep 1000 & until grep -qx sleep /proc/$!/comm && grep -q 'State:.S' /proc/$!/status; do :; done; "
        "kill -9 $!; wait; true"
    )
    *_, slept, page, off, _ = tracer.play(
        write("clear", "trace nanosleep"), set_parameter("returns", 1), step("sh", shell), read(TRACER),
        set_parameter("returns", 0), write("untrace nanosleep"),
    )  # fmt: skip
    require(slept)
    assert off["errno"] == 0
    (row,) = (row for row in parse_page(page["text"]).of("sleep") if row.call == "clock_nanosleep")
    assert row.returned == -516, "ERESTART_RESTARTBLOCK, which user space never sees"


def test_filters_and_modes_change_under_load(tracer: Machine) -> None:
    """While calls of all kinds are made, returns and enforce are switched again and again, and the law holds."""
    # The load blocks a call now and then: while that is enforced returns stays as it is.
    changes = [("returns", 1), ("enforce", 1), ("enforce", 0), ("returns", 0), ("enforce", 1), ("enforce", 0)]
    switch = [set_parameter(name, value) for name, value in [*changes, ("returns", 1), ("returns", 0)]]
    pages = [read(TRACER), read(TRACER_STATS), step("flood", 200, 4)]
    steps = itertools.chain.from_iterable((one, *pages) for one in switch)
    _, answer, counts, *_ = tracer.play(
        write("clear"), step("load", script(*steps)), read(TRACER_STATS),
        write("clear", "untrace =getsid"),
    )  # fmt: skip
    inner = worked(answer)["inner"]
    assert all(one.get("errno", 0) == 0 for one in inner)
    for one in inner:
        if one["step"] == "read":
            (parse_stats if one["text"].startswith("Mode: ") else parse_page)(one["text"])
    last = parse_stats(counts["text"])
    assert (last.mode, last.counters["In flight"]) == ("permissive", 0)


def test_every_call_of_the_kernel_is_traced_at_once(machine: Machine, module: Module) -> None:
    """All system calls of the kernel are traced at once, and untraced again."""
    names = calls_there(machine)
    assert len(names) > 200
    lines = [" ".join(names[i : i + 20]) for i in range(0, len(names), 20)]
    on, off = (
        [write(*(f"{verb} {line}" for line in lines[i : i + 8])) for i in range(0, len(lines), 8)]
        for verb in ("trace", "untrace")
    )
    answers = machine.play(
        module.unload(), module.load("log_entries=4096"), *on, step("flood", 500, 4), read(TRACER), *off
    )
    assert [one["errno"] for one in answers if one["step"] == "write"] == [0] * (len(on) + len(off))
    page = parse_page(next(one["text"] for one in answers if one["step"] == "read"))
    assert len([row for row in page.rows if row.call == "timer_getoverrun"]) == 2000
    assert len({row.call for row in page.rows}) > 10


def test_loading_and_unloading_under_full_load(machine: Machine, module: Module) -> None:
    """The tracer loads and unloads with either hook, and with returns, while all kinds of calls are made."""
    rounds = [
        f"insmod {module.file} hook={hook} returns={n} log_entries=64 && rmmod syscall_tracer"
        for hook, n in itertools.islice(itertools.cycle((("auto", 1), ("kprobe", 0))), ROUNDS)
    ]
    unloaded, before, answer, gone, after = machine.play(
        module.unload(),
        step("sh", LEFT),
        step("load", script(step("sh", " && ".join(rounds)))),
        module.look(),
        step("sh", LEFT),
        deadline=DEADLINE_SECONDS + 30 * ROUNDS,
    )
    require(unloaded, *worked(answer)["inner"])
    assert gone["text"] == ""
    assert after["text"] == before["text"]

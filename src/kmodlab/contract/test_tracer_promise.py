"""What "Mode: enforcing" promises: nothing that would end it happens in silence."""

from __future__ import annotations

import errno

import pytest

from .machine import Machine
from .modules import find_module, put_back, require
from .parameters import get_parameter, set_parameter
from .readers.tracer_page import parse_page
from .script import TRACER, call, nonce, read, step, write

pytestmark = pytest.mark.syscall_tracer

FTRACE = "/proc/sys/kernel/ftrace_enabled"
KPROBES = "/sys/kernel/debug/kprobes/enabled"
DEADLINE_MS = 60000
OFF = (set_parameter("enforce", 0), set_parameter("returns", 0), write("clear"))


def test_what_is_enforced_stays_traced(tracer: Machine) -> None:
    """While enforcing, a blocked call cannot be untraced (EBUSY), but along with its filter; nor enforced untraced."""
    comm = nonce("stays")
    _, _, _, untraced, answer, both, gone, _, again, late, *_ = tracer.play(
        write("clear"), write(f"=unlinkat block comm={comm}"), set_parameter("enforce", 1), write("untrace =unlinkat"),
        call("unlinkat", comm), write("=unlinkat delete", "untrace =unlinkat"), call("unlinkat", comm),
        set_parameter("enforce", 0), write(f"=unlinkat block comm={comm}", "untrace =unlinkat"),
        set_parameter("enforce", 1), get_parameter("enforce"), *OFF, write("trace unlink"),
    )  # fmt: skip
    assert (untraced["errno"], answer["ret"], answer["path_exists"]) == (errno.EBUSY, -1, 1)
    assert (both["errno"], gone["ret"]) == (0, 0)
    assert (again["errno"], late["errno"]) == (0, errno.EBUSY)


def test_returns_stay_while_enforced(tracer: Machine) -> None:
    """While a blocked call is enforced returns cannot be switched (EBUSY), either way; without one it can."""
    comm = nonce("stays")
    block, answer = write(f"=unlinkat block comm={comm}"), call("unlinkat", comm)
    _, free, _, _, on, first, _, _, _, off, second, *_ = tracer.play(
        set_parameter("enforce", 1), set_parameter("returns", 1), set_parameter("returns", 0), block,
        set_parameter("returns", 1), answer,
        write("clear"), set_parameter("returns", 1), block, set_parameter("returns", 0), answer, *OFF,
    )  # fmt: skip
    assert free["errno"] == 0
    assert (on["errno"], first["ret"], first["path_exists"]) == (errno.EBUSY, -1, 1)
    assert (off["errno"], second["ret"], second["path_exists"]) == (errno.EBUSY, -1, 1)


@pytest.mark.parametrize("returns", [0, 1])
def test_ftrace_cannot_be_switched_off(tracer: Machine, returns: int) -> None:
    """While calls are traced kernel.ftrace_enabled=0 is refused, with return values and without."""
    comm = nonce("stays")
    *_, hook, off, answer, _, _, _, _ = tracer.play(
        set_parameter("returns", returns), write(f"unlink block comm={comm}"), set_parameter("enforce", 1),
        get_parameter("hook"), step("write", FTRACE, "0\n"), call("unlinkat", comm), *OFF, step("write", FTRACE, "1\n"),
    )  # fmt: skip
    assert hook["text"] == ("kretprobe\n" if returns else "ftrace\n")
    # Since 6.17 it is refused always.
    assert off["errno"] in (errno.EBUSY, errno.EOPNOTSUPP)
    assert (answer["ret"], answer["path_exists"]) == (-1, 1)


def test_where_ftrace_is_off_nothing_is_enforced(machine: Machine) -> None:
    """Loaded with ftrace off the module hooks nothing and says so; a filter is refused until ftrace is on again."""
    module = find_module(machine, "syscall_tracer")
    block, comm = "unlink block", nonce("off")
    off, on = step("write", FTRACE, "0\n"), step("write", FTRACE, "1\n")
    unloaded, can, loaded, hook, refused, mode, page, _, taken, answer, *_ = machine.play(
        module.unload(), off, module.load("enforce=1"), get_parameter("hook"), write(block), get_parameter("enforce"),
        read(TRACER), on, write(f"{block} comm={comm}"), call("unlinkat", comm), *OFF,
    )  # fmt: skip
    put_back(machine, module)
    require(unloaded, loaded)
    wanted = ("none\n", errno.EBUSY, ()) if can["errno"] == 0 else ("ftrace\n", 0, ("unlink: BLOCK",))
    assert can["errno"] in (0, errno.EOPNOTSUPP)
    assert (hook["text"], refused["errno"], parse_page(page["text"]).filters) == wanted
    assert mode["text"] == "Y\n"
    assert (taken["errno"], answer["ret"], answer["path_exists"]) == (0, -1, 1)


def test_kprobes_switched_off_end_enforcing(machine: Machine) -> None:
    """Where calls are blocked by kprobes and these are switched off, the module is permissive soon, and says so."""
    module = find_module(machine, "syscall_tracer")
    comm, said = nonce("off"), "blocked calls run: hooks are switched off in this kernel"
    *loaded, _, on, until, mode, refused, _, again, answer, _, _, _ = machine.play(
        module.unload(), module.load("hook=kprobe"), write(f"unlink block comm={comm}"), set_parameter("enforce", 1),
        step("until", DEADLINE_MS, f"syscall_tracer: {said}", step("write", KPROBES, "0\n")),
        get_parameter("enforce"), set_parameter("enforce", 1), step("write", KPROBES, "1\n"),
        set_parameter("enforce", 1), call("unlinkat", comm), *OFF,
    )  # fmt: skip
    put_back(machine, module)
    require(*loaded)
    assert (on["errno"], until["found"]) == (0, 1)
    assert (mode["text"], refused["errno"]) == ("N\n", errno.EBUSY)
    assert (again["errno"], answer["ret"], answer["path_exists"]) == (0, -1, 1)


@pytest.mark.parametrize("name", ["ftrace", "kprobe"])
def test_a_named_hook_is_the_one_that_is_armed(machine: Machine, name: str) -> None:
    """With hook={name} calls are hooked by {name}, and the parameter says so."""
    module = find_module(machine, "syscall_tracer")
    *loaded, hook, none, empty, _ = machine.play(
        module.unload(), module.load(f"hook={name}"), get_parameter("hook"),
        write("untrace open read write close unlink"), get_parameter("hook"), write("trace open"),
    )  # fmt: skip
    put_back(machine, module)
    require(*loaded)
    assert (hook["text"], none["errno"], empty["text"]) == (f"{name}\n", 0, "none\n")


def test_what_another_program_says_is_not_read(tracer: Machine) -> None:
    """A path that cannot be read when execve begins is not read in the new program: the log has its address."""
    comm = nonce("guise")
    *_, answer, page, _, _ = tracer.play(
        set_parameter("returns", 1), write("trace =execve"), step("disguise", comm, "/bin/true"), read(TRACER),
        write("untrace =execve"), set_parameter("returns", 0),
    )  # fmt: skip
    assert answer["status"] == 0
    (row,) = (row for row in parse_page(page["text"]).of(comm) if row.call == "execve")
    assert (row.returned, row.arguments[0][:2]) == (0, "0x")


def test_what_is_refused_of_a_whole_write_is_quoted(tracer: Machine) -> None:
    """Lines that are well each and refused together are quoted by the first of them."""
    wanted = 'refused "untrace =unlinkat": a call that is blocked is not traced'
    *_, until, _, _, _ = tracer.play(
        write("unlink block uid=77"), set_parameter("enforce", 1),
        step("until", DEADLINE_MS, f"syscall_tracer: {wanted}", write("untrace =unlinkat", "trace close")), *OFF,
    )  # fmt: skip
    assert until["found"] == 1

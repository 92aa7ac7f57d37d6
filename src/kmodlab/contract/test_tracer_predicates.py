"""Filters that are about some calls only: pid, uid, comm, path."""

from __future__ import annotations

import errno

import pytest

from .conftest import as_command
from .machine import Machine
from .modules import find_module, put_back, require
from .readers.tracer_page import Row, escape, parse_filters, parse_page
from .script import TRACER, call, nonce, read, script, step, write

pytestmark = pytest.mark.syscall_tracer

LAST_ERRNO = 133
NOT_IN_PYTHON = {133: "EHWPOISON"}


def statuses(rows: list[Row]) -> list[str]:
    """Return what became of some calls."""
    return [row.status for row in rows]


def test_uid_narrows_a_filter(tracer: Machine) -> None:
    """uid=N is about the calls of the real user N alone."""
    one, other = nonce("one"), nonce("other")
    *_, page, _ = tracer.play(
        write("clear", "unlink block uid=1234"),
        call("unlinkat", one, uid=1234),
        call("unlinkat", other, uid=1235),
        read(TRACER),
        write("clear"),
    )
    rows = parse_page(page["text"])
    assert (statuses(rows.of(one)), statuses(rows.of(other))) == (["BLOCKED"], ["ALLOWED"])


def test_comm_narrows_a_filter(tracer: Machine) -> None:
    """comm=TEXT is about threads with exactly this name; the text has the escapes of the log."""
    names = [b"a b\x1b\\", b"a b\x1b\\x", b"a b"]
    command = f"unlink block comm={escape(names[0])}"
    added, *_, page, _ = tracer.play(
        write("clear", command), *(call("unlinkat", name) for name in names), read(TRACER), write("clear")
    )
    assert added["errno"] == 0
    rows = parse_page(page["text"])
    assert [statuses(rows.of(escape(name)))[-1:] for name in names] == [["BLOCKED"], ["ALLOWED"], ["ALLOWED"]]


def test_pid_narrows_a_filter(tracer: Machine) -> None:
    """pid=N is about the calls of the process N alone."""
    shell = f"touch /tmp/kmodlab-pid; echo =unlinkat block pid=$$ >{TRACER}; exec rm /tmp/kmodlab-pid"
    other = nonce("other")
    *_, page, shown, _ = tracer.play(
        write("clear"), step("sh", shell), call("unlinkat", other), read(TRACER), step("filters"), write("clear")
    )
    rows = parse_page(page["text"])
    mine = [row for row in rows.of("rm") if row.call == "unlinkat" and "kmodlab-pid" in row.args]
    assert statuses(mine) == ["BLOCKED"]
    assert parse_filters(shown["text"]) == (f"=unlinkat: BLOCK pid={mine[0].pid}",)
    assert statuses(rows.of(other)) == ["ALLOWED"]


def test_path_narrows_a_filter(tracer: Machine) -> None:
    """path=TEXT is about calls one of whose paths begins with it, be it the first or the second."""
    one = nonce("one")
    links = ("/nowhere/a /run/kmodlab-link", "/run/kmodlab-x /run/other-link")
    shell = "; ".join(f"ln -s {link}; rm -f {link.split()[1]}" for link in links)
    filters = ("unlink block path=/tmp/contract-", "unlink allow path=/run/", "symlink block path=/run/kmodlab-")
    added, *_, page, _ = tracer.play(
        write("clear", *filters), call("unlinkat", one), step("sh", shell), read(TRACER), write("clear")
    )
    assert added["errno"] == 0
    rows = parse_page(page["text"])
    assert statuses(rows.of(one)) == ["BLOCKED"]
    assert statuses([row for row in rows.of("rm") if row.call == "unlinkat"])[-2:] == ["ALLOWED"] * 2
    assert statuses([row for row in rows.of("ln") if row.call.startswith("symlink")])[-2:] == ["BLOCKED"] * 2


@pytest.mark.any_kernel
def test_filters_are_shown_as_they_are_written(tracer: Machine) -> None:
    """A filter is shown with errno and predicates, in the order pid uid comm path, and can be added again from that."""
    commands = (
        "open block errno=EACCES pid=7 uid=8 comm=a\\040b path=/etc/\\134",
        "unlink allow path=/tmp/",
        "=close block errno=41",
        f"mkdir block path=/{'x' * 123}",
        f"=renameat2 allow path=/{'x' * 59}",
    )
    mixed = ("open block path=/etc/\\134 comm=a\\040b uid=8 errno=13 pid=7", *commands[1:])
    answers = tracer.play(write("clear", *mixed), step("filters"), write("clear"))
    shown = parse_filters(answers[1]["text"])
    assert tuple(map(as_command, shown)) == commands
    again = tracer.play(
        *(write(as_command(line)) for line in shown), *(write(line) for line in mixed), step("filters"), write("clear")
    )
    assert parse_filters(again[-2]["text"]) == shown


@pytest.mark.any_kernel
def test_every_name_of_an_errno_is_known(tracer: Machine) -> None:
    """Each errno goes by its names and its number; it is shown by one name, or by its number if it has none."""
    names = {number: name for number, name in errno.errorcode.items() if number <= LAST_ERRNO}
    second = {"EWOULDBLOCK": "EAGAIN", "EDEADLOCK": "EDEADLK", "ENOTSUP": "EOPNOTSUPP"}
    names |= {getattr(errno, first): first for first in second.values()} | NOT_IN_PYTHON
    numbers = range(1, LAST_ERRNO + 1)
    wanted = [f"unlink: BLOCK errno={names.get(number, number)}" for number in numbers]
    answers = []
    for some in (numbers[:100], numbers[100:]):
        spellings = [str(number) for number in some], [names.get(number, str(number)) for number in some]
        for words in spellings:
            answers += tracer.play(
                write("clear"), write(*(f"unlink block errno={word}" for word in words)), step("filters")
            )[1:]
    *_, added, shown, _ = tracer.play(
        write("clear"), write(*(f"unlink block errno={name}" for name in second)), step("filters"), write("clear")
    )
    assert {answer["errno"] for answer in (*answers[::2], added)} == {0}
    pages = [list(parse_filters(answer["text"])) for answer in answers[1::2]]
    assert pages == [wanted[:100], wanted[:100], wanted[100:], wanted[100:]]
    assert parse_filters(shown["text"]) == tuple(f"unlink: BLOCK errno={first}" for first in second.values())


@pytest.mark.any_kernel
@pytest.mark.parametrize(("name", "room"), [("unlink", 252), ("rename", 124)])
def test_a_path_may_be_as_long_as_is_kept(name: str, room: int, machine: Machine) -> None:
    """path=TEXT of `{name}` may be as long as what data_bytes keeps; a longer one is refused, with the reason."""
    module = find_module(machine, "syscall_tracer")
    fits, reason = f"{name} block path=/{'x' * (room - 1)}", '": path is longer than what data_bytes keeps'
    until = step("until", 30000, f'refused "{name} block path=/x', script(write(fits + "x")))
    try:
        require(*machine.play(module.unload(), module.load("data_bytes=256")))
        added, refused, shown = machine.play(write(fits), write(fits + "x"), step("filters"))
        assert (added["errno"], refused["errno"]) == (0, errno.EINVAL)
        assert list(map(as_command, parse_filters(shown["text"]))) == [fits]
        (found,) = machine.play(until)
        assert found["line"].endswith(reason)
    finally:
        put_back(machine, module)


@pytest.mark.any_kernel
def test_the_longest_path_there_may_be(machine: Machine) -> None:
    """Where data_bytes keeps it, a path of 255 bytes is accepted, blocks, and is shown as it was written."""
    module = find_module(machine, "syscall_tracer")
    path = "/".ljust(255, "x")
    shell = f"for x in '' y; do rm -f {path}$x {path[:-1]}; done"
    command = f"unlink block path={path}"
    try:
        require(*machine.play(module.unload(), module.load("data_bytes=264")))
        added, _, page = machine.play(write(command), step("sh", shell), read(TRACER))
        assert added["errno"] == 0
        seen = parse_page(page["text"])
        assert list(map(as_command, seen.filters)) == [command]
        made = [row for row in seen.of("rm") if "/xxx" in row.args]
        assert statuses(made) == ["BLOCKED", "ALLOWED"] * 2
    finally:
        put_back(machine, module)

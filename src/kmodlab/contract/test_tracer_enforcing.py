"""enforce=1: BLOCKED is true, and nobody is locked out.

Each test enforces on processes of its own, in one remote command that ends permissive.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .calls import members
from .machine import Machine
from .modules import find_module, put_back, require
from .parameters import get_parameter, set_parameter
from .readers.tracer_page import Page, parse_page, parse_stats
from .script import TRACER, TRACER_STATS, Answer, call, nonce, read, script, step, write

pytestmark = pytest.mark.syscall_tracer

ACCESS, DEADLINE_MS = 13, 60000


@pytest.fixture(scope="module", params=["auto", "kprobe"])
def hooked(request: pytest.FixtureRequest, machine: Machine) -> Iterator[Machine]:
    """The machine with the tracer hooked in one way or the other, and without filters: for the last tests here."""
    module = find_module(machine, "syscall_tracer")
    require(*machine.play(module.unload(), module.load(f"hook={request.param}")))
    yield machine
    put_back(machine, module)


def enforced(machine: Machine, filters: list[str], *steps: str, returns: int = 0) -> tuple[list[Answer], Page]:
    """Run steps under enforced filters, and return their answers and the page of that time."""
    _, added, _, on, *answers, page, _, _, _ = machine.play(
        write("clear"), write(*filters), set_parameter("returns", returns), set_parameter("enforce", 1),
        *steps, read(TRACER),
        set_parameter("enforce", 0), set_parameter("returns", 0), write("clear"),
    )  # fmt: skip
    assert (added["errno"], on["errno"]) == (0, 0)
    return answers, parse_page(page["text"])


def test_a_blocked_connection_is_not_made(tracer: Machine) -> None:
    """A blocked connect makes no connection: the listener sees none."""
    comm = nonce("net")
    code = (
        f'open("/proc/self/comm", "w").write("{comm}"); import socket as s; l = s.create_server(("127.0.0.1", 0)); '
        'l.setblocking(False); e = s.socket().connect_ex(l.getsockname())\ntry: l.accept(); print("made", e)\n'
        'except BlockingIOError: print("none", e)'
    )
    (ran,), page = enforced(
        tracer, [f"connect block errno=ENETUNREACH comm={comm}"], step("sh", f"python3 -c '{code}'")
    )
    assert ran["text"] == "none 101\n"
    assert [row.status for row in page.of(comm) if row.call == "connect"] == ["BLOCKED"]


def test_an_exception_lets_a_call_run(tracer: Machine) -> None:
    """A call that an earlier filter allows runs, though a later one blocks it."""
    comm = nonce("except")
    (answer,), page = enforced(
        tracer, ["=unlinkat allow path=/tmp/contract-", f"unlink block comm={comm}"], call("unlinkat", comm)
    )
    assert (answer["ret"], answer["path_exists"]) == (0, 0)
    assert page.only(comm).status == "ALLOWED"


def test_process_1_is_exempt(tracer: Machine) -> None:
    """The calls of PID 1 are ALLOWED and run, whatever the filters say."""
    ask = step("sh", "kill -0 1 && systemctl daemon-reload 2>&1")
    (asked,), page = enforced(tracer, ["open block pid=1", "read block pid=1"], ask)
    assert asked["rc"] == 0, asked["text"]
    made = {row.status for row in page.rows if row.pid == 1 and row.call in ("openat", "read")}
    assert made == {"ALLOWED"}


def test_the_dead_man_timer_ends_enforcing(tracer: Machine) -> None:
    """enforce_timeout seconds after enforce=1 was written the module is permissive again, and says so."""
    wanted = "syscall_tracer: permissive again, enforce_timeout of 1 s is over"
    steps = [
        set_parameter("enforce_timeout", 1), set_parameter("enforce", 1), get_parameter("enforce"),
        step("until", DEADLINE_MS, wanted, script(step("sh", "true"))),
        get_parameter("enforce"), set_parameter("enforce_timeout", 0),
    ]  # fmt: skip
    limit, on, before, until, after, _ = tracer.play(*steps)
    assert (limit["errno"], on["errno"], before["text"]) == (0, 0, "Y\n")
    assert until["found"] == 1, wanted
    assert after["text"] == "N\n"


def test_the_dead_man_timer_starts_anew(tracer: Machine) -> None:
    """Writing enforce=1 again starts the seconds anew, by the clock of the kernel's own log."""
    over, limit = "syscall_tracer: permissive again, enforce_timeout of 3 s is over", 3
    until = step("until", DEADLINE_MS, over, script(step("sh", "true")))
    *_, ended, log, _ = tracer.play(
        set_parameter("enforce_timeout", limit), set_parameter("enforce", 1), step("sh", "sleep 2"),
        set_parameter("enforce", 1), until, step("sh", "dmesg | grep -E 'tracer: (enforcing|permissive again)'"),
        set_parameter("enforce_timeout", 0),
    )  # fmt: skip
    assert ended["found"] == 1, over
    lines = log["text"].splitlines()[-2:]
    assert [line.split("syscall_tracer: ")[1].split()[0] for line in lines] == ["enforcing", "permissive"]
    began, stopped = (float(line.strip("[ ").split("]")[0]) for line in lines)
    assert stopped - began > limit - 0.5


def test_a_blocked_call_does_not_run(hooked: Machine) -> None:
    """With enforce=1 a blocked call has no effect and returns the errno of the filter, EPERM if it has none."""
    one, two, free = nonce("one"), nonce("two"), nonce("free")
    filters = [f"unlink block errno=EACCES comm={one}", f"mkdir block comm={two}"]
    calls = [call("unlinkat", one), call("mkdirat", two), call("unlinkat", free)]
    (removed, made, gone, counts), page = enforced(hooked, filters, *calls, read(TRACER_STATS))
    assert (removed["ret"], removed["errno"], removed["path_exists"]) == (-1, ACCESS, 1)
    assert (made["ret"], made["errno"], made["fresh_exists"]) == (-1, 1, 0)
    assert (gone["ret"], gone["path_exists"]) == (0, 0)
    assert [(row.status, row.returned) for row in (page.only(one), page.only(two), page.only(free))] == [
        ("BLOCKED", -ACCESS), ("BLOCKED", -1), ("ALLOWED", None)
    ]  # fmt: skip
    assert parse_stats(counts["text"]).mode == "enforcing"


def test_every_member_of_a_family_is_kept_from_running(hooked: Machine) -> None:
    """Each call of the families open, unlink, rename, exec and fork returns EPERM and does nothing."""
    names = [name for family in ("open", "unlink", "rename", "exec", "fork") for name in members(hooked, family)]
    comms = [nonce("none") for _ in names]
    filters = [f"={name} block comm={comm}" for name, comm in zip(names, comms, strict=True)]
    answers, page = enforced(hooked, filters, *(call(name, comm) for name, comm in zip(names, comms, strict=True)))
    assert {
        name: (answer["ret"], answer["errno"]) for name, answer in zip(names, answers, strict=True)
    } == dict.fromkeys(names, (-1, 1))
    assert all(answer["path_exists"] and not answer["fresh_exists"] for answer in answers)
    assert [(row.call, row.status) for comm in comms for row in page.of(comm)] == [(name, "BLOCKED") for name in names]


def test_a_blocked_call_is_recorded_with_returns_on(hooked: Machine) -> None:
    """With returns=1 a blocked call does not run either, and is recorded once."""
    comm = nonce("both")
    (answer,), page = enforced(hooked, [f"unlink block errno=EACCES comm={comm}"], call("unlinkat", comm), returns=1)
    assert (answer["ret"], answer["errno"], answer["path_exists"]) == (-1, ACCESS, 1)
    assert [(row.status, row.returned) for row in page.of(comm)] == [("BLOCKED", -ACCESS)]


def test_the_control_file_stays_writable(hooked: Machine) -> None:
    """Root can open, write and close the control file though open, write, dup and close are blocked; no other file."""
    filters = [f"{name} block comm=helper" for name in ("open", "write", "dup", "fcntl", "close")]
    (other, clear, after), _ = enforced(
        hooked, filters, step("write", "/dev/null", "x"), write("clear"), step("write", "/dev/null", "x")
    )
    assert other["open_errno"] == 1
    assert (clear["open_errno"], clear["errno"]) == (0, 0)
    assert after["open_errno"] == 0

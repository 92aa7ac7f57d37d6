"""Who else hooks a call: what is enforced is enforced beside each of them, in any order."""

from __future__ import annotations

import errno
import json

import pytest

from .machine import Machine
from .modules import find_module, put_back, require
from .script import nonce, step

Tries = dict[str, dict[str, dict[str, object]]]

pytestmark = pytest.mark.syscall_tracer

STOPPED, RUN = [-1, errno.EPERM, False], [0, 0, True]
"""What the call came to: its return value, its errno, whether it had its effect."""
TRACEFS = {"kprobe event", "kretprobe event", "function", "function_graph"}
BPF = {"fentry", "fexit"}


@pytest.fixture(scope="module", params=["auto", "kprobe"])
def tries(request: pytest.FixtureRequest, machine: Machine) -> Tries:
    """What the call came to beside each neighbour, with the tracer hooked in one way or the other."""
    module = find_module(machine, "syscall_tracer")
    require(*machine.play(module.unload(), module.load(f"hook={request.param}")))
    (done,) = machine.play(step("sh", machine.python_command("neighbours.py", nonce("beside"))))
    put_back(machine, module)
    require(done)
    return dict(json.loads(done["text"]))


def of(tries: Tries, names: set[str]) -> Tries:
    """Return the tries beside some neighbours."""
    return {name: each for name, each in tries.items() if name.partition(",")[0] in names}


def expect_stopped(tries: Tries) -> None:
    """Whoever came first, the call did not run and its caller got the errno; or who came second was refused."""
    for name, each in tries.items():
        first, second = each["before"], each["after"]
        assert first["refused"] in (0, errno.EBUSY), name
        assert first["together"] == (RUN if first["refused"] else STOPPED), name
        assert second["failed"] == 0, name
        assert second["refused"] in (0, errno.EBUSY), name
        assert second["together"] == (None if second["refused"] else STOPPED), name
        assert second["alone"] == STOPPED, name
        assert first["afterwards"] == second["afterwards"] == RUN, name


def test_tracefs_beside_a_block(tries: Tries) -> None:
    """A blocked call does not run beside kprobe and kretprobe events, the function tracer and the function graph."""
    beside = of(tries, TRACEFS)
    assert {name.partition(",")[0] for name in beside} >= {"kprobe event", "kretprobe event"}
    assert all(each["before"]["refused"] == each["after"]["refused"] == 0 for each in beside.values())
    expect_stopped(beside)


def test_bpf_beside_a_block(machine: Machine, tries: Tries) -> None:
    """Beside BPF at its entry or exit a blocked call does not run and returns its errno, or one of them is refused."""
    beside = of(tries, BPF)
    # Elsewhere a kernel may have its types and no trampolines: arm64's of 6.1.
    if machine.sh("test -e /sys/kernel/btf/vmlinux && uname -m || true").strip() == "x86_64":
        assert beside
    expect_stopped(beside)

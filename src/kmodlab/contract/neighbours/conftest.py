"""Fixtures of the neighbours: the programs and the module they need, and what was tried beside each."""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..machine import REMOTE, Machine
from ..modules import Module, find_module, put_back, require
from ..script import nonce, step

HERE = Path(__file__).parent
PACKAGES = {"bpftrace": "bpftrace", "perf": "linux-perf", "strace": "strace"}
INSTALL = """
export DEBIAN_FRONTEND=noninteractive
apt-get update -q && apt-get install -q -y --no-install-recommends {0}
"""
SECONDS = 900
"""That all neighbours may take with the tracer hooked in one way."""

HOOKS = ("auto", "kprobe")
ORDERS = (
    "they come first and go first",
    "they come first and go last",
    "we come first and go last",
    "we come first and go first",
    "we are unloaded beside them",
)

Tries = dict[str, Any]


PROGRAMS = ("perf trace", "bpftrace")
"""They take seconds to begin."""


def orders(hook: str, returns: int, neighbour: str) -> tuple[str, ...]:
    """Return the orders to try: two are enough where a hook is the same again, a kretprobe, or who comes is slow."""
    if neighbour in PROGRAMS or (hook == "kprobe" and returns):
        return ORDERS[1::2]
    return ORDERS if hook == "auto" else ORDERS[:-1]


def install_programs(machine: Machine) -> None:
    """Install the tracers that the machine has not."""
    # Debian 11 has a perf without linux-perf: a script that looks for one.
    look = "; ".join(f"{program} --version >/dev/null 2>&1 || echo {package}" for program, package in PACKAGES.items())
    if missing := machine.sh(look).split():
        machine.sh(INSTALL.format(" ".join(missing)))


def build_redirect(machine: Machine) -> None:
    """Build the module that redirects a function, on the machine and for its kernel."""
    packed = io.BytesIO()
    # The header is a link to the modules' own.
    with tarfile.open(fileobj=packed, mode="w:gz", dereference=True) as tar:
        tar.add(HERE / "redirect", "redirect")
    sources = base64.b64encode(packed.getvalue()).decode()
    machine.sh(f"mkdir -p {REMOTE} && cd {REMOTE} && echo {sources} | base64 -d | tar xzf -")
    machine.sh(f"cd {REMOTE} && make -s -C redirect && mv redirect/redirect.ko . && rm -r redirect")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the orders that are not tried."""
    left_out = [item for item in items if is_left_out(getattr(item, "callspec", None))]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def is_left_out(callspec: Any) -> bool:
    """Whether a case is of an order that is not tried."""
    if callspec is None or "order" not in callspec.params:
        return False
    hook, returns, neighbour, order = (callspec.params[key] for key in ("beside", "returns", "neighbour", "order"))
    return order not in orders(hook, returns, neighbour)


class Beside:
    """What was tried with the tracer hooked in one way, beside each neighbour."""

    def __init__(self, machine: Machine, module: Module, hook: str, neighbours: set[str]) -> None:
        self.machine = machine
        self.module = module
        self.hook = hook
        self.neighbours = sorted(neighbours)
        self.returns = 0
        self.kernel = tuple(map(int, re.findall(r"\d+", machine.sh("uname -r"))[:2]))
        self._known: dict[int, Tries] = {}

    def parameters(self) -> list[str]:
        """Return how the tracer is loaded just now."""
        return [f"hook={self.hook}", f"returns={self.returns}", "log_entries=64"]

    def load(self, returns: int) -> None:
        """Load the tracer, with or without return values; nothing is traced."""
        self.returns = returns
        unload = step("sh", "rmmod syscall_tracer 2>/dev/null; true")
        nothing = step("write", "/proc/syscall_tracer", "untrace open read write close unlink\n")
        _, loaded, _ = self.machine.play(unload, self.module.load(*self.parameters()), nothing)
        require(loaded)

    def tries(self, neighbour: str, returns: int) -> Tries:
        """Return what was tried beside a neighbour, in each order; skip where the kernel has not got it."""
        if returns not in self._known:
            self.load(returns)
            what = {name: orders(self.hook, returns, name) for name in self.neighbours}
            self._known[returns] = self.run("beside.py", nonce("beside"), json.dumps(what))
        known = self._known[returns][neighbour]
        assert "failed" not in known, known["failed"]
        if "lacking" in known:
            pytest.skip(known["lacking"])
        return dict(known)

    def run(self, program: str, *words: str) -> Tries:
        """Run one of the helpers in Python, and return what it has printed."""
        command = self.machine.python_command(program, *words, self.module.file, *self.parameters())
        (done,) = self.machine.play(step("sh", command), deadline=SECONDS)
        require(done)
        return dict(json.loads(done["text"].splitlines()[-1]))


@pytest.fixture(scope="session")
def prepared() -> set[str]:
    """The machines that have all that the neighbours need."""
    return set()


@pytest.fixture(scope="module", params=HOOKS)
def beside(request: pytest.FixtureRequest, machine: Machine, prepared: set[str]) -> Iterator[Beside]:
    """The machine with the tracer hooked in one way or the other; it is put back afterwards."""
    if (key := machine.host.backend.get_pytest_id()) not in prepared:
        install_programs(machine)
        build_redirect(machine)
        prepared.add(key)
    module = find_module(machine, "syscall_tracer")
    cases = [getattr(item, "callspec", None) for item in request.session.items]
    names = {case.params["neighbour"] for case in cases if case and "neighbour" in case.params}
    yield Beside(machine, module, request.param, names)
    put_back(machine, module)

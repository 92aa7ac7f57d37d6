"""What clients change about the tracer and put back, several of them at once; the kernel is made up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kmodlab.modules import changes, claims
from kmodlab.modules.changes import Changes
from kmodlab.modules.family import tracer_spec
from kmodlab.modules.netlink import Connection
from kmodlab.modules.tracer import Tracer

from .fake_netlink import FakeKernel

SPEC = tracer_spec()


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    """A kernel that traces `read`, and does not record returns."""
    monkeypatch.setattr(claims, "PLACE", tmp_path / "claims")
    monkeypatch.setattr(changes, "RETURNS", tmp_path / "returns")
    changes.RETURNS.write_text("N\n")
    return FakeKernel()


def client(kernel: FakeKernel, *names: str) -> Changes:
    """A client that has these calls traced, and what they return."""
    one = Changes(Tracer(Connection(SPEC, kernel.link())))
    one.trace(names)
    one.record_returns()
    return one


def traced(kernel: FakeKernel) -> set[str]:
    """What the kernel traces beside what it did before."""
    return {name for name, on in kernel.calls.items() if on} - {"read"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_last_one_puts_back(kernel: FakeKernel, order: tuple[int, int]) -> None:
    both = client(kernel, "=openat", "=execve"), client(kernel, "=openat", "=read", "=connect")
    first, second = (both[place] for place in order)
    first.restore()
    assert traced(kernel) == ({"openat", "connect"} if order[0] == 0 else {"openat", "execve"})
    assert changes.RETURNS.read_text() == "1\n"
    second.restore()
    assert traced(kernel) == set()
    assert kernel.calls["read"]
    assert changes.RETURNS.read_text() == "N\n"
    assert [path.name for path in claims.PLACE.iterdir()] == ["lock"]


def test_what_was_killed_claims_nothing(kernel: FakeKernel) -> None:
    code = f"import pathlib, os; from kmodlab.modules import claims; claims.PLACE = pathlib.Path({str(claims.PLACE)!r})"
    code += "\none = claims.Claims()\nwith one.together(): one.claim({'openat'})\nos.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert len(list(claims.PLACE.glob("claim-*"))) == 1
    client(kernel, "=openat").restore()
    assert traced(kernel) == set()
    assert not list(claims.PLACE.glob("claim-*"))


def test_without_a_place_for_claims_each_is_on_its_own(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "PLACE", tmp_path / "nowhere" / "claims")
    client(kernel, "=openat").restore()
    assert traced(kernel) == set()
    assert changes.RETURNS.read_text() == "N\n"

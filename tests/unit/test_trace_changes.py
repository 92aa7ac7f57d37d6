"""What clients change about the tracer and put back, several of them at once; the kernel is made up."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kmodlab.modules.changes import Changes
from kmodlab.modules.machine import Machine
from kmodlab.modules.tracer import Tracer

from .fake_netlink import FakeKernel

Client = Callable[..., Changes]


@pytest.fixture
def kernel() -> FakeKernel:
    """A kernel that traces `read`."""
    return FakeKernel()


@pytest.fixture
def returns(tmp_path: Path) -> Path:
    """Its parameter: it does not record returns."""
    (tmp_path / "parameters").mkdir()
    (tmp_path / "parameters" / "returns").write_text("N\n")
    return tmp_path / "parameters" / "returns"


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    """Where the clients make their claims."""
    return tmp_path / "claims"


@pytest.fixture
def client(kernel: FakeKernel, returns: Path, claims: Path) -> Client:
    """A function that gives a client that has some calls traced, and what they return."""

    def begin(*names: str, place: Path = claims) -> Changes:
        one = Changes(Tracer(Machine(returns.parents[1], place, kernel.link)))
        one.trace(names)
        one.record_returns()
        return one

    return begin


def traced(kernel: FakeKernel) -> set[str]:
    """What the kernel traces beside what it did before."""
    return {name for name, on in kernel.calls.items() if on} - {"read"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_last_one_puts_back(
    kernel: FakeKernel, client: Client, returns: Path, claims: Path, order: tuple[int, int]
) -> None:
    both = client("=openat", "=execve"), client("=openat", "=read", "=connect")
    first, second = (both[place] for place in order)
    first.restore()
    assert traced(kernel) == ({"openat", "connect"} if order[0] == 0 else {"openat", "execve"})
    assert returns.read_text() == "1\n"
    second.restore()
    assert traced(kernel) == set()
    assert kernel.calls["read"]
    assert returns.read_text() == "N\n"
    assert [path.name for path in claims.iterdir()] == ["lock"]


@pytest.fixture
def killed(claims: Path, returns: Path, python: list[str], kernel: FakeKernel) -> None:
    """A client has changed the tracer and was killed."""
    places = f"pathlib.Path({str(claims)!r}), pathlib.Path({str(returns)!r})"
    code = f"import pathlib, os; from kmodlab.modules.claims import Claims; one = Claims({places})"
    code += "\nwith one.together(): one.claim({'openat', 'returns=N'})\nos.kill(os.getpid(), 9)"
    assert subprocess.run([*python, "-c", code], check=False).returncode == -9
    assert len(list(claims.glob("claim-*"))) == 1
    kernel.calls["openat"] = True
    returns.write_text("1\n")


@pytest.mark.usefixtures("killed")
@pytest.mark.parametrize("names", [("=openat",), ("=connect",), ()])
def test_the_next_one_puts_back_what_a_killed_one_has_left(
    kernel: FakeKernel, client: Client, claims: Path, returns: Path, names: tuple[str, ...]
) -> None:
    one = client(*names)
    assert len(list(claims.glob("claim-*"))) == 1
    one.restore()
    assert traced(kernel) == set()
    assert returns.read_text() == "N\n"
    assert [path.name for path in claims.iterdir()] == ["lock"]


@pytest.mark.usefixtures("killed")
def test_what_a_killed_one_has_left_is_put_back_by_the_last_of_several(
    kernel: FakeKernel, client: Client, returns: Path
) -> None:
    first, second = client("=connect"), client("=openat")
    first.restore()
    assert (traced(kernel), returns.read_text()) == ({"openat"}, "1\n")
    second.restore()
    assert (traced(kernel), returns.read_text()) == (set(), "N\n")


@pytest.mark.usefixtures("killed")
def test_what_is_traced_in_a_module_that_was_loaded_again_is_nobodys(
    kernel: FakeKernel, client: Client, returns: Path
) -> None:
    """What the killed one has changed went with the module; the same is traced by somebody else."""
    again = returns.with_name("again")
    again.write_text("1\n")
    again.replace(returns)
    client("=connect").restore()
    assert (traced(kernel), returns.read_text()) == ({"openat"}, "1\n")


def test_without_a_place_for_claims_each_is_on_its_own(
    kernel: FakeKernel, client: Client, returns: Path, tmp_path: Path
) -> None:
    client("=openat", place=tmp_path / "nowhere" / "claims").restore()
    assert traced(kernel) == set()
    assert returns.read_text() == "N\n"

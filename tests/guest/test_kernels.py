"""What a kernel decides of the contract, on the oldest, a real-time and the newest one; Molecule tries all of it."""

from __future__ import annotations

import json

import pytest

from kmodlab.matrix_page import Row
from kmodlab.paths import state_dir

from .test_lab import run

#: guest -> what its kernel's version begins with, an option that it has been built with
KERNELS = {
    "debian-11": ("5.10.", "KPROBES_ON_FTRACE"),
    "debian-12-rt": ("6.1.", "PREEMPT_RT"),
    "debian-13-backports": ("7.", "FPROBE"),
}
#: the others prove what is the same on every kernel: Molecule's run asks the default one, `make matrix` all
SELECTION = "not any_kernel"


@pytest.mark.parametrize("guest", KERNELS)
def test_every_contract_test_passes(guest: str) -> None:
    """`kmodlab matrix` boots the kernel, deploys, drives the workload, verifies, and takes the guest down."""
    done = run("kmodlab", "matrix", "--select", SELECTION, "--json", guest)
    log = state_dir() / "matrix" / "log" / f"{guest}.log"
    assert done.returncode == 0, done.stdout + log.read_text(errors="replace")[-8000:]
    (known,) = json.loads(done.stdout.splitlines()[-1])
    row = Row.read(known)
    kernel, option = KERNELS[guest]
    assert row.verdict == "pass", row
    # All tests are more than 540: those that any kernel decides alike are left out, and no others.
    assert 350 < row.passed < 500
    assert row.kernel.startswith(kernel)
    assert option in row.features
    assert row.hook == "ftrace"
    assert {"up", "deploy", "verify", "down"} <= set(row.seconds)

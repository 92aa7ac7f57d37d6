"""The whole contract on the oldest and the newest kernel, and on a real-time one; the default one is Molecule's."""

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


@pytest.mark.parametrize("guest", KERNELS)
def test_every_contract_test_passes(guest: str) -> None:
    """`kmodlab matrix` boots the kernel, deploys, drives the workload, verifies, and takes the guest down."""
    done = run("kmodlab", "matrix", "--json", guest)
    log = state_dir() / "matrix" / "log" / f"{guest}.log"
    assert done.returncode == 0, done.stdout + log.read_text(errors="replace")[-8000:]
    (known,) = json.loads(done.stdout.splitlines()[-1])
    row = Row.read(known)
    kernel, option = KERNELS[guest]
    assert row.verdict == "pass", row
    assert row.passed > 200
    assert row.kernel.startswith(kernel)
    assert option in row.features
    assert row.hook == "ftrace"
    assert {"up", "deploy", "verify", "down"} <= set(row.seconds)

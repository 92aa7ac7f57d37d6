"""The whole contract on the oldest and the newest kernel, and on a real-time one; the default one is Molecule's."""

from __future__ import annotations

import json

from kmodlab.matrix_page import Row

from .test_lab import run

#: guest -> what its kernel's version begins with, an option that it has been built with
KERNELS = {
    "debian-11": ("5.10.", "KPROBES_ON_FTRACE"),
    "debian-12-rt": ("6.1.", "PREEMPT_RT"),
    "debian-13-backports": ("7.", "FPROBE"),
}


def test_the_oldest_a_real_time_and_the_newest_kernel() -> None:
    """`kmodlab matrix` boots each, deploys, and passes every contract test there."""
    done = run("kmodlab", "matrix", "--json", *KERNELS)
    assert done.returncode == 0, done.stdout
    rows = [Row.read(known) for known in json.loads(done.stdout.splitlines()[-1])]
    assert [row.guest for row in rows] == list(KERNELS)
    for row in rows:
        kernel, option = KERNELS[row.guest]
        assert row.verdict == "pass", row
        assert row.passed > 200
        assert row.kernel.startswith(kernel)
        assert option in row.features
        assert row.hook == "kprobe (ftrace)"
        assert {"up", "deploy", "verify", "down"} <= set(row.seconds)

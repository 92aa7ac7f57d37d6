"""`molecule test`, as an engineer of the roles runs it: the whole sequence on a guest of Molecule's own."""

from __future__ import annotations

import re

from .test_lab import run

SEQUENCE = ("create", "prepare", "converge", "idempotence", "side_effect", "verify", "destroy")


def test_molecule_test() -> None:
    """Every step of the sequence runs and succeeds; verify runs the whole contract suite.

    Without the dashboard, which records every call of it: it is deployed and looked at by other tests.
    """
    done = run("molecule", "test", NO_COLOR="1", LAB_DASHBOARD_STATE="absent")
    assert done.returncode == 0, done.stdout
    for step in SEQUENCE:
        assert re.search(rf"default (?:>|➜) {step}\] Executed: Successful", done.stdout), step
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed.group(1)) > 100
    assert not re.search(r"\d+ (?:failed|error)", done.stdout), done.stdout

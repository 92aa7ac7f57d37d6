"""Every lab that ships is proved by its own submissions, as `kmodlab lab check` does it for an instructor."""

from __future__ import annotations

import subprocess

import pytest
from unit.grading_labs import LABS, OF_THE_MODULES

from .grading_command import KMODLAB

pytestmark = pytest.mark.grading


@pytest.mark.parametrize("name", LABS)
def test_a_lab_is_proved(name: str) -> None:
    """Full marks for the solution, little for the starter; each fault costs what its table says, and no more."""
    # The mutants of these are the modules' own, of which `make mutants` sees each caught.
    only = ("solution", "starter", "deviation-*") if name in OF_THE_MODULES else ()
    words = [word for pattern in only for word in ("--only", pattern)]
    done = subprocess.run([KMODLAB, "lab", "check", name, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert "solution" in done.stdout

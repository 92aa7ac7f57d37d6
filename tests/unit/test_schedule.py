"""What `make test` begins first."""

from __future__ import annotations

import subprocess
import sys

from guest.conftest import INDEPENDENT, LONGEST, group
from guest.test_kernels import KERNELS

from kmodlab.paths import project_dir


def test_what_is_begun_first_is_there() -> None:
    """A file that was renamed, or a kernel that is no longer tried, would be begun last."""
    tests = project_dir() / "tests"
    files = {path.name for folder in ("guest", "mutants") for path in (tests / folder).glob("test_*.py")}
    assert INDEPENDENT in files
    assert set(LONGEST) <= files | set(KERNELS)
    assert set(KERNELS) <= set(LONGEST)


def test_a_file_stays_on_one_worker_and_a_kernel_has_one_of_its_own() -> None:
    """Tests of a file share a guest; only those of INDEPENDENT are told apart."""
    kernels = [f"tests/guest/{INDEPENDENT}::test_every_contract_test_passes[{name}]" for name in KERNELS]
    assert list(map(group, kernels)) == list(KERNELS)
    assert group("tests/guest/test_build.py::test_modules_compile[debian-11]") == "test_build.py"
    assert group("tests/mutants/test_mutants.py::test_there_are_mutants") == "test_mutants.py"


def test_the_scheduler_is_used() -> None:
    """With `--dist loadfile` it is this one that hands out the tests."""
    argv = ["-n", "1", "--dist", "loadfile", "-v", "tests/guest/test_signatures.py", "-k", "a_wrong_signature"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *argv], cwd=project_dir(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "scheduling tests via Schedule\n" in done.stdout, done.stdout

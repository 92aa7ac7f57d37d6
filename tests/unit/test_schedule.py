"""What `make test` begins first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from guest.conftest import INDEPENDENT, LONGEST, group, workers
from guest.test_kernels import KERNELS

from kmodlab.host import Host
from kmodlab.paths import project_dir


def test_what_is_begun_first_is_there() -> None:
    """A file that was renamed, or a kernel that is no longer tried, would be begun last."""
    tests = project_dir() / "tests"
    files = {path.name for folder in ("guest", "contract/mutants") for path in (tests / folder).glob("test_*.py")}
    assert INDEPENDENT in files
    assert set(LONGEST) <= files | set(KERNELS)
    assert set(KERNELS) <= set(LONGEST)


def test_a_file_stays_on_one_worker_and_a_kernel_has_one_of_its_own() -> None:
    """Tests of a file share a guest; only those of INDEPENDENT are told apart."""
    kernels = [f"tests/guest/{INDEPENDENT}::test_every_contract_test_passes[{name}]" for name in KERNELS]
    assert list(map(group, kernels)) == list(KERNELS)
    assert group("tests/guest/test_build.py::test_modules_compile[debian-11]") == "test_build.py"
    assert group("tests/contract/mutants/test_mutants.py::test_there_are_mutants") == "test_mutants.py"


def test_the_scheduler_is_used() -> None:
    """With `--dist loadfile` it is this one that hands out the tests."""
    argv = ["-n", "1", "--dist", "loadfile", "-v", "tests/guest/test_signatures.py", "-k", "a_wrong_signature"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *argv], cwd=project_dir(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "scheduling tests via Schedule\n" in done.stdout, done.stdout


@pytest.mark.parametrize(("processors", "gigabytes", "expected"), [(2, 24, 3), (2, 7, 2), (16, 30, 10), (1, 1, 1)])
def test_one_worker_more_than_processors_where_memory_allows(
    tmp_path: Path, processors: int, gigabytes: int, expected: int
) -> None:
    """`-n auto` is that; at least one."""
    (tmp_path / "meminfo").write_text(f"MemAvailable: {gigabytes << 20} kB\n")
    assert workers(Host(proc=tmp_path, cgroups=tmp_path, allowed=processors)) == expected

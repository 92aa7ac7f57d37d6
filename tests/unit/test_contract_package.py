"""The contract tests are a package that ships with all that they read, and nobody looks for them in tests/."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from kmodlab import contract, paths

from .test_lint import TRACKED

ROOT = paths.project_dir()
#: what must not need the project's own tests
PRODUCTION = ("src/kmodlab", "playbooks", "labs", "plugins")


def _beside_modules() -> list[str]:
    """Return the files of the package that are no modules: those of its tests on a machine, and their pages."""
    inside = (path.relative_to(contract.FOLDER) for path in TRACKED if path.is_relative_to(contract.FOLDER))
    return sorted(str(path) for path in inside if path.suffix != ".py" or path.parent.name == "helpers")


def test_what_goes_to_the_machine_is_found_as_a_resource() -> None:
    names = _beside_modules()
    assert {"helpers/main.c", "helpers/netlink.py", "neighbours/redirect/ftrace.h"} <= set(names)
    package = resources.files("kmodlab.contract")
    assert [name for name in names if not package.joinpath(*name.split("/")).read_bytes()] == []


@pytest.mark.parametrize("name", ["contract", "contract.neighbours"])
def test_it_is_run_by_its_name_from_anywhere(name: str, tmp_path: Path) -> None:
    """The neighbours, which take long, only by their own."""
    words = ["-q", "--collect-only", "-p", "no:cacheprovider", "--pyargs", f"kmodlab.{name}"]
    argv = [sys.executable, "-m", "pytest", *words]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    neighbours = name == "contract.neighbours"
    assert ("test_access.py" in done.stdout, "test_io_uring.py" in done.stdout) == (not neighbours, neighbours)


def test_nothing_in_production_looks_for_it_in_tests() -> None:
    sources = [path for path in TRACKED if str(path.relative_to(ROOT)).startswith(PRODUCTION)]
    assert len(sources) > 200
    old = b"/".join([b"tests", b"contract"])
    assert [path for path in sources if old in path.read_bytes() or old.replace(b"/", b".") in path.read_bytes()] == []

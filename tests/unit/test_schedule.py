"""What `make test` begins first."""

from __future__ import annotations

from guest.conftest import INDEPENDENT, LONGEST
from guest.test_kernels import KERNELS

from kmodlab.paths import project_dir


def test_what_is_begun_first_is_there() -> None:
    """A file that was renamed, or a kernel that is no longer tried, would be begun last."""
    tests = project_dir() / "tests"
    files = {path.name for folder in ("guest", "contract/mutants") for path in (tests / folder).glob("test_*.py")}
    assert INDEPENDENT in files
    assert set(LONGEST) <= files | set(KERNELS)
    assert set(KERNELS) <= set(LONGEST)

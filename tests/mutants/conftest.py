"""The markers of the mutants."""

from __future__ import annotations

import pytest

MARKERS = {
    "mutant": "tries the contract tests on broken modules",
    "core": "of the mutants: one for each of the main promises",
}


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")

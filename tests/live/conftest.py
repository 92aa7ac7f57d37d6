"""What the tests with real parts share: Debian's Chromium, and the mark of those that take their time."""

from __future__ import annotations

import pytest
from browser.conftest import chromium

__all__ = ["chromium"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes: `make live` runs it, `make test` does not")

"""What the tests with real parts share: Chromium, one PostgreSQL, and the mark of those that take their time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from browser.conftest import chromium

from kmodlab.daemon.postgres import Address
from live.postgres import Postgres, running

__all__ = ["chromium"]

_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes: `make live` runs it, `make test` does not")


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with running() as one:
        yield one


@pytest.fixture
def database(server: Postgres) -> Address:
    return server.address(f"fleet_{next(_numbers)}")

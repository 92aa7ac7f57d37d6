"""What the tests with virtual machines share: a state directory of their own, and guests that are gone afterwards."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from kmodlab import environment
from kmodlab.guest import Guest, list_guests

environment.settle()
# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: what takes longest, in this order: begun first, so that at the end no worker is alone with it
LONGEST = (
    "debian-12-rt",
    "test_upgrade.py",
    "test_molecule.py",
    "test_vagrant.py",
    "debian-11",
    "test_dashboard.py",
    "test_lab.py",
    "debian-13-backports",
    "test_mutants.py",
    "test_fleet.py",
    "test_collection.py",
    "test_signing.py",
    "test_strange_hosts.py",
    "test_targets_as_they_are.py",
)
#: the file whose tests need nothing of each other
INDEPENDENT = "test_kernels.py"


class Schedule(LoadFileScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """A file's tests stay on one worker, for they share a guest; those of the one file need nothing of each other.

    The mark `xdist_group` would do, but pytest 9 has nothing any more of what xdist 3.8 notes it in: it is lost.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def group(nodeid: str) -> str:
    """Return what a test is run with by one worker: the name of its file, or of its own kernel."""
    file, _, test = nodeid.partition("::")
    name = file.rpartition("/")[2]
    return test.partition("[")[2].rstrip("]") if name == INDEPENDENT and "[" in test else name


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Schedule | None:
    """Take the place of `--dist loadfile`."""
    return Schedule(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest groups first, for `--no-loadscope-reorder`."""
    rank = {name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(group(item.nodeid), len(rank)))


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of what `make grading` runs."""
    config.addinivalue_line("markers", "grading: a fixture of the grader's that takes its time to come to its verdict")


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state directory of the session's own, free of guests at the end whatever happened; the cache is the user's."""
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KMODLAB_STATE_DIR", str(state))
        try:
            yield state
        finally:
            for guest in list_guests():
                guest.down()


#: the files whose machines get the dashboard, as every deployment brings it; others are about something else
WATCHED = ("test_collection", "test_dashboard", "test_lab", "test_vagrant")


@pytest.fixture(scope="module", autouse=True)
def watched(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether deployments of a file bring the dashboard, which takes an emulated machine some 20 s."""
    stays = request.module.__name__.rpartition(".")[2] in WATCHED
    with pytest.MonkeyPatch.context() as patch:
        if not stays:
            patch.setenv("ANSIBLE_SKIP_TAGS", "lab_dashboard")
        yield stays


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    """A running guest for all tests of a file."""
    with Guest("shared") as running:
        yield running


@pytest.fixture
def victim() -> Iterator[Guest]:
    """A guest for one test to bring up and to break."""
    one = Guest("victim")
    try:
        yield one
    finally:
        one.down()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """The guest `lab`, which the inventory knows, in a state directory of the file's own; gone afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KMODLAB_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        guest = Guest("lab")
        try:
            yield guest
        finally:
            guest.down()

"""Fixtures of the contract tests: the machine, its kernel log, its filters as they were found."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

from .machine import HelperError, Machine
from .readers.tracer_page import LAYOUT, parse_filters, parse_stats
from .readers.wording import wrong
from .script import TRACER, TRACER_STATS, Answer, read, step, write

MARKERS = {
    "syscall_tracer": "needs the module syscall_tracer",
    "task_lister": "needs the module task_lister",
    "quick": "belongs to the short picture for a newcomer",
    "any_kernel": "proves our own parsing, printing, bounds or wording, which no kernel makes another",
}
_machines = pytest.StashKey[dict[str, Machine]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that keeps the compiled helper on the host under test."""
    parser.addoption(
        "--keep-helper",
        action="store_true",
        help="leave the compiled helper on the hosts under test, for a next session to find",
    )
    parser.addoption(
        "--any-layout",
        action="store_true",
        help="read the tracer's page by the names of its columns, whatever its layout; for who grades",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    LAYOUT.any = config.getoption("--any-layout")
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    config.stash[_machines] = {}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Listen to the kernels a last time, and leave nothing on the machines."""
    for machine in session.config.stash[_machines].values():
        try:
            machine.play()
            if bad := machine.take_trouble():
                print("\n".join(["", "the kernel complained after the last test:", *bad]))
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
            if not session.config.getoption("--keep-helper"):
                machine.remove_helper()
            machine.close()
        except (HelperError, RuntimeError, AssertionError) as error:
            print(f"\nthe machine could not be left in order: {error}")
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The neighbours take long: they are tests only where asked for by path, or by their own name."""
    if collection_path != Path(__file__).with_name("neighbours"):
        return None
    asked = (Path(arg.split("::")[0]).resolve() for arg in config.args)
    return None if any(collection_path in (path, *path.parents) for path in asked) else True


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Put the sentence that a test proves, the first line of its docstring, into the report."""
    text = inspect.getdoc(getattr(item, "function", None)) or item.name
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    names = {key: value for key, value in parameters.items() if isinstance(value, str)}
    item.user_properties.append(("sentence", text.splitlines()[0].format(**names)))


@pytest.fixture(scope="module")
def machine(host: Host, request: pytest.FixtureRequest) -> Machine:
    """The host under test; the helper is compiled there once a session."""
    machines = request.config.stash[_machines]
    key = host.backend.get_pytest_id()
    if key not in machines:
        machines[key] = Machine(host)
    return machines[key]


@pytest.fixture(autouse=True)
def _kernel_log_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """Around each test: the kernel must not have complained between its first and its last record."""
    yield
    if "machine" not in request.fixturenames:
        return
    bad = request.getfixturevalue("machine").take_trouble()
    assert not bad, "\n".join(["the kernel complained:", *bad])


@pytest.fixture(scope="module")
def tracer(machine: Machine) -> Iterator[Machine]:
    """The machine with no filter set; those that were found are put back afterwards."""
    found, counts, cleared = machine.play(step("filters"), read(TRACER_STATS), write("clear"))
    for answer, asked, hint in (
        (found, f"{TRACER} can be read.", ""),
        (cleared, f"`echo clear > {TRACER}` removes all filters.", "this test begins with it: write `clear` first"),
    ):
        if answer["errno"]:
            wrong(asked, f"It failed: {os.strerror(answer['errno'])}.", hint)
    filters = parse_filters(found["text"])
    yield machine
    trace_as(machine, counts)
    _, shown = machine.play(write("clear", *map(as_command, filters)), step("filters"))
    assert parse_filters(shown["text"]) == filters, "the filters could not be put back"


def trace_as(machine: Machine, before: Answer) -> None:
    """Have exactly the calls traced that were; what a test has traced besides, a next one would count as its own."""
    (now,) = machine.play(read(TRACER_STATS))
    if before["errno"] or now["errno"]:
        return
    then, traced = (parse_stats(counts["text"]).traced for counts in (before, now))
    changes = [f"untrace ={name}" for name in sorted(traced - then)] + [f"trace ={name}" for name in then - traced]
    machine.play(*(write(*changes[at : at + 50]) for at in range(0, len(changes), 50)))


def filters_of(page: Answer) -> list[str]:
    """Return the lines of a page's filters, whatever else is on it."""
    section = str(page["text"]).partition("Active Filters:")[2]
    return [line for line in section.split("\n") if re.match(r"=?[a-z0-9_]+: [A-Z]", line)]


def as_command(filter_line: str) -> str:
    """Turn a line of `Active Filters:` into the command that adds it."""
    name, verdict = filter_line.split(": ", 1)
    action, *more = verdict.split(" ", 1)
    return " ".join([name, action.lower(), *more])

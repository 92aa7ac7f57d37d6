"""Runs a lab's tests with pytest, in a process of its own on the controller, and tells the grader what happens.

The grader watches the machine meanwhile, and ends this process when the machine breaks or a test's time is over.
Processes are forked from one that has imported pytest already: importing takes longer than most tests.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import pytest
from _pytest.config import default_plugins

from kmodlab import paths
from kmodlab.grading import backend

#: bytes of memory that the tests may take: a file of the machine's that has no end must not become ours
_MEMORY = 3 << 30
_TEXT = 4000
#: imported once; the main program among them, which each process would import for itself otherwise, and pytest's parts
_PRELOADED = [
    *("__main__", "kmodlab.grading.runner", "testinfra.plugin", "kmodlab.grading.backend", "tomllib", "unittest"),
    *(f"_pytest.{name}" for name in default_plugins),
]
#: the exception that says that the machine could not be reached: what testinfra's backends raise, and so does ours
_UNREACHABLE = "RuntimeError"
#: exceptions whose words need no name before them; HelperError is the contract tests' own, for what a module broke, too
_PLAIN = ("AssertionError", "Failed", "HelperError", _UNREACHABLE)


@dataclass(frozen=True)
class Node:
    """A test of the lab's, as pytest knows it.

    Attributes:
        test: the id in lab.yml.
        file: the test file.
        name: after the file's, with `::`; empty for the whole file.
    """

    test: str
    file: Path
    name: str

    def matches(self, item: pytest.Item) -> bool:
        """Whether a collected item belongs to it."""
        if item.path != self.file:
            return False
        found = item.nodeid.partition("::")[2]
        return not self.name or found == self.name or found.startswith((f"{self.name}[", f"{self.name}::"))

    @property
    def argument(self) -> str:
        """What pytest is given."""
        return f"{self.file}::{self.name}" if self.name else str(self.file)


@dataclass(frozen=True)
class Job:
    """What to run, and against what.

    Attributes:
        nodes: in the order to run.
        host: the machine's name.
        directory: the machine's.
        modules: the submission's modules: name, and file in the machine.
        markers: which tests of the nodes, as for pytest's `-m`.
        log: a file for what pytest prints.
    """

    nodes: tuple[Node, ...]
    host: str
    directory: Path
    modules: tuple[tuple[str, str], ...]
    markers: str
    log: Path


@dataclass(frozen=True)
class Event:
    """What the runner tells.

    Attributes:
        what: a test begins, has ended, or all have.
        test: the lab's id of it.
        node: pytest's name of it.
        outcome: of a test that has ended; `broken` where the machine could not be worked with.
        expected: what the test asked for, one line.
        seen: what it saw instead.
        seconds: that it took.
        status: pytest's exit status, at the end.
    """

    what: Literal["collected", "begin", "end", "done"]
    test: str = ""
    node: str = ""
    outcome: Literal["passed", "failed", "skipped", "broken"] = "passed"
    expected: str = ""
    seen: str = ""
    seconds: float = 0.0
    status: int = 0


class Runner:
    """The process in which a job's tests run; it is gone when the `with` block ends.

    Args:
        job: see there.
    """

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_child, args=(job, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        """End it and what it started: it leads a process group."""
        if self._process.pid:
            for kill in (os.killpg, os.kill):
                try:
                    kill(self._process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        self._process.join()
        self._connection.close()

    def next(self, seconds: float) -> Event | None:
        """Return what it tells next, or None where it says nothing for so long.

        Args:
            seconds: to wait.

        Raises:
            EOFError: it has ended.
        """
        if not self._connection.poll(seconds):
            return None
        try:
            event: Event = self._connection.recv()
        except ConnectionResetError as error:
            raise EOFError from error
        return event

    def go_on(self) -> None:
        """Let it run the next test: it waits for that after each."""
        try:
            self._connection.send(True)
        except OSError as error:
            raise EOFError from error


class Plugin:
    """Tells the grader of each test, and gives tests what they need to know of the submission."""

    def __init__(self, job: Job, connection: Connection) -> None:
        self._job = job
        self._connection = connection
        self._started = 0.0
        self._seen: dict[str, tuple[str, str, str]] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the lab's order, and what the lab asks for alone."""
        order = [(node, item) for node in self._job.nodes for item in items if node.matches(item)]
        items[:] = list(dict.fromkeys(item for _, item in order))
        self._tests = {item.nodeid: node.test for node, item in reversed(order)}
        missing = [node.argument for node in self._job.nodes if not any(node.matches(item) for item in items)]
        self._connection.send(Event("collected", seen="\n".join(missing)))

    @pytest.fixture(scope="session")
    def submission(self) -> dict[str, str]:
        """The submission's modules: name, and file in the machine."""
        return dict(self._job.modules)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self._started = time.monotonic()
        self._seen[nodeid] = ("passed", "", "")
        self._connection.send(Event("begin", self._tests[nodeid], nodeid))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]  # noqa: ANN201
        """Note why a test failed: its own words, or the assertion's."""
        outcome = yield
        report = outcome.get_result()
        if report.passed or self._seen[item.nodeid][0] != "passed":
            return
        about = {key: str(value) for key, value in item.user_properties}
        kind, seen = "failed", report.longreprtext
        if report.skipped:
            kind, seen = "skipped", str(call.excinfo.value) if call.excinfo else ""
        elif call.excinfo is not None:
            name, seen = call.excinfo.typename, str(call.excinfo.value)
            kind = "broken" if name == _UNREACHABLE else "failed"
            if name not in _PLAIN:
                seen = f"{name}: {seen}"
        expected = about.get("expected") or about.get("sentence", "")
        self._seen[item.nodeid] = (kind, expected[:_TEXT], about.get("seen") or seen[:_TEXT])

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A test has ended: wait until the grader has looked at the machine."""
        outcome, expected, seen = self._seen[nodeid]
        seconds = time.monotonic() - self._started
        self._connection.send(
            Event("end", self._tests[nodeid], nodeid, outcome, expected, seen, seconds)  # type: ignore[arg-type]
        )
        self._connection.recv()


def _child(job: Job, connection: Connection) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    _print_to(job.log)
    os.chdir(paths.project_dir())
    sys.path.insert(0, str(paths.project_dir()))
    # To look for plugins among all that is installed takes as long as a test.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    status = pytest.main(_arguments(job), plugins=[Plugin(job, connection)])
    connection.send(Event("done", status=int(status)))


def _print_to(log: Path) -> None:
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(sink, stream)


def _arguments(job: Job) -> list[str]:
    project = paths.project_dir()
    contract = project / "tests" / "contract"
    # The helper came with the template; what a slot has is thrown away with it.
    keep = ["--keep-helper", "--any-layout"] if any(contract in node.file.parents for node in job.nodes) else []
    markers = ["-m", job.markers] if job.markers else []
    return [
        *(node.argument for node in dict.fromkeys(job.nodes)),
        *["-q", "--tb=short", "-p", "no:cacheprovider", "-p", "testinfra.plugin"],
        *["-o", "addopts=", "-c", str(project / "pyproject.toml")],
        *[f"--hosts={backend.reach(job.host, job.directory)}", *keep, *markers],
    ]

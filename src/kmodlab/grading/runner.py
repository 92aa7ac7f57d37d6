"""Runs a lab's tests with pytest, in a process of its own on the controller, and tells the grader what happens.

The grader watches the machine meanwhile, and ends this process when the machine breaks or a test's time is over.
Processes are forked from one that has imported pytest already: importing takes longer than most tests.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import sys
import time
import traceback
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import pytest
from _pytest.config import default_plugins

from kmodlab import contract, paths
from kmodlab.grading import backend
from kmodlab.grading.backend import AgentBackend
from kmodlab.grading.words import Compared, Words, words_of

#: bytes of memory that the tests may take: a file of the machine's that has no end must not become ours
_MEMORY = 3 << 30
_TEXT = 4000
BROKEN = "This test of the lab broke, not your module. It costs you nothing; your instructor is told."
"""What a student reads of a test that broke itself."""
SILENT = "The machine took no command any more, though its kernel reported nothing."
"""What a student reads of a test that could not work with the machine."""
#: imported once; the main program among them, which each process would import for itself otherwise, and pytest's parts
_PRELOADED = [
    *("__main__", "kmodlab.grading.runner", "testinfra.plugin", "kmodlab.grading.backend", "tomllib", "unittest"),
    *(f"_pytest.{name}" for name in default_plugins),
]
#: what also says that a module does not do what it has to: the contract tests' own, for what a module broke, too
_OF_THE_MODULE = ("HelperError",)


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
        seed: of what the tests choose by chance.
        loaded: seconds that the machine had been up before the modules were loaded, and after.
    """

    nodes: tuple[Node, ...]
    host: str
    directory: Path
    modules: tuple[tuple[str, str], ...]
    markers: str
    log: Path
    seed: int = 0
    loaded: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Event:
    """What the runner tells.

    Attributes:
        what: a test begins, has ended, or all have.
        test: the lab's id of it.
        node: pytest's name of it.
        outcome: of a test that has ended; `broken` where the machine could not be worked with, `infra-error` where the
            test itself broke.
        expected: what the test asked for.
        seen: what it saw instead.
        hint: where to look.
        fault: what broke in the test itself.
        quiet: the test has sent the machine nothing: it looked again at what an earlier one had read.
        seconds: that it took.
        status: pytest's exit status, at the end.
    """

    what: Literal["collected", "begin", "end", "done"]
    test: str = ""
    node: str = ""
    outcome: Literal["passed", "failed", "skipped", "broken", "infra-error"] = "passed"
    expected: str = ""
    seen: str = ""
    hint: str = ""
    fault: str = ""
    quiet: bool = False
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
        self._sent = 0
        self._ends: dict[str, Event] = {}
        self._compared: dict[str, Compared] = {}

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

    @pytest.fixture(scope="session")
    def loaded(self) -> tuple[float, float]:
        """When the modules were loaded: what /proc/uptime said before, and after."""
        return self._job.loaded

    @pytest.fixture(scope="session")
    def seed(self) -> int:
        """What all that a test chooses by chance comes from: the same one, the same choices."""
        return self._job.seed

    @pytest.fixture
    def chance(self, request: pytest.FixtureRequest) -> random.Random:
        """A test's dice: nobody knows them before, and whoever knows the seed can throw them again."""
        return random.Random(f"{self._job.seed} {request.node.name}")  # noqa: S311

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self._started, self._sent = time.monotonic(), AgentBackend.sent
        self._ends[nodeid] = Event("end", self._tests[nodeid], nodeid)
        self._compared.clear()
        self._connection.send(Event("begin", self._tests[nodeid], nodeid))

    @pytest.hookimpl(tryfirst=True)
    def pytest_assertrepr_compare(self, op: str, left: object, right: object) -> list[str]:
        """Note what is compared: `words` tells it, and pytest need not."""
        mark = f"comparison {len(self._compared)}"
        self._compared[mark] = Compared(op, left, right)
        return [mark]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]  # noqa: ANN201
        """Note why a test failed: its own words, or what it compared; or that the test itself broke."""
        outcome = yield
        report = outcome.get_result()
        known = self._ends[item.nodeid]
        if report.passed or known.outcome != "passed":
            return
        about = {key: str(value) for key, value in item.user_properties}
        self._ends[item.nodeid] = self._failed(known, call, report, about)

    def _failed(
        self, known: Event, call: pytest.CallInfo[None], report: pytest.TestReport, about: dict[str, str]
    ) -> Event:
        error = call.excinfo.value if call.excinfo else None
        if error is None or report.skipped:
            return replace(known, outcome="skipped", seen=str(error or report.longreprtext)[:_TEXT])
        if isinstance(error, backend.Unreachable):
            return replace(known, outcome="broken", seen=SILENT, fault=str(error)[:_TEXT])
        if not _is_of_the_module(error):
            return replace(known, outcome="infra-error", seen=BROKEN, fault=_fault(error)[:_TEXT])
        said = words_of(error, self._compared_by(error))
        expected = about.get("expected") or said.expected or about.get("sentence", "")
        told = Words(expected, about.get("seen") or said.seen, about.get("hint") or said.hint)
        return replace(
            known, outcome="failed", expected=told.expected[:_TEXT], seen=told.seen[:_TEXT], hint=told.hint[:_TEXT]
        )

    def _compared_by(self, error: BaseException) -> Compared | None:
        """Return what the `assert` that failed compared: pytest put its mark into the message."""
        return next((known for mark, known in self._compared.items() if str(error).endswith(f"assert {mark}")), None)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A test has ended: wait until the grader has looked at the machine."""
        seconds, quiet = time.monotonic() - self._started, AgentBackend.sent == self._sent
        self._connection.send(replace(self._ends[nodeid], seconds=seconds, quiet=quiet))
        self._connection.recv()


def _is_of_the_module(error: BaseException) -> bool:
    """Whether an exception says that the module is wrong, and not the test."""
    # A file that has no end takes all memory that the tests have: that is the module's.
    kinds = (AssertionError, MemoryError, pytest.fail.Exception)
    return isinstance(error, kinds) or type(error).__name__ in _OF_THE_MODULE


def _fault(error: BaseException) -> str:
    """Return what broke in a test, and where, for whoever wrote it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).name.startswith("test_")] or frames
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno}: " if own else ""
    return f"{where}{type(error).__name__}: {error}"


def _child(job: Job, connection: Connection) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    _print_to(job.log)
    random.seed(job.seed)
    # A module may print a number of any length: that is wrong of it, and no fault of the test that reads it.
    sys.set_int_max_str_digits(0)
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
    # The helper came with the template; what a slot has is thrown away with it.
    keep = ["--keep-helper", "--any-layout"] if any(contract.FOLDER in node.file.parents for node in job.nodes) else []
    markers = ["-m", job.markers] if job.markers else []
    return [
        *(node.argument for node in dict.fromkeys(job.nodes)),
        *["-q", "--tb=short", "-p", "no:cacheprovider", "-p", "testinfra.plugin"],
        *["-o", "addopts=", "-c", str(project / "pyproject.toml")],
        *[f"--hosts={backend.reach(job.host, job.directory)}", *keep, *markers],
    ]

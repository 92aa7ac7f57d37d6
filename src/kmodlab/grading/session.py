"""One machine with a submission in it: loading, testing, unloading, and what the machine came to meanwhile."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kmodlab.errors import DeadlineExpired, GuestCrashed, LabError
from kmodlab.grading import sandbox
from kmodlab.grading.follow import Follower, Unseen
from kmodlab.grading.lab import Lab, Test
from kmodlab.grading.machines import TOOLS
from kmodlab.grading.result import Outcome, TestResult, Verdict
from kmodlab.grading.runner import Event, Job, Node, Runner
from kmodlab.grading.verdict import MARKS, Evidence, Finding, Trouble, find, judge, said_of
from kmodlab.kernel_report import Kind
from kmodlab.process import Deadline, tail
from kmodlab.vm.pool import Slot
from kmodlab.vm.shell import CommandResult

#: a machine that answers does so in this time, however busy the host is
_ANSWER_SECONDS = 10
#: whether a machine in which something hangs answers is asked for so long: it changes a sentence, and no verdict
_PROBE_SECONDS = 5
#: how long the kernel takes to report a task that hangs, as the template tells it to
_REPORT_SECONDS = 12
#: how long pytest may take to start, on a busy host
_START_SECONDS = 120
#: how long a test may still take after the kernel has complained
_GRACE_SECONDS = 3
#: console output is on its way through a pipe and a thread
_CONSOLE_SECONDS = 0.05

_TAINT = f"{TOOLS} taint"
_UPTIME = "cut -d' ' -f1 /proc/uptime"
_MARK = "--- kmodlab ---"


@dataclass
class Progress:
    """What the tests came to so far, over all machines of a submission.

    Attributes:
        results: by the test's id.
        findings: of machines in which there was trouble.
        broken: a test could not work with a machine that shows no trouble: that may be the lab's fault.
        time: that the submission has, from its first machine on; None before that.
        not_run: why the tests that have no result were not run; empty where none was left out.
        seed: of what the tests choose by chance.
    """

    results: dict[str, TestResult] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    broken: str = ""
    time: Deadline | None = None
    not_run: str = ""
    seed: int = 0

    @property
    def crashed(self) -> set[str]:
        """Ids of the tests in which a machine broke."""
        return {name for name, result in self.results.items() if result.outcome == "crashed"}

    def begin(self, seconds: float) -> None:
        """Let the submission's time begin, unless it has: what a machine took to start is not the submission's."""
        self.time = self.time or Deadline(seconds)

    @property
    def remaining(self) -> float:
        """Seconds that the submission has left."""
        return self.time.remaining if self.time else float("inf")


class Session:
    """A submission in a slot.

    Args:
        slot: a fresh one.
        lab: whose tests run.
        modules: the submission's, in the order to load.
        log: a file for what pytest prints.
        follower: is told of each test.
    """

    def __init__(
        self, slot: Slot, lab: Lab, modules: Sequence[Path], log: Path, follower: Follower | None = None
    ) -> None:
        self.slot = slot
        self.lab = lab
        self.follower = follower or Unseen()
        self._modules = list(modules)
        self._log = log
        self.doing = "the machine started"
        """What is under way, for sentences."""
        self._before: set[str] = set()
        self._loaded = (0.0, 0.0)
        self.names: list[str] = [module.stem.replace("-", "_") for module in modules]
        self.finding: Finding | None = None
        """What the machine came to, as soon as there is trouble."""

    # -- the three phases --------------------------------------------------------------------------------------

    def load(self) -> bool:
        """Put the modules into the machine and load them; whether they are loaded."""
        self.doing = "the module was loaded"
        words, content = self._words_to_load()
        done = self._run(words, self.lab.limits.load, "loading the module (insmod)", stdin=content)
        if done is None:
            return False
        before, _, after = done.stdout.partition(f"{_MARK}\n")
        self._before = set(before.splitlines())
        earliest, latest, status, taint, log = (*after.split("\n", 4), *[""] * 5)[:5]
        self._loaded = (_seconds(earliest), _seconds(latest))
        if self.trouble(taint=_marks(taint)):
            return False
        if status.strip() != "0":
            words = " ".join((done.stderr.strip() or "insmod failed").replace(f"{self._place_of_modules}/", "").split())
            said = f"; the kernel said: {line}" if (line := said_of(log, self.names)) else ""
            self.finding = Finding(Verdict.LOAD_ERROR, f"the module does not load: {words}{said}")
            return False
        return True

    def _words_to_load(self) -> tuple[str, bytes]:
        """Return the command, and its input."""
        contents = [module.read_bytes() for module in self._modules]
        files = self._files()
        put = " ".join(f"{file} {len(content)}" for file, content in zip(files, contents, strict=True))
        loads = [
            f"{TOOLS} insmod {file} {shlex.quote(self._parameters(module))} && "
            for file, module in zip(files, self._modules, strict=True)
        ]
        look = f"{TOOLS} clock {time.time():.3f}; {TOOLS} put {put} && {TOOLS} look; echo '{_MARK}'"
        end = f"status=$?; {_UPTIME}; echo $status; {_TAINT}; [ $status = 0 ] || dmesg | tail -n 20"
        return f"{look}; {_UPTIME}; {''.join(loads)}true; {end}", b"".join(contents)

    def _files(self) -> list[str]:
        """Return where the modules are in the machine."""
        return [f"{self._place_of_modules}/{module.name}" for module in self._modules]

    @property
    def _place_of_modules(self) -> str:
        return f"/lib/modules/{self.slot.image.kernel_version}/updates"

    def _parameters(self, module: Path) -> str:
        name = module.stem.replace("-", "_")
        known = [item for item in self.lab.modules if item.name.replace("-", "_") in ("", name)]
        known = known or list(self.lab.modules[:1] if len(self.lab.modules) == 1 else [])
        return " ".join(f"{key}={value}" for item in known[:1] for key, value in item.parameters.items())

    def test(self, tests: Sequence[Test], progress: Progress) -> None:
        """Run tests until all have run or the machine breaks; what they came to is in `progress`."""
        modules = tuple(zip(self.names, self._files(), strict=True))
        nodes = tuple(node for test in tests for node in self._nodes(test))
        markers = self.lab.markers
        place = self.slot.directory
        job = Job(nodes, place.name, place, modules, markers, self._log, progress.seed, self._loaded)
        with Runner(job) as runner:
            _Watch(self, runner, tests, progress).run()

    def _nodes(self, test: Test) -> list[Node]:
        return [Node(test.id, self.lab.node_file(node).resolve(), node.partition("::")[2]) for node in test.nodes]

    def unload(self) -> None:
        """Unload the modules, and see what they leave behind."""
        self.doing = "the module was unloaded"
        names = " ".join(reversed(self.names))
        # What a timer or a thread of the module does without its code is seen a moment later.
        words = f"{TOOLS} rmmod {names} || exit 1; {TOOLS} wait 0.3; {_TAINT}; {TOOLS} look"
        done = self._run(words, self.lab.limits.unload, "unloading the module (rmmod)")
        if done is None:
            return
        taint, _, after = done.stdout.partition("\n")
        if self.trouble(taint=_marks(taint)):
            return
        if done.status:
            said = " ".join(done.stderr.split())
            self.finding = Finding(Verdict.LEAK, f"the module cannot be unloaded: {said}")
        elif left := sorted(name for name in set(after.splitlines()) - self._before if not name.strip().isdigit()):
            self.finding = Finding(Verdict.LEAK, f"after unloading there is still: {', '.join(left[:5])}")

    def log_tail(self) -> str:
        """Return the last of what pytest printed."""
        return tail(self._log, 30)

    # -- the machine -------------------------------------------------------------------------------------------

    def _run(self, words: str, seconds: float, what: str, *, stdin: bytes = b"") -> CommandResult | None:
        """Run a command, or note what became of the machine."""
        try:
            return self.slot.machine.execute(words, seconds, stdin=stdin)
        except DeadlineExpired:
            self.timed_out(f"{what} did not end within {seconds:g} s", seconds)
        except (GuestCrashed, LabError):
            self._ended_or_raise()
        return None

    def _ended_or_raise(self) -> None:
        """Judge a machine whose connection failed; where nothing is known to have happened, it was the lab."""
        if not self.trouble():
            raise LabError(
                f"the machine could not be reached while {self.doing}", output=self.slot.console.text[-2000:]
            )

    def _answers(self) -> bool:
        try:
            return self.slot.machine.execute("true", _PROBE_SECONDS).status == 0
        except (DeadlineExpired, GuestCrashed, LabError):
            return False

    def _taint(self, seconds: float = _ANSWER_SECONDS) -> int | None:
        try:
            return _marks(self.slot.machine.execute(_TAINT, seconds).stdout)
        except (DeadlineExpired, GuestCrashed, LabError):
            return None

    def trouble(self, *, sure: bool = True, taint: int | None = None, settled: bool = False) -> bool:
        """Whether the machine is of no more use; `finding` says why.

        Args:
            sure: ask the kernel itself, too, where its console is silent.
            taint: what it has just said of itself.
            settled: nothing was asked of it since the last look, so its console has no more to say than it had.

        Raises:
            LabError: QEMU was killed from outside.
        """
        if not settled:
            time.sleep(_CONSOLE_SECONDS)
        if self.slot.qemu.alive and not sure and not self.slot.console.troubled.is_set():
            return False
        seconds = _PROBE_SECONDS if self.slot.console.troubled.is_set() else _ANSWER_SECONDS
        self.slot.console.troubled.clear()
        if taint is None and self.slot.qemu.alive:
            taint = self._taint(seconds)
        ended = not self.slot.qemu.alive
        if ended:
            self.slot.console.wait(5)
        if self.slot.qemu.killed:
            raise LabError(f"QEMU was killed while {self.doing}", log=self.slot.qemu.log)
        if taint is None and not ended:
            self.timed_out(f"the machine stopped answering while {self.doing}", seconds, silent=True)
            return True
        return self._judge(Evidence(self.doing, self._reports(), taint, ended))

    def _reports(self) -> tuple[Trouble, ...]:
        return tuple(find(self.slot.console.text))

    def _judge(self, evidence: Evidence) -> bool:
        finding = judge(evidence)
        if finding and (finding.crashed or self.finding is None):
            self.finding = finding.at(self._place(finding))
        return bool(finding and finding.crashed)

    def timed_out(self, what: str, waited: float = 0, *, silent: bool = False) -> None:
        """Judge a machine in which something did not end in time, after its kernel had time to say why.

        Args:
            what: one sentence.
            waited: seconds for which its kernel has had time already.
            silent: it was found not to answer.

        Raises:
            LabError: QEMU was killed from outside, or the host has no room left for what the machine writes.
        """
        self.slot.qemu.require_room()
        answers = not silent and self._answers()
        self._await_report(max(1, _REPORT_SECONDS - waited))
        if self.slot.qemu.killed:
            raise LabError(f"QEMU was killed while {self.doing}", log=self.slot.qemu.log)
        taint = self._taint() if answers else None
        finding = judge(Evidence(self.doing, self._reports(), taint, not self.slot.qemu.alive, what, answers))
        if finding is None:
            raise LabError(f"a timeout is always a finding: {what}")
        place = self._place(finding) or (self._place_by_log(finding) if answers else "")
        if not place and self.slot.qemu.alive:
            place = self._place_by_interrupt(finding)
        self.finding = finding.at(place)

    def _await_report(self, seconds: float) -> None:
        deadline = Deadline(seconds)
        while self.slot.qemu.alive and not deadline.expired and not self._reports():
            self.slot.console.troubled.wait(0.2)
        time.sleep(0.5)

    def _place_by_log(self, finding: Finding) -> str:
        """Return where a task hangs: its trace is in the kernel's log, and not on the console."""
        try:
            log = self.slot.machine.execute("dmesg | tail -n 80", _ANSWER_SECONDS).stdout
        except (DeadlineExpired, GuestCrashed, LabError):
            return ""
        return self._place(Finding(finding.verdict, "", Trouble(Kind.HUNG, "", log)))

    def _place_by_interrupt(self, finding: Finding) -> str:
        """Return where the machine hangs: an NMI makes its kernel panic, with a trace of what it was doing."""
        before = len(self.slot.console.text)
        try:
            self.slot.qemu.ask("inject-nmi")
        except LabError:
            return ""
        self.slot.console.wait(5)
        reports = find(self.slot.console.text[before:])
        return self._place(Finding(finding.verdict, "", reports[0])) if reports else ""

    def _place(self, finding: Finding) -> str:
        """Return the place in the submission's source that a report names: `list.c:12 (list_show)`."""
        frame = finding.trouble.frame(self.names) if finding.trouble else None
        if frame is None:
            return ""
        module = self._modules[self.names.index(frame.module)]
        line = sandbox.source_line(self.slot.image, module, frame.symbol, frame.offset)
        where = f"{frame.symbol}+{frame.offset:#x}"
        return f"{line} ({where})" if line else where


class _Watch:
    """Follows the tests of a session, and watches the machine meanwhile."""

    def __init__(self, session: Session, runner: Runner, tests: Sequence[Test], progress: Progress) -> None:
        self._session = session
        self._runner = runner
        self._tests = {test.id: test for test in tests}
        self._progress = progress
        self._current: Test | None = None
        self._events: list[Event] = []
        self._begun = time.monotonic()
        self._deadline = Deadline(_START_SECONDS)

    def run(self) -> None:
        """Return when all tests have run, or the machine broke.

        Raises:
            LabError: the tests did not run, whatever the submission is.
        """
        try:
            while not self._step(self._runner.next(0.2)):
                pass
        except EOFError as error:
            raise LabError("pytest ended", output=self._session.log_tail()) from error

    def _step(self, event: Event | None) -> bool:
        """Take in one event, or the lack of one; whether this was the last."""
        if event is None:
            return self._idle()
        if event.what == "collected" and event.seen:
            raise LabError(f"the lab names tests that are not there: {event.seen}", output=self._session.log_tail())
        if event.what == "begin":
            self._begin(self._tests[event.test])
        elif event.what == "end":
            self._events.append(event)
            if self._session.trouble(sure=False, settled=event.quiet):
                return self._crashed()
            self._runner.go_on()
        elif event.what == "done":
            return self._done()
        return False

    def _idle(self) -> bool:
        slot = self._session.slot
        if not slot.qemu.alive or slot.console.troubled.is_set():
            # The test that did it often comes to its end, and says what it saw.
            event = self._runner.next(_GRACE_SECONDS)
            if event is not None:
                return self._step(event)
            return self._session.trouble(sure=False) and self._crashed()
        if not self._deadline.expired:
            return False
        if self._current is None:
            raise LabError("pytest did not start", output=self._session.log_tail())
        limits, name = self._session.lab.limits, f"the test {self._current.id}"
        if self._progress.remaining:
            what = f"{name} did not end within {limits.test:g} s"
        else:
            what = f"all tests together did not end within {limits.total:g} s; {name} was under way"
        self._session.timed_out(what, self._deadline.seconds)
        return self._crashed()

    def _begin(self, test: Test) -> None:
        if self._current is test:
            return
        self._finish()
        self._current, self._events = test, []
        self._begun = time.monotonic()
        self._deadline = Deadline(min(self._session.lab.limits.test, self._progress.remaining))
        self._session.doing = f"the test {test.id} ran"
        self._session.follower.test(test)

    def _finish(self) -> None:
        """Note what the current test came to."""
        if self._current is None:
            return
        bad = _first_bad(self._events)
        if bad and bad.outcome == "broken":
            self._progress.broken = bad.fault
        about: dict[str, Any] = {"seconds": round(sum(event.seconds for event in self._events), 2)}
        if bad:
            about |= {"expected": bad.expected, "seen": bad.seen, "hint": bad.hint, "fault": bad.fault}
        earned = 0.0 if bad else self._current.points
        self._came_to(self._current.result(_outcome(bad), earned, **about))

    def _came_to(self, result: TestResult) -> None:
        self._progress.results[result.id] = result
        self._session.follower.tested(result)

    def _crashed(self) -> bool:
        finding = self._session.finding
        if self._current and finding:
            seconds = round(time.monotonic() - self._begun, 2)
            self._came_to(self._current.result("crashed", seen=finding.reason, seconds=seconds))
        return True

    def _done(self) -> bool:
        self._finish()
        if missing := [name for name in self._tests if name not in self._progress.results]:
            raise LabError(f"tests did not run: {', '.join(missing)}", output=self._session.log_tail())
        self._session.doing = "the tests ran"
        self._session.trouble()
        return True


def _first_bad(events: Sequence[Event]) -> Event | None:
    """Return what decides a test: what the module did wrong before what broke in the test itself."""
    bad = [event for event in events if event.outcome != "passed"]
    return next((event for event in bad if event.outcome != "infra-error"), bad[0] if bad else None)


def _outcome(bad: Event | None) -> Outcome:
    if bad is None:
        return "passed"
    return "infra-error" if bad.outcome == "infra-error" else "failed"


def _seconds(uptime: str) -> float:
    """Return what /proc/uptime says, 0 where that was not read."""
    return float(uptime) if uptime.strip().replace(".", "", 1).isdigit() else 0.0


def _marks(taint: str) -> int | None:
    """Return what /proc/sys/kernel/tainted says of trouble, or None where that was not read."""
    return int(taint) & MARKS if taint.strip().isdigit() else None

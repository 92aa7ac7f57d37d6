"""A class that is graded live, with a grader that is made up: a test says step by step what becomes of whom."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from patience import SECONDS

from kmodlab.errors import LabError
from kmodlab.grading.follow import Follow, Follower, Phase, unseen
from kmodlab.grading.grade import Grader
from kmodlab.grading.instructor import Live, grade_class
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab
from kmodlab.grading.result import GradingResult, Outcome, Verdict
from kmodlab.vm.console import BoundedConsole

from .grading_labs import make_lab
from .grading_results import one_result
from .live_server import Answer, Events


class Stage:
    """One submission: what it does is what a test says."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._began = threading.Event()
        self._follower: Follower | None = None
        self._ends: SimpleQueue[GradingResult | Exception] = SimpleQueue()
        self._sink: int | None = None
        self.console: BoundedConsole | None = None

    def play(self, follower: Follower) -> GradingResult:
        """Be examined, until a test says that it ends; in the grader's thread."""
        self._follower = follower
        self._began.set()
        end = self._ends.get()
        if isinstance(end, Exception):
            raise end
        return end

    @property
    def follower(self) -> Follower:
        """Who is told of it, once it is examined."""
        assert self._began.wait(SECONDS), "it was not its turn"
        assert self._follower
        return self._follower

    def phase(self, *names: Phase) -> Stage:
        for name in names:
            self.follower.phase(name)
        return self

    def machine(self) -> Stage:
        """Have a machine from now on, with a console as machines have it."""
        self.unplug()
        ours, self._sink = os.pipe()
        self.console = BoundedConsole(os.fdopen(ours, "rb", buffering=0), 256 << 10)
        self.follower.machine(self.console)
        return self

    def prints(self, text: bytes) -> Stage:
        """Print on the console; returns when the grader has read nearly all of it."""
        assert self._sink is not None
        view = memoryview(text)
        while view:
            view = view[os.write(self._sink, view) :]
        return self

    def test(self, place: int, outcome: Outcome | None = None) -> Stage:
        """Begin the lab's test at a place, and end it where an outcome is given."""
        test = self._lab.tests[place]
        self.follower.test(test)
        if outcome:
            self.follower.tested(test.result(outcome, test.points if outcome == "passed" else 0.0))
        return self

    def ends(self, verdict: Verdict, reason: str = "As it is.", passed: int = 0) -> None:
        """Come to a verdict, with so many tests passed."""
        good = len(self._lab.tests) if verdict is Verdict.PASS else passed
        tests = tuple(
            test.result("passed" if place < good else "failed", test.points if place < good else 0.0)
            for place, test in enumerate(self._lab.tests)
        )
        result = one_result(verdict=verdict, tests=tests, reason=reason, console="", notes=())
        assert self.follower
        self.unplug()
        self._ends.put(result)

    def breaks(self) -> None:
        """Have the lab itself break."""
        self.unplug()
        self._ends.put(LabError("no machine"))

    def unplug(self) -> None:
        """End the console, as when the machine is gone."""
        if self._sink is not None:
            os.close(self._sink)
            self._sink = None
            assert self.console
            self.console.wait(SECONDS)


class Script:
    """The grader: each submission is a stage, by the student's name."""

    def __init__(self) -> None:
        self._stages: dict[str, Stage] = {}
        self._lock = threading.Lock()
        self._over = False
        self.lab: Lab | None = None
        self.has_lab = threading.Event()

    def __call__(
        self, lab: Lab, jobs: int, *, keep: bool = False, seed: int | None = None, follow: Follow = unseen
    ) -> tuple[Grader, str]:
        del jobs, keep, seed
        self.lab = lab
        self.has_lab.set()

        def grader(submission: Submission) -> GradingResult:
            return self.stage(submission.student).play(follow(submission))

        return grader, "debian-12-abc"

    def stage(self, student: str) -> Stage:
        assert self.has_lab.wait(SECONDS)
        assert self.lab
        with self._lock:
            if student not in self._stages:
                self._stages[student] = Stage(self.lab)
                if self._over:
                    self._stages[student].breaks()
            return self._stages[student]

    def students(self) -> list[str]:
        """Return whose examination has begun, sorted."""
        with self._lock:
            return sorted(self._stages)

    def end(self) -> None:
        """Have all that has not ended break."""
        with self._lock:
            self._over = True
            for stage in self._stages.values():
                stage.breaks()


@dataclass
class Grading:
    """A class that is graded, and its page."""

    script: Script
    address: str
    out: Path
    thread: threading.Thread
    errors: list[BaseException]
    streams: list[Events] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return self.address.partition("/#")[0]

    @property
    def token(self) -> str:
        return self.address.partition("#token=")[2]

    def _open(self, method: str, path: str, headers: Mapping[str, str], body: object) -> Any:
        connection = http.client.HTTPConnection(self.origin.removeprefix("http://"), timeout=SECONDS)
        raw = None if body is None else json.dumps(body).encode()
        kind = {} if raw is None else {"content-type": "application/json"}
        connection.request(method, path, raw, {**kind, **headers})
        return connection, connection.getresponse()

    def ask(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET", body: Any = None) -> Answer:
        """Ask, and read the whole answer."""
        connection, response = self._open(method, path, headers or {}, body)
        with contextlib.closing(connection):
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def log_in(self) -> dict[str, str]:
        """The headers of the session that the printed token opens."""
        answer = self.ask("/api/v1/session", {"origin": self.origin}, "POST", {"token": self.token})
        assert answer.status == 201, answer.body
        return {"cookie": answer.headers["set-cookie"].partition(";")[0], "origin": self.origin}

    def stream(self, headers: Mapping[str, str]) -> Events:
        connection, response = self._open("GET", "/api/v1/stream", headers, None)
        assert response.status == 200, response.read()
        self.streams.append(Events(connection, response))
        return self.streams[-1]

    def wait(self) -> None:
        """Wait until all is graded, and the command has ended."""
        self.thread.join(SECONDS)
        assert not self.thread.is_alive(), "the grading did not end"


def hand_in(folder: Path, students: Sequence[str]) -> Path:
    """Make a folder of submissions, no two alike."""
    for number, student in enumerate(students):
        (folder / student).mkdir(parents=True)
        (folder / student / "jiffies.c").write_text(f"int n = {number};\n")
    return folder


@contextlib.contextmanager
def graded(folder: Path, students: Sequence[str], jobs: int = 4, port: int = 0, **lab: Any) -> Iterator[Grading]:
    """Grade a class live, by `grade_class` itself, in a thread; what has not ended when the block does breaks."""
    script, said = Script(), SimpleQueue[str | BaseException]()
    place = make_lab(folder / "jiffies", **lab)
    handed_in, out = hand_in(folder / "class", students), folder / "out"
    errors: list[BaseException] = []

    def run() -> None:
        try:
            live = Live(port, browser=False, say=said.put)
            grade_class(str(place), handed_in, out, jobs=jobs, live=live, form="folders", make_grader=script)
        except BaseException as error:  # told to the test
            errors.append(error)
            said.put(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    words = said.get(timeout=SECONDS)
    if isinstance(words, BaseException):
        raise words
    found = re.search(r"http://127\.0\.0\.1:\d+/#token=\S+", words)
    assert found, words
    one = Grading(script, found.group(), out, thread, errors)
    try:
        yield one
    finally:
        script.end()
        for stream in one.streams:
            stream.close()
        one.wait()

"""`kmodlab grade` as tests run it: what it prints, which machines it has, what it keeps, and what its files say."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from difflib import unified_diff
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from unit.grading_files import scores

from kmodlab.grading.report.text import number
from kmodlab.paths import project_dir
from kmodlab.process import Deadline

GRADING = project_dir() / "tests" / "grading"
#: by lab and submission
EXPECTED: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load((GRADING / "expected.yml").read_text())
KMODLAB = Path(sys.executable).with_name("kmodlab")
_LINE = re.compile(
    r"\s*\d+/\d+  (?P<verdict>\S+) +(?P<points>not graded|\S+ of \S+) +(?P<student>.+?)(?P<known>  \(known\))?"
)


def until(condition: Callable[[], object], what: str, seconds: float = 180) -> None:
    """Wait for something to become true.

    Args:
        condition: asked again and again.
        what: did not happen, where it does not.
        seconds: deadline.
    """
    deadline = Deadline(seconds)
    while not condition():
        assert not deadline.expired, what
        time.sleep(0.02)


class Grading:
    """`kmodlab grade`, from its start to its end; a `with` block ends it at the latest.

    Args:
        lab: its folder, or the name of one of the project's own.
        submissions: what is graded.
        out: where to.
        options: others of the command's.
    """

    def __init__(self, lab: Path | str, submissions: Path | str, out: Path, *options: str) -> None:
        self.out = out
        self._log = out.with_name(f"{out.name}.log")
        argv = [KMODLAB, "grade", lab, submissions, "--out", out, *options]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(argv, cwd=project_dir(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def __enter__(self) -> Grading:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def printed(self) -> str:
        """What it has printed so far."""
        return self._log.read_text()

    def results(self) -> dict[str, tuple[str, str, bool]]:
        """Return what its lines say, by student: verdict, points, and whether the result was there already."""
        found = [match for line in self.printed.splitlines() if (match := _LINE.fullmatch(line))]
        students = [match["student"] for match in found]
        assert len(students) == len(set(students)), f"somebody has two lines:\n{self.printed}"
        return {match["student"]: (match["verdict"], match["points"], bool(match["known"])) for match in found}

    def finish(self, status: int = 0, seconds: float = 600) -> Grading:
        """Wait for its end."""
        assert self.process.wait(seconds) == status, self.printed
        return self

    def kill(self) -> None:
        """End it as a power loss would: it gets no chance to clear up."""
        assert self.process.poll() is None, f"it had ended:\n{self.printed}"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def machines(parent: int) -> dict[int, Path]:
    """Return the machines of a process: their directories, by the number of theirs."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[1]) != parent:
                continue
            directory = (process / "cwd").readlink()
            if directory.name.startswith("slot-") and b"qemu-system" in (process / "cmdline").read_bytes():
                found[int(process.name)] = directory
    return found


def at_work(parent: int) -> dict[int, Path]:
    """Return those of a process's machines that have come so far as to have an ssh port."""
    return {process: place for process, place in machines(parent).items() if (place / "ssh_config").exists()}


def names_in_use(word: str) -> list[str]:
    """Return the commands that run and have a word in them: a slot's name, say."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if word in words and int(file.parent.name) != os.getpid():
                found.append(words)
    return found


def kept(out: Path) -> dict[str, tuple[int, bytes]]:
    """Return what the store has: by file, its inode and content. A result that is written again is another inode."""
    files = (out / ".kmodlab" / "results").glob("*.json")
    return {file.name: (file.stat().st_ino, file.read_bytes()) for file in files}


def attempts(out: Path) -> dict[str, int]:
    """Return how many machines each submission took where the lab itself broke, by student."""
    results = [json.loads(content) for _, content in kept(out).values()]
    return {result["student"]: result["attempts"] for result in results}


def side_by_side(out: Path) -> float:
    """Return how many submissions were under way at a time, on average: by their ends and their phases."""
    results = [json.loads(content) for _, content in kept(out).values()]
    ends = [datetime.fromisoformat(result["graded_at"]).timestamp() for result in results]
    spent = [sum(result["phases"].values()) for result in results]
    # An end is told in whole seconds.
    span = max(ends) + 1 - min(end - seconds for end, seconds in zip(ends, spent, strict=True))
    return float(sum(spent) / span)


# -- what the files say ---------------------------------------------------------------------------------------


def require_expected(out: Path, lab: str, names: set[str]) -> None:
    """Check that a class came to what the table says: verdict, points, reason.

    Args:
        out: the class's folder.
        lab: whose section of the table.
        names: of the submissions, all of them.
    """
    rows = scores(out)
    assert set(rows) == names
    wrong = []
    for name, row in rows.items():
        wanted = EXPECTED[lab][name]
        right = (row["Verdict"], row["Score"], row["Of"]) == (wanted["verdict"], number(wanted["score"]), "100")
        if not right or any(wanted.get(part, "") not in row["Reason"] for part in ("reason", "place")):
            wrong.append(f"{name}: {row['Verdict']} {row['Score']}: {row['Reason']}; wanted {wanted}")
    assert not wrong, "\n".join(wrong)


def same_gradebook(one: Path, other: Path) -> None:
    """Check that two classes came to the same, to the last byte of what is uploaded and of the table."""
    for name in ("gradebook.csv", "scores.csv"):
        here, there = ((out / name).read_text(encoding="utf-8").splitlines() for out in (one, other))
        assert here == there, "\n".join(unified_diff(here, there, str(one), str(other), n=0, lineterm=""))

"""`kmodlab matrix`: a suite of tests on every kernel, each in a guest of its own; and the page of its results."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from kmodlab import contract, environment, paths
from kmodlab.errors import GuestCrashed, KmodlabError, LabError, UsageError
from kmodlab.guest import Guest
from kmodlab.host import HOST
from kmodlab.image.image import build_image
from kmodlab.image.plan import planned
from kmodlab.image.release import RELEASES
from kmodlab.matrix_page import CONTRACT, NEIGHBOURS, Page, Row, Run, page
from kmodlab.playbook import Check, play, verify
from kmodlab.process import end_group, interruptible, locked, say
from kmodlab.vm.accelerator import qemu_version

GROUP = "kernel_guests"
#: gives the program that proves a kernel
Command = Callable[[str], list[str]]
#: MiB that a guest has, and what its QEMU and the playbooks take beside it
MEMORY, BESIDE = 1024, 768


@dataclass(frozen=True)
class Suite:
    """Tests that are run on several kernels.

    Attributes:
        tests: the folder that they are in.
        skipped: the one kind of reason for which one of them may be skipped.
        page: where their results are shown, in docs.
        kernels: on which they are run where none is named; without, on all.
        selection: which of the tests, an expression for pytest's `-m`; all by default.
    """

    tests: Path
    skipped: re.Pattern[str]
    page: Page
    kernels: tuple[str, ...] = ()
    selection: str = ""


SUITES = {
    # The capability table LACKING of contract/calls.py.
    "kernels": Suite(contract.FOLDER, re.compile(r"has no system call \w+$"), CONTRACT),
    # The table NEEDS of contract/helpers/more_neighbours.py.
    "neighbours": Suite(
        contract.FOLDER / "neighbours",
        re.compile(r"has no CONFIG_\w+, so no "),
        NEIGHBOURS,
        ("debian-11", "debian-12", "debian-12-rt", "debian-13-backports"),
    ),
}

#: prints, line by line: the kernel, its compiler, the configuration options that matter, and how the probes are placed
_FACTS = """
uname -r
sed -E 's/.*((gcc|clang)[^,()]*\\) ?[0-9.]+|gcc-[0-9]+ \\([^)]*\\) [0-9.]+).*/\\1/' /proc/version
. /etc/os-release; echo "$PRETTY_NAME"
grep -hoE '^CONFIG_(PREEMPT_RT|KPROBES_ON_FTRACE|FUNCTION_ERROR_INJECTION|FPROBE|X86_KERNEL_IBT|DEBUG_INFO_BTF)=y' \
    /boot/config-$(uname -r) | sed 's/CONFIG_//; s/=y//' | sort | tr '\\n' ' '; echo
grep -E '\\[FTRACE\\]' /sys/kernel/debug/kprobes/list | wc -l
grep -vE '\\[FTRACE\\]' /sys/kernel/debug/kprobes/list | wc -l
cat /sys/module/syscall_tracer/parameters/hook
"""


def known_kernels() -> list[str]:
    """Return the guests of the inventory's group `kernel_guests` that can be made on this machine, in order.

    Raises:
        LabError: the inventory cannot be read.
    """
    program = Path(sys.executable).with_name("ansible-inventory")
    done = subprocess.run([program, "--list"], cwd=paths.project_dir(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError("the inventory cannot be read", exit_code=done.returncode, output=done.stderr)
    return [name for name in json.loads(done.stdout)[GROUP]["hosts"] if name in RELEASES]


class Stages:
    """Times what is done for one kernel, and says what is being done."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds: dict[str, float] = {}

    def run(self, stage: str) -> Stages:
        """Begin a stage: for a `with` block."""
        self._stage = stage
        say(f"{self.name}: {stage}")
        return self

    def __enter__(self) -> None:
        self._started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.seconds[self._stage] = round(time.monotonic() - self._started, 1)


def prove(name: str, suite: Suite) -> Row:
    """Boot a kernel, deploy both modules, drive the workload, run a suite, and take it all down.

    Args:
        name: a release, which is also the guest's name in the inventory.
        suite: the tests to run.

    Returns:
        What it came to; nothing is raised but an interruption.
    """
    stages = Stages(name)
    guest = Guest(name)
    log = paths.state_dir() / "log" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    try:
        row = _proved(guest, suite, stages, log)
    except GuestCrashed as error:
        row = Row(name, "crash", f"{error.message} ({log})")
    except KmodlabError as error:
        row = Row(name, "error", f"{error.message} ({log})")
    finally:
        with stages.run("down"):
            guest.down()
    row.seconds.update(stages.seconds)
    return replace(row, date=time.strftime("%Y-%m-%d"))


def _proved(guest: Guest, suite: Suite, stages: Stages, log: Path) -> Row:
    with stages.run("image"):
        image = build_image(planned(guest.name))
    with stages.run("up"):
        guest.up(image=image, memory=MEMORY)
    with stages.run("deploy"):
        # A kernel is asked about the modules. That these are right beside who watches, Molecule asks.
        status = play(guest, "deploy.yml", "playbooks/workload.yml", "--skip-tags", "lab_dashboard", log=log)
    if status:
        raise LabError("deploying the modules failed", exit_code=status, log=log)
    with stages.run("verify"):
        status, checks = verify(guest, suite.selection, tests=suite.tests, log=log)
    return _row(guest, status, checks, suite)


def _row(guest: Guest, status: int, checks: list[Check], suite: Suite = SUITES["kernels"]) -> Row:
    kernel, compiler, system, features, ftrace, breakpoints, kind = guest.succeed(_FACTS).splitlines()
    skipped = tuple(check.detail for check in checks if check.verdict == "SKIP")
    failed = [check.sentence for check in checks if check.verdict == "FAIL"]
    failed += [f"skipped: {reason}" for reason in skipped if not suite.skipped.search(reason)]
    passed = sum(check.verdict == "PASS" for check in checks)
    good = status == 0 and passed > 0 and not failed
    return Row(
        guest=guest.name,
        verdict="pass" if good else "fail",
        detail="" if good else _summary(failed),
        kernel=kernel,
        compiler=compiler,
        system=system,
        features=tuple(features.split()),
        hook=_hook(kind, int(ftrace), int(breakpoints)),
        passed=passed,
        failed=len(failed),
        skipped=skipped,
    )


def _summary(failed: list[str]) -> str:
    more = f" and {len(failed) - 2} more" if len(failed) > 2 else ""
    return f"{' '.join(failed[:2])}{more}" or "see the log"


def _hook(kind: str, ftrace: int, breakpoints: int) -> str:
    if kind == "ftrace":
        return kind
    if ftrace and breakpoints:
        return f"kprobe ({ftrace} by ftrace, {breakpoints} by breakpoint)"
    return f"kprobe ({'ftrace' if ftrace else 'breakpoint'})" if ftrace + breakpoints else "none"


def parallel() -> int:
    """Return how many guests run side by side: one for each processor, as far as there is memory for them."""
    return HOST.at_a_time(MEMORY + BESIDE)


def run_matrix(
    names: Sequence[str] = (),
    *,
    suite: str = "kernels",
    selection: str = "",
    jobs: int = 0,
    known: Sequence[str] = (),
    command: Command | None = None,
) -> list[Row]:
    """Prove several kernels, some at a time, and return a row for each, in the order they were named.

    Args:
        names: of kernel guests; by default those that the suite names, or all of them.
        suite: one of `SUITES`.
        selection: which of its tests, an expression for pytest's `-m`; all by default.
        jobs: how many at a time; by default `parallel()`.
        known: the kernel guests that there are; by default those of the inventory.
        command: gives the program that proves a kernel, and says how that was, as JSON; by default this module.

    Raises:
        UsageError: one of the names is no kernel guest.
    """
    known = known or known_kernels()
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"no kernel guest: {', '.join(unknown)}", hint=f"known: {' '.join(known)}")
    names = names or SUITES[suite].kernels or known
    command = command or functools.partial(_command, suite, selection)
    state = paths.state_dir() / "matrix"
    with locked(state / ".lock", "another matrix"):
        rows = {row.guest: row for row in _children(list(names), jobs or parallel(), state, command)}
    return [rows[name] for name in names]


def _children(waiting: list[str], jobs: int, state: Path, command: Command) -> Iterator[Row]:
    """Prove each kernel in a process of its own, which clears away after itself whatever happens to it."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    env = {**os.environ, "KMODLAB_STATE_DIR": str(state)}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name = waiting.pop(0)
                running[name] = subprocess.Popen(command(name), env=env, stdout=subprocess.PIPE, process_group=0)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                row = _answer(name, running.pop(name))
                say(f"{name}: {row.verdict.upper()} {row.kernel}, {row.passed} passed, {row.total:.0f} s {row.detail}")
                yield row
            time.sleep(0.2)
    finally:
        for process in running.values():
            end_group(process, 120)


def _command(suite: str, selection: str, name: str) -> list[str]:
    return [sys.executable, "-m", "kmodlab.matrix", suite, selection, name]


def _answer(name: str, process: subprocess.Popen[bytes]) -> Row:
    output, _ = process.communicate()
    try:
        return Row.read(json.loads(output))
    except ValueError:
        return Row(name, detail=f"its process ended with {process.returncode}")


def write(rows: Sequence[Row], jobs: int, suite: str = "kernels", docs: Path | None = None) -> None:
    """Write what a suite came to into docs, as JSON, and the page that is made of it.

    Args:
        rows: of the kernels that were run; those of the suite's others stay as they are there.
        jobs: how many ran side by side.
        suite: one of `SUITES`.
        docs: the folder; by default the project's.
    """
    docs = docs or paths.project_dir() / "docs"
    file = docs / f"{suite}.json"
    known = Run.read(json.loads(file.read_text())).rows if file.exists() else ()
    by_name = {row.guest: row for row in (*known, *rows)}
    names = SUITES[suite].kernels or known_kernels()
    run = Run(HOST.processors(), jobs, qemu_version(), tuple(by_name[name] for name in names if name in by_name))
    file.write_text(json.dumps(asdict(run), indent=2) + "\n")
    file.with_suffix(".md").write_text(page(run, SUITES[suite].page))


def main() -> None:
    """Run the suite on the one kernel that is named, and print its row as JSON: what `_children` starts."""
    environment.settle()
    interruptible()
    suite, selection, name = sys.argv[1:]
    print(json.dumps(asdict(prove(name, replace(SUITES[suite], selection=selection)))))


if __name__ == "__main__":
    main()

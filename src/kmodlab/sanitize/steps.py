"""What is done to the modules in a kernel that is built to find fault, step by step."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kmodlab import contract, paths
from kmodlab.errors import LabError, UsageError
from kmodlab.sanitize import failing
from kmodlab.sanitize.fuzzing import fuzz
from kmodlab.sanitize.room import Room
from kmodlab.sanitize.soak import soak

Action = Callable[[Room], dict[str, int]]


@dataclass(frozen=True)
class Step:
    """Something that is done to the modules.

    Attributes:
        name: what the user types.
        what: what it does, in a few words.
        act: does it, and returns counts of it.
        core: does less of it, for the short selection; None: it does not belong to that.
        expected: what the kernel says of itself meanwhile, and of no fault of the modules.
    """

    name: str
    what: str
    act: Action
    core: Action | None = None
    expected: re.Pattern[str] | None = None


def scripted(name: str, what: str, rounds: int, core: int = 0) -> Step:
    """Return a step that is a script of its name.

    Args:
        name: its name.
        what: what it does, in a few words.
        rounds: how often it does that.
        core: the same in the short selection; 0: it does not belong to that.
    """

    def take(rounds: int) -> Action:
        return lambda room: room.script(name, ROUNDS=rounds)

    return Step(name, what, take(rounds), take(core) if core else None)


def run_contract(room: Room) -> dict[str, int]:
    """Run the contract tests.

    Raises:
        LabError: one failed.
    """
    room.sh("modprobe syscall_tracer; modprobe task_lister")
    where = [f"--hosts=ssh://{room.guest.name}", f"--ssh-config={room.guest.ssh_config}"]
    log = paths.cache_dir() / "log" / f"{room.guest.name}-contract.log"
    with log.open("wb") as sink:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(contract.FOLDER), *where],
            stdout=sink,
            stderr=sink,
            check=False,
        )
    last = log.read_text(errors="replace").rstrip().rpartition("\n")[2]
    if done.returncode:
        raise LabError(f"the contract tests: {last}", log=log)
    room.sh("rmmod task_lister syscall_tracer")
    return {"passed": int(last.split()[0])}


STEPS = (
    scripted("load", "both modules are loaded and unloaded", 10, core=2),
    scripted("storm", "processes, threads and files come and go under readers", 20, core=5),
    scripted("switch", "filters, modes and returns change under load", 20, core=2),
    scripted("reload", "the modules come and go under load, with files open", 200, core=2),
    scripted("hotplug", "a processor goes and comes", 10),
    scripted("listen", "listeners never read", 5),
    scripted("spaces", "readers in namespaces, and as nobody", 5),
    scripted("compat", "a 32-bit program makes its calls", 2),
    scripted("neighbours", "others hook the blocked call", 1),
    scripted("suspend", "the machine goes to sleep and wakes", 3),
    scripted("memory", "memory runs out", 3),
    Step(
        "fail-use",
        "each allocation of a use fails once",
        failing.fail_using,
        failing.fail_using,
        expected=failing.EXPECTED,
    ),
    Step("fail-load", "each allocation of loading fails once", failing.fail_loading, expected=failing.EXPECTED),
    Step("fuzz", "operations at random", lambda room: fuzz(room, 1_000_000), lambda room: fuzz(room, 50_000)),
    Step("contract", "the contract tests", run_contract),
)


def chosen(names: Sequence[str], *, core: bool = False) -> list[Step]:
    """Return the steps of these names, or all; of them those of the short selection, if that is asked for.

    Args:
        names: of steps.
        core: those of the short selection, each as it is there.

    Raises:
        UsageError: there is none of a name.
    """
    known = {step.name: step for step in STEPS}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"there is no step {unknown[0]!r}", hint=f"known: {' '.join(known)}")
    wanted = [step for step in STEPS if step.name in names or not names]
    return [replace(step, act=step.core) for step in wanted if step.core] if core else wanted


def soaking(hours: float) -> Step:
    """Return the step that lasts: it is taken alone."""
    return Step("soak", f"{hours:g} hours under load", lambda room: soak(room, 3600 * hours))

"""What is done to the modules in a kernel that is built to find fault, step by step; after each the kernel is asked."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kmodlab import contract, paths
from kmodlab.errors import KmodlabError, LabError, UsageError
from kmodlab.guest import Guest
from kmodlab.image.buildroot import BuildRoot
from kmodlab.kernel_report import sign
from kmodlab.process import say
from kmodlab.sanitize.kernels import build_kernel

HERE = Path(__file__).parent
MODULES = ("syscall_tracer", "task_lister")
#: MiB: KASAN's shadow takes an eighth, its quarantine some more
MEMORY = 2048
#: seconds that a command may take under emulation and a sanitizer
PATIENCE = 3600
#: in seconds: what is younger may still be on its way into a structure, and kmemleak does not tell of it
_LEAK_AGE = 6
#: allocations that are made to fail, one after the other, at the most
_MOST = 2000


@dataclass(frozen=True)
class Outcome:
    """What a step came to.

    Attributes:
        step: its name.
        seconds: that it took.
        counts: what it did, by its own count.
        findings: what the kernel complained of, and what broke.
    """

    step: str
    seconds: float
    counts: dict[str, int] = field(default_factory=dict)
    findings: tuple[str, ...] = ()


class Room:
    """A guest with a sanitizer kernel, and all that steps need in it.

    Args:
        guest: is up.
    """

    def __init__(self, guest: Guest) -> None:
        self.guest = guest

    def furnish(self, work: Path) -> None:
        """Bring the modules, as they are built for this kernel, and the tools.

        Args:
            work: for what is built.
        """
        root = BuildRoot.of_image(self.guest.image)
        for module in MODULES:
            self.guest.copy_to(root.make(paths.project_dir() / "kernel" / module, output=work), f"/root/{module}.ko")
        self.guest.copy_to(_compiled(root, "failnth", work), "/root/failnth")
        release = self.sh("uname -r").strip()
        self.sh(f"chmod +x /root/failnth; mkdir -p /lib/modules/{release}/updates")
        self.sh(f"cp /root/*.ko /lib/modules/{release}/updates/; depmod")
        self.findings()

    def sh(self, command: str, **variables: int) -> str:
        """Run a shell command that must succeed; return what it prints."""
        given = "".join(f"{name}={value}; " for name, value in variables.items())
        return self.guest.succeed(f"{given}{command}", PATIENCE)

    def script(self, name: str, **variables: int) -> dict[str, int]:
        """Run one of the scripts of `steps/`; return the counts of its last line."""
        said = self.sh(f"set -eu\n{(HERE / 'steps' / f'{name}.sh').read_text()}", **variables)
        words = (word.partition("=") for word in said.splitlines()[-1].split())
        return {name: int(value) for name, _, value in words}

    def findings(self) -> list[str]:
        """Return what the kernel has complained of since this was asked last, leaks included."""
        self.sh("[ ! -e /sys/kernel/debug/kmemleak ] || echo scan >/sys/kernel/debug/kmemleak")
        said = self.sh("dmesg --read-clear").splitlines()
        return [line for line in said if sign().search(line.encode())] + self._leaks()

    def _leaks(self) -> list[str]:
        """Return what kmemleak knows: an object twice, for the first look may meet one on its way."""
        leaks = "/sys/kernel/debug/kmemleak"
        if not self.sh(f"cat {leaks} 2>/dev/null || true"):
            return []
        time.sleep(_LEAK_AGE)
        told = self.sh(f"echo scan >{leaks}; cat {leaks}; echo clear >{leaks}")
        return [line for line in told.splitlines() if not line.startswith("    [<00000000")]


def _compiled(root: BuildRoot, tool: str, work: Path) -> Path:
    """Compile one of `tools/` by the guest's own compiler; return the program, which needs no library."""
    with root.workplace() as place:
        shutil.copy(HERE / "tools" / f"{tool}.c", place)
        inside = f"/build/{place.name}/{tool}"
        command = ["gcc", "-Wall", "-Werror", "-O1", "-static", "-o", inside, f"{inside}.c"]
        if status := root.run(command, work / f"{tool}.log"):
            log = (work / f"{tool}.log").read_text()
            raise LabError(f"{tool}.c was not compiled", exit_code=status, output=log)
        return Path(shutil.copy(place / tool, work))


Action = Callable[[Room], dict[str, int]]


@dataclass(frozen=True)
class Step:
    """Something that is done to the modules.

    Attributes:
        name: what the user types.
        what: what it does, in a few words.
        act: does it, and returns counts of it.
        core: whether it belongs to the short selection.
        expected: what the kernel says of itself meanwhile, and of no fault of the modules.
    """

    name: str
    what: str
    act: Action
    core: bool = False
    expected: re.Pattern[str] | None = None


def scripted(name: str, **variables: int) -> Action:
    """Return what runs a script."""
    return lambda room: room.script(name, **variables)


def fail_each(room: Room, operation: str, file: str, text: str = "") -> dict[str, int]:
    """Have each allocation of an operation fail once.

    Args:
        room: where.
        operation: of tools/failnth.c.
        file: as it has it.
        text: likewise.

    Raises:
        LabError: not one failed, so nothing was tried; or more were left when it gave up.
    """
    told = json.loads(room.sh(f"/root/failnth {_MOST} {operation} {file} {shlex.quote(text)}"))
    if not told["failed"] or not told["whole"]:
        raise LabError(f"{operation} {file}: {told['failed']} allocations were made to fail, and then it was given up")
    return {f"{operation} {Path(file).name}": told["failed"]}


_PREPARE_TO_FAIL = """
cd /sys/kernel/debug
for each in failslab fail_page_alloc; do
    echo 0 >$each/verbose
    echo 0 >$each/ignore-gfp-wait
done
echo 0 >fail_page_alloc/min-order
"""


def fail_all(room: Room) -> dict[str, int]:
    """Have each allocation fail once: of loading both modules, of opening, reading and writing each file."""
    room.sh(_PREPARE_TO_FAIL)
    counts = fail_each(room, "insmod", "/root/task_lister.ko")
    counts |= fail_each(room, "insmod", "/root/syscall_tracer.ko")
    room.sh("insmod /root/syscall_tracer.ko; insmod /root/task_lister.ko")
    for name in ("task_lister", "task_detail", "task_stats", "task_tree", "syscall_tracer", "syscall_tracer_stats"):
        for operation in ("open", "read"):
            counts |= fail_each(room, operation, f"/proc/{name}")
    for text in ("mkdir block comm=nobody", "trace mkdir", "untrace mkdir", "clear"):
        counts |= {f"write {text}": next(iter(fail_each(room, "write", "/proc/syscall_tracer", text).values()))}
    room.sh("cat /proc/task_lister /proc/syscall_tracer >/dev/null; rmmod task_lister syscall_tracer")
    return counts


def run_contract(room: Room) -> dict[str, int]:
    """Run the contract tests."""
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
    Step("load", "both modules are loaded and unloaded", scripted("load", ROUNDS=5), core=True),
    Step("storm", "processes, threads and files come and go under readers", scripted("storm", ROUNDS=20), core=True),
    Step("switch", "filters, modes and returns change under load", scripted("switch", ROUNDS=10), core=True),
    Step("reload", "the modules come and go under load", scripted("reload", ROUNDS=200)),
    Step("hotplug", "a processor goes and comes", scripted("hotplug", ROUNDS=10)),
    # Of trace events without memory for their fields the kernel warns itself.
    Step("fail", "each allocation fails once", fail_all, core=True, expected=re.compile(r"event_define_fields\+")),
    Step("contract", "the contract tests", run_contract),
)


def campaign(room: Room, steps: Sequence[Step]) -> Iterator[Outcome]:
    """Take steps one after the other, and yield what each came to; one that breaks does not keep the next from it.

    Args:
        room: where.
        steps: which.
    """
    for step in steps:
        say(f"{room.guest.name}: {step.name}: {step.what}")
        begun, broken = time.monotonic(), []
        counts: dict[str, int] = {}
        try:
            counts = step.act(room)
        except KmodlabError as error:
            broken = [str(error)]
            room.sh("rm -f /run/calls /run/storm; rmmod task_lister syscall_tracer 2>/dev/null; true")
        found = [line for line in room.findings() if not (step.expected and step.expected.search(line))]
        yield Outcome(step.name, round(time.monotonic() - begun, 1), counts, (*broken, *found))


def chosen(names: Sequence[str], *, core: bool = False) -> list[Step]:
    """Return the steps of these names, or all; of them those of the short selection, if that is asked for.

    Raises:
        UsageError: there is none of a name.
    """
    known = {step.name: step for step in STEPS}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"there is no step {unknown[0]!r}", hint=f"known: {' '.join(known)}")
    return [step for step in STEPS if (step.name in names or not names) and (step.core or not core)]


def run_campaign(name: str, steps: Sequence[Step]) -> list[Outcome]:
    """Take steps in a guest of a sanitizer kernel, which is built where it is not there.

    Args:
        name: of the kernel.
        steps: which.

    Raises:
        UsageError: there is no such kernel.
        LabError: it cannot be built, or does not boot.
    """
    image = build_kernel(name)
    guest = Guest(f"sanitizer-{name}")
    try:
        guest.up(image=image, memory=MEMORY, cpus=2, cold=True)
        room = Room(guest)
        with tempfile.TemporaryDirectory(prefix="kmodlab-sanitizer-") as work:
            room.furnish(Path(work))
        return list(campaign(room, steps))
    finally:
        guest.down()


def as_table(outcomes: Sequence[Outcome]) -> str:
    """Return outcomes as a table of Markdown."""
    rows = ["| step | seconds | what was done | findings |", "|---|---|---|---|"]
    for one in outcomes:
        counts = ", ".join(f"{name} {value}" for name, value in one.counts.items())
        rows.append(f"| {one.step} | {one.seconds:.0f} | {counts} | {len(one.findings) or 'none'} |")
    return os.linesep.join(rows)

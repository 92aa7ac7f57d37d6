"""`make bench-lister`: what it takes to see all tasks of a machine, by this module and by others.

Writes docs/benchmarks-lister.md and its chart. In a guest whose clock counts instructions, so the figures are the same
on every host, however busy: see Hardware. What a program takes to start is in each figure, and told apart by a machine
with next to no tasks.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

from bench.harness import HERE, HOME
from bench.instructions import counting_guest
from bench.lister_page import DOCS, chart, page
from kmodlab.errors import LabError
from kmodlab.guest import Guest
from kmodlab.guest.guest import guests_dir
from kmodlab.image.buildroot import BuildRoot
from kmodlab.paths import project_dir
from kmodlab.process import interruptible, locked, say
from kmodlab.vm.accelerator import qemu_version

IMAGE, MEMORY = "debian-12-peers", 6144
"""MiB: a hundred thousand tasks have a kernel's stack each."""
CROWDS = (200, 2_000, 10_000, 30_000, 100_000)
RUNS = 3
SECONDS = 1800.0
_PSUTIL = (
    "import psutil; [p.as_dict(['pid', 'ppid', 'name', 'status', 'memory_info', 'num_threads', 'uids', 'gids'])"
    " for p in psutil.process_iter()]"
)
_ITERATOR = (
    'iter:task /ctx->task->pid == ctx->task->tgid/ { printf("%d %d %s %d\\n", ctx->task->pid,'
    " ctx->task->real_parent->tgid, ctx->task->comm, ctx->task->__state); }"
)
_COLUMNS = "columns=id,state,pid,ppid,comm,vm,rss,threads,uid,gid,user,system"
MORE = 10
"""Passes after the first one, of which the mean is what a pass takes that tells what changed."""
#: what -> the command; what it writes has a line for each task, but that of the statistics
PROGRAMS: dict[str, list[str]] = {
    "cat": ["cat", "/dev/null"],
    "task_lister": ["cat", "/proc/task_lister"],
    "task_stats": ["cat", "/proc/task_stats"],
    "task_tree": ["cat", "/proc/task_tree"],
    "task_detail": ["cat", "/proc/task_detail"],
    "jsonl": [f"{HOME}/choose", f"{_COLUMNS} format=jsonl"],
    "bin": [f"{HOME}/choose", f"{_COLUMNS} format=bin"],
    "since": [f"{HOME}/choose", f"{_COLUMNS} format=jsonl"],
    "bpf": ["bpftrace", "-q", "-e", _ITERATOR],
    "ps": ["ps", "-eo", "pid,ppid,comm,state,vsz,rss,nlwp,uid,gid"],
    "top": ["top", "-b", "-n", "1"],
    "psutil": ["python3", "-c", _PSUTIL],
}
#: programs that take too long where there are more tasks
MOST = {"psutil": 30_000}
#: programs whose output has no line for each task
FEW_LINES = ("cat", "task_stats", "psutil", "bin", "since")


@dataclass(frozen=True)
class Took:
    """The least that a program took of some runs.

    Attributes:
        program: as `PROGRAMS` has it.
        tasks: that there were, beside the machine's own.
        instructions: of the whole machine, from its start to its end.
        written: bytes of output.
    """

    program: str
    tasks: int
    instructions: int
    written: int


@dataclass
class Run:
    """All that was measured.

    Attributes:
        date: when.
        qemu: its version.
        kernel: of the guest.
        took: each program with each crowd.
        absent: program -> why it was not measured.
    """

    date: str
    qemu: str
    kernel: str
    took: list[Took] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)


def prepare(guest: Guest) -> None:
    """Build and load the module, build the helpers, and have all that is measured."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "out"
        BuildRoot.of_image(guest.image).make(project_dir() / "kernel" / "task_lister", output=out)
        guest.copy_to(out, HOME)
    guest.copy_to(HERE / "guest", HOME)
    tools = " && ".join(f"cc -O2 -Wall -o {name} {name}.c" for name in ("crowd", "took", "choose"))
    guest.succeed(f"cd {HOME} && {tools} && insmod task_lister.ko")
    guest.succeed("apt-get update -q && apt-get install -qy --no-install-recommends python3-psutil", seconds=SECONDS)
    # A slice of systemd bounds its tasks, and so does the kernel, by memory.
    guest.succeed("sysctl -q -w kernel.pid_max=4194304 kernel.threads-max=300000 vm.max_map_count=1000000")


def crowded(guest: Guest, number: int) -> None:
    """Have so many tasks sleep; those that were there before are gone."""
    guest.succeed("systemctl stop crowd 2>/dev/null; true", seconds=SECONDS)
    scope = (
        "systemd-run -q --unit crowd -p TasksMax=infinity -p LimitNPROC=infinity -p StandardOutput=file:/dev/shm/crowd"
    )
    guest.succeed(f"rm -f /dev/shm/crowd; {scope} {HOME}/crowd {number}")
    until = (
        f"until grep -qx 'crowd {number}' /dev/shm/crowd; do systemctl -q is-active crowd || exit 1; sleep 0.5; done"
    )
    guest.succeed(until, seconds=SECONDS)


def measure(guest: Guest, program: str, tasks: int) -> Took:
    """Run a program some times.

    Raises:
        LabError: it failed, or has not seen all.
    """
    if program != "since":
        return _least(guest, program, tasks, PROGRAMS[program])
    first, all_ = (_least(guest, "since", tasks, [*PROGRAMS["since"], str(passes)]) for passes in (1, 1 + MORE))
    return Took(program, tasks, (all_.instructions - first.instructions) // MORE, all_.written)


def _least(guest: Guest, program: str, tasks: int, command: list[str]) -> Took:
    quoted = " ".join(f"'{word}'" for word in command)
    done = guest.execute(f"{HOME}/took {RUNS} {quoted} && wc -l </dev/shm/took", seconds=SECONDS)
    *lines, seen = done.stdout.splitlines() or [""]
    if done.status:
        raise LabError(f"{program} failed", output=done.stderr[-500:])
    if program not in FEW_LINES and int(seen) < tasks:
        raise LabError(f"{program} shows {seen} of {tasks} tasks")
    runs = [tuple(int(word) for word in line.split()[1:]) for line in lines]
    instructions, written = min(runs)
    return Took(program, tasks, instructions, written)


def run(programs: list[str], crowds: list[int]) -> Run:
    """Measure programs in a guest that is gone afterwards."""
    with (
        locked(guests_dir() / ".bench.lock", "another benchmark"),
        counting_guest(IMAGE, "bench-lister", MEMORY) as guest,
    ):
        found = Run(date.today().isoformat(), qemu_version(), guest.image.kernel_version)
        prepare(guest)
        for tasks in crowds:
            crowded(guest, tasks)
            for program in programs:
                if tasks > MOST.get(program, tasks) or program in found.absent:
                    continue
                try:
                    found.took.append(measure(guest, program, tasks))
                except LabError as error:
                    found.absent[program] = f"{error.message}: {error.output or ''}".strip(": \n")
                    say(f"{program}: {found.absent[program]}")
                else:
                    say(f"{program}, {tasks:,} tasks: {found.took[-1].instructions / 1e6:,.1f} million instructions")
        return found


def main() -> None:
    """Measure, and write the page."""
    interruptible()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"some of: {' '.join(PROGRAMS)}")
    parser.add_argument("--tasks", type=int, action="append", help="so many, instead of all; may be given again")
    given = parser.parse_args()
    found = run(given.programs or list(PROGRAMS), given.tasks or list(CROWDS))
    document = asdict(found)
    print(page(document))
    if given.programs or given.tasks:
        say("nothing was written: only a whole run is")
    else:
        (DOCS / "benchmarks-lister.json").write_text(json.dumps(document, indent=1) + "\n")
        (DOCS / "benchmarks-lister.md").write_text(page(document))
        (DOCS / "benchmarks-lister.svg").write_text(chart(document))


if __name__ == "__main__":
    main()

"""`make bench-lab`: how long each step of the lab takes here; writes docs/benchmarks.json and docs/benchmarks.md.

Steps that make a fresh start use a cache and a state directory of their own, so that a user's guests stay as they are.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from bench import report
from kmodlab.host import HOST
from kmodlab.paths import project_dir
from kmodlab.process import say
from kmodlab.vm.accelerator import qemu_version

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Measure:
    """One step's times.

    Attributes:
        step: what was done.
        aim: the time it should stay under, in seconds; None where there is no aim.
        seconds: each run's wall-clock time.
    """

    step: str
    aim: float | None
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one of the times, in seconds."""
        return statistics.median(self.seconds)


class Bench:
    """Runs commands of the project with a cache and a state directory of its own.

    Args:
        directory: for both.
    """

    def __init__(self, directory: Path) -> None:
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        directories = {"KMODLAB_CACHE_DIR": str(directory / "cache"), "KMODLAB_STATE_DIR": str(directory / "state")}
        self.environment = {**os.environ, **directories, "PATH": path}
        self.measures: list[Measure] = []

    def run(self, command: str) -> None:
        """Run a shell command at the project's root; its output goes to standard error.

        Raises:
            subprocess.CalledProcessError: it failed, and so does the benchmark.
        """
        subprocess.run(["bash", "-ec", command], cwd=project_dir(), env=self.environment, stdout=sys.stderr, check=True)

    def measure(self, step: str, command: str, *, aim: float | None, runs: int = 1, before: str = "true") -> None:
        """Time a command.

        Args:
            step: what it is, for the table.
            command: what is timed.
            aim: seconds it should stay under.
            runs: how often.
            before: run before each, not timed.
        """
        times = []
        for _ in range(runs):
            self.run(before)
            start = time.monotonic()
            self.run(command)
            times.append(time.monotonic() - start)
        self.measures.append(Measure(step, aim, tuple(round(seconds, 2) for seconds in times)))
        say(f"{step}: {self.measures[-1].median:.1f} s")


def measure_all(bench: Bench, runs: int) -> None:
    """Take every measure, from nothing at all to a warm lab."""
    down = "kmodlab guest down lab; kmodlab guest down probe"
    bench.measure("image build", "kmodlab image build", aim=None)
    bench.measure("`kmodlab lab`, image there, no snapshot yet", "kmodlab lab", aim=None)
    bench.measure("`kmodlab lab` again, guest up", "kmodlab lab", aim=None, runs=runs)
    bench.measure("second deploy (changed=0)", "ansible-playbook -l lab deploy.yml", aim=10, runs=runs)
    bench.measure("contract tests, all", "ansible-playbook -l lab playbooks/verify.yml", aim=None)
    build = "make -s -C /root/kernel/{0} clean && make -s -j2 -C /root/kernel/{0}"
    copy = "tar -C kernel -c . | kmodlab guest exec lab -- 'mkdir -p /root/kernel && tar -C /root/kernel -x -o'"
    for module in ("syscall_tracer", "task_lister"):
        command = f"kmodlab guest exec lab -- '{build.format(module)}'"
        bench.measure(f"build {module} in the guest", command, aim=None, runs=runs, before=copy)
    bench.measure("warm `kmodlab lab`: image and snapshot there", "kmodlab lab", aim=45, runs=runs, before=down)
    bench.measure("cold boot to ssh", "kmodlab guest up probe --cold", aim=12, runs=runs, before=down)
    bench.measure("resume to ssh", "kmodlab guest up probe", aim=1.5, runs=max(runs, 5), before=down)
    bench.run(down)


def fresh(bench: Bench) -> Measure:
    """Return the time from nothing to a verified lab: the image, the snapshot, the deployment and the checks."""
    parts = [measure.seconds[0] for measure in bench.measures[:2]]
    return Measure("fresh `kmodlab lab`: image build and all", 240, (round(sum(parts), 2),))


def host() -> dict[str, str]:
    """Return what the figures depend on."""
    model = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    return {
        "date": date.today().isoformat(),
        "processor": f"{HOST.processors()} x {model.partition(': ')[2]}",
        "qemu": qemu_version(),
    }


def main() -> None:
    """Measure, print the table, and write the documents."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="how often each repeatable step is timed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kmodlab-bench-") as temporary:
        bench = Bench(Path(temporary))
        try:
            measure_all(bench, arguments.runs)
        finally:
            bench.run("kmodlab guest down lab; kmodlab guest down probe")
    measures = [fresh(bench), *bench.measures]
    found = [{**asdict(measure), "median": measure.median} for measure in measures]
    report.write("lab", {"host": host(), "measures": found})
    print(report.lab_table(found))


if __name__ == "__main__":
    main()

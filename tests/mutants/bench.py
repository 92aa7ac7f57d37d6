"""The guest on which one module after the other is tried."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from kmodlab import contract
from kmodlab.errors import KmodlabError
from kmodlab.guest import Guest
from kmodlab.image.buildroot import BuildRoot
from kmodlab.image.plan import planned

from .mutant import ROOT

RUN_SECONDS = 900
BY_ASSERTION = re.compile(r"AssertionError|assert |Failed:|kmodlab\.contract\.\S+\.(Malformed|Wrong)\b")
BY_GUARD = "the kernel complained"
INSTALL = """
set -e
d=/lib/modules/$(uname -r)/extra
mkdir -p $d
mv /root/{0}.ko $d/{0}.ko
if [ -d /sys/module/{0} ]; then rmmod {0}; fi
test ! -e /proc/{0}
insmod $d/{0}.ko
[ -n "$(modinfo -n {0} 2>/dev/null)" ] || depmod
"""


@dataclass(frozen=True)
class Outcome:
    """What a run of some contract tests came to.

    Attributes:
        passed: node ids (as patches name them, without parameters) of tests of which every case passed.
        failed: those with a case that failed by an assertion of its own.
        guarded: those around which the guard of the kernel log failed.
        output: what pytest said.
    """

    passed: set[str]
    failed: set[str]
    guarded: set[str]
    output: str


def _node(case: ElementTree.Element) -> str:
    file = case.get("classname", "").replace(".", "/").removeprefix("src/kmodlab/") + ".py"
    return f"{file}::{case.get('name', '').split('[')[0]}"


def _messages(case: ElementTree.Element, kind: str) -> list[str]:
    return [element.get("message", "") for element in case.findall(kind)]


class Bench:
    """A guest with the good modules, in which one of them can be replaced for a run of tests."""

    def __init__(self, name: str, directory: Path, image: str) -> None:
        self.guest = Guest(name)
        self.plan = planned(image or "auto")
        self.directory = directory
        self.good: dict[str, Path] = {}
        self._work: dict[str, Path] = {}
        self._workplaces = ExitStack()
        self._spoilt: set[str] = set()

    def begin(self, good: Path) -> None:
        """Bring the guest up, and build the good modules, of sources in a folder of kernel/ each, for it."""
        self.guest.up(image=self.plan)
        self.good = {name: self.build(good / name) for name in ("syscall_tracer", "task_lister")}
        self.up()

    def up(self) -> None:
        """Bring the guest up with the good modules loaded."""
        self.guest.up(image=self.plan)
        for module, file in self.good.items():
            self.use(module, file)

    def anew(self) -> None:
        """Replace a guest that a mutant has spoilt."""
        self.guest.down()
        self.up()

    def build(self, sources: Path) -> Path:
        """Build a module natively, of which only what differs from the last build of it; return the .ko."""
        root = BuildRoot.of_image(self.guest.image)
        if sources.name not in self._work:
            self._work[sources.name] = self._workplaces.enter_context(root.workplace())
        return root.make(sources, work=self._work[sources.name])

    def down(self) -> None:
        """Take the guest down, and remove what was built."""
        self._workplaces.close()
        self.guest.down()

    def use(self, module: str, file: Path) -> None:
        """Load this module in place of the one that is loaded."""
        self.guest.copy_to(file, f"/root/{module}.ko")
        self.guest.succeed(INSTALL.format(module))

    def try_out(self, module: str, file: Path) -> None:
        """Load a broken module beside a good one; in a new guest where the last mutant has spoilt this one."""
        try:
            for other in self._spoilt - {module}:
                self.use(other, self.good[other])
            self.use(module, file)
        except KmodlabError:
            self.anew()
            self.use(module, file)
        self._spoilt = {module}

    def run(self, *nodes: str) -> Outcome:
        """Run these contract tests against the guest."""
        report = self.directory / "report.xml"
        report.unlink(missing_ok=True)
        options = ["-q", "--tb=short", "--keep-helper", "-p", "no:cacheprovider", f"--junitxml={report}"]
        where = [f"--hosts=ssh://{self.guest.name}", f"--ssh-config={self.guest.ssh_config}"]
        if len(nodes) == 1:
            options.append("-x")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *where, *(str(contract.FOLDER.parent / node) for node in nodes)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314  # written by our own pytest
        assert cases, done.stdout + done.stderr
        failed = {_node(case) for case in cases if any(BY_ASSERTION.match(m) for m in _messages(case, "failure"))}
        guarded = {_node(case) for case in cases if any(BY_GUARD in m for m in _messages(case, "error"))}
        unhappy = {_node(case) for case in cases if any(case.findall(kind) for kind in ("failure", "error", "skipped"))}
        return Outcome({_node(case) for case in cases} - unhappy, failed, guarded, done.stdout + done.stderr)

"""A guest with a sanitizer kernel, and all in it that is done to the modules, and asked of the kernel."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

from kmodlab import paths
from kmodlab.errors import LabError
from kmodlab.guest import Guest
from kmodlab.image.buildroot import BuildRoot
from kmodlab.kernel_report import sign

HERE = Path(__file__).parent
MODULES = ("syscall_tracer", "task_lister")
#: of `tools/`, and how each is compiled beyond what all are
TOOLS = {
    "failnth": (),
    "fuzz": (),
    "listen": (),
    "calls32": ("-m32", "-nostdlib", "-ffreestanding", "-fno-pie", "-no-pie", "-fno-stack-protector"),
}
#: seconds that a command may take under emulation and a sanitizer
PATIENCE = 3600
_LEAKS = "/sys/kernel/debug/kmemleak"


class Room:
    """A guest with a sanitizer kernel.

    Args:
        guest: is up.
        sources: of the modules; by default the project's.
        leak_age: seconds: what is younger may be on its way into a structure, and kmemleak does not tell of it.
    """

    def __init__(self, guest: Guest, sources: Path | None = None, leak_age: float = 6) -> None:
        self.guest = guest
        self._leak_age = leak_age
        self.sources = sources or paths.project_dir() / "kernel"

    def furnish(self, work: Path) -> None:
        """Bring the modules, as they are built for this kernel, and the tools.

        Args:
            work: for what is built.

        Raises:
            LabError: something was not compiled.
        """
        root = BuildRoot.of_image(self.guest.image)
        for module in MODULES:
            # Which of its lines a call reaches is of use where the kernel has KCOV; elsewhere this changes nothing.
            built = root.make(self.sources / module, *self._coverage(), output=work)
            self.guest.copy_to(built, f"/root/{module}.ko")
        for tool in TOOLS:
            self.guest.copy_to(compiled(root, tool, work), f"/root/{tool}")
        release = self.sh("uname -r").strip()
        self.sh(f"chmod +x {' '.join(f'/root/{tool}' for tool in TOOLS)}; mkdir -p /lib/modules/{release}/updates")
        self.sh(f"cp /root/*.ko /lib/modules/{release}/updates/; depmod")
        # Its own scans, in the middle of a step, go on for minutes without a voluntary switch: unloading waits for one.
        self.sh(f"[ ! -e {_LEAKS} ] || echo scan=off >{_LEAKS}")
        self.findings()

    def _coverage(self) -> tuple[str, ...]:
        config = (self.guest.image.directory / "config").read_text()
        return ("KCOV_INSTRUMENT=y",) if "\nCONFIG_KCOV=y\n" in config else ()

    def sh(self, command: str, seconds: float = PATIENCE, **variables: int) -> str:
        """Run a shell command that must succeed; return what it prints."""
        given = "".join(f"{name}={value}; " for name, value in variables.items())
        return self.guest.succeed(f"{given}{command}", seconds)

    def script(self, name: str, **variables: int) -> dict[str, int]:
        """Run one of the scripts of `steps/`; return the counts of its last line."""
        parts = [(HERE / "steps" / f"{part}.sh").read_text() for part in ("common", name)]
        said = self.sh("\n".join(["set -eu", *parts]), **variables)
        words = (word.partition("=") for word in said.splitlines()[-1].split())
        return {name: int(value) for name, _, value in words}

    def complaints(self, expected: re.Pattern[str] | None = None) -> list[str]:
        """Return what the kernel has complained of since this was asked last.

        Args:
            expected: what it may say, and is no fault of the modules.
        """
        said = self.sh("dmesg --read-clear").splitlines()
        found = [line for line in said if sign().search(line.encode())]
        return [line for line in found if not (expected and expected.search(line))]

    def findings(self, expected: re.Pattern[str] | None = None) -> list[str]:
        """Return the same, and the memory that nobody has an address of any more."""
        self.sh(f"[ ! -e {_LEAKS} ] || echo scan >{_LEAKS}")
        return self.complaints(expected) + self._leaks()

    def _leaks(self) -> list[str]:
        """Return what kmemleak knows: an object twice, for the first look may meet one on its way."""
        if not self.sh(f"cat {_LEAKS} 2>/dev/null || true"):
            return []
        time.sleep(self._leak_age)
        told = self.sh(f"echo scan >{_LEAKS}; cat {_LEAKS}; echo clear >{_LEAKS}")
        return [line for line in told.splitlines() if not line.startswith("    [<00000000")]


def compiled(root: BuildRoot, tool: str, work: Path) -> Path:
    """Compile one of `tools/` by the guest's own compiler; return the program, which needs no library.

    Args:
        root: of the guest's image.
        tool: its name.
        work: gets the program, and what the compiler said.

    Raises:
        LabError: it is not compiled.
    """
    with root.workplace() as place:
        shutil.copytree(HERE / "tools", place, dirs_exist_ok=True)
        inside = f"/build/{place.name}/{tool}"
        options = ["-Wall", "-Werror", "-O1", "-static", *TOOLS[tool]]
        if status := root.run(["gcc", *options, "-o", inside, f"{inside}.c"], work / f"{tool}.log"):
            log = (work / f"{tool}.log").read_text()
            raise LabError(f"{tool}.c was not compiled", exit_code=status, output=log)
        return Path(shutil.copy(place / tool, work))

"""A mutant: a small patch to kernel/ that breaks one promise, and the contract tests that must notice."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KERNEL = ROOT / "kernel"


@dataclass(frozen=True)
class Mutant:
    """One patch.

    Attributes:
        patch: the file; above the diff it says what is broken and who notices.
        module: which module it breaks.
        core: whether it belongs to the short selection, `-m core`.
        image: of the guest in which it can be seen, "" for the default one.
        caught_by: node ids of the tests that must fail by an assertion of their own.
        caught_by_guard_of: node ids of tests around which the guard of the kernel log must fail.
    """

    patch: Path
    module: str
    core: bool
    image: str
    caught_by: tuple[str, ...]
    caught_by_guard_of: tuple[str, ...]

    @classmethod
    def read(cls, patch: Path) -> Mutant:
        """Read a patch's header."""
        text = patch.read_text()
        (module,) = set(re.findall(r"^\+\+\+ b/kernel/(\w+)/", text, re.MULTILINE))
        own = re.findall(r"^Caught-by: (\S+)$", text, re.MULTILINE)
        guard = re.findall(r"^Caught-by-guard-of: (\S+)$", text, re.MULTILINE)
        image = "".join(re.findall(r"^Image: (\S+)$", text, re.MULTILINE))
        return cls(patch, module, "\nCore: yes\n" in text, image, tuple(own), tuple(guard))

    def sources(self, directory: Path) -> Path:
        """Copy kernel/ into `directory` and apply the patch there; return the module's folder.

        Raises:
            AssertionError: the patch does not apply to the sources as they are.
        """
        copy = directory / "kernel"
        shutil.copytree(KERNEL, copy, ignore=shutil.ignore_patterns("*.o", "*.ko", "*.mod*", ".*.cmd"))
        applied = subprocess.run(
            ["patch", "-p1", "--fuzz=0", "--no-backup-if-mismatch", "--silent", "--input", str(self.patch)],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert applied.returncode == 0, f"{self.patch.name} no longer applies:\n{applied.stdout}{applied.stderr}"
        return copy / self.module


_READ = sorted(
    ((patch.stem, Mutant.read(patch)) for patch in HERE.glob("*.patch")), key=lambda one: (one[1].image, one[0])
)
MUTANTS = dict(_READ)
"""By their names; those of one image in a row."""

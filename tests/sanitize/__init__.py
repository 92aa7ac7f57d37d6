"""Deliberately broken modules, and the proof that the sanitizer campaign finds what is broken."""

from __future__ import annotations

import re
from pathlib import Path

PATCHES = sorted((Path(__file__).parent / "mutants").glob("*.patch"))


def header(patch: Path) -> tuple[str, ...]:
    """Return the kernel, the step and a pattern of the finding, as a patch names them above its diff."""
    text = patch.read_text()
    return tuple(re.findall(r"^(?:Kernel|Step|Finding): (.+)$", text, re.MULTILINE))

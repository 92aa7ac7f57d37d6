"""Which modules are graded, of those that a Makefile builds: a chapter's builds all of its examples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from kmodlab.grading.intake.sources import score_of, words_of
from kmodlab.grading.lab import Lab


def chosen(modules: Sequence[Path], sources: Path, lab: Lab) -> list[Path]:
    """Return the modules to load, in the order to load them.

    They are those that the lab names; else the one that looks most like the lab's own, where there is one; else all.
    What a chosen one needs of the others comes before it.

    Args:
        modules: that were built.
        sources: the folder in which they were.
        lab: whose tests are to run.
    """
    if len(modules) == 1:
        return list(modules)
    stems = {module.stem.replace("-", "_"): module for module in modules}
    named = [stems[item.name.replace("-", "_")] for item in lab.modules if item.name.replace("-", "_") in stems]
    found = named or _like(modules, sources, lab) or list(modules)
    ordered: list[Path] = []
    for module in found:
        _add(module, stems, ordered)
    return ordered


def _like(modules: Sequence[Path], sources: Path, lab: Lab) -> list[Path]:
    scores = {module: score_of(sources / f"{module.stem}.c", words_of(lab)) for module in modules}
    best = max(scores.values(), default=0)
    found = [module for module, score in scores.items() if score == best]
    return found if best and len(found) == 1 else []


def _add(module: Path, stems: dict[str, Path], ordered: list[Path]) -> None:
    """Add a module behind those that it uses symbols of."""
    if module in ordered:
        return
    for name in _needs(module):
        if name in stems and stems[name] != module:
            _add(stems[name], {key: path for key, path in stems.items() if path != module}, ordered)
    ordered.append(module)


def _needs(module: Path) -> list[str]:
    """Return the modules that a module says it depends on."""
    found = re.search(rb"\x00depends=([\w,-]+)\x00", module.read_bytes())
    return found[1].decode().replace("-", "_").split(",") if found else []


def left_out(built: Sequence[Path], graded: Sequence[Path]) -> list[str]:
    """Return a note on the modules that were built and are not graded."""
    names = ", ".join(module.name for module in graded)
    others = ", ".join(module.name for module in built if module not in graded)
    return [f"Of the modules that were built {names} is graded; not loaded: {others}."] if others else []

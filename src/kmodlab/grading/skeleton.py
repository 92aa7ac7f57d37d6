"""`kmodlab lab new`: a small lab that works, to be changed into one's own."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from kmodlab.errors import UsageError
from kmodlab.grading.lab import Lab, check_name

_NAME = "NAME"


def new_lab(place: Path) -> Lab:
    """Write a new lab, and return it.

    Args:
        place: its folder, which is made; its name is the lab's.

    Raises:
        UsageError: it is there already, or has no name for a lab.
    """
    name = check_name(place.name)
    if place.exists():
        raise UsageError(f"{place} is there already", hint="choose another name, or remove it")
    _copy(resources.files("kmodlab.grading") / "new_lab", place, name)
    return Lab.load(place)


def _copy(source: Traversable, target: Path, name: str) -> None:
    target.mkdir(parents=True)
    module = name.replace("-", "_")
    for entry in source.iterdir():
        if entry.is_dir():
            _copy(entry, target / entry.name, name)
        elif entry.name.endswith(".in"):
            text = entry.read_text(encoding="utf-8").replace(_NAME, module)
            (target / entry.name.removesuffix(".in").replace(_NAME, module)).write_text(text, encoding="utf-8")

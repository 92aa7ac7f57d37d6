"""A small lab for tests to grade with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kmodlab.grading.lab import Lab
from kmodlab.paths import project_dir

TEXT: dict[str, Any] = {
    "title": "Jiffies",
    "modules": [{"name": "jiffies"}],
    "files": ["jiffies.c"],
    "images": ["debian-12"],
    "tests": [
        {"id": "there", "title": "The file is there", "node": "test_lab.py::test_there", "points": 2},
        {"id": "moves", "title": "The number moves", "node": "test_lab.py::test_moves", "points": 3},
        {
            "id": "secret", "title": "It survives", "nodes": ["test_lab.py::test_survives"], "points": 5,
            "visibility": "hidden",
        },
    ],
}  # fmt: skip

#: those that ship, by name
LABS = sorted(folder.name for folder in (project_dir() / "labs").iterdir() if (folder / "lab.yml").exists())
#: of these, those whose solutions are the project's own modules
OF_THE_MODULES = {"task_lister", "syscall_tracer"}


def make_lab(folder: Path, **changes: Any) -> Path:
    """Write a lab's folder, and return it; a change to None takes the key away."""
    (folder / "tests").mkdir(parents=True, exist_ok=True)
    (folder / "tests" / "test_lab.py").write_text("def test_there(): ...\n")
    known = {key: value for key, value in {**TEXT, **changes}.items() if value is not None}
    (folder / "lab.yml").write_text(yaml.safe_dump(known, allow_unicode=True))
    return folder


def load_lab(folder: Path, **changes: Any) -> Lab:
    """Write a lab's folder and read it."""
    return Lab.load(make_lab(folder, **changes))

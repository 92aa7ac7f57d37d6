"""What `kmodlab trace` did in a test, with a kernel that is made up (trace_driver.py)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRACED = ["read"]
"""What the kernel traces before, and has to afterwards."""


@dataclass(frozen=True)
class Done:
    """What `kmodlab trace` did, and what it left behind."""

    status: int
    out: str
    err: str
    kernel: dict[str, Any]

    @property
    def asked(self) -> list[tuple[str, dict[str, Any]]]:
        """What the kernel was asked to change."""
        return [(name, values) for name, values in self.kernel["asked"] if name == "call-set"]


Trace = Callable[..., Done]


def tracer_of(place: Path, python: list[str]) -> Trace:
    """Return a function that runs `kmodlab trace` in a directory, with a scene for the kernel to play."""

    def run(scene: str, *words: str, returns: str = "0", script: str = "") -> Done:
        report = place / "report"
        argv = [*python, "-m", "unit.trace_driver", str(report), returns, scene, *words]
        # Output that waits for the end is what may go wrong.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        command = ["sh", "-c", script, "sh", *argv] if script else argv
        done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=100, check=False)
        kernel = json.loads(report.read_text()) if report.exists() else {}
        return Done(done.returncode, done.stdout, done.stderr, kernel)

    return run

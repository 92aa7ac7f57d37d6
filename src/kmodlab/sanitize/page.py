"""What campaigns came to: docs/sanitizers.json, step by step, and the page that shows it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kmodlab import paths
from kmodlab.image.image import Image
from kmodlab.prose import wrapped
from kmodlab.sanitize.kernels import RECIPES
from kmodlab.sanitize.outcome import Outcome, as_table

_HEAD = """# Sanitizer kernels

<!-- Written by `make sanitize` (src/kmodlab/sanitize/page.py). -->

The kernels below are built by the project, from Debian's sources, to find fault. Each step is done to both modules in a
guest of the kernel. Behind it the kernel's log is looked through, and lost memory is looked for. What is asked of a
kernel stands in `src/kmodlab/sanitize/fragments`, with a reason for each block. What a step does stands in
`src/kmodlab/sanitize/steps`, or in a Python file beside that.
"""


def record(image: Image, outcomes: Iterable[Outcome], docs: Path | None = None) -> None:
    """Put into the page what steps came to; what is known of other steps in the same kernel stays.

    Args:
        image: a sanitizer kernel.
        outcomes: of steps in it.
        docs: where the page lies.
    """
    file = (docs or paths.project_dir() / "docs") / "sanitizers.json"
    known: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    name = image.release.name.removeprefix("sanitizer-")
    before = known.get(name, {})
    today = datetime.now(UTC).date().isoformat()
    steps = before.get("steps", {}) if before.get("image") == image.id else {}
    steps |= {one.step: {**asdict(one), "date": today} for one in outcomes}
    known[name] = {"image": image.id, "kernel": image.kernel_version, "seconds": image.seconds, "steps": steps}
    file.write_text(json.dumps(known, indent=2) + "\n")
    file.with_suffix(".md").write_text(page(known))


def page(known: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page.

    Args:
        known: as docs/sanitizers.json has it: kernels by name, in each its steps by name.
    """
    parts = [wrapped(_HEAD)]
    for name, recipe in RECIPES.items():
        if name not in known:
            continue
        kernel = known[name]
        asked = ", ".join(f"`{fragment}`" for fragment in recipe.fragments)
        days = sorted({step["date"] for step in kernel["steps"].values()})
        when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        said = (
            f"Linux {kernel['kernel']} of `{recipe.release}`, for {recipe.finds}. It is asked for {asked}. It was built"
            f" in {kernel['seconds'] / 60:.0f} minutes. What follows is of {when}."
        )
        outcomes = [_outcome(step) for step in kernel["steps"].values()]
        minutes = sum(one.seconds for one in outcomes) / 60
        parts.append(wrapped(f"## {name}\n\n{said}\n") + f"\n{as_table(outcomes)}\n\nAll in {minutes:.0f} minutes.\n")
    return "\n".join(parts)


def _outcome(step: Mapping[str, Any]) -> Outcome:
    return Outcome(step["step"], step["seconds"], step["counts"], tuple(step["findings"]))

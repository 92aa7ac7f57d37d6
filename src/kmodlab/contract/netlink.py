"""Scripts for the netlink client that runs on the host under test: see helpers/netlink.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from kmodlab.modules import spec
from kmodlab.modules.family import SPECIFICATION

SPEC = spec.load(SPECIFICATION)

Step = tuple[str, dict[str, Any]]
"""One step of the client's."""

CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON = 12, 21, 38
NEW_USER, NEW_NET = 0x10000000, 0x40000000
"""Namespaces, as unshare(2) has them."""


def specification() -> dict[str, bytes]:
    """Return what the client has the family from: the specification, and the project's own reader."""
    tree = yaml.safe_load(SPECIFICATION.read_text())
    return {
        "syscall_tracer.json": json.dumps(tree).encode(),
        "kmodlab/modules/spec.py": Path(spec.__file__).read_bytes(),
    }


def ask(operation: str, *, name: str = "", between: list[Step] | None = None, **values: Any) -> Step:
    """Run an operation with these attributes, in which `_` stands for `-`."""
    attributes = {key.rstrip("_").replace("_", "-"): value for key, value in values.items()}
    return "ask", {"operation": operation, "values": attributes, "name": name, "between": between or []}


def step(step_name: str, **options: Any) -> Step:
    """Any other step."""
    return step_name, options

"""Parameters of the tracer that can be written while it is loaded."""

from __future__ import annotations

from .script import step

PARAMETERS = "/sys/module/syscall_tracer/parameters"


def set_parameter(name: str, value: int | str) -> str:
    """Return the step that writes a parameter."""
    return step("write", f"{PARAMETERS}/{name}", f"{value}\n")


def get_parameter(name: str) -> str:
    """Return the step that reads a parameter."""
    return step("read", f"{PARAMETERS}/{name}")

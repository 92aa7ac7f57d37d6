"""The specification of the tracer's family, wherever this package lies."""

from __future__ import annotations

import functools
import json
import pkgutil
from pathlib import Path

from .spec import Spec, load

NAME = "syscall_tracer"
SPECIFICATION = Path(__file__).with_name(f"{NAME}.yaml")
"""The one in kernel/specs: a link, so that it goes into a wheel as a file."""


@functools.lru_cache(maxsize=None)  # noqa: UP033  # as a library of Python 3.9 has it
def tracer_spec() -> Spec:
    """Return the specification: out of the program for guests, which has it as JSON, or beside this file.

    Raises:
        OSError: it is in neither.
        SpecError: it is not one that this package understands.
    """
    try:
        packed = pkgutil.get_data(__package__ or "", f"{NAME}.json")
    except OSError:
        packed = None
    if packed:
        return Spec.of(json.loads(packed))
    return load(SPECIFICATION)

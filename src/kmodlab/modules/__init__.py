"""What the modules show, for programs.

`Tracer` is the way in: a context manager with the tracer's status, its calls and filters, and its records as they are
made. It needs the standard library of Python 3.9 and root, and runs on the machine that has the module; the role
`syscall_tracer` takes it there as the program `kmodlab`. The family it speaks is the specification's,
`kernel/specs/syscall_tracer.yaml`.

    with Tracer() as tracer:
        tracer.add_filter(Filter("unlink", block=True, path=b"/etc/"))
        for record in tracer.events():
            print(record.call, record.arguments, record.returned)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .filters import Filter
    from .record import Record
    from .tracer import Call, Status, Tracer

VERSION = "1.0.0"

__all__ = ["VERSION", "Call", "Filter", "Record", "Status", "Tracer"]


def __getattr__(name: str) -> object:
    """Load what is asked for: whoever wants the specification alone has no use for the rest."""
    from importlib import import_module  # noqa: PLC0415

    for module in ("tracer", "filters", "record"):
        if name in __all__ and hasattr(found := import_module(f".{module}", __name__), name):
            return getattr(found, name)
    raise AttributeError(name)

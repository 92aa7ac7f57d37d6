"""What goes over the stream: server-sent events, and the sums that let a browser check them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..ledger import Books
from ..tick import Filter, Machine, Tick
from . import columns
from .hub import Sums

SHOWN = 50
"""Rows of one view in one frame."""
HEARTBEAT = b": heartbeat\n\n"


def event(kind: str, data: Mapping[str, Any], name: str | None = None) -> bytes:
    """Return one event; `name` is what a client says that has seen it."""
    head = f"id: {name}\n" if name else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def name(run: str, tick: Tick) -> str:
    """Return the id of a tick's event."""
    return f"{run}.{tick.epoch}.{tick.number}"


def after(run: str, text: str) -> int | None:
    """Return the number of the tick that a client has seen, or None if it is of another run, or nonsense."""
    parts = text.split(".")
    known = len(parts) == 3 and parts[0] == run and parts[2].isascii() and parts[2].isdecimal()
    return int(parts[2][:18]) if known else None


def machine(found: Machine) -> dict[str, Any]:
    """Return what is watched."""
    return dataclasses.asdict(found)


def books(found: Books) -> dict[str, Any]:
    """Return the ledger: each sum, and whether it closes."""
    equations = [
        {
            "scope": scope,
            "name": one.name,
            "left": one.left[0],
            "number": one.left[1],
            "right": dict(one.right),
            "difference": one.difference,
            "closes": one.closes,
        }
        for scope, one in found.equations()
    ]
    closes = all(one["closes"] for one in equations)
    return {"closes": closes, "equations": equations, "totals": found.totals(), "troubles": list(found.troubles)}


def state(found: Machine, latest: Tick | None, opened: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a client begins with: the machine, and the sums as of the latest tick."""
    base = None if latest is None else _head(latest, opened)
    return {"machine": machine(found), "base": base}


def _head(tick: Tick, opened: Sequence[str]) -> dict[str, Any]:
    cpus = [{"epoch": epoch, "cpu": cpu, **terms} for (epoch, cpu), terms in tick.cpus.items()]
    plain = ("number", "epoch", "clock", "wall", "seconds", "behind")
    return {
        **{each: getattr(tick, each) for each in plain},
        "ledger": dict(tick.ledger),
        "cpus": cpus,
        "troubles": list(tick.troubles),
        "open": list(opened),
    }


def frame(tick: Tick, views: Mapping[str, Filter], sums: Sums, opened: Sequence[str] = ()) -> dict[str, Any]:
    """Return a tick as one client gets it.

    `opened` are the sums of the ledger that do not close. `events` were counted, of which `examined` are there one
    by one; of these each view has `matched`, and of those `shown`.
    """
    return {
        **_head(tick, opened),
        "events": sum(count.n for count in tick.calls.values()),
        "examined": len(tick.rows),
        "calls": columns.calls(tick.calls),
        "processes": columns.processes(tick.processes),
        "blocked": columns.rows(tick.blocked),
        "blocked_more": tick.blocked_more,
        "spans": {str(cpu): list(span) for cpu, span in tick.spans.items()},
        "views": [_view(text, only, tick) for text, only in views.items()],
        "sums": dataclasses.asdict(sums),
    }


def _view(text: str, only: Filter, tick: Tick) -> dict[str, Any]:
    matched = [row for row in tick.rows if only.matches(row)]
    shown = matched[-SHOWN:]
    return {"filter": text, "matched": len(matched), "shown": len(shown), "rows": columns.rows(shown)}

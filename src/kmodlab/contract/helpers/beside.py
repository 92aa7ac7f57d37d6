"""A block and its neighbours, one after the other: each comes and goes in every order, and after each step the call is
tried.

It runs on the host under test: `beside.py COMM WHAT MODULE [PARAMETER...]`, where WHAT has in JSON the orders of each
neighbour, and the module is loaded with those parameters. It prints in JSON, for each neighbour and order, what was
refused, what the call came to in each mode and which records there are of it, what the kernel said and what a neighbour
that is a program has printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import more_neighbours as more
from neighbours import CALL, COMM, PARAMETERS, TRACER, Neighbour, attempt, make_directory, write

ORDERS = {
    "they come first and go first": ("+them", "+us", "-them", "-us"),
    "they come first and go last": ("+them", "+us", "-us", "-them"),
    "we come first and go last": ("+us", "+them", "-them", "-us"),
    "we come first and go first": ("+us", "+them", "-us", "-them"),
    "we are unloaded beside them": ("+us", "+them", "unload", "-them"),
}
MODES = {"permissive": "0", "enforcing": "1"}
"""The last one is left on: who comes and goes does so while it is enforcing."""
FILTER = f"={CALL} block errno=EDQUOT comm={COMM}\n"
DEFAULTS = "untrace open read write close unlink\n"
"""So that the log has nothing else in it, and nothing is overwritten."""


def load(module: str, *parameters: str) -> None:
    """Load the tracer; nothing is traced."""
    subprocess.run(["insmod", module, *parameters], check=True)
    write(TRACER, DEFAULTS)


def unload() -> None:
    """Remove the tracer."""
    subprocess.run(["rmmod", "syscall_tracer"], check=True)


def block() -> int:
    """Block the call; return 0, or the errno of the refusal."""
    return write(TRACER, FILTER) or write(PARAMETERS / "enforce", "1")


def unblock() -> None:
    """Trace nothing any more."""
    write(PARAMETERS / "enforce", "0")
    write(TRACER, f"clear\nuntrace ={CALL}\n")


class Case:
    """One order."""

    def __init__(self, neighbour: Neighbour) -> None:
        self.neighbour = neighbour
        self.them = contextlib.ExitStack()
        self.rows: set[str] = set()

    def enter(self) -> int:
        """The neighbour comes; return 0, or the errno of the refusal."""
        try:
            self.them.enter_context(self.neighbour())
        except OSError as error:
            return error.errno or -1
        return 0

    def do(self, action: str) -> int:
        """Take one step; return 0, or the errno of a refusal."""
        if action == "+them":
            return self.enter()
        if action == "+us":
            return block()
        {"-them": self.them.close, "-us": unblock, "unload": unload}[action]()
        return 0

    def new_rows(self) -> list[str]:
        """Return what the log has of the call that it had not before, the oldest first."""
        if not TRACER.exists():
            return []
        found = {line for line in TRACER.read_text().splitlines() if f" {COMM} " in line and ": " not in line}
        new, self.rows = found - self.rows, found
        return sorted(new, key=lambda row: int(row.split()[2]))

    def step(self, action: str) -> dict[str, Any]:
        """Take one step, and try the call in both modes, or as it is where the tracer is gone."""
        refused = self.do(action)
        tried = {mode: try_mode(mode) for mode in MODES}
        return {"action": action, "refused": refused, "rows": self.new_rows(), **tried}


def try_mode(mode: str) -> list[object]:
    """Try the call in one mode."""
    if TRACER.exists():
        write(PARAMETERS / "enforce", MODES[mode])
    return attempt(in_a_child)


def in_a_child(path: str) -> int:
    """Make the call as the neighbours want it made."""
    for prepare in more.in_the_child:
        prepare()
    return make_directory(path)


@contextlib.contextmanager
def listening() -> Iterator[list[str]]:
    """What the kernel says from now until the end is in the list then."""
    said: list[str] = []
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.lseek(log, 0, os.SEEK_END)
        yield said
        with contextlib.suppress(BlockingIOError):
            while True:
                said.append(os.read(log, 8192).decode(errors="replace").partition(";")[2].partition("\n")[0])
    finally:
        os.close(log)


def try_order(neighbour: Neighbour, order: str) -> dict[str, Any]:
    """Take the steps of an order."""
    case = Case(neighbour)
    more.saw.clear()
    with listening() as said:
        case.new_rows()
        steps = [case.step(action) for action in ORDERS[order]]
    return {"steps": steps, "said": said, "saw": "".join(more.saw)}


def try_neighbour(name: str, orders: list[str], module: str, *parameters: str) -> dict[str, Any]:
    """Try some orders beside one neighbour; the tracer is loaded as it was found."""
    if reason := more.lacking(name):
        return {"lacking": reason}
    tries: dict[str, Any] = {}
    for order in orders:
        tries[order] = try_order(more.all_neighbours()[name], order)
        if not TRACER.exists():
            load(module, *parameters)
    return tries


def main() -> None:
    """Try all that is asked for; a neighbour that cannot be had fails alone."""
    what, module, *parameters = sys.argv[2:]
    found: dict[str, Any] = {}
    for name, orders in json.loads(what).items():
        try:
            found[name] = try_neighbour(name, orders, module, *parameters)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            found[name] = {"failed": f"{type(error).__name__}: {error}"}
            unblock()
    print(json.dumps(found))


if __name__ == "__main__":
    main()

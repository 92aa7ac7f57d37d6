"""Operations at random on the files and the netlink family of the modules, as tools/fuzz.c does them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from kmodlab import paths
from kmodlab.errors import LabError
from kmodlab.sanitize.room import HERE, MODULES, Room

#: operations between two looks at the kernel's log, which each refused command writes a line to
_SLICE = 25_000
#: seconds that a slice may take
_SECONDS = 1200
_BEGIN = "insmod /root/syscall_tracer.ko 2>/dev/null; insmod /root/task_lister.ko 2>/dev/null; true"
_END = """
echo 0 >/sys/module/syscall_tracer/parameters/enforce || true
rmmod task_lister syscall_tracer
"""


def corpus() -> Path:
    """Return where programs are kept that reached something new, from one campaign to the next."""
    return paths.cache_dir() / "sanitize" / "corpus"


def fuzz(room: Room, operations: int, seed: int = 1) -> dict[str, int]:
    """Do things at random, slice by slice, with a look at the kernel's log behind each.

    Args:
        room: where.
        operations: how many.
        seed: of the first slice; each has the next one.

    Returns:
        What was done, and what is known of the code that it reached.

    Raises:
        LabError: the kernel has complained, and of what; or nothing went well.
    """
    known = corpus() if corpus().exists() else HERE / "corpus"
    room.guest.copy_to(known, "/root/corpus")
    files = " ".join(f"/root/{module}.ko" for module in MODULES)
    sums = dict.fromkeys(("operations", "went well", "reloads"), 0)
    last: dict[str, int] = {}
    for slice_seed in range(seed, seed + max(1, operations // _SLICE)):
        room.sh(_BEGIN)
        command = f"/root/fuzz {slice_seed} {_SLICE} /root/corpus {files}"
        last = json.loads(room.sh(command, _SECONDS))
        sums = {name: value + last[name] for name, value in sums.items()}
        if found := room.complaints():
            raise LabError(f"`{command}`: {found[0]}", output="\n".join(found))
    if not sums["went well"]:
        raise LabError("not one operation went well: nothing was tried")
    room.sh(_END)
    corpus().parent.mkdir(parents=True, exist_ok=True)
    corpus().write_bytes(base64.b64decode(room.sh("base64 /root/corpus")))
    return {**last, **sums}

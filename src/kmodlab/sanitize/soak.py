"""Hours under load: the modules' memory stays what it is, each record is accounted for, and the kernel is silent."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kmodlab.errors import LabError
from kmodlab.process import say
from kmodlab.sanitize.room import HERE, MODULES, Room

#: seconds from one look to the next
_LOOK = 60
#: how much more memory the slab allocator may have in the end than after the first quarter, as a part of it
_GROWTH = 0.1
_BEGIN = """
modprobe syscall_tracer returns=1
modprobe task_lister
echo "trace mkdir rmdir" >/proc/syscall_tracer
cat >/run/soak.sh <<'END'
. /run/common.sh
begin_calls
mkfifo /run/end
/root/listen 4 </run/end >/run/said &
exec 3>/run/end
(while [ -e /run/calls ]; do (:) & wait; done) &
while [ -e /run/calls ]; do
	cat /proc/syscall_tracer /proc/syscall_tracer_stats
	for file in task_lister task_detail task_stats task_tree; do cat /proc/$file; done
	echo "mkdir block comm=nobody" >/proc/syscall_tracer
	echo "mkdir delete" >/proc/syscall_tracer
done >/dev/null
exec 3>&-
wait
END
setsid sh /run/soak.sh >/run/soak.log 2>&1 </dev/null &
"""
_END = """
rm -f /run/calls
until ! pgrep -f /run/soak.sh >/dev/null; do sleep 0.5; done
rm -f /run/end /run/said
"""


def memory(room: Room) -> dict[str, int]:
    """Return the bytes that each module has from vmalloc, and those of all slabs.

    Source: /proc/vmallocinfo (who asked for it stands behind its size), /proc/meminfo.
    """
    found = dict.fromkeys(MODULES, 0)
    for line in room.sh("cat /proc/vmallocinfo").splitlines():
        if (owner := re.search(r"\[(\w+)\]", line)) and owner[1] in found:
            found[owner[1]] += int(line.split()[1])
    slabs = re.search(r"^SUnreclaim:\s+(\d+) kB", room.sh("cat /proc/meminfo"), re.MULTILINE)
    return {**found, "slab": int(slabs[1]) << 10 if slabs else 0}


@contextmanager
def _loaded(room: Room) -> Iterator[None]:
    """Have both modules there, under load."""
    room.guest.copy_to(HERE / "steps" / "common.sh", "/run/common.sh")
    room.sh(_BEGIN)
    try:
        yield
    finally:
        room.sh(_END)


def soak(room: Room, seconds: float) -> dict[str, int]:
    """Load the modules, and see that nothing grows.

    Args:
        room: where.
        seconds: how long.

    Returns:
        Looks, bytes of each module in the end, and how many calls there were.

    Raises:
        LabError: a module has grown, or all slabs have; the kernel has complained; a record is not accounted for.
    """
    end = time.monotonic() + seconds
    looks: list[dict[str, int]] = []
    with _loaded(room):
        while time.monotonic() < end or len(looks) < 4:  # a quarter is one
            time.sleep(min(_LOOK, seconds / 4))
            looks.append(memory(room))
            if found := room.complaints():
                raise LabError(f"after {len(looks)} looks: {found[0]}", output="\n".join(found))
            if len(looks) % 10 == 0:
                say(f"{room.guest.name}: soak: {max(0.0, end - time.monotonic()) / 60:.0f} minutes are left")
    require_flat(looks)
    issued = room.sh(". /run/common.sh; law; sed -n 's/^Issued: //p' /proc/syscall_tracer_stats")
    room.sh("rmmod task_lister syscall_tracer")
    return {"looks": len(looks), "calls": int(issued), **looks[-1]}


def require_flat(looks: list[dict[str, int]]) -> None:
    """Require that what a module has is in the end what it was after the first quarter; slabs may breathe.

    Raises:
        LabError: something has grown.
    """
    first, last = looks[len(looks) // 4], looks[-1]
    for name, size in last.items():
        allowed = first[name] * (1 + _GROWTH if name == "slab" else 1)
        if size > allowed:
            raise LabError(f"{name} had {first[name]} bytes, and has {size} in the end")

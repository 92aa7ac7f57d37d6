"""Each allocation fails once: of loading the modules, and of what is done to their files and their family."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from pathlib import Path

from kmodlab.errors import LabError
from kmodlab.modules.family import tracer_spec
from kmodlab.modules.netlink import ACK, DUMP, HEADER, REQUEST, request
from kmodlab.modules.spec import Spec, Values
from kmodlab.sanitize.room import Room

#: allocations that are made to fail, one after the other, at the most
_MOST = 2000
#: What they need, opening has taken.
_NEED_NONE = {("read", name) for name in ("task_lister", "task_detail")}
FILES = ("task_lister", "task_detail", "task_stats", "task_tree", "syscall_tracer", "syscall_tracer_stats")
WRITES = {
    "syscall_tracer": ("mkdir block comm=nobody", "trace mkdir", "untrace mkdir", "mkdir delete", "clear"),
    "task_lister": ("columns=pid,comm format=jsonl", "state=S uid=0", "format=bin threads=1 comm=kworker*"),
}
#: of the family: what is asked, and with which attributes
REQUESTS: dict[str, Values] = {
    "status-get": {},
    "cpu-get": {},
    "call-get": {},
    "call-set": {"name": "mkdir", "traced": 1},
    "filter-add": {"name": "mkdir", "verdict": 1, "comm": "nobody"},
    "filter-get": {},
    "filter-del": {"name": "mkdir"},
    "filter-clear": {},
    "leave-out": {},
}
#: Of trace events without memory for their fields the kernel warns itself.
EXPECTED = re.compile(r"event_define_fields\+")
_PREPARE = """
cd /sys/kernel/debug
for each in failslab fail_page_alloc; do
    echo 0 >$each/verbose
    echo 0 >$each/ignore-gfp-wait
done
echo 0 >fail_page_alloc/min-order
"""


def prepare(room: Room) -> None:
    """Have allocations fail that may wait, too: by default those alone fail that may not."""
    room.sh(_PREPARE)


def fail_each(room: Room, operation: str, file: str, text: str = "") -> dict[str, int]:
    """Have each allocation of an operation fail once.

    Args:
        room: where.
        operation: of tools/failnth.c.
        file: as it has it.
        text: likewise.

    Returns:
        How many failed, and what the operation came to how often.

    Raises:
        LabError: not one failed, and it is not among those that need no memory, so nothing was tried; or more were left
            when it gave up.
    """
    told = json.loads(room.sh(f"/root/failnth {_MOST} {operation} {file} {shlex.quote(text)}"))
    if not told["whole"] or not (told["failed"] or (operation, Path(file).name) in _NEED_NONE):
        raise LabError(
            f"{operation} {file} {text}: {told['failed']} allocations were made to fail, and then it was given up"
        )
    return {"failed": told["failed"], **told["came_to"]}


def message(spec: Spec, operation: str, values: Values) -> bytes:
    """Return a request as it is sent, but for the number of the family: nobody knows it before the module is there.

    Args:
        spec: of the family.
        operation: its name.
        values: its attributes.
    """
    body = request(spec, operation, values)
    flags = REQUEST | ACK | (DUMP if "dump" in spec.operations[operation].kinds else 0)
    return HEADER.pack(HEADER.size + len(body), 0, flags, 1, 0) + body


def fail_loading(room: Room) -> dict[str, int]:
    """Have each allocation fail once of loading both modules."""
    prepare(room)
    modules = {"lister": "task_lister", "tracer": "syscall_tracer"}
    return {
        f"insmod {name}": fail_each(room, "insmod", f"/root/{module}.ko")["failed"] for name, module in modules.items()
    }


def fail_using(room: Room) -> dict[str, int]:
    """Have each allocation fail once of opening, reading and writing each file, and of each request.

    Raises:
        LabError: as `fail_each`; or a filter is there that nobody was told of, or not there.
    """
    prepare(room)
    room.sh("insmod /root/syscall_tracer.ko; insmod /root/task_lister.ko")
    counts = {}
    for name in FILES:
        for operation in ("open", "read"):
            counts[f"{operation} {name}"] = fail_each(room, operation, f"/proc/{name}")["failed"]
    for name, texts in WRITES.items():
        for text in texts:
            came = fail_each(room, "write", f"/proc/{name}", text)
            counts[f"write {text}"] = came["failed"]
            if " block " in text:
                _require_filters(room, came.get("ok", 0))
    counts |= _fail_requests(room)
    room.sh("cat /proc/task_lister /proc/syscall_tracer >/dev/null; rmmod task_lister syscall_tracer")
    return counts


def _require_filters(room: Room, ok: int) -> None:
    """Require that a filter that was refused is not there: the same one is added once, however often that goes well."""
    there = int(room.sh("grep -c '^mkdir: BLOCK' /proc/syscall_tracer || true"))
    if there != min(ok, 1):
        raise LabError(f"a filter was added {ok} times, and {there} are there")


def _fail_requests(room: Room) -> dict[str, int]:
    """Have each allocation of each request fail once."""
    spec, counts = tracer_spec(), {}
    with tempfile.TemporaryDirectory(prefix="kmodlab-requests-") as folder:
        for name, values in REQUESTS.items():
            file = Path(folder) / name
            file.write_bytes(message(spec, name, values))
            room.guest.copy_to(file, f"/run/{name}")
            counts[name] = fail_each(room, "send", f"/run/{name}", spec.name)["failed"]
    return counts

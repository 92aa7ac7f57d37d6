"""Where throw-away machines write, and whether there is room for it: reckoned before the first one starts."""

from __future__ import annotations

from pathlib import Path

from kmodlab import paths
from kmodlab.errors import LabError
from kmodlab.host import HOST, Host

#: MiB that a machine writes to its disk while it boots
_BOOT_WRITES = 512
#: MiB that QEMU needs for a disk's own tables, and may write past what the machine has free: see `pool.Pool`
BESIDE = 256


def room(slots: int, memory: int, disk: int) -> int:
    """Return the bytes that machines may write while they run: a template while it is made, and each slot.

    Args:
        slots: at a time.
        memory: MiB of each.
        disk: MiB that each may write.
    """
    return (memory + _BOOT_WRITES + slots * (disk + BESIDE)) << 20


def slots_in_room(most: int, memory: int, disk: int, host: Host = HOST) -> int:
    """Return how many slots there is room for on a host: at least one, and at most `most`; else see `room`."""
    free = max(host.space(place) for place in runtime_dirs(host))
    return next((slots for slots in range(most, 1, -1) if room(slots, memory, disk) <= free), 1)


def runtime_dirs(host: Host = HOST) -> list[Path]:
    """Return the directories of a host that `runtime_dir` chooses from, the best first: that in memory."""
    return [parent / f"kmodlab-{host.user}" for parent in (host.shared, paths.state_dir())]


def runtime_dir(needed: int, wish: Path | None = None, host: Host = HOST) -> Path:
    """Return the private directory for what machines write while they run: in memory, where there is room for it.

    Args:
        needed: bytes, see `room`.
        wish: the user's own choice.
        host: where the machines run.

    Raises:
        LabError: there is no room for it anywhere, or it belongs to someone else.
    """
    directory = wish.absolute() if wish else _roomy(needed, host)
    directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    if directory.stat().st_uid != host.user:
        raise LabError(f"{directory} belongs to another user", hint="name another directory")
    return directory


def _roomy(needed: int, host: Host) -> Path:
    # In a container /dev/shm is often 64 MiB, and a machine whose memory finds no room there ends with SIGBUS.
    memory, disk = runtime_dirs(host)
    if host.writable(memory.parent) and host.space(memory) >= needed:
        return memory
    if host.space(disk) >= needed:
        return disk
    free = " and ".join(f"{place.parent} has {host.space(place) >> 20}" for place in (memory, disk))
    raise LabError(
        f"there is no room for what the machines write: {needed >> 20} MiB are needed, {free}",
        hint="fewer --jobs, smaller `limits` of the lab, or KMODLAB_STATE_DIR on a larger disk",
    )

"""What this host can give: memory, also where a container has less than the machine, and room on disks."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from kmodlab import paths

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
#: files of a control group: the limit, what is used, and in memory.stat what of that can be given back.
#: Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available_memory() -> int:
    """Return how much memory new programs can have here, in MiB, by the machine and by each control group above.

    Source: `MemAvailable` in proc_meminfo(5).
    """
    fields = dict(line.split(":", 1) for line in (_PROC / "meminfo").read_text().splitlines())
    machine = int(fields["MemAvailable"].split()[0]) << 10
    return min([machine, *_left_in_groups()]) >> 20


def _left_in_groups() -> Iterator[int]:
    for folder, names in _groups():
        with contextlib.suppress(OSError, ValueError, IndexError):
            limit, used = (int((folder / name).read_text()) for name in names[:2])
            words = (folder / "memory.stat").read_text().split()
            yield max(0, limit - used + int(words[words.index(names[2]) + 1]))


def _groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Yield the folders of this process's control group and of those above it."""
    with contextlib.suppress(OSError):
        for line in (_PROC / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            top, names = (_CGROUPS / "memory", _V1) if controllers else (_CGROUPS, _V2)
            # In a container the path may be the host's, which is not there: the top one is the container's then.
            group = top / path.strip("/")
            yield from ((folder, names) for folder in (group, *group.parents) if folder.is_relative_to(top))


def free_space(directory: Path) -> int:
    """Return the bytes that are free where a directory is, or is going to be."""
    return shutil.disk_usage(paths.nearest(directory)).free


#: what to do where the folder of temporary files is of no use
TMPDIR_HINT = "name another directory: export TMPDIR=$HOME/tmp; mkdir -p $TMPDIR"


def without_programs(directory: Path) -> Path | None:
    """Return the directory where its file system is mounted so that no program in it can be run, else None."""
    return directory if os.statvfs(directory).f_flag & os.ST_NOEXEC else None

"""What this host can give: memory and processors, of which a container may have less, and places to write to."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kmodlab import paths

#: files of a control group: the limit, what is used, and in memory.stat what of that can be given back.
#: Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_space(directory: Path) -> int:
    """Return the bytes that are free where a directory is, or is going to be."""
    return shutil.disk_usage(paths.nearest(directory)).free


def may_write(directory: Path) -> bool:
    """Return whether this process can make files in a directory, which may be none."""
    return directory.is_dir() and os.access(directory, os.W_OK)


def temporary_files() -> Path:
    """Return where programs put their temporary files: what `TMPDIR` names, where it is of use.

    Raises:
        FileNotFoundError: there is no such place.
    """
    return Path(tempfile.gettempdir())


@dataclass(frozen=True)
class Host:
    """A machine, as the files of its kernel show it to this process.

    Attributes:
        proc: where procfs is mounted.
        cgroups: where control groups are.
        shared: the file system in memory, see shm_overview(7).
        user: the id of the user whose process this is.
        allowed: how many processors the scheduler gives this process.
        space: returns the bytes that are free where a directory is.
        writable: returns whether this process can make files in a directory.
        temporary: returns where programs put their temporary files.
        near: a directory for anyone's, whose path is short: sockets fit in.
    """

    proc: Path = Path("/proc")
    cgroups: Path = Path("/sys/fs/cgroup")
    shared: Path = Path("/dev/shm")  # noqa: S108  # a private directory in it, and its owner is checked
    user: int = field(default_factory=os.getuid)
    allowed: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    space: Callable[[Path], int] = free_space
    writable: Callable[[Path], bool] = may_write
    temporary: Callable[[], Path] = temporary_files
    near: Path = Path("/tmp")  # noqa: S108  # as above

    def at_a_time(self, memory: int) -> int:
        """Return how many machines can run side by side, by memory and processors; at least one.

        Args:
            memory: MiB that one takes, with all that runs beside it.
        """
        return max(1, min(self.processors(), self.available_memory() // memory))

    def processors(self) -> int:
        """Return how many processors programs have here, by the scheduler and by each control group above; at least 1.

        Part of a processor does not count: what runs on it waits longer than deadlines are made for.
        """
        return max(1, int(min([self.allowed, *self._quotas()])))

    def _quotas(self) -> Iterator[float]:
        """Yield the processor time that a group may use in a period, by that period.

        Source: `cpu.max` in cgroup-v2.rst, and sched-bwc.rst in Documentation/scheduler.
        """
        for folder, unified in self._groups("cpu"):
            names = ("cpu.max",) if unified else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            # "max" is no number, and -1 no limit.
            with contextlib.suppress(OSError, ValueError):
                quota, period = (int(word) for name in names for word in (folder / name).read_text().split())
                if quota > 0:
                    yield quota / period

    def available_memory(self) -> int:
        """Return how much memory new programs can have, in MiB, by the machine and by each control group above.

        Source: `MemAvailable` in proc_meminfo(5).
        """
        fields = dict(line.split(":", 1) for line in (self.proc / "meminfo").read_text().splitlines())
        machine = int(fields["MemAvailable"].split()[0]) << 10
        return min([machine, *self._left_in_groups()]) >> 20

    def _left_in_groups(self) -> Iterator[int]:
        for folder, unified in self._groups("memory"):
            names = _V2 if unified else _V1
            with contextlib.suppress(OSError, ValueError, IndexError):
                limit, used = (int((folder / name).read_text()) for name in names[:2])
                words = (folder / "memory.stat").read_text().split()
                yield max(0, limit - used + int(words[words.index(names[2]) + 1]))

    def _groups(self, controller: str) -> Iterator[tuple[Path, bool]]:
        """Yield the folders of this process's control group and of those above, and whether they are version 2's."""
        with contextlib.suppress(OSError):
            for line in (self.proc / "self" / "cgroup").read_text().splitlines():
                _, controllers, path = line.split(":", 2)
                if controllers and controller not in controllers.split(","):
                    continue
                top = self.cgroups / controller if controllers else self.cgroups
                # In a container the path may be the host's, which is not there: the top one is the container's then.
                group = top / path.strip("/")
                above = [folder for folder in (group, *group.parents) if folder.is_relative_to(top)]
                yield from ((folder, not controllers) for folder in above)


HOST = Host()


#: what to do where the folder of temporary files is of no use
TMPDIR_HINT = "name another directory: export TMPDIR=$HOME/tmp; mkdir -p $TMPDIR"


def without_programs(directory: Path) -> bool:
    """Return whether a directory's file system is mounted so that no program in it can be run."""
    return bool(os.statvfs(directory).f_flag & os.ST_NOEXEC)

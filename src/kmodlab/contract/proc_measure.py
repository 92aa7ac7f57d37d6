"""What /proc itself says about the processes: the measure for the task files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PF_KTHREAD = 0x00200000


@dataclass(frozen=True)
class Process:
    """One process as /proc/PID/task/PID/stat and /proc/PID/status show it.

    Times are in clock ticks of 10 ms, those of its main thread.
    """

    pid: int
    comm: bytes
    state: str
    ppid: int
    kernel_thread: bool
    uid: int
    gid: int
    vm_kb: int
    rss_kb: int
    threads: int
    priority: int
    nice: int
    cpu: int
    start_ticks: int
    user_ticks: int
    system_ticks: int
    voluntary: int
    involuntary: int


def _kilobytes(text: str) -> int:
    return int(text.split(maxsplit=1)[0]) if text else 0


def parse_process(stat: str, status: str) -> Process:
    """Read one process; the name is taken from `stat`, where it is not escaped."""
    pid, rest = stat.split(" (", 1)
    comm, rest = rest.rsplit(") ", 1)
    field = [pid, comm, *rest.split()]
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return Process(
        pid=int(pid),
        comm=comm.encode("latin-1"),
        state=field[2],
        ppid=int(field[3]),
        kernel_thread=bool(int(field[8]) & PF_KTHREAD),
        uid=int(lines["Uid"].split()[0]),
        gid=int(lines["Gid"].split()[0]),
        vm_kb=_kilobytes(lines.get("VmSize", "")),
        rss_kb=_kilobytes(lines.get("VmRSS", "")),
        threads=int(lines["Threads"]),
        priority=int(field[17]) + 100,
        nice=int(field[18]),
        cpu=int(field[38]),
        start_ticks=int(field[21]),
        user_ticks=int(field[13]),
        system_ticks=int(field[14]),
        voluntary=int(lines["voluntary_ctxt_switches"]),
        involuntary=int(lines["nonvoluntary_ctxt_switches"]),
    )


def parse_procs(procs: Mapping[str, Mapping[str, str]]) -> dict[int, Process]:
    """Read the answer of the helper's step `procs`."""
    return {int(pid): parse_process(files["stat"], files["status"]) for pid, files in procs.items()}

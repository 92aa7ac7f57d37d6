"""Every system call that takes a descriptor, on every way to have one of the files open."""

from __future__ import annotations

import errno

import pytest

from .machine import Machine
from .script import TASK_FILES, TRACER, TRACER_STATS, Answer, read, step

MODES = ("r", "w", "rw", "path")
ANYWAY = ("step", "fstat", "dup", "poll", "pread_negative")
"""What needs no more than that the file is there, or fails before it is looked at."""
FILES = [
    *(pytest.param(path, marks=pytest.mark.syscall_tracer) for path in (TRACER, TRACER_STATS)),
    *(pytest.param(path, marks=pytest.mark.task_lister) for path in TASK_FILES),
]


def look(machine: Machine, path: str) -> dict[str, Answer]:
    """Return what each call came to, by how the file was open, and see that the file can still be read."""
    *answers, after = machine.play(*(step("descriptors", path, mode) for mode in MODES), read(path))
    assert after["errno"] == 0
    assert after["text"].endswith("\n")
    return dict(zip(MODES, answers, strict=True))


@pytest.mark.parametrize("path", FILES)
def test_no_call_on_a_descriptor_breaks_anything(machine: Machine, path: str) -> None:
    """On {path}, open in any mode, each call that takes a descriptor works or fails as on other files under /proc."""
    came_to = look(machine, path)
    for mode in ("r", "rw"):
        assert came_to[mode]["lseek_set"] == came_to[mode]["pread"] == came_to[mode]["readv"] == 0
        assert came_to[mode]["lseek_end"] == came_to[mode]["lseek_hole"] == errno.EINVAL
        assert came_to[mode]["read_bad"] == errno.EFAULT
        assert came_to[mode]["splice_from"] == 0
    for mode in MODES[:3]:
        assert came_to[mode]["fstat"] == came_to[mode]["dup"] == came_to[mode]["poll"] == 0
        assert came_to[mode]["fsync"] == errno.EINVAL
        assert came_to[mode]["ioctl"] == errno.ENOTTY
        assert came_to[mode]["mmap"] in (errno.EIO, errno.ENODEV, errno.EACCES)
    assert came_to["w"]["pread"] in (errno.EBADF, errno.ESPIPE)
    refused = {name: error for name, error in came_to["path"].items() if name not in ANYWAY}
    assert refused == dict.fromkeys(refused, errno.EBADF)


@pytest.mark.syscall_tracer
def test_a_writer_has_no_position(tracer: Machine) -> None:
    """Who opens the tracer to write alone cannot seek: ESPIPE."""
    came_to = look(tracer, TRACER)["w"]
    seeks = ("lseek_set", "lseek_cur", "lseek_end", "lseek_far", "lseek_hole", "pwrite")
    assert [came_to[name] for name in seeks] == [errno.ESPIPE] * len(seeks)

"""Vagrant with a libvirtd of the tests' own, in namespaces: nothing of the host's network or libvirt is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kmodlab.image.buildroot import own_mounts
from kmodlab.paths import project_dir
from kmodlab.process import Deadline, tail

from .test_lab import run

READY_SECONDS = 60.0


class OwnLibvirt:
    """A libvirtd that runs, and how to run Vagrant beside it.

    Attributes:
        directory: of all that libvirt and Vagrant keep.
        process: the first one in the namespaces.
    """

    def __init__(self, directory: Path, process: int) -> None:
        self.directory = directory
        self.process = process
        self.environment = {
            "VAGRANT_HOME": str(directory / "home"),
            "VAGRANT_DOTFILE_PATH": str(directory / "dot"),
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_NO_COLOR": "1",
            "LIBVIRT_DEFAULT_URI": "qemu:///system",
        }

    def run(self, *words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the project there, at its root, to its end; its output streams come as one."""
        # Its root too: in a chroot that is another one than the mount namespace's.
        spaces = ["--mount", "--root", "--net", "--pid"]
        enter = ["nsenter", f"--target={self.process}", *spaces, f"--wdns={project_dir()}"]
        return run(*enter, *words, **{**self.environment, **env})

    def succeed(self, *words: str | Path, **env: str) -> str:
        """Run a command that must exit with 0; return its output."""
        done = self.run(*words, **env)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def virsh(self, *words: str) -> list[str]:
        """Return the lines that virsh prints."""
        return [line.strip() for line in self.succeed("virsh", "--quiet", *words).splitlines() if line.strip()]


@contextmanager
def own_libvirt(directory: Path) -> Iterator[OwnLibvirt]:
    """Start libvirtd in a new directory; at the end everything in its namespaces is gone, machines included."""
    script = Path(__file__).with_name("libvirtd.sh")
    spaces = [*own_mounts(), "--net", "--pid", "--fork", "--mount-proc"]
    with (directory / "libvirtd.log").open("wb") as log:
        unshare = subprocess.Popen(["unshare", *spaces, "sh", script, directory], stdout=log, stderr=log)
    try:
        _wait_until_ready(directory, unshare)
        yield OwnLibvirt(directory, _children(unshare.pid)[0])
    finally:
        for child in _children(unshare.pid):
            os.kill(child, signal.SIGKILL)  # it is the init of a process namespace: nothing in it outlives it
        unshare.wait()


def _wait_until_ready(directory: Path, unshare: subprocess.Popen[bytes]) -> None:
    deadline = Deadline(READY_SECONDS)
    while not (directory / "ready").exists():
        assert unshare.poll() is None, f"libvirtd ended: {tail(directory / 'libvirtd.log')}"
        assert not deadline.expired, f"libvirtd does not answer: {tail(directory / 'libvirtd.log')}"
        time.sleep(0.05)


def _children(process: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except FileNotFoundError:
        return []

"""One QEMU process: its command line, whose it is, its start within bounds, its end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kmodlab.errors import LabError
from kmodlab.image.image import Image
from kmodlab.process import Deadline, finish, tail
from kmodlab.vm import qmp, secure_boot
from kmodlab.vm.accelerator import qemu_binary
from kmodlab.vm.hardware import Hardware

#: struct flock of fcntl(2), and what follows it up to the end of its alignment
_FLOCK = "hhqqi0q"


@dataclass(frozen=True)
class Bounds:
    """What a machine that belongs to one process may take of the host, beside its memory.

    Attributes:
        disk: MiB that it writes.
        log: KiB that are kept of the beginning of its console, and as many of its end.
        network: it reaches more than whoever connects to its ssh.
    """

    disk: int = 512
    log: int = 128
    network: bool = False


def command(
    name: str,
    image: Image,
    hardware: Hardware,
    bounds: Bounds | None = None,
    *,
    port: int = 0,
    more: Sequence[str] = (),
) -> list[str]:
    """Return the QEMU command of a machine whose files (disk.qcow2, sockets, logs) are in the working directory.

    Args:
        name: the machine's, shown in the process list.
        image: its kernel and initramfs.
        hardware: memory, processors, accelerator, and what boots it.
        bounds: of one that ends where its system restarts, and prints its console; without, it makes itself a daemon,
            and keeps all of its console.
        port: on the loopback address for ssh; 0 lets the system choose one.
        more: options at the end.
    """
    return [
        qemu_binary(image.architecture),
        *["-name", f"kmodlab-{name}", "-nodefaults", "-no-user-config", "-display", "none"],
        *(_ends_at_restart(hardware.arguments(image)) if bounds else hardware.arguments(image)),
        *["-drive", "file=disk.qcow2,if=none,id=root,format=qcow2,cache=unsafe,discard=unmap"],
        # The firmware wakes only disks that it may boot from, and GRUB finds only those that are awake.
        *["-device", "virtio-blk-pci,drive=root" + (",bootindex=1" if hardware.boot == "secure" else "")],
        *(secure_boot.arguments(name) if hardware.boot == "secure" else []),
        *["-netdev", f"user,id=net,{_restriction(bounds)}hostfwd=tcp:127.0.0.1:{port}-:22"],
        *["-device", "virtio-net-pci,netdev=net,romfile="],
        *["-device", "virtio-rng-pci"],
        *["-chardev", _console(bounds), "-serial", "chardev:console"],
        *["-qmp", "unix:qmp.sock,server=on,wait=off", "-pidfile", "pid"],
        *([] if bounds else ["-daemonize"]),
        *more,
    ]


def _ends_at_restart(options: list[str]) -> list[str]:
    """Return the options of a system whose kernel restarts at once where it panics, and whose QEMU ends with that."""
    at = options.index("-append") + 1
    return [*options[:at], f"{options[at]} panic=-1", *options[at + 1 :], "-no-reboot"]


def _restriction(bounds: Bounds | None) -> str:
    return "restrict=on," if bounds and not bounds.network else ""


def _console(bounds: Bounds | None) -> str:
    if bounds:
        return "stdio,id=console,signal=off"
    return "socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log,logappend=on"


class Qemu:
    """The QEMU whose files are in a directory, whether it runs or not.

    Args:
        directory: private. Its name is the machine's.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "qemu.log"
        """What it says of itself."""
        self._child: subprocess.Popen[bytes] | None = None

    # -- is it ours, is it alive -------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """Its process id, or None where it does not run; a stale pid file fools nobody."""
        # QEMU holds a lock on its pid file until it ends, and the kernel names the holder.
        try:
            with (self.directory / "pid").open("rb") as file:
                return _holder(file)
        except OSError:
            return None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.pid is not None

    @property
    def killed(self) -> bool:
        """Whether a child of this process was ended from outside, or broke: no program in the machine can do that."""
        return self._child is not None and not self.alive and self._child.wait() != 0

    # -- start -------------------------------------------------------------------------------------------------

    def start(self, argv: list[str]) -> None:
        """Start one that lasts; it makes itself a daemon, and gives up where this is interrupted before that.

        Args:
            argv: from `command`.

        Raises:
            LabError: QEMU refused to start; its own words are the error's last output.
        """
        with self.log.open("ab") as sink:
            status, _, _ = finish(argv, cwd=self.directory, sink=sink)
        if status:
            words = tail(self.log, 5)
            raise LabError(
                "QEMU did not start",
                command=" ".join(argv),
                exit_code=status,
                output=words,
                log=self.log,
                hint=_advice(words),
            )

    def start_child(self, argv: Sequence[str], bounds: Bounds, *, kept: bool = False) -> IO[bytes]:
        """Start one that ends with the thread that starts it, in whatever way that ends; return what it prints.

        Args:
            argv: from `command`, with the same bounds.
            bounds: see there.
            kept: it outlives this process, for someone to look at.

        Raises:
            LabError: it does not start.
        """
        tied = [] if kept else ["setpriv", "--pdeathsig", "KILL"]
        limited = ["prlimit", f"--fsize={bounds.disk << 20}", "--core=0"]
        with self.log.open("wb") as sink:
            child = subprocess.Popen(
                [*tied, *limited, *argv],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
                process_group=0,
                # Python ignores SIGXFSZ, and so has QEMU to: a disk that may not grow is an error of the guest's disk.
                restore_signals=False,
            )
        self._child = child
        try:
            self._wait_for_monitor(child)
        except BaseException:
            self.kill()
            raise
        assert child.stdout  # noqa: S101  # it is a pipe
        return child.stdout

    def _wait_for_monitor(self, child: subprocess.Popen[bytes]) -> None:
        deadline = Deadline(30)
        while not qmp.listens(self.directory):
            if child.poll() is not None or deadline.expired:
                raise LabError(
                    "QEMU did not start",
                    output=tail(self.log, 5),
                    hint="is there memory for another machine? fewer --jobs take less",
                )
            time.sleep(0.005)

    # -- while it runs -----------------------------------------------------------------------------------------

    def ask(self, words: str, arguments: dict[str, object] | None = None) -> object:
        """Run a command of QEMU's machine protocol; see `qmp.execute`."""
        return qmp.execute(self.directory, words, arguments)

    def ssh_port(self) -> int:
        """Return the loopback port that it forwards to the machine's ssh.

        Raises:
            LabError: QEMU does not answer or forwards nothing.
        """
        return forwarded_port(qmp.human(self.directory, "info usernet"))

    def require_room(self) -> None:
        """Check that the host still has room for what the machine writes: without it QEMU stops the machine.

        Raises:
            LabError: it has none. Whatever the machine seems to do, such as to hang, is the host's doing.
        """
        try:
            known = self.ask("query-status")
        except LabError:
            return  # QEMU has ended, or is stuck itself: that is seen elsewhere
        if qmp.status(known) == "io-error":
            hint = f"see `df -h {self.directory.parent}`: end what fills it, or use fewer --jobs"
            raise LabError("the host has no room left for what the machine writes", hint=hint)

    # -- end ---------------------------------------------------------------------------------------------------

    def ends_within(self, seconds: float) -> bool:
        """Wait until it has ended; whether it has in so many seconds."""
        deadline = Deadline(seconds)
        while self.alive:
            if deadline.expired:
                return False
            time.sleep(0.01)
        return True

    def quit(self, seconds: float = 30) -> None:
        """End it in good order: what it wrote is in its files then.

        Raises:
            LabError: it does not end.
        """
        # It may end before it answers.
        with contextlib.suppress(LabError):
            qmp.execute(self.directory, "quit", seconds=seconds)
        if not self.ends_within(seconds):
            raise LabError("QEMU does not end", log=self.log)

    def stop(self, *, seconds: float = 10) -> bool:
        """End it: ask it over QMP, then terminate it, then kill it.

        Returns:
            Whether there was one to end.
        """
        number = self.pid
        if number is None:
            return False
        ways: tuple[Callable[[], object], ...] = (
            lambda: qmp.execute(self.directory, "quit", seconds=seconds),
            lambda: os.kill(number, signal.SIGTERM),
            lambda: os.kill(number, signal.SIGKILL),
        )
        for way in ways:
            with contextlib.suppress(LabError, ProcessLookupError):
                way()
            if self.ends_within(seconds):
                return True
        raise LabError(f"QEMU (process {number}) does not end", log=self.log)

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        if self._child:
            self._child.kill()
            self._child.wait()
        elif number := self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
            self.ends_within(10)


def _holder(file: IO[bytes]) -> int | None:
    """Return the process that keeps others from locking a file; one of another host's, or namespace's, is none."""
    wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, *_, number = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, wanted))
    return int(number) if kind != fcntl.F_UNLCK and number > 0 else None


def _advice(words: str) -> str | None:
    if "hostfwd" in words or "forwarding" in words:
        return "that port is taken: choose another one with --port, or none and let the system choose"
    if "memory" in words.lower():
        return "not enough memory: try a smaller --memory (MiB), or end other guests (`kmodlab guest list`)"
    return None


def forwarded_port(table: str) -> int:
    """Return the port of `Qemu.ssh_port` from what QEMU's monitor says to `info usernet`.

    Raises:
        LabError: QEMU forwards nothing.
    """
    found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", table)
    if not found:
        raise LabError("QEMU forwards no port to the guest's ssh", output=table)
    return int(found.group(1))

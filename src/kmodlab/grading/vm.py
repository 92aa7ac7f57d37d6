"""A machine for grading: a QEMU process that ends with the one that started it, its console, its ssh.

It differs from a guest (`kmodlab.guest`) in what it is for: it lives for seconds, nobody else may use it, what it
prints is bounded, it has no network but the one forwarded port, and that it breaks is an answer and no error.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kmodlab.errors import CommandFailed, DeadlineExpired, GuestCrashed, KmodlabError, LabError
from kmodlab.grading import agent
from kmodlab.grading.tape import Tape
from kmodlab.guest import Result
from kmodlab.image.image import Image
from kmodlab.process import Deadline, tail
from kmodlab.vm import machine, qmp, ssh
from kmodlab.vm.accelerator import qemu_binary
from kmodlab.vm.machine import BOARDS, Hardware

#: QEMU's command that leaves the memory, which is a file, out of what a migration carries
SHARE_MEMORY: dict[str, object] = {"capabilities": [{"capability": "x-ignore-shared", "state": True}]}
#: bytes that a command in the machine may print; the rest is not read
MOST_OUTPUT = 8 << 20
#: a kernel that panics restarts at once, and QEMU ends
_KERNEL_ARGUMENTS = " panic=-1"


def command(name: str, image: Image, hardware: Hardware) -> list[str]:
    """Return the QEMU command of a machine whose files are in the working directory, its memory (`ram`) left out.

    Args:
        name: shown in the process list.
        image: its kernel and initramfs.
        hardware: memory, processors, accelerator.
    """
    options = hardware.arguments(image)
    options[options.index("-append") + 1] += _KERNEL_ARGUMENTS
    return [
        *[qemu_binary(image.architecture), "-name", f"kmodlab-{name}"],
        *["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
        *options,
        *["-machine", f"{BOARDS[image.architecture].machine},memory-backend=ram"],
        *["-drive", "file=disk.qcow2,if=none,id=root,format=qcow2,cache=unsafe"],
        *["-device", "virtio-blk-pci,drive=root"],
        *["-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"],
        *["-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"],
        *["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
        *agent.devices(),
        *["-qmp", "unix:qmp.sock,server=on,wait=off"],
    ]


@dataclass(frozen=True)
class Limits:
    """What a machine may take of the host, beside its memory.

    Attributes:
        disk: MiB that it writes.
        log: KiB that are kept of the beginning of its console, and as many of its end.
    """

    disk: int = 512
    log: int = 128


class Vm:
    """A machine in a directory of its own, running while a `with` block lasts.

    Args:
        directory: private, with `disk.qcow2` in it. Its name is the machine's.
        argv: from `command`, with the memory.
        image: that it runs.
        limits: see there.
        kept: it outlives this process, for someone to look at.
    """

    def __init__(
        self, directory: Path, argv: Sequence[str], image: Image, limits: Limits | None = None, *, kept: bool = False
    ) -> None:
        self.name = directory.name
        self.directory = directory
        self.image = image
        self.ssh_config = directory / "ssh_config"
        self._argv = list(argv)
        self._limits = limits or Limits()
        self._kept = kept
        self._process: subprocess.Popen[bytes] | None = None
        self._tape: Tape | None = None

    def __enter__(self) -> Vm:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    # -- its process -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start QEMU; `kill` or the end of a `with` block ends it.

        Raises:
            LabError: it does not start.
        """
        # It ends with the thread that started it: with the grader, in whatever way that ends.
        tied = [] if self._kept else ["setpriv", "--pdeathsig", "KILL"]
        limited = ["prlimit", f"--fsize={self._limits.disk << 20}", "--core=0"]
        with (self.directory / "qemu.log").open("wb") as sink:
            self._process = subprocess.Popen(
                [*tied, *limited, *self._argv],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
                process_group=0,
                # Python ignores SIGXFSZ, and so has QEMU to: a disk that may not grow is an error of the guest's disk.
                restore_signals=False,
            )
        (self.directory / "pid").write_text(f"{self._process.pid}\n")
        if self._process.stdout:
            self._tape = Tape(self._process.stdout, self._limits.log << 10)
        self._wait_for_monitor()

    def _wait_for_monitor(self) -> None:
        deadline = Deadline(30)
        while not qmp.listens(self.directory):
            if not self.alive or deadline.expired:
                raise LabError(
                    "QEMU did not start",
                    output=tail(self.directory / "qemu.log", 5),
                    hint="is there memory for another machine? fewer --jobs take less",
                )
            time.sleep(0.005)

    @property
    def tape(self) -> Tape:
        """What it prints."""
        if self._tape is None:
            raise LabError(f"the machine {self.name} was not started")
        return self._tape

    @property
    def alive(self) -> bool:
        """Whether QEMU is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def how_to_end(self) -> str:
        """What a user types to end a machine that was left up."""
        return f"to end it: kill {self._process.pid}" if self._process else ""

    @property
    def killed(self) -> bool:
        """Whether QEMU was ended from outside, or broke: no submission can do that, and none is to blame."""
        return self._process is not None and self._process.poll() not in (None, 0)

    def qmp(self, words: str, arguments: dict[str, object] | None = None) -> object:
        """Run a command of QEMU's machine protocol."""
        return qmp.execute(self.directory, words, arguments)

    def require_room(self) -> None:
        """Check that the host still has room for what the machine writes: without it QEMU stops the machine.

        Raises:
            LabError: it has none. Whatever the machine seems to do, such as to hang, is the host's doing.
        """
        try:
            known = self.qmp("query-status")
        except LabError:
            return  # QEMU has ended, or is stuck itself: that is seen elsewhere
        if isinstance(known, dict) and known.get("status") == "io-error":
            hint = f"see `df -h {self.directory.parent}`: end what fills it, or use fewer --jobs"
            raise LabError("the host has no room left for what the machine writes", hint=hint)

    def quit(self) -> None:
        """End QEMU in good order: what it wrote is in its files then."""
        with contextlib.suppress(LabError):
            self.qmp("quit")
        try:
            if self._process:
                self._process.wait(30)
        except subprocess.TimeoutExpired as error:
            raise LabError("QEMU does not end", log=self.directory / "qemu.log") from error

    def kill(self) -> None:
        """End QEMU at once, and wait until it and its console are gone."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        if self._tape:
            self._tape.wait(5)

    # -- use ---------------------------------------------------------------------------------------------------

    def wait_for_login(self, seconds: float) -> None:
        """Wait until ssh answers, and open the connection that all later commands share.

        Raises:
            GuestCrashed: QEMU ended.
            DeadlineExpired: it does not answer in time.
        """
        deadline = Deadline(seconds)
        port = machine.ssh_port(self.directory)
        ssh.write_config(self.directory, self.name, port, self.image.host_key, quick=True)
        while not ssh.greets(port, min(5, deadline.remaining + 0.1)):
            self._require_alive("it was to answer", deadline)
            time.sleep(0.05)
        argv = ["ssh", "-F", str(self.ssh_config), "-M", "-N", "-f", self.name]
        null = subprocess.DEVNULL
        with contextlib.suppress(subprocess.TimeoutExpired):
            left = deadline.remaining + 5
            done = subprocess.run(argv, stdin=null, stdout=null, stderr=null, timeout=left, check=False)
            if done.returncode == 0:
                return
        self._require_alive("it was to answer", Deadline(0))

    def _require_alive(self, doing: str, deadline: Deadline) -> None:
        if not self.alive:
            raise GuestCrashed(f"the machine ended while {doing}", output=self.tape.text[-2000:])
        if deadline.expired:
            raise DeadlineExpired(
                f"the machine did not answer within {deadline.seconds:.0f} s", output=self.tape.text[-2000:]
            )

    def _ended(self, doing: str) -> KmodlabError:
        """Return the error of a connection that ended."""
        # QEMU's end and that of the connection are the same event: which one is seen first is luck.
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._process:
                self._process.wait(2)
        if self.alive:
            return LabError(f"the connection to the machine failed while {doing}")
        return GuestCrashed(f"the machine ended while {doing}", output=self.tape.text[-2000:])

    def close_connection(self) -> None:
        """End the shared connection."""
        subprocess.run(["ssh", "-F", self.ssh_config, "-O", "exit", self.name], capture_output=True, check=False)

    def execute(self, words: str, seconds: float, *, stdin: bytes = b"") -> Result:
        """Run a shell command as root.

        Args:
            words: for /bin/sh.
            seconds: deadline.
            stdin: what it reads.

        Returns:
            What it did, as far as `MOST_OUTPUT` bytes of its output tell; more of it ends the command.

        Raises:
            GuestCrashed: QEMU ended meanwhile.
            DeadlineExpired: it did not end in time, which is how a machine that hangs shows.
            LabError: ssh itself failed, QEMU being there.
        """
        argv = ["ssh", "-F", str(self.ssh_config), "-o", "ControlMaster=no", self.name, words]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
        ) as process:
            try:
                out, err = self._communicate(process, stdin, Deadline(seconds), words)
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        if process.returncode == 255:
            error = self._ended(f"`{words[:60]}` ran")
            error.output = error.output or err.decode(errors="replace")
            raise error
        return Result(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def _communicate(
        self, process: subprocess.Popen[bytes], stdin: bytes, deadline: Deadline, words: str
    ) -> tuple[bytes, bytes]:
        with contextlib.closing(_Talk(process, stdin)) as talk:
            while talk.goes_on:
                talk.step(0.2)
                self._require_alive(f"`{words[:60]}` ran", deadline)
                if len(talk.out) >= MOST_OUTPUT:
                    process.kill()
                    break
        process.wait(deadline.remaining + 1)
        return bytes(talk.out), bytes(talk.err)

    def succeed(self, words: str, seconds: float, *, stdin: bytes = b"") -> str:
        """Run a shell command that must exit with 0, and return what it printed; errors as `execute`.

        Raises:
            CommandFailed: it exited with another status.
        """
        result = self.execute(words, seconds, stdin=stdin)
        if result.status:
            raise CommandFailed(
                "a command failed in the machine",
                command=words[:200],
                exit_code=result.status,
                output=(result.stderr or result.stdout)[-2000:],
            )
        return result.stdout


class _Talk:
    """Feeds a process and reads what it prints, a piece at a time."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes) -> None:
        self.out, self.err = bytearray(), bytearray()
        self._feed = memoryview(stdin)
        self._pipe = process.stdin
        self._selector = selectors.DefaultSelector()
        if self._pipe:
            os.set_blocking(self._pipe.fileno(), False)
            self._selector.register(self._pipe, selectors.EVENT_WRITE)
        for pipe, taken in ((process.stdout, self.out), (process.stderr, self.err)):
            if pipe:
                self._selector.register(pipe, selectors.EVENT_READ, taken)

    @property
    def goes_on(self) -> bool:
        """Whether there is anything to write or read."""
        return bool(self._selector.get_map())

    def close(self) -> None:
        """Give up what watching takes; the process's pipes stay."""
        self._selector.close()

    def step(self, seconds: float) -> None:
        """Do what can be done within so many seconds."""
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                self._write(key.fd)
            elif data := os.read(key.fd, 1 << 16):
                key.data.extend(data)
            else:
                self._selector.unregister(key.fileobj)

    def _write(self, descriptor: int) -> None:
        try:
            if self._feed:
                self._feed = self._feed[os.write(descriptor, self._feed[: 1 << 16]) :]
        except BrokenPipeError:
            self._feed = memoryview(b"")
        if not self._feed and self._pipe:
            self._selector.unregister(self._pipe)
            with contextlib.suppress(BrokenPipeError):
                self._pipe.close()


def clear_away(directory: Path) -> None:
    """End the machine that a dead process left in a directory, and remove the directory."""
    with contextlib.suppress(OSError, ValueError):
        number = int((directory / "pid").read_text())
        if f"kmodlab-{directory.name}".encode() in Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0"):
            os.kill(number, signal.SIGKILL)
    shutil.rmtree(directory, ignore_errors=True)

"""Slots: throw-away machines that resume from a template, a bounded number of them at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shlex
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypedDict

from kmodlab.errors import GuestCrashed, LabError
from kmodlab.grading.agent import GRADER, Agent
from kmodlab.grading.template import BESIDE, Template, make_template, room, runtime_dir, runtime_dirs
from kmodlab.grading.vm import MOST_OUTPUT, SHARE_MEMORY, Limits, Vm, clear_away, command
from kmodlab.guest import Result
from kmodlab.image.image import Image, build_image
from kmodlab.image.plan import Plan
from kmodlab.process import Deadline
from kmodlab.vm import machine, qmp, ssh

_ANSWER_SECONDS = 60


class Slot(Vm):
    """A machine of a pool: a `Vm` that was resumed, and answers."""

    _agent: Agent | None = None

    def begin(self, state: Path) -> None:
        """Start it, load the state of a template, and wait until it answers.

        Args:
            state: the template's file.

        Raises:
            LabError: it did not come so far. Nothing of a submission's has run in it yet: the lab is to blame.
        """
        try:
            self.start()
            self.resume(state)
            self.wait_for_agent(_ANSWER_SECONDS)
        except GuestCrashed as error:
            raise LabError(error.message, log=self.directory / "qemu.log", output=error.output) from error

    def resume(self, state: Path) -> None:
        """Load the state of a template, and let the machine run.

        Args:
            state: the template's file.

        Raises:
            LabError: QEMU could not load it.
        """
        with qmp.connected(self.directory) as ask:
            ask("migrate-set-capabilities", SHARE_MEMORY)
            ask("migrate-incoming", {"uri": f"exec:cat {shlex.quote(str(state))}"})
            deadline = Deadline(_ANSWER_SECONDS)
            while (status := _status(ask("query-status"))) != "paused":
                if status != "inmigrate" or deadline.expired:
                    raise LabError(f"QEMU did not resume from the template: {status}", log=self.directory / "qemu.log")
                time.sleep(0.005)
            port = machine.forwarded_port(str(ask("human-monitor-command", {"command-line": "info usernet"})))
            ssh.write_config(self.directory, self.name, port, self.image.host_key, quick=True)
            ask("cont")

    def wait_for_agent(self, seconds: float) -> None:
        """Connect to the agent, and wait until it answers.

        Args:
            seconds: deadline.

        Raises:
            GuestCrashed: QEMU ended.
            DeadlineExpired: it does not answer in time.
        """
        self._agent = Agent(self.directory, GRADER)
        deadline = Deadline(seconds)
        try:
            self._agent.ping(lambda: self._require_alive("it was to answer", deadline))
        except EOFError as error:
            raise self._ended("it was to answer") from error

    def execute(self, words: str, seconds: float, *, stdin: bytes = b"") -> Result:
        """Run a shell command as root; see `Vm.execute`."""
        doing, deadline = f"`{words[:60]}` ran", Deadline(seconds)
        if self._agent is None:
            raise LabError(f"the machine {self.name} does not answer yet")
        try:
            done = self._agent.run(words, lambda: self._require_alive(doing, deadline), stdin=stdin, most=MOST_OUTPUT)
        except EOFError as error:
            raise self._ended(doing) from error
        return Result(done.status, done.out.decode(errors="replace"), done.err.decode(errors="replace"))

    def kill(self) -> None:
        """End QEMU at once, and wait until it and its console are gone."""
        if self._agent:
            self._agent.close()
        super().kill()


def _status(known: object) -> str:
    return str(known.get("status")) if isinstance(known, dict) else ""


class _Settings(TypedDict):
    memory: int
    cpus: int
    disk: int
    log: int
    directory: Path | None


class Pool:
    """Machines of one image, resumed from one template; the template is made when the first slot is taken.

    A slot belongs to the thread that took it: when that one ends, so does the slot, in whatever way.

    Args:
        image: the guest image, or what one is built of.
        slots: how many machines at a time.
        memory: MiB of each.
        cpus: of each.
        disk: MiB that each may write.
        log: KiB that are kept of each console's beginning, and of its end.
        directory: for what the machines write; by default in memory. See `template.runtime_dir`.

    Raises:
        LabError: there is no room for what the machines write, or no image, and none can be built.
    """

    def __init__(
        self,
        image: Image | Plan,
        slots: int = 1,
        *,
        memory: int = 512,
        cpus: int = 1,
        disk: int = 256,
        log: int = 128,
        directory: Path | None = None,
    ) -> None:
        self.slots = slots
        self._memory, self._cpus, self._disk = memory, cpus, disk
        # Chosen once: room that there is now may be what a slot of ours has written in a moment.
        self._directory = runtime_dir(room(slots, memory, disk), directory)
        self._settings = _Settings(memory=memory, cpus=cpus, disk=disk, log=log, directory=self._directory)
        self.image = image if isinstance(image, Image) else build_image(image)
        self._others: dict[str, Pool] = {}
        self._limits = Limits(disk + BESIDE, log)
        self._free = threading.BoundedSemaphore(slots)
        self._making = threading.Lock()
        self._template: Template | None = None

    def on(self, image: Image | Plan) -> Pool:
        """Return a pool of the same kind of machines on another image; both together have no more slots than this one.

        Args:
            image: the guest image, or what one is built of.
        """
        name = image.release.name
        with self._making:
            if name not in self._others:
                other = Pool(image, self.slots, **self._settings)
                other._free, other._others = self._free, self._others
                self._others[name] = other
            return self._others[name]

    @property
    def template(self) -> Template:
        """The template, made on first use."""
        with self._making:
            if self._template is None:
                for place in {self._directory, *runtime_dirs()}:
                    sweep(place)
                self._template = make_template(
                    self.image, memory=self._memory, cpus=self._cpus, disk=self._disk, directory=self._directory
                )
            return self._template

    @contextlib.contextmanager
    def slot(self, *, kept: bool = False) -> Iterator[Slot]:
        """Yield a fresh machine that answers, its clock the template's; when the block ends nothing of it is left.

        Args:
            kept: leave it running, also when this process ends, for someone to look at.

        Raises:
            LabError: it did not start, or did not answer: the lab's fault, as nothing ran in it yet.
        """
        template = self.template
        # It may be gone meanwhile: systemd's RemoveIPC empties /dev/shm where a user logs out.
        self._directory.mkdir(parents=True, mode=0o700, exist_ok=True)
        with self._free, _own_directory(self._directory, kept=kept) as directory:
            shutil.copyfile(template.directory / "overlay.qcow2", directory / "disk.qcow2")
            slot = Slot(directory, _resume(directory.name, template), self.image, self._limits, kept=kept)
            try:
                slot.begin(template.directory / "state")
                yield slot
            finally:
                if not kept:
                    slot.kill()


def _resume(name: str, template: Template) -> list[str]:
    ram = f"memory-backend-file,id=ram,size={template.hardware.memory}M,share=off,mem-path={template.directory / 'ram'}"
    return [
        *command(name, template.image, template.hardware),
        *["-object", ram, "-incoming", "defer"],
    ]


@contextlib.contextmanager
def _own_directory(runtime: Path, *, kept: bool) -> Iterator[Path]:
    """Yield a directory that is locked while its owner lives, and gone afterwards."""
    directory = runtime / f"slot-{secrets.token_hex(4)}"
    # Under a name that no sweep looks at until it is locked.
    (new := runtime / f".{directory.name}").mkdir(mode=0o700)
    try:
        with _lock(new):
            new.rename(directory)
            if kept:
                (directory / "kept").touch()
            yield directory
    finally:
        if not kept:
            clear_away(directory)


def _lock(directory: Path) -> IO[str]:
    file = (directory / "lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def sweep(runtime: Path) -> list[Path]:
    """End and remove the slots whose owner has died, and what was left of those that were kept.

    Args:
        runtime: from `template.runtime_dir`.

    Returns:
        The directories that were removed.
    """
    removed: list[Path] = []
    if not runtime.is_dir() or runtime.stat().st_uid != os.getuid():
        return removed
    for directory in runtime.glob("slot-*"):
        if (directory / "kept").exists() and _runs(directory):
            continue
        with contextlib.suppress(OSError), _lock(directory):
            clear_away(directory)
            removed.append(directory)
    return removed


def _runs(directory: Path) -> bool:
    try:
        number = int((directory / "pid").read_text())
        return f"kmodlab-{directory.name}".encode() in Path(f"/proc/{number}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False

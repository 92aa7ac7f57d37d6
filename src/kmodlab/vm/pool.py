"""Slots: throw-away machines that resume from a template, a bounded number of them at a time."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import shlex
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypedDict

from kmodlab.errors import GuestCrashed, LabError
from kmodlab.host import HOST, Host
from kmodlab.image.image import Image, build_image
from kmodlab.image.plan import Plan
from kmodlab.process import Deadline
from kmodlab.vm import qmp, ssh
from kmodlab.vm.agent import OWNER, Agent
from kmodlab.vm.console import BoundedConsole
from kmodlab.vm.machine import Machine
from kmodlab.vm.qemu import Bounds, Qemu, forwarded_port
from kmodlab.vm.room import BESIDE, room, runtime_dir, runtime_dirs
from kmodlab.vm.template import MOST_OUTPUT, SHARE_MEMORY, Preparation, Template, command, make_template, running

_ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Slot:
    """A machine of a pool, which answers.

    Attributes:
        image: that it runs.
        qemu: its process.
        console: what it prints.
        machine: all of it, to work with.
    """

    image: Image
    qemu: Qemu
    console: BoundedConsole
    machine: Machine

    @property
    def directory(self) -> Path:
        """Where its files are; the name is the machine's."""
        return self.qemu.directory


class _Settings(TypedDict):
    preparation: Preparation
    memory: int
    cpus: int
    disk: int
    log: int
    directory: Path | None
    host: Host


class Pool:
    """Machines of one image, resumed from one template; the template is made when the first slot is taken.

    A slot belongs to the thread that took it: when that one ends, so does the slot, in whatever way.

    Args:
        image: the guest image, or what one is built of.
        slots: how many machines at a time.
        preparation: what is made of them before they become a template.
        memory: MiB of each.
        cpus: of each.
        disk: MiB that each may write.
        log: KiB that are kept of each console's beginning, and of its end.
        directory: for what the machines write; by default in memory. See `room.runtime_dir`.
        host: where they run.

    Raises:
        LabError: there is no room for what the machines write, or no image, and none can be built.
    """

    def __init__(
        self,
        image: Image | Plan,
        slots: int = 1,
        *,
        preparation: Preparation,
        memory: int = 512,
        cpus: int = 1,
        disk: int = 256,
        log: int = 128,
        directory: Path | None = None,
        host: Host = HOST,
    ) -> None:
        self.slots = slots
        # Chosen once: room that there is now may be what a slot of ours has written in a moment.
        self._directory = runtime_dir(room(slots, memory, disk), directory, host)
        self._settings = _Settings(
            preparation=preparation,
            memory=memory,
            cpus=cpus,
            disk=disk,
            log=log,
            directory=self._directory,
            host=host,
        )
        self.image = image if isinstance(image, Image) else build_image(image, host=host)
        self._others: dict[str, Pool] = {}
        self._bounds = Bounds(disk + BESIDE, log)
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
                ours = self._settings
                for place in {self._directory, *runtime_dirs(ours["host"])}:
                    sweep(place, ours["host"])
                self._template = make_template(
                    self.image,
                    ours["preparation"],
                    memory=ours["memory"],
                    cpus=ours["cpus"],
                    disk=ours["disk"],
                    directory=self._directory,
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
        template, sign = self.template, self._settings["preparation"].sign
        with self._free, own_directory(self._directory, kept=kept) as directory:
            shutil.copyfile(template.directory / "overlay.qcow2", directory / "disk.qcow2")
            argv = _resuming(directory.name, template, self._bounds)
            with running(directory, argv, self._bounds, sign, kept=kept) as (process, console):
                _resume(process, template)
                with contextlib.closing(Agent(directory, OWNER)) as agent:
                    yield Slot(self.image, process, console, answering(process, console, agent))


def _resuming(name: str, template: Template, bounds: Bounds) -> list[str]:
    ram = f"memory-backend-file,id=ram,size={template.hardware.memory}M,share=off,mem-path={template.directory / 'ram'}"
    return command(name, template.image, template.hardware, bounds, ["-object", ram, "-incoming", "defer"])


def _resume(process: Qemu, template: Template) -> None:
    """Load the state of a template, and let the machine run.

    Raises:
        LabError: QEMU could not load it.
    """
    name, state = process.directory.name, template.directory / "state"
    with qmp.connected(process.directory) as ask:
        ask("migrate-set-capabilities", SHARE_MEMORY)
        ask("migrate-incoming", {"uri": f"exec:cat {shlex.quote(str(state))}"})
        deadline = Deadline(_ANSWER_SECONDS)
        while (status := qmp.status(ask("query-status"))) != "paused":
            if status != "inmigrate" or deadline.expired:
                raise LabError(f"QEMU did not resume from the template: {status}", log=process.log)
            time.sleep(0.005)
        port = forwarded_port(str(ask("human-monitor-command", {"command-line": "info usernet"})))
        ssh.write_config(process.directory, name, port, template.image.host_key, quick=True)
        ask("cont")


def answering(process: Qemu, console: BoundedConsole, agent: Agent) -> Machine:
    """Return a machine that was resumed, as soon as it answers.

    Args:
        process: its QEMU.
        console: what it prints.
        agent: the way in.

    Raises:
        LabError: it does not. Nothing that was not trusted has run in it yet: the lab is to blame.
    """
    machine = Machine("the machine", process, console, agent, most=MOST_OUTPUT)
    try:
        machine.wait_for_shell(_ANSWER_SECONDS, "it was to answer")
    except GuestCrashed as error:
        raise LabError("the machine ended while it was to answer", log=process.log, output=error.output) from error
    return machine


@contextlib.contextmanager
def own_directory(runtime: Path, *, kept: bool = False) -> Iterator[Path]:
    """Yield a directory that is locked while its owner lives, and gone afterwards.

    Args:
        runtime: where it is, from `room.runtime_dir`.
        kept: it stays.
    """
    # It may be gone meanwhile: systemd's RemoveIPC empties /dev/shm where a user logs out.
    runtime.mkdir(parents=True, mode=0o700, exist_ok=True)
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
            _clear_away(directory)


def _lock(directory: Path) -> IO[str]:
    file = (directory / "lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def sweep(runtime: Path, host: Host = HOST) -> list[Path]:
    """End and remove the slots whose owner has died, and what was left of those that were kept.

    Args:
        runtime: from `room.runtime_dir`; one of another user's is left alone.
        host: whose it is.

    Returns:
        The directories that were removed.
    """
    removed: list[Path] = []
    if not runtime.is_dir() or runtime.stat().st_uid != host.user:
        return removed
    for directory in runtime.glob("slot-*"):
        if (directory / "kept").exists() and Qemu(directory).alive:
            continue
        with contextlib.suppress(OSError), _lock(directory):
            _clear_away(directory)
            removed.append(directory)
    return removed


def _clear_away(directory: Path) -> None:
    """End the machine that a dead process left in a directory, and remove the directory."""
    Qemu(directory).kill()
    shutil.rmtree(directory, ignore_errors=True)

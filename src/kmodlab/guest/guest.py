"""A guest: a real virtual machine that is brought up, used through ssh, and thrown away."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType

from kmodlab import paths
from kmodlab.errors import DeadlineExpired, GuestCrashed, LabError, UsageError
from kmodlab.image.image import Image, build_image, images_dir
from kmodlab.image.plan import Plan, planned
from kmodlab.process import Deadline, locked, say
from kmodlab.vm import accelerator, qemu, secure_boot, snapshot, ssh
from kmodlab.vm.console import Log
from kmodlab.vm.hardware import Boot, Hardware
from kmodlab.vm.machine import COMMAND_SECONDS, Machine
from kmodlab.vm.qemu import Qemu
from kmodlab.vm.shell import CommandResult
from kmodlab.vm.ssh import Ssh

BOOT_SECONDS = 300.0
#: that a guest which runs may be silent, before it is taken for one that never answers again
PATIENCE = 30.0
_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,47}")


def guests_dir() -> Path:
    """Return where guests keep their state, one directory each."""
    return paths.state_dir() / "guests"


class Guest:
    """One guest by its name. The constructor starts nothing; `up` does, and a `with` block brings it up and down.

    Args:
        name: lower-case letters, digits, dots and dashes.

    Raises:
        UsageError: the name is not of that form.
    """

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is no name for a guest",
                hint="use up to 48 lower-case letters, digits, dots and dashes",
            )
        self.name = name
        self.directory = guests_dir() / name
        self.qemu = Qemu(self.directory)
        self.shell = Ssh(self.directory, name)
        self._console: Log | None = None

    def __enter__(self) -> Guest:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # -- state -------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether its QEMU is there."""
        return self.qemu.alive

    @property
    def has_disk(self) -> bool:
        """Whether it has a disk, be it up or not: the image that it is made upon is needed."""
        return (self.directory / "disk.qcow2").exists()

    @property
    def ssh_config(self) -> Path:
        """The file for `ssh -F` and for Ansible; it is there while the guest is up."""
        return self.shell.config

    @property
    def console(self) -> Log:
        """The console, followed from when this object first looked."""
        if self._console is None:
            self._console = Log(self.directory / "console.log")
        return self._console

    @property
    def machine(self) -> Machine:
        """What it is while it is up, to work with.

        Raises:
            UsageError: the guest is not up.
        """
        if not self.ssh_config.exists():
            raise self.not_up()
        return Machine(f"the guest {self.name}", self.qemu, self.console, self.shell)

    @property
    def settings(self) -> dict[str, object]:
        """What it was brought up with: image, memory, cpus, accelerator, port; empty when it is down."""
        try:
            return dict(json.loads((self.directory / "guest.json").read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    @property
    def image(self) -> Image:
        """The image it runs.

        Raises:
            UsageError: the guest is not up.
        """
        if not (known := self.settings):
            raise self.not_up()
        return Image(images_dir() / str(known["image"]))

    def not_up(self) -> UsageError:
        """Return the error for whoever needs it up, and it is not."""
        return UsageError(f"the guest {self.name} is not up", hint=f"kmodlab guest up {self.name}")

    # -- up and down -------------------------------------------------------------------------------------------

    def up(
        self,
        *,
        image: Plan | Image | None = None,
        memory: int = 1024,
        cpus: int = 2,
        port: int = 0,
        boot: Boot = "direct",
        cold: bool = False,
        counting: bool = False,
    ) -> bool:
        """Bring the guest up and wait until it can be logged into; an image is built where there is none.

        Args:
            image: that it runs, or what one is built of; by default the host's own release.
            memory: MiB.
            cpus: virtual processors.
            port: on the host's loopback address, forwarded to ssh; 0 lets the system choose.
            boot: `direct`, `disk` or `secure`, see `Hardware`.
            cold: boot, even where a snapshot could be resumed.
            counting: emulate it, with a clock that counts instructions; see `Hardware`.

        Returns:
            Whether anything changed: False when it was up already.

        Raises:
            LabError: something the lab needs is missing or broke; nothing is left running.
            GuestCrashed: the guest's kernel broke while it booted.
        """
        image = image or planned("auto")
        with locked(guests_dir() / f".{self.name}.lock", f"bringing up the guest {self.name}"):
            if self.running and self._answers():
                self._warn_of_differences((image.release.name, memory, cpus, boot))
                return False
            self._clear_away()
            built = image if isinstance(image, Image) else build_image(image)
            chosen = "tcg" if counting else accelerator.choose(built)
            hardware = Hardware(memory, cpus, chosen, boot, counting)
            # The state of the firmware's flash is in no snapshot: Secure Boot always boots.
            fresh = cold or boot == "secure"
            self._launch(built, hardware, port, None if fresh else _snapshot(built, hardware))
        return True

    def _warn_of_differences(self, wanted: tuple[str, int, int, Boot]) -> None:
        known = self.settings
        have = (self.image.release.name, known["memory"], known["cpus"], known.get("boot", "direct"))
        if have != wanted:
            words = "{}, {} MiB, {} cpus, {} boot"
            say(
                f"the guest {self.name} is up as {words.format(*have)}, and stays so: "
                f"for {words.format(*wanted)} take it down first (`kmodlab guest down {self.name}`)"
            )

    def _answers(self) -> bool:
        if ssh.greets(self.shell.port):
            return True
        # On a busy host it may only be slow, and what is replaced is lost.
        say(f"the guest {self.name} runs and has not answered yet: waiting for {PATIENCE:.0f} s")
        if ssh.greets(self.shell.port, PATIENCE):
            return True
        say(f"the guest {self.name} runs but does not answer: replacing it")
        return False

    def _launch(self, image: Image, hardware: Hardware, port: int, resume: Path | None) -> None:
        """Start QEMU from a snapshot or from nothing; on any error, Ctrl-C included, leave nothing behind."""
        started = time.monotonic()
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            if resume:
                snapshot.take(resume, self.directory)
            elif hardware.boot == "disk":
                snapshot.take(bootable_disk(image, hardware), self.directory)
            else:
                snapshot.new_disk(self.directory, image)
            if hardware.boot == "secure":
                secure_boot.prepare(self.directory, image, hardware.kernel_arguments(image))
            self._console = Log(self.directory / "console.log", 0)
            loadvm = ["-loadvm", snapshot.STATE] if resume else []
            self.qemu.start(qemu.command(self.name, image, hardware, port=port, more=loadvm))
            actual = self.qemu.ssh_port()
            ssh.write_config(self.directory, self.name, actual, image.host_key)
            self._write_settings(image, hardware, actual)
            self._wait_for_login()
        except BaseException as error:
            self._keep_logs(error)
            self._clear_away()
            raise
        what = f"{'resumed' if resume else 'booted'} {image.release.name}"
        say(f"guest {self.name}: {what} in {time.monotonic() - started:.1f} s ({hardware.accelerator})")

    def _write_settings(self, image: Image, hardware: Hardware, port: int) -> None:
        settings = {"name": self.name, "image": image.id, "port": port, **asdict(hardware)}
        (self.directory / "guest.json").write_text(json.dumps(settings, indent=2) + "\n")

    def _wait_for_login(self) -> None:
        hint = "on a very slow host try fewer --cpus, or look at the console log"
        self.machine.wait_for_shell(BOOT_SECONDS, late="did not offer ssh", hint=hint)
        # A resumed guest still has the snapshot's clock and name.
        self.succeed(f"date -s @{time.time():.3f} >/dev/null; hostname {self.name}", seconds=BOOT_SECONDS)

    def settle(self) -> None:
        """Wait until the guest's services have started, and read once what every later run will read."""
        self.succeed("systemctl is-system-running --wait || systemctl --failed --no-legend >&2")
        self.succeed("python3 -c 'import json, subprocess, tempfile, zipfile, ssl'; cc --version >/dev/null; sync")

    def reboot(self) -> None:
        """Restart the guest's system from inside, and wait until the new one can be logged into.

        Raises:
            DeadlineExpired: it did not come back in time.
            GuestCrashed: the kernel broke meanwhile.
        """
        before = self.succeed(_BOOT_ID)
        self.succeed("systemd-run --quiet --no-block systemctl reboot")
        deadline = Deadline(BOOT_SECONDS)
        while self._boot_id(deadline) in ("", before):
            self.console.check("restarting")
            if deadline.expired:
                raise DeadlineExpired(f"the guest {self.name} did not restart", output=self.console.tail())
            time.sleep(0.2)

    def _boot_id(self, deadline: Deadline) -> str:
        """Return which boot this is, or nothing while the guest does not answer."""
        self.shell.close()
        if not ssh.greets(self.shell.port, min(5, deadline.remaining + 0.1)):
            return ""
        self.shell.open()
        with contextlib.suppress(LabError):
            return self.execute(_BOOT_ID, seconds=deadline.remaining + 5).stdout
        return ""

    def power_off(self) -> None:
        """Shut the guest down in good order; its disk stays until `down`.

        Raises:
            DeadlineExpired: it did not end in time.
        """
        # Detached: the connection that asks for it would end with it.
        self.succeed("systemd-run --quiet --no-block systemctl poweroff")
        if not self.qemu.ends_within(COMMAND_SECONDS):
            raise DeadlineExpired(f"the guest {self.name} did not shut down", output=self.console.tail())

    def power_on(self) -> None:
        """Boot the guest from its own disk, as `power_off` or the end of its QEMU left it; wait until it answers.

        Raises:
            LabError: QEMU did not start, or the guest did not answer in time.
            GuestCrashed: the kernel broke while it booted.
        """
        known = {name: value for name, value in self.settings.items() if name in Hardware.__dataclass_fields__}
        hardware = Hardware(**known)  # type: ignore[arg-type]
        self.shell.close()
        self.qemu.start(qemu.command(self.name, self.image, hardware, port=self.shell.port))
        self._wait_for_login()

    def _keep_logs(self, error: BaseException) -> None:
        """Move the logs of a failed start aside, so that the error can name a file that stays."""
        kept = paths.state_dir() / "log" / self.name
        for name in ("console.log", "qemu.log"):
            if (self.directory / name).exists():
                kept.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.directory / name, kept / name)
                if isinstance(error, (LabError, GuestCrashed)) and error.log in (None, self.directory / name):
                    error.log = kept / name

    def _clear_away(self) -> None:
        """Stop what runs and remove every trace, stale or not."""
        self.qemu.stop()
        self.shell.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def down(self) -> bool:
        """Stop the guest and remove its disk and state.

        Returns:
            Whether there was anything to remove.
        """
        with locked(guests_dir() / f".{self.name}.lock", f"taking down the guest {self.name}"):
            present = self.directory.exists()
            self._clear_away()
            (guests_dir() / f".{self.name}.lock").unlink(missing_ok=True)
        return present

    # -- use ---------------------------------------------------------------------------------------------------

    def ssh_command(self, *words: str) -> list[str]:
        """Return the ssh command line that runs `words` (or a login shell) in the guest.

        Args:
            words: the command, as one or several words that ssh joins with blanks.

        Raises:
            UsageError: the guest is not up.
        """
        if not self.ssh_config.exists():
            raise self.not_up()
        return self.shell.command(*words)

    def execute(self, command: str, seconds: float = COMMAND_SECONDS, *, stdin: bytes = b"") -> CommandResult:
        """Run a shell command in the guest; see `Machine.execute`, and there for the waits."""
        return self.machine.execute(command, seconds, stdin=stdin)

    def succeed(self, command: str, seconds: float = COMMAND_SECONDS, *, stdin: bytes = b"") -> str:
        """Run a shell command that must exit with 0; see `Machine.succeed`."""
        return self.machine.succeed(command, seconds, stdin=stdin)

    def copy_to(self, local: Path, remote: str) -> None:
        """Copy a file, or a directory's contents, into the guest.

        Args:
            local: on the host.
            remote: the file's path in the guest, or the directory that gets the contents.
        """
        if local.is_dir():
            packed = subprocess.run(["tar", "-C", local, "-c", "."], capture_output=True, check=True).stdout
            self.succeed(f"mkdir -p {shlex.quote(remote)} && tar -C {shlex.quote(remote)} -x -o", stdin=packed)
        else:
            self.succeed(f"cat >{shlex.quote(remote)}", stdin=local.read_bytes())


@contextlib.contextmanager
def _booted(image: Image, hardware: Hardware, name: str) -> Iterator[Guest]:
    """A guest of its own that has been booted and has settled; gone afterwards."""
    guest = Guest(name)
    guest._clear_away()
    guest._launch(image, hardware, 0, None)
    try:
        guest.settle()
        yield guest
    finally:
        guest._clear_away()


def _snapshot(image: Image, hardware: Hardware) -> Path:
    """Return the snapshot of an image on some hardware, made on first use."""
    target = snapshot.path(image, hardware)
    with snapshot.made_once(target, "making the snapshot of a booted guest") as missing:
        if missing:
            say(f"booting {image.release.name} once ({hardware.accelerator}), to resume from its snapshot from now on")
            with _booted(image, hardware, f"snapshot-{target.stem[-12:]}") as guest:
                snapshot.save(guest.directory, target)
    return target


def bootable_disk(image: Image, hardware: Hardware) -> Path:
    """Return an image's disk with a boot loader on it, made on first use.

    Args:
        image: whose disk it is, the disk's backing file.
        hardware: of the guest that is booted once to install the loader.

    Raises:
        UsageError: there is no boot loader for the image's architecture.
    """
    if not image.release.boot_loader:
        name = image.release.name
        raise UsageError(f"{name} cannot boot from its disk", hint="`--boot direct` starts the image's kernel")
    target = snapshot.bootable_path(image, hardware)
    with snapshot.made_once(target, "making a disk that boots by itself") as missing:
        if missing:
            say(f"booting {image.release.name} once, to put a boot loader on its disk")
            with _booted(image, replace(hardware, boot="direct"), f"loader-{target.stem[-12:]}") as guest:
                guest.succeed(f"/usr/local/lib/kmodlab/install-boot-loader {hardware.kernel_arguments(image)}")
                guest.power_off()
                snapshot.publish(guest.directory / "disk.qcow2", target)
    return target


def list_guests() -> Iterator[Guest]:
    """Yield every guest that has state, running or not, by name."""
    for directory in sorted(guests_dir().glob("[!.]*")):
        if directory.is_dir():
            yield Guest(directory.name)

"""A machine that runs: its QEMU, its console and a shell in it, and what can be done with the three together.

Nothing is started or ended here: `guest/` does that for machines that last, `pool.py` for those that do not.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from kmodlab.errors import CommandFailed, DeadlineExpired, GuestCrashed, KmodlabError, LabError
from kmodlab.process import Deadline
from kmodlab.vm.console import Console
from kmodlab.vm.qemu import Qemu
from kmodlab.vm.shell import UNBOUNDED, CommandResult, ConnectionLost, Shell

#: how long a command may take that nothing else is said of
COMMAND_SECONDS = 600.0
#: how long to wait for what a machine is about to do
WAIT_SECONDS = 120.0
#: between two looks of a wait
_PAUSE = 0.2
#: QEMU's end and that of a connection are the same event: which one is seen first is luck
_END_SECONDS = 2
_OUTPUT = 2000


class Machine:
    """A machine that runs.

    Args:
        who: what sentences call it: `the guest web`.
        qemu: its process.
        console: what it prints.
        shell: the way in.
        most: bytes that a command may print to one of its outputs; more of it ends the command.
    """

    def __init__(self, who: str, qemu: Qemu, console: Console, shell: Shell, *, most: int = UNBOUNDED) -> None:
        self.who = who
        self.qemu = qemu
        self.console = console
        self.shell = shell
        self._most = most

    def check(self, doing: str) -> None:
        """Raise if the machine broke since this was last asked.

        Args:
            doing: what was under way, for the message.

        Raises:
            GuestCrashed: its console shows trouble, or QEMU has ended.
        """
        self.console.check(doing)
        if not self.qemu.alive:
            raise self._ended(doing)

    def _ended(self, doing: str) -> GuestCrashed:
        return GuestCrashed(f"QEMU ended while {doing}", output=self.console.tail())

    def _watch(self, doing: str, deadline: Deadline, late: str, hint: str | None = None) -> Callable[[], None]:
        """Return what ends a wait: the machine broke, or the time is over."""

        def watch() -> None:
            self.check(doing)
            if deadline.expired:
                words = f"{late} within {deadline.seconds:.0f} s"
                raise DeadlineExpired(words, output=self.console.tail(), hint=hint)

        return watch

    def wait_for_shell(
        self, seconds: float, doing: str = "booting", late: str = "did not answer", hint: str | None = None
    ) -> None:
        """Wait until commands can be run.

        Args:
            seconds: deadline.
            doing: what is under way, for messages.
            late: what it did not do where it does not answer.
            hint: what a user can do about that.

        Raises:
            GuestCrashed: its console shows trouble, or QEMU ended.
            DeadlineExpired: it does not answer in time.
            LabError: the way in failed.
        """
        watch = self._watch(doing, Deadline(seconds), f"{self.who} {late}", hint)
        try:
            self.shell.answer(watch)
        except ConnectionLost as lost:
            raise self._lost(lost, doing) from lost

    def _lost(self, lost: ConnectionLost, doing: str, command: str | None = None) -> KmodlabError:
        """Return the error of a connection that ended."""
        if self.qemu.ends_within(_END_SECONDS):
            return self._ended(doing)
        message = f"the {lost.way} to {self.who} failed"
        return LabError(message, command=command, exit_code=lost.exit_code, output=lost.output)

    # -- commands ----------------------------------------------------------------------------------------------

    def execute(self, command: str, seconds: float = COMMAND_SECONDS, *, stdin: bytes = b"") -> CommandResult:
        """Run a shell command, while the console is watched.

        Args:
            command: for the machine's /bin/sh, as root.
            seconds: deadline.
            stdin: bytes for it to read; nothing by default.

        Raises:
            GuestCrashed: the kernel broke meanwhile, or QEMU ended.
            DeadlineExpired: it did not end in time, which is how a machine that hangs shows.
            LabError: the way in failed, QEMU being there.
        """
        doing = f"running `{command}`"
        self.console.unseen()
        watch = self._watch(doing, Deadline(seconds), f"`{command}` did not end")
        try:
            done = self.shell.run(command, watch, stdin=stdin, most=self._most)
        except ConnectionLost as lost:
            self.console.check(doing)
            raise self._lost(lost, doing, command) from lost
        self.console.check(doing)
        return done.text

    def succeed(self, command: str, seconds: float = COMMAND_SECONDS, *, stdin: bytes = b"") -> str:
        """Run a shell command that must exit with 0, and return its standard output.

        Raises:
            CommandFailed: it exited with another status; further errors as `execute`.
        """
        result = self.execute(command, seconds, stdin=stdin)
        if result.status:
            raise self._failed(f"a command failed in {self.who}", command, result)
        return result.stdout

    def fail(self, command: str, seconds: float = COMMAND_SECONDS, *, stdin: bytes = b"") -> str:
        """Run a shell command that must not exit with 0, and return what it printed, errors first.

        Raises:
            CommandFailed: it exited with 0; further errors as `execute`.
        """
        result = self.execute(command, seconds, stdin=stdin)
        if not result.status:
            raise self._failed(f"a command that was to fail succeeded in {self.who}", command, result)
        return result.stderr + result.stdout

    def _failed(self, message: str, command: str, result: CommandResult) -> CommandFailed:
        output = (result.stderr or result.stdout)[-_OUTPUT:]
        return CommandFailed(message, command=command, exit_code=result.status, output=output)

    # -- waits -------------------------------------------------------------------------------------------------

    def wait_until_succeeds(self, command: str, seconds: float = WAIT_SECONDS) -> str:
        """Run a shell command again and again until it exits with 0, and return its standard output.

        Raises:
            DeadlineExpired: it did not in time; `output` has what it said last, and the end of the console.
            GuestCrashed: as `execute`.
        """
        return self._wait(command, seconds, f"`{command}` did not succeed", lambda result: not result.status)

    def wait_for_unit(self, unit: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until a unit of systemd's is active.

        Raises:
            CommandFailed: it has failed, which does not change by itself.
            DeadlineExpired: it is not active in time.
            GuestCrashed: as `execute`.
        """
        command = f"systemctl show --property=ActiveState --value {unit}"

        def active(result: CommandResult) -> bool:
            if result.stdout.strip() == "failed":
                status = self.execute(f"systemctl status --no-pager --lines 20 {unit}")
                raise self._failed(f"the unit {unit} failed in {self.who}", command, status)
            return result.stdout.strip() == "active"

        self._wait(command, seconds, f"the unit {unit} was not active", active)

    def wait_for_open_port(self, port: int, seconds: float = WAIT_SECONDS) -> None:
        """Wait until something in the machine takes connections to a TCP port of its loopback address.

        Raises:
            DeadlineExpired: nothing does in time.
            GuestCrashed: as `execute`.
        """
        command = f"bash -c '</dev/tcp/127.0.0.1/{port}'"
        self._wait(command, seconds, f"port {port} was not open", lambda result: not result.status)

    def wait_for_console_text(self, pattern: str, seconds: float = WAIT_SECONDS) -> re.Match[str]:
        """Wait until the console has a text, from when it began to be followed on, and return where.

        Args:
            pattern: a regular expression; `^` and `$` are a line's.
            seconds: deadline.

        Raises:
            DeadlineExpired: it does not come in time.
            GuestCrashed: its console shows trouble, or QEMU ended.
        """
        watch = self._watch(f"waiting for {pattern!r}", Deadline(seconds), f"the console did not show {pattern!r}")
        wanted = re.compile(pattern, re.MULTILINE)
        while not (found := wanted.search(self.console.text)):
            watch()
            time.sleep(_PAUSE)
        return found

    def _wait(self, command: str, seconds: float, late: str, good: Callable[[CommandResult], bool]) -> str:
        deadline = Deadline(seconds)
        while not good(result := self.execute(command, deadline.remaining + 1)):
            if deadline.expired:
                said = f"exit status {result.status}\n{result.stderr}{result.stdout}"[-_OUTPUT:]
                output = f"{said}\nconsole:\n{self.console.tail()}"
                raise DeadlineExpired(f"{late} within {seconds:.0f} s", command=command, output=output)
            time.sleep(_PAUSE)
        return result.stdout

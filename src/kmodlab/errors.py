"""The one exception tree of the project.

"The test failed", "the guest crashed" and "the lab itself broke" are three different answers to a user,
so they are three branches: `CommandFailed`, `GuestCrashed` and `LabError`.
"""

from __future__ import annotations

from pathlib import Path


class KmodlabError(Exception):
    """Root of every error that the project raises on purpose.

    Args:
        message: what went wrong, one sentence.
        hint: what the user can do about it.
        command: the command that failed, as a shell would show it.
        exit_code: that command's exit status.
        log: the file that tells more.
        output: the last lines that were seen (of a command, of a console).
    """

    #: exit status of the command line when this error ends it
    status = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        command: str | None = None,
        exit_code: int | None = None,
        log: Path | None = None,
        output: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.command = command
        self.exit_code = exit_code
        self.log = log
        self.output = output

    def details(self) -> list[tuple[str, str]]:
        """Return what is known beside the message, as (label, text) pairs in the order to show them."""
        pairs = [
            ("command", self.command),
            ("exit status", None if self.exit_code is None else str(self.exit_code)),
            ("last output", self.output.rstrip() if self.output else None),
            ("log", None if self.log is None else str(self.log)),
            ("hint", self.hint),
        ]
        return [(label, text) for label, text in pairs if text]

    def __str__(self) -> str:
        return "\n".join([self.message, *(f"  {label}: {text}" for label, text in self.details())])


class LabError(KmodlabError):
    """The lab itself broke: the machine lacks something, an image could not be built, QEMU did not start."""

    status = 3


class UsageError(KmodlabError):
    """The user asked for something that does not exist or makes no sense."""

    status = 2


class DeadlineExpired(LabError):
    """An event did not come in time; `output` says what was last seen."""


class Fault(KmodlabError):
    """The project's own code broke, which is no user's fault; `log` has what a report of it needs."""

    #: EX_SOFTWARE in sysexits(3)
    status = 70


class GuestCrashed(KmodlabError):
    """The guest's kernel panicked, oopsed, hung or locked up, or the guest ended by itself."""

    status = 4


class CommandFailed(KmodlabError):
    """A command inside a guest exited with a status other than the one that was asked for."""


class ModuleUnavailable(LabError):
    """A kernel module is not loaded, is another version than this program needs, or may not be asked by this user."""


class Refused(KmodlabError):
    """A kernel module refused a request; `errno` is its error number."""

    def __init__(self, message: str, *, errno: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.errno = errno

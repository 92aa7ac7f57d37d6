"""testinfra's way into a machine for grading: the machine's agent in place of ssh."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import testinfra.backend
from testinfra.backend.base import BaseBackend, CommandResult

from kmodlab.errors import LabError
from kmodlab.vm.agent import TESTS, Agent

_directory = Path()


class Unreachable(RuntimeError):
    """The machine cannot be worked with, which is no answer of its own."""


def reach(name: str, directory: Path) -> str:
    """Make a machine the one that tests of this process work with, and return testinfra's words for it.

    Args:
        name: the machine's.
        directory: the machine's.
    """
    global _directory  # noqa: PLW0603  # testinfra makes backends from a text alone
    _directory = directory
    testinfra.backend.BACKENDS[AgentBackend.NAME] = f"{__name__}.{AgentBackend.__name__}"
    return f"{AgentBackend.NAME}://{name}"


class Answer(CommandResult):  # type: ignore[misc]  # testinfra has no types
    """What a command in the machine came to; in a sentence it is words, where testinfra's has Python's."""

    def __repr__(self) -> str:
        return f"command `{self.backend.decode(self.command)}`: {self.stderr.strip()}"


class AgentBackend(BaseBackend):  # type: ignore[misc]  # testinfra has no types
    """The machine that was named to `reach`.

    Args:
        name: the machine's, as reports show it.
    """

    NAME = "kmodlab"

    def __init__(self, name: str, **kwargs: Any) -> None:  # noqa: ANN401  # as testinfra has it
        super().__init__(name, **kwargs)
        self._agent: Agent | None = None

    #: commands that this process has sent
    sent: ClassVar[int] = 0

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:  # noqa: ANN401  # as testinfra has it
        """Run a command in the machine, by /bin/sh.

        Args:
            command: shell words, with a `%s` for each argument.
            args: put in quoted.

        Raises:
            Unreachable: the machine cannot be reached.
        """
        words = self.get_command(command, *args)
        AgentBackend.sent += 1
        try:
            if self._agent is None:
                self._agent = Agent(_directory, TESTS)
            done = self._agent.run(words, _go_on)
        except (EOFError, LabError) as error:
            raise Unreachable(f"the machine cannot be reached: {error}") from error
        return Answer(self, done.status, self.encode(words), done.out, done.err)

    def get_encoding(self) -> str:
        """Return how guests encode text, which need not be asked for: that takes a Python there, for seconds."""
        return "UTF-8"

    def decode(self, data: bytes) -> str:
        """Return what the machine printed as text: a module may print any bytes, and no test breaks of that."""
        return data.decode("utf-8", "replace")


def _go_on() -> None:
    """Wait without an end: the grader ends this process when a test's time is over."""

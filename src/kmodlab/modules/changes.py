"""What a client changes about the tracer while it looks, and puts back afterwards."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType

from ..errors import KmodlabError, ModuleUnavailable, Refused, UsageError
from .claims import Claims
from .families import members
from .show import note
from .tracer import Tracer
from .wanted import meant

_RETURNS = "returns="
"""A claim that it was changed; what it was before follows."""


class Changes:
    """Changes to the traced calls and to the parameter `returns`, undone at the end of a `with` block.

    What is undone is what was changed here, or by a client that was killed before it could, and nothing else. The
    tracer has one set of calls for all: what several clients have changed is undone by the last of them. A call that
    somebody traces by other means from now on is not traced any more afterwards.

    Args:
        tracer: whose.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._parameter = tracer.machine.returns
        self._added: set[str] = set()
        self._returns: str | None = None
        self._claims = Claims(tracer.machine.claims, self._parameter)

    def __enter__(self) -> Changes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()

    def traced(self) -> set[str]:
        """Return the names of the calls that are traced now."""
        return {call.name for call in self._tracer.calls() if call.traced}

    def trace(self, names: Iterable[str]) -> None:
        """Trace these calls too.

        Args:
            names: families, calls, or `=` and a call.

        Raises:
            UsageError: the kernel has not one of these calls; the hint has one of a similar name.
            Refused: the kernel does not let one of them be traced.
        """
        wanted = list(names)
        try:
            if wanted:
                self._trace(wanted, self._tracer.trace)
        except Refused as error:
            if error.errno != errno.ENOENT:
                raise
            raise self._unknown(wanted) from error

    def trace_some(self, calls: Iterable[str]) -> None:
        """Trace those of these calls that the kernel has, and lets be traced.

        Raises:
            Refused: it takes root.
        """
        if wanted := [f"={name}" for name in sorted(calls)]:
            self._trace(wanted, self._ask_for_some)

    def _ask_for_some(self, wanted: list[str]) -> None:
        try:
            self._tracer.trace(wanted)
        except Refused as error:
            if error.errno == errno.EPERM:
                raise
            # All or none are traced: whatever is in the way is in one of the halves.
            if half := len(wanted) // 2:
                self._ask_for_some(wanted[:half])
                self._ask_for_some(wanted[half:])

    def _trace(self, wanted: list[str], ask: Callable[[list[str]], None]) -> None:
        with self._together() as others:
            before = self.traced()
            ask(wanted)
            now = self.traced()
            self._added |= now - before | now & members(wanted) & others

    def record_returns(self) -> None:
        """Have calls recorded at their return, with what they returned.

        Raises:
            Refused: it takes root.
        """
        with self._together() as others:
            before = next((one[len(_RETURNS) :] for one in others if one.startswith(_RETURNS)), None)
            before = before or self._parameter.read_text().strip()
            if before in ("1", "Y"):
                return
            try:
                self._parameter.write_text("1\n")
            except OSError as error:
                raise Refused(f"{self._parameter} cannot be set: {error.strerror}", errno=error.errno or 0) from error
            self._returns = before

    def restore(self) -> None:
        """Put back what was changed; say so where that is not possible."""
        with self._together() as others:
            try:
                if self._returns is not None and f"{_RETURNS}{self._returns}" not in others:
                    self._parameter.write_text(f"{self._returns}\n")
                if alone := self._added - others:
                    self._tracer.trace([f"={name}" for name in sorted(alone)], on=False)
            except (FileNotFoundError, ModuleUnavailable):
                pass  # the module has gone, and with it what was changed
            except (OSError, KmodlabError) as error:
                note(f"the tracer could not be put back as it was: {error}")
            self._added, self._returns = set(), None

    @contextlib.contextmanager
    def _together(self) -> Iterator[set[str]]:
        """Keep other clients from changing anything, give what they have changed, and tell them what this one has.

        What one that was killed has left is this one's from now on.
        """
        with self._claims.together() as others:
            left = self._claims.left
            self._added |= {one for one in left if not one.startswith(_RETURNS)}
            if self._returns is None:
                self._returns = next((one[len(_RETURNS) :] for one in left if one.startswith(_RETURNS)), None)
            yield others
            returns = set() if self._returns is None else {f"{_RETURNS}{self._returns}"}
            self._claims.claim(self._added | returns)

    def _unknown(self, wanted: list[str]) -> UsageError:
        bad = next((name for name in wanted if not self._exists(name)), wanted[0])
        hint = meant(bad, (call.name for call in self._tracer.calls()))
        return UsageError(f"this kernel has no system call {bad}", hint=hint)

    def _exists(self, name: str) -> bool:
        """Return whether the tracer knows a call, by having it untraced where it is not traced."""
        try:
            if not members([name]) & self.traced():
                self._tracer.trace([name], on=False)
        except Refused as error:
            return error.errno != errno.ENOENT
        return True

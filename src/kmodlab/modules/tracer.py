"""The system-call tracer of this machine, by its netlink family: what it does, its filters, and its records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, fields
from types import TracebackType
from typing import TypeVar, cast

from ..errors import KmodlabError, ModuleUnavailable
from .decode import Signature, comm_text
from .filters import Filter
from .machine import HERE, Machine
from .netlink import told_as
from .record import CALL, COMM, COMPAT, FLAGS, Record, Row, record
from .spec import Values
from .stream import Stream


@dataclass(frozen=True)
class Status:
    """What the tracer is doing; counts are since the module was loaded.

    Attributes:
        version: of the module.
        entries: records kept for each CPU.
        data_bytes: bytes kept of the paths and addresses of one call.
        enforcing: whether blocked calls do not run.
        hook: how calls are hooked, `ftrace` or `kprobe`.
        returns: whether calls are recorded at their return.
        issued: calls that were counted: logged + overwritten + dropped.
        logged: records in the log.
        overwritten: records that made room for newer ones.
        dropped: calls that interrupted the recording of another one.
        missed: calls that the kernel skipped the probe for.
        in_flight: calls that have not returned yet, with `returns`.
        orphaned: calls whose return could not be seen any more.
        returns_missed: calls recorded at entry, because too many were in flight.
        excluded: calls of processes that are left out; they are not issued.
        left_out: the processes whose calls are left out just now.
        generation: another number after each change of the filters, of what is traced, and of what `calls` returns.
    """

    version: str
    entries: int
    data_bytes: int
    enforcing: bool
    hook: str
    returns: bool
    issued: int
    logged: int
    overwritten: int
    dropped: int
    missed: int
    in_flight: int
    orphaned: int
    returns_missed: int
    excluded: int
    left_out: tuple[int, ...]
    generation: int


@dataclass(frozen=True)
class Call:
    """A system call that was named since the module was loaded.

    Attributes:
        id: in records, until the module goes.
        name: what users call it.
        arguments: a letter for each, see the specification.
        traced: whether it is traced now.
        missed: times that the kernel skipped the probe.
        compat_arguments: a letter for each register of a 32-bit program's call.
        issued: times that it was counted since load, whatever became of the records.
        blocked: of these, how many a filter blocks.
        failed: of these, how many were recorded at their return, and returned an error.
    """

    id: int
    name: str
    arguments: str
    traced: bool
    missed: int
    compat_arguments: str
    issued: int
    blocked: int
    failed: int


Told = TypeVar("Told", Status, Call)


def _filled(kind: type[Told], values: Values) -> Told:
    told = {name.replace("-", "_"): value for name, value in values.items()}
    missing = [field.name for field in fields(kind) if field.name not in told]
    if missing:
        raise ModuleUnavailable(
            f"the syscall_tracer that is loaded is older than this program: it does not tell {', '.join(missing)}",
            hint="module and program belong together: deploy both from the same checkout",
        )
    return kind(**told)


class Tracer:
    """A connection to the tracer. The constructor connects; a `with` block closes it.

    Args:
        machine: whose tracer it is.

    Raises:
        ModuleUnavailable: there is no tracer, or not one that this program knows; the hint says what to do.
    """

    def __init__(self, machine: Machine = HERE) -> None:
        self.machine = machine
        self._link = machine.connect()
        self._signatures: dict[tuple[int, bool], Signature] = {}
        self._data_bytes = 0

    def __enter__(self) -> Tracer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    # -- asking --------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Return what the tracer is doing."""
        values = self._link.do("status-get")
        values["enforcing"] = bool(values.pop("mode"))
        values["returns"] = bool(values["returns"])
        values["left-out"] = tuple(values.get("left-out", ()))
        return _filled(Status, values)

    def issued(self) -> dict[int, int]:
        """Return how many calls each CPU has counted."""
        return {cpu["cpu"]: cpu["issued"] for cpu in self._link.dump("cpu-get")}

    def counters(self) -> dict[int, tuple[int, int, int, int, int]]:
        """Return what each CPU has counted: calls issued, logged and overwritten, dropped; and excluded."""
        names = ("issued", "logged", "overwritten", "dropped", "excluded")
        found = {each["cpu"]: tuple(each.get(name, 0) for name in names) for each in self._link.dump("cpu-get")}
        return cast("dict[int, tuple[int, int, int, int, int]]", found)

    def calls(self) -> list[Call]:
        """Return the calls that were traced or named since the module was loaded."""
        told = self._link.dump("call-get")
        return [_filled(Call, {**each, "traced": bool(each["traced"])}) for each in told]

    def filters(self) -> list[Filter]:
        """Return the filters, in the order they are tried."""
        return [Filter.of(each) for each in self._link.dump("filter-get")]

    # -- changing ------------------------------------------------------------------------------------------------

    def trace(self, names: Sequence[str], on: bool = True) -> None:
        """Start to trace calls, or stop to: all of them or, when one is refused, none.

        Args:
            names: families, or `=` and a call.
            on: False to stop.

        Raises:
            Refused: with ENOENT, the kernel has not one of these calls.
        """
        with told_as("the calls cannot be traced" if on else "the calls cannot be untraced"):
            self._link.do("call-set", name=list(names), traced=int(on))

    def add_filter(self, one: Filter) -> None:
        """Add a filter behind the others; it starts to trace the calls that it is about.

        Raises:
            Refused: the tracer does not take it, and says why.
        """
        with told_as(f"the filter `{one}` is refused"):
            self._link.do("filter-add", **one.values())

    def delete_filters(self, name: str) -> None:
        """Remove every filter that was added under exactly this name.

        Raises:
            Refused: with ENOENT, there is none.
        """
        with told_as(f"the filters of {name} cannot be removed"):
            self._link.do("filter-del", name=name)

    def clear_filters(self) -> None:
        """Remove all filters."""
        with told_as("the filters cannot be removed"):
            self._link.do("filter-clear")

    def leave_out(self, pid: int) -> None:
        """Have the calls of a process left out, for everybody, until this connection is closed.

        Args:
            pid: of whom records are handed to, in the initial PID namespace.

        Raises:
            Refused: with ESRCH, there is none; with ENOSPC, too many are left out.
        """
        with told_as(f"the calls of process {pid} cannot be left out"):
            self._link.do("leave-out", pid=pid)

    # -- records -------------------------------------------------------------------------------------------------

    def stream(self, leave_out: bool = False) -> Stream:
        """Return the stream of records, as they are made from now on; to be closed.

        Args:
            leave_out: have the calls of this process left out, for everybody, until the stream is closed. They are
                counted as excluded.

        Raises:
            Refused: it takes root; or, with ENOSPC, too many processes are left out.
        """
        with told_as("the records cannot be listened to"), contextlib.ExitStack() as undo:
            link = self.machine.connect()
            undo.callback(link.close)
            if leave_out:
                link.do("leave-out")
            stream = Stream(link)
            # Who asks for the status after it has joined hears of all calls since.
            self.status()
            stream.begin(self.issued())
            undo.pop_all()
        return stream

    def events(self, on_lost: Callable[[int], None] | None = None) -> Generator[Record, None, None]:
        """Yield the records of all processes as they are made, for as long as one takes them.

        Args:
            on_lost: called with a number when so many records were lost.
        """
        with contextlib.closing(self.stream()) as stream:
            told = 0
            while True:
                stream.receive(1.0)
                for row in stream.take():
                    yield self.record(row)
                if on_lost and stream.lost > told:
                    on_lost(stream.lost - told)
                told = stream.lost

    def signature(self, row: Row) -> Signature:
        """Return what call a row is of, and how its arguments are shown."""
        key = row[CALL], bool(row[FLAGS] & COMPAT)
        found = self._signatures.get(key)
        if found is None:
            self._learn()
            found = self._signatures.get(key)
        if found is None:
            raise KmodlabError(f"the tracer sent a record of the call {row[CALL]}, and knows no such call")
        return found

    def record(self, row: Row) -> Record:
        """Return a row with all that is text in it decoded."""
        signature = self.signature(row)
        return record(row, signature.name, signature.arguments(row), comm_text(row[COMM]))

    def _learn(self) -> None:
        self._data_bytes = self._data_bytes or self.status().data_bytes
        for call in self.calls():
            for compat, kinds in ((False, call.arguments), (True, call.compat_arguments)):
                self._signatures[call.id, compat] = Signature(call.name, kinds, self._data_bytes, compat)

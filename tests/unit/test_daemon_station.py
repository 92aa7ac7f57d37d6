"""A recorder in a process of its own: what it tells, what it is asked, and what happens when either is gone."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from patience import SECONDS

from kmodlab.daemon import lister, wire
from kmodlab.daemon.collector import Live
from kmodlab.daemon.desk import Desk, listening
from kmodlab.daemon.items import Changed, Feed, Item, Settings
from kmodlab.daemon.recorder import LATE, SOON
from kmodlab.daemon.remote import Remote
from kmodlab.daemon.station import Local, newer
from kmodlab.errors import KmodlabError, ModuleUnavailable, Refused, UsageError
from unit.live_source import proc_of

from .daemon_tape import Tape


@dataclass
class Hand:
    """A feed that brings what it is given, and refuses what it is told to."""

    patient: bool = False
    state: str = ""
    error: Exception | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)
    watched: bool = True

    def __post_init__(self) -> None:
        self._items: list[Item] = []
        self._come = threading.Condition()

    def give(self, *items: Item) -> None:
        with self._come:
            self._items += items
            self._come.notify_all()

    def receive(self, seconds: float) -> list[Item]:
        with self._come:
            self._come.wait_for(lambda: bool(self._items), min(seconds, 0.05))
            found, self._items = self._items, []
        return found

    def attend(self, is_watched: bool) -> None:
        self.watched = is_watched

    def leave_out(self, pid: int) -> None:
        self.left_out.append(pid)

    def control(self, command: str, who: str) -> None:
        self.asked.append((command, who))
        if self.error:
            raise self.error
        self.give(Changed(1, who, command, Settings(filters=(command,))))

    def close(self) -> None:
        """Nothing is held."""


@contextlib.contextmanager
def recorder(folder: Path, feed: Feed, proc: Path = Path("/nowhere")) -> Iterator[Local]:
    """A recorder and its desk, as `kmodlabd record` has them."""
    folder.mkdir(exist_ok=True)
    station = Local(feed, folder)
    desk = Desk(station, listening(folder.parent / "socket"), lambda: lister.opened(proc))
    station.start(desk.tell)
    desk.start()
    try:
        yield station
    finally:
        station.stop()
        desk.close()


def wait(until: Callable[[], bool]) -> None:
    """Wait for something, with a deadline."""
    end = time.monotonic() + SECONDS
    while not until():
        assert time.monotonic() < end
        time.sleep(0.01)


def held(folder: Path) -> int:
    """How many descriptors this process has of files in a folder."""
    found = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum(path.is_relative_to(folder) for path in found)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with a task lister."""
    return proc_of(tmp_path / "proc", "counts\n", "rows\n" * 9000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the history."""
    return tmp_path / "history"


def collector(folder: Path) -> Live:
    """The other process's part."""
    return Live(Remote(folder.parent / "socket"), folder)


def test_the_books_close_over_the_socket_as_in_one_process(folder: Path) -> None:
    feed, tape = Hand(), Tape(size=200)
    with recorder(folder, feed), collector(folder) as live:
        feed.give(*tape.begin(), *tape.batches(20_000), tape.counters())
        live.wait(lambda tick: tick.ledger.get("rolled", 0) == 20_000, SECONDS)
        for _ in range(20):
            feed.give(*tape.batches(400))
            assert live.ledger().open() == []
        live.wait(lambda tick: tick.ledger.get("rolled", 0) == 28_000, SECONDS)
        assert live.ledger().totals()["stored"] == 28_000
        assert live.machine().state == "recording"
        feed.state = "no module"
        feed.give(tape.counters())
        wait(lambda: live.machine().state == "no module")


def test_the_task_listers_files_are_opened_by_who_may_and_read_by_who_asks(folder: Path, proc: Path) -> None:
    """The module goes and comes back meanwhile, and so does the recorder."""
    remote = Remote(folder.parent / "socket")
    files = lister.Files(remote.open_tasks)
    with pytest.raises(KmodlabError, match="the recorder does not run"):
        files.stats()
    remote.start(lambda: None)
    with recorder(folder, Hand(), proc):
        wait(lambda: remote.state != "no recorder")
        assert files.stats().text == "counts\n"
        wait(lambda: held(proc) == 2)
        assert (files.listing().text, files.listing().moment.boot) == ("rows\n" * 9000, "b007")
        files.close()
        (proc / lister.LIST).rename(proc / "gone")
        for _ in range(3):
            with pytest.raises(ModuleUnavailable, match="the module task_lister is not loaded on this machine") as said:
                files.listing()
            assert "modprobe task_lister" in str(said.value.hint)
        (proc / "gone").rename(proc / lister.LIST)
        assert files.listing().text == "rows\n" * 9000
    wait(lambda: remote.state == "no recorder")
    assert files.stats().text == "counts\n", "what was handed over is still there"
    files.close()
    remote.stop()
    assert held(proc) == 0


def test_it_is_hung_up_on_a_recorder_that_has_said_nothing_yet(folder: Path) -> None:
    remote = Remote(folder.parent / "socket")
    with listening(folder.parent / "socket") as mute:
        remote.start(lambda: None)
        connection, _ = mute.accept()
        with connection:
            assert next(wire.lines(connection))["kind"] == "attend"
            ending = threading.Thread(target=remote.stop, daemon=True)
            ending.start()
            ending.join(SECONDS)
            assert not ending.is_alive()


def test_files_that_nobody_waits_for_any_more_are_closed(
    folder: Path, proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = Remote(folder.parent / "socket")
    gate = threading.Event()

    def late() -> lister.Opened:
        gate.wait(SECONDS)
        return lister.opened(proc)

    monkeypatch.setattr("kmodlab.daemon.remote.OPEN_SECONDS", 0.01)
    remote.start(lambda: None)
    folder.mkdir()
    station = Local(Hand(), folder)
    desk = Desk(station, listening(folder.parent / "socket"), late)
    station.start(desk.tell)
    desk.start()
    wait(lambda: remote.state != "no recorder")
    with pytest.raises(KmodlabError, match="the recorder does not answer"):
        remote.open_tasks()
    monkeypatch.undo()
    gate.set()
    opened = lister.Files(remote.open_tasks)
    assert opened.stats().text == "counts\n"
    wait(lambda: held(proc) == 2)
    opened.close()
    station.stop()
    desk.close()
    remote.stop()


def test_who_opens_never_reads_and_a_fault_is_told(folder: Path) -> None:
    remote = Remote(folder.parent / "socket")
    remote.start(lambda: None)
    with recorder(folder, Hand()):
        wait(lambda: remote.state != "no recorder")
        with pytest.raises(KmodlabError, match=r"the task lister: .*No such file"):
            remote.open_tasks()
    remote.stop()


def test_the_recorder_goes_and_comes_back(folder: Path) -> None:
    """Meanwhile the history answers and says so; what was made in between is in the books as that."""
    feed, tape = Hand(), Tape(size=200, lossy=False)
    with collector(folder) as live:
        with recorder(folder, feed):
            feed.give(*tape.begin(), *tape.batches(1000), tape.counters())
            live.wait(lambda tick: tick.ledger.get("rolled", 0) == 1000, SECONDS)
            wait(lambda: live.machine().state == "recording")
        wait(lambda: live.machine().state == "no recorder")
        assert live.ledger().troubles == ("the recorder does not run: what happens now is not recorded",)
        with pytest.raises(KmodlabError, match="the recorder does not run"):
            live.control("clear", "ada")
        assert live.ledger().open() == []
        with recorder(folder, feed):
            feed.give(*tape.begin(), *tape.batches(600), tape.counters())
            live.wait(lambda tick: tick.ledger.get("rolled", 0) == 1600, SECONDS)
            wait(lambda: live.machine().state == "recording")
            assert live.ledger().troubles == ()
        assert live.ledger().open() == []


def test_the_collector_goes_and_the_recorder_records_on(folder: Path) -> None:
    feed, tape = Hand(), Tape(size=200, lossy=False)
    with recorder(folder, feed) as station:
        with collector(folder) as live:
            feed.give(*tape.begin(), *tape.batches(1000))
            live.wait(lambda tick: tick.ledger.get("rolled", 0) == 1000, SECONDS)
        feed.give(*tape.batches(1000))
        wait(lambda: sum(terms["stored"] for terms in station.ledger().values()) == 2000)
        with collector(folder) as live:
            live.wait(lambda tick: tick.ledger.get("rolled", 0) == 2000, SECONDS)
            assert live.ledger().open() == []


def test_it_is_written_less_often_where_nobody_looks(folder: Path) -> None:
    """The recorder is told who looks, told again when it comes back, and takes it that nobody does who is not there."""
    feed = Hand()
    with collector(folder) as live:
        for _ in range(2):
            with recorder(folder, feed) as station:
                for looks in (False, True, False):
                    live.attend(looks)
                    wait(lambda looks=looks: station.recorder.pace == (SOON if looks else LATE))  # type: ignore[misc]
                    assert feed.watched is looks
                live.attend(True)
                wait(lambda: station.recorder.pace == SOON)
                live.attend(False)
            wait(lambda: live.machine().state == "no recorder")
    with recorder(folder, feed) as station:
        with collector(folder):
            wait(lambda: station.recorder.pace == SOON)
        wait(lambda: station.recorder.pace == LATE)


def test_who_looks_while_the_recorder_comes_back_is_told_of(folder: Path) -> None:
    """Between the first line to it and its first answer there is no connection yet: what changes then is said after."""
    remote = Remote(folder.parent / "socket")
    with listening(folder.parent / "socket") as slow:
        remote.attend(False)
        remote.start(lambda: None)
        connection, _ = slow.accept()
        with connection:
            connection.settimeout(SECONDS)
            told = wire.lines(connection)
            assert next(told) == {"kind": "attend", "watched": False}
            remote.attend(True)
            wire.send(connection, "state", **wire.State(state="recording").fields())
            assert next(told) == {"kind": "attend", "watched": True}
    remote.stop()


@pytest.mark.parametrize(
    "error",
    [
        Refused("the filter is refused: it takes no path (EINVAL)", errno=22, hint="see there"),
        UsageError("it is no filter", hint="NAME block"),
        ModuleUnavailable("the module is not loaded"),
        KmodlabError("something else"),
    ],
)
def test_a_command_goes_up_and_its_refusal_comes_down_as_it_is(folder: Path, error: KmodlabError) -> None:
    feed, tape = Hand(), Tape(size=200)
    with recorder(folder, feed), collector(folder) as live:
        feed.give(*tape.begin())
        wait(lambda: live.machine().state == "recording")
        live.control("unlink block", "ada")
        wait(lambda: live.machine().filters == ("unlink block",))
        feed.error = error
        with pytest.raises(type(error)) as raised:
            live.control("getpid block path=/x", "ada")
        assert (raised.value.message, raised.value.hint) == (error.message, error.hint)
        assert getattr(raised.value, "errno", None) == getattr(error, "errno", None)
        assert feed.asked == [("unlink block", "ada"), ("getpid block path=/x", "ada")]


def test_both_processes_are_the_daemons_own(folder: Path) -> None:
    feed = Hand()
    with recorder(folder, feed) as station, collector(folder) as live:
        wait(lambda: live.machine().state == "recording")
        assert station.own == live._station.own == {os.getpid()}
        assert feed.left_out == [os.getpid()], "once: whoever calls again is known"


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b"[]",
        b'{"kind": 1}',
        b'{"kind": "control", "number": "1", "command": "clear", "who": "ada"}',
        b'{"kind": "control", "number": 1, "command": "cl\\near", "who": "ada"}',
        b'{"kind": "control", "number": 1, "command": "", "who": "ada"}',
        b'{"kind": "attend", "watched": 1}',
        json.dumps({"kind": "control", "number": 1, "command": "x" * 1025, "who": "ada"}).encode(),
        b"x" * (1 << 15),
    ],
)
def test_who_sends_what_is_no_command_is_hung_up_on(folder: Path, line: bytes) -> None:
    """And the recorder goes on for the others."""
    feed = Hand()
    with recorder(folder, feed), socket.socket(socket.AF_UNIX) as wild, collector(folder) as live:
        wild.settimeout(SECONDS)
        wild.connect(str(folder.parent / "socket"))
        with contextlib.suppress(ConnectionError):
            wild.sendall(line if len(line) > wire.COMMAND_LETTERS * 2 else line + b"\n")
            while wild.recv(1 << 16):
                pass
        wait(lambda: live.machine().state == "recording")
        live.control("clear", "ada")
        assert feed.asked == [("clear", "ada")]


def test_another_users_process_is_sent_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorder(folder, Hand()), socket.socket(socket.AF_UNIX) as other:
        monkeypatch.setattr(wire, "peer", lambda _: None)
        other.settimeout(SECONDS)
        other.connect(str(folder.parent / "socket"))
        assert other.recv(100) == b""


def test_a_recorder_of_another_user_is_not_believed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whoever asks; the recorder has its own thoughts of who does."""
    monkeypatch.setattr(wire, "peer", lambda connection: 1 if connection.getsockname() else None)
    with recorder(folder, Hand()), collector(folder) as live:
        live.wait(lambda tick: tick.number > 2, SECONDS)
        assert live.machine().state == "no recorder"


def test_the_newer_of_two_ledgers_is_taken_for_each_cpu() -> None:
    journal = {(1, 0): {"received": 5, "stored": 5}, (1, 1): {"received": 3, "stored": 3}}
    told = {(1, 0): {"received": 4, "stored": 2}, (1, 1): {"received": 3, "stored": 3, "issued": 9}}
    assert newer(journal, told) == {(1, 0): journal[1, 0], (1, 1): told[1, 1]}

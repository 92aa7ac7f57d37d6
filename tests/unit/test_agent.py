"""The agent that runs commands in a machine, compiled here and reached as there; and a machine that talks nonsense."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import SECONDS

from kmodlab.errors import LabError
from kmodlab.grading.backend import AgentBackend, reach
from kmodlab.process import Deadline
from kmodlab.vm.agent import OWNER, SOURCE, TESTS, Agent
from kmodlab.vm.shell import ConnectionLost, Done


@contextlib.contextmanager
def listening(directory: Path, port: str) -> Iterator[socket.socket]:
    """QEMU's end of a port."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(directory / f"{port}.sock"))
        listener.listen()
        yield listener


def carry(listener: socket.socket, machine: socket.socket) -> None:
    """Pass on what is said from a port's end to the other, as QEMU does."""
    connection, _ = listener.accept()

    def pass_on(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := one.recv(1 << 16):
                other.sendall(said)

    threading.Thread(target=pass_on, args=(connection, machine), daemon=True).start()
    pass_on(machine, connection)
    connection.close()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent, for this host."""
    binary = tmp_path_factory.mktemp("agent") / "agent"
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-o", binary, SOURCE], check=True)
    return binary


@pytest.fixture
def directory(program: Path, tmp_path: Path) -> Iterator[Path]:
    """A machine's: an agent waits at its port for tests, a socket in place of a virtio-serial port."""
    ours, theirs = socket.socketpair()
    with (
        ours,
        listening(tmp_path, TESTS) as listener,
        subprocess.Popen([program, "-"], stdin=theirs.fileno()) as process,
    ):
        theirs.close()
        threading.Thread(target=carry, args=(listener, ours), daemon=True).start()
        (tmp_path / "pid").write_text(str(process.pid))
        yield tmp_path
        process.kill()


@pytest.fixture
def agent(directory: Path) -> Iterator[Agent]:
    """A connection to it."""
    with contextlib.closing(Agent(directory, TESTS)) as connection:
        yield connection


class Late(Exception):
    """What the watch raises."""


def patience() -> Callable[[], None]:
    """A watch that waits for half a minute, which no test comes near."""
    deadline = Deadline(SECONDS)

    def watch() -> None:
        assert not deadline.expired

    return watch


def run(agent: Agent, words: str, stdin: bytes = b"") -> Done:
    """Run a command, with patience."""
    return agent.run(words, patience(), stdin=stdin)


def test_a_command_gives_both_outputs_and_its_status(agent: Agent) -> None:
    agent.answer(patience())
    assert run(agent, "echo one; echo two >&2; exit 3") == Done(3, b"one\n", b"two\n")
    assert run(agent, "kill -9 $$") == Done(137, b"", b"")
    home = "/root" if os.access("/root", os.X_OK) else "/"
    assert run(agent, "echo $0 $HOME $USER; pwd").out == f"sh /root root\n{home}\n".encode()


def test_input_and_output_may_be_large(agent: Agent) -> None:
    assert run(agent, "wc -c", bytes(3 << 20)) == Done(0, b"3145728\n", b"")
    assert run(agent, "head -c 5000000 /dev/zero").out == bytes(5_000_000)
    assert run(agent, "cat", bytes(range(256)) * 8192).out == bytes(range(256)) * 8192
    assert run(agent, "exec <&-; sleep 0.1; echo done", bytes(1 << 20)).out == b"done\n"


def test_a_command_goes_on_while_someone_holds_its_output(agent: Agent) -> None:
    assert run(agent, "{ sleep 0.3; echo later; } & echo first").out == b"first\nlater\n"


def test_more_output_than_wanted_ends_a_command(agent: Agent) -> None:
    done = agent.run("yes", patience(), most=100_000)
    assert not done.whole
    assert 100_000 <= len(done.out) < 200_000
    assert run(agent, "echo next") == Done(0, b"next\n", b"")


def test_who_gives_up_ends_the_command_and_its_children(agent: Agent, tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def watch() -> None:
        if begun.exists():
            raise Late

    with pytest.raises(Late):
        agent.run(f"sleep 4321 & echo $! >{begun}.new; mv {begun}.new {begun}; wait", watch)
    child = int(begun.read_text())
    assert run(agent, "echo next") == Done(0, b"next\n", b"")
    deadline = Deadline(SECONDS)
    while Path(f"/proc/{child}").exists():
        assert not deadline.expired, "the child is still there"
        time.sleep(0.01)


def test_a_command_that_hangs_does_not_keep_others_waiting(agent: Agent) -> None:
    with pytest.raises(Late):
        agent.run("trap '' TERM; exec setsid sleep 3", watch=raising)
    assert run(agent, "echo next") == Done(0, b"next\n", b"")


def raising() -> None:
    """Give up at once."""
    raise Late


def test_tests_work_with_the_machine_through_testinfra(directory: Path) -> None:
    assert reach("slot-1", directory) == "kmodlab://slot-1"
    backend = AgentBackend("slot-1")
    assert backend.get_pytest_id() == "kmodlab://slot-1"
    shown = backend.run("printf %%s %s; echo é >&2; exit 4", "a b")
    assert (shown.rc, shown.stdout, shown.stderr) == (4, "a b", "é\n")


def test_a_machine_that_cannot_be_reached_is_no_answer(tmp_path: Path) -> None:
    reach("slot-2", tmp_path)
    with pytest.raises(RuntimeError, match="cannot be reached"):
        AgentBackend("slot-2").run("true")


def message(kind: bytes, number: int, content: bytes = b"", length: int | None = None) -> bytes:
    """What a machine says."""
    return struct.pack("!cII", kind, number, len(content) if length is None else length) + content


ENDED = message(b"x", 1, struct.pack("!I", 0))


@pytest.mark.parametrize(
    ("said", "sense"),
    [
        (message(b"o", 1, length=1 << 20), "a message of 1048576 bytes"),
        (message(b"?", 1, b"what"), "makes no sense"),
        (message(b"x", 1, b"long status"), "makes no sense"),
        (message(b"f", 1, b"no memory"), "starts no command: no memory"),
    ],
)
def test_nonsense_is_refused(said: bytes, sense: str, tmp_path: Path) -> None:
    with listening(tmp_path, OWNER) as listener, contextlib.closing(Agent(tmp_path, OWNER)) as agent:
        connection, _ = listener.accept()
        connection.sendall(said)
        with pytest.raises(LabError, match=sense):
            agent.run("true", patience())
        connection.close()


def test_what_is_said_to_an_earlier_command_is_not_heard(tmp_path: Path) -> None:
    with listening(tmp_path, OWNER) as listener, contextlib.closing(Agent(tmp_path, OWNER)) as agent:
        connection, _ = listener.accept()
        with pytest.raises(Late):
            agent.run("first", raising)
        late = message(b"o", 1, b"late") + ENDED
        connection.sendall(late + message(b"o", 2, b"now") + message(b"x", 2, struct.pack("!I", 7)))
        assert agent.run("second", patience()) == Done(7, b"now", b"")
        connection.close()


def test_the_end_of_the_machine_is_noticed(tmp_path: Path) -> None:
    with listening(tmp_path, OWNER) as listener, contextlib.closing(Agent(tmp_path, OWNER)) as agent:
        connection, _ = listener.accept()
        connection.sendall(message(b"o", 1, b"half")[:-2])
        connection.close()
        with pytest.raises(ConnectionLost, match="the machine has ended"):
            agent.run("true", patience())

"""What can be done with a machine: its QEMU is a process that looks like one, and its ssh a shell of this host."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import SECONDS

from kmodlab.errors import CommandFailed, DeadlineExpired, GuestCrashed, LabError
from kmodlab.process import Deadline
from kmodlab.vm.console import Log
from kmodlab.vm.machine import Machine
from kmodlab.vm.qemu import Qemu
from kmodlab.vm.shell import CommandResult
from kmodlab.vm.ssh import Ssh

from .conftest import FakeProgram
from .stand_in import stand_in

#: stands for ssh: runs the last word here
_HERE = 'for last; do :; done; exec sh -c "$last"'


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A machine's."""
    (tmp_path / "web").mkdir()
    return tmp_path / "web"


@pytest.fixture
def machine(directory: Path, fake_program: FakeProgram) -> Iterator[Machine]:
    """A guest that runs."""
    fake_program("ssh", _HERE)
    (directory / "console.log").write_text("Linux version 6.1\n")
    with stand_in(directory):
        yield _machine(directory)


def _machine(directory: Path, most: int = 1 << 62) -> Machine:
    console = Log(directory / "console.log", 0)
    return Machine("the guest web", Qemu(directory), console, Ssh(directory, "web"), most=most)


def _later(do: Callable[[], object]) -> None:
    """Do something once whoever calls this waits."""
    threading.Timer(0.3, do).start()


def _print(machine: Machine, words: str) -> None:
    with machine.qemu.directory.joinpath("console.log").open("a") as log:
        log.write(f"{words}\n")


# -- commands ------------------------------------------------------------------------------------------------------


def test_a_command_gives_its_status_and_both_streams(machine: Machine) -> None:
    assert machine.execute("echo out; echo err >&2; exit 7") == CommandResult(7, "out\n", "err\n")
    assert machine.execute("cat", stdin=b"abc") == CommandResult(0, "abc", "")
    assert machine.execute("cat") == CommandResult(0, "", "")
    assert machine.execute("exec >&- 2>&-; sleep 0.4; exit 3") == CommandResult(3, "", ""), (
        "that it prints no more is no end"
    )


def test_succeed_and_fail_are_each_others_opposite(machine: Machine) -> None:
    assert machine.succeed("echo fine") == "fine\n"
    assert machine.fail("echo out; echo err >&2; exit 2") == "err\nout\n"
    with pytest.raises(CommandFailed, match="a command failed in the guest web") as caught:
        machine.succeed("echo why >&2; exit 2")
    assert (caught.value.command, caught.value.exit_code, caught.value.output) == ("echo why >&2; exit 2", 2, "why\n")
    with pytest.raises(CommandFailed, match="a command that was to fail succeeded in the guest web") as caught:
        machine.fail("echo fine")
    assert caught.value.output == "fine\n"


def test_a_command_that_does_not_end_is_ended_with_its_children(machine: Machine, tmp_path: Path) -> None:
    child = tmp_path / "child"
    with pytest.raises(DeadlineExpired, match=r"`sleep 4321 .*` did not end within 1 s") as caught:
        machine.execute(f"sleep 4321 & echo $! >{child}; wait", 1)
    assert caught.value.output == "Linux version 6.1"
    deadline = Deadline(SECONDS)
    while Path(f"/proc/{child.read_text().strip()}").exists():
        assert not deadline.expired, "the child is still there"


def test_output_is_taken_in_within_bounds(machine: Machine, directory: Path) -> None:
    assert len(machine.execute("head -c 3000000 /dev/zero").stdout) == 3_000_000
    bounded = _machine(directory, most=100_000).execute("yes", 30)
    assert bounded.status == 137
    assert 100_000 <= len(bounded.stdout) < 200_000
    assert _machine(directory, most=100_000).execute("yes >&2", 30).status == 137


def test_trouble_on_the_console_ends_a_command_at_once(machine: Machine) -> None:
    _later(lambda: _print(machine, "BUG: made up"))
    with pytest.raises(GuestCrashed, match="the guest's kernel broke while running `sleep 4321`: BUG: made up"):
        machine.execute("sleep 4321")


def test_trouble_before_a_command_is_no_news(machine: Machine) -> None:
    _print(machine, "BUG: made up")
    assert machine.succeed("echo fine") == "fine\n"


def test_trouble_that_a_short_command_makes_is_not_missed(machine: Machine, directory: Path) -> None:
    with pytest.raises(GuestCrashed, match="BUG: made up"):
        machine.execute(f"echo 'BUG: made up' >>{directory}/console.log")


def test_qemus_end_ends_a_command_at_once(machine: Machine) -> None:
    _later(machine.qemu.kill)
    with pytest.raises(GuestCrashed, match="QEMU ended while running `sleep 4321`") as caught:
        machine.execute("sleep 4321")
    assert caught.value.output == "Linux version 6.1"


def test_a_connection_that_fails_with_qemu_is_qemus_end(machine: Machine) -> None:
    """Both are one event: QEMU's end may be seen a moment after the connection's."""
    _later(machine.qemu.kill)
    with pytest.raises(GuestCrashed, match="QEMU ended while running `exit 255`"):
        machine.execute("exit 255")


def test_a_connection_that_fails_alone_is_the_labs_fault(machine: Machine) -> None:
    with pytest.raises(LabError, match="the ssh connection to the guest web failed") as caught:
        machine.execute("echo refused >&2; exit 255")
    assert (caught.value.exit_code, caught.value.output) == (255, "refused\n")


# -- waits ---------------------------------------------------------------------------------------------------------


def test_a_command_is_run_until_it_succeeds(machine: Machine, tmp_path: Path) -> None:
    _later((tmp_path / "there").touch)
    assert machine.wait_until_succeeds(f"test -e {tmp_path}/there && echo yes", 30) == "yes\n"


def test_a_command_that_never_succeeds_is_told_with_what_was_seen_last(machine: Machine) -> None:
    with pytest.raises(DeadlineExpired, match="`echo not yet; exit 4` did not succeed within 0 s") as caught:
        machine.wait_until_succeeds("echo not yet; exit 4", 0.3)
    assert caught.value.output == "exit status 4\nnot yet\n\nconsole:\nLinux version 6.1"


def test_a_wait_ends_with_the_machine(machine: Machine) -> None:
    _later(machine.qemu.kill)
    with pytest.raises(GuestCrashed):
        machine.wait_until_succeeds("false", 60)


#: stands for systemctl: the state of the one unit is in a file
_SYSTEMCTL = 'case "$1" in show) cat {0};; status) echo "● web.service: why"; exit 3;; esac'


def test_a_unit_is_waited_for(machine: Machine, fake_program: FakeProgram, tmp_path: Path) -> None:
    state = tmp_path / "state"
    fake_program("systemctl", _SYSTEMCTL.format(state))
    state.write_text("activating\n")
    with pytest.raises(DeadlineExpired, match=r"the unit web\.service was not active within 0 s") as caught:
        machine.wait_for_unit("web.service", 0.3)
    assert "activating" in (caught.value.output or "")
    _later(lambda: state.write_text("active\n"))
    machine.wait_for_unit("web.service", 30)


def test_a_unit_that_has_failed_is_not_waited_for(machine: Machine, fake_program: FakeProgram, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("failed\n")
    fake_program("systemctl", _SYSTEMCTL.format(tmp_path / "state"))
    begun = time.monotonic()
    with pytest.raises(CommandFailed, match=r"the unit web\.service failed in the guest web") as caught:
        machine.wait_for_unit("web.service", 60)
    assert caught.value.output == "● web.service: why\n"
    assert time.monotonic() - begun < 30


def test_a_port_is_waited_for(machine: Machine) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        with pytest.raises(DeadlineExpired, match=f"port {port} was not open within 0 s"):
            machine.wait_for_open_port(port, 0.3)
        _later(server.listen)
        machine.wait_for_open_port(port, 30)


def test_a_text_on_the_console_is_waited_for(machine: Machine) -> None:
    assert machine.wait_for_console_text(r"^Linux version (\S+)$")[1] == "6.1"
    _later(lambda: _print(machine, "\x1b[1mlogin: \x1b[0m"))
    machine.wait_for_console_text("^login: $", 30)
    with pytest.raises(DeadlineExpired, match="the console did not show 'goodbye' within 0 s") as caught:
        machine.wait_for_console_text("goodbye", 0.3)
    assert (caught.value.output or "").splitlines()[-1] == "login: "


def test_trouble_ends_the_wait_for_a_text(machine: Machine) -> None:
    _later(lambda: _print(machine, "Kernel panic - not syncing: made up"))
    with pytest.raises(GuestCrashed, match="broke while waiting for 'login': Kernel panic"):
        machine.wait_for_console_text("login", 60)


def test_a_shell_that_never_answers(machine: Machine) -> None:
    with pytest.raises(DeadlineExpired, match="the guest web did not offer ssh within 0 s") as caught:
        machine.wait_for_shell(0.3, late="did not offer ssh", hint="be patient")
    assert caught.value.hint == "be patient"
    machine.qemu.kill()
    with pytest.raises(GuestCrashed, match="QEMU ended while booting"):
        machine.wait_for_shell(60)

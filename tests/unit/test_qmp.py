"""QMP against a server on a real socket: answers, refusals, events, silence."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from kmodlab.errors import LabError
from kmodlab.vm import qmp
from kmodlab.vm.qemu import Qemu

from .fake_qmp import Answer, FakeQmp, Hangup, Message

EVENT: Message = {"event": "RTC_CHANGE", "data": {"offset": 0}, "timestamp": {"seconds": 1, "microseconds": 0}}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory whose path alone is longer than a socket's may be."""
    deep = tmp_path.joinpath(*["a-directory-of-some-length"] * 6)
    deep.mkdir(parents=True)
    assert len(str(deep)) > 108
    return deep


def _always(*messages: Message) -> Answer:
    return lambda _: list(messages)


def test_a_command_and_its_answer(directory: Path) -> None:
    with FakeQmp(directory, _always({"return": {"status": "running"}})) as server:
        assert qmp.execute(directory, "query-status", {"detail": True}) == {"status": "running"}
    assert [(asked["execute"], asked["arguments"]) for asked in server.received] == [("query-status", {"detail": True})]


def test_a_second_command_finds_the_server_again(directory: Path) -> None:
    with FakeQmp(directory, _always({"return": {}})) as server:
        assert qmp.execute(directory, "stop") == qmp.execute(directory, "cont") == {}
    assert [asked["execute"] for asked in server.received] == ["stop", "cont"]


def test_events_between_are_no_answer(directory: Path) -> None:
    with FakeQmp(directory, _always(EVENT, EVENT, {"return": 7}, EVENT)):
        assert qmp.execute(directory, "query-number") == 7


def test_a_refusal_is_an_error_with_qemus_words(directory: Path) -> None:
    refusal: Message = {"error": {"class": "CommandNotFound", "desc": "The command frob has not been found"}}
    with FakeQmp(directory, _always(refusal)), pytest.raises(LabError) as caught:
        qmp.execute(directory, "frob")
    assert caught.value.message == "QEMU refused frob: The command frob has not been found"
    assert caught.value.log == directory / "qemu.log"


def test_silence_ends_at_the_deadline(directory: Path) -> None:
    with FakeQmp(directory, lambda _: None), pytest.raises(LabError, match="QEMU does not answer stop: TimeoutError"):
        qmp.execute(directory, "stop", seconds=0.3)


def test_a_server_that_does_not_greet_ends_at_the_deadline(directory: Path) -> None:
    with (
        FakeQmp(directory, lambda _: None, greets=False),
        pytest.raises(LabError, match="QEMU does not answer stop: TimeoutError"),
    ):
        qmp.execute(directory, "stop", seconds=0.3)


def test_a_connection_closed_amid_a_command(directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def hang_up(_: Message) -> list[Message]:
        raise Hangup

    with FakeQmp(directory, hang_up), pytest.raises(LabError, match="QEMU does not answer stop: "):
        qmp.execute(directory, "stop", seconds=60)
    assert capfd.readouterr().err == ""


def test_nobody_listens(directory: Path) -> None:
    with pytest.raises(LabError, match="QEMU does not answer stop: ConnectError"):
        qmp.execute(directory, "stop", seconds=5)


def test_a_socket_that_its_server_left_behind(directory: Path) -> None:
    with FakeQmp(directory, _always({"return": {}})):
        pass
    with pytest.raises(LabError, match="QEMU does not answer stop: ConnectError"):
        qmp.execute(directory, "stop", seconds=5)


def test_a_guest_without_a_directory(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="QEMU does not answer stop: FileNotFoundError"):
        qmp.execute(tmp_path / "absent", "stop")


def test_a_line_of_the_human_monitor(directory: Path) -> None:
    with FakeQmp(directory, _always({"return": ""})) as server:
        assert qmp.human(directory, "savevm ready") == ""
    assert server.received[0]["arguments"] == {"command-line": "savevm ready"}


def test_an_error_of_the_human_monitor_is_one(directory: Path) -> None:
    words = "Error while writing VM state: No space left on device\r\n"
    with FakeQmp(directory, _always({"return": words})), pytest.raises(LabError) as caught:
        qmp.human(directory, "savevm ready")
    assert caught.value.message == "QEMU's savevm failed: Error while writing VM state: No space left on device"


USERNET = """Hub -1 (net):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   21       127.0.0.1 41000       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]  14       127.0.0.1 40123       10.0.2.15    22     0     0
"""


def test_the_forwarded_port_is_read_from_the_monitor(directory: Path) -> None:
    with FakeQmp(directory, _always({"return": USERNET})):
        assert Qemu(directory).ssh_port() == 40123


def test_a_machine_that_forwards_nothing(directory: Path) -> None:
    table = "\n".join(line for line in USERNET.splitlines() if "HOST_FORWARD" not in line)
    with FakeQmp(directory, _always({"return": table})), pytest.raises(LabError) as caught:
        Qemu(directory).ssh_port()
    assert caught.value.message == "QEMU forwards no port to the guest's ssh"
    assert caught.value.output == table


def test_a_socket_at_which_nobody_listens_yet(tmp_path: Path) -> None:
    assert not qmp.listens(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "qmp.sock"))
        assert not qmp.listens(tmp_path)
        server.listen()
        assert qmp.listens(tmp_path)


def test_a_look_whether_it_listens_does_not_keep_others_out(directory: Path) -> None:
    with FakeQmp(directory, _always({"return": 7})):
        assert qmp.listens(directory)
        assert qmp.execute(directory, "query-number") == 7


def test_several_commands_are_answered_one_after_the_other(directory: Path) -> None:
    with FakeQmp(directory, _always(EVENT, {"return": 7})) as server, qmp.connected(directory) as ask:
        assert [ask("query-number"), ask("query-number", {"of": "x"})] == [7, 7]
    assert [asked["execute"] for asked in server.received] == ["query-number", "query-number"]
    assert server.received[1]["arguments"] == {"of": "x"}


def test_a_refusal_over_a_connection_is_the_same_error(directory: Path) -> None:
    refusal: Message = {"error": {"class": "GenericError", "desc": "no"}}
    with (
        FakeQmp(directory, _always(refusal)),
        qmp.connected(directory) as ask,
        pytest.raises(LabError, match="QEMU refused frob: no"),
    ):
        ask("frob")


def test_silence_on_a_connection_ends_at_the_deadline(directory: Path) -> None:
    with (
        FakeQmp(directory, lambda _: None),
        qmp.connected(directory, seconds=0.3) as ask,
        pytest.raises(LabError, match="does not answer stop"),
    ):
        ask("stop")


def test_where_there_is_no_server_there_is_no_connection(directory: Path) -> None:
    with pytest.raises(LabError, match="QEMU does not answer connect"), qmp.connected(directory):
        pass

"""`kmodlab dashboard`, as far as it goes without a guest: what it says of one that is not as it should be."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from kmodlab import dashboard
from kmodlab.dashboard import Invitation
from kmodlab.errors import LabError, UsageError
from kmodlab.vm.shell import CommandResult


class Answers:
    """A guest that gives one answer after another."""

    name = "lab"

    def __init__(self, *answers: tuple[int, str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    def execute(self, command: str) -> CommandResult:
        self.asked.append(command)
        status, said = self._answers.pop(0)
        return CommandResult(status, said, said)


def invited(*answers: tuple[int, str], seconds: float = 60.0) -> tuple[Invitation, list[str]]:
    """Return what a guest gives, and what the user was told."""
    said: list[str] = []
    return dashboard.invite(Answers(*answers), said.append, seconds), said  # type: ignore[arg-type]


def test_a_daemon_that_starts_is_waited_for() -> None:
    ending, starting = [(3, "no"), (0, "deactivating\n")], [(3, "no"), (0, "activating\n")]
    given = (0, '{"token": "t", "port": 8480}')
    assert invited(*ending, *starting, *starting, given) == (Invitation("t", 8480), ["The daemon is starting."])


@pytest.mark.parametrize(
    ("answers", "error", "words"),
    [
        ([(127, "")], UsageError, "the guest lab has no daemon"),
        ([(3, "cannot be asked"), (3, "inactive\n")], LabError, "does not answer: it is inactive"),
        ([(3, "cannot be asked"), (3, "failed\n")], LabError, "does not answer: it is failed"),
    ],
)
def test_what_is_wrong_is_said(answers: list[tuple[int, str]], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        invited(*answers)


def test_a_hub_is_asked_by_its_own_socket() -> None:
    guest = Answers((0, '{"token": "t", "port": 8481}'))
    assert dashboard.invite(guest, server=dashboard.HUB).port == 8481  # type: ignore[arg-type]
    assert guest.asked == ["/usr/local/sbin/kmodlabd invite --json --socket /run/kmodlab/hub/socket"]


def test_a_guest_without_a_hub() -> None:
    guest = Answers((3, "cannot be asked"), (3, "inactive\n"))
    with pytest.raises(LabError, match="the hub of the guest lab does not answer: it is inactive") as raised:
        dashboard.invite(guest, server=dashboard.HUB)  # type: ignore[arg-type]
    assert guest.asked[1] == "systemctl is-active kmodlab-hub"
    assert "`lab_dashboard_hub` brings it" in str(raised.value)


def test_one_that_starts_for_ever_is_given_up() -> None:
    with pytest.raises(LabError, match="it is activating"):
        invited((3, "no"), (0, "activating\n"), seconds=0)


def test_a_guest_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMODLAB_STATE_DIR", str(tmp_path))
    with pytest.raises(UsageError, match="gone") as raised:
        dashboard.show("gone")
    assert "kmodlab guest up" in str(raised.value)


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="cannot be listened on: Address already in use"):
            dashboard.free_port(taken.getsockname()[1])


def test_a_tunnel_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\necho no route >&2\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    made: Any = Answers()
    made.ssh_config = tmp_path / "config"
    with pytest.raises(LabError, match="there is no tunnel to the guest lab") as raised, dashboard.tunnel(made, 1, 2):
        pass
    assert (raised.value.exit_code, raised.value.output) == (255, "no route\n")

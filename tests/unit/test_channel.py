"""The shell that stays on the machine under test, with a shell of this machine in its place."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from testinfra.backend.local import LocalBackend
from testinfra.backend.ssh import SshBackend

from kmodlab.contract.channel import Channel, open_channel


@pytest.fixture
def channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:
    """A channel whose ssh runs the command here."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nfor word; do :; done\nexec sh -c "$word"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path('/usr/bin')}:{Path('/bin')}")
    channel = open_channel(SshBackend("somewhere"), "sh")
    assert channel
    yield channel
    channel.close()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("echo out", (0, "out\n", "")),
        ("printf 'no newline'", (0, "no newline", "")),
        ("true", (0, "", "")),
        ("printf '%s\\n' a '' b; echo wrong >&2; exit 3", (3, "a\n\nb\n", "wrong")),
        ("exec printf 'ü'", (0, "ü", "")),
        ("cat", (0, "", "")),
        ("cd /; x=1", (0, "", "")),
    ],
)
def test_a_command_is_as_one_of_its_own(channel: Channel, command: str, answer: tuple[int, str, str]) -> None:
    """Its output to the byte, its errors, its status; and the next one starts where the first did."""
    here = channel.run("pwd; echo $x")
    assert channel.run(command) == answer
    assert channel.run("pwd; echo $x") == here


def test_what_is_left_running_holds_nobody_up(channel: Channel) -> None:
    """A daemon that a command has started, and that has closed what it was given, is not waited for."""
    status, pid, _ = channel.run("sleep 1000 </dev/null >/dev/null 2>&1 & echo $!")
    assert status == 0
    channel.close()
    os.kill(int(pid), signal.SIGKILL)


def test_a_shell_that_is_gone_is_an_error(channel: Channel) -> None:
    """The machine is lost with it, for all one knows."""
    with pytest.raises(RuntimeError, match="the shell on the machine ended"):
        channel.run("kill -KILL $PPID; kill -KILL $$")


def test_other_ways_to_a_machine_have_none() -> None:
    """Where it is not ssh that reaches the machine, each command is testinfra's."""
    assert open_channel(LocalBackend(), "sh") is None

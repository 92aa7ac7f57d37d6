"""How a guest is reached: key, configuration, greeting."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kmodlab import paths
from kmodlab.host import Host
from kmodlab.vm import ssh

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS"


def _parsed(config: Path, host: str) -> dict[str, str]:
    """What ssh itself makes of a configuration."""
    done = subprocess.run(["ssh", "-G", "-F", config, host], capture_output=True, text=True, check=True)
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line)


@pytest.mark.parametrize("name", ["web", "a directory with blanks", "100% Übung", "%h %% %C"])
def test_ssh_understands_the_configuration(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    directory.mkdir()
    config = ssh.write_config(directory, "web", 40123, HOST_KEY)
    assert config == directory / "ssh_config"
    parsed = _parsed(config, "web")
    expected = {
        "hostname": "127.0.0.1",
        "port": "40123",
        "user": "root",
        "hostkeyalias": "kmodlab-web",
        "identityfile": str(ssh.lab_key()),
        "identitiesonly": "yes",
        "stricthostkeychecking": "true",
        "userknownhostsfile": str(directory / "known_hosts"),
        "controlmaster": "auto",
        "controlpersist": "3600",
    }
    assert {key: parsed[key].strip('"') for key in expected} == expected
    assert (directory / "known_hosts").read_text() == f"kmodlab-web {HOST_KEY}\n"


def test_the_configuration_is_for_that_guest_alone(tmp_path: Path) -> None:
    config = ssh.write_config(tmp_path, "web", 40123, HOST_KEY)
    assert _parsed(config, "elsewhere")["port"] == "22"


def test_known_hosts_is_what_ssh_looks_a_guest_up_in(tmp_path: Path) -> None:
    ssh.write_config(tmp_path, "web", 40123, HOST_KEY)
    argv = ["ssh-keygen", "-F", "kmodlab-web", "-f", str(tmp_path / "known_hosts")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert HOST_KEY in done.stdout


def _control_path(tmp_path: Path) -> Path:
    (tmp_path / "guest").mkdir(exist_ok=True)
    config = ssh.write_config(tmp_path / "guest", "web", 40123, HOST_KEY)
    return Path(_parsed(config, "web")["controlpath"])


def test_control_sockets_live_in_the_runtime_directory(
    tmp_path: Path, near: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(near))
    assert _control_path(tmp_path).parent == near


@pytest.mark.parametrize("beside", [True, False])
def test_a_machines_own_control_socket_is_never_too_deep(
    near: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    """ssh takes 17 bytes more than the path has, of 107."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    longest = ssh.CONTROL_PATH - len(f"{near}/") - len("/ssh")
    (directory := near / ("x" * (longest + (not beside)))).mkdir()
    config = ssh.write_config(directory, "web", 40123, HOST_KEY, quick=True)
    path = Path(_parsed(config, "web")["controlpath"])
    assert (path.parent == directory) is beside
    assert (path.parent == ssh.control_dir()) is not beside
    assert ssh.CONTROL_PATH == 107 - 17
    assert ssh.CONTROL_PATH - len("/kmodlab-") - 40 == ssh.CONTROL_DIR


def test_control_sockets_stay_out_of_a_directory_that_others_can_enter(
    tmp_path: Path, near: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near.chmod(0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(near))
    assert _control_path(tmp_path).parent != near


def test_control_sockets_have_paths_that_the_kernel_takes(
    tmp_path: Path, near: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's path has 107 bytes at most, and ssh appends 17 while it makes the socket."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(near))
    longest = near / ("x" * (ssh.CONTROL_DIR - len(str(near)) - 1))
    for directory, expected in ((longest, longest), (longest.with_name(longest.name + "x"), None)):
        directory.mkdir(mode=0o700)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
        found = _control_path(tmp_path)
        assert len(str(found)) + 17 <= 107
        assert found.parent == expected or (expected is None and found.parent != directory)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{longest}/kmodlab-{'0' * 40}.{'X' * 16}")


def test_without_a_place_for_it_no_connection_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMODLAB_STATE_DIR", str(tmp_path / ("x" * 60)))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    paths.state_dir().mkdir()
    (tmp_path / "guest").mkdir()
    config = ssh.write_config(tmp_path / "guest", "web", 40123, HOST_KEY, host=Host(near=tmp_path / "none"))
    assert "controlpath" not in _parsed(config, "web")


@pytest.mark.parametrize("value", ["", "relative", "/nonexistent/run/user/0"])
def test_a_runtime_directory_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    assert _control_path(tmp_path).parent.name == f"kmodlab-{os.getuid()}"


def test_the_key_is_made_once_and_is_the_users_alone() -> None:
    key = ssh.lab_key()
    made = key.read_bytes()
    assert key == paths.key_dir() / "id_ed25519"
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert ssh.lab_key().read_bytes() == made
    assert key.with_suffix(".pub").read_text().split() == ["ssh-ed25519", ssh.lab_public_key(), "kmodlab"]


def test_a_key_that_was_left_half_made_is_made_anew() -> None:
    key = paths.key_dir() / "id_ed25519"
    key.parent.mkdir(parents=True)
    key.write_text("half a")
    assert ssh.lab_public_key() == key.with_suffix(".pub").read_text().split()[1]
    subprocess.run(["ssh-keygen", "-y", "-f", key], check=True, capture_output=True)


@contextmanager
def _server(words: bytes | None) -> Iterator[int]:
    """A server on a loopback port that says its words, or nothing until the client leaves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                if words is None:
                    connection.recv(1)
                else:
                    connection.sendall(words)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join()


@pytest.mark.parametrize(
    ("words", "greets"),
    [(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", True), (b"HTTP/1.1 400 Bad Request\r\n", False), (b"", False)],
)
def test_only_an_ssh_server_greets(words: bytes, greets: bool) -> None:
    with _server(words) as port:
        assert ssh.greets(port) is greets


def test_a_connection_that_stays_silent_is_no_greeting() -> None:
    with _server(None) as port:
        assert ssh.greets(port, 0.2) is False


def test_a_closed_port_is_no_greeting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    assert ssh.greets(port) is False

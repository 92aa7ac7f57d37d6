"""`kmodlab doctor`: each lack of a host is named, with the fix."""

from __future__ import annotations

import http.server
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from kmodlab import doctor, paths
from kmodlab.doctor import Finding
from kmodlab.guest import trust
from kmodlab.guest.accelerator import qemu_binary

from .conftest import FakeProgram, make_image


@pytest.fixture
def closed_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class _Archive(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Know one release, and nothing else."""
        found = self.path == "/debian/dists/bookworm/InRelease"
        self.send_response(200 if found else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


@pytest.fixture
def archive_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of an archive on the loopback address, reached without a proxy."""
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Archive) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def host(debian_host: None, fake_program: FakeProgram, archive_port: int) -> FakeProgram:
    """A Debian host that lacks nothing: every program is a stand-in, the archive is on loopback."""
    del debian_host
    fake_program("apt-get", f"echo 'Debian|http://127.0.0.1:{archive_port}/debian/|bookworm|main'")
    fake_program("apt-config", "exit 0")
    for name in (*doctor.PROGRAMS, qemu_binary(), "newuidmap"):
        fake_program(name, "exit 0")
    return fake_program


def _examine() -> dict[str, Finding]:
    return {finding.subject: finding for finding in doctor.examine()}


def test_a_host_that_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "BUILD_SPACE", 1)
    monkeypatch.setattr(doctor, "MEMORY", 1)
    found = _examine()
    assert [finding for finding in found.values() if not finding.good] == []
    assert {*doctor.PROGRAMS, qemu_binary(), "cache directory", "state directory", "memory"} < set(found)
    assert found["archive"].detail.endswith("/debian/dists/bookworm/InRelease answers")


@pytest.mark.parametrize(
    ("program", "package"), [("qemu-img", "qemu-utils"), ("mmdebstrap", "mmdebstrap"), ("ssh", "openssh-client")]
)
def test_a_missing_program_is_named_with_its_package(
    host: FakeProgram, monkeypatch: pytest.MonkeyPatch, program: str, package: str
) -> None:
    fakes = host("another", "exit 0").parent
    (fakes / program).unlink()
    monkeypatch.setenv("PATH", str(fakes))
    monkeypatch.setattr(shutil, "which", _which_on_path(fakes))
    finding = _examine()[program]
    assert finding == Finding(program, False, "not installed", f"apt-get install {package}")


def _which_on_path(directory: Path) -> object:
    """`shutil.which` of a host whose system directories hold nothing either."""

    def which(name: str, path: str | None = None) -> str | None:
        del path
        return str(directory / name) if (directory / name).exists() else None

    return which


def test_a_missing_emulator_is_named_with_its_package(host: FakeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = host("another", "exit 0").parent
    (fakes / qemu_binary()).unlink()
    monkeypatch.setattr(shutil, "which", _which_on_path(fakes))
    finding = _examine()[qemu_binary()]
    assert not finding.good
    assert finding.fix.startswith("apt-get install qemu-system-")


@pytest.mark.parametrize("subject", ["cache", "state"])
def test_a_full_disk_is_named_with_what_is_needed(monkeypatch: pytest.MonkeyPatch, subject: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=7 << 20))
    finding = _examine()[f"{subject} directory"]
    directory = paths.cache_dir() if subject == "cache" else paths.state_dir()
    assert (finding.good, finding.detail) == (False, f"7 MiB free in {directory}")
    assert "`kmodlab image prune`" in finding.fix
    assert f"KMODLAB_{subject.upper()}_DIR" in finding.fix


def test_little_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MEMORY", 1 << 40)
    finding = _examine()["memory"]
    assert not finding.good
    assert finding.detail.endswith(" MiB available")
    assert "--memory 512" in finding.fix


def test_an_archive_that_does_not_answer_is_named(host: FakeProgram, closed_port: int) -> None:
    host("apt-get", f"echo 'Debian|http://127.0.0.1:{closed_port}/debian/|bookworm|main'")
    finding = _examine()["archive"]
    assert not finding.good
    assert finding.detail.startswith(f"http://127.0.0.1:{closed_port}/debian/dists/bookworm/InRelease: ")
    assert "Connection refused" in finding.detail
    assert finding.fix == "check network, proxy and /etc/apt/sources.list*"


def test_an_archive_without_the_release_is_named(host: FakeProgram, archive_port: int) -> None:
    host("apt-get", f"echo 'Debian|http://127.0.0.1:{archive_port}/other/|bookworm|main'")
    finding = _examine()["archive"]
    assert not finding.good
    assert "404" in finding.detail


def test_apt_that_knows_no_archive_is_named(host: FakeProgram) -> None:
    host("apt-get", "exit 0")
    finding = _examine()["apt sources"]
    assert (finding.good, finding.detail) == (False, "apt knows no archive of debian")
    assert finding.fix.startswith("run `apt-get update` once")


def test_the_keys_of_the_other_distribution_are_no_lack_but_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trust, "KEYRINGS", {name: tmp_path / name for name in trust.KEYRINGS})
    found = _examine()
    assert "keys of debian" not in found
    assert found["keys of ubuntu"] == Finding(
        "keys of ubuntu", True, "not there: images of ubuntu need `apt-get install ubuntu-keyring`"
    )
    (tmp_path / "ubuntu").touch()
    assert _examine()["keys of ubuntu"] == Finding("keys of ubuntu", True, str(tmp_path / "ubuntu"))
    monkeypatch.setenv("KMODLAB_UBUNTU_KEYRING", "/no/such/file")
    finding = _examine()["keys of ubuntu"]
    assert (finding.good, finding.detail) == (False, "there is no file /no/such/file")
    assert finding.fix == "KMODLAB_UBUNTU_KEYRING names it: name another, or none"


def test_the_mirror_that_the_user_names_is_the_one_that_is_asked(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("KMODLAB_DEBIAN_MIRROR", f"http://127.0.0.1:{closed_port}/near")
    finding = _examine()["archive"]
    assert not finding.good
    assert finding.detail.startswith(f"http://127.0.0.1:{closed_port}/near/dists/bookworm/InRelease: ")


def test_a_host_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"ID": "fedora", "PRETTY_NAME": "Fedora 43"})
    lacks = [finding for finding in doctor.examine() if "Fedora 43" in finding.detail]
    assert lacks
    assert all(not finding.good and "vagrant up" in finding.fix for finding in lacks)


def test_emulation_is_no_lack_but_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _examine()["accelerator"].detail.startswith("not probed: that needs an image")
    built = make_image(tmp_path / "image")
    monkeypatch.setattr(doctor, "find_image", lambda _: built)
    monkeypatch.setenv("KMODLAB_ACCEL", "tcg")
    finding = _examine()["accelerator"]
    assert finding.good
    assert "about ten times slower" in finding.detail
    monkeypatch.setenv("KMODLAB_ACCEL", "kvm")
    assert _examine()["accelerator"].detail == "kvm boots a kernel"

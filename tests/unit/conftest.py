"""What the unit tests share: directories of their own, stand-ins for programs, and an image made of text files."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmodlab import environment
from kmodlab.contract.conftest import MARKERS
from kmodlab.image import archive
from kmodlab.image.image import Image
from kmodlab.image.places import Places
from kmodlab.image.release import RELEASES, host_architecture

from . import warm
from .trace_done import Trace, tracer_of

if TYPE_CHECKING:
    from kmodlab.top.client import UnixWay
    from unit.live_server import Live

environment.settle()
# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: what a program of the package imports before it does anything that differs
PROGRAM = (
    "kmodlab.start",
    "kmodlab.cli",
    "kmodlab.doctor",
    "kmodlab.grading.instructor",
    "kmodlab.grading.commands",
    "kmodlab.modules.cli",
    "unit.fake_netlink",
)
#: arm64 is a foreign architecture there, and a release of its own
on_amd64 = pytest.mark.skipif(host_architecture() != "amd64", reason="this machine is no amd64")

#: makes `name` a program of its own that runs a shell script
FakeProgram = Callable[[str, str], Path]


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers of the contract tests, some of which are tried here without a machine."""
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the user's cache, state and environment out of a test, and what was learned of the host out of the next."""
    for name in [name for name in os.environ if name.startswith("KMODLAB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KMODLAB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("KMODLAB_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg-state"))
    archive.host_sources.cache_clear()
    yield
    archive.host_sources.cache_clear()


@pytest.fixture
def near() -> Iterator[Path]:
    """A private directory whose path is short, as that of the user's runtime directory is: sockets fit in."""
    with tempfile.TemporaryDirectory(prefix="kmodlab-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def python() -> Iterator[list[str]]:
    """What stands for `sys.executable` where a program is this package's, which this Python has imported already."""
    with warm.python(*PROGRAM) as argv:
        yield argv


@pytest.fixture(scope="session")
def ansible_python() -> Iterator[list[str]]:
    """The same for Ansible's programs in this checkout, with its own strategy, which takes half as long as mitogen's.

    Ansible has read its settings as it was imported: variables that name others do nothing.
    """
    modules = ("ansible.cli.playbook", "ansible.cli.adhoc", "ansible.plugins.strategy.linear")
    settings = {"ANSIBLE_STRATEGY": "ansible.builtin.linear", "ANSIBLE_NOCOLOR": "1"}
    with warm.python(*modules, **settings) as argv:
        yield argv


@pytest.fixture
def fake_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProgram:
    """A function that puts a shell script on PATH, before the program of the same name."""
    directory = tmp_path / "fake-bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, script: str) -> Path:
        program = directory / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    return make


def plant(directory: Path, files: dict[str, str]) -> None:
    """Write files of one line, by their paths in a directory that is made as they need it: a /proc for instance."""
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(f"{text}\n")


def make_places(directory: Path, **fields: str) -> Places:
    """Make a host's places in a new directory, with nothing in them but what its os-release says.

    Args:
        directory: it is made.
        fields: of os-release(5).
    """
    (directory / "apt" / "sources.list.d").mkdir(parents=True)
    (directory / "apt" / "trusted.gpg.d").mkdir()
    for name in ("keyrings", "emulators", "staging"):
        (directory / name).mkdir()
    (directory / "os-release").write_text("".join(f'{name}="{value}"\n' for name, value in fields.items()))
    return Places(
        os_release=directory / "os-release",
        apt=directory / "apt",
        keyrings=directory / "keyrings",
        ubuntu_suites=directory / "ubuntu.csv",
        emulators=directory / "emulators",
        staging=directory / "staging",
    )


@pytest.fixture
def debian_host(tmp_path: Path) -> Places:
    """A host that runs Debian 12, whatever this one runs."""
    fields = {"ID": "debian", "VERSION_ID": "12", "VERSION_CODENAME": "bookworm", "PRETTY_NAME": "Debian 12"}
    return make_places(tmp_path / "host", **fields)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """An image whose files hold text: enough for all but booting it."""
    return make_image(tmp_path / "cache" / "images" / "debian-12-0123456789ab")


def make_image(
    directory: Path, release: str = "debian-12", kernel: str = "6.1.0-56-cloud-amd64", built: str = ""
) -> Image:
    """Make the files of an image in a new directory: by default one of before it was written down when it is built."""
    directory.mkdir(parents=True)
    for name in ("disk.raw", "vmlinuz", "initrd"):
        (directory / name).write_text(name)
    (directory / "kernel").write_text(f"{kernel}\n")
    (directory / "host_key.pub").write_text(f"ssh-ed25519 AAAA{directory.name} lab\n")
    manifest = {"release": asdict(RELEASES[release]), **({"built": built} if built else {})}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return Image(directory)


@pytest.fixture(scope="module")
def server_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The daemon's server, for all tests of a file."""
    from unit.live_server import running  # most tests need no server, and no libraries of one

    with running(tmp_path_factory.mktemp("live")) as one:
        yield one


@pytest.fixture
def live(server_of_all: Live) -> Live:
    """That server, as if it had just begun."""
    return server_of_all.fresh()


@pytest.fixture
def way(live: Live) -> UnixWay:
    """The way to it for `kmodlab top`."""
    from kmodlab.top.client import UnixWay

    return UnixWay(live.path)


@pytest.fixture
def trace(tmp_path: Path, python: list[str]) -> Trace:
    """A function that runs `kmodlab trace` with a scene for the kernel to play."""
    return tracer_of(tmp_path, python)

"""What a guest that is up says to whoever wants it otherwise."""

from __future__ import annotations

import json

import pytest

from kmodlab.guest import Guest
from kmodlab.image.image import Image
from kmodlab.vm.hardware import Boot

from .conftest import FakeProgram
from .stand_in import stand_in


@pytest.fixture
def web(image: Image) -> Guest:
    """A guest whose files say that it is up: 1024 MiB, two processors, booted directly."""
    guest = Guest("web")
    guest.directory.mkdir(parents=True)
    settings = {"image": image.id, "memory": 1024, "cpus": 2, "boot": "direct"}
    (guest.directory / "guest.json").write_text(json.dumps(settings))
    return guest


def test_a_guest_as_it_is_wanted_says_nothing(web: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    web._warn_of_differences(("debian-12", 1024, 2, "direct"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "wanted",
    [
        ("debian-11", 1024, 2, "direct"),
        ("debian-12", 512, 2, "direct"),
        ("debian-12", 1024, 1, "direct"),
        ("debian-12", 1024, 2, "disk"),
    ],
)
def test_a_guest_that_is_otherwise_says_so(
    web: Guest, capsys: pytest.CaptureFixture[str], wanted: tuple[str, int, int, Boot]
) -> None:
    web._warn_of_differences(wanted)
    said = capsys.readouterr().err
    assert "the guest web is up as debian-12, 1024 MiB, 2 cpus, direct boot, and stays so" in said
    assert "for {}, {} MiB, {} cpus, {} boot take it down first (`kmodlab guest down web`)".format(*wanted) in said


def test_a_command_that_starts_to_read_late_is_fed_all(web: Guest, fake_program: FakeProgram) -> None:
    """More than a pipe holds, and ssh takes it after the first look at the console."""
    web.ssh_config.touch()
    (web.directory / "console.log").touch()
    fake_program("ssh", "sleep 1; wc -c")
    with stand_in(web.directory):
        assert web.succeed("wc -c", stdin=bytes(3 << 20), seconds=30) == f"{3 << 20}\n"

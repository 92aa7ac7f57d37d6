"""Throw-away machines: which of them are left, whose fault it is where one is, and which templates are kept."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest

from kmodlab.errors import LabError
from kmodlab.grading.lab import Lab
from kmodlab.grading.session import Session
from kmodlab.host import Host
from kmodlab.image.image import Image
from kmodlab.paths import project_dir
from kmodlab.vm import template
from kmodlab.vm.agent import OWNER, Agent
from kmodlab.vm.console import BoundedConsole
from kmodlab.vm.machine import Machine
from kmodlab.vm.pool import Slot, answering, own_directory, sweep
from kmodlab.vm.qemu import Qemu
from kmodlab.vm.ssh import Ssh

from .fake_qmp import FakeQmp
from .stand_in import stand_in


def console() -> BoundedConsole:
    """The console of a machine that has said nothing and has ended."""
    ours, theirs = os.pipe()
    os.close(theirs)
    return BoundedConsole(os.fdopen(ours, "rb", buffering=0), 1024)


def test_templates_of_images_that_are_gone_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KMODLAB_CACHE_DIR", str(tmp_path))
    for name in ("debian-12-aa-11", "debian-12-bb-22"):
        (template.templates_dir() / name).mkdir(parents=True)
    assert [path.name for path in template.prune({"debian-12-bb"})] == ["debian-12-aa-11"]
    assert [path.name for path in template.templates_dir().iterdir()] == ["debian-12-bb-22"]


def test_a_machine_that_ends_before_it_answers_is_the_labs_fault(tmp_path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(tmp_path / f"{OWNER}.sock"))
        listener.listen()
        with contextlib.closing(Agent(tmp_path, OWNER)) as agent:
            listener.accept()[0].close()
            with pytest.raises(LabError, match="the machine ended while it was to answer") as caught:
                answering(Qemu(tmp_path), console(), agent)
    assert caught.value.log == tmp_path / "qemu.log"


def test_only_what_a_dead_grader_left_is_swept_away(tmp_path: Path) -> None:
    for name in ("slot-dead", "slot-kept", "template-new"):
        (tmp_path / name).mkdir()
    (tmp_path / "slot-dead" / "disk.qcow2").touch()
    (tmp_path / "slot-dead" / "pid").write_text(f"{os.getpid()}\n")
    (tmp_path / "slot-kept" / "kept").touch()
    removed = sweep(tmp_path)
    assert sorted(path.name for path in removed) == ["slot-dead", "slot-kept"], "the kept one's machine is gone, too"
    assert [path.name for path in tmp_path.iterdir()] == ["template-new"]


def test_one_that_was_kept_stays_while_its_machine_runs(tmp_path: Path) -> None:
    (tmp_path / "slot-kept").mkdir()
    (tmp_path / "slot-kept" / "kept").touch()
    with stand_in(tmp_path / "slot-kept") as process:
        assert sweep(tmp_path) == []
        assert process.poll() is None


def test_the_machine_that_a_dead_owner_left_is_ended(tmp_path: Path) -> None:
    (tmp_path / "slot-dead").mkdir()
    with stand_in(tmp_path / "slot-dead", "stubborn") as process:
        assert [path.name for path in sweep(tmp_path)] == ["slot-dead"]
        assert process.wait(30) == -9


def test_what_is_in_a_directory_of_someone_else_is_not_swept(tmp_path: Path) -> None:
    (tmp_path / "slot-theirs").mkdir()
    assert sweep(tmp_path, Host(user=4242)) == []
    assert (tmp_path / "slot-theirs").exists()


@pytest.mark.parametrize("state", ["io-error", "running"])
def test_a_machine_that_stands_still_for_want_of_room_is_the_hosts_fault(state: str, tmp_path: Path) -> None:
    """QEMU stops a machine where the host's disk is full; all that a test sees is that it hangs."""
    process = Qemu(tmp_path)
    with FakeQmp(tmp_path, lambda _: [{"return": {"status": state, "running": state == "running"}}]):
        if state == "running":
            process.require_room()
            return
        recorded = console()
        slot = Slot(Image(tmp_path), process, recorded, Machine("the machine", process, recorded, Ssh(tmp_path, "x")))
        session = Session(slot, Lab.load(project_dir() / "tests" / "grading" / "lab"), [], tmp_path / "log")
        with pytest.raises(LabError, match="the host has no room left") as caught:
            session.timed_out("the test x did not end within 60 s")
        assert "df -h" in (caught.value.hint or "")
        assert session.finding is None


def test_a_machine_that_has_ended_is_not_asked_for_room(tmp_path: Path) -> None:
    Qemu(tmp_path).require_room()


def test_a_directory_that_was_emptied_meanwhile_is_made_anew(tmp_path: Path) -> None:
    """systemd does so with what a user has in /dev/shm when he logs out."""
    with own_directory(tmp_path / "runtime") as directory:
        assert directory.parent == tmp_path / "runtime"
        assert directory.parent.stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "runtime").iterdir()) == []

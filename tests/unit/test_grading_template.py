"""Where machines for grading write, and which templates are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kmodlab import paths
from kmodlab.errors import GuestCrashed, LabError
from kmodlab.grading import template
from kmodlab.grading.slot import Slot, sweep
from kmodlab.guest.image import Image


def test_machines_write_in_memory_where_there_is_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(template, "_SHARED", tmp_path)
    monkeypatch.setattr(template, "_ROOM", 1)
    directory = template.runtime_dir()
    assert directory.parent == tmp_path
    assert directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("lacking", ["room", "place"])
def test_machines_write_to_the_state_directory_else(
    lacking: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KMODLAB_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(template, "_SHARED", tmp_path if lacking == "room" else tmp_path / "none")
    monkeypatch.setattr(template, "_ROOM", 1 << 60 if lacking == "room" else 1)
    assert template.runtime_dir().parent == paths.state_dir()


def test_a_user_may_name_another_directory(tmp_path: Path) -> None:
    assert template.runtime_dir(tmp_path / "mine") == tmp_path / "mine"


def test_a_directory_of_someone_else_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    with pytest.raises(LabError, match="belongs to another user"):
        template.runtime_dir(tmp_path / "theirs")


def test_templates_of_images_that_are_gone_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KMODLAB_CACHE_DIR", str(tmp_path))
    for name in ("debian-12-aa-11", "debian-12-bb-22"):
        (template.templates_dir() / name).mkdir(parents=True)
    assert [path.name for path in template.prune({"debian-12-bb"})] == ["debian-12-aa-11"]
    assert [path.name for path in template.templates_dir().iterdir()] == ["debian-12-bb-22"]


def test_a_machine_that_ends_before_it_answers_is_the_labs_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def ended(_slot: Slot, _seconds: float) -> None:
        raise GuestCrashed("the machine ended while it was to answer")

    monkeypatch.setattr(Slot, "start", lambda _: None)
    monkeypatch.setattr(Slot, "resume", lambda *_: None)
    monkeypatch.setattr(Slot, "wait_for_agent", ended)
    with pytest.raises(LabError, match="the machine ended"):
        Slot(tmp_path, [], Image(tmp_path)).begin(tmp_path / "state")


def test_only_what_a_dead_grader_left_is_swept_away(tmp_path: Path) -> None:
    for name in ("slot-dead", "slot-kept", "template-new"):
        (tmp_path / name).mkdir()
    (tmp_path / "slot-dead" / "disk.qcow2").touch()
    (tmp_path / "slot-dead" / "pid").write_text(f"{os.getpid()}\n")
    (tmp_path / "slot-kept" / "kept").touch()
    removed = sweep(tmp_path)
    assert sorted(path.name for path in removed) == ["slot-dead", "slot-kept"], "the kept one's machine is gone, too"
    assert [path.name for path in tmp_path.iterdir()] == ["template-new"]

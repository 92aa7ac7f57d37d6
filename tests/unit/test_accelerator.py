"""Which accelerator is chosen, with a stand-in for QEMU that boots or does not."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from kmodlab import paths
from kmodlab.errors import LabError, UsageError
from kmodlab.image.image import Image
from kmodlab.vm import accelerator
from kmodlab.vm.accelerator import Kvm

from .conftest import FakeProgram, make_image, on_amd64

#: says its version, else notes that it was started and what for, then does as `THEN` says
QEMU = """
[ "$1" = --version ] && echo "QEMU emulator version VERSION (Debian)" && echo "Copyright (c)" && exit
echo "$@" >>STARTED
for word; do case $word in file:*) console=${word#file:};; esac; done
THEN
"""
BOOTS = """printf '[    0.000000] Linux version 6.1.0-56-cloud-amd64 (gcc-12)\\r\\n' >"$console"; exec sleep 300"""
HANGS = """printf 'early console\\r\\n' >"$console"; exec sleep 300"""
REFUSES = "exit 1"


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """The file in which the stand-in notes each of its starts."""
    return tmp_path / "started"


@pytest.fixture
def kvm(tmp_path: Path) -> Kvm:
    """A host on which /dev/kvm opens, and a long patience."""
    (device := tmp_path / "kvm").touch()
    (kernels := tmp_path / "boot").mkdir()
    return Kvm(device, kernels, 60)


def _qemu(fake_program: FakeProgram, started: Path, then: str, version: str = "7.2.22") -> None:
    script = QEMU.replace("STARTED", str(started)).replace("THEN", then).replace("VERSION", version)
    fake_program(accelerator.qemu_binary(), script)


def test_kvm_that_boots_a_kernel_is_taken(
    fake_program: FakeProgram, started: Path, image: Image, capsys: pytest.CaptureFixture[str], kvm: Kvm
) -> None:
    _qemu(fake_program, started, BOOTS)
    assert accelerator.choose(image, kvm) == "kvm"
    assert "-accel kvm " in started.read_text()
    assert f"-kernel {image.directory / 'vmlinuz'} " in started.read_text()
    assert capsys.readouterr().err.splitlines() == [
        "kmodlab: /dev/kvm opens: trying whether it boots a kernel",
        "kmodlab: KVM works",
    ]


def test_kvm_that_never_boots_is_not(
    fake_program: FakeProgram, started: Path, image: Image, capsys: pytest.CaptureFixture[str], kvm: Kvm
) -> None:
    _qemu(fake_program, started, HANGS)
    assert accelerator.choose(image, replace(kvm, seconds=0.4)) == "tcg"
    assert "KVM did not boot a kernel within 0.4 s: emulating (TCG)" in capsys.readouterr().err


def test_kvm_that_qemu_cannot_use_is_not(fake_program: FakeProgram, started: Path, image: Image, kvm: Kvm) -> None:
    _qemu(fake_program, started, REFUSES)
    assert accelerator.choose(image, kvm) == "tcg"


def test_the_answer_is_remembered(fake_program: FakeProgram, started: Path, image: Image, kvm: Kvm) -> None:
    _qemu(fake_program, started, BOOTS)
    assert [accelerator.choose(image, kvm) for _ in range(3)] == ["kvm"] * 3
    assert len(started.read_text().splitlines()) == 1
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert json.loads((paths.cache_dir() / "accelerator.json").read_text()) == {
        "host": f"{boot} QEMU emulator version 7.2.22 (Debian)",
        "accelerator": "kvm",
    }


def test_another_qemu_is_tried_anew(fake_program: FakeProgram, started: Path, image: Image, kvm: Kvm) -> None:
    _qemu(fake_program, started, REFUSES)
    assert accelerator.choose(image, kvm) == "tcg"
    _qemu(fake_program, started, BOOTS, version="10.0.2")
    assert accelerator.choose(image, kvm) == "kvm"


@pytest.mark.parametrize("lost", ["other boot", "half a file", "no file"])
def test_an_answer_that_does_not_hold_any_more_is_sought_anew(
    fake_program: FakeProgram, started: Path, image: Image, lost: str, kvm: Kvm
) -> None:
    _qemu(fake_program, started, REFUSES)
    assert accelerator.choose(image, kvm) == "tcg"
    memory = paths.cache_dir() / "accelerator.json"
    if lost == "other boot":
        known = json.loads(memory.read_text())
        memory.write_text(json.dumps({**known, "host": f"00000000{known['host'][8:]}"}))
    elif lost == "half a file":
        memory.write_text(memory.read_text()[:20])
    else:
        memory.unlink()
    _qemu(fake_program, started, BOOTS)
    assert accelerator.choose(image, kvm) == "kvm"


@pytest.mark.parametrize("wish", ["kvm", "tcg"])
def test_a_wish_is_taken_without_a_try(
    fake_program: FakeProgram, started: Path, image: Image, monkeypatch: pytest.MonkeyPatch, wish: str, kvm: Kvm
) -> None:
    _qemu(fake_program, started, REFUSES)
    monkeypatch.setenv("KMODLAB_ACCEL", wish)
    assert accelerator.choose(image, kvm) == wish
    assert not started.exists()


@pytest.mark.parametrize("wish", ["KVM", "hvf", " tcg", "yes"])
def test_a_wish_for_something_else_is_refused(
    image: Image, monkeypatch: pytest.MonkeyPatch, wish: str, kvm: Kvm
) -> None:
    monkeypatch.setenv("KMODLAB_ACCEL", wish)
    with pytest.raises(UsageError) as caught:
        accelerator.choose(image, kvm)
    assert caught.value.message == f"KMODLAB_ACCEL={wish} is not an accelerator"
    assert caught.value.hint == "use auto, kvm or tcg"


def test_a_host_without_kvm_emulates(fake_program: FakeProgram, started: Path, image: Image, kvm: Kvm) -> None:
    kvm.device.unlink()
    _qemu(fake_program, started, BOOTS)
    assert accelerator.choose(image, kvm) == "tcg"
    assert not started.exists()


def test_a_host_without_qemu_says_so(image: Image, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kvm: Kvm) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=f"^{accelerator.qemu_binary()} is not installed"):
        accelerator.choose(image, kvm)


def test_machines_of_others_need_no_image_of_their_own(
    fake_program: FakeProgram, started: Path, image: Image, kvm: Kvm
) -> None:
    """The kernel of any image that is there is booted; without one the host's own; the answer is the same one."""
    _qemu(fake_program, started, REFUSES)
    assert accelerator.choose_for_others(kvm) == "tcg"
    assert f"-kernel {image.directory / 'vmlinuz'} " in started.read_text()
    image.remove()
    host_kernel = kvm.kernels / f"vmlinuz-{os.uname().release}"
    host_kernel.touch()
    assert accelerator.choose_for_others(kvm) == "tcg"
    assert len(started.read_text().splitlines()) == 1
    _qemu(fake_program, started, BOOTS, version="10.0.2")
    assert accelerator.choose_for_others(kvm) == "kvm"
    assert f"-kernel {host_kernel} " in started.read_text()


def test_without_any_kernel_to_try_an_open_kvm_has_to_do(fake_program: FakeProgram, started: Path, kvm: Kvm) -> None:
    """And it is not remembered: the first image that there is will tell."""
    _qemu(fake_program, started, REFUSES)
    assert accelerator.choose_for_others(kvm) == "kvm"
    assert not started.exists()
    make_image(paths.cache_dir() / "images" / "debian-12-0123456789ab")
    assert accelerator.choose_for_others(kvm) == "tcg"


def test_a_host_without_kvm_emulates_the_machines_of_others(kvm: Kvm) -> None:
    kvm.device.unlink()
    assert accelerator.choose_for_others(kvm) == "tcg"


@on_amd64
@pytest.mark.parametrize("wish", ["auto", "kvm", "tcg"])
def test_another_architecture_is_always_emulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Path, wish: str, kvm: Kvm
) -> None:
    monkeypatch.setenv("KMODLAB_ACCEL", wish)
    foreign = make_image(tmp_path / "arm", "debian-12-arm64", "6.1.0-56-cloud-arm64")
    assert accelerator.choose(foreign, kvm) == "tcg"
    assert not started.exists()

"""The QEMU process: its command line, and which process is one's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from kmodlab.errors import LabError
from kmodlab.image.image import Image
from kmodlab.vm import machine, ssh
from kmodlab.vm.machine import Hardware

from .conftest import FakeProgram, make_image, on_amd64
from .fake_qmp import FakeQmp, Message


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The state directory of a guest named web."""
    path = tmp_path / "state" / "guests" / "web"
    path.mkdir(parents=True)
    return path


def _options(argv: list[str]) -> set[tuple[str, str]]:
    return set(pairwise(argv))


def test_the_command_of_an_emulated_guest(image: Image) -> None:
    argv = machine.command("web", image, Hardware(512, 3, "tcg"), port=2222)
    assert argv[0] == f"qemu-system-{os.uname().machine}"
    assert _options(argv) >= {
        ("-name", "kmodlab-web"),
        ("-accel", "tcg,thread=single,tb-size=256"),
        ("-cpu", machine.BOARDS[image.architecture].cpu),
        ("-m", "512"),
        ("-smp", "3"),
        ("-kernel", str(image.directory / "vmlinuz")),
        ("-initrd", str(image.directory / "initrd")),
        ("-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:2222-:22"),
        ("-qmp", "unix:qmp.sock,server=on,wait=off"),
        ("-pidfile", "pid"),
    }
    assert "-loadvm" not in argv


def test_the_command_of_a_resumed_guest_with_hardware_virtualization(image: Image) -> None:
    argv = machine.command("web", image, Hardware(1024, 2, "kvm"), loadvm="ready")
    assert _options(argv) >= {("-accel", "kvm"), ("-cpu", "host"), ("-loadvm", "ready")}
    assert ("-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-:22") in _options(argv)


def test_a_guest_that_boots_from_its_disk_is_given_no_kernel(image: Image) -> None:
    argv = machine.command("web", image, Hardware(512, 1, "tcg", "disk"))
    assert not {"-kernel", "-initrd", "-append"} & set(argv)


def test_a_guest_with_secure_boot_has_firmware_that_guards_its_variables(image: Image) -> None:
    argv = machine.command("web", image, Hardware(512, 1, "tcg", "secure"))
    assert not {"-kernel", "-initrd", "-append"} & set(argv)
    assert _options(argv) >= {
        ("-machine", f"{machine.BOARDS[image.architecture].machine},smm=on"),
        ("-global", "driver=cfi.pflash01,property=secure,value=on"),
        ("-drive", "if=pflash,unit=1,format=raw,file=variables.fd"),
        ("-device", "virtio-blk-pci,drive=root,bootindex=1"),
    }


@pytest.fixture
def arm_image(tmp_path: Path) -> Image:
    """An image of another architecture than that of most machines."""
    return make_image(tmp_path / "cache" / "images" / "arm", "debian-12-arm64", "6.1.0-56-cloud-arm64")


@on_amd64
def test_the_command_of_an_arm64_guest(arm_image: Image) -> None:
    argv = machine.command("web", arm_image, Hardware(512, 1, "tcg"))
    assert argv[0] == "qemu-system-aarch64"
    assert _options(argv) >= {("-machine", "virt"), ("-cpu", "max,pauth-impdef=on")}
    assert "console=ttyAMA0" in argv[argv.index("-append") + 1].split()


def test_the_kernel_learns_who_may_log_in(image: Image) -> None:
    words = Hardware(512, 1, "kvm").kernel_arguments(image).split()
    assert words[-1] == f"kmodlab.key={ssh.lab_public_key()}"
    assert words[:2] == ["root=/dev/vda", "rw"]


@pytest.mark.parametrize(("accelerator", "fixed"), [("kvm", False), ("tcg", True)])
def test_programs_have_one_address_where_their_code_is_translated(image: Image, accelerator: str, fixed: bool) -> None:
    argv = machine.command("web", image, Hardware(512, 1, accelerator))
    assert ("norandmaps" in argv[argv.index("-append") + 1].split()) is fixed


#: ignores the polite ways to end where asked to, and says when it is ready
_STAND_IN = """
import signal, sys
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", file=sys.stderr, flush=True)
signal.pause()
"""


@contextmanager
def _qemu(directory: Path, *words: str, log: str = "console.log") -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like the QEMU of a directory: by its arguments and by the log it holds open."""
    with (directory / log).open("ab") as console:
        argv = [sys.executable, "-c", _STAND_IN, *(words or (f"kmodlab-{directory.name}",))]
        process = subprocess.Popen(argv, stdout=console, stderr=subprocess.PIPE)
    try:
        assert process.stderr
        assert process.stderr.readline() == b"ready\n"
        (directory / "pid").write_text(f"{process.pid}\n")
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_process_of_a_directory_is_known(directory: Path) -> None:
    with _qemu(directory) as process:
        assert machine.pid(directory) == process.pid
    assert machine.pid(directory) is None


@pytest.mark.parametrize("text", ["", "\n", "none\n", "-1\n", "0\n", "4194999\n"])
def test_a_pid_file_that_names_no_process(directory: Path, text: str) -> None:
    (directory / "console.log").touch()
    (directory / "pid").write_text(text)
    assert machine.pid(directory) is None
    assert machine.stop(directory) is False


def test_a_directory_that_is_not_there(directory: Path) -> None:
    assert machine.pid(directory / "absent") is None


def test_a_pid_that_went_to_another_program(directory: Path) -> None:
    with _qemu(directory, "something-else") as process:
        assert machine.pid(directory) is None
        assert machine.stop(directory) is False
        assert process.poll() is None


def test_a_guest_of_the_same_name_in_another_state_directory(directory: Path) -> None:
    with _qemu(directory, log="other.log"):
        (directory / "console.log").touch()
        assert machine.pid(directory) is None


def test_a_guest_whose_name_begins_alike(directory: Path) -> None:
    with _qemu(directory, "kmodlab-web-2"):
        assert machine.pid(directory) is None


def test_a_zombie_is_dead(directory: Path) -> None:
    with _qemu(directory) as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert "Z" in Path(f"/proc/{process.pid}/stat").read_text()
        assert machine.pid(directory) is None


def test_stop_asks_over_qmp_first(directory: Path) -> None:
    with _qemu(directory, "stubborn", "kmodlab-web") as process:

        def quits(command: Message) -> list[Message]:
            assert command["execute"] == "quit"
            process.kill()
            return [{"return": {}}]

        with FakeQmp(directory, quits) as server:
            assert machine.stop(directory) is True
        assert [command["execute"] for command in server.received] == ["quit"]


@pytest.mark.parametrize(("words", "signum"), [((), signal.SIGTERM), (("stubborn",), signal.SIGKILL)])
def test_stop_goes_on_to_stronger_means(directory: Path, words: tuple[str, ...], signum: signal.Signals) -> None:
    with _qemu(directory, *words, "kmodlab-web") as process:
        assert machine.stop(directory, seconds=0.3) is True
        assert process.wait() == -signum


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("Could not set up host forwarding rule 'tcp:127.0.0.1:22-:22'", "that port is taken: choose another one"),
        ("cannot set up guest memory 'pc.ram': Cannot allocate memory", "not enough memory: try a smaller --memory"),
        ("could not load kernel 'vmlinuz'", None),
    ],
)
def test_a_machine_that_does_not_start(
    directory: Path, fake_program: FakeProgram, words: str, hint: str | None
) -> None:
    fake_program("qemu", f'echo "qemu: {words}" >&2; exit 1')
    with pytest.raises(LabError) as caught:
        machine.start(directory, ["qemu", "-m", "1"])
    error = caught.value
    assert (error.message, error.command, error.exit_code) == ("QEMU did not start", "qemu -m 1", 1)
    assert error.output == f"qemu: {words}"
    assert error.log == directory / "qemu.log"
    assert error.hint is None if hint is None else (error.hint or "").startswith(hint)


def test_a_machine_starts_in_its_directory_and_out_of_reach_of_the_terminal(
    directory: Path, fake_program: FakeProgram
) -> None:
    fake_program("qemu", 'pwd >where; cut -d " " -f 5 /proc/$$/stat >group; cat >input; echo "a word" >&2')
    machine.start(directory, ["qemu"])
    assert (directory / "where").read_text() == f"{directory}\n"
    assert int((directory / "group").read_text()) != os.getpgrp()
    assert (directory / "input").read_text() == ""
    assert (directory / "qemu.log").read_text() == "a word\n"

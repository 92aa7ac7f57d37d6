"""The QEMU process: its command line, and which process is one's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from kmodlab.errors import LabError, UsageError
from kmodlab.image.image import Image
from kmodlab.vm import agent, qemu, ssh, template
from kmodlab.vm.hardware import BOARDS, Hardware
from kmodlab.vm.qemu import Bounds, Qemu

from .conftest import FakeProgram, make_image, on_amd64
from .fake_qmp import FakeQmp, Message
from .stand_in import stand_in


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The state directory of a guest named web."""
    path = tmp_path / "state" / "guests" / "web"
    path.mkdir(parents=True)
    return path


def _options(argv: list[str]) -> set[tuple[str, str]]:
    return set(pairwise(argv))


def test_the_command_of_an_emulated_guest(image: Image) -> None:
    argv = qemu.command("web", image, Hardware(512, 3, "tcg"), port=2222)
    assert argv[0] == f"qemu-system-{os.uname().machine}"
    assert _options(argv) >= {
        ("-name", "kmodlab-web"),
        ("-accel", "tcg,thread=single,tb-size=256"),
        ("-cpu", BOARDS[image.architecture].cpu),
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
    argv = qemu.command("web", image, Hardware(1024, 2, "kvm"), more=["-loadvm", "ready"])
    assert _options(argv) >= {("-accel", "kvm"), ("-cpu", "host"), ("-loadvm", "ready")}
    assert ("-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-:22") in _options(argv)


def test_a_guest_that_boots_from_its_disk_is_given_no_kernel(image: Image) -> None:
    argv = qemu.command("web", image, Hardware(512, 1, "tcg", "disk"))
    assert not {"-kernel", "-initrd", "-append"} & set(argv)


def test_a_guest_with_secure_boot_has_firmware_that_guards_its_variables(image: Image) -> None:
    argv = qemu.command("web", image, Hardware(512, 1, "tcg", "secure"))
    assert not {"-kernel", "-initrd", "-append"} & set(argv)
    assert _options(argv) >= {
        ("-machine", f"{BOARDS[image.architecture].machine},smm=on"),
        ("-global", "driver=cfi.pflash01,property=secure,value=on"),
        ("-drive", "if=pflash,unit=1,format=raw,file=variables.fd"),
        ("-device", "virtio-blk-pci,drive=root,bootindex=1"),
    }


def test_a_guest_that_counts_instructions_has_them_for_a_clock(image: Image) -> None:
    argv = qemu.command("web", image, Hardware(512, 1, "tcg", counting=True))
    assert _options(argv) >= {("-icount", "shift=0,sleep=on"), ("-smp", "1")}
    assert "mitigations=off" in argv[argv.index("-append") + 1].split()
    plain = qemu.command("web", image, Hardware(512, 1, "tcg"))
    assert "-icount" not in plain
    assert "mitigations" not in " ".join(plain)


@pytest.mark.parametrize(("cpus", "accelerator"), [(2, "tcg"), (1, "kvm")])
def test_instructions_are_not_counted_elsewhere(cpus: int, accelerator: str) -> None:
    with pytest.raises(UsageError, match="instructions are counted on one emulated processor"):
        Hardware(512, cpus, accelerator, counting=True)


@pytest.fixture
def arm_image(tmp_path: Path) -> Image:
    """An image of another architecture than that of most machines."""
    return make_image(tmp_path / "cache" / "images" / "arm", "debian-12-arm64", "6.1.0-56-cloud-arm64")


@on_amd64
def test_the_command_of_an_arm64_guest(arm_image: Image) -> None:
    argv = qemu.command("web", arm_image, Hardware(512, 1, "tcg"))
    assert argv[0] == "qemu-system-aarch64"
    assert _options(argv) >= {("-machine", "virt"), ("-cpu", "max,pauth-impdef=on")}
    assert "console=ttyAMA0" in argv[argv.index("-append") + 1].split()


def test_the_kernel_learns_who_may_log_in(image: Image) -> None:
    words = Hardware(512, 1, "kvm").kernel_arguments(image).split()
    assert words[-1] == f"kmodlab.key={ssh.lab_public_key()}"
    assert words[:2] == ["root=/dev/vda", "rw"]


def test_a_kernel_can_be_told_more(image: Image) -> None:
    """And it is another machine then: a template of one is none of the other."""
    told, plain = Hardware(512, 1, "kvm", kernel_line="slub_debug=P"), Hardware(512, 1, "kvm")
    assert told.kernel_arguments(image).split()[-2] == "slub_debug=P"
    assert "slub_debug" not in plain.kernel_arguments(image)
    assert template.command("x", image, told, Bounds()) != template.command("x", image, plain, Bounds())


@pytest.mark.parametrize(("accelerator", "fixed"), [("kvm", False), ("tcg", True)])
def test_programs_have_one_address_where_their_code_is_translated(image: Image, accelerator: str, fixed: bool) -> None:
    argv = qemu.command("web", image, Hardware(512, 1, accelerator))
    assert ("norandmaps" in argv[argv.index("-append") + 1].split()) is fixed


def test_the_command_of_a_machine_within_bounds(image: Image) -> None:
    argv = template.command("slot-1", image, Hardware(512, 1, "tcg"), Bounds(), ["-incoming", "defer"])
    assert _options(argv) >= {
        ("-name", "kmodlab-slot-1"),
        ("-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"),
        ("-chardev", "stdio,id=console,signal=off"),
        ("-pidfile", "pid"),
        ("-machine", f"{BOARDS[image.architecture].machine},memory-backend=ram"),
        ("-incoming", "defer"),
        *pairwise(agent.devices()),
    }
    assert "panic=-1" in argv[argv.index("-append") + 1].split()
    assert "-no-reboot" in argv
    assert "-daemonize" not in argv


def test_a_machine_that_lasts_restarts_and_reaches_the_network(image: Image) -> None:
    argv = qemu.command("web", image, Hardware(512, 1, "tcg"))
    assert "-daemonize" in argv
    assert not {"-no-reboot", "panic=-1"} & set(" ".join(argv).split())
    assert not any("restrict" in word for word in argv)
    assert not any("restrict" in word for word in qemu.command("x", image, Hardware(1, 1, "tcg"), Bounds(network=True)))


def test_the_process_of_a_directory_is_known(directory: Path) -> None:
    machine = Qemu(directory)
    assert not machine.alive
    with stand_in(directory) as process:
        assert machine.pid == process.pid
        assert Qemu(directory).alive, "whoever asks"
    assert machine.pid is None


@pytest.mark.parametrize("text", ["", "\n", "none\n", "-1\n", "0\n", "4194999\n"])
def test_a_pid_file_that_names_no_process(directory: Path, text: str) -> None:
    (directory / "pid").write_text(text)
    assert Qemu(directory).pid is None
    assert Qemu(directory).stop() is False


def test_a_directory_that_is_not_there(directory: Path) -> None:
    assert Qemu(directory / "absent").pid is None


def test_a_pid_that_went_to_another_program(directory: Path) -> None:
    """Its number is in the file of a QEMU that has died, and so is its name on its command line: both may be so."""
    other = directory.with_name("other")
    other.mkdir()
    with stand_in(other, f"kmodlab-{directory.name}") as process:
        (directory / "pid").write_text(f"{process.pid}\n")
        assert Qemu(directory).pid is None
        assert Qemu(directory).stop() is False
        Qemu(directory).kill()
        assert process.poll() is None


def test_a_zombie_is_dead(directory: Path) -> None:
    with stand_in(directory) as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert "Z" in Path(f"/proc/{process.pid}/stat").read_text()
        assert Qemu(directory).pid is None


def test_a_process_out_of_reach_is_none_of_ours(directory: Path) -> None:
    """Seen from a namespace that it is not in, its number is 0: a signal to that would be one to ourselves."""
    words = "import sys, pathlib; from kmodlab.vm.qemu import Qemu; print(Qemu(pathlib.Path(sys.argv[1])).stop())"
    apart = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    with stand_in(directory) as process:
        argv = [*apart, sys.executable, "-c", words, str(directory)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, start_new_session=True)
        if done.returncode and done.stderr.startswith("unshare: "):
            pytest.skip("this machine has no user namespaces")
        assert (done.stdout, process.poll()) == ("False\n", None), done.stderr


def test_stop_asks_over_qmp_first(directory: Path) -> None:
    with stand_in(directory, "stubborn") as process:

        def quits(command: Message) -> list[Message]:
            assert command["execute"] == "quit"
            process.kill()
            return [{"return": {}}]

        with FakeQmp(directory, quits) as server:
            assert Qemu(directory).stop() is True
        assert [command["execute"] for command in server.received] == ["quit"]


@pytest.mark.parametrize(("words", "signum"), [((), signal.SIGTERM), (("stubborn",), signal.SIGKILL)])
def test_stop_goes_on_to_stronger_means(directory: Path, words: tuple[str, ...], signum: signal.Signals) -> None:
    with stand_in(directory, *words) as process:
        assert Qemu(directory).stop(seconds=0.3) is True
        assert process.wait() == -signum


def test_quit_says_so_where_it_does_not_end(directory: Path) -> None:
    with (
        stand_in(directory, "stubborn"),
        FakeQmp(directory, lambda _: [{"return": {}}]),
        pytest.raises(LabError, match="QEMU does not end"),
    ):
        Qemu(directory).quit(0.1)


def test_kill_is_for_whoever_finds_it(directory: Path) -> None:
    with stand_in(directory, "stubborn") as process:
        Qemu(directory).kill()
        assert not Qemu(directory).alive
        assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(("status", "killed"), [("0", False), ("1", True)])
def test_a_child_that_ends_by_itself_was_not_killed(
    directory: Path, fake_program: FakeProgram, status: str, killed: bool
) -> None:
    """Its monitor answers first, then it ends: as QEMU does where its system restarts, or where it breaks."""
    fake_program("qemu", f"echo hello; read -r word <go; exit {status}")
    os.mkfifo(directory / "go")
    machine = Qemu(directory)
    with FakeQmp(directory, lambda _: None):
        stream = machine.start_child(["qemu"], Bounds())
        (directory / "go").write_text("go\n")
        assert stream.read() == b"hello\n"
        assert machine.killed is killed
        machine.kill()


def test_a_child_that_does_not_start_says_why(directory: Path, fake_program: FakeProgram) -> None:
    fake_program("qemu", "echo 'qemu: cannot set up guest memory' >&2; exit 1")
    with pytest.raises(LabError, match="QEMU did not start") as caught:
        Qemu(directory).start_child(["qemu"], Bounds())
    assert caught.value.output == "qemu: cannot set up guest memory"
    assert "fewer --jobs" in (caught.value.hint or "")


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
        Qemu(directory).start(["qemu", "-m", "1"])
    error = caught.value
    assert (error.message, error.command, error.exit_code) == ("QEMU did not start", "qemu -m 1", 1)
    assert error.output == f"qemu: {words}"
    assert error.log == directory / "qemu.log"
    assert error.hint is None if hint is None else (error.hint or "").startswith(hint)


def test_a_machine_starts_in_its_directory_and_out_of_reach_of_the_terminal(
    directory: Path, fake_program: FakeProgram
) -> None:
    fake_program("qemu", 'pwd >where; cut -d " " -f 5 /proc/$$/stat >group; cat >input; echo "a word" >&2')
    Qemu(directory).start(["qemu"])
    assert (directory / "where").read_text() == f"{directory}\n"
    assert int((directory / "group").read_text()) != os.getpgrp()
    assert (directory / "input").read_text() == ""
    assert (directory / "qemu.log").read_text() == "a word\n"

"""Guests that work: up, use, down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kmodlab import paths
from kmodlab.errors import CommandFailed, DeadlineExpired, LabError, UsageError
from kmodlab.guest import Guest, list_guests
from kmodlab.image.image import find_image
from kmodlab.image.plan import planned
from kmodlab.process import Deadline
from kmodlab.vm.shell import CommandResult

KMODLAB = Path(sys.executable).with_name("kmodlab")


def _kmodlab(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([KMODLAB, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def _runs(number: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _boot_id(guest: Guest) -> str:
    return guest.succeed("cat /proc/sys/kernel/random/boot_id")


def _up_with_right_name_and_clock(guest: Guest, *, cold: bool) -> None:
    """Bring a guest up: it knows its name, and its clock is the host's but for the time that telling it takes."""
    begun = time.time()
    assert guest.up(cold=cold) is True
    name, clock = guest.succeed("hostname; date +%s.%N").split()
    assert name == guest.name
    assert begun - 1 < float(clock) < time.time() + 1


def test_a_cold_boot_gives_a_working_guest(victim: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    _up_with_right_name_and_clock(victim, cold=True)
    assert "guest victim: booted " in capsys.readouterr().err
    assert victim.succeed("systemctl is-system-running --wait || systemctl --failed --no-legend").strip() == "running"


def test_a_guest_that_boots_from_its_disk_starts_what_its_disk_has(victim: Guest) -> None:
    victim.up(boot="disk")
    assert "-kernel" not in Path(f"/proc/{victim.qemu.pid}/cmdline").read_text().split("\0")
    before = _boot_id(victim)
    victim.succeed("sed -i 's/APPEND/& lab.mark=1/' /boot/extlinux/extlinux.conf")
    victim.reboot()
    assert _boot_id(victim) != before
    assert "lab.mark=1" in victim.succeed("cat /proc/cmdline").split()
    victim.power_off()
    assert not victim.running


def test_each_resumed_guest_is_new_the_same_boot_and_on_time(victim: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    boots = []
    for _ in range(2):
        _up_with_right_name_and_clock(victim, cold=False)
        boots.append(_boot_id(victim))
        victim.succeed("test ! -e /root/mark && touch /root/mark")
        assert victim.down() is True
    assert boots[0] == boots[1]
    assert capsys.readouterr().err.count("guest victim: resumed ") == 2


def test_up_again_changes_nothing(guest: Guest) -> None:
    number, boot = guest.qemu.pid, _boot_id(guest)
    assert guest.up() is False
    assert Guest(guest.name).up() is False
    assert (guest.qemu.pid, _boot_id(guest)) == (number, boot)


def test_a_guest_that_is_only_slow_is_not_replaced(guest: Guest, capfd: pytest.CaptureFixture[str]) -> None:
    number, said = guest.qemu.pid, ""
    assert number
    os.kill(number, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor() as pool:
            changed = pool.submit(guest.up)
            while "has not answered yet" not in said and not changed.done():
                said += capfd.readouterr().err
                time.sleep(0.1)
            os.kill(number, signal.SIGCONT)
            assert changed.result() is False
    finally:
        os.kill(number, signal.SIGCONT)
    assert guest.qemu.pid == number


def test_it_runs_the_kernel_of_its_image(guest: Guest) -> None:
    assert guest.image == find_image(planned("auto"))
    assert guest.succeed("uname -r").strip() == guest.image.kernel_version
    assert guest.succeed("test -d /lib/modules/$(uname -r)/build && nproc").strip() == "2"


def test_a_command_gives_its_status_and_both_streams(guest: Guest) -> None:
    assert guest.execute("echo out; echo err >&2; exit 7") == CommandResult(7, "out\n", "err\n")
    assert guest.execute("rev", stdin=b"abc\n") == CommandResult(0, "cba\n", "")
    assert guest.execute("cat") == CommandResult(0, "", "")


def test_a_failed_command_is_told_in_full(guest: Guest) -> None:
    with pytest.raises(CommandFailed) as caught:
        guest.succeed("echo before; ls /absent")
    error = caught.value
    assert error.message == "a command failed in the guest shared"
    assert (error.command, error.exit_code) == ("echo before; ls /absent", 2)
    assert error.output == "ls: cannot access '/absent': No such file or directory\n"


def test_a_command_that_does_not_end(guest: Guest) -> None:
    with pytest.raises(DeadlineExpired, match="`sleep 600` did not end within 1 s"):
        guest.execute("sleep 600", seconds=1)
    assert guest.succeed("echo alive") == "alive\n"


def test_exec_passes_status_words_and_streams() -> None:
    done = _kmodlab(
        "guest", "exec", "shared", "--", "sh", "-c", "printf '%s|' \"$@\"; echo err >&2; exit 7", "sh", "a  b", "$c"
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "a  b|$c|", "err\n")


def test_a_file_is_copied_as_it_is(guest: Guest, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "file").write_bytes(content)
    guest.copy_to(tmp_path / "file", "/root/a file")
    guest.succeed("sha256sum '/root/a file' | grep -q $(sha256sum)".replace("$(sha256sum)", _sha256(content)))


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def test_a_directory_is_copied_with_all_in_it(guest: Guest, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep" / "empty").mkdir(parents=True)
    (tree / "deep" / "a b").write_text("text\n")
    (tree / "run").write_text("#!/bin/sh\necho ran\n")
    (tree / "run").chmod(0o755)
    (tree / "link").symlink_to("run")
    guest.copy_to(tree, "/root/new/tree")
    listing = guest.succeed("cd /root/new/tree && find . -printf '%P %y %u\\n' | sort && ./link && cat 'deep/a b'")
    assert listing.splitlines() == [
        *(" d root", "deep d root", "deep/a b f root", "deep/empty d root", "link l root", "run f root"),
        *("ran", "text"),
    ]


def test_another_host_key_is_refused(guest: Guest) -> None:
    known = guest.directory / "known_hosts"
    right = known.read_text()
    subprocess.run(["ssh", "-F", guest.ssh_config, "-O", "exit", guest.name], capture_output=True, check=False)
    key = subprocess.check_output(["ssh-keygen", "-y", "-f", paths.key_dir() / "id_ed25519"], text=True)
    known.write_text(f"kmodlab-{guest.name} {key}")
    try:
        with pytest.raises(LabError) as caught:
            guest.succeed("true")
    finally:
        known.write_text(right)
    assert caught.value.message == "the ssh connection to the guest shared failed"
    assert caught.value.exit_code == 255
    assert "Host key verification failed" in (caught.value.output or "")
    assert guest.succeed("echo again") == "again\n"


def test_it_reaches_the_archive_from_inside(guest: Guest) -> None:
    shown = guest.succeed("apt-get update -o APT::Update::Error-Mode=any 2>&1 && apt-cache policy make")
    assert "Candidate: " in shown


def test_it_is_listed(guest: Guest) -> None:
    assert [found.name for found in list_guests()] == ["shared"]
    (listed,) = json.loads(_kmodlab("guest", "list", "--json").stdout)
    expected = {"name": "shared", "state": "running", "memory": 1024, "cpus": 2, "image": guest.image.id}
    assert {key: listed[key] for key in expected} == expected
    assert listed["ssh_config"] == str(guest.ssh_config)
    assert "shared  running" in _kmodlab("guest", "list").stdout


def test_its_console_was_recorded(guest: Guest) -> None:
    guest.succeed("echo a mark of our own >/dev/console")
    assert "a mark of our own" in _kmodlab("guest", "console", "shared", "--log").stdout


def test_down_leaves_no_process_and_no_file(guest: Guest) -> None:
    number = guest.qemu.pid
    done = _kmodlab("guest", "down", "shared", "--json")
    assert json.loads(done.stdout) == {"changed": True, "name": "shared", "state": "absent"}
    assert number
    deadline = Deadline(30)  # the kernel takes a moment to give its memory back
    while _runs(number):
        assert not deadline.expired
        time.sleep(0.02)
    assert list((paths.state_dir() / "guests").iterdir()) == []
    assert guest.down() is False
    with pytest.raises(UsageError, match="the guest shared is not up"):
        guest.succeed("true")

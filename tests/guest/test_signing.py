"""Secure Boot for real: what the kernel refuses, what the role says, and a key that is enrolled at the console."""

from __future__ import annotations

import re
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kmodlab.guest import Guest
from kmodlab.image.plan import planned
from kmodlab.process import Deadline

from .test_lab import play

PASSWORD = "for-one-start"  # noqa: S105  # MokManager wants it once
DOWN, ENTER = b"\x1b[B", b"\r"
#: seconds without a new character after which MokManager waits for a key: it draws a page in one go
QUIET = 1.5


@pytest.fixture(scope="module")
def lab(lab: Guest) -> Guest:
    """The guest `lab`, started by UEFI Secure Boot."""
    lab.up(image=planned("debian-12"), boot="secure")
    return lab


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a run of a playbook that failed has printed, on one line."""
    assert done.returncode == 2, done.stdout
    return re.sub(r"\s+", " ", done.stdout)


class Terminal:
    """Someone at the console of a guest."""

    def __init__(self, directory: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(directory / "console.sock"))

    def leave(self) -> None:
        """Go away: a terminal that is there and reads nothing holds up whatever the guest prints, its kernel too."""
        self._socket.close()

    def read_until(self, pattern: bytes, seconds: float = 180) -> None:
        """Wait until the console shows `pattern`."""
        seen, deadline = b"", Deadline(seconds)
        while not re.search(pattern, seen):
            assert not deadline.expired, seen[-2000:]
            self._socket.settimeout(deadline.remaining + 0.1)
            seen += self._socket.recv(65536)

    def press(self, keys: bytes) -> None:
        """Send one key, and wait until nothing more is drawn."""
        self._socket.sendall(keys)
        self._socket.settimeout(QUIET)
        try:
            while self._socket.recv(65536):
                pass
        except TimeoutError:
            return


def confirm(terminal: Terminal) -> None:
    """Go through MokManager: Enroll MOK, Continue, Yes, the password, Reboot."""
    terminal.read_until(rb"Booting in \d+ second")
    for keys in (ENTER, DOWN, ENTER, DOWN, ENTER, DOWN, ENTER):
        terminal.press(keys)
    for character in PASSWORD:
        terminal.press(character.encode())
    terminal.press(ENTER)
    terminal.press(ENTER)
    terminal.leave()


def test_unsigned_is_refused(lab: Guest) -> None:
    """Secure Boot is on, and a module that must not be signed is refused with the reason and what to do."""
    assert "[integrity]" in lab.succeed("cat /sys/kernel/security/lockdown")
    message = said(play("deploy.yml", "-e", "kernel_module_sign=never"))
    assert "refused the kernel module syscall_tracer: the kernel loads only modules that are signed by a key" in message
    assert "The module is not signed, because kernel_module_sign is never; with `auto` it would be." in message


def test_signed_by_an_unknown_key_is_refused(lab: Guest) -> None:
    """By itself the role makes a key for root alone and signs with it; it names the command that makes it known."""
    message = said(play("deploy.yml"))
    assert "Run `mokutil --import /var/lib/kmodlab/mok/MOK.der` on the machine" in message
    assert lab.succeed("stat -c %a /var/lib/kmodlab/mok /var/lib/kmodlab/mok/MOK.priv").split() == ["700", "600"]
    assert "kmodlab module signing key of lab" in lab.succeed("modinfo -F signer syscall_tracer")


def test_enrolled_at_the_console(lab: Guest) -> None:
    """Told a password, the role asks for the enrolment; once that is confirmed, the module is loaded at boot."""
    message = said(play("deploy.yml", "-e", f"kernel_module_sign_enrol_password={PASSWORD}"))
    assert "the firmware has been asked to enrol that key. Restart the machine" in message
    terminal = Terminal(lab.directory)
    with ThreadPoolExecutor() as pool:
        restarted = pool.submit(lab.reboot)
        confirm(terminal)
        restarted.result()
    assert lab.succeed("cat /sys/module/syscall_tracer/initstate").strip() == "live"
    done = play("deploy.yml")
    assert done.returncode == 0, done.stdout


def test_probes_work_under_lockdown(lab: Guest) -> None:
    """Under integrity, and under confidentiality, which forbids kprobes to users of tracefs, the tracer traces."""
    for level in ("integrity", "confidentiality"):
        lab.succeed(f"echo {level} >/sys/kernel/security/lockdown || grep -F '[{level}]' /sys/kernel/security/lockdown")
        lab.succeed("rmmod syscall_tracer && modprobe syscall_tracer && touch /root/mark && rm /root/mark")
        assert re.search(r'(?m)^unlinkat .* rm +64 .*,"/root/mark",', lab.succeed("cat /proc/syscall_tracer"))

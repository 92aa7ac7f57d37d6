"""A target as machines are in the field: German, sudo with requiretty, packages held back, apt in somebody's hands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess, Popen

import pytest

from kmodlab.guest import Guest

from .test_lab import recap, start

NATIVE = "ansible.builtin.linear"
GERMAN = "LANG=de_DE.UTF-8 LC_ALL=de_DE.UTF-8 LC_MESSAGES=de_DE.UTF-8"
#: an administrator who logs in by key, and whose sudo wants a terminal and speaks the machine's language
OPERATOR = r"""
useradd --create-home --password '*' op
install -D -o op -m 600 /run/kmodlab/authorized_keys ~op/.ssh/authorized_keys
printf 'Defaults %s\n' requiretty env_file=/etc/default/locale >/etc/sudoers.d/op
echo 'op ALL=(ALL) NOPASSWD: ALL' >>/etc/sudoers.d/op
printf '%s\n' LANG=de_DE.UTF-8 LC_ALL=de_DE.UTF-8 LANGUAGE=de_DE:de >/etc/default/locale
"""
#: German with the messages of the programs that the roles listen to; the image has none, to be small
LANGUAGE = r"""
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -qy --reinstall --no-install-recommends -o Dpkg::Options::='--path-include=/usr/share/locale/*' \
    locales libc-l10n libapt-pkg6.0 sudo
localedef -i de_DE -f UTF-8 de_DE.UTF-8
"""
#: the archive has dropped the headers of the running kernel, as it does when a newer one is out
GONE = r"""
apt-get purge -qy 'linux-headers-*'
printf '%s\n' 'Package: linux-headers-*' 'Pin: release *' 'Pin-Priority: -1' >/etc/apt/preferences.d/gone
"""
LOCK = "import fcntl, time; file = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(file, 2); time.sleep(600)"
PLAY = """
- hosts: all
  become: true
  gather_facts: false
  tasks:
    - block:
        - ansible.builtin.command: cat /nosuch
          failed_when: false
          changed_when: false
          register: spoken
        - ansible.builtin.debug:
            var: spoken.stderr
        - ansible.builtin.import_role:
            name: kernel_headers
      rescue:
        - ansible.builtin.import_tasks: {tasks}/failed.yml
        - ansible.builtin.fail:
            msg: "<{{{{ __fleet_failure }}}}>"
"""


class Target:
    """The guest, and what an operator has of it: an inventory and a playbook."""

    def __init__(self, guest: Guest, folder: Path) -> None:
        self.guest = guest
        self.hosts, self.book = folder / "my-hosts.json", folder / "play.yml"
        reached = f"-F {guest.ssh_config} -o 'SetEnv={GERMAN}'"
        host = {"ansible_host": guest.name, "ansible_user": "op", "ansible_ssh_common_args": reached}
        self.hosts.write_text(json.dumps({"all": {"hosts": {"field": host}}}))
        self.book.write_text(PLAY.format(tasks=Path("playbooks/tasks").resolve()))

    def start(self, *words: str, strategy: str = "kmodlab_linear", **extra: object) -> Popen[str]:
        """Begin to have the headers installed, by a controller that sends its own language along."""
        more = [*words, "-e", json.dumps(extra)]
        # Without what this project's ansible.cfg says of the language: an operator may have a configuration of his own.
        ssh = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s -o BatchMode=yes"}
        return start("ansible-playbook", "-i", self.hosts, self.book, *more, ANSIBLE_STRATEGY=strategy, **ssh)

    def play(self, *words: str, strategy: str = "kmodlab_linear", **extra: object) -> CompletedProcess[str]:
        """Have the headers installed to the end."""
        with self.start(*words, strategy=strategy, **extra) as running:
            output, _ = running.communicate()
        return CompletedProcess(running.args, running.returncode, output)

    @contextmanager
    def locked(self) -> Iterator[str]:
        """Have another program hold apt meanwhile; yield its process id."""
        hold = f'nohup python3 -c "{LOCK}" >/dev/null 2>&1 & echo $!; sleep 1'
        pid = self.guest.succeed(hold).strip()
        try:
            yield pid
        finally:
            self.guest.execute(f"kill {pid}")


def said(done: CompletedProcess[str]) -> str:
    """Return the reason of a failure, on one line."""
    assert done.returncode == 2, done.stdout
    return re.sub(r"\s+", " ", done.stdout[done.stdout.rindex("<") : done.stdout.rindex(">")])


@pytest.fixture(scope="module")
def target(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Target:
    """The shared guest, made a machine of the field, without headers."""
    guest.succeed(f"exec 2>&1; set -e; {LANGUAGE} {OPERATOR} {GONE}")
    return Target(guest, tmp_path_factory.mktemp("field"))


def test_a_german_machine_with_requiretty_where_somebody_installs(target: Target) -> None:
    """sudo gets its terminal, apt is waited for, and what the archive lacks is recognised though apt speaks German."""
    seen = ""
    with target.locked() as pid, target.start() as running:
        assert running.stdout
        while f"field: waiting up to 300 s for python3 (process {pid}: " not in seen:
            line = running.stdout.readline()
            assert line, seen
            seen += line
        target.guest.succeed(f"kill {pid}")
        seen += running.communicate()[0]
    assert "Datei oder Verzeichnis nicht gefunden" in seen
    assert "The package archive no longer has linux-headers-" in said(CompletedProcess([], running.returncode, seen))


def test_requiretty_without_mitogen_ends_in_a_sentence(target: Target) -> None:
    """Ansible's own strategy gives sudo no terminal while it pipelines; told so, it does."""
    assert "Set ansible_pipelining to false for this machine" in said(target.play(strategy=NATIVE))
    # The first tasks alone: each takes seconds.
    done = target.play("--tags", "preflight", strategy=NATIVE, ansible_pipelining=False)
    assert done.returncode == 0, done.stdout
    assert recap(done, "field")["ok"] > 1


def test_held_packages_are_named_before_anything_is_upgraded(target: Target) -> None:
    """Told to upgrade, the role finds the kernel held back: it says how to release it, and restarts nothing."""
    boot = target.guest.succeed("cat /proc/sys/kernel/random/boot_id")
    target.guest.succeed("apt-mark hold linux-image-cloud-amd64")
    reason = said(target.play(kernel_headers_upgrade=True))
    assert "field holds linux-image-cloud-amd64 back, so nothing is upgraded and it is not restarted" in reason
    assert "`apt-mark unhold linux-image-cloud-amd64`" in reason
    target.guest.succeed("apt-mark unhold linux-image-cloud-amd64")
    assert target.guest.succeed("cat /proc/sys/kernel/random/boot_id") == boot


def test_apt_in_the_hands_of_another_program(target: Target) -> None:
    """Where that lasts, the program is named."""
    with target.locked() as pid:
        reason = said(target.play(kernel_headers_lock_timeout=1))
    assert re.search(rf"apt is held by python3 \(process {pid}: .*\), for longer than 1 s", reason)


def test_headers_that_are_held_are_named(target: Target) -> None:
    """What is held and not installed apt does not install; that is not the archive's fault."""
    target.guest.succeed("rm /etc/apt/preferences.d/gone && apt-mark hold linux-headers-$(uname -r)")
    kernel = target.guest.succeed("uname -r").strip()
    assert f"`apt-mark unhold linux-headers-{kernel}` on the machine" in said(target.play())
    target.guest.succeed("apt-mark unhold linux-headers-$(uname -r)")

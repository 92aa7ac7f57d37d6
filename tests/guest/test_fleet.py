"""A fleet: several machines deployed at once, one of them broken, one lost midway, a batch that is never begun."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from kmodlab import __version__
from kmodlab.guest import Guest

from .test_lab import BIN, recap, start

NAMES = ("north", "south", "east", "west")
LOADED = "ls /sys/module | grep -xE 'syscall_tracer|task_lister'; true"
ENTRIES = "cat /sys/module/syscall_tracer/parameters/log_entries"
NO_HEADERS = (
    "apt-get purge -qy linux-headers-$(uname -r) 2>&1;"
    "printf 'Package: linux-headers-*\\nPin: release *\\nPin-Priority: -1\\n' >/etc/apt/preferences.d/gone"
)


class Fleet:
    """The guests, and an inventory of them that says what any operator's would."""

    def __init__(self, folder: Path) -> None:
        self.guests = {name: Guest(name) for name in NAMES}
        self.hosts, self.report = folder / "my-hosts.json", folder / "report.json"

    def up(self) -> None:
        """Bring all guests up, and write the inventory."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda guest: guest.up(memory=512), self.guests.values()))
        hosts = {
            name: {
                "ansible_host": name,
                "ansible_user": "root",
                "ansible_ssh_common_args": f"-F {guest.ssh_config}",
                "kernel_module_builder": [f"{BIN}/kmodlab", "guest", "build", name],
            }
            for name, guest in self.guests.items()
        }
        self.hosts.write_text(json.dumps({"all": {"hosts": hosts}}))

    def down(self) -> None:
        """Take all guests down."""
        for guest in self.guests.values():
            guest.down()

    def succeed(self, name: str, command: str) -> str:
        """Run a command on one of them."""
        return self.guests[name].succeed(command).strip()

    def play(
        self, playbook: str, *words: str, kill: str = "", at: str = "", extra: Mapping[str, object] | None = None
    ) -> tuple[CompletedProcess[str], dict[str, Any]]:
        """Run a playbook; return what it printed and the hosts of its report.

        Args:
            playbook: its path.
            words: further options.
            kill: the guest whose QEMU is killed ...
            at: ... when this is printed.
            extra: extra variables, beside the report's.
        """
        given = {f"{Path(playbook).stem}_report": str(self.report), **(extra or {})}
        argv = ["ansible-playbook", "-i", str(self.hosts), playbook, "-e", json.dumps(given), *words]
        with start(*argv) as process:
            assert process.stdout
            seen = ""
            while kill and at not in seen:
                line = process.stdout.readline()
                assert line, seen
                seen += line
            if kill:
                number = self.guests[kill].qemu.pid
                assert number
                os.kill(number, signal.SIGKILL)
            rest, _ = process.communicate()
        told = json.loads(self.report.read_text())
        assert told["job"] == Path(playbook).stem
        return CompletedProcess(argv, process.returncode, seen + rest), told["hosts"]


def verdicts(told: dict[str, Any]) -> dict[str, str]:
    """Return the verdicts of a report."""
    return {name: machine["verdict"] for name, machine in told.items()}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Four guests, up; gone afterwards."""
    one = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        one.up()
        yield one
    finally:
        one.down()


def test_one_broken_and_one_lost(fleet: Fleet) -> None:
    """Healthy machines are deployed; one without headers is left alone, one that dies midway is reported."""
    fleet.succeed("south", NO_HEADERS)
    done, told = fleet.play("deploy.yml", kill="west", at="kernel_module : Install the module]")
    assert done.returncode & 6, done.stdout
    expected = {"north": "deployed", "south": "failed", "east": "deployed", "west": "unreachable"}
    assert verdicts(told) == expected, done.stdout
    kernel = fleet.succeed("north", "uname -r")
    for name in ("north", "east"):
        assert fleet.succeed(name, LOADED).split() == ["syscall_tracer", "task_lister"]
        assert (told[name]["kernel"], told[name]["hook"], told[name]["reason"]) == (kernel, "ftrace", "")
        for module in ("syscall_tracer", "task_lister"):
            shown = fleet.succeed(name, f"cd /sys/module/{module}; cat version srcversion initstate").split()
            assert list(told[name]["modules"][module].values()) == shown
            assert shown[0] == __version__
    for said in (f"no longer has linux-headers-{kernel}", "kernel_headers_upgrade"):
        assert said in told["south"]["reason"]
    assert (told["south"]["kernel"], told["south"]["modules"]) == (kernel, {})
    assert fleet.succeed("south", "ls -d /usr/src/kmodlab-* /etc/*/kmodlab-*.conf 2>/dev/null; " + LOADED) == ""
    assert "at 'kernel_module : " in told["west"]["reason"]
    check_summary(done, kernel)


def check_summary(done: CompletedProcess[str], kernel: str) -> None:
    """Assert what a person sees at the end of the first run."""
    summary = done.stdout[done.stdout.rindex("DEPLOY SUMMARY") :]
    modules = rf"syscall_tracer {__version__} \(\w{{7}}\), task_lister {__version__} \(\w{{7}}\)"
    assert re.search(rf"(?m)^north +deployed +{re.escape(kernel)} +ftrace +{modules}$", summary), summary
    assert re.search(rf"(?m)^south +failed +{re.escape(kernel)}\n    .*linux-headers-", summary), summary
    assert re.search(r"(?m)^west +unreachable\n    at 'kernel_module : ", summary), summary


def test_picked_up_by_the_next_run(fleet: Fleet) -> None:
    """The lost machine comes back with what was half done on its disk: the next run completes it, and only it."""
    fleet.guests["west"].power_on()
    done, told = fleet.play("deploy.yml", "--limit", "!south")
    assert done.returncode == 0, done.stdout
    assert verdicts(told) == {"north": "deployed", "east": "deployed", "west": "deployed"}
    assert {name: told[name]["changed"] > 0 for name in told} == {"north": False, "east": False, "west": True}
    assert [told[name]["changed"] for name in told] == [recap(done, name)["changed"] for name in told], done.stdout
    assert fleet.succeed("west", LOADED).split() == ["syscall_tracer", "task_lister"]


def test_a_batch_with_too_many_failures_is_the_last(fleet: Fleet) -> None:
    """The failed machine keeps what it has, the good one of its batch is done, the next batch is never begun."""
    fleet.succeed("north", NO_HEADERS)
    before = fleet.succeed("north", "grep -E '^(syscall_tracer|task_lister) ' /proc/modules")
    extra = {"deploy_serial": 2, "deploy_max_fail_percentage": 25, "syscall_tracer_log_entries": 2048}
    done, told = fleet.play("deploy.yml", "--limit", "!south", extra=extra)
    assert done.returncode == 2, done.stdout
    assert verdicts(told) == {"north": "failed", "east": "deployed", "west": "untouched"}, done.stdout
    assert [fleet.succeed(name, ENTRIES) for name in told] == ["1024", "2048", "1024"]
    assert fleet.succeed("north", "grep -E '^(syscall_tracer|task_lister) ' /proc/modules") == before
    assert list(told["north"]["modules"]) == ["syscall_tracer", "task_lister"]
    assert "log_entries=1024" in fleet.succeed("west", "cat /etc/modprobe.d/kmodlab-syscall_tracer.conf")


def test_a_machine_whose_modules_do_not_work_has_failed(fleet: Fleet) -> None:
    """The health check notices a tracer that records nothing, where all tasks went well."""
    traced = "open read write close unlink"
    fleet.succeed("west", f"echo untrace {traced} >/proc/syscall_tracer")
    done, told = fleet.play("deploy.yml", "--limit", "west")
    fleet.succeed("west", f"echo trace {traced} >/proc/syscall_tracer")
    assert done.returncode == 2, done.stdout
    assert told["west"]["verdict"] == "failed"
    assert "/proc/syscall_tracer does not record the calls that are made" in told["west"]["reason"]


def test_teardown_of_the_fleet(fleet: Fleet) -> None:
    """All machines, broken or not; nothing is left, and the summary says so."""
    done, told = fleet.play("playbooks/teardown.yml")
    assert done.returncode == 0, done.stdout
    assert verdicts(told) == dict.fromkeys(NAMES, "removed")
    for name in NAMES:
        assert told[name]["modules"] == {}
        assert fleet.succeed(name, "ls -d /usr/src/kmodlab-* /etc/*/kmodlab-*.conf 2>/dev/null; " + LOADED) == ""

"""The roles and playbooks, as far as they can be judged without a machine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from patience import SECONDS

from kmodlab.errors import UsageError
from kmodlab.guest import Guest

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
MODULES = ("syscall_tracer", "task_lister")
PLAYBOOKS = ["deploy.yml", *sorted(f"playbooks/{path.name}" for path in (ROOT / "playbooks").glob("*.yml"))]


def load(path: Path) -> Any:
    """Return the contents of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def options(role: str) -> dict[str, dict[str, Any]]:
    """Return the options of a role's argument_specs."""
    specs = load(ROOT / "roles" / role / "meta/argument_specs.yml")
    found: dict[str, dict[str, Any]] = specs["argument_specs"]["main"]["options"]
    return found


Ansible = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ansible(ansible_python: list[str]) -> Ansible:
    """A function that runs one of Ansible's programs, the one that belongs to this Python, in the project."""

    def run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [*ansible_python, str(Path(sys.executable).with_name(name)), *words]
        return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)

    return run


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_the_optional_arguments(role: str) -> None:
    """Each optional argument has its default in defaults/main.yml, the same one, and nothing else is there."""
    optional = {name: spec.get("default") for name, spec in options(role).items() if not spec.get("required")}
    assert load(ROOT / "roles" / role / "defaults/main.yml") == optional


@pytest.mark.parametrize("role", ROLES)
def test_readme_has_a_heading_for_each_argument(role: str) -> None:
    """README.md names every variable of the role under `### name`, and no other."""
    readme = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (\w+)$", readme, re.MULTILINE) == list(options(role))


@pytest.mark.parametrize("role", ROLES)
def test_public_variables_carry_the_name_of_the_role(role: str) -> None:
    """Public variables start with the role's name, internal ones with two underscores and that name."""
    assert [name for name in options(role) if not name.startswith(f"{role}_")] == []
    internals = ROOT / "roles" / role / "vars/main.yml"
    names = load(internals) if internals.exists() else {}
    assert [name for name in names if not name.startswith(f"__{role}_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_task_file_is_short_and_starts_with_preflight(role: str) -> None:
    """A role's main.yml is a table of contents that begins with the preflight; no task file is long."""
    tasks = ROOT / "roles" / role / "tasks"
    first = load(tasks / "main.yml")[0]
    assert first["ansible.builtin.import_tasks"] == "preflight.yml"
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in tasks.glob("*.yml")}
    assert {name: lines for name, lines in lengths.items() if lines > 90} == {}


BAD = {
    "syscall_tracer_log_entries=15": "syscall_tracer_log_entries is a number from 16 to 1048576",
    "task_lister_ended=65537": "task_lister_ended is a number up to 65536",
    "task_lister_detail=some": "task_lister_detail are all or root",
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_input_stops_the_play_before_anything_else(bad: str, ansible: Ansible) -> None:
    """The message names the variable; it is not merely a failure."""
    play = ["-i", "localhost,", "-c", "local", "-e", bad, "-e", f"ansible_python_interpreter={sys.executable}"]
    role = next(role for role in ROLES if bad.startswith(role))
    done = ansible("ansible", "localhost", *play, "-m", "include_role", "-a", f"name={role}")
    assert done.returncode != 0
    # The checks of argument_specs come first, and name the variable as well.
    said = " ".join((done.stdout + done.stderr).split())
    assert BAD[bad] in said or f"value of {bad.partition('=')[0]} must be one of" in said, said


NAMES = [f"{'a' * 47}{end}" for end in ("", "-", "bc")] + ["web.1", "Web", "web_1", "web/1", "", "-x", "küche"]


@pytest.mark.parametrize("name", NAMES)
def test_a_guest_that_cannot_be_called_so_is_refused_before_anything_else(name: str) -> None:
    """The role takes the names that `kmodlab guest` takes, and says what it wants of the others."""
    rule = load(ROOT / "roles/lab_guest/tasks/preflight.yml")[0]["ansible.builtin.assert"]
    pattern = next(re.findall(r"'(.*)'", that)[0] for that in rule["that"] if that.startswith("lab_guest_name"))
    try:
        Guest(name)
    except UsageError:
        taken = False
    else:
        taken = True
    assert (re.match(pattern, name) is not None) == taken
    assert "lab_guest_name, which is {{ lab_guest_name }}, is up to 48 lower-case letters" in rule["fail_msg"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("could not insert 'x': Key was rejected by service", "Secure Boot"),
        ("could not insert 'x': Required key not available", "Secure Boot"),
        ("could not insert 'x': Operation not permitted Lockdown: modprobe: unsigned module loading", "locked down"),
        ("could not insert 'x': Exec format error x: version magic '5.10.0' should be '6.1.0'", "another kernel"),
        ("could not insert 'x': Unknown symbol in module, or unknown parameter (see dmesg)", "lacks a function"),
        ("could not insert 'x': Invalid argument x: `y' invalid for parameter `log_entries'", "a parameter"),
        ("could not insert 'x': Operation not permitted", "does not let anyone load"),
        ("could not insert 'x': Cannot allocate memory", "too little memory"),
        ("module verification failed: signature and/or required key missing - tainting kernel", "modprobe failed"),
    ],
)
def test_a_refused_module_is_explained(said: str, reason: str) -> None:
    """What modprobe and the kernel say leads to the first reason whose pattern is found."""
    refusals = load(ROOT / "roles/kernel_module/vars/main.yml")["__kernel_module_refusals"]
    assert reason in next(item["reason"] for item in refusals if re.search(item["pattern"], said))


@pytest.mark.parametrize("module", MODULES)
def test_dkms_knows_a_module_by_its_name_and_the_version_of_the_project(module: str) -> None:
    """dkms.conf, the module itself and the project have one version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    settings = (ROOT / "kernel" / module / "dkms.conf").read_text(encoding="utf-8")
    assert {f'PACKAGE_NAME="{module}"', f'PACKAGE_VERSION="{version}"'} <= set(settings.splitlines())
    assert f'MODULE_VERSION("{version}");' in (ROOT / "kernel" / module / "main.c").read_text(encoding="utf-8")


TTY_PLAY = f"""
- hosts: all
  gather_facts: false
  tasks:
    - block:
        - ansible.builtin.ping:
          become: true
      rescue:
        - ansible.builtin.import_tasks: {ROOT}/playbooks/tasks/failed.yml
    - ansible.builtin.debug:
        msg: "<{{{{ __fleet_failure }}}}>"
"""


#: what sudo says on a machine -> what is shown of it
SUDOS = {
    "sudo: sorry, you must have a tty to run sudo": "wants a terminal (requiretty), which it does not get while",
    "sudo: Sie müssen ein TTY haben, um sudo zu verwenden": "Set ansible_pipelining to false for this machine",
    "sudo: no valid sudoers sources found": "no valid sudoers sources found",
}


def test_a_sudo_that_wants_a_terminal_is_explained(ansible: Ansible, tmp_path: Path) -> None:
    """Ansible itself says that there is no JSON, which helps nobody."""
    hosts = {}
    for number, said in enumerate(SUDOS):
        sudo = tmp_path / f"sudo{number}"
        sudo.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n", encoding="utf-8")
        sudo.chmod(0o755)
        hosts[f"host{number}"] = {"ansible_become_exe": str(sudo)}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    (tmp_path / "play.yml").write_text(TTY_PLAY, encoding="utf-8")
    extra = {"ansible_python_interpreter": sys.executable, "ansible_become_user": "nobody"}
    words = ["-i", str(tmp_path / "hosts.json"), "-c", "local", "-e", json.dumps(extra)]
    done = ansible("ansible-playbook", str(tmp_path / "play.yml"), *words)
    told = re.sub(r"\s+", " ", done.stdout).partition(" PLAY RECAP ")[0].split("ok: [")
    for host, shown in zip(hosts, SUDOS.values(), strict=True):
        (said,) = (words for words in told if words.startswith(f"{host}] => msg: "))
        assert shown in said, done.stdout + done.stderr


def test_a_command_that_failed_is_explained_by_what_it_said(ansible: Ansible, tmp_path: Path) -> None:
    """Ansible itself says `non-zero return code`."""
    said = "kmodlab: error: no room on the disk"
    (tmp_path / "program").write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 3\n", encoding="utf-8")
    (tmp_path / "program").chmod(0o755)
    task = f"ansible.builtin.command: {tmp_path}/program"
    play = TTY_PLAY.replace("ansible.builtin.ping:\n          become: true", task)
    assert task in play
    (tmp_path / "play.yml").write_text(play, encoding="utf-8")
    words = ["-i", "localhost,", "-c", "local", "-e", json.dumps({"ansible_python_interpreter": sys.executable})]
    done = ansible("ansible-playbook", str(tmp_path / "play.yml"), *words)
    told = re.sub(r"\s+", " ", done.stdout)
    assert f": {said}>" in told[told.rindex("<") :], done.stdout + done.stderr


@pytest.mark.parametrize(("file", "registered"), [("load", "modprobe"), ("refused", "dmesg")])
def test_what_is_judged_by_its_words_speaks_english(file: str, registered: str) -> None:
    """The reasons for which a kernel refuses a module are looked up in what modprobe and dmesg say."""
    text = (ROOT / "roles/kernel_module/tasks" / f"{file}.yml").read_text(encoding="utf-8")
    (task,) = [part for part in text.split("- name: ") if f"register: __kernel_module_{registered}\n" in part]
    assert 'environment: "{{ __kernel_module_english }}"' in task


UNITS = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: lab_dashboard
        tasks_from: preflight.yml
        public: true
    - ansible.builtin.command:
        argv: [tee, "{{ out }}/{{ inventory_hostname }}.{{ item }}"]
        stdin: "{{ __lab_dashboard_contents[item] }}"
      loop: "{{ __lab_dashboard_services }}"
"""


def units(ansible: Ansible, folder: Path, **given: object) -> tuple[dict[str, str], str]:
    """Return the units of two hosts by host and name, and what Ansible has said."""
    (folder / "play.yml").write_text(UNITS, encoding="utf-8")
    extra = {"ansible_python_interpreter": sys.executable, "out": str(folder), **given}
    done = ansible(
        "ansible-playbook", str(folder / "play.yml"), "-i", "one,two,", "-c", "local", "-e", json.dumps(extra)
    )
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.kmodlab-*")}
    return found, re.sub(r"\s+", " ", done.stdout + done.stderr)


def test_without_a_fleet_a_service_reaches_the_loopback_alone(ansible: Ansible, tmp_path: Path) -> None:
    found, said = units(ansible, tmp_path)
    names = {f"{host}.kmodlab-{name}" for host in ("one", "two") for name in ("recorder", "dashboard")}
    assert set(found) == names, said
    assert "serve --port 8480 --mib 2048 --days 30\n" in found["one.kmodlab-dashboard"]
    assert "IPAddressAllow=localhost\n" in found["one.kmodlab-dashboard"]
    assert "RestrictAddressFamilies=AF_UNIX AF_INET\n" in found["one.kmodlab-dashboard"]


def test_a_fleet_has_one_hub_and_a_database_that_is_reached(ansible: Ansible, tmp_path: Path) -> None:
    given = {"lab_dashboard_fleet": "/url", "lab_dashboard_fleet_networks": ["192.0.2.7"], "lab_dashboard_hub": "two"}
    found, said = units(ansible, tmp_path, **given)
    assert {name for name in found if name.endswith("-hub")} == {"two.kmodlab-hub"}, said
    line = "serve --port 8480 --mib 2048 --days 30 --fleet /etc/kmodlab-fleet --fleet-mib 16384 --fleet-days 366\n"
    assert line in found["one.kmodlab-dashboard"]
    hub = found["two.kmodlab-hub"]
    assert "hub --fleet /etc/kmodlab-fleet --port 8481\n" in hub
    for unit in (found["one.kmodlab-dashboard"], hub):
        assert "IPAddressDeny=any\nIPAddressAllow=localhost 192.0.2.7\n" in unit
        assert "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n" in unit
    assert "IPAddressAllow" not in found["one.kmodlab-recorder"]


@pytest.mark.parametrize(
    "given",
    [
        {"lab_dashboard_hub": "one"},
        {"lab_dashboard_hub": "three", "lab_dashboard_fleet": "/url"},
        {"lab_dashboard_hub": "one", "lab_dashboard_fleet": "/url", "lab_dashboard_hub_port": 8480},
        {"lab_dashboard_fleet": "/url", "lab_dashboard_fleet_networks": ["db.example"]},
    ],
    ids=["no-database", "no-such-host", "one-port", "a-name"],
)
def test_a_fleet_that_makes_no_sense_is_refused(ansible: Ansible, tmp_path: Path, given: dict[str, object]) -> None:
    found, said = units(ansible, tmp_path, **given)
    assert found == {}
    assert "lab_dashboard_hub is a host of the inventory" in said

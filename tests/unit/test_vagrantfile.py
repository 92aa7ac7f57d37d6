"""The Vagrantfile, as far as it can be judged without a provider."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from patience import SECONDS

ROOT = Path(__file__).resolve().parents[2]
HOSTS = yaml.safe_load((ROOT / "inventory/hosts.yml").read_text(encoding="utf-8"))
MACHINES = HOSTS["all"]["children"]["vagrant_machines"]["hosts"]

# What Vagrant asks VirtualBox before it believes that it is there; validation needs no more of it.
STUB = '#!/bin/sh\n[ "$1" = --version ] && echo 7.0.20r163906\nexit 0\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what Vagrant reads, with a VirtualBox that only says its version."""
    for name in ("Vagrantfile", "deploy.yml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "inventory", tmp_path / "inventory")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/VBoxManage").write_text(STUB, encoding="utf-8")
    (tmp_path / "bin/VBoxManage").chmod(0o755)
    return tmp_path


Vagrant = Callable[..., subprocess.CompletedProcess[str]]

# Vagrant takes a second to load itself and its plugins: this does once, and forks for each command that it reads.
LOADED = """
require 'json'
gem 'vagrant'
BIN = Gem.bin_path('vagrant', 'vagrant')
ARGV.replace(['validate'])
begin
  load BIN
rescue SystemExit
end
STDIN.each_line do |line|
  words, folder, environment, out, err = JSON.parse(line)
  child = fork do
    ENV.replace(environment)
    Dir.chdir(folder)
    STDIN.reopen(File::NULL)
    STDOUT.reopen(out, 'w')
    STDERR.reopen(err, 'w')
    ARGV.replace(words)
    load BIN
  end
  Process.wait(child)
  puts "status #{$?.exitstatus}"
end
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """LOADED, in a folder without a Vagrantfile."""
    if shutil.which("vagrant") is None:
        pytest.skip("vagrant is not installed")
    folder = tmp_path_factory.mktemp("vagrant")
    env = {**os.environ, "VAGRANT_HOME": str(folder), "VAGRANT_CHECKPOINT_DISABLE": "1"}
    ruby = ["/usr/bin/ruby", "-e", LOADED]  # the one that Vagrant is installed for
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(ruby, cwd=folder, env=env, stdin=pipe, stdout=pipe, stderr=nowhere, text=True) as process:
        yield process
        process.communicate(timeout=SECONDS)


@pytest.fixture
def vagrant(loaded: subprocess.Popen[str], project: Path) -> Vagrant:
    """A function that runs Vagrant in the project, with a home of its own."""

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        assert loaded.stdin
        assert loaded.stdout
        home = {"VAGRANT_HOME": str(project / "home"), "VAGRANT_CHECKPOINT_DISABLE": "1"}
        env = {**os.environ, **home, "PATH": f"{project / 'bin'}:{os.environ['PATH']}", **environment}
        out, err = project / "stdout", project / "stderr"
        print(json.dumps([words, str(project), env, str(out), str(err)]), file=loaded.stdin, flush=True)
        status = next(line.split()[1] for line in loaded.stdout if line.startswith("status "))
        return subprocess.CompletedProcess(words, int(status), out.read_text(), err.read_text())

    return run


def spoil(project: Path, old: str, new: str) -> None:
    """Replace `old` in the Vagrantfile, which must have it."""
    file = project / "Vagrantfile"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_ruby_syntax() -> None:
    """Ruby understands the file."""
    if shutil.which("ruby") is None:
        pytest.skip("ruby is not installed")
    done = subprocess.run(["ruby", "-wc", "Vagrantfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Syntax OK\n", "")


def test_validate(vagrant: Vagrant) -> None:
    """Vagrant accepts the file, VirtualBox's settings included."""
    done = vagrant("validate")
    assert (done.returncode, done.stdout) == (0, "Vagrantfile validated successfully.\n"), done.stderr


def test_validate_refuses_bad_options(vagrant: Vagrant, project: Path) -> None:
    """Validation sees a wrong word in each part of the file."""
    for word in ("machine.vm.hostname", "settings.memory", "ansible.playbook"):
        spoil(project, f"{word} =", f"{word}x =")
    done = vagrant("validate")
    assert done.returncode != 0
    for word in ("hostnamex", "memoryx", "playbookx"):
        assert f"The following settings shouldn't exist: {word}\n" in done.stdout + done.stderr


def test_validate_refuses_bad_options_of_libvirt(vagrant: Vagrant, project: Path) -> None:
    """Vagrant judges only the block of the provider that it would use: libvirt's is right, and then is not."""
    libvirt = {"VAGRANT_DEFAULT_PROVIDER": "libvirt", "KMODLAB_VAGRANT_DRIVER": "qemu"}
    done = vagrant("validate", **libvirt)
    assert (done.returncode, done.stdout) == (0, "Vagrantfile validated successfully.\n"), done.stderr
    spoil(project, "settings.cpu_model =", "settings.cpu_modelx =")
    assert refused(vagrant("validate", **libvirt)) == "cpu_modelx"
    spoil(project, "settings.memory =", "settings.memoryx =")
    spoil(project, "settings.driver =", "settings.driverx =")  # without one there is no model
    assert refused(vagrant("validate", **libvirt)) == "driverx, memoryx"


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return what Vagrant says that libvirt's block has and should not."""
    assert done.returncode != 0
    said = re.search(r"(?i)libvirt[^:]*:\n\* .*shouldn't exist: (.*)\n", done.stdout + done.stderr)
    assert said, done.stdout + done.stderr
    return said[1]


PRINTER = """
at_exit do
  seen = $seen.map { |it| [it.driver, it.cpus, it.memory, it.cpu_mode, it.cpu_model].join(' ') }
  puts seen.uniq
end
"""


@pytest.fixture
def libvirt_gets(vagrant: Vagrant, project: Path) -> Callable[..., str]:
    """What vagrant-libvirt gets as driver, processors, memory, processor's mode and model, by environment and probe."""
    (project / ".venv/bin").mkdir(parents=True)
    spoil(
        project,
        "size(settings, variables)\n    settings.driver",
        "($seen ||= []) << settings\n    size(settings, variables)\n    settings.driver",
    )
    (project / "Vagrantfile").write_text(
        (project / "Vagrantfile").read_text(encoding="utf-8") + PRINTER, encoding="utf-8"
    )

    def get(probed: str, **environment: str) -> str:
        probe = project / ".venv/bin/kmodlab"
        probe.write_text(f'#!/bin/sh\n[ "$*" = accelerator ] && echo {probed}\n', encoding="utf-8")
        probe.chmod(0o755)
        done = vagrant("validate", VAGRANT_DEFAULT_PROVIDER="libvirt", **environment)
        return done.stdout.splitlines()[-1]

    return get


def test_the_driver_is_what_the_probe_found(libvirt_gets: Callable[..., str]) -> None:
    """With /dev/kvm that only pretends the machine is emulated, on one processor of a model that can be."""
    assert libvirt_gets("tcg") == "qemu 1 2048 custom qemu64"
    assert libvirt_gets("kvm").startswith("kvm 2 2048 ")


def test_the_environment_comes_before_the_inventory(libvirt_gets: Callable[..., str]) -> None:
    """Driver, memory, processors and their model."""
    own = {"KMODLAB_VAGRANT_DRIVER": "qemu", "KMODLAB_VAGRANT_CPU_MODEL": "Nehalem", "KMODLAB_VAGRANT_MEMORY": "512"}
    assert libvirt_gets("kvm", **own) == "qemu 1 512 custom Nehalem"
    assert libvirt_gets("tcg", KMODLAB_VAGRANT_DRIVER="kvm", KMODLAB_VAGRANT_CPUS="5").startswith("kvm 5 2048 ")


@pytest.mark.parametrize("wish", [{"provider": "vmware"}, {"driver": "hvf"}, {"cpus": "many"}])
def test_a_wish_that_cannot_be_is_refused(vagrant: Vagrant, wish: dict[str, str]) -> None:
    """The message names the variable and what was asked of it."""
    ((name, value),) = wish.items()
    asked = {f"KMODLAB_VAGRANT_{name.upper()}": value, "VAGRANT_DEFAULT_PROVIDER": "libvirt"}
    done = vagrant("validate", **asked)
    assert done.returncode != 0
    assert f"vagrant_{name} is {value!r}".replace("'", '"') in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("wish", "first"), [("auto", "virtualbox"), ("virtualbox", "virtualbox"), ("libvirt", "libvirt")]
)
def test_the_provider_that_is_wished_for_comes_first(vagrant: Vagrant, wish: str, first: str) -> None:
    """Of those that can be used here, and here both can: VirtualBox is a stand-in."""
    done = vagrant("status", "ubuntu-22.04", KMODLAB_VAGRANT_PROVIDER=wish, KMODLAB_VAGRANT_DRIVER="qemu")
    assert f"({first})" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("place", "folder"), [("", str(ROOT / ".vagrant")), ("other", str(ROOT / "other")), ("/some/where", "/some/where")]
)
def test_the_inventory_looks_where_vagrant_keeps_its_machines(
    ansible_python: list[str], place: str, folder: str
) -> None:
    """Also where VAGRANT_DOTFILE_PATH names another place: relative to the checkout, as Vagrant takes it."""
    argv = [
        *ansible_python,
        str(Path(sys.executable).with_name("ansible")),
        "-i",
        "inventory",
        "ubuntu-22.04",
        "-m",
        "debug",
        "-a",
        "var=targets_signs",
    ]
    env = {**os.environ, "VAGRANT_DOTFILE_PATH": place}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert f"- {folder}/machines/ubuntu-22.04/libvirt/id\n" in done.stdout


def test_the_machines_are_those_of_the_inventory(vagrant: Vagrant) -> None:
    """`vagrant status` lists the group vagrant_machines and nothing else."""
    done = vagrant("status", "--machine-readable")
    listed = {line.split(",")[1] for line in done.stdout.splitlines() if line.split(",")[1]}
    assert listed == set(MACHINES), done.stderr


def test_a_machine_added_to_the_inventory_is_a_machine_of_vagrant(vagrant: Vagrant, project: Path) -> None:
    """Nothing but inventory/hosts.yml has to be touched."""
    changed = yaml.safe_load((project / "inventory/hosts.yml").read_text(encoding="utf-8"))
    hosts = changed["all"]["children"]["vagrant_machines"]["hosts"]
    hosts["ubuntu-26.04"] = {"vagrant_box": "bento/ubuntu-26.04", "ansible_host": "192.168.56.26"}
    (project / "inventory/hosts.yml").write_text(yaml.safe_dump(changed), encoding="utf-8")
    assert "ubuntu-26.04" in vagrant("status").stdout

"""`kmodlab doctor`: each lack of a host is named, with the fix."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kmodlab import doctor, paths
from kmodlab.doctor import Finding, Patient
from kmodlab.host import Host
from kmodlab.image import trust
from kmodlab.image.image import images_dir
from kmodlab.image.places import Places
from kmodlab.image.plan import planned
from kmodlab.vm.accelerator import qemu_binary

from .conftest import FakeProgram, make_image, make_places, plant


@pytest.fixture
def closed_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class _Archive(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Know one release, and nothing else."""
        found = self.path == "/debian/dists/bookworm/InRelease"
        self.send_response(200 if found else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


@pytest.fixture
def archive_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of an archive on the loopback address, reached without a proxy."""
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Archive) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def host(fake_program: FakeProgram, archive_port: int) -> FakeProgram:
    """A Debian host that lacks nothing: every program is a stand-in, the archive is on loopback."""
    fake_program("apt-get", f"echo 'Debian|http://127.0.0.1:{archive_port}/debian/|bookworm|main'")
    fake_program("apt-config", "exit 0")
    for name in (*doctor.PROGRAMS, qemu_binary(), "newuidmap"):
        fake_program(name, "exit 0")
    return fake_program


#: examines a host by the doctor
Grader = Callable[..., dict[str, Finding]]


def _machine(proc: Path, memory: int = 4096, space: int = 8 << 30, row: str = "0 0 4294967295") -> Host:
    """A machine with MiB of memory and bytes on each disk that are free, and the user ids that root has there."""
    plant(proc, {"self/uid_map": row, "meminfo": f"MemAvailable: {memory << 10} kB"})
    return Host(proc=proc, space=lambda _: space)


@pytest.fixture
def examine(debian_host: Places, tmp_path: Path) -> Grader:
    """A function that examines a Debian host with enough memory and room, or another one; see `Patient`."""

    def found(machine: Host | None = None, **others: Any) -> dict[str, Finding]:
        patient = Patient(machine or _machine(tmp_path / "proc"), debian_host)
        return {finding.subject: finding for finding in doctor.examine(replace(patient, **others))}

    return found


def test_a_host_that_lacks_nothing(examine: Grader) -> None:
    found = examine()
    assert [finding for finding in found.values() if not finding.good] == []
    assert {*doctor.PROGRAMS, qemu_binary(), "cache directory", "state directory", "memory"} < set(found)
    assert found["archive"].detail.endswith("/debian/dists/bookworm/InRelease answers")


@pytest.mark.parametrize(
    ("program", "package"), [("qemu-img", "qemu-utils"), ("mmdebstrap", "mmdebstrap"), ("ssh", "openssh-client")]
)
def test_a_missing_program_is_named_with_its_package(
    examine: Grader, host: FakeProgram, monkeypatch: pytest.MonkeyPatch, program: str, package: str
) -> None:
    fakes = host("another", "exit 0").parent
    (fakes / program).unlink()
    monkeypatch.setenv("PATH", str(fakes))
    finding = examine()[program]
    assert finding == Finding(program, False, "not installed", f"apt-get install {package}")


def test_a_missing_emulator_is_named_with_its_package(
    examine: Grader, host: FakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = host("another", "exit 0").parent
    (fakes / qemu_binary()).unlink()
    monkeypatch.setenv("PATH", str(fakes))
    finding = examine()[qemu_binary()]
    assert not finding.good
    assert finding.fix.startswith("apt-get install qemu-system-")


@pytest.mark.parametrize("subject", ["cache", "state"])
def test_a_full_disk_is_named_with_what_is_needed(examine: Grader, tmp_path: Path, subject: str) -> None:
    finding = examine(_machine(tmp_path / "full", space=7 << 20))[f"{subject} directory"]
    directory = paths.cache_dir() if subject == "cache" else paths.state_dir()
    assert (finding.good, finding.detail) == (False, f"7 MiB free in {directory}")
    assert "`kmodlab image prune`" in finding.fix
    assert f"KMODLAB_{subject.upper()}_DIR" in finding.fix


def test_little_memory_is_named(examine: Grader, tmp_path: Path) -> None:
    finding = examine(_machine(tmp_path / "small", memory=2047))["memory"]
    assert not finding.good
    assert finding.detail == "2047 MiB available"
    assert "--memory 512" in finding.fix


def test_an_archive_that_does_not_answer_is_named(examine: Grader, host: FakeProgram, closed_port: int) -> None:
    host("apt-get", f"echo 'Debian|http://127.0.0.1:{closed_port}/debian/|bookworm|main'")
    finding = examine()["archive"]
    assert not finding.good
    assert finding.detail.startswith(f"http://127.0.0.1:{closed_port}/debian/dists/bookworm/InRelease: ")
    assert "Connection refused" in finding.detail
    assert finding.fix == "check network, proxy and /etc/apt/sources.list*"


def test_an_archive_without_the_release_is_named(examine: Grader, host: FakeProgram, archive_port: int) -> None:
    host("apt-get", f"echo 'Debian|http://127.0.0.1:{archive_port}/other/|bookworm|main'")
    finding = examine()["archive"]
    assert not finding.good
    assert "404" in finding.detail


def test_apt_that_knows_no_archive_is_named(examine: Grader, host: FakeProgram) -> None:
    host("apt-get", "exit 0")
    finding = examine()["apt sources"]
    assert (finding.good, finding.detail) == (False, "apt knows no archive of debian")
    assert finding.fix.startswith("run `apt-get update` once")


def test_the_keys_of_the_other_distribution_are_no_lack_but_said(
    examine: Grader, debian_host: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = examine()
    assert "keys of debian" not in found
    assert found["keys of ubuntu"] == Finding(
        "keys of ubuntu", True, "not there: images of ubuntu need `apt-get install ubuntu-keyring`"
    )
    (file := debian_host.keyrings / trust.KEYRINGS["ubuntu"]).touch()
    assert examine()["keys of ubuntu"] == Finding("keys of ubuntu", True, str(file))
    monkeypatch.setenv("KMODLAB_UBUNTU_KEYRING", "/no/such/file")
    finding = examine()["keys of ubuntu"]
    assert (finding.good, finding.detail) == (False, "there is no file /no/such/file")
    assert finding.fix == "KMODLAB_UBUNTU_KEYRING names it: name another, or none"


def test_the_mirror_that_the_user_names_is_the_one_that_is_asked(
    examine: Grader, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("KMODLAB_DEBIAN_MIRROR", f"http://127.0.0.1:{closed_port}/near")
    finding = examine()["archive"]
    assert not finding.good
    assert finding.detail.startswith(f"http://127.0.0.1:{closed_port}/near/dists/bookworm/InRelease: ")


def test_a_host_of_another_kind_is_named(tmp_path: Path) -> None:
    fedora = make_places(tmp_path / "fedora", ID="fedora", PRETTY_NAME="Fedora 43")
    lacks = [finding for finding in doctor.examine(Patient(places=fedora)) if "Fedora 43" in finding.detail]
    assert lacks
    assert all(not finding.good and "vagrant up" in finding.fix for finding in lacks)


def test_emulation_is_no_lack_but_said(examine: Grader, monkeypatch: pytest.MonkeyPatch, debian_host: Places) -> None:
    assert examine()["accelerator"].detail.startswith("not probed: that needs an image")
    make_image(images_dir() / planned("auto", debian_host).id)
    monkeypatch.setenv("KMODLAB_ACCEL", "tcg")
    finding = examine()["accelerator"]
    assert finding.good
    assert "about ten times slower" in finding.detail
    monkeypatch.setenv("KMODLAB_ACCEL", "kvm")
    assert examine()["accelerator"].detail == "kvm boots a kernel"


# -- what is around the programs ---------------------------------------------------------------------------------


def test_a_python_that_is_too_old_is_named(examine: Grader) -> None:
    assert examine()["Python"].good
    fix = "3.11.2 or newer is needed: apt-get install python3"
    for version, good in (("3.9.18", False), ("3.11.1", False), ("3.11.2", True), ("3.12.0rc1+", True)):
        assert examine(python=version)["Python"] == Finding("Python", good, version, fix)


def test_a_python_that_could_make_no_environment_is_noted(examine: Grader) -> None:
    assert "venv" not in examine()
    finding = examine(has=lambda name: None if name == "ensurepip" else 1)["venv"]
    assert (finding.mark, finding.fix) == ("note", "apt-get install python3-venv")
    assert "venv" not in examine(has=lambda _: None, checkout=False), "what pip has installed makes none"


@pytest.mark.parametrize("subject", ["cache", "state"])
@pytest.mark.parametrize(("what", "words"), [("file", "is no directory"), ("locked", "cannot be written to")])
def test_a_directory_that_cannot_be_used_is_named(
    examine: Grader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, subject: str, what: str, words: str
) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "file").touch()
    variable = f"KMODLAB_{subject.upper()}_DIR"
    monkeypatch.setenv(variable, str(tmp_path / what / "below"))
    machine = replace(_machine(tmp_path / "proc"), writable=lambda path: path.is_dir() and path.name != "locked")
    finding = examine(machine)[f"{subject} directory"]
    assert (finding.mark, finding.detail) == ("LACK", f"{tmp_path / what} {words}")
    assert f"export {variable}=" in finding.fix


def test_temporary_files_that_have_no_place_are_named(examine: Grader, tmp_path: Path) -> None:
    assert examine()["temporary files"].good
    machine = replace(_machine(tmp_path / "proc"), temporary=lambda: tmp_path / "none")
    assert examine(machine)["temporary files"].fix == f"chmod 1777 {tmp_path / 'none'}"


def test_no_place_to_build_images_in_is_named(examine: Grader, debian_host: Places) -> None:
    debian_host.staging.rmdir()
    finding = examine()[f"{debian_host.staging}"]
    assert (finding.mark, finding.fix) == ("LACK", f"chmod 1777 {debian_host.staging}")


def test_no_place_for_temporary_files_is_named(examine: Grader, tmp_path: Path) -> None:
    def none() -> Path:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    finding = examine(replace(_machine(tmp_path / "proc"), temporary=none))["temporary files"]
    assert (finding.mark, finding.detail) == ("LACK", "No usable temporary directory found in ['/tmp']")


@pytest.mark.parametrize(("free", "mark"), [(64, "note"), (1535, "note"), (1536, "ok")])
def test_little_memory_for_files_is_noted(examine: Grader, tmp_path: Path, free: int, mark: str) -> None:
    machine = replace(_machine(tmp_path / "proc", space=free << 20), shared=tmp_path)
    finding = examine(machine)["memory for files"]
    assert (finding.good, finding.mark) == (True, mark)
    assert (str(paths.state_dir()) in finding.detail) == (mark == "note")
    assert ("--shm-size=1536m" in finding.fix) == (mark == "note")


def test_refused_namespaces_are_named_with_the_fix(examine: Grader, host: FakeProgram, tmp_path: Path) -> None:
    host("unshare", "echo 'unshare: write failed /proc/self/uid_map: Operation not permitted' >&2; exit 1")
    host("bwrap", "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1")
    name = "kernel.apparmor_restrict_unprivileged_userns"
    why = f"AppArmor keeps them from ordinary users (Ubuntu): {name} is 1"
    user = _machine(tmp_path / "user", row="0 1000 1")
    plant(user.proc, {f"sys/{name.replace('.', '/')}": "1", "self/mountinfo": "1 0 0:1 / / rw", "self/ns/user": ""})
    found = examine(user)
    assert found["user namespaces"] == Finding("user namespaces", False, why, found["sandbox"].fix)
    assert found["sandbox"].detail.endswith(f"{why}: bwrap: setting up uid map: Permission denied")
    assert found["sandbox"].fix.startswith(f"sudo sysctl -w {name}=0")
    (user.proc / "sys" / name.replace(".", "/")).write_text("0\n")
    assert examine(user)["user namespaces"].detail.startswith("user namespaces are refused: unshare: write failed")
    if os.getuid() == 0:
        assert examine()["user namespaces"].good


def test_no_place_for_control_sockets_is_named(
    examine: Grader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("KMODLAB_STATE_DIR", str(tmp_path / ("x" * 60)))
    finding = examine(replace(_machine(tmp_path / "proc"), near=tmp_path / "none"))["control sockets"]
    assert finding.note
    assert "XDG_RUNTIME_DIR" in finding.fix
    assert not examine()["control sockets"].note


_DOCTOR = "from kmodlab import doctor; [print(f.mark, f.detail, '|', f.fix) for f in doctor._locale(doctor.Patient())]"


@pytest.mark.parametrize(
    ("variables", "mark", "words"),
    [
        ({"LC_ALL": "C.UTF-8"}, "ok", "UTF-8"),
        ({"LC_ALL": "xx_YY.UTF-8"}, "note", "there is no xx_YY.UTF-8: what is not ASCII"),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, "note", "ANSI_X3.4-1968: what is not ASCII"),
    ],
)
def test_a_locale_that_is_not_utf_8_is_noted(variables: dict[str, str], mark: str, words: str) -> None:
    env = {"PATH": os.environ["PATH"], **variables}
    done = subprocess.run([sys.executable, "-c", _DOCTOR], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{mark} {words}")
    assert done.stdout.endswith("| export LC_ALL=C.UTF-8\n" if mark == "note" else "| \n")


def test_settings_of_ansible_that_do_not_count_are_noted(
    examine: Grader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ANSIBLE_CONFIG", raising=False)
    own = paths.project_dir() / "ansible.cfg"
    (project := tmp_path / "project").mkdir()
    (project / "ansible.cfg").touch()
    project.chmod(0o777)
    finding = examine(project=project)["ansible.cfg"]
    assert finding.mark == "note"
    assert finding.fix == f"chmod o-w {project}, or export ANSIBLE_CONFIG={project / 'ansible.cfg'}"
    monkeypatch.setenv("ANSIBLE_CONFIG", str(project / "ansible.cfg"))
    assert examine(project=project)["ansible.cfg"].mark == "ok", "named by its path it counts"
    project.chmod(0o755)
    for other in (str(own), "/no/such/ansible.cfg"):
        monkeypatch.setenv("ANSIBLE_CONFIG", other)
        finding = examine(project=project)["ansible.cfg"]
        assert (finding.mark, finding.fix) == ("note", "unset ANSIBLE_CONFIG")
        assert other in finding.detail
    monkeypatch.delenv("ANSIBLE_CONFIG")
    assert examine(project=project)["ansible.cfg"].mark == "ok"


def test_compilers_are_for_the_tests_alone(examine: Grader, host: FakeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = host("another", "exit 0").parent
    monkeypatch.setenv("PATH", str(fakes))
    assert "compiler" not in examine(checkout=False)
    finding = examine()["compiler"]
    assert (finding.mark, finding.fix) == ("note", "for the tests: .config/setup test")
    assert finding.detail.startswith("no gcc and no clang here. Only `make check` and `make test` need them")
    for name in ("gcc", "clang"):
        host(name, "exit 0")
    assert examine()["compiler"].mark == "ok"


# -- how it is told ----------------------------------------------------------------------------------------------


def test_what_is_good_is_told_in_a_line() -> None:
    good = Finding("ssh", True, "/usr/bin/ssh", "install it")
    assert list(good.lines()) == ["ok    ssh: /usr/bin/ssh"]
    assert doctor.status([good]) == 0


@pytest.mark.parametrize(("good", "mark", "status"), [(True, "note", 0), (False, "LACK", 3)])
def test_a_note_is_told_with_what_to_do_and_is_no_lack(good: bool, mark: str, status: int) -> None:
    finding = Finding("x", good, "odd", "do this", note=good)
    assert list(finding.lines()) == [f"{mark}  x: odd", "      fix: do this"]
    assert doctor.status([Finding("ssh", True, "/usr/bin/ssh"), finding]) == status

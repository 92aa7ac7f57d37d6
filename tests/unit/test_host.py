"""What the host can give, real and made up: memory in control groups, user namespaces that are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from patience import SECONDS

from kmodlab import host, namespaces, paths
from kmodlab.errors import LabError
from kmodlab.grading import grader, sandbox
from kmodlab.grading.lab import Lab
from kmodlab.host import Host
from kmodlab.image.buildroot import own_mounts
from kmodlab.image.image import images_dir
from kmodlab.image.plan import planned
from kmodlab.paths import project_dir

from .conftest import FakeProgram, make_image, plant

LAB = project_dir() / "tests" / "grading" / "lab"
MiB = 1 << 20


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc of a machine with 8 GiB free, whose kernel has user namespaces."""
    folder = tmp_path / "proc"
    plant(folder, {"self/ns/user": "", "meminfo": f"MemTotal: {16 << 20} kB\nMemAvailable: {8 << 20} kB"})
    return folder


@pytest.fixture
def machine(proc: Path, tmp_path: Path) -> Host:
    """That machine, of which the scheduler gives four processors; its control groups are yet to be made."""
    return Host(proc=proc, cgroups=tmp_path / "cgroup", allowed=4)


def _group(folder: Path, names: tuple[str, str, str], limit: str, used: int, inactive: int) -> None:
    stat = f"anon 5\n{names[2]} {inactive * MiB}"
    plant(folder, {names[0]: limit, names[1]: str(used * MiB), "memory.stat": stat})


def test_memory_without_groups(machine: Host) -> None:
    assert machine.available_memory() == 8192
    (machine.proc / "self" / "cgroup").write_text("0::/a/b\n")
    assert machine.available_memory() == 8192


@pytest.mark.parametrize(
    ("line", "names", "top"), [("0::/a/b", host._V2, ""), ("4:memory:/a/b", host._V1, "memory")], ids=["v2", "v1"]
)
@pytest.mark.parametrize("where", ["a/b", "a", "."])
def test_the_least_that_a_group_leaves_counts(
    machine: Host, line: str, names: tuple[str, str, str], top: str, where: str
) -> None:
    """Pages of files that are not in use are as good as free; the group of a container is its top one."""
    (machine.proc / "self" / "cgroup").write_text(f"9:cpu:/x\n{line}\n")
    _group(machine.cgroups / top / "a" / "b", names, "max" if names == host._V2 else str(1 << 62), 100, 0)
    _group(machine.cgroups / top / where, names, str(1000 * MiB), 700, 200)
    assert machine.available_memory() == 500


def _quota(machine: Host, where: str, quota: int, period: int, *, unified: bool) -> None:
    """Let a group have so many microseconds of processors in each period; -1: as many as there are."""
    folder = machine.cgroups / ("." if unified else "cpu") / where
    v2 = {"cpu.max": f"{'max' if quota < 0 else quota} {period}"}
    plant(folder, v2 if unified else {"cpu.cfs_quota_us": str(quota), "cpu.cfs_period_us": str(period)})


@pytest.mark.parametrize(("line", "unified"), [("0::/a/b", True), ("4:cpu,cpuacct:/a/b", False)], ids=["v2", "v1"])
@pytest.mark.parametrize("where", ["a/b", "a", "."])
@pytest.mark.parametrize(("quota", "processors"), [(-1, 4), (900, 4), (300, 3), (299, 2), (100, 1), (50, 1)])
def test_the_least_that_a_group_may_run_on_counts(
    machine: Host, line: str, unified: bool, where: str, quota: int, processors: int
) -> None:
    """A part of a processor is none, and there is always one."""
    (machine.proc / "self" / "cgroup").write_text(f"9:memory:/x\n{line}\n")
    _quota(machine, "a/b", -1, 100, unified=unified)
    _quota(machine, where, quota, 100, unified=unified)
    assert machine.processors() == processors


def test_processors_without_groups_are_the_schedulers(machine: Host) -> None:
    assert machine.processors() == 4
    assert Host().allowed == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("memory", "machines"), [(1024, 4), (2048, 4), (2049, 3), (5000, 1), (9000, 1)])
def test_machines_side_by_side_are_as_many_as_memory_and_processors_allow(
    machine: Host, memory: int, machines: int
) -> None:
    assert machine.at_a_time(memory) == machines
    (machine.proc / "self" / "cgroup").write_text("0::/a\n")
    _quota(machine, "a", 200, 100, unified=True)
    assert machine.at_a_time(memory) == min(2, machines)


def test_this_machine() -> None:
    assert 0 < host.HOST.available_memory() < 1 << 30
    assert 1 <= host.HOST.processors() <= len(os.sched_getaffinity(0))


@pytest.fixture
def grading(machine: Host, fake_program: FakeProgram, tmp_path: Path) -> Host:
    """That machine, with all that grading needs, an image included; it has the memory that a test gives it."""
    fake_program("bwrap", "exit 0")
    fake_program("apt-get", "exit 0")
    make_image(images_dir() / planned("auto").id)
    return replace(machine, shared=tmp_path, space=lambda _: 1 << 40)


@pytest.mark.parametrize("available", [768, 1000])
def test_memory_for_fewer_machines_than_were_asked_for_is_said(
    grading: Host, available: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (grading.proc / "meminfo").write_text(f"MemAvailable: {available << 10} kB\n")
    _, images = grader.make_grader(Lab.load(LAB), 2, host=grading)
    assert images == planned("auto").id
    assert f"2 machines may take 1536 MiB, and {available} are available" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("memory", "processors", "room", "machines"),
    [(8192, 4, 8192, 4), (8192, 3, 8192, 3), (1600, 4, 8192, 2), (8192, 4, 2048, 2), (100, 1, 100, 1)],
)
def test_a_class_is_graded_by_as_many_machines_as_memory_processors_and_room_allow(
    grading: Host, memory: int, processors: int, room: int, machines: int
) -> None:
    """Of 768 MiB each; what they write takes 1024 MiB at first, and 512 for each."""
    (grading.proc / "meminfo").write_text(f"MemAvailable: {memory << 10} kB\n")
    host = replace(grading, allowed=processors, space=lambda _: room << 20)
    assert grader.parallel(Lab.load(LAB), host) == machines


def test_too_little_memory_is_said_before_the_first_student(grading: Host, capsys: pytest.CaptureFixture[str]) -> None:
    (grading.proc / "meminfo").write_text(f"MemAvailable: {700 << 10} kB\n")
    with pytest.raises(LabError, match="a machine of this lab takes 768 MiB, and 700 are available"):
        grader.make_grader(Lab.load(LAB), 2, host=grading)
    assert capsys.readouterr().err == ""


# -- user namespaces ---------------------------------------------------------------------------------------------

SETTINGS = {
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
    "user.max_user_namespaces": ("0", "15000"),
    "kernel.unprivileged_userns_clone": ("0", "1"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_that_refuses_is_named_with_its_fix(proc: Path, name: str) -> None:
    for other, (_, good) in SETTINGS.items():
        file = proc / "sys" / other.replace(".", "/", 1)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{good}\n")
    bad, good = SETTINGS[name]
    (proc / "sys" / name.replace(".", "/", 1)).write_text(f"{bad}\n")
    why, fix = namespaces.cause(Host(proc=proc))
    assert why.endswith(f": {name} is {bad}")
    assert fix.startswith(
        f"sudo sysctl -w {name}={good} (to keep it over a restart: echo {name}={good} | sudo tee /etc"
    )
    (proc / "sys" / name.replace(".", "/", 1)).write_text(f"{good}\n")
    assert namespaces.cause(Host(proc=proc))[0] == ""
    assert "--security-opt" in namespaces.cause(Host(proc=proc))[1]


def test_a_kernel_without_them_is_named(proc: Path) -> None:
    (proc / "self" / "ns" / "user").unlink()
    assert namespaces.cause(Host(proc=proc)) == ("this kernel has no user namespaces", "run the command as root")


@pytest.mark.parametrize(
    ("rows", "root"), [("0 0 4294967295", True), ("0 1000 1", False), ("0 0 1\n1 100000 65536", False)]
)
def test_who_is_root(proc: Path, rows: str, root: bool) -> None:
    """Root of a container that was given some user ids has not the one that a build is to run as."""
    (proc / "self" / "uid_map").write_text(f"{rows}\n")
    assert namespaces.is_root(Host(proc=proc, user=0)) is root
    assert not namespaces.is_root(Host(proc=proc, user=1000))


def test_the_sandbox_starts_here() -> None:
    sandbox.require()


def test_a_sandbox_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="bwrap is not installed"):
        sandbox.require()


def test_a_sandbox_that_is_refused_for_no_known_reason(fake_program: FakeProgram, proc: Path) -> None:
    fake_program("bwrap", "echo 'bwrap: no such luck' >&2; exit 1")
    with pytest.raises(LabError, match=r"^the sandbox in which submissions are built does not start\n") as caught:
        sandbox.require(Host(proc=proc))
    assert caught.value.output == "bwrap: no such luck\n"
    assert "container" in (caught.value.hint or "")


#: limits the namespaces below one of this test's own; the user there is root over himself alone
_NONE_BELOW = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
_PROGRAM = [sys.executable, "-c", "from kmodlab.start import main; main()"]


def _without_namespaces(*words: str) -> subprocess.CompletedProcess[str]:
    argv = ["unshare", "--user", "--map-root-user", "sh", "-c", _NONE_BELOW, "sh", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode and done.stderr.startswith("unshare: "):
        pytest.skip("this machine has no user namespaces for the test itself")
    return done


@pytest.mark.parametrize("command", ["grade", "lab check", "worker"])
def test_a_user_without_namespaces_is_told_before_the_first_student(command: str, tmp_path: Path) -> None:
    (tmp_path / "class" / "ada").mkdir(parents=True)
    (tmp_path / "class" / "ada" / "jiffies.c").write_text("int a;\n")
    words = {
        "grade": ["grade", str(LAB), str(tmp_path / "class"), "--out", str(tmp_path / "out")],
        "lab check": ["lab", "check", str(LAB)],
        "worker": ["worker", "tcp://127.0.0.1:1"],
    }
    done = _without_namespaces(*_PROGRAM, *words[command])
    assert done.returncode == 3, done.stderr
    first, *others = done.stderr.splitlines()
    assert first == (
        "kmodlab: error: the sandbox in which submissions are built does not start: "
        "none are allowed on this system: user.max_user_namespaces is 0"
    )
    assert any(line.startswith("  hint: sudo sysctl -w user.max_user_namespaces=15000 (") for line in others)
    assert not (tmp_path / "out" / ".kmodlab" / "results").exists()
    assert not (paths.cache_dir() / "images").exists(), "an image was begun before that"


def test_root_of_a_container_that_has_few_user_ids_has_a_sandbox() -> None:
    """A build cannot run as a user id that is not there: every student would get a build error."""
    words = ["unshare", "--user", "--map-root-user", sys.executable, "-c"]
    done = subprocess.run(
        [*words, "from kmodlab.grading import sandbox; sandbox.require()"], capture_output=True, text=True, check=False
    )
    if done.stderr.startswith("unshare: "):
        pytest.skip("this machine has no user namespaces")
    assert (done.returncode, done.stderr) == (0, "")


#: a root directory of its own that has all that this one has, and is no mount point
_CHROOT = """
mount -t tmpfs small "$0" && mkdir "$0/root.d" && cd "$0/root.d" || exit 99
for place in /*; do
    name=${place#/}
    if [ -L "$place" ]; then cp -P "$place" "$name"
    elif [ -d "$place" ]; then mkdir "$name" && mount --rbind "$place" "$name"; fi
done
exec chroot "$0/root.d" "$@"
"""
_IN_A_CHROOT = """
import subprocess, tarfile, tempfile
from pathlib import Path
from kmodlab import namespaces
from kmodlab.grading import repacked, sandbox
sandbox.require()
with tempfile.TemporaryFile() as archive:
    subprocess.run(["bsdtar", "-c", "--format=7zip", "-C", "/etc", "hostname"], stdout=archive, check=True)
    archive.seek(0)
    with repacked.as_tar(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        print(tar.getnames())
print(namespaces.in_a_chroot(), len(list(Path("/proc/fs").iterdir())) > 0)
"""


def test_root_of_a_chroot_has_its_sandboxes(tmp_path: Path) -> None:
    """There "/" is no mount point, and bubblewrap alone gives up; what is mounted for it nobody else sees."""
    if os.getuid():
        pytest.skip("chroot(2) needs root")
    argv = ["unshare", *own_mounts(), "sh", "-c", _CHROOT, str(tmp_path), sys.executable, "-c", _IN_A_CHROOT]
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['hostname']\nTrue True\n", "")


def test_a_user_in_a_chroot_is_told_so(proc: Path) -> None:
    (proc / "self" / "mountinfo").write_text("30 29 0:5 / /proc rw - proc proc rw\n")
    (proc / "self" / "uid_map").write_text("0 1000 1\n")
    assert namespaces.cause(Host(proc=proc)) == (
        "in a chroot the kernel gives none",
        "run the command as root, or outside",
    )


_NOEXEC = """
from kmodlab import doctor
from kmodlab.errors import LabError
from kmodlab.grading import sandbox
for finding in doctor._temporary(doctor.Patient()):
    print(finding.mark, finding.detail, finding.fix, sep=" | ")
try:
    sandbox.require()
except LabError as error:
    print(error.message)
"""


def test_temporary_files_that_cannot_be_run_are_named(tmp_path: Path) -> None:
    """As /tmp is mounted on some servers; grading says so as well, before the first student."""
    (place := tmp_path / "tmp").mkdir()
    mount = 'mount -t tmpfs -o noexec,size=1m small "$TMPDIR" && exec "$@"'
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", sys.executable, "-c", _NOEXEC]
    env = {**os.environ, "TMPDIR": str(place)}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    if done.returncode and done.stderr.startswith("unshare: "):
        pytest.skip("this machine has no user namespaces")
    said = f"no program can be run in {place}: it is mounted noexec"
    hint = "name another directory: export TMPDIR=$HOME/tmp; mkdir -p $TMPDIR"
    assert done.stdout.splitlines() == [f"LACK | {said} | {hint}", "ok | /var/tmp | ", said], done.stderr


_HOMELESS = """
from kmodlab import doctor
finding = next(finding for finding in doctor.examine() if finding.subject == "home directory")
print(*finding.lines(), sep="\\n")
"""


def test_a_user_without_a_home_directory_is_told() -> None:
    """One whom no file of users knows."""
    words = ["unshare", "--user", "--map-user=4242", sys.executable, "-c", _HOMELESS]
    env = {name: value for name, value in os.environ.items() if name not in ("HOME", "KMODLAB_CACHE_DIR")}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    if done.returncode and done.stderr.startswith("unshare: "):
        pytest.skip("this machine has no user namespaces")
    assert done.stdout.startswith("LACK  home directory: "), done.stderr
    _, fix = done.stdout.splitlines()
    assert fix == "      fix: export HOME=/PATH/OF/A/DIRECTORY"

"""Faults, staged: each ends in one clear message, nothing left running, nothing that breaks the next run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from patience import SECONDS

from kmodlab import paths
from kmodlab.errors import GuestCrashed, LabError
from kmodlab.guest import Guest, list_guests
from kmodlab.image import archive
from kmodlab.image.buildroot import own_mounts
from kmodlab.image.image import Image, build_image, find_image, images_dir
from kmodlab.image.places import host_release
from kmodlab.image.plan import planned
from kmodlab.playbook import play
from kmodlab.process import Deadline
from kmodlab.vm import accelerator
from kmodlab.vm.accelerator import Kvm, qemu_binary

KMODLAB = Path(sys.executable).with_name("kmodlab")


@pytest.fixture(scope="module", autouse=True)
def image() -> Image:
    """The image that the guests here start from, built before anything is broken."""
    return build_image(planned("auto"))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, empty."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("KMODLAB_CACHE_DIR", str(cache))
    return cache


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory before all others on PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    return directory


def _program(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def _start(*words: str) -> subprocess.Popen[str]:
    """Start `kmodlab` as a shell does: in a process group of its own."""
    argv = [str(KMODLAB), *words]
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def _until(seen: Callable[[], object], what: str, seconds: float = 120) -> None:
    deadline = Deadline(seconds)
    while not seen():
        assert not deadline.expired, f"{what} did not come within {seconds:.0f} s"
        time.sleep(0.02)


def _qemus(name: str) -> list[int]:
    """The processes that run a guest of that name out of this session's state directory, pid file or not."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words = (directory / "cmdline").read_bytes().split(b"\0")
            logs = [os.readlink(link) for link in (directory / "fd").iterdir()]  # noqa: PTH115
        except OSError:
            continue
        if f"kmodlab-{name}".encode() in words and any(log.startswith(str(paths.state_dir())) for log in logs):
            found.append(int(directory.name))
    return found


def _nothing_left(name: str) -> None:
    _until(lambda: not _qemus(name), f"the end of {name}'s QEMU", 30)
    assert not (paths.state_dir() / "guests" / name).exists()
    assert [guest.name for guest in list_guests()] == []


# -- a guest that dies ---------------------------------------------------------------------------------------------


def test_a_guest_killed_amid_a_command(victim: Guest) -> None:
    victim.up()
    number = victim.qemu.pid
    assert number
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(victim.execute, "touch /run/begun; sleep 600")
        onlooker = Guest("victim")
        onlooker.machine.wait_until_succeeds("test -e /run/begun")
        os.kill(number, signal.SIGKILL)
        with pytest.raises(GuestCrashed, match="QEMU ended while running `touch /run/begun; sleep 600`"):
            waiting.result(timeout=SECONDS)
    assert [(guest.name, guest.running) for guest in list_guests()] == [("victim", False)]
    assert victim.up() is True
    assert victim.succeed("test ! -e /run/begun && echo new") == "new\n"


def test_a_kernel_panic_ends_a_wait_at_once(victim: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    victim.up()
    half = Deadline(300)
    with pytest.raises(GuestCrashed) as caught:
        victim.execute("echo c >/proc/sysrq-trigger; sleep 600")
    assert not half.expired
    error = caught.value
    assert error.message.startswith("the guest's kernel broke while running `echo c >/proc/sysrq-trigger; sleep 600`: ")
    assert "sysrq triggered crash" in (error.output or "")
    assert error.log == victim.directory / "console.log"
    assert error.status == 4
    capsys.readouterr()
    assert victim.up() is True
    assert "the guest victim runs but does not answer: replacing it" in capsys.readouterr().err
    assert victim.succeed("echo new") == "new\n"


def test_a_kernel_panic_ends_a_playbook_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Guest("lab") as guest, ThreadPoolExecutor(1) as pool:
        playing = pool.submit(play, guest, "deploy.yml", log=log)
        _until(lambda: log.exists() and "kernel_headers : " in log.read_text(), "the first role")
        crash = guest.ssh_command("echo c >/proc/sysrq-trigger")
        with subprocess.Popen(crash, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as hanging:
            with pytest.raises(GuestCrashed) as caught:
                playing.result(timeout=600)
            hanging.kill()
    assert "the guest's kernel broke while running the playbooks: " in caught.value.message
    assert "Kernel panic - not syncing: sysrq triggered crash" in caught.value.message
    assert "UNREACHABLE" not in log.read_text(), "Ansible was left to find out for itself"
    _nothing_left("lab")


def test_an_oops_that_a_short_command_makes_is_not_missed(victim: Guest) -> None:
    victim.up()
    with pytest.raises(GuestCrashed, match=r"broke while running `echo .* >/dev/kmsg`: .*BUG: made up"):
        victim.execute("echo '<0>BUG: made up' >/dev/kmsg")


def test_what_a_dead_guest_left_is_cleared_away(victim: Guest) -> None:
    victim.directory.mkdir(parents=True)
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        (victim.directory / "pid").write_text(f"{bystander.pid}\n")
        for name in ("qmp.sock", "console.sock", "disk.qcow2", "ssh_config", "guest.json", "console.log"):
            (victim.directory / name).write_text("half a fi")
        assert [guest.running for guest in list_guests()] == [False]
        assert victim.up() is True
        assert victim.succeed("hostname") == "victim\n"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


# -- two at once, interruptions ------------------------------------------------------------------------------------


def test_two_at_once_get_one_guest(victim: Guest) -> None:
    both = [_start("guest", "up", victim.name, "--json") for _ in range(2)]
    outputs = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    results = sorted((json.loads(out) for out, _ in outputs), key=lambda result: bool(result["changed"]))
    assert [result.pop("changed") for result in results] == [False, True]
    assert results[0] == results[1]
    assert _qemus(victim.name) == [victim.qemu.pid]
    assert "to finish: bringing up the guest victim" in "".join(err for _, err in outputs)


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "terminated"]
)
def test_interrupted_while_it_boots(victim: Guest, signum: signal.Signals, status: int) -> None:
    process = _start("guest", "up", victim.name, "--cold")
    _until(lambda: victim.qemu.pid, "QEMU")
    process.send_signal(signum)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (status, ""), err
    assert "kmodlab: interrupted" in err
    assert "Traceback" not in err
    _nothing_left(victim.name)


def test_interrupted_while_it_makes_a_snapshot(victim: Guest, image: Image) -> None:
    before = sorted((paths.cache_dir() / "snapshots").glob(f"{image.id}-*.qcow2"))
    process = _start("guest", "up", victim.name, "--memory", "517")
    _until(lambda: [guest for guest in list_guests() if guest.running], "QEMU")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (130, ""), err
    _nothing_left(victim.name)
    assert sorted((paths.cache_dir() / "snapshots").glob(f"{image.id}-*.qcow2")) == before


SLOW_MMDEBSTRAP = """
for word; do case $word in --customize-hook=*) hook=$word;; esac; done
echo "$hook" | sed 's/.*"$1" \\([^ ]*\\) .*/\\1/' >DIR/out
sleep 600 &
echo $! >DIR/child.new
mv DIR/child.new DIR/child
wait
"""


def test_interrupted_while_it_builds_an_image(victim: Guest, own_cache: Path, programs: Path, tmp_path: Path) -> None:
    _program(programs / "mmdebstrap", SLOW_MMDEBSTRAP.replace("DIR", str(tmp_path)))
    process = _start("guest", "up", victim.name)
    _until((tmp_path / "child").exists, "mmdebstrap")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (130, ""), err
    assert "Traceback" not in err
    child = int((tmp_path / "child").read_text())
    _until(lambda: not _runs(child), "the end of mmdebstrap's child", 30)
    staging = Path((tmp_path / "out").read_text().strip()).parent
    assert staging.name.startswith(".building-")
    assert not staging.exists()
    assert [path.name for path in (own_cache / "images").iterdir() if path.suffix != ".lock"] == []
    _nothing_left(victim.name)


def _runs(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# -- a host that lacks something -----------------------------------------------------------------------------------


def test_a_port_that_is_taken(victim: Guest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
        with pytest.raises(LabError) as caught:
            victim.up(port=port)
    error = caught.value
    assert error.message == "QEMU did not start"
    assert f"127.0.0.1:{port}-:22" in (error.output or "")
    assert error.hint == "that port is taken: choose another one with --port, or none and let the system choose"
    assert error.log
    assert error.log.exists()
    _nothing_left(victim.name)
    assert victim.up(port=port) is True
    assert victim.settings["port"] == port


#: mounts a small file system in a mount namespace of its own, runs a command, and shows what is left there
SMALL_DISK = """
mount -t tmpfs -o size=$2 small "$1" || exit 99
shift 2
"$@"
status=$?
echo "left: $(cd "$DISK" && find . -type f ! -name '*.lock' ! -path './log/*' | sort | tr '\\n' ' ')"
exit $status
"""


def _on_small_disk(disk: Path, size: str, variable: str, *words: str) -> subprocess.CompletedProcess[str]:
    disk.mkdir()
    unshare = ["unshare", *own_mounts(), *(["--map-root-user"] if os.getuid() else [])]
    argv = [*unshare, "sh", "-c", SMALL_DISK, "sh", str(disk), size, str(KMODLAB), *words]
    env = {**os.environ, variable: str(disk), "DISK": str(disk)}
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode != 99, f"a small disk cannot be mounted here: {done.stderr}"
    return done


@pytest.mark.usefixtures("image")
def test_no_room_for_a_guests_disk(tmp_path: Path, victim: Guest) -> None:
    victim.up()  # so that the snapshot is there
    victim.down()
    done = _on_small_disk(tmp_path / "disk", "16m", "KMODLAB_STATE_DIR", "guest", "up", "victim")
    assert done.returncode == 3, done.stderr
    assert "kmodlab: error: cp failed\n" in done.stderr
    assert "No space left on device" in done.stderr
    assert "  hint: is the disk full? see `df -h`\n" in done.stderr
    assert done.stdout == "left: \n"


def test_no_room_for_an_image(tmp_path: Path) -> None:
    done = _on_small_disk(tmp_path / "disk", "64m", "KMODLAB_CACHE_DIR", "guest", "up", "victim")
    assert done.returncode == 3
    assert "64 MiB free on the disk of " in done.stderr or "63 MiB free on the disk of " in done.stderr
    assert "and building an image needs 4096" in done.stderr
    assert "  hint: make room (`kmodlab image prune`" in done.stderr
    assert done.stdout == "left: \n"


def test_a_disk_without_a_byte_free(tmp_path: Path) -> None:
    words = ["sh", "-c", 'head -c 1m /dev/zero >"$DISK/ballast.lock"; exec "$@"', "sh", str(KMODLAB)]
    disk = tmp_path / "disk"
    disk.mkdir()
    unshare = ["unshare", *own_mounts(), *(["--map-root-user"] if os.getuid() else [])]
    argv = [*unshare, "sh", "-c", SMALL_DISK, "sh", str(disk), "64k", *words, "guest", "up", "victim"]
    env = {**os.environ, "KMODLAB_STATE_DIR": str(disk), "DISK": str(disk)}
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "kmodlab: error: No space left on device: " in done.stderr
    assert "KMODLAB_STATE_DIR" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def closed_archive(programs: Path) -> Iterator[str]:
    """An apt source on a loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    release = host_release()
    uri = f"http://127.0.0.1:{port}/{release.distribution}/"
    real = shutil.which("apt-get")
    line = f"{release.distribution.title()}|{uri}|{release.codename}|main"
    _program(programs / "apt-get", f"""[ "$1" != indextargets ] && exec {real} "$@"; echo '{line}'""")
    archive.host_sources.cache_clear()
    yield f"127.0.0.1:{port}"
    archive.host_sources.cache_clear()


def test_an_archive_that_cannot_be_reached(own_cache: Path, closed_archive: str) -> None:
    kept = own_cache / "images" / "debian-12-0123456789ab"
    kept.mkdir(parents=True)
    (kept / "manifest.json").write_text("{}")
    with pytest.raises(LabError) as caught:
        build_image(planned("auto"))
    error = caught.value
    assert error.message.startswith("building the image ")
    assert closed_archive in (error.log.read_text() if error.log else "")
    assert error.hint == "is the archive reachable? try `apt-get update`"
    assert error.output
    assert [path.name for path in images_dir().iterdir() if path.suffix != ".lock"] == [kept.name]
    assert find_image(planned("auto")) is None


def test_a_host_without_qemu(programs: Path, monkeypatch: pytest.MonkeyPatch, victim: Guest) -> None:
    for directory in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(directory).glob("*") if directory != str(programs) else ():
            if not program.name.startswith("qemu-system-"):
                (programs / program.name).unlink(missing_ok=True)
                (programs / program.name).symlink_to(program)
    monkeypatch.setenv("PATH", str(programs))
    done = _start("guest", "up", victim.name)
    out, err = done.communicate(timeout=SECONDS)
    assert (done.returncode, out) == (3, "")
    assert f"kmodlab: error: {qemu_binary()} is not installed\n" in err
    assert "  hint: run `kmodlab doctor`: it names the package\n" in err
    _nothing_left(victim.name)


def test_kvm_that_opens_and_never_boots(
    own_cache: Path,
    image: Image,
    programs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where /dev/kvm is of no use guests are emulated: staged on any host by a QEMU that hangs with KVM."""
    real = shutil.which(qemu_binary())
    _program(programs / qemu_binary(), f'case "$*" in *"-accel kvm"*) exec sleep 600;; esac; exec {real} "$@"')
    (device := tmp_path / "kvm").touch()
    monkeypatch.delenv("KMODLAB_ACCEL", raising=False)
    assert accelerator.choose(image, Kvm(device, seconds=1)) == "tcg"
    assert "KVM did not boot a kernel within 1 s: emulating (TCG)" in capsys.readouterr().err
    assert json.loads((own_cache / "accelerator.json").read_text())["accelerator"] == "tcg"


def test_the_answer_about_kvm_is_what_the_guest_runs_on(victim: Guest, image: Image) -> None:
    """With this host's own /dev/kvm, whether it is there, boots, or only opens."""
    chosen = accelerator.choose(image)
    victim.up()
    assert victim.settings["accelerator"] == chosen
    number = victim.qemu.pid
    assert f"-accel\0{chosen}" in Path(f"/proc/{number}/cmdline").read_text()

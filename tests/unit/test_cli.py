"""The command line as a user meets it: its output and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kmodlab import __version__, paths
from kmodlab.cli import main
from kmodlab.grading.grader import GraderFactory
from kmodlab.guest.box import box_path
from kmodlab.image.image import Image
from kmodlab.image.plan import planned
from kmodlab.image.release import RELEASES

from .conftest import FakeProgram, make_image


@dataclass(frozen=True)
class Done:
    """What a command line did."""

    returncode: int
    stdout: str
    stderr: str


#: runs `kmodlab` with some words, and a grader where it is to need no machine
Kmodlab = Callable[..., Done]


@pytest.fixture
def kmodlab(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Kmodlab:
    """The entry point of the command, in this process: starting one takes half a second."""
    monkeypatch.setenv("COLUMNS", "200")  # lines stay whole
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")

    def run(*words: str, make_grader: GraderFactory | None = None) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(words, make_grader)
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Done(code or 0, *capfd.readouterr())

    return run


@pytest.fixture
def quiet_apt(fake_program: FakeProgram, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A host with an apt that knows nothing, and the keys of Debian's archive; the folder of its stand-ins."""
    (tmp_path / "debian.gpg").touch()
    monkeypatch.setenv("KMODLAB_DEBIAN_KEYRING", str(tmp_path / "debian.gpg"))
    fake_program("apt-get", "exit 0")
    return fake_program("apt-config", "exit 0").parent


@pytest.fixture
def bare_host(quiet_apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, with hardly any other program."""
    monkeypatch.setenv("PATH", str(quiet_apt))


def test_the_installed_command() -> None:
    """The one test that starts a process: what the package installs beside its Python."""
    program = Path(sys.executable).with_name("kmodlab")
    done = subprocess.run([program, "guest", "ssh", "web"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", NO_GUEST)


def test_the_version(kmodlab: Kmodlab) -> None:
    done = kmodlab("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"kmodlab {__version__}\n", "")


def test_help_lists_the_commands(kmodlab: Kmodlab) -> None:
    done = kmodlab("--help")
    assert done.returncode == 0
    for command in ("guest", "image", "doctor"):
        assert f" {command} " in done.stdout


NO_GUEST = "kmodlab: error: the guest web is not up\n  hint: kmodlab guest up web\n"
BAD_NAME = "use up to 48 lower-case letters, digits, dots and dashes"


@pytest.mark.parametrize(
    "words", [("guest", "ssh", "web"), ("guest", "exec", "web", "--", "true"), ("guest", "console", "web")]
)
def test_a_guest_that_is_not_up(kmodlab: Kmodlab, words: tuple[str, ...]) -> None:
    done = kmodlab(*words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", NO_GUEST)


@pytest.mark.usefixtures("bare_host")  # so that nothing starts where it is not refused
@pytest.mark.parametrize("command", ["up", "down", "ssh", "console"])
@pytest.mark.parametrize("name", ["../web", "Web", "", "a b", ".hidden", "x" * 49, "web\n"])
def test_a_name_that_no_guest_can_have(kmodlab: Kmodlab, command: str, name: str) -> None:
    done = kmodlab("guest", command, name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"kmodlab: error: {name!r} is no name for a guest\n  hint: {BAD_NAME}\n"
    assert not paths.state_dir().exists()


@pytest.mark.parametrize("words", [("guest", "up", "web", "--image", "debain-12"), ("image", "build", "debain-12")])
def test_a_release_that_there_is_not(kmodlab: Kmodlab, words: tuple[str, ...]) -> None:
    done = kmodlab(*words)
    assert (done.returncode, done.stdout) == (2, "")
    first, hint = done.stderr.splitlines()
    assert first == "kmodlab: error: there is no guest release 'debain-12'"
    assert hint == f"  hint: did you mean debian-12? known: auto {' '.join(RELEASES)}"
    assert not list((paths.state_dir() / "guests").glob("[!.]*"))


@pytest.mark.usefixtures("quiet_apt")
def test_an_accelerator_that_there_is_not(kmodlab: Kmodlab, monkeypatch: pytest.MonkeyPatch) -> None:
    make_image(paths.cache_dir() / "images" / planned("debian-12").id)
    monkeypatch.setenv("KMODLAB_ACCEL", "warp")
    done = kmodlab("guest", "up", "web", "--image", "debian-12")
    assert done.returncode == 2
    assert done.stderr == "kmodlab: error: KMODLAB_ACCEL=warp is not an accelerator\n  hint: use auto, kvm or tcg\n"


@pytest.mark.usefixtures("bare_host")  # so that nothing starts where it is not refused
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gust",), "No such command 'gust'"),
        (("guest", "upp", "web"), "No such command 'upp'"),
        (("guest", "up"), "Missing argument"),
        (("guest", "up", "web", "--memory", "1"), "Invalid value for '--memory'"),
        (("guest", "up", "web", "--cpus", "none"), "Invalid value for '--cpus'"),
        (("guest", "up", "web", "--cpus", "65"), "Invalid value for '--cpus'"),
        (("guest", "up", "web", "--port", "65536"), "Invalid value for '--port'"),
        (("image", "build", "--forse"), "No such option"),
        (("matrix", "--write", "--select", "quick"), "docs/ shows what all tests came to"),
    ],
)
def test_words_that_make_no_sense(kmodlab: Kmodlab, words: tuple[str, ...], message: str) -> None:
    done = kmodlab(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_taking_down_what_is_not_there_is_no_error(kmodlab: Kmodlab) -> None:
    done = kmodlab("guest", "down", "web")
    assert (done.returncode, done.stdout, done.stderr) == (0, "there is no guest web\n", "")
    done = kmodlab("guest", "down", "web", "--json")
    assert json.loads(done.stdout) == {"changed": False, "name": "web", "state": "absent"}
    assert done.stdout.count("\n") == 1


def test_no_guests(kmodlab: Kmodlab) -> None:
    assert json.loads(kmodlab("guest", "list", "--json").stdout) == []
    assert kmodlab("guest", "list").returncode == 0


def test_a_dead_guest_is_listed_as_one(kmodlab: Kmodlab) -> None:
    directory = paths.state_dir() / "guests" / "web"
    directory.mkdir(parents=True)
    settings = {"name": "web", "image": "debian-12-0123", "port": 40123, "memory": 512, "cpus": 1, "accelerator": "tcg"}
    (directory / "guest.json").write_text(json.dumps(settings))
    listed = json.loads(kmodlab("guest", "list", "--json").stdout)
    assert listed == [{**settings, "state": "dead", "ssh_config": str(directory / "ssh_config")}]
    assert kmodlab("guest", "list").stdout.splitlines()[1].split() == [
        "web",
        "dead",
        "debian-12-0123",
        "512",
        "1",
        "tcg",
        "40123",
    ]


def test_a_narrow_terminal_loses_nothing_of_an_images_id(kmodlab: Kmodlab, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = paths.state_dir() / "guests" / "web"
    directory.mkdir(parents=True)
    settings = {
        "image": "debian-12-0123456789ab-01234567",
        "port": 40123,
        "memory": 512,
        "cpus": 1,
        "accelerator": "tcg",
    }
    (directory / "guest.json").write_text(json.dumps(settings))
    monkeypatch.setenv("COLUMNS", "80")
    shown = kmodlab("guest", "list").stdout
    assert "…" not in shown
    assert "debian-12-0123456789ab" in shown


def test_the_accelerator_is_one_word(kmodlab: Kmodlab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMODLAB_ACCEL", "tcg")
    done = kmodlab("accelerator")
    assert (done.returncode, done.stdout, done.stderr) == (0, "tcg\n", "")


@pytest.mark.usefixtures("quiet_apt")
def test_a_box_is_copied_where_one_wants_it(kmodlab: Kmodlab, tmp_path: Path) -> None:
    kept = box_path(make_image(paths.cache_dir() / "images" / planned("debian-12").id))
    kept.parent.mkdir()
    kept.write_text("a box")
    done = kmodlab("image", "box", "debian-12")
    assert (done.returncode, done.stdout) == (0, f"{kept}\n")
    done = kmodlab("image", "box", "debian-12", "--out", str(tmp_path / "mine.box"))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'mine.box'}\n")
    assert (tmp_path / "mine.box").read_text() == "a box"
    done = kmodlab("image", "box", "debian-12", "--out", str(tmp_path / "nowhere" / "mine.box"))
    assert done.returncode == 3
    assert "is it a directory that is there" in done.stderr


def test_images_as_json(kmodlab: Kmodlab) -> None:
    image = make_image(paths.cache_dir() / "images" / "debian-12-0123456789ab")
    assert json.loads(kmodlab("image", "list", "--json").stdout) == [
        {"id": image.id, "release": "debian-12", "kernel": "6.1.0-56-cloud-amd64", "bytes": image.size()}
    ]


@pytest.mark.usefixtures("bare_host")
def test_prune_removes_old_images_and_says_so(kmodlab: Kmodlab) -> None:
    image = make_image(paths.cache_dir() / "images" / "debian-12-0123456789ab")
    done = kmodlab("image", "prune")
    assert (done.returncode, done.stdout) == (0, f"removed {image.id}\n")
    assert not image.directory.exists()
    assert kmodlab("image", "prune").stdout == ""


def _files_of(image: Image) -> list[Path]:
    """Make one of each that belongs to a build of an image: snapshot, template, box, build root."""
    cache = paths.cache_dir()
    files = [cache / "snapshots" / f"{image.id}-0123.qcow2", cache / "boxes" / f"{image.id}-0123.box"]
    folders = [cache / "templates" / f"{image.id}-0123", cache / "buildroots" / image.id]
    for folder in (*folders, *(file.parent for file in files)):
        folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        file.touch()
    return [*files, *folders]


@pytest.mark.usefixtures("bare_host")
def test_prune_keeps_the_newest_build_and_what_guests_are_made_upon(kmodlab: Kmodlab) -> None:
    name = planned("debian-12").id
    first, used, newest = (
        make_image(paths.cache_dir() / "images" / directory, built=built)
        for directory, built in ((name, ""), (f"{name}-ffffffff", "2026-01-01"), (f"{name}-00000000", "2026-01-02"))
    )
    kept = [*_files_of(used), *_files_of(newest)]
    gone = _files_of(first)
    guest = paths.state_dir() / "guests" / "web"
    guest.mkdir(parents=True)
    (guest / "guest.json").write_text(json.dumps({"image": used.id}))
    (guest / "disk.qcow2").touch()
    done = kmodlab("image", "prune")
    lines = [f"kept {used.id}: the disk of the guest web is made upon it", f"removed {first.id}"]
    assert sorted(done.stdout.splitlines()) == sorted([*lines, *(f"removed {path.name}" for path in gone)])
    assert all(path.exists() for path in (*kept, used.directory, newest.directory))
    assert not any(path.exists() for path in (*gone, first.directory))
    (guest / "disk.qcow2").unlink()
    assert f"removed {used.id}" in kmodlab("image", "prune").stdout
    listed = kmodlab("image", "list").stdout.splitlines()[1:]
    assert [(line.split()[0], line.split()[-1]) for line in listed] == [(newest.id, "current")]
    assert f"removed {newest.id}" in kmodlab("image", "prune", "--all").stdout


@pytest.mark.usefixtures("bare_host")
def test_an_image_of_a_release_that_is_no_more_is_old(kmodlab: Kmodlab) -> None:
    image = make_image(paths.cache_dir() / "images" / "debian-9-0123456789ab")
    manifest = json.loads((image.directory / "manifest.json").read_text())
    manifest["release"]["name"] = "debian-9"
    (image.directory / "manifest.json").write_text(json.dumps(manifest))
    assert kmodlab("image", "list").stdout.split()[-1] == "old"


@pytest.mark.usefixtures("bare_host")
def test_a_broken_lab_ends_with_3(kmodlab: Kmodlab, fake_program: FakeProgram) -> None:
    fake_program("mmdebstrap", "echo 'E: no such suite' >&2; exit 100")
    done = kmodlab("image", "build", "debian-12")
    assert (done.returncode, done.stdout) == (3, "")
    assert "kmodlab: error: building the image debian-12 failed\n" in done.stderr
    assert "  exit status: 100\n  last output: E: no such suite\n  log: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("bare_host")
@pytest.mark.parametrize("words", [("lab", "--image"), ("guest", "up", "web", "--image"), ("image", "build")])
def test_a_home_that_cannot_be_written_is_said_before_anything_is_made(
    kmodlab: Kmodlab, monkeypatch: pytest.MonkeyPatch, fake_program: FakeProgram, words: tuple[str, ...]
) -> None:
    fake_program("mmdebstrap", "echo 'an image is built' >&2; exit 100")
    for name in ("KMODLAB_CACHE_DIR", "KMODLAB_STATE_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    # Not even root can make a file there.
    monkeypatch.setenv("HOME", "/proc/self")
    done = kmodlab(*words, "debian-12")
    assert (done.returncode, done.stdout) == (3, "")
    first, hint = done.stderr.splitlines()
    assert first.startswith("kmodlab: error: No such file or directory: /proc/self/.")
    assert "KMODLAB_CACHE_DIR and KMODLAB_STATE_DIR choose another place" in hint


@pytest.mark.usefixtures("bare_host")
def test_the_doctors_findings_as_json(kmodlab: Kmodlab) -> None:
    done = kmodlab("doctor", "--json")
    findings = json.loads(done.stdout)
    assert done.returncode == 3
    assert all(set(finding) == {"subject", "good", "detail", "fix", "note"} for finding in findings)
    lacks = {finding["subject"]: finding["fix"] for finding in findings if not finding["good"]}
    assert lacks["mmdebstrap"] == "apt-get install mmdebstrap"


@pytest.mark.usefixtures("bare_host")
def test_the_doctor_in_words(kmodlab: Kmodlab) -> None:
    done = kmodlab("doctor")
    assert done.returncode == 3
    assert "LACK  mmdebstrap: not installed\n      fix: apt-get install mmdebstrap\n" in done.stdout

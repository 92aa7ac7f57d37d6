"""Images: what their key depends on, and builds by a stand-in for mmdebstrap that succeed or fail."""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kmodlab import namespaces
from kmodlab.errors import LabError
from kmodlab.host import Host, free_space
from kmodlab.image import archive, overlay
from kmodlab.image.buildroot import BuildRoot
from kmodlab.image.image import Image, build_image, find_image, images_dir, is_current, list_images
from kmodlab.image.places import HERE, Places
from kmodlab.image.plan import Plan, of_release, planned
from kmodlab.image.release import RELEASES, Release

from .conftest import FakeProgram, make_image, on_amd64, plant

SOURCES = "echo 'Debian|http://mirror.example/debian/|bookworm|main'"
#: leaves what the customize hook leaves, in the directory that the hook was to be given
MMDEBSTRAP = """
printf '%s\\n' "$@" >>STARTED
for word; do case $word in --customize-hook=*) hook=$word;; esac; done
out=$(echo "$hook" | sed 's/.*"\\$1" \\([^ ]*\\) .*/\\1/')
cd "$out"
echo "6.1.0-$$-cloud-amd64" >kernel
echo "ssh-ed25519 AAAA$$ lab" >host_key.pub
for name in disk.raw vmlinuz initrd packages; do echo $name >$name; done
"""


@dataclass(frozen=True)
class Lab:
    """A host with one apt source, and a private copy of the files that make an image.

    Attributes:
        places: the host's.
        program: puts a stand-in on PATH.
        started: notes the words of each build.
    """

    places: Places
    program: FakeProgram
    started: Path

    def plan(self, name: str = "debian-12") -> Plan:
        """Return what an image is to be built of now: apt is asked again."""
        archive.host_sources.cache_clear()
        return planned(name, self.places)

    def build(self, name: str = "debian-12", **options: Any) -> Image:  # those of `build_image`
        """Return the image of a release."""
        return build_image(self.plan(name), **options)


@pytest.fixture(autouse=True)
def host(debian_host: Places, fake_program: FakeProgram, tmp_path: Path) -> Lab:
    """The host on which images are built here."""
    fake_program("apt-get", SOURCES)
    fake_program("apt-config", "exit 0")
    recipe = tmp_path / "with blanks" / "guest"
    shutil.copytree(HERE.recipe / "rootfs", recipe / "rootfs", symlinks=True)
    shutil.copy(HERE.recipe / "customize.sh", recipe)
    fake_program("mmdebstrap", MMDEBSTRAP.replace("STARTED", str(tmp_path / "started")))
    return Lab(replace(debian_host, recipe=recipe), fake_program, tmp_path / "started")


def _edit(file: Path) -> None:
    file.write_text(file.read_text() + "\n# changed\n")


CHANGES: dict[str, Callable[[Lab], object]] = {
    "mirror": lambda host: host.program("apt-get", SOURCES.replace("mirror", "other")),
    "component": lambda host: host.program("apt-get", SOURCES + "; echo " + SOURCES[5:].replace("main", "contrib")),
    "proxy": lambda host: host.program("apt-config", """echo 'Acquire::http::Proxy "http://proxy.example";'"""),
    "finishing script": lambda host: _edit(host.places.recipe / "customize.sh"),
    "file's content": lambda host: _edit(host.places.recipe / "rootfs/etc/fstab"),
    "new file": lambda host: (host.places.recipe / "rootfs/etc/motd").write_text(""),
    "file's name": lambda host: (host.places.recipe / "rootfs/etc/fstab").rename(host.places.recipe / "rootfs/etc/tab"),
    "program's mode": lambda host: (host.places.recipe / "rootfs/usr/local/lib/kmodlab/authorize").chmod(0o644),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_id_changes_with(host: Lab, change: str) -> None:
    before = host.plan().id
    assert before == host.plan().id
    CHANGES[change](host)
    assert host.plan().id != before


def test_the_id_changes_with_each_part_of_the_plan(host: Lab) -> None:
    plan = host.plan()
    changed = [
        replace(plan, packages=(*plan.packages, "gdb")),
        replace(plan, excluded=()),
        replace(plan, disk_size="9G"),
    ]
    assert len({other.id for other in (plan, *changed)}) == len(changed) + 1


def test_the_id_changes_with_each_field_of_the_release(host: Lab) -> None:
    release = RELEASES["debian-12"]
    changed = [
        replace(release, name="debian-x"),
        replace(release, suites=("bookworm",)),
        replace(release, kernel="linux-image-amd64"),
        replace(release, headers="linux-headers-amd64"),
        replace(release, pinned="bookworm-backports"),
        replace(release, architecture="riscv64"),
    ]
    keys = {of_release(other, host.places).id.rpartition("-")[2] for other in (release, *changed)}
    assert len(keys) == len(changed) + 1


def test_the_id_stays_when_nothing_that_goes_in_changes(
    host: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = host.plan().id
    for path in host.places.recipe.rglob("*"):
        os.utime(path, (1, 1))
    (host.places.recipe / "rootfs/etc/fstab").chmod(0o600)
    monkeypatch.setenv("KMODLAB_CACHE_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert host.plan().id == before


def test_a_plan_asks_apt_once(host: Lab, tmp_path: Path) -> None:
    for name in ("apt-get", "apt-config"):
        host.program(name, f"echo {name} >>'{tmp_path}/asked'; exit 0")
    plan = host.plan()
    assert not (tmp_path / "asked").exists(), "who finds a guest up need not wait for it"
    for _ in range(2):
        assert (plan.sources, plan.options, plan.id) == ((), "", plan.id)
    assert (tmp_path / "asked").read_text().split() == ["apt-get", "apt-config"]


def test_the_id_is_made_as_it_always_was(tmp_path: Path, host: Lab) -> None:
    """Made in another way it would have everyone's images built again."""
    recipe = tmp_path / "recipe"
    (recipe / "rootfs" / "etc").mkdir(parents=True)
    (recipe / "rootfs" / "etc" / "motd").write_text("hello\n")
    (recipe / "customize.sh").write_text("exit 0\n")
    host.program("apt-config", """echo 'Acquire::http::Proxy "http://proxy.example";'""")
    release = Release("debian-12", "debian", ("bookworm",), "linux-image-x", "linux-headers-x")
    plan = of_release(release, replace(host.places, recipe=recipe))
    made_up = replace(plan, packages=("one", "two"), excluded=("/usr/share/doc/*", "/x"), disk_size="1G")
    assert made_up.id == "debian-12-0df8a3896c80"


def test_the_overlay_belongs_to_root_and_has_no_dates(host: Lab) -> None:
    rootfs = host.places.recipe / "rootfs"
    if os.getuid() == 0:  # for anyone else the files are their own already
        for path in rootfs.rglob("*"):
            os.chown(path, 4321, 4321, follow_symlinks=False)
    tree = overlay.packed(rootfs)
    assert tree == overlay.packed(rootfs)
    with tarfile.open(fileobj=io.BytesIO(tree)) as tar:
        members = {member.name: member for member in tar}
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members.values()} == {(0, 0, "root", "root", 0)}
    modes = {m.mode for m in members.values() if not m.issym()}
    assert modes == {0o755, 0o644}
    assert members["usr/local/lib/kmodlab/authorize"].mode == 0o755
    assert members["etc/fstab"].mode == 0o644
    assert members["etc/systemd/system/multi-user.target.wants/kmodlab-key.service"].issym()


def test_a_build_gives_an_image_once(host: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    plan = host.plan("auto")
    assert find_image(plan) is None
    built = build_image(plan)
    assert built == find_image(plan) == host.build() == find_image(host.plan("auto"))
    assert host.started.read_text().splitlines().count("--variant=apt") == 1
    assert re.fullmatch(rf"{plan.id}-[0-9a-f]{{8}}", built.id)
    assert built.release == RELEASES["debian-12"]
    assert built.host_key.startswith("ssh-ed25519 AAAA")
    assert built.kernel_version.startswith("6.1.0-")
    assert built.size() > 0
    said = capsys.readouterr().err
    assert "building the guest image debian-12 (the host's own release, from the host's own archive)" in said
    assert list(host.places.staging.iterdir()) == []


def test_an_image_from_before_builds_had_names_goes_on_being_found(host: Lab) -> None:
    """The disks of guests are made upon it: it keeps the directory that it has, and is the current one."""
    before = make_image(images_dir() / host.plan().id)
    assert host.build() == before == find_image(host.plan())
    assert is_current(before, host.places)
    built = host.build(force=True)
    assert host.build() == built != before
    assert (is_current(before, host.places), is_current(built, host.places)) == (False, True)


def test_where_nothing_can_be_written_images_are_found(host: Lab) -> None:
    """The bare machine has the images of the one around it, and may not write to them."""
    before = make_image(images_dir() / host.plan().id)
    (images_dir() / ".debian-12.lock").mkdir()  # not even root can make that file now
    assert host.build() == before
    with pytest.raises(IsADirectoryError):
        host.build(force=True)


def test_mmdebstrap_is_told_what_the_release_is(host: Lab) -> None:
    host.build("debian-13-backports")
    words = host.started.read_text().splitlines()
    assert words[-5:] == [
        "trixie",
        "/dev/null",
        "deb http://mirror.example/debian/ trixie main",
        "deb http://mirror.example/debian/ trixie-updates main",
        "deb http://mirror.example/debian/ trixie-backports main",
    ]
    assert [word for word in words if "n=trixie-backports" in word]
    include = next(word for word in words if word.startswith("--include="))
    assert include.endswith(",linux-image-cloud-amd64,linux-headers-cloud-amd64")
    assert f"""--customize-hook=sh '{host.places.recipe}/customize.sh' "$1" {host.places.staging}/""" in "\n".join(
        words
    )


def test_a_forced_build_is_another_image(host: Lab) -> None:
    builds = [host.build(), host.build(force=True), host.build(force=True)]
    assert len({built.id for built in builds}) == len(builds)
    assert {built.id.rpartition("-")[0] for built in builds} == {host.plan().id}
    assert host.build() == builds[-1] == find_image(host.plan())
    assert sorted(path.name for path in images_dir().glob("[!.]*")) == sorted(built.id for built in builds)
    builds[-1].remove()
    assert find_image(host.plan()) == builds[1]


def _left_in_cache() -> list[str]:
    return [path.name for path in images_dir().iterdir() if path.name != ".debian-12.lock"]


def test_a_failed_build_leaves_nothing_and_says_why(host: Lab) -> None:
    words = "echo 'E: Unable to fetch some archives' >&2; exit 25"
    host.program("mmdebstrap", MMDEBSTRAP.replace("STARTED", str(host.started)) + words)
    with pytest.raises(LabError) as caught:
        host.build()
    error = caught.value
    assert (error.message, error.exit_code) == ("building the image debian-12 failed", 25)
    assert error.output == "E: Unable to fetch some archives"
    assert error.log
    assert error.log.read_text() == "E: Unable to fetch some archives\n"
    assert error.hint == "is the archive reachable? try `apt-get update`"
    assert _left_in_cache() == []
    assert list(host.places.staging.iterdir()) == []
    assert find_image(host.plan()) is None


def test_a_failed_forced_build_leaves_the_image_that_was_there(host: Lab) -> None:
    before = host.build()
    kernel = before.kernel_version
    host.program("mmdebstrap", "exit 1")
    with pytest.raises(LabError, match="building the image debian-12 failed"):
        host.build(force=True)
    assert host.build().kernel_version == kernel
    assert _left_in_cache() == [before.id]


def test_a_build_without_the_files_it_should_give_leaves_nothing(host: Lab) -> None:
    host.program("cp", 'for last; do :; done; echo half >"$last"; echo "cp: No space left on device" >&2; exit 1')
    with pytest.raises(LabError) as caught:
        host.build()
    assert caught.value.output == "cp: No space left on device\n"
    assert "make room (`kmodlab image prune`" in (caught.value.hint or "")
    assert _left_in_cache() == []
    assert list(host.places.staging.iterdir()) == []


def test_a_debian_image_is_checked_with_what_the_hosts_apt_trusts(host: Lab) -> None:
    host.build()
    words = host.started.read_text().splitlines()
    keyrings = [word for word in words if word.startswith("--keyring=")]
    assert [Path(word).name for word in keyrings] == ["keys"]
    assert "--components=main" in words
    assert not [word for word in words if "trusted.gpg.d" in word]


@pytest.fixture
def ubuntu_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of keys that Ubuntu's archive is to be signed by."""
    file = tmp_path / "ubuntu.gpg"
    file.write_bytes(b"keys of the archive")
    monkeypatch.setenv("KMODLAB_UBUNTU_KEYRING", str(file))
    return file


def test_an_ubuntu_image_is_made_of_ubuntus_parts(
    host: Lab, monkeypatch: pytest.MonkeyPatch, ubuntu_keys: Path
) -> None:
    del ubuntu_keys
    monkeypatch.setenv("KMODLAB_UBUNTU_MIRROR", "http://near.example/ubuntu")
    host.build("ubuntu-22.04-hwe")
    words = host.started.read_text().splitlines()
    assert words[-5:] == [
        "jammy",
        "/dev/null",
        *(f"deb http://near.example/ubuntu jammy{suite} main universe" for suite in ("", "-updates", "-security")),
    ]
    include = next(word for word in words if word.startswith("--include="))
    assert ",usrmerge,gcc-12," in include
    assert include.endswith(",linux-image-virtual-hwe-22.04,linux-headers-virtual-hwe-22.04")
    keyrings = [word.rpartition("/")[2] for word in words if word.startswith("--keyring=")]
    assert keyrings == ["keys", "null"]
    hook = next(word for word in words if "trusted.gpg.d" in word)
    assert re.fullmatch(r"--essential-hook=upload \S+/keys/lab-0\.gpg /etc/apt/trusted\.gpg\.d/lab-0\.gpg", hook)


@pytest.mark.usefixtures("ubuntu_keys")
def test_without_a_mirror_mmdebstrap_takes_its_own(host: Lab) -> None:
    host.places.ubuntu_suites.write_text("24.04 LTS,Noble Numbat,noble,2023-10-12,2024-04-25\n")
    host.build("ubuntu-24.04")
    words = host.started.read_text().splitlines()
    assert words[-2:] == ["noble", "/dev/null"]
    assert "--components=main,universe" in words
    host.program("mmdebstrap", "echo \"Could not resolve 'ubuntu.example'\"; exit 1")
    with pytest.raises(LabError) as caught:
        host.build("ubuntu-24.04-generic")
    assert caught.value.message == (
        "building the image ubuntu-24.04-generic failed: the name ubuntu.example of its archive leads nowhere"
    )
    assert caught.value.hint == (
        "this host has no apt source for ubuntu, so mmdebstrap's own was taken: "
        "name a mirror with KMODLAB_UBUNTU_MIRROR, or choose another --image"
    )


def test_an_ubuntu_image_depends_on_mirror_and_keys(
    host: Lab, monkeypatch: pytest.MonkeyPatch, ubuntu_keys: Path
) -> None:
    ids = [host.plan("ubuntu-24.04").id]
    for mirror in ("http://near.example/ubuntu", "http://far.example/ubuntu"):
        monkeypatch.setenv("KMODLAB_UBUNTU_MIRROR", mirror)
        ids.append(host.plan("ubuntu-24.04").id)
    ubuntu_keys.write_bytes(b"other keys")
    ids.append(host.plan("ubuntu-24.04").id)
    assert len(set(ids)) == 4
    ubuntu_keys.rename(ubuntu_keys.with_suffix(".moved"))
    monkeypatch.setenv("KMODLAB_UBUNTU_KEYRING", str(ubuntu_keys.with_suffix(".moved")))
    assert host.plan("ubuntu-24.04").id == ids[-1]


def test_a_debian_image_depends_on_the_keys_that_the_user_names(
    host: Lab, monkeypatch: pytest.MonkeyPatch, ubuntu_keys: Path
) -> None:
    before = host.plan().id
    monkeypatch.setenv("KMODLAB_DEBIAN_KEYRING", str(ubuntu_keys))
    assert host.plan().id != before


def test_nothing_is_built_where_the_keys_are_missing(host: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMODLAB_UBUNTU_KEYRING", "/no/such/file.gpg")
    with pytest.raises(LabError, match=r"there is no file /no/such/file\.gpg\n"):
        host.build("ubuntu-24.04")
    assert not host.started.exists()
    assert find_image(host.plan("ubuntu-24.04")) is None


@pytest.mark.parametrize("full", ["images", "staging"])
def test_no_room_for_a_build(host: Lab, full: str) -> None:
    def space(path: Path) -> int:
        return 100 << 20 if path.name == full else max(free_space(path), 8 << 30)

    with pytest.raises(LabError) as caught:
        host.build(host=Host(space=space))
    directory = images_dir() if full == "images" else host.places.staging
    assert caught.value.message == f"100 MiB free on the disk of {directory}, and building an image needs 4096"
    assert "`kmodlab image prune`" in (caught.value.hint or "")
    assert "KMODLAB_CACHE_DIR" in (caught.value.hint or "")
    assert not host.started.exists()
    assert _left_in_cache() == []


def test_a_user_without_namespaces_is_told_why_no_image_can_be_built(host: Lab, tmp_path: Path) -> None:
    host.program("mmdebstrap", "echo 'E: unable to create a user namespace'; exit 1")
    host.program("unshare", "exit 1")
    proc = tmp_path / "proc"
    plant(proc, {"self/uid_map": "0 1000 1", "sys/user/max_user_namespaces": "0"})
    with pytest.raises(LabError) as caught:
        host.build(host=Host(proc=proc, space=lambda _: 8 << 30))
    why = "none are allowed on this system: user.max_user_namespaces is 0"
    assert caught.value.message == f"building the image debian-12 failed: {why}"
    assert caught.value.hint == namespaces.cause(Host(proc=proc))[1]


def test_a_module_cannot_be_built_natively_without_namespaces(fake_program: FakeProgram, tmp_path: Path) -> None:
    """Root needs none, so that what fails there fails for another reason."""
    fake_program("unshare", "echo 'no luck' >&2; exit 1")
    for folder in ("demo", "compat", "root/build"):
        (tmp_path / folder).mkdir(parents=True)
    plant(tmp_path / "proc", {"self/uid_map": "0 0 4294967295", "self/ns/user": ""})
    root, user = (Host(proc=tmp_path / "proc", user=number) for number in (0, 1000))
    why = ": user namespaces are refused: no luck"
    for host, words, hint in ((root, "", None), (user, why, namespaces.cause(user)[1])):
        with pytest.raises(LabError) as caught:
            BuildRoot(tmp_path / "root", "6.1", host).make(tmp_path / "demo")
        assert caught.value.message == f"building demo for 6.1 failed{words}"
        assert caught.value.hint == hint


def test_the_same_sources_are_built_once(tmp_path: Path) -> None:
    module, compat, out = tmp_path / "demo", tmp_path / "compat", tmp_path / "out"
    for folder in (module, compat, tmp_path / "root" / "build"):
        folder.mkdir(parents=True)
    statuses, built = iter([1, 0, 0, 0]), []

    class Root(BuildRoot):
        def run(self, argv: Sequence[str], log: Path, watch: Callable[[], None] | None = None) -> int:  # noqa: ARG002
            log.write_text("make's words\n")
            built.append(argv)
            (self.directory / argv[2].lstrip("/") / "demo.ko").write_text(f"build {len(built)}")
            return next(statuses)

    root = Root(tmp_path / "root", "6.1")
    with pytest.raises(LabError):
        root.made(module, output=out)
    seen = []
    for file, text in ((module / "a.c", "1"), (module / "a.o", "2"), (module / "a.c", "3"), (compat / "b.h", "4")):
        file.write_text(text)
        seen.append(root.made(module, output=out).read_text())
        assert (out / "build.log").read_text() == "make's words\n"
    assert seen == ["build 2", "build 2", "build 3", "build 4"]


def test_only_what_was_built_last_is_kept(tmp_path: Path) -> None:
    class Root(BuildRoot):
        def run(self, argv: Sequence[str], log: Path, watch: Callable[[], None] | None = None) -> int:  # noqa: ARG002
            log.touch()
            (self.directory / argv[2].lstrip("/") / "demo.ko").touch()
            return 0

    module, root = tmp_path / "demo", Root(tmp_path / "root", "6.1")
    for folder in (module, tmp_path / "compat", tmp_path / "root" / "build"):
        folder.mkdir(parents=True)
    for number in range(20):
        (module / "a.c").write_text(str(number))
        root.made(module, output=tmp_path / "out")
    assert len(list((tmp_path / "root" / "made").iterdir())) == 2 * 16, "each with its lock"


def test_a_host_without_mmdebstrap(host: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Path(shutil.which("mmdebstrap") or "").parent
    (fakes / "mmdebstrap").unlink()
    monkeypatch.setenv("PATH", str(fakes))
    with pytest.raises(LabError, match="mmdebstrap is not installed"):
        host.build()
    assert _left_in_cache() == []


def test_images_are_listed_whole_ones_only(host: Lab) -> None:
    current = host.build()
    old = make_image(images_dir() / "debian-12-000000000000")
    (images_dir() / ".debian-12-111111111111.incoming").mkdir()
    (images_dir() / "debian-12-222222222222").mkdir()
    assert sorted(found.id for found in list_images()) == sorted([old.id, current.id])
    assert (is_current(current, host.places), is_current(old, host.places)) == (True, False)
    old.remove()
    assert list(list_images()) == [Image(current.directory)]


@on_amd64
def test_a_foreign_image_needs_an_emulator_of_programs(host: Lab) -> None:
    with pytest.raises(LabError) as caught:
        host.build("debian-12-arm64")
    assert caught.value.message == (
        "the image debian-12-arm64 cannot be built: this machine does not run programs of arm64"
    )
    assert ".config/setup matrix" in (caught.value.hint or "")
    assert not host.started.exists()
    (host.places.emulators / "qemu-aarch64").touch()
    assert host.build("debian-12-arm64").architecture == "arm64"
    assert "--architectures=arm64" in host.started.read_text().splitlines()

"""An Ubuntu image from an archive of the test's own: real mmdebstrap, real apt, real signatures.

But for the last test the archive holds no system: the first package that is asked for is not there. That it is asked
for shows that everything before was right: the suites, the components, and the key that they are signed by.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmodlab.errors import LabError
from kmodlab.image.image import Image, build_image, find_image, images_dir
from kmodlab.image.plan import planned
from kmodlab.image.release import find_release

from .archive_server import PACKAGES, Archive, Key, host_packages

SUITES = ("noble", "noble-updates", "noble-security")
COMPONENTS = {
    "main": PACKAGES,
    "universe": PACKAGES.replace(b"base-files", b"another").replace(b"Essential: yes\n", b""),
}

#: what Ubuntu's kernel packages are named after -> what the host's own release calls them
KERNEL = {"image": "kernel", "headers": "headers"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Key, Key]]:
    """The archive's key, and one that has nothing to do with it."""
    pair = (Key(tmp_path_factory.mktemp("gnupg") / "a"), Key(tmp_path_factory.mktemp("gnupg") / "b"))
    yield pair
    for key in pair:
        key.forget()


@pytest.fixture
def archive(keys: tuple[Key, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """A served archive with Ubuntu's suites, named as the mirror; its key is the one to trust; a cache of its own."""
    # No proxy stands between apt and this machine itself.
    (tmp_path / "apt.conf").write_text('Acquire::http::Proxy::127.0.0.1 "DIRECT";\n')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.setenv("KMODLAB_CACHE_DIR", str(tmp_path / "cache"))
    made = Archive(tmp_path / "archive")
    for suite in SUITES:
        made.add(suite, keys[0], COMPONENTS)
    with made.served():
        monkeypatch.setenv("KMODLAB_UBUNTU_MIRROR", made.url)
        monkeypatch.setenv("KMODLAB_UBUNTU_KEYRING", str(keys[0].public))
        yield made


def _failure() -> LabError:
    with pytest.raises(LabError, match=r"^building the image ubuntu-24\.04 failed: ") as caught:
        build_image(planned("ubuntu-24.04"))
    assert caught.value.exit_code
    assert [path.name for path in images_dir().iterdir()] == [".ubuntu-24.04.lock"]
    return caught.value


def test_the_right_key_opens_every_suite_and_component(archive: Archive) -> None:
    error = _failure()
    missing = f"{archive.url}/pool/base-files_1_all.deb"
    assert error.message.endswith(f"its archive lists {missing}, which is not there")
    releases = {path for path in archive.asked if path.endswith("InRelease")}
    assert releases == {f"dists/{suite}/InRelease" for suite in SUITES}
    indexes = {tuple(path.split("/")[1:3]) for path in archive.asked if path.endswith("Packages")}
    assert indexes == {(suite, component) for suite in SUITES for component in COMPONENTS}


def test_an_armoured_key_does_as_well(archive: Archive, keys: tuple[Key, Key], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMODLAB_UBUNTU_KEYRING", str(keys[0].armoured()))
    assert "which is not there" in _failure().message
    assert "pool/base-files_1_all.deb" in archive.asked


def test_another_key_is_refused(archive: Archive, keys: tuple[Key, Key], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMODLAB_UBUNTU_KEYRING", str(keys[1].public))
    error = _failure()
    assert error.message.endswith(f"its archive is not signed by a key in {keys[1].public}")
    assert error.hint == (
        "for a mirror that signs with a key of its own, name the file of that key with KMODLAB_UBUNTU_KEYRING"
    )
    assert "NO_PUBKEY" in (error.output or "") or "Missing key" in (error.output or "")
    assert not [path for path in archive.asked if path.startswith("pool")]


def test_a_release_that_was_changed_after_signing_is_refused(archive: Archive, keys: tuple[Key, Key]) -> None:
    signed = archive.root / "dists/noble-security/InRelease"
    signed.write_text(signed.read_text().replace("Origin: Ubuntu", "Origin: Ubunto"))
    assert _failure().message.endswith(f"its archive is not signed by a key in {keys[0].public}")
    assert not [path for path in archive.asked if path.startswith("pool")]


def test_a_mirror_without_the_suite_is_named(archive: Archive) -> None:
    for name in ("InRelease", "Release"):
        (archive.root / "dists/noble-updates" / name).unlink()
    error = _failure()
    assert error.message.endswith(f"its archive {archive.url} has no noble-updates")
    assert error.hint == "KMODLAB_UBUNTU_MIRROR names it: is that address right, and reachable from here?"


@pytest.mark.usefixtures("archive")
def test_a_mirror_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setenv("KMODLAB_UBUNTU_MIRROR", closed)
    error = _failure()
    assert error.message.endswith(f"its archive {closed} does not answer")
    assert error.hint == "KMODLAB_UBUNTU_MIRROR names it: is that address right, and reachable from here?"


def test_a_whole_image(archive: Archive, keys: tuple[Key, Key]) -> None:
    """The host's own packages, signed anew and arranged as Ubuntu's are: the whole way, but for Ubuntu's packages."""
    own = find_release("auto")
    archive.upstream, packages = host_packages()
    loader = [paragraph for paragraph in packages if paragraph.startswith(b"Package: extlinux\n")]
    main = [paragraph for paragraph in packages if paragraph not in loader]
    main += [archive.stand_in(f"linux-{kind}-virtual", getattr(own, name)) for kind, name in KERNEL.items()]
    archive.add("noble", keys[0], {"main": b"\n".join(main), "universe": b"\n".join(loader) or COMPONENTS["universe"]})
    image = build_image(planned("ubuntu-24.04"))
    assert image == find_image(planned("ubuntu-24.04"))
    assert {"pool/linux-image-virtual.deb", "pool/linux-headers-virtual.deb"} < set(archive.asked)
    installed = {
        line.split("\t")[0].partition(":")[0] for line in (image.directory / "packages").read_text().splitlines()
    }
    assert {"linux-image-virtual", *find_release("ubuntu-24.04").boot_loader, "openssh-server"} < installed
    sources = f"deb {archive.url} noble main universe\n\ndeb {archive.url} noble-updates main universe\n"
    assert _read(image, "/etc/apt/sources.list").startswith(sources.encode())
    assert _read(image, "/etc/apt/trusted.gpg.d/lab-0.gpg") == keys[0].public.read_bytes()


def _read(image: Image, path: str) -> bytes:
    """A file on an image's disk."""
    return subprocess.run(["debugfs", "-R", f"cat {path}", image.disk], capture_output=True, check=True).stdout

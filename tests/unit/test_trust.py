"""The keys of an archive, what is missing to check it, and what a refusal means."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from kmodlab.errors import LabError
from kmodlab.image import archive, trust
from kmodlab.image.release import RELEASES

from .conftest import FakeProgram

pytestmark = pytest.mark.usefixtures("debian_host")

NOBLE = RELEASES["ubuntu-24.04"]


@pytest.fixture(autouse=True)
def host(tmp_path: Path, fake_program: FakeProgram, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with one apt source, one key that apt trusts, no keyring of an archive, and no list of suites."""
    fake_program("apt-get", "echo 'Debian|http://mirror.example/debian/|bookworm|main'")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/host.asc").write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    (tmp_path / "parts/README").touch()
    monkeypatch.setattr(trust, "_TRUSTED_PARTS", tmp_path / "parts")
    monkeypatch.setattr(trust, "KEYRINGS", {name: tmp_path / f"{name}.gpg" for name in archive.COMPONENTS})
    monkeypatch.setattr(trust, "_UBUNTU_SUITES", tmp_path / "ubuntu.csv")
    monkeypatch.setattr(archive, "keyrings", lambda: [tmp_path / "signed-by.pgp"])
    (tmp_path / "signed-by.pgp").write_bytes(b"\x99binary")
    return tmp_path


def _refused(name: str) -> LabError:
    with pytest.raises(LabError) as caught:
        trust.require(RELEASES[name])
    return caught.value


def test_the_hosts_own_distribution_is_trusted_as_apt_does(host: Path) -> None:
    assert trust.keyring("debian") is None
    before = os.umask(0o077)
    trust.lay_out("debian", host / "keys")
    os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (host / "keys").iterdir()} == {0o644}
    found = {path.name: path.read_bytes()[:6] for path in (host / "keys").iterdir()}
    assert found == {"lab-0.asc": b"-----B", "lab-1.gpg": b"\x99binar"}


def test_the_other_distribution_is_trusted_by_its_keyring_alone(host: Path) -> None:
    (host / "ubuntu.gpg").write_bytes(b"\x99ubuntu")
    assert trust.keyring("ubuntu") == host / "ubuntu.gpg"
    trust.lay_out("ubuntu", host / "keys")
    assert {path.name: path.read_bytes() for path in (host / "keys").iterdir()} == {"lab-0.gpg": b"\x99ubuntu"}


def test_the_keyrings_are_where_the_packages_put_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert {name: str(path) for name, path in trust.KEYRINGS.items()} == {
        "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
        "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    }


@pytest.mark.parametrize("distribution", archive.COMPONENTS)
def test_the_user_names_another_file(host: Path, monkeypatch: pytest.MonkeyPatch, distribution: str) -> None:
    monkeypatch.setenv(f"KMODLAB_{distribution.upper()}_KEYRING", str(host / "signed-by.pgp"))
    trust.lay_out(distribution, host / "keys")
    assert [path.name for path in (host / "keys").iterdir()] == ["lab-0.gpg"]


def test_a_missing_keyring_is_named_with_its_package(host: Path) -> None:
    error = _refused("ubuntu-24.04")
    assert error.message == (
        "the image ubuntu-24.04 cannot be built: the keys of ubuntu's archive are not on this machine: "
        f"there is no file {host}/ubuntu.gpg"
    )
    assert error.hint == (
        "apt-get install ubuntu-keyring, or name a file of keys with KMODLAB_UBUNTU_KEYRING "
        "(Debian has that package from 13 on; it depends on nothing, so Debian 13's does on Debian 12)"
    )


def test_a_file_of_keys_that_the_user_names_and_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMODLAB_DEBIAN_KEYRING", "/no/such/file")
    error = _refused("debian-12")
    assert error.message.endswith("there is no file /no/such/file")
    assert error.hint == "KMODLAB_DEBIAN_KEYRING names it: name another, or none"


def test_an_ubuntu_host_lacks_debians_keyring(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.host_release.cache_clear()
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"ID": "ubuntu", "VERSION_CODENAME": "noble"})
    error = _refused("debian-12")
    assert error.message.endswith(f"there is no file {host}/debian.gpg")
    assert error.hint == "apt-get install debian-archive-keyring, or name a file of keys with KMODLAB_DEBIAN_KEYRING"
    (host / "debian.gpg").touch()
    trust.require(RELEASES["debian-12"])


def test_a_suite_that_mmdebstrap_does_not_know_needs_a_mirror(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (host / "ubuntu.gpg").touch()
    error = _refused("ubuntu-24.04")
    assert error.message.endswith("this host has no apt source for ubuntu, and mmdebstrap does not know noble")
    assert error.hint == (
        "apt-get install distro-info-data (a newer one if it is there), or name a mirror with KMODLAB_UBUNTU_MIRROR"
    )
    (host / "ubuntu.csv").write_text("22.04 LTS,Jammy Jellyfish,jammy,2021-10-14\n24.04 LTS,Noble Numbat,noble,2023\n")
    trust.require(NOBLE)
    assert _refused("ubuntu-26.04").message.endswith("mmdebstrap does not know resolute")
    monkeypatch.setenv("KMODLAB_UBUNTU_MIRROR", "http://near.example/ubuntu")
    trust.require(RELEASES["ubuntu-26.04"])


def test_a_pinned_suite_needs_a_mirror(fake_program: FakeProgram) -> None:
    trust.require(RELEASES["debian-13-backports"])
    archive.host_sources.cache_clear()
    fake_program("apt-get", "exit 0")
    trust.require(RELEASES["debian-13"])
    error = _refused("debian-13-backports")
    assert error.message == (
        "the image debian-13-backports cannot be built: this host has no apt source for debian, "
        "and mmdebstrap's own has no trixie-backports"
    )
    assert error.hint == "name a mirror with KMODLAB_DEBIAN_MIRROR"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("couldn't be verified because the public key is not available: NO_PUBKEY 871920D1991BC93C", "{keys}"),
        ("The following signatures were invalid: BADSIG EF29F373095ADD23 archive", "{keys}"),
        ("The following signatures were invalid: EXPKEYSIG EF29F373095ADD23 archive", "{keys}"),
        (
            "Sub-process /usr/bin/sqv returned an error code (1)\nE: The repository 'http://a noble' is not signed.",
            "{keys}",
        ),
        (
            "E: Release file for http://a/dists/noble/InRelease is not valid yet (invalid for another 3h)",
            "http://a/dists/noble/InRelease is of the future: the clock of this machine is wrong",
        ),
        (
            "E: Release file for http://a/dists/noble/InRelease is expired (invalid since 3d).",
            "http://a/dists/noble/InRelease is out of date: the mirror is no longer kept, or the clock is wrong",
        ),
        (
            "E: Failed to fetch http://a/dists/x/InRelease  Could not resolve 'a'",
            "the name a of its archive leads nowhere",
        ),
        ("Temporary failure resolving 'a'", "the name a of its archive leads nowhere"),
        (
            "E: Failed to fetch http://a/u/dists/noble/InRelease  Could not connect to a:80 (1.2.3.4). - connect (111",
            "its archive http://a/u does not answer",
        ),
        (
            "E: Failed to fetch http://a/u/dists/noble/InRelease  Cannot initiate the connection to a:80 (1::2)",
            "its archive http://a/u does not answer",
        ),
        (
            "E: The repository 'http://a/u noble-security Release' does not have a Release file.",
            "its archive http://a/u has no noble-security",
        ),
        (
            "E: Failed to fetch http://a/pool/x_1_all.deb  404  Not Found [IP: 1.2.3.4 80]",
            "its archive lists http://a/pool/x_1_all.deb, which is not there",
        ),
        (
            "E: apt-get update did not find any indices for architecture 'arm64' in suite",
            "its archive has nothing for arm64",
        ),
        ("E: Unable to locate package extlinux", "its archive has no package extlinux in main or universe"),
        (
            "E: Package 'linux-image-virtual' has no installation candidate",
            "its archive has no package linux-image-virtual",
        ),
        ("E: setup failed", ""),
    ],
)
def test_what_apt_says_is_explained(host: Path, said: str, reason: str) -> None:
    found, _ = trust.explain(NOBLE, f"I: running apt-get update...\n{said}\nE: mmdebstrap failed to run\n")
    expected = reason.format(keys=f"its archive is not signed by a key in {host}/ubuntu.gpg")
    assert found.startswith(expected)
    assert bool(found) == bool(reason)


def test_the_hint_fits_where_the_archive_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trust.explain(RELEASES["debian-12"], "")[1] == "is the archive reachable? try `apt-get update`"
    assert trust.explain(NOBLE, "")[1].startswith(
        "this host has no apt source for ubuntu, so mmdebstrap's own was taken"
    )
    monkeypatch.setenv("KMODLAB_UBUNTU_MIRROR", "http://near.example/ubuntu")
    named = "KMODLAB_UBUNTU_MIRROR names it: is that address right, and reachable from here?"
    assert trust.explain(NOBLE, "")[1] == named
    assert "KMODLAB_UBUNTU_KEYRING" in trust.explain(NOBLE, "E: The repository 'x' is not signed.")[1]


def test_an_unsigned_archive_of_the_hosts_own_distribution() -> None:
    reason, _ = trust.explain(RELEASES["debian-12"], "E: The repository 'http://a bookworm Release' is not signed.")
    assert reason == "its archive is not signed by a key that apt trusts on this machine"


def test_every_release_has_a_distribution_that_is_known() -> None:
    assert {release.distribution for release in RELEASES.values()} == set(archive.COMPONENTS) == set(trust.KEYRINGS)
    assert set(trust.GET_KEYRING) == set(trust.KEYRINGS)
    assert trust._unknown(replace(NOBLE, distribution="debian")) == ""

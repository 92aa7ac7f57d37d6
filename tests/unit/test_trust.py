"""The keys of an archive, what is missing to check it, and what a refusal means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kmodlab.errors import LabError
from kmodlab.image import archive, refusal, trust
from kmodlab.image.places import HERE, Places
from kmodlab.image.plan import Plan, planned
from kmodlab.image.release import RELEASES

from .conftest import FakeProgram, make_places


@pytest.fixture
def host(debian_host: Places, fake_program: FakeProgram) -> Places:
    """A host with one apt source, a key that apt trusts, another of a source, no keyring, and no list of suites."""
    fake_program("apt-get", "echo 'Debian|http://mirror.example/debian/|bookworm|main'")
    fake_program("apt-config", "exit 0")
    parts = debian_host.apt / "trusted.gpg.d"
    (parts / "host.asc").write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    (parts / "README").touch()
    key = debian_host.apt / "signed-by.pgp"
    key.write_bytes(b"\x99binary")
    line = f"deb [signed-by={key}] http://mirror.example/debian bookworm main\n"
    (debian_host.apt / "sources.list").write_text(line)
    return debian_host


def _keyring(host: Places, distribution: str) -> Path:
    return host.keyrings / f"{distribution}-archive-keyring.gpg"


def _refused(name: str, host: Places) -> LabError:
    with pytest.raises(LabError) as caught:
        refusal.require(planned(name, host))
    return caught.value


def test_the_hosts_own_distribution_is_trusted_as_apt_does(host: Places, tmp_path: Path) -> None:
    keys = trust.keyring("debian", host)
    assert keys.file is None
    before = os.umask(0o077)
    trust.lay_out(keys, tmp_path / "keys", host)
    os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == {0o644}
    found = {path.name: path.read_bytes()[:6] for path in (tmp_path / "keys").iterdir()}
    assert found == {"lab-0.asc": b"-----B", "lab-1.gpg": b"\x99binar"}


def test_the_other_distribution_is_trusted_by_its_keyring_alone(host: Places, tmp_path: Path) -> None:
    _keyring(host, "ubuntu").write_bytes(b"\x99ubuntu")
    keys = trust.keyring("ubuntu", host)
    assert keys.file == _keyring(host, "ubuntu")
    trust.lay_out(keys, tmp_path / "keys", host)
    assert {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()} == {"lab-0.gpg": b"\x99ubuntu"}


def test_the_keyrings_are_where_the_packages_put_them() -> None:
    assert {name: str(HERE.keyrings / file) for name, file in trust.KEYRINGS.items()} == {
        "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
        "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    }


@pytest.mark.parametrize("distribution", archive.COMPONENTS)
def test_the_user_names_another_file(
    host: Places, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, distribution: str
) -> None:
    monkeypatch.setenv(f"KMODLAB_{distribution.upper()}_KEYRING", str(host.apt / "signed-by.pgp"))
    trust.lay_out(trust.keyring(distribution, host), tmp_path / "keys", host)
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["lab-0.gpg"]


def test_a_missing_keyring_is_named_with_its_package(host: Places) -> None:
    error = _refused("ubuntu-24.04", host)
    assert error.message == (
        "the image ubuntu-24.04 cannot be built: the keys of ubuntu's archive are not on this machine: "
        f"there is no file {_keyring(host, 'ubuntu')}"
    )
    assert error.hint == (
        "apt-get install ubuntu-keyring, or name a file of keys with KMODLAB_UBUNTU_KEYRING "
        "(Debian has that package from 13 on; it depends on nothing, so Debian 13's does on Debian 12)"
    )


def test_a_file_of_keys_that_the_user_names_and_that_is_not_there(
    host: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KMODLAB_DEBIAN_KEYRING", "/no/such/file")
    error = _refused("debian-12", host)
    assert error.message.endswith("there is no file /no/such/file")
    assert error.hint == "KMODLAB_DEBIAN_KEYRING names it: name another, or none"


@pytest.mark.usefixtures("host")
def test_an_ubuntu_host_lacks_debians_keyring(tmp_path: Path) -> None:
    ubuntu = make_places(tmp_path / "ubuntu", ID="ubuntu", VERSION_CODENAME="noble")
    error = _refused("debian-12", ubuntu)
    assert error.message.endswith(f"there is no file {_keyring(ubuntu, 'debian')}")
    assert error.hint == "apt-get install debian-archive-keyring, or name a file of keys with KMODLAB_DEBIAN_KEYRING"
    _keyring(ubuntu, "debian").touch()
    refusal.require(planned("debian-12", ubuntu))


def test_a_suite_that_mmdebstrap_does_not_know_needs_a_mirror(host: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    _keyring(host, "ubuntu").touch()
    error = _refused("ubuntu-24.04", host)
    assert error.message.endswith("this host has no apt source for ubuntu, and mmdebstrap does not know noble")
    assert error.hint == (
        "apt-get install distro-info-data (a newer one if it is there), or name a mirror with KMODLAB_UBUNTU_MIRROR"
    )
    listed = "22.04 LTS,Jammy Jellyfish,jammy,2021-10-14\n24.04 LTS,Noble Numbat,noble,2023\n"
    host.ubuntu_suites.write_text(listed)
    refusal.require(planned("ubuntu-24.04", host))
    assert _refused("ubuntu-26.04", host).message.endswith("mmdebstrap does not know resolute")
    monkeypatch.setenv("KMODLAB_UBUNTU_MIRROR", "http://near.example/ubuntu")
    refusal.require(planned("ubuntu-26.04", host))


def test_a_pinned_suite_needs_a_mirror(host: Places, fake_program: FakeProgram) -> None:
    refusal.require(planned("debian-13-backports", host))
    archive.host_sources.cache_clear()
    fake_program("apt-get", "exit 0")
    refusal.require(planned("debian-13", host))
    error = _refused("debian-13-backports", host)
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
def test_what_apt_says_is_explained(host: Places, said: str, reason: str) -> None:
    plan = planned("ubuntu-24.04", host)
    found, _ = refusal.explain(plan, f"I: running apt-get update...\n{said}\nE: mmdebstrap failed to run\n")
    expected = reason.format(keys=f"its archive is not signed by a key in {_keyring(host, 'ubuntu')}")
    assert found.startswith(expected)
    assert bool(found) == bool(reason)


def test_the_hint_fits_where_the_archive_came_from(host: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    def noble() -> Plan:
        return planned("ubuntu-24.04", host)

    assert refusal.explain(planned("debian-12", host), "")[1] == "is the archive reachable? try `apt-get update`"
    assert refusal.explain(noble(), "")[1].startswith(
        "this host has no apt source for ubuntu, so mmdebstrap's own was taken"
    )
    monkeypatch.setenv("KMODLAB_UBUNTU_MIRROR", "http://near.example/ubuntu")
    named = "KMODLAB_UBUNTU_MIRROR names it: is that address right, and reachable from here?"
    assert refusal.explain(noble(), "")[1] == named
    assert "KMODLAB_UBUNTU_KEYRING" in refusal.explain(noble(), "E: The repository 'x' is not signed.")[1]


def test_an_unsigned_archive_of_the_hosts_own_distribution(host: Places) -> None:
    said = "E: The repository 'http://a bookworm Release' is not signed."
    reason, _ = refusal.explain(planned("debian-12", host), said)
    assert reason == "its archive is not signed by a key that apt trusts on this machine"


def test_every_release_has_a_distribution_that_is_known() -> None:
    assert {release.distribution for release in RELEASES.values()} == set(archive.COMPONENTS) == set(trust.KEYRINGS)
    assert set(trust.GET_KEYRING) == set(trust.KEYRINGS)


@pytest.mark.usefixtures("host")
def test_mmdebstrap_knows_each_suite_of_debian(tmp_path: Path) -> None:
    """The list is of Ubuntu's suites alone: Debian's need not be in it."""
    ubuntu = make_places(tmp_path / "ubuntu", ID="ubuntu", VERSION_CODENAME="noble")
    _keyring(ubuntu, "debian").touch()
    for name in ("debian-12", "debian-testing"):
        assert planned(name, ubuntu).sources == ()
        refusal.require(planned(name, ubuntu))

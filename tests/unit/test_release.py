"""Which release a name means, on which host."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmodlab.errors import LabError, UsageError
from kmodlab.image.places import HostRelease, host_release
from kmodlab.image.release import PEERS, RELEASES, SOURCE, find_release, host_architecture

from .conftest import make_places, on_amd64


@pytest.mark.parametrize(
    ("distribution", "version", "codename", "expected"),
    [
        ("debian", "11", "bullseye", "debian-11"),
        ("debian", "12", "bookworm", "debian-12"),
        ("debian", "13", "trixie", "debian-13"),
        ("ubuntu", "22.04", "jammy", "ubuntu-22.04"),
        ("ubuntu", "24.04", "noble", "ubuntu-24.04"),
    ],
)
def test_auto_is_the_hosts_own_release(
    tmp_path: Path, distribution: str, version: str, codename: str, expected: str
) -> None:
    host = make_places(tmp_path / "host", ID=distribution, VERSION_ID=version, VERSION_CODENAME=codename)
    assert find_release("auto", host) is RELEASES[expected]


def test_debian_testing_has_a_codename_and_no_version(tmp_path: Path) -> None:
    host = make_places(tmp_path / "host", ID="debian", VERSION_CODENAME="forky")
    assert find_release("auto", host).name == "debian-testing"


def test_a_name_is_the_release_of_that_name() -> None:
    assert find_release("debian-13-backports").pinned == "trixie-backports"
    assert find_release("ubuntu-24.04").suites == ("noble", "noble-updates", "noble-security")


@on_amd64
def test_another_architecture_is_a_release_of_its_own() -> None:
    arm = find_release("debian-12-arm64")
    assert (arm.architecture, arm.foreign) == ("arm64", True)
    assert (arm.kernel, arm.headers) == ("linux-image-cloud-arm64", "linux-headers-cloud-arm64")
    assert find_release("debian-12").foreign is False
    assert "debian-12-amd64" not in RELEASES


def test_real_time_and_generic_kernels_are_packages_of_their_own() -> None:
    names = {name: find_release(f"debian-12{name}").kernel for name in ("", "-generic", "-rt")}
    machine = host_architecture()
    assert names == {
        "": f"linux-image-cloud-{machine}",
        "-generic": f"linux-image-{machine}",
        "-rt": f"linux-image-rt-{machine}",
    }


@pytest.mark.parametrize(
    ("name", "codename", "flavour"),
    [
        ("ubuntu-22.04", "jammy", "virtual"),
        ("ubuntu-22.04-generic", "jammy", "generic"),
        ("ubuntu-22.04-hwe", "jammy", "virtual-hwe-22.04"),
        ("ubuntu-24.04", "noble", "virtual"),
        ("ubuntu-24.04-generic", "noble", "generic"),
        ("ubuntu-24.04-hwe", "noble", "virtual-hwe-24.04"),
        ("ubuntu-26.04", "resolute", "virtual"),
        ("ubuntu-26.04-generic", "resolute", "generic"),
    ],
)
def test_ubuntu_has_its_own_kernel_packages(name: str, codename: str, flavour: str) -> None:
    release = find_release(name)
    assert release.distribution == "ubuntu"
    assert release.suites == (codename, f"{codename}-updates", f"{codename}-security")
    assert (release.kernel, release.headers) == (f"linux-image-{flavour}", f"linux-headers-{flavour}")
    assert (release.architecture, release.pinned) == (host_architecture(), None)


def test_few_need_more_than_the_others() -> None:
    assert {name: release.extras for name, release in RELEASES.items() if release.extras} == {
        "debian-12-peers": PEERS,
        "debian-12-source": SOURCE,
        "debian-13-backports-source": SOURCE,
        "ubuntu-22.04": ("usrmerge",),
        "ubuntu-22.04-generic": ("usrmerge",),
        "ubuntu-22.04-hwe": ("usrmerge", "gcc-12"),
    }


def test_an_unknown_name_gets_a_guess_and_the_list() -> None:
    with pytest.raises(UsageError) as caught:
        find_release("debain-12")
    assert caught.value.message == "there is no guest release 'debain-12'"
    assert caught.value.hint == f"did you mean debian-12? known: auto {' '.join(RELEASES)}"


def test_a_name_like_no_other_gets_the_list_alone() -> None:
    with pytest.raises(UsageError) as caught:
        find_release("zzz")
    assert caught.value.hint == f"known: auto {' '.join(RELEASES)}"


def test_a_host_of_a_release_that_is_too_new(tmp_path: Path) -> None:
    host = make_places(tmp_path / "host", ID="ubuntu", VERSION_ID="44.04", VERSION_CODENAME="zany")
    with pytest.raises(UsageError, match=r"^there is no guest release 'ubuntu-44\.04'"):
        find_release("auto", host)


def test_a_host_without_a_codename(tmp_path: Path) -> None:
    host = make_places(tmp_path / "host", ID="ubuntu", VERSION_ID="4.10", PRETTY_NAME="Ubuntu of my own making")
    with pytest.raises(UsageError, match=r"there is no guest release 'ubuntu-4\.10'"):
        find_release("auto", host)


@pytest.mark.parametrize("system", ["Fedora Linux 43", "Alpine Linux v3.22"])
def test_a_host_that_is_neither_debian_nor_ubuntu(tmp_path: Path, system: str) -> None:
    host = make_places(tmp_path / "host", ID=system.partition(" ")[0].lower(), PRETTY_NAME=system)
    with pytest.raises(LabError) as caught:
        find_release("auto", host)
    assert caught.value.message == f"the host is {system}, neither Debian nor Ubuntu"
    assert "--image debian-12" in (caught.value.hint or "")
    assert find_release("debian-12", host).name == "debian-12"


def test_a_host_without_os_release(tmp_path: Path) -> None:
    host = make_places(tmp_path / "host")
    host.os_release.unlink()
    with pytest.raises(LabError, match="the host is of an unknown kind, neither Debian nor Ubuntu"):
        find_release("auto", host)


def test_what_an_os_release_says_is_read_as_a_shell_would(tmp_path: Path) -> None:
    host = make_places(tmp_path / "host")
    host.os_release.write_text("# a comment=1\n\nID=debian\nVERSION_ID='12'\nVERSION_CODENAME=\"book\"worm\n")
    assert host_release(host) == HostRelease("debian", "12", "bookworm")

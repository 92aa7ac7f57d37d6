"""The host's apt configuration, as read through stand-ins for apt-get and apt-config."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kmodlab.errors import UsageError
from kmodlab.image import archive
from kmodlab.image.archive import Source
from kmodlab.image.places import Places

from .conftest import FakeProgram, make_places

INDEXTARGETS = """cat <<'END'
Debian|http://mirror.example/debian/|bookworm|main
Debian|http://mirror.example/debian/|bookworm|contrib
Debian|http://mirror.example/debian/|bookworm|main
Debian|http://mirror.example/debian/|bookworm-updates|main
Debian|http://mirror.example/debian-security/|bookworm-security|main
Debian|http://mirror.example/debian/|trixie|main
Docker|https://docker.example/linux/debian/|bookworm|stable
. nodistro|https://node.example/node_20.x/|nodistro|main
|https://nameless.example/|bookworm|main
END"""


def test_host_sources_are_the_distributions_own(debian_host: Places, fake_program: FakeProgram) -> None:
    fake_program("apt-get", INDEXTARGETS)
    assert archive.host_sources(debian_host) == (
        Source("http://mirror.example/debian/", "bookworm", ("main", "contrib")),
        Source("http://mirror.example/debian/", "bookworm-updates"),
        Source("http://mirror.example/debian-security/", "bookworm-security"),
    )


def test_apt_is_asked_for_its_package_indexes_alone(
    debian_host: Places, fake_program: FakeProgram, tmp_path: Path
) -> None:
    fake_program("apt-get", f'printf "%s\\n" "$@" >{tmp_path}/arguments')
    assert archive.host_sources(debian_host) == ()
    assert (tmp_path / "arguments").read_text().splitlines() == [
        "indextargets",
        "--format",
        "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)",
        "Created-By: Packages",
    ]


def test_a_host_without_apt_has_no_sources(
    debian_host: Places, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert archive.host_sources(debian_host) == ()
    assert archive.acquire_options() == ""


def test_a_source_is_written_in_the_one_line_format() -> None:
    source = Source("http://mirror.example/debian/", "bookworm", ("main", "contrib"))
    assert source.line() == "deb http://mirror.example/debian/ bookworm main contrib"


@pytest.mark.parametrize("loopback", ["127.0.0.1", "localhost", "[::1]"])
def test_a_proxy_on_loopback_is_renamed_for_the_guest(fake_program: FakeProgram, loopback: str) -> None:
    fake_program("apt-config", f"""echo 'Acquire::http::Proxy "http://{loopback}:3142";'""")
    assert archive.acquire_options() == 'Acquire::http::Proxy "http://10.0.2.2:3142";\n'


@pytest.mark.parametrize("address", ["http://proxy.example:3142/", "http://localhost.example:3142", "DIRECT"])
def test_any_other_proxy_stays_as_it_is(fake_program: FakeProgram, address: str) -> None:
    fake_program("apt-config", f"""echo 'Acquire::http::Proxy "{address}";'""")
    assert archive.acquire_options() == f'Acquire::http::Proxy "{address}";\n'


def test_only_options_that_a_guest_can_use_are_taken(fake_program: FakeProgram) -> None:
    fake_program(
        "apt-config",
        """cat <<'END'
APT::Architecture "amd64";
Acquire "";
Acquire::cdrom::mount "/media/cdrom/";
Acquire::http::Proxy-Auto-Detect "/usr/bin/auto-apt-proxy";
Acquire::http::Proxy::mirror.example "DIRECT";
Acquire::https::Verify-Peer "";
Acquire::Check-Valid-Until "false";
Acquire::Retries "3";
Dir::Etc "etc/apt";
END""",
    )
    taken = archive.acquire_options().splitlines()
    assert 'Acquire::Check-Valid-Until "false";' in taken
    assert 'Acquire::Retries "3";' in taken
    assert 'Acquire::http::Proxy::mirror.example "DIRECT";' in taken
    assert not [line for line in taken if re.search(r'cdrom|APT::|Dir::|""|Auto-Detect', line)]


def test_sources_for_the_hosts_release_are_the_hosts(debian_host: Places, fake_program: FakeProgram) -> None:
    fake_program("apt-get", INDEXTARGETS)
    suites = ("bookworm", "bookworm-updates", "bookworm-security")
    found = archive.sources_for("debian", suites, debian_host)
    assert found == archive.host_sources(debian_host)
    first, *lines, last = INDEXTARGETS.splitlines()
    fake_program("apt-get", "\n".join([first, *reversed(lines), last]))
    assert archive.sources_for("debian", suites, debian_host) == found, "in another order it is another image"


def test_another_release_comes_from_the_hosts_mirrors(debian_host: Places, fake_program: FakeProgram) -> None:
    fake_program("apt-get", INDEXTARGETS)
    assert archive.sources_for("debian", ("trixie", "trixie-security", "trixie-backports"), debian_host) == (
        Source("http://mirror.example/debian/", "trixie"),
        Source("http://mirror.example/debian-security/", "trixie-security"),
        Source("http://mirror.example/debian/", "trixie-backports"),
    )


def test_another_distribution_has_no_mirror_here(debian_host: Places, fake_program: FakeProgram) -> None:
    fake_program("apt-get", INDEXTARGETS)
    assert archive.sources_for("ubuntu", ("noble", "noble-updates"), debian_host) == ()


def test_an_unknown_host_has_no_mirror(tmp_path: Path) -> None:
    assert archive.sources_for("debian", ("bookworm",), make_places(tmp_path / "host", ID="fedora")) == ()


UBUNTU = """cat <<'END'
Ubuntu|http://mirror.example/ubuntu/|noble|main
Ubuntu|http://mirror.example/ubuntu/|noble|restricted
Ubuntu|http://mirror.example/ubuntu/|noble-updates|main
Ubuntu|http://mirror.example/ubuntu/|noble-updates|universe
Ubuntu|http://security.example/ubuntu/|noble-security|main
LP-PPA-somebody|http://ppa.example/ubuntu/|noble|main
END"""


@pytest.fixture
def ubuntu_host(tmp_path: Path, fake_program: FakeProgram) -> Places:
    """A host that runs Ubuntu 24.04, without universe in its release's own suite."""
    fake_program("apt-get", UBUNTU)
    return make_places(tmp_path / "ubuntu", ID="ubuntu", VERSION_ID="24.04", VERSION_CODENAME="noble")


def test_an_ubuntu_hosts_own_release_gets_universe_where_it_lacks(ubuntu_host: Places) -> None:
    assert archive.sources_for("ubuntu", ("noble", "noble-updates", "noble-security"), ubuntu_host) == (
        Source("http://mirror.example/ubuntu/", "noble", ("main", "restricted", "universe")),
        Source("http://mirror.example/ubuntu/", "noble-updates", ("main", "universe")),
        Source("http://security.example/ubuntu/", "noble-security", ("main", "universe")),
    )


def test_another_ubuntu_release_comes_from_the_hosts_mirrors_with_universe(ubuntu_host: Places) -> None:
    assert archive.sources_for("ubuntu", ("jammy", "jammy-updates", "jammy-security"), ubuntu_host) == (
        Source("http://mirror.example/ubuntu/", "jammy", ("main", "universe")),
        Source("http://mirror.example/ubuntu/", "jammy-updates", ("main", "universe")),
        Source("http://security.example/ubuntu/", "jammy-security", ("main", "universe")),
    )


def test_an_ubuntu_host_has_no_mirror_of_debian(ubuntu_host: Places) -> None:
    assert archive.sources_for("debian", ("bookworm",), ubuntu_host) == ()


def test_a_named_mirror_of_ubuntu_has_all_its_suites(debian_host: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMODLAB_UBUNTU_MIRROR", "http://near.example/ubuntu-ports")
    assert archive.sources_for("ubuntu", ("noble", "noble-updates", "noble-security"), debian_host) == tuple(
        Source("http://near.example/ubuntu-ports", suite, ("main", "universe"))
        for suite in ("noble", "noble-updates", "noble-security")
    )


def test_a_named_mirror_comes_before_the_hosts_own(
    debian_host: Places, fake_program: FakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_program("apt-get", INDEXTARGETS)
    suites = ("bookworm", "bookworm-updates", "bookworm-security")
    monkeypatch.setenv("KMODLAB_DEBIAN_MIRROR", "http://near.example/debian")
    near = tuple(Source("http://near.example/debian", suite) for suite in suites[:2])
    # Debian's security suites are in another archive: without its address they are left out.
    assert archive.sources_for("debian", suites, debian_host) == near
    monkeypatch.setenv("KMODLAB_DEBIAN_MIRROR", "http://near.example/debian http://near.example/security")
    assert archive.sources_for("debian", suites, debian_host) == (
        *near,
        Source("http://near.example/security", suites[2]),
    )


def test_a_second_mirror_of_ubuntu_is_that_of_its_security_suites(
    debian_host: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KMODLAB_UBUNTU_MIRROR", "file:/srv/ubuntu http://near.example/ubuntu")
    found = archive.sources_for("ubuntu", ("noble", "noble-security"), debian_host)
    assert [(source.uri, source.suite) for source in found] == [
        ("file:/srv/ubuntu", "noble"),
        ("http://near.example/ubuntu", "noble-security"),
    ]


@pytest.mark.parametrize(
    "value", ["mirror.example/ubuntu", "/srv/ubuntu", "http://a http://b http://c", "deb http://a"]
)
def test_a_mirror_that_is_no_address_is_refused(
    debian_host: Places, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("KMODLAB_UBUNTU_MIRROR", value)
    with pytest.raises(UsageError) as caught:
        archive.sources_for("ubuntu", ("noble",), debian_host)
    assert caught.value.message == f"KMODLAB_UBUNTU_MIRROR is {value!r}: no address of an archive"
    assert (caught.value.hint or "").startswith("for instance KMODLAB_UBUNTU_MIRROR=http://mirror.example/ubuntu; ")


def test_a_host_that_never_updated_has_no_mirror(debian_host: Places, fake_program: FakeProgram) -> None:
    fake_program("apt-get", "exit 0")
    assert archive.sources_for("debian", ("bookworm",), debian_host) == ()


def test_keyrings_of_one_line_and_deb822_sources(debian_host: Places, tmp_path: Path) -> None:
    files = {
        "sources.list": "deb [arch=amd64 signed-by=KEYS/a.gpg,KEYS/b.gpg] http://mirror.example/debian bookworm main\n",
        "sources.list.d/c.sources": "Types: deb\nURIs: http://mirror.example/\nSigned-By: KEYS/c.gpg KEYS/d.asc\n",
        "sources.list.d/e.sources": "Types: deb\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n /+x\n",
        "sources.list.d/f.list": "deb [signed-by=KEYS/gone.gpg] http://mirror.example/debian bookworm main\n",
        "sources.list.d/g.list.save": "deb [signed-by=KEYS/saved.gpg] http://mirror.example/debian bookworm main\n",
    }
    for name, text in files.items():
        (debian_host.apt / name).write_text(text.replace("KEYS", str(tmp_path)))
    for key in ("a.gpg", "b.gpg", "c.gpg", "d.asc", "saved.gpg"):
        (tmp_path / key).touch()
    assert archive.keyrings(debian_host) == [tmp_path / name for name in ("a.gpg", "b.gpg", "c.gpg", "d.asc")]

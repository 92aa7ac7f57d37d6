"""Where this machine has what images are made with, and which distribution it runs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from kmodlab.errors import LabError


@dataclass(frozen=True)
class Places:
    """Files and directories of a machine.

    Attributes:
        os_release: says which distribution it runs, see os-release(5).
        apt: the settings of its apt.
        keyrings: where packages put the keys of archives.
        ubuntu_suites: where mmdebstrap looks up which suites are Ubuntu's.
        emulators: binfmt_misc, the programs of other architectures that its kernel runs.
        recipe: holds `rootfs`, which goes into each image, and `customize.sh`, which finishes it.
        staging: where images are built: reachable for a mapped user id, unlike a home.
    """

    os_release: Path = Path("/etc/os-release")
    apt: Path = Path("/etc/apt")
    keyrings: Path = Path("/usr/share/keyrings")
    ubuntu_suites: Path = Path("/usr/share/distro-info/ubuntu.csv")
    emulators: Path = Path("/proc/sys/fs/binfmt_misc")
    recipe: Path = Path(__file__).parent
    staging: Path = Path("/var/tmp")  # noqa: S108  # a private directory in it


HERE = Places()


@dataclass(frozen=True)
class HostRelease:
    """The host's distribution: `debian` or `ubuntu`, its version and its codename."""

    distribution: str
    version: str
    codename: str


def host_release(places: Places = HERE) -> HostRelease:
    """Return what os-release(5) says of a machine.

    Raises:
        LabError: the host is neither Debian nor Ubuntu.
    """
    fields = _os_release(places.os_release)
    distribution = fields.get("ID", "unknown")
    if distribution not in ("debian", "ubuntu"):
        raise LabError(
            f"the host is {fields.get('PRETTY_NAME', 'of an unknown kind')}, neither Debian nor Ubuntu",
            hint="name a guest (`--image debian-12`), or use `vagrant up`, which runs anywhere",
        )
    return HostRelease(distribution, fields.get("VERSION_ID", "testing"), fields.get("VERSION_CODENAME", "unknown"))


def _os_release(file: Path) -> dict[str, str]:
    lines = file.read_text().splitlines() if file.exists() else []
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    return {name: "".join(shlex.split(value)) for name, value in pairs}


def host_runs(distribution: str, places: Places = HERE) -> bool:
    """Return whether the host is of that distribution."""
    try:
        return host_release(places).distribution == distribution
    except LabError:
        return False

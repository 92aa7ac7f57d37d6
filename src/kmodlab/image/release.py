"""Which guests there are: distribution, release, architecture, kernel flavour and the packages that make them."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass

from kmodlab.errors import UsageError
from kmodlab.image.places import HERE, Places, host_release

#: Debian's name of an architecture -> what `uname -m` says there
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}

#: what a release named `...-peers` has beside the others: the tracers that `make bench` measures ours against
PEERS = ("auditd", "bpftrace", "linux-perf", "strace", "trace-cmd", "sysdig", "falcosecurity-scap-dkms")

#: what a release named `...-source` has beside the others: its kernel's source, and what builds it
SOURCE = ("linux-source", "bc", "bison", "flex", "libelf-dev", "libssl-dev", "xz-utils")


def host_architecture() -> str:
    """Return Debian's name of the architecture this machine has, `amd64` for instance."""
    machine = os.uname().machine
    return next((name for name, said in MACHINES.items() if said == machine), machine)


@dataclass(frozen=True)
class Release:
    """A kind of guest.

    Attributes:
        name: what the user types, `debian-12` for instance.
        distribution: `debian` or `ubuntu`.
        suites: of the archive, the release's own first.
        kernel: the metapackage that depends on the newest kernel.
        headers: the metapackage that depends on that kernel's headers.
        pinned: a suite that kernel, headers and what they need are taken from.
        architecture: Debian's name of it, `amd64` or `arm64`.
    """

    name: str
    distribution: str
    suites: tuple[str, ...]
    kernel: str
    headers: str
    pinned: str | None = None
    architecture: str = "amd64"

    @property
    def foreign(self) -> bool:
        """Whether it is of another architecture than this machine, and everything in it has to be emulated."""
        return self.architecture != host_architecture()

    @property
    def boot_loader(self) -> tuple[str, ...]:
        """The packages that let a guest boot from its own disk; none where only direct boot works."""
        return ("extlinux",) if self.architecture == "amd64" else ()

    @property
    def extras(self) -> tuple[str, ...]:
        """The packages that this release alone needs to be what its name says."""
        if self.name.endswith("-peers"):
            return PEERS
        if self.name.endswith("-source"):
            return SOURCE
        if self.suites[0] != "jammy":
            return ()
        # Its /usr is merged by its installers, not by its packages; its newer kernels are not built by its own gcc.
        return ("usrmerge", "gcc-12") if "-hwe-" in self.kernel else ("usrmerge",)


def _debian(
    name: str,
    codename: str,
    *more: str,
    flavour: str = "cloud-",
    pinned: str | None = None,
    architecture: str | None = None,
) -> Release:
    suites = (codename, *(f"{codename}-{suite}" for suite in more))
    architecture = architecture or host_architecture()
    kernel, headers = (f"linux-{kind}-{flavour}{architecture}" for kind in ("image", "headers"))
    return Release(name, "debian", suites, kernel, headers, pinned, architecture)


def _ubuntu(name: str, codename: str, *, flavour: str = "virtual") -> Release:
    # `virtual` is the kernel of `generic`, without the drivers and firmware of real hardware.
    suites = (codename, f"{codename}-updates", f"{codename}-security")
    kernel, headers = f"linux-image-{flavour}", f"linux-headers-{flavour}"
    return Release(name, "ubuntu", suites, kernel, headers, architecture=host_architecture())


RELEASES: dict[str, Release] = {
    release.name: release
    for release in (
        _debian("debian-11", "bullseye"),
        _debian("debian-12", "bookworm", "updates", "security"),
        _debian("debian-12-generic", "bookworm", "updates", "security", flavour=""),
        _debian("debian-12-peers", "bookworm", "updates", "security"),
        _debian("debian-12-rt", "bookworm", "updates", "security", flavour="rt-"),
        _debian("debian-12-source", "bookworm", "updates", "security"),
        _debian("debian-13", "trixie", "updates", "security"),
        _debian("debian-13-backports", "trixie", "updates", "security", "backports", pinned="trixie-backports"),
        _debian("debian-13-backports-source", "trixie", "updates", "security", "backports", pinned="trixie-backports"),
        _debian("debian-testing", "forky"),
        *(
            _debian(f"debian-12-{name}", "bookworm", "updates", "security", architecture=name)
            for name in MACHINES
            if name != host_architecture()
        ),
        _ubuntu("ubuntu-22.04", "jammy"),
        _ubuntu("ubuntu-22.04-generic", "jammy", flavour="generic"),
        _ubuntu("ubuntu-22.04-hwe", "jammy", flavour="virtual-hwe-22.04"),
        _ubuntu("ubuntu-24.04", "noble"),
        _ubuntu("ubuntu-24.04-generic", "noble", flavour="generic"),
        _ubuntu("ubuntu-24.04-hwe", "noble", flavour="virtual-hwe-24.04"),
        _ubuntu("ubuntu-26.04", "resolute"),
        _ubuntu("ubuntu-26.04-generic", "resolute", flavour="generic"),
    )
}


def find_release(name: str, places: Places = HERE) -> Release:
    """Return the release of that name; `auto` is the host's own.

    Raises:
        UsageError: there is none of that name.
    """
    if name == "auto":
        host = host_release(places)
        for release in RELEASES.values():
            if release.distribution == host.distribution and release.suites[0] == host.codename:
                return release
        name = f"{host.distribution}-{host.version}"
    if name in RELEASES:
        return RELEASES[name]
    close = difflib.get_close_matches(name, RELEASES, n=1)
    guess = f"did you mean {close[0]}? " if close else ""
    raise UsageError(f"there is no guest release {name!r}", hint=f"{guess}known: auto {' '.join(RELEASES)}")

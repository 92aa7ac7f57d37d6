"""Which guests there are: distribution, release, kernel flavour and the packages that make them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from kmodlab.errors import UsageError
from kmodlab.guest.archive import host_release


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
    """

    name: str
    distribution: str
    suites: tuple[str, ...]
    kernel: str = "linux-image-cloud-amd64"
    headers: str = "linux-headers-cloud-amd64"
    pinned: str | None = None


def _debian(name: str, codename: str, *more: str, flavour: str = "cloud-amd64", pinned: str | None = None) -> Release:
    suites = (codename, *(f"{codename}-{suite}" for suite in more))
    kernel, headers = f"linux-image-{flavour}", f"linux-headers-{flavour}"
    return Release(name, "debian", suites, kernel, headers, pinned)


def _ubuntu(version: str, codename: str) -> Release:
    suites = (codename, f"{codename}-updates", f"{codename}-security")
    return Release(f"ubuntu-{version}", "ubuntu", suites, "linux-image-virtual", "linux-headers-virtual")


RELEASES: dict[str, Release] = {
    release.name: release
    for release in (
        _debian("debian-11", "bullseye"),
        _debian("debian-12", "bookworm", "updates", "security"),
        _debian("debian-12-generic", "bookworm", "updates", "security", flavour="amd64"),
        _debian("debian-12-rt", "bookworm", "updates", "security", flavour="rt-amd64"),
        _debian("debian-13", "trixie", "updates", "security"),
        _debian("debian-13-backports", "trixie", "updates", "security", "backports", pinned="trixie-backports"),
        _debian("debian-testing", "forky"),
        _ubuntu("22.04", "jammy"),
        _ubuntu("24.04", "noble"),
        _ubuntu("26.04", "resolute"),
    )
}


def find_release(name: str) -> Release:
    """Return the release of that name; `auto` is the host's own.

    Raises:
        UsageError: there is none of that name.
    """
    if name == "auto":
        host = host_release()
        for release in RELEASES.values():
            if release.distribution == host.distribution and release.suites[0] == host.codename:
                return release
        name = f"{host.distribution}-{host.version}"
    if name in RELEASES:
        return RELEASES[name]
    close = difflib.get_close_matches(name, RELEASES, n=1)
    guess = f"did you mean {close[0]}? " if close else ""
    raise UsageError(f"there is no guest release {name!r}", hint=f"{guess}known: auto {' '.join(RELEASES)}")

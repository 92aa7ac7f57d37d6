"""What an image is to be built of: its name is resolved here, once, and handed on as a `Plan`.

A plan's id is a hash of everything that goes in: the release, the archive, the host's way to it, the files and the
script that finish it.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, dataclass

from kmodlab.image import archive, overlay, trust
from kmodlab.image.archive import Source
from kmodlab.image.places import HERE, Places
from kmodlab.image.release import Release, find_release
from kmodlab.image.trust import Keyring

#: what every guest carries beside its kernel: a system that boots to ssh, Python for Ansible, and a toolchain
PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "kmod", "procps", "iproute2", "openssh-server", "ca-certificates"),
    *("passwd", "sudo", "mount", "initramfs-tools", "python3", "python3-apt", "gcc", "make", "libc6-dev"),
)

#: documentation is not read in a guest, and is a third of the time to write its disk
EXCLUDED_PATHS = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")

DISK_SIZE = "8G"


@dataclass(frozen=True)
class Plan:
    """What an image is built of, here and now. What takes the host's apt a second to answer is asked when first used.

    Attributes:
        release: the kind of guest.
        keyring: what its archive has to be signed by.
        mirror_named: whether the user named that archive.
        packages: all that are asked for, the kernel and its headers last.
        excluded: the paths that are left out of the packages.
        disk_size: of the root disk, as mke2fs(8) takes it.
        places: the host's.
        chosen: whether it is the host's own release that `auto` came to.
    """

    release: Release
    keyring: Keyring
    mirror_named: bool
    packages: tuple[str, ...]
    excluded: tuple[str, ...] = EXCLUDED_PATHS
    disk_size: str = DISK_SIZE
    places: Places = HERE
    chosen: bool = False

    @functools.cached_property
    def sources(self) -> tuple[Source, ...]:
        """The archive's; none where mmdebstrap is left to take the distribution's default."""
        return archive.sources_for(self.release.distribution, self.release.suites, self.places)

    @functools.cached_property
    def options(self) -> str:
        """The host's settings of apt for reaching the archive, lines of apt.conf(5)."""
        return archive.acquire_options()

    @property
    def components(self) -> tuple[str, ...]:
        """The parts of the archive that the packages are in."""
        return archive.COMPONENTS[self.release.distribution]

    @property
    def lines(self) -> list[str]:
        """The sources as sources.list(5) has them."""
        return [source.line() for source in self.sources]

    @property
    def id(self) -> str:
        """The release's name and a hash of all that goes in."""
        return f"{self.release.name}-{self._key}"

    @functools.cached_property
    def _key(self) -> str:
        parts = [
            json.dumps(asdict(self.release), sort_keys=True),
            *self.lines,
            self.options,
            " ".join(self.packages),
            " ".join(self.excluded),
            self.disk_size,
            (self.places.recipe / "customize.sh").read_text(),
            *self.keyring.digest(),
        ]
        files = overlay.packed(self.places.recipe / "rootfs")
        return hashlib.sha256("\0".join(parts).encode() + files).hexdigest()[:12]


def planned(name: str, places: Places = HERE) -> Plan:
    """Return what the image of a release is to be built of.

    Args:
        name: a release, or `auto`, the host's own.
        places: the host's.

    Raises:
        UsageError: there is no such release, or a variable that names a mirror does not.
        LabError: `auto` on a host that is neither Debian nor Ubuntu.
    """
    return of_release(find_release(name, places), places, chosen=name == "auto")


def of_release(release: Release, places: Places = HERE, *, chosen: bool = False) -> Plan:
    """Return what the image of a release is to be built of; the arguments are those of `Plan`."""
    return Plan(
        release,
        trust.keyring(release.distribution, places),
        mirror_named=bool(archive.named_mirrors(release.distribution)),
        packages=(*PACKAGES, *release.extras, *release.boot_loader, release.kernel, release.headers),
        places=places,
        chosen=chosen,
    )

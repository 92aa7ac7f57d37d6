"""Which keys a guest's archive has to be signed by, what is needed to check that, and why an archive was refused.

The host's own distribution is trusted as the host's apt trusts it, the other one by its archive's keyring alone.
`KMODLAB_DEBIAN_KEYRING` and `KMODLAB_UBUNTU_KEYRING` name other key files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from kmodlab.errors import LabError
from kmodlab.image import archive
from kmodlab.image.release import Release

#: distribution -> the keyring of its archive
KEYRINGS = {name: Path(f"/usr/share/keyrings/{name}-archive-keyring.gpg") for name in archive.COMPONENTS}
#: distribution -> how to get that keyring
GET_KEYRING = {
    "debian": "apt-get install debian-archive-keyring",
    "ubuntu": "apt-get install ubuntu-keyring",
}
#: keys that apt trusts for every archive
_TRUSTED_PARTS = Path("/etc/apt/trusted.gpg.d")
#: where mmdebstrap looks up which suites are Ubuntu's
_UBUNTU_SUITES = Path("/usr/share/distro-info/ubuntu.csv")

#: what apt says of an archive -> what that means; `{keys}` are those that it had to be signed by.
#: Where a component is missing apt merely warns, and mmdebstrap keeps that to itself.
REFUSALS = (
    (r"NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|is not signed|no longer signed", "its archive is not signed by {keys}"),
    (r"Release file for (\S+) is expired", "{0} is out of date: the mirror is no longer kept, or the clock is wrong"),
    (r"Release file for (\S+) is not valid yet", "{0} is of the future: the clock of this machine is wrong"),
    (r"(?:Could not resolve|failure resolving) '([^']+)'", "the name {0} of its archive leads nowhere"),
    (r"Failed to fetch (\S+)/dists/\S+ +(?:Could not|Unable to|Cannot|Connection)", "its archive {0} does not answer"),
    (r"The repository '(\S+) (\S+) Release' does not have", "its archive {0} has no {1}"),
    (r"Failed to fetch (\S+\.deb) +404", "its archive lists {0}, which is not there"),
    (r"did not find any indices for architecture '([^']+)'", "its archive has nothing for {0}"),
    (
        r"Unable to locate package (\S+)|Package '([^']+)' has no installation",
        "its archive has no package {0} in {components}",
    ),
)


def keyring_variable(distribution: str) -> str:
    """Return the name of the environment variable that names the key file of a distribution's archive."""
    return f"KMODLAB_{distribution.upper()}_KEYRING"


def keyring(distribution: str) -> Path | None:
    """Return the one file with the keys that an archive has to be signed by, be it there or not.

    None where apt decides: for the host's own distribution, if the user named no file.
    """
    if named := os.environ.get(keyring_variable(distribution), ""):
        return Path(named).expanduser().absolute()
    return None if archive.host_runs(distribution) else KEYRINGS[distribution]


def lay_out(distribution: str, directory: Path) -> None:
    """Copy the keys that a distribution's archive may be signed by into a new directory, as apt wants them there."""
    own = keyring(distribution)
    parts = [path for path in sorted(_TRUSTED_PARTS.glob("*")) if path.suffix in (".gpg", ".asc")]
    directory.mkdir()
    # apt checks signatures as a user of its own.
    directory.chmod(0o755)
    for number, path in enumerate([own] if own else [*parts, *archive.keyrings()]):
        content = path.read_bytes()
        # It tells an armoured file from a binary one by its name alone.
        suffix = "asc" if content.lstrip().startswith(b"-----BEGIN") else "gpg"
        copy = directory / f"lab-{number}.{suffix}"
        copy.write_bytes(content)
        copy.chmod(0o644)


def require(release: Release) -> None:
    """Stop where this machine lacks what it takes to reach a release's archive and to check its signature.

    Raises:
        LabError: the keyring is missing, or nothing names the archive.
    """
    file = keyring(release.distribution)
    reason = hint = ""
    if file and not file.is_file():
        reason = f"the keys of {release.distribution}'s archive are not on this machine: there is no file {file}"
        hint = hint_of_missing(release.distribution)
    elif not archive.sources_for(release.distribution, release.suites):
        reason = _unknown(release)
        hint = f"name a mirror with {archive.mirror_variable(release.distribution)}"
        if release.distribution == "ubuntu":
            hint = f"apt-get install distro-info-data (a newer one if it is there), or {hint}"
    if reason:
        raise LabError(f"the image {release.name} cannot be built: {reason}", hint=hint)


def hint_of_missing(distribution: str) -> str:
    """Return what to do where the file of `keyring` is not there."""
    variable = keyring_variable(distribution)
    if os.environ.get(variable):
        return f"{variable} names it: name another, or none"
    hint = f"{GET_KEYRING[distribution]}, or name a file of keys with {variable}"
    if distribution == "ubuntu":
        hint += " (Debian has that package from 13 on; it depends on nothing, so Debian 13's does on Debian 12)"
    return hint


def _unknown(release: Release) -> str:
    """Return what is wrong with leaving the archive to mmdebstrap, nothing where it knows it."""
    if release.pinned:
        return f"this host has no apt source for {release.distribution}, and mmdebstrap's own has no {release.pinned}"
    suite = release.suites[0]
    listed = _UBUNTU_SUITES.read_text() if _UBUNTU_SUITES.exists() else ""
    if release.distribution == "ubuntu" and f",{suite}," not in listed:
        return f"this host has no apt source for ubuntu, and mmdebstrap does not know {suite}"
    return ""


def explain(release: Release, said: str) -> tuple[str, str]:
    """Return why an archive was refused, empty where that is not known, and what to do.

    Args:
        release: what was to be built.
        said: all that mmdebstrap printed.
    """
    for pattern, reason in REFUSALS:
        if match := re.search(pattern, said):
            groups = [group for group in match.groups() if group]
            about_keys = "{keys}" in reason
            components = " or ".join(archive.COMPONENTS[release.distribution])
            text = reason.format(*groups, keys=_described(release.distribution), components=components)
            return text, _hint_of_keys(release.distribution) if about_keys else _hint_of_archive(release)
    return "", _hint_of_archive(release)


def _described(distribution: str) -> str:
    file = keyring(distribution)
    return f"a key in {file}" if file else "a key that apt trusts on this machine"


def _hint_of_keys(distribution: str) -> str:
    variable = keyring_variable(distribution)
    return f"for a mirror that signs with a key of its own, name the file of that key with {variable}"


def _hint_of_archive(release: Release) -> str:
    variable = archive.mirror_variable(release.distribution)
    if archive.named_mirrors(release.distribution):
        return f"{variable} names it: is that address right, and reachable from here?"
    own = "is the archive reachable? try `apt-get update`"
    if archive.sources_for(release.distribution, release.suites):
        return own
    return (
        f"this host has no apt source for {release.distribution}, so mmdebstrap's own was taken: "
        f"name a mirror with {variable}, or choose another --image"
    )

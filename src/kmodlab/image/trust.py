"""Which keys an archive has to be signed by.

The host's own distribution is trusted as the host's apt trusts it, the other one by its archive's keyring alone.
`KMODLAB_DEBIAN_KEYRING` and `KMODLAB_UBUNTU_KEYRING` name other key files.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from kmodlab.image import archive
from kmodlab.image.places import HERE, Places, host_runs

#: distribution -> the file of its archive's keys
KEYRINGS = {name: f"{name}-archive-keyring.gpg" for name in archive.COMPONENTS}
#: distribution -> how to get that keyring
GET_KEYRING = {
    "debian": "apt-get install debian-archive-keyring",
    "ubuntu": "apt-get install ubuntu-keyring",
}


def keyring_variable(distribution: str) -> str:
    """Return the name of the environment variable that names the key file of a distribution's archive."""
    return f"KMODLAB_{distribution.upper()}_KEYRING"


@dataclass(frozen=True)
class Keyring:
    """The keys that a distribution's archive has to be signed by.

    Attributes:
        distribution: whose archive.
        file: the one file with the keys, be it there or not; None where the host's apt decides.
        named: whether the user named that file.
    """

    distribution: str
    file: Path | None
    named: bool = False

    @property
    def missing(self) -> bool:
        """Whether there has to be a file, and is none."""
        return self.file is not None and not self.file.is_file()

    def __str__(self) -> str:
        """Describe a key of it, in a sentence."""
        return f"a key in {self.file}" if self.file else "a key that apt trusts on this machine"

    def digest(self) -> list[str]:
        """Return a hash of the file's content, nothing where there is none: a guest's own apt gets these keys."""
        return [hashlib.sha256(self.file.read_bytes()).hexdigest()] if self.file and self.file.is_file() else []

    def how_to_get(self) -> str:
        """Return what to do where it is missing."""
        variable = keyring_variable(self.distribution)
        if self.named:
            return f"{variable} names it: name another, or none"
        hint = f"{GET_KEYRING[self.distribution]}, or name a file of keys with {variable}"
        if self.distribution == "ubuntu":
            hint += " (Debian has that package from 13 on; it depends on nothing, so Debian 13's does on Debian 12)"
        return hint


def keyring(distribution: str, places: Places = HERE) -> Keyring:
    """Return the keys that a distribution's archive has to be signed by: the user's choice, or the distribution's own.

    On a host of that distribution its apt decides, unless the user named a file.
    """
    if named := os.environ.get(keyring_variable(distribution), ""):
        return Keyring(distribution, Path(named).expanduser().absolute(), named=True)
    own = host_runs(distribution, places)
    return Keyring(distribution, None if own else places.keyrings / KEYRINGS[distribution])


def lay_out(keys: Keyring, directory: Path, places: Places = HERE) -> None:
    """Copy the keys that an archive may be signed by into a new directory, as apt wants them there."""
    trusted = sorted((places.apt / "trusted.gpg.d").glob("*"))
    parts = [path for path in trusted if path.suffix in (".gpg", ".asc")]
    directory.mkdir()
    # apt checks signatures as a user of its own.
    directory.chmod(0o755)
    for number, path in enumerate([keys.file] if keys.file else [*parts, *archive.keyrings(places)]):
        content = path.read_bytes()
        # It tells an armoured file from a binary one by its name alone.
        suffix = "asc" if content.lstrip().startswith(b"-----BEGIN") else "gpg"
        copy = directory / f"lab-{number}.{suffix}"
        copy.write_bytes(content)
        copy.chmod(0o644)

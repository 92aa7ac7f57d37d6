"""Which archive a guest's packages come from, and how it is reached.

Guests use what the machine already reaches and trusts: the host's own apt configuration, its mirror, proxy and keys.
`KMODLAB_DEBIAN_MIRROR` and `KMODLAB_UBUNTU_MIRROR` name other mirrors.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from kmodlab.errors import UsageError
from kmodlab.image.places import HERE, Places, host_release, host_runs

#: distribution -> the archive's components that a guest's packages are in (Ubuntu has extlinux in universe)
COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "universe")}

#: address of the host as QEMU's user network shows it to a guest
HOST_FROM_GUEST = "10.0.2.2"

#: Proxy-Auto-Detect names a program of the host's, which a guest does not have.
_ACQUIRE_OPTIONS = re.compile(
    r"(?!.*Proxy-?Auto-?Detect)"
    r'^Acquire::(?:(?:http|https)(?:::[^ ]*)?|Check-Valid-Until|Check-Date|Retries|ForceIPv4) "[^"]+";$'
)


@dataclass(frozen=True)
class Source:
    """One line of apt sources.

    Attributes:
        uri: the archive's root.
        suite: as the archive spells it, `bookworm-security` for instance.
        components: for instance `("main",)`.
    """

    uri: str
    suite: str
    components: tuple[str, ...] = ("main",)

    def line(self) -> str:
        """Return it in the one-line format of sources.list(5)."""
        return f"deb {self.uri} {self.suite} {' '.join(self.components)}"


def _capture(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


@functools.cache
def host_sources(places: Places = HERE) -> tuple[Source, ...]:
    """Return the archives that apt uses here for the host's own distribution; third-party ones are left out.

    Source: `apt-get indextargets`, the interface apt-get(8) documents for this, which reads one-line and
    deb822 sources alike. It knows an archive after the first `apt-get update`.
    """
    release = host_release(places)
    fields = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    found: dict[tuple[str, str], list[str]] = {}
    for line in _capture("apt-get", "indextargets", "--format", fields, "Created-By: Packages").splitlines():
        origin, uri, suite, component = line.split("|")
        if origin.lower() == release.distribution and suite.startswith(release.codename):
            components = found.setdefault((uri, suite), [])
            if component not in components:
                components.append(component)
    return tuple(Source(uri, suite, tuple(names)) for (uri, suite), names in found.items())


def keyrings(places: Places = HERE) -> list[Path]:
    """Return the key files that the host's apt sources are signed by, beside those that apt trusts anyway."""
    named: set[Path] = set()
    for path in (places.apt / "sources.list", *sorted((places.apt / "sources.list.d").glob("*"))):
        if path.suffix in (".list", ".sources") and path.is_file():
            for value in re.findall(r"(?i)\bsigned-by(?:=|:\s*)(/[^\n\]]+)", path.read_text(errors="replace")):
                named.update(Path(name) for name in re.findall(r"/[^\s,]+", value))
    return sorted(path for path in named if path.is_file())


def acquire_options() -> str:
    """Return the host's apt settings for reaching an archive, as lines of apt.conf(5) that work in a guest.

    A proxy on the host's loopback is renamed to the address at which a guest sees the host.
    """
    lines = [line for line in _capture("apt-config", "dump").splitlines() if _ACQUIRE_OPTIONS.match(line)]
    text = "".join(f"{line}\n" for line in lines)
    return re.sub(r"//(?:localhost|127\.0\.0\.1|\[::1\])(?=[:/\"])", f"//{HOST_FROM_GUEST}", text)


def mirror_variable(distribution: str) -> str:
    """Return the name of the environment variable that names a mirror of a distribution."""
    return f"KMODLAB_{distribution.upper()}_MIRROR"


def named_mirrors(distribution: str) -> dict[str, str]:
    """Return the mirrors that the user named: `main`, and `security` where the suites `*-security` have one.

    Debian keeps those suites in an archive of its own, Ubuntu keeps them beside the others.

    Raises:
        UsageError: the variable holds something else than one or two addresses.
    """
    variable = mirror_variable(distribution)
    words = os.environ.get(variable, "").split()
    if len(words) > 2 or not all(re.match(r"[a-z+]+:/", word) for word in words):
        raise UsageError(
            f"{variable} is {' '.join(words)!r}: no address of an archive",
            hint=f"for instance {variable}=http://mirror.example/{distribution}; a second one, after a blank, is that"
            " of the suites *-security",
        )
    if not words:
        return {}
    security = words[-1] if len(words) == 2 or distribution == "ubuntu" else ""
    return {"main": words[0], "security": security}


def sources_for(distribution: str, suites: tuple[str, ...], places: Places = HERE) -> tuple[Source, ...]:
    """Return the apt sources of a guest.

    Args:
        distribution: `debian` or `ubuntu`.
        suites: the release's suite first, then further ones (backports, security).
        places: the host's.

    Returns:
        The suites on the mirror that the user named; else the host's own sources where the guest runs the
        host's release; else the host's mirror with the guest's suites; empty where the host has no mirror of
        that distribution: mmdebstrap then takes that distribution's default.
    """
    if mirrors := named_mirrors(distribution):
        return _completed([], mirrors, distribution, suites)
    if not host_runs(distribution, places):
        return ()
    own = host_sources(places)
    mirrors = {"security": "", "main": ""}
    for source in own:
        mirrors["security" if source.suite.endswith("-security") else "main"] = source.uri
    if not mirrors["main"]:
        return ()
    return _completed([source for source in own if source.suite in suites], mirrors, distribution, suites)


def _completed(
    listed: list[Source], mirrors: dict[str, str], distribution: str, suites: tuple[str, ...]
) -> tuple[Source, ...]:
    """Return the listed sources with the components that a guest needs, and a source for each suite not listed.

    They come in the order of the suites: two hosts that list the same in another order have the same image.
    """
    needed = COMPONENTS[distribution]
    complete = [replace(source, components=tuple(dict.fromkeys((*source.components, *needed)))) for source in listed]
    for suite in suites:
        uri = mirrors["security" if suite.endswith("-security") else "main"]
        if uri and suite not in [source.suite for source in listed]:
            complete.append(Source(uri, suite, needed))
    return tuple(sorted(complete, key=lambda source: suites.index(source.suite)))

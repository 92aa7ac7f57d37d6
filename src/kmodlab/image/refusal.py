"""Why an image cannot be built: what this machine lacks for it, and what apt meant when it refused an archive."""

from __future__ import annotations

import re

from kmodlab.errors import LabError
from kmodlab.image import archive, trust
from kmodlab.image.plan import Plan
from kmodlab.image.release import MACHINES

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


def require(plan: Plan) -> None:
    """Stop where this machine lacks what it takes to run a plan's packages, to reach its archive and to check that.

    Raises:
        LabError: there is no emulator of the architecture, the keyring is missing, or nothing names the archive.
    """
    _require_emulation(plan)
    reason = hint = ""
    if plan.keyring.missing:
        file, distribution = plan.keyring.file, plan.release.distribution
        reason = f"the keys of {distribution}'s archive are not on this machine: there is no file {file}"
        hint = plan.keyring.how_to_get()
    elif not plan.sources:
        reason = _unknown(plan)
        hint = f"name a mirror with {archive.mirror_variable(plan.release.distribution)}"
        if plan.release.distribution == "ubuntu":
            hint = f"apt-get install distro-info-data (a newer one if it is there), or {hint}"
    if reason:
        raise LabError(f"the image {plan.release.name} cannot be built: {reason}", hint=hint)


def _require_emulation(plan: Plan) -> None:
    """Stop where this machine cannot run programs of the release's architecture, which its packages' scripts are."""
    release = plan.release
    if release.foreign and not (plan.places.emulators / f"qemu-{MACHINES[release.architecture]}").exists():
        raise LabError(
            f"the image {release.name} cannot be built: this machine does not run programs of {release.architecture}",
            hint="apt-get install qemu-user-static binfmt-support arch-test; in a checkout `.config/setup matrix` does",
        )


def _unknown(plan: Plan) -> str:
    """Return what is wrong with leaving the archive to mmdebstrap, nothing where it knows it."""
    release, known = plan.release, plan.places.ubuntu_suites
    if release.pinned:
        return f"this host has no apt source for {release.distribution}, and mmdebstrap's own has no {release.pinned}"
    listed = known.read_text() if known.exists() else ""
    if release.distribution == "ubuntu" and f",{release.suites[0]}," not in listed:
        return f"this host has no apt source for ubuntu, and mmdebstrap does not know {release.suites[0]}"
    return ""


def explain(plan: Plan, said: str) -> tuple[str, str]:
    """Return why an archive was refused, empty where that is not known, and what to do.

    Args:
        plan: what was to be built.
        said: all that mmdebstrap printed.
    """
    for pattern, reason in REFUSALS:
        if match := re.search(pattern, said):
            groups = [group for group in match.groups() if group]
            text = reason.format(*groups, keys=plan.keyring, components=" or ".join(plan.components))
            return text, _hint_of_keys(plan) if "{keys}" in reason else _hint_of_archive(plan)
    return "", _hint_of_archive(plan)


def _hint_of_keys(plan: Plan) -> str:
    variable = trust.keyring_variable(plan.release.distribution)
    return f"for a mirror that signs with a key of its own, name the file of that key with {variable}"


def _hint_of_archive(plan: Plan) -> str:
    distribution = plan.release.distribution
    variable = archive.mirror_variable(distribution)
    if plan.mirror_named:
        return f"{variable} names it: is that address right, and reachable from here?"
    if plan.sources:
        return "is the archive reachable? try `apt-get update`"
    return (
        f"this host has no apt source for {distribution}, so mmdebstrap's own was taken: "
        f"name a mirror with {variable}, or choose another --image"
    )

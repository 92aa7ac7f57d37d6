"""`kmodlab doctor`: what this host lacks for the lab, with the fix for each."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kmodlab import paths
from kmodlab.errors import KmodlabError
from kmodlab.guest import accelerator, archive, trust
from kmodlab.guest.accelerator import qemu_binary
from kmodlab.guest.image import BUILD_SPACE, find_image

#: program -> the Debian package that brings it
PROGRAMS = {
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "prlimit": "util-linux",
    "bwrap": "bubblewrap",
    "mount": "mount",
    "ansible-playbook": "",
}
#: MiB: one guest, its QEMU, and Ansible beside it
MEMORY = 2048


@dataclass(frozen=True)
class Finding:
    """The answer to one question about the host.

    Attributes:
        subject: what was looked at.
        good: whether the lab can work with it.
        detail: what was seen.
        fix: what to do, where it is not good.
    """

    subject: str
    good: bool
    detail: str
    fix: str = ""


def _programs() -> Iterator[Finding]:
    wanted = {qemu_binary(): "qemu-system-x86" if "x86" in qemu_binary() else "qemu-system-arm", **PROGRAMS}
    if os.getuid():
        wanted["newuidmap"] = "uidmap"
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", str(paths.project_dir() / ".venv/bin")])
    for program, package in wanted.items():
        found = shutil.which(program, path=search)
        fix = f"apt-get install {package}" if package else "run `.config/setup`: it makes .venv"
        yield Finding(program, found is not None, found or "not installed", fix)


def _space() -> Iterator[Finding]:
    for subject, directory in (("cache", paths.cache_dir()), ("state", paths.state_dir())):
        there = next(parent for parent in (directory, *directory.parents) if parent.exists())
        free = shutil.disk_usage(there).free
        good = free >= BUILD_SPACE and os.access(there, os.W_OK)
        detail = f"{free >> 20} MiB free in {directory}"
        fix = f"an image needs {BUILD_SPACE >> 20} MiB: `kmodlab image prune`, or set KMODLAB_{subject.upper()}_DIR"
        yield Finding(f"{subject} directory", good, detail, fix)


def available_memory() -> int:
    """Return how much memory new programs can have here, in MiB. Source: `MemAvailable` in proc_meminfo(5)."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) >> 10


def _memory() -> Iterator[Finding]:
    available = available_memory()
    fix = f"{MEMORY} MiB are needed for one guest: end other programs, or use `--memory 512`"
    yield Finding("memory", available >= MEMORY, f"{available} MiB available", fix)


def _archive() -> Iterator[Finding]:
    release = archive.host_release()
    sources = archive.sources_for(release.distribution, (release.codename,))
    if not sources:
        fix = f"run `apt-get update` once; else mmdebstrap's default mirror of {release.distribution} is used"
        yield Finding("apt sources", False, f"apt knows no archive of {release.distribution}", fix)
    for source in sources[:1]:
        yield _reach(f"{source.uri.rstrip('/')}/dists/{source.suite}/InRelease")


def _keys() -> Iterator[Finding]:
    for distribution in archive.COMPONENTS:
        file = trust.keyring(distribution)
        if file and file.is_file():
            yield Finding(f"keys of {distribution}", True, str(file))
        elif file and os.environ.get(trust.keyring_variable(distribution)):
            fix = trust.hint_of_missing(distribution)
            yield Finding(f"keys of {distribution}", False, f"there is no file {file}", fix)
        elif file:
            detail = f"not there: images of {distribution} need `{trust.GET_KEYRING[distribution]}`"
            yield Finding(f"keys of {distribution}", True, detail)


def _reach(url: str) -> Finding:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  # the user's own apt source
            return Finding("archive", answer.status == 200, f"{url} answers")
    except (urllib.error.URLError, OSError) as error:
        return Finding("archive", False, f"{url}: {error}", "check network, proxy and /etc/apt/sources.list*")


def _acceleration() -> Iterator[Finding]:
    image = find_image("auto")
    if image is None:
        yield Finding("accelerator", True, "not probed: that needs an image (`kmodlab image build`)")
        return
    chosen = accelerator.choose(image)
    slow = "emulation: correct, and about ten times slower than hardware virtualization"
    yield Finding("accelerator", True, "kvm boots a kernel" if chosen == "kvm" else slow)


def examine() -> Iterator[Finding]:
    """Yield a finding for each thing the lab needs, in the order in which they matter."""
    parts: tuple[Callable[[], Iterator[Finding]], ...] = (_programs, _space, _memory, _archive, _keys, _acceleration)
    for part in parts:
        try:
            yield from part()
        except KmodlabError as error:
            yield Finding(part.__name__.strip("_"), False, error.message, error.hint or "")

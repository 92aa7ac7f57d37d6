"""`kmodlab doctor`: what this host lacks for the lab, with the fix for each."""

from __future__ import annotations

import locale
import os
import platform
import re
import shutil
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from kmodlab import namespaces, paths
from kmodlab.environment import search_path
from kmodlab.errors import KmodlabError
from kmodlab.host import HOST, TMPDIR_HINT, Host, without_programs
from kmodlab.image import archive, trust
from kmodlab.image.image import BUILD_SPACE, find_image
from kmodlab.image.places import HERE, Places, host_release
from kmodlab.image.plan import planned
from kmodlab.vm import accelerator, ssh
from kmodlab.vm.accelerator import qemu_binary

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
    "bsdtar": "libarchive-tools",
    "mount": "mount",
    "ansible-playbook": "",
}
#: MiB: one guest, its QEMU, and Ansible beside it
MEMORY = 2048


@dataclass(frozen=True)
class Patient:
    """What is examined.

    Attributes:
        host: the machine.
        places: where it has what images are made with.
        project: what the project brings, see `paths.project_dir`.
        checkout: whether one develops there, too.
        python: the version of the Python that the lab runs on.
        has: finds a module of that Python, as `importlib.util.find_spec` does; None where there is none.
    """

    host: Host = HOST
    places: Places = HERE
    project: Path = field(default_factory=paths.project_dir)
    checkout: bool = field(default_factory=paths.is_checkout)
    python: str = field(default_factory=platform.python_version)
    has: Callable[[str], object] = find_spec


@dataclass(frozen=True)
class Finding:
    """The answer to one question about the host.

    Attributes:
        subject: what was looked at.
        good: whether the lab can work with it.
        detail: what was seen.
        fix: what to do, where it is not good or worth a note.
        note: it is good, and yet the user should know something about it.
    """

    subject: str
    good: bool
    detail: str
    fix: str = ""
    note: bool = False

    @property
    def mark(self) -> str:
        """How a line about it begins."""
        return ("note" if self.note else "ok") if self.good else "LACK"

    def lines(self) -> Iterator[str]:
        """Yield the lines that tell it: what was seen, and what to do where there is anything to do."""
        yield f"{self.mark:<4}  {self.subject}: {self.detail}"
        if (self.note or not self.good) and self.fix:
            yield f"      fix: {self.fix}"


def status(findings: Iterable[Finding]) -> int:
    """Return the exit status of a command that found these: 3, as where the lab broke, if anything is lacking."""
    return 0 if all(finding.good for finding in findings) else 3


def _programs(patient: Patient) -> Iterator[Finding]:
    wanted = {qemu_binary(): "qemu-system-x86" if "x86" in qemu_binary() else "qemu-system-arm", **PROGRAMS}
    if patient.host.user:
        wanted["newuidmap"] = "uidmap"
    search = os.pathsep.join([search_path(os.environ.get("PATH", "")), str(Path(sys.executable).parent)])
    for program, package in wanted.items():
        found = shutil.which(program, path=search)
        fix = f"apt-get install {package}" if package else paths.setup_hint()
        yield Finding(program, found is not None, found or "not installed", fix)


def _space(patient: Patient) -> Iterator[Finding]:
    host = patient.host
    for subject, directory in (("cache", paths.cache_dir()), ("state", paths.state_dir())):
        there = paths.nearest(directory)
        variable = f"KMODLAB_{subject.upper()}_DIR"
        if not host.writable(there):
            why = "cannot be written to" if there.is_dir() else "is no directory"
            fix = f"choose one of your own: export {variable}=/PATH/OF/A/DIRECTORY; or see `ls -ld {there}`"
            yield Finding(f"{subject} directory", False, f"{there} {why}", fix)
            continue
        free = host.space(directory)
        detail = f"{free >> 20} MiB free in {directory}"
        fix = f"an image needs {BUILD_SPACE >> 20} MiB: `kmodlab image prune`, or set {variable}"
        yield Finding(f"{subject} directory", free >= BUILD_SPACE, detail, fix)


def _temporary(patient: Patient) -> Iterator[Finding]:
    host = patient.host
    try:
        directory = host.temporary()
    except FileNotFoundError as error:
        yield Finding("temporary files", False, str(error.strerror or error), TMPDIR_HINT)
        return
    for place in dict.fromkeys((directory, patient.places.staging)):
        subject = "temporary files" if place == directory else f"{place}"
        if not host.writable(place):
            yield Finding(subject, False, f"{place} is not there, or cannot be written to", f"chmod 1777 {place}")
        elif without_programs(place):
            fix = TMPDIR_HINT if place == directory else f"mount -o remount,exec {place}: images are built there"
            yield Finding(subject, False, f"no program can be run in {place}: it is mounted noexec", fix)
        else:
            yield Finding(subject, True, str(place))


def _shared_memory(patient: Patient) -> Iterator[Finding]:
    from kmodlab.grading.lab import Limits  # noqa: PLC0415
    from kmodlab.vm import room  # noqa: PLC0415  # other commands start without it

    host = patient.host
    memory, disk = room.runtime_dirs(host)
    limits = Limits()
    needed = room.room(1, limits.memory, limits.disk)
    free = host.space(memory) if memory.parent.is_dir() else 0
    detail = f"{free >> 20} MiB free in {memory.parent}"
    if free >= needed:
        yield Finding("memory for files", True, detail)
        return
    fix = f"mount -o remount,size={needed >> 20}M {memory.parent}; of a container: --shm-size={needed >> 20}m"
    detail += f": machines for grading write to {disk} instead, which is slower"
    yield Finding("memory for files", True, detail, fix, note=True)


def _namespaces(patient: Patient) -> Iterator[Finding]:
    from kmodlab.grading import sandbox  # noqa: PLC0415

    host = patient.host
    if why := namespaces.refused(host):
        yield Finding("user namespaces", False, why, namespaces.cause(host)[1])
    else:
        there = "not needed by root" if namespaces.is_root(host) else "there are some"
        yield Finding("user namespaces", True, there)
    try:
        sandbox.require(host)
    except KmodlabError as error:
        said = f": {error.output.strip()}" if error.output else ""
        yield Finding("sandbox", False, f"{error.message}{said}", error.hint or "")
    else:
        yield Finding("sandbox", True, "it starts")


def _sockets(patient: Patient) -> Iterator[Finding]:
    directory = ssh.control_dir(patient.host)
    detail = f"{directory}" if directory else f"no private directory of at most {ssh.CONTROL_DIR} bytes"
    fix = "connections are not kept open, which is slow: name a short private directory of your own as XDG_RUNTIME_DIR"
    yield Finding("control sockets", True, detail, "" if directory else fix, note=directory is None)


# -- what is around Python and Ansible -------------------------------------------------------------------------


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def _python(patient: Patient) -> Iterator[Finding]:
    stated = tomllib.loads((patient.project / "pyproject.toml").read_text(encoding="utf-8"))
    floor = str(stated["project"]["requires-python"]).removeprefix(">=")
    good = _numbers(patient.python) >= _numbers(floor)
    yield Finding("Python", good, patient.python, f"{floor} or newer is needed: apt-get install python3")
    if patient.checkout and any(patient.has(name) is None for name in ("venv", "ensurepip")):
        detail = "there is no venv or no ensurepip: `.config/setup` could not make .venv anew"
        yield Finding("venv", True, detail, "apt-get install python3-venv", note=True)


def _compiler(patient: Patient) -> Iterator[Finding]:
    if not patient.checkout:
        return
    missing = [name for name in ("gcc", "clang") if shutil.which(name) is None]
    if missing:
        detail = f"no {' and no '.join(missing)} here. Only `make check` and `make test` need them: modules are built "
        detail += "with a guest image's own"
        yield Finding("compiler", True, detail, "for the tests: .config/setup test", note=True)
    else:
        yield Finding("compiler", True, "gcc and clang, for `make test`; modules are built with a guest image's own")


def _locale(_: Patient) -> Iterator[Finding]:
    before = locale.setlocale(locale.LC_ALL)
    means = "what is not ASCII is shown escaped, and ansible-playbook that is run by hand does not start"
    fix = "export LC_ALL=C.UTF-8"
    try:
        locale.setlocale(locale.LC_ALL, "")
        coding = locale.nl_langinfo(locale.CODESET)
        good, detail = coding.upper() == "UTF-8", coding
    except locale.Error:
        names = ("LC_ALL", "LC_CTYPE", "LANG")
        good, detail = False, f"there is no {next((os.environ[name] for name in names if os.environ.get(name)), '')}"
    finally:
        locale.setlocale(locale.LC_ALL, before)
    yield Finding("locale", True, detail if good else f"{detail}: {means}", "" if good else fix, note=not good)


def _ansible(patient: Patient) -> Iterator[Finding]:
    own = patient.project / "ansible.cfg"
    named = os.environ.get("ANSIBLE_CONFIG", "")
    by_hand = "playbooks that are run by hand"
    if named and not (Path(named).exists() and Path(named).samefile(own)):
        detail = f"ANSIBLE_CONFIG is {named}: {by_hand} do not have the project's settings"
        yield Finding("ansible.cfg", True, detail, "unset ANSIBLE_CONFIG", note=True)
    elif not named and own.parent.stat().st_mode & 0o002:
        detail = f"anyone may write to {own.parent}, so Ansible takes no settings from there: {by_hand} find no roles"
        yield Finding("ansible.cfg", True, detail, f"chmod o-w {own.parent}, or export ANSIBLE_CONFIG={own}", note=True)
    else:
        yield Finding("ansible.cfg", True, str(own))


def _memory(patient: Patient) -> Iterator[Finding]:
    available = patient.host.available_memory()
    fix = f"{MEMORY} MiB are needed for one guest: end other programs, or use `--memory 512`"
    yield Finding("memory", available >= MEMORY, f"{available} MiB available", fix)


def _archive(patient: Patient) -> Iterator[Finding]:
    release = host_release(patient.places)
    sources = archive.sources_for(release.distribution, (release.codename,), patient.places)
    if not sources:
        fix = f"run `apt-get update` once; else mmdebstrap's default mirror of {release.distribution} is used"
        yield Finding("apt sources", False, f"apt knows no archive of {release.distribution}", fix)
    for source in sources[:1]:
        yield _reach(f"{source.uri.rstrip('/')}/dists/{source.suite}/InRelease")


def _keys(patient: Patient) -> Iterator[Finding]:
    for distribution in archive.COMPONENTS:
        keys = trust.keyring(distribution, patient.places)
        subject = f"keys of {distribution}"
        if keys.missing and keys.named:
            yield Finding(subject, False, f"there is no file {keys.file}", keys.how_to_get())
        elif keys.missing:
            detail = f"not there: images of {distribution} need `{trust.GET_KEYRING[distribution]}`"
            yield Finding(subject, True, detail)
        elif keys.file:
            yield Finding(subject, True, str(keys.file))


def _reach(url: str) -> Finding:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  # the user's own apt source
            return Finding("archive", answer.status == 200, f"{url} answers")
    except (urllib.error.URLError, OSError) as error:
        return Finding("archive", False, f"{url}: {error}", "check network, proxy and /etc/apt/sources.list*")


def _acceleration(patient: Patient) -> Iterator[Finding]:
    image = find_image(planned("auto", patient.places))
    if image is None:
        yield Finding("accelerator", True, "not probed: that needs an image (`kmodlab image build`)")
        return
    chosen = accelerator.choose(image)
    slow = "emulation: correct, and about ten times slower than hardware virtualization"
    yield Finding("accelerator", True, "kvm boots a kernel" if chosen == "kvm" else slow)


#: in the order in which they matter
_PARTS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    *(_python, _programs, _space, _temporary, _memory, _namespaces, _shared_memory, _sockets, _locale, _ansible),
    *(_compiler, _archive, _keys, _acceleration),
)


def examine(patient: Patient | None = None) -> Iterator[Finding]:
    """Yield a finding for each thing the lab needs, in the order in which they matter.

    Args:
        patient: what is examined; by default this machine, with this project.
    """
    patient = patient or Patient()
    for part in _PARTS:
        try:
            yield from part(patient)
        except RuntimeError as error:  # pathlib's, where a user has no home directory
            yield Finding("home directory", False, str(error), "export HOME=/PATH/OF/A/DIRECTORY")
        except OSError as error:
            yield Finding(part.__name__.strip("_"), False, str(error), "see `df -h`, and `ls -ld` of what is named")
        except KmodlabError as error:
            yield Finding(part.__name__.strip("_"), False, error.message, error.hint or "")

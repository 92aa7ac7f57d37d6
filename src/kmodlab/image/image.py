"""Guest images: a root disk, a kernel and an initramfs, built by mmdebstrap from an apt archive.

An image is a directory named after its plan and its build: built again it is another one, and the one before stays
for whoever uses it. It appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kmodlab import namespaces, paths
from kmodlab.errors import LabError
from kmodlab.host import HOST, Host
from kmodlab.image import overlay, refusal, trust
from kmodlab.image.places import HERE, Places
from kmodlab.image.plan import Plan, planned
from kmodlab.image.release import RELEASES, Release, host_architecture
from kmodlab.process import locked, run, say

#: free space that a build needs for a moment, in bytes
BUILD_SPACE = 4 << 30
_SPACE_HINT = "make room (`kmodlab image prune` removes old images), or set KMODLAB_CACHE_DIR to another disk"


@dataclass(frozen=True)
class Image:
    """An image that is there.

    Attributes:
        directory: holds disk.raw, vmlinuz, host_key.pub, kernel, packages and manifest.json; initrd, if it needs one;
            tree.tar, if its disk has nothing that modules are built by.
    """

    directory: Path

    @property
    def id(self) -> str:
        """The directory's name: that of its plan, and of its build (but for one built when builds had no names)."""
        return self.directory.name

    @property
    def disk(self) -> Path:
        """The root disk, raw, never written to."""
        return self.directory / "disk.raw"

    @property
    def tree(self) -> Path | None:
        """What modules are built by, as an archive from the root directory on, where the disk has not got it."""
        archive = self.directory / "tree.tar"
        return archive if archive.exists() else None

    @property
    def kernel_version(self) -> str:
        """What `uname -r` says in a guest of it."""
        return (self.directory / "kernel").read_text().split()[-1]

    @property
    def host_key(self) -> str:
        """The guest's public ssh host key, as known_hosts wants it (type and base64)."""
        return " ".join((self.directory / "host_key.pub").read_text().split()[:2])

    @property
    def release(self) -> Release:
        """The release it was built from, as that was then."""
        fields = self._manifest["release"]
        # An image from before there were others has no architecture.
        return Release(**{"architecture": host_architecture(), **fields, "suites": tuple(fields["suites"])})

    @property
    def architecture(self) -> str:
        """Debian's name of its architecture."""
        return self.release.architecture

    @property
    def foreign(self) -> bool:
        """Whether it is of another architecture than this machine."""
        return self.release.foreign

    @property
    def built(self) -> str:
        """When it was built, in ISO 8601; empty for an image from before that was written down."""
        return str(self._manifest.get("built", ""))

    @property
    def kernel_line(self) -> str:
        """What its kernel has to be told beyond what every guest's is."""
        return str(self._manifest.get("kernel_line", ""))

    @property
    def seconds(self) -> int:
        """How long it took to build its kernel, where that was built with it; 0 where it is the release's."""
        return int(self._manifest.get("seconds", 0))

    @property
    def _manifest(self) -> dict[str, Any]:
        return dict(json.loads((self.directory / "manifest.json").read_text()))

    def size(self) -> int:
        """Return the bytes it takes on the disk (holes not counted)."""
        return sum(file.stat().st_blocks * 512 for file in self.directory.iterdir())

    def remove(self) -> None:
        """Remove it from the disk."""
        shutil.rmtree(self.directory)


def images_dir() -> Path:
    """Return where images are kept."""
    return paths.cache_dir() / "images"


def find_image(plan: Plan) -> Image | None:
    """Return the newest image that was built by a plan, or None when none has been."""
    named = (images_dir() / plan.id, *images_dir().glob(f"{plan.id}-*"))
    images = [Image(directory) for directory in named if (directory / "manifest.json").exists()]
    return max(images, key=lambda image: image.built, default=None)


def build_image(plan: Plan, *, force: bool = False, host: Host = HOST) -> Image:
    """Return the image of a plan; build it first where it is not there.

    Args:
        plan: what it is built of.
        force: build another one even when it is there, with what the archive has today.
        host: where it is built.

    Raises:
        LabError: mmdebstrap failed (archive not reachable, not signed as it should be, disk full, ...).
    """
    # Looked for first without the lock, which a cache that cannot be written to does not give.
    if not force and (image := find_image(plan)):
        return image
    name = plan.release.name
    with locked(images_dir() / f".{name}.lock", f"building the image {name}"):
        if not force and (image := find_image(plan)):
            return image
        refusal.require(plan)
        why = " (the host's own release, from the host's own archive)" if plan.chosen else ""
        time = "some minutes" if plan.release.foreign else "about a minute"
        say(f"building the guest image {name}{why}: {time}, once")
        return _build(plan, host)


def _require_space(directory: Path, free: int) -> None:
    if free < BUILD_SPACE:
        raise LabError(
            f"{free >> 20} MiB free on the disk of {directory}, and building an image needs {BUILD_SPACE >> 20}",
            hint=_SPACE_HINT,
        )


def _build(plan: Plan, host: Host) -> Image:
    for directory in (images_dir(), plan.places.staging):
        _require_space(directory, host.space(directory))
    log = paths.cache_dir() / "log" / f"image-{plan.release.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    # The hook may run under a mapped user id, which must be able to write here, and only here.
    with tempfile.TemporaryDirectory(prefix=".building-", dir=plan.places.staging) as temporary:
        staging = Path(temporary)
        out = staging / "out"
        out.mkdir()
        for path in (staging, out):
            path.chmod(0o777)
        _readable(staging / "overlay.tar", overlay.packed(plan.places.recipe / "rootfs"))
        trust.lay_out(plan.keyring, staging / "keys", plan.places)
        _bootstrap(plan, staging, log, host)
        image = _publish(plan, out)
    say(f"image {image.id} is ready")
    return image


def _readable(file: Path, content: bytes) -> None:
    """Write a file that a mapped user id can read, whatever the umask is."""
    file.write_bytes(content)
    file.chmod(0o644)


def _bootstrap(plan: Plan, staging: Path, log: Path, host: Host) -> None:
    try:
        run(
            _mmdebstrap(plan, staging),
            log=log,
            # Its root directory lies there, or else in /tmp, which may be small, or not for programs.
            env={"TMPDIR": str(plan.places.staging)},
            # What it makes is for all users of the guest, whatever the umask is here.
            umask=0o022,
            what=f"building the image {plan.release.name} failed",
        )
    except LabError as error:
        if error.exit_code is None:
            raise
        if reason := namespaces.refused(host):
            hint: str | None = namespaces.cause(host)[1]
        else:
            reason, hint = refusal.explain(plan, log.read_text(errors="replace"))
        message = f"{error.message}: {reason}" if reason else error.message
        raise LabError(
            message, command=error.command, exit_code=error.exit_code, log=log, output=error.output, hint=hint
        ) from error


def _mmdebstrap(plan: Plan, staging: Path) -> list[str | Path]:
    release, options = plan.release, plan.options
    pinning = []
    if release.pinned:
        text = f"Package: linux-*\\nPin: release n={release.pinned}\\nPin-Priority: 600\\n"
        pinning = [f'--setup-hook=printf "{text}" >"$1/etc/apt/preferences.d/lab"']
    _readable(staging / "host.conf", (options or "// the host's apt needs no settings of its own\n").encode())
    customize = shlex.quote(str(plan.places.recipe / "customize.sh"))
    return [
        "mmdebstrap",
        "--variant=apt",
        f"--include={','.join(plan.packages)}",
        f"--architectures={release.architecture}",
        "--aptopt=APT::Install-Recommends false",
        *[f"--aptopt={line.rstrip(';')}" for line in options.splitlines()],
        "--dpkgopt=force-unsafe-io",
        *[f"--dpkgopt=path-exclude={path}" for path in plan.excluded],
        f"--components={','.join(plan.components)}",
        *_trusted(plan, staging),
        *pinning,
        f"--essential-hook=tar-in {staging}/overlay.tar /",
        f"--essential-hook=upload {staging}/host.conf /etc/apt/apt.conf.d/90-host",
        f'--customize-hook=sh {customize} "$1" {staging}/out {plan.disk_size}',
        release.suites[0],
        "/dev/null",
        *plan.lines,
    ]


def _trusted(plan: Plan, staging: Path) -> list[str]:
    keys = staging / "keys"
    options = [f"--keyring={keys}"]
    if plan.keyring.file:
        # Nothing but these: not even the one file that apt trusts anyway. The guest's own apt has to know them too.
        options.append("--keyring=/dev/null")
        options += [f"--essential-hook=upload {key} /etc/apt/trusted.gpg.d/{key.name}" for key in keys.iterdir()]
    return options


def _publish(plan: Plan, out: Path) -> Image:
    manifest = {
        "release": asdict(plan.release),
        "sources": plan.lines,
        "kernel": (out / "kernel").read_text().split(),
        "built": datetime.now(UTC).isoformat(timespec="microseconds"),
    }
    # The host key is made anew in each build.
    build = hashlib.sha256((out / "host_key.pub").read_bytes()).hexdigest()[:8]
    directory = images_dir() / f"{plan.id}-{build}"
    incoming = directory.with_name(f".{directory.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir()
    try:
        for file in out.iterdir():
            run(["cp", "--sparse=always", "--reflink=auto", file, incoming / file.name], hint=_SPACE_HINT)
        (incoming / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        incoming.rename(directory)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return Image(directory)


def list_images() -> Iterator[Image]:
    """Yield every image that is there, by name."""
    for manifest in sorted(images_dir().glob("[!.]*/manifest.json")):
        yield Image(manifest.parent)


def is_current(image: Image, places: Places = HERE) -> bool:
    """Return whether a build of its release would find it, as far as the hash can tell."""
    name = image.release.name
    return name in RELEASES and find_image(planned(name, places)) == image

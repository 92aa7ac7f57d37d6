"""Guest images: a root disk, a kernel and an initramfs, built by mmdebstrap from an apt archive.

An image is a directory named after a hash of everything that went in: the release, the archive, the host's
way to it, the files and the script that finish it. It appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from kmodlab import namespaces, paths
from kmodlab.errors import LabError
from kmodlab.image import archive, trust
from kmodlab.image.release import MACHINES, Release, find_release, host_architecture
from kmodlab.process import locked, run, say

#: what every guest carries beside its kernel: a system that boots to ssh, Python for Ansible, and a toolchain
PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "kmod", "procps", "iproute2", "openssh-server", "ca-certificates"),
    *("passwd", "sudo", "mount", "initramfs-tools", "python3", "python3-apt", "gcc", "make", "libc6-dev"),
)

#: documentation is not read in a guest, and is a third of the time to write its disk
EXCLUDED_PATHS = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")

DISK_SIZE = "8G"
_HERE = Path(__file__).parent
#: binfmt_misc: which programs of other architectures the host's kernel runs, and by which emulator
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
#: free space that a build needs for a moment, in bytes
BUILD_SPACE = 4 << 30
_SPACE_HINT = "make room (`kmodlab image prune` removes old images), or set KMODLAB_CACHE_DIR to another disk"


@dataclass(frozen=True)
class Image:
    """An image that is there.

    Attributes:
        directory: holds disk.raw, vmlinuz, initrd, host_key.pub, kernel, packages and manifest.json.
    """

    directory: Path

    @property
    def id(self) -> str:
        """The directory's name: release and key."""
        return self.directory.name

    @property
    def disk(self) -> Path:
        """The root disk, raw, never written to."""
        return self.directory / "disk.raw"

    @property
    def kernel_version(self) -> str:
        """What `uname -r` says in a guest of it."""
        return (self.directory / "kernel").read_text().split()[-1]

    @property
    def host_key(self) -> str:
        """The guest's public ssh host key, as known_hosts wants it (type and base64)."""
        return " ".join((self.directory / "host_key.pub").read_text().split()[:2])

    @property
    def release(self) -> str:
        """The release it was built from."""
        return str(self._manifest_release()["name"])

    @property
    def architecture(self) -> str:
        """Debian's name of its architecture."""
        return str(self._manifest_release().get("architecture", host_architecture()))

    @property
    def foreign(self) -> bool:
        """Whether it is of another architecture than this machine."""
        return self.architecture != host_architecture()

    def _manifest_release(self) -> dict[str, object]:
        return dict(json.loads((self.directory / "manifest.json").read_text())["release"])

    def size(self) -> int:
        """Return the bytes it takes on the disk (holes not counted)."""
        return sum(file.stat().st_blocks * 512 for file in self.directory.iterdir())

    def remove(self) -> None:
        """Remove it from the disk."""
        shutil.rmtree(self.directory)


def images_dir() -> Path:
    """Return where images are kept."""
    return paths.cache_dir() / "images"


def _sources(release: Release) -> list[str]:
    return [source.line() for source in archive.sources_for(release.distribution, release.suites)]


def overlay(tree: Path) -> bytes:
    """Return the tree of files under a directory as a tar archive: root's, with modes that any checkout gives."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(tree.rglob("*")):
            info = tar.gettarinfo(path, str(path.relative_to(tree)))
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = "root"
            info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
            if info.isreg():
                with path.open("rb") as file:
                    tar.addfile(info, file)
            else:
                tar.addfile(info)
    return buffer.getvalue()


def _packages(release: Release) -> list[str]:
    return [*PACKAGES, *release.extras, *release.boot_loader, release.kernel, release.headers]


def _keys_digest(release: Release) -> list[str]:
    """Return what goes into an image of another archive than the host's: the keys, which the guest gets too."""
    keyring = trust.keyring(release.distribution)
    return [hashlib.sha256(keyring.read_bytes()).hexdigest()] if keyring and keyring.is_file() else []


def _key(release: Release) -> str:
    parts = [
        json.dumps(asdict(release), sort_keys=True),
        *_sources(release),
        archive.acquire_options(),
        " ".join(_packages(release)),
        " ".join(EXCLUDED_PATHS),
        DISK_SIZE,
        (_HERE / "customize.sh").read_text(),
        *_keys_digest(release),
    ]
    return hashlib.sha256("\0".join(parts).encode() + overlay(_HERE / "rootfs")).hexdigest()[:12]


def find_image(name: str) -> Image | None:
    """Return the image of a release as it would be built now, or None when it has not been built.

    Args:
        name: a release, or `auto`.
    """
    release = find_release(name)
    directory = images_dir() / f"{release.name}-{_key(release)}"
    return Image(directory) if (directory / "manifest.json").exists() else None


def build_image(name: str, *, force: bool = False) -> Image:
    """Return the image of a release; build it first where it is not there.

    Args:
        name: a release, or `auto`.
        force: build it anew even when it is there, with what the archive has today.

    Raises:
        LabError: mmdebstrap failed (archive not reachable, not signed as it should be, disk full, ...).
    """
    release = find_release(name)
    with locked(images_dir() / f".{release.name}.lock", f"building the image {release.name}"):
        image = find_image(name)
        if image and not force:
            return image
        why = " (the host's own release, from the host's own archive)" if name == "auto" else ""
        if release.foreign:
            _require_emulation(release)
        trust.require(release)
        time = "some minutes" if release.foreign else "about a minute"
        say(f"building the guest image {release.name}{why}: {time}, once")
        return _build(release, images_dir() / f"{release.name}-{_key(release)}")


def _require_space(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise LabError(
            f"{free >> 20} MiB free on the disk of {directory}, and building an image needs {needed >> 20}",
            hint=_SPACE_HINT,
        )


def _require_emulation(release: Release) -> None:
    """Stop where this machine cannot run programs of the release's architecture, which its packages' scripts are."""
    if not (_BINFMT / f"qemu-{MACHINES[release.architecture]}").exists():
        raise LabError(
            f"the image {release.name} cannot be built: this machine does not run programs of {release.architecture}",
            hint="`.config/setup matrix` installs what is needed: qemu-user-static, binfmt-support, arch-test",
        )


def _build(release: Release, directory: Path) -> Image:
    _require_space(directory.parent, BUILD_SPACE)
    _require_space(_staging_parent(), BUILD_SPACE)
    log = paths.cache_dir() / "log" / f"image-{release.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    # The hook may run under a mapped user id, which must be able to write here, and only here.
    with tempfile.TemporaryDirectory(prefix=".building-", dir=_staging_parent()) as temporary:
        staging = Path(temporary)
        out = staging / "out"
        out.mkdir()
        for path in (staging, out):
            path.chmod(0o777)
        _readable(staging / "overlay.tar", overlay(_HERE / "rootfs"))
        trust.lay_out(release.distribution, staging / "keys")
        _bootstrap(release, staging, log)
        _publish(release, out, directory)
    say(f"image {directory.name} is ready")
    return Image(directory)


def _staging_parent() -> Path:
    return Path("/var/tmp")  # noqa: S108  # reachable for a mapped user id, unlike a home; a private directory in it


def _readable(file: Path, content: bytes) -> None:
    """Write a file that a mapped user id can read, whatever the umask is."""
    file.write_bytes(content)
    file.chmod(0o644)


def _bootstrap(release: Release, staging: Path, log: Path) -> None:
    try:
        run(
            _mmdebstrap(release, staging),
            log=log,
            # Its root directory lies there, or else in /tmp, which may be small, or not for programs.
            env={"TMPDIR": str(_staging_parent())},
            # What it makes is for all users of the guest, whatever the umask is here.
            umask=0o022,
            what=f"building the image {release.name} failed",
        )
    except LabError as error:
        if error.exit_code is None:
            raise
        if reason := namespaces.refused():
            hint: str | None = namespaces.cause()[1]
        else:
            reason, hint = trust.explain(release, log.read_text(errors="replace"))
        message = f"{error.message}: {reason}" if reason else error.message
        raise LabError(
            message, command=error.command, exit_code=error.exit_code, log=log, output=error.output, hint=hint
        ) from error


def _mmdebstrap(release: Release, staging: Path) -> list[str | Path]:
    pinning = []
    if release.pinned:
        text = f"Package: linux-*\\nPin: release n={release.pinned}\\nPin-Priority: 600\\n"
        pinning = [f'--setup-hook=printf "{text}" >"$1/etc/apt/preferences.d/lab"']
    options = archive.acquire_options()
    _readable(staging / "host.conf", (options or "// the host's apt needs no settings of its own\n").encode())
    return [
        "mmdebstrap",
        "--variant=apt",
        f"--include={','.join(_packages(release))}",
        f"--architectures={release.architecture}",
        "--aptopt=APT::Install-Recommends false",
        *[f"--aptopt={line.rstrip(';')}" for line in options.splitlines()],
        "--dpkgopt=force-unsafe-io",
        *[f"--dpkgopt=path-exclude={path}" for path in EXCLUDED_PATHS],
        f"--components={','.join(archive.COMPONENTS[release.distribution])}",
        *_trusted(release, staging),
        *pinning,
        f"--essential-hook=tar-in {staging}/overlay.tar /",
        f"--essential-hook=upload {staging}/host.conf /etc/apt/apt.conf.d/90-host",
        f'--customize-hook=sh {shlex.quote(str(_HERE / "customize.sh"))} "$1" {staging}/out {DISK_SIZE}',
        release.suites[0],
        "/dev/null",
        *_sources(release),
    ]


def _trusted(release: Release, staging: Path) -> list[str]:
    keys = staging / "keys"
    options = [f"--keyring={keys}"]
    if trust.keyring(release.distribution):
        # Nothing but these: not even the one file that apt trusts anyway. The guest's own apt has to know them too.
        options.append("--keyring=/dev/null")
        options += [f"--essential-hook=upload {key} /etc/apt/trusted.gpg.d/{key.name}" for key in keys.iterdir()]
    return options


def _publish(release: Release, out: Path, directory: Path) -> None:
    manifest = {
        "release": asdict(release),
        "sources": _sources(release),
        "kernel": (out / "kernel").read_text().split(),
    }
    incoming = directory.with_name(f".{directory.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir()
    try:
        for file in out.iterdir():
            run(["cp", "--sparse=always", "--reflink=auto", file, incoming / file.name], hint=_SPACE_HINT)
        (incoming / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        shutil.rmtree(directory, ignore_errors=True)
        incoming.rename(directory)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def list_images() -> Iterator[Image]:
    """Yield every image that is there, by name."""
    for manifest in sorted(images_dir().glob("[!.]*/manifest.json")):
        yield Image(manifest.parent)


def is_current(image: Image) -> bool:
    """Return whether it is what a build of its release would give now, as far as the hash can tell."""
    return find_image(image.release) == image

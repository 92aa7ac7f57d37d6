"""Building a module natively in a guest image's own root file system.

Under emulation a build inside the guest takes ten times as long. The image holds the very compiler and headers
the guest has, so building in a copy of its /usr gives the same module. This is for code that one trusts: it keeps the
host's tools out of the build and the network away from it, but it is no sandbox.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from kmodlab import namespaces, paths
from kmodlab.errors import LabError
from kmodlab.host import HOST, Host
from kmodlab.image.image import Image
from kmodlab.process import finish, locked, run, tail

#: what a build by hand leaves beside the sources
_OUTPUTS = ("*.o", "*.ko", ".*.cmd")
#: modules that are kept in a build root
_MADE = 16


def buildroots_dir() -> Path:
    """Return where build roots are kept."""
    return paths.cache_dir() / "buildroots"


def own_mounts() -> list[str]:
    """Return the options with which unshare(1) keeps what is mounted to itself, in a chroot too.

    There "/" is no mount point, and its propagation cannot be changed: then there is no need to.
    """
    private = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
    return ["--mount", f"--propagation={'private' if private else 'unchanged'}"]


def prune(kept: set[str]) -> list[Path]:
    """Remove the build roots of images that are not among the ids in `kept`; return what was removed."""
    removed = [root for root in buildroots_dir().glob("[!.]*") if root.name not in kept]
    for root in removed:
        shutil.rmtree(root)
    return removed


@dataclass(frozen=True)
class BuildRoot:
    """The toolchain and headers of one image, unpacked.

    Attributes:
        directory: a root directory: usr, etc, and the links into usr.
        kernel: the version whose headers are in it.
        host: where modules are built in it.
    """

    directory: Path
    kernel: str
    host: Host = HOST

    @classmethod
    def of_image(cls, image: Image) -> BuildRoot:
        """Return an image's build root, unpacked on first use (a second or two).

        Raises:
            LabError: the disk is full, or debugfs (e2fsprogs) is missing.
        """
        directory = buildroots_dir() / image.id
        # `build` is made last. Who only uses a root has not to wait for anyone.
        if not (directory / "build").exists():
            with locked(directory.with_name(f".{image.id}.lock"), f"unpacking {image.id}"):
                if not (directory / "build").exists():
                    _unpack(image, directory)
        return cls(directory, image.kernel_version)

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """A directory for `make`, gone afterwards: what is built there again compiles only what has changed."""
        with tempfile.TemporaryDirectory(prefix="", dir=self.directory / "build") as temporary:
            yield Path(temporary)

    def make(self, module: Path, *arguments: str, output: Path | None = None, work: Path | None = None) -> Path:
        """Build a module with its own Makefile, and return the .ko.

        Args:
            module: a module's directory; `../compat` is taken along.
            arguments: further arguments for make, `W=1` for instance.
            output: where the .ko and `build.log`, what make printed, are put; by default beside the sources.
            work: a `workplace` of this build root; by default one for this build alone.

        Raises:
            LabError: make failed; its last lines are the error's output.
        """
        if work is None:
            with self.workplace() as own:
                return self.make(module, *arguments, output=output, work=own)
        output = output or module
        output.mkdir(parents=True, exist_ok=True)
        for source in (module, module.parent / "compat"):
            _renew(source, work / source.name)
        kdir = f"/lib/modules/{self.kernel}/build"
        inside = f"/build/{work.name}/{module.name}"
        log = output / "build.log"
        log.write_bytes(b"")
        status = self.run(["make", "-C", inside, f"KDIR={kdir}", *arguments], log)
        if status:
            refused = namespaces.refused(self.host)
            raise LabError(
                f"building {module.name} for {self.kernel} failed{f': {refused}' if refused else ''}",
                exit_code=status,
                log=log,
                output=tail(log, 30),
                hint=namespaces.cause(self.host)[1] if refused else None,
            )
        return Path(shutil.copy(work / module.name / f"{module.name}.ko", output))

    def made(self, module: Path, *arguments: str, output: Path) -> Path:
        """Build a module as `make` does, or take what the same sources came to here before; return the .ko.

        Args:
            module: as for `make`.
            arguments: further arguments for make, none that changes what is built.
            output: as for `make`.

        Raises:
            LabError: as `make`; what failed is built anew the next time.
        """
        kept = self.directory / "made" / f"{module.name}-{_digest(module, module.parent / 'compat')}"
        with locked(kept.with_suffix(".lock"), f"building {module.name}"):
            if not kept.exists():
                incoming = kept.with_suffix(".incoming")
                shutil.rmtree(incoming, ignore_errors=True)
                self.make(module, *arguments, output=incoming)
                incoming.rename(kept)
        os.utime(kept)
        _forget_oldest(kept.parent)
        shutil.copytree(kept, output, dirs_exist_ok=True)
        return output / f"{module.name}.ko"

    def run(self, argv: Sequence[str], log: Path, watch: Callable[[], None] | None = None) -> int:
        """Run a program in the root directory, without a network; return its exit status.

        Args:
            argv: program and arguments.
            log: gets what it prints, behind what is there.
            watch: called twice a second meanwhile.
        """
        command = ["unshare", "--net", *own_mounts()]
        if self.host.user:
            command.insert(1, "--map-root-user")
        enter = 'mount --rbind /dev "$1/dev" && mount --rbind /proc "$1/proc" && exec chroot "$@"'
        command += ["sh", "-c", enter, "sh", str(self.directory)]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        with log.open("ab") as sink:
            return finish([*command, "/usr/bin/env", "-i", path, "LC_ALL=C", *argv], sink=sink, watch=watch)[0]


def _digest(*sources: Path) -> str:
    """Return a hash of the names, modes and contents of the files that a build takes along."""
    digest = hashlib.sha256()
    for source in sources:
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            if not any(fnmatch(path.name, pattern) for pattern in _OUTPUTS):
                name = f"{path.relative_to(source.parent)}\0{path.stat().st_mode:o}\0{path.stat().st_size}\0"
                digest.update(os.fsencode(name) + path.read_bytes())
    return digest.hexdigest()[:16]


def _forget_oldest(directory: Path) -> None:
    """Keep what was built last: each edit of a module adds one."""
    kept = sorted(directory.glob("*[0-9a-f]"), key=lambda path: path.stat().st_mtime)
    for path in kept[:-_MADE]:
        shutil.rmtree(path, ignore_errors=True)
        path.with_suffix(".lock").unlink(missing_ok=True)


def _renew(source: Path, target: Path) -> None:
    """Copy sources over what is there; a file that is the same stays, so that make sees what has changed."""

    def copy(new: str, old: str) -> str:
        same = Path(old).is_file() and filecmp.cmp(new, old, shallow=False)
        return old if same else str(shutil.copyfile(new, old))

    ignored = shutil.ignore_patterns(*_OUTPUTS)
    shutil.copytree(source, target, ignore=ignored, copy_function=copy, dirs_exist_ok=True)


def _unpack(image: Image, directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    for name in ("dev", "etc", "proc", "tmp"):
        (directory / name).mkdir(parents=True)
        # Who builds in the sandbox is another user, whatever the umask is.
        (directory / name).chmod(0o755)
    # With a merged /usr these are links, without (Debian 11) directories: debugfs copies either.
    # debugfs takes its lines apart at their blanks.
    requests = [f'rdump /{name} "{directory}"' for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64")]
    requests.append(f'rdump /etc/alternatives "{directory}/etc"')
    run(["debugfs", "-f", "-", image.disk], stdin="\n".join(requests).encode(), hint="is the disk full? see `df -h`")
    if not (directory / "usr" / "src").exists():
        raise LabError(f"{image.id} could not be unpacked", hint=f"kmodlab image build --force {image.release.name}")
    if image.tree:
        run(["tar", "-xf", image.tree, "-C", directory], hint="is the disk full? see `df -h`")
    (directory / "build").mkdir()

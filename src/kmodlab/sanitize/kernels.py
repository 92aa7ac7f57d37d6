"""Kernels of our own, built from Debian's sources to find fault; each is an image, beside those of releases.

A sanitizer kernel runs on the disk of an image that has its source and what builds it. It has no initramfs, and an
init of its own: systemd takes minutes under it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from kmodlab import paths
from kmodlab.errors import LabError, UsageError
from kmodlab.host import HOST, Host
from kmodlab.image.buildroot import BuildRoot, buildroots_dir
from kmodlab.image.image import Image, build_image, find_image, images_dir
from kmodlab.image.plan import planned
from kmodlab.process import locked, run, say
from kmodlab.sanitize import fragments

#: free space that a build needs, in bytes
_SPACE = 6 << 30
#: what every one is told when it boots: SLUB's own checks find what KASAN finds, ten times slower
_KERNEL_LINE = "init=/usr/local/lib/kmodlab/plain-init slub_debug=- panic_on_warn=0"
#: seconds between two lines of progress
_PROGRESS = 60
#: of the source, what no module needs to be built
_UNNEEDED = ("Documentation", "drivers", "fs", "net", "samples", "sound", "mm", "crypto", "block", "security")


class Root(Protocol):
    """What a kernel is built in: a `BuildRoot`."""

    @property
    def directory(self) -> Path:
        """Of its files."""

    def run(self, argv: Sequence[str], log: Path, watch: Callable[[], None] | None = None) -> int:
        """Run a program in it; return its exit status."""


@dataclass(frozen=True)
class Recipe:
    """What a sanitizer kernel is made of.

    Attributes:
        name: what the user types.
        release: whose source, compiler and programs it has.
        fragments: what its configuration is asked for.
        finds: what it is for, in a few words.
    """

    name: str
    release: str
    fragments: tuple[str, ...]
    finds: str

    def key(self, base: Image) -> str:
        """Return a hash of all that goes in."""
        asked = json.dumps(fragments.asked_for(self.fragments), sort_keys=True)
        return hashlib.sha256("\0".join([base.id, asked, _KERNEL_LINE]).encode()).hexdigest()[:12]


OLD, NEW = "debian-12-source", "debian-13-backports-source"
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("kasan", OLD, ("base", "checks", "kasan"), "memory, locks, RCU, failing allocations"),
        Recipe("kasan-new", NEW, ("base", "new", "checks", "kasan"), "the same, in the newest kernel"),
        Recipe("kcsan", NEW, ("base", "new", "kcsan"), "data races"),
        Recipe("rt", NEW, ("base", "new", "checks", "rt"), "locks and RCU of a real-time kernel"),
    )
}


def find_recipe(name: str) -> Recipe:
    """Return a recipe.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in RECIPES:
        raise UsageError(f"there is no sanitizer kernel {name!r}", hint=f"known: {' '.join(RECIPES)}")
    return RECIPES[name]


def find_kernel(recipe: Recipe, base: Image) -> Image | None:
    """Return the kernel of a recipe on an image, or None where it has not been built."""
    image = Image(_place(recipe, base))
    return image if (image.directory / "manifest.json").exists() else None


def _place(recipe: Recipe, base: Image) -> Path:
    return images_dir() / f"sanitizer-{recipe.name}-{recipe.key(base)}"


def is_current(image: Image) -> bool:
    """Return whether it is a sanitizer kernel that `build_kernel` would find."""
    recipe = RECIPES.get(image.release.name.removeprefix("sanitizer-"))
    base = find_image(planned(recipe.release)) if recipe else None
    return bool(recipe and base and find_kernel(recipe, base) == image)


def build_kernel(name: str, host: Host = HOST) -> Image:
    """Return a sanitizer kernel as an image; build it first where it is not there, which takes some ten minutes.

    Args:
        name: of a recipe.
        host: where it is built.

    Raises:
        UsageError: there is no such recipe.
        LabError: there is no source to be had, no room, an option that was asked for is not in it, or make failed.
    """
    recipe = find_recipe(name)
    base = build_image(planned(recipe.release))
    return find_kernel(recipe, base) or build_on(base, recipe, BuildRoot.of_image(base), host)


def build_on(base: Image, recipe: Recipe, root: Root, host: Host = HOST) -> Image:
    """Return a sanitizer kernel on an image; build it first where it is not there.

    Args:
        base: whose disk it runs on.
        recipe: what it is made of.
        root: of the image.
        host: where it is built.

    Raises:
        LabError: as for `build_kernel`.
    """
    with locked(images_dir() / f".sanitizer-{recipe.name}.lock", f"building the sanitizer kernel {recipe.name}"):
        return find_kernel(recipe, base) or _build(base, recipe, root, host)


def _build(base: Image, recipe: Recipe, root: Root, host: Host) -> Image:
    if (free := host.space(buildroots_dir())) < _SPACE:
        words = f"{free >> 20} MiB free on the disk of {buildroots_dir()}, and building a kernel needs {_SPACE >> 20}"
        raise LabError(words, hint="make room, or set KMODLAB_CACHE_DIR to another disk")
    say(f"building the sanitizer kernel {recipe.name}: some ten minutes, once")
    tree = Tree(root, recipe, host)
    # Its name is of what it was asked for, whatever becomes of the fragments meanwhile.
    place, begun = _place(recipe, base), time.monotonic()
    with tree.there():
        tree.configure()
        tree.compile()
        image = _publish(place, base, tree, round(time.monotonic() - begun))
    say(f"sanitizer kernel {image.id} is ready")
    return image


class Tree:
    """A kernel's source and what is built of it, in a build root.

    Args:
        root: has the source's package and the compiler.
        recipe: what is built.
        host: where.
    """

    def __init__(self, root: Root, recipe: Recipe, host: Host) -> None:
        self.root = root
        self.recipe = recipe
        self._jobs = host.processors()
        self._place = root.directory / "usr/src" / f"sanitizer-{recipe.name}"
        self._log = paths.cache_dir() / "log" / f"sanitizer-{recipe.name}.log"

    @property
    def built(self) -> Path:
        """Where make puts what it makes."""
        return self._place / "build"

    @property
    def version(self) -> str:
        """What `uname -r` says."""
        return (self.built / "include/config/kernel.release").read_text().strip()

    @contextmanager
    def there(self) -> Iterator[None]:
        """Unpack the source; nothing of it is there afterwards."""
        shutil.rmtree(self._place, ignore_errors=True)
        self.built.mkdir(parents=True)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        try:
            packed = sorted((self.root.directory / "usr/src").glob("linux-source-*.tar.xz"))
            if not packed:
                hint = "is it in the archive? `apt-get download linux-source` says"
                raise LabError(f"{self.root.directory.name} has no source of a kernel", hint=hint)
            self._run("tar", "-xJf", f"/usr/src/{packed[-1].name}", "-C", self._inside(), "--strip-components=1")
            yield
        finally:
            shutil.rmtree(self._place, ignore_errors=True)

    def configure(self) -> None:
        """Make the configuration, and see that all is in it that is asked for.

        Raises:
            LabError: something is not.
        """
        self._make("tinyconfig")
        asked = fragments.asked_for(self.recipe.fragments)
        lines = [f"{name}={value}" if value != "n" else f"# {name} is not set" for name, value in asked.items()]
        config = self.built / ".config"
        kept = [line for line in config.read_text().splitlines() if not set(fragments.options(line)) & asked.keys()]
        config.write_text("\n".join([*kept, *lines, ""]))
        self._make("olddefconfig")
        if missing := list(fragments.refused(asked, config.read_text())):
            words = f"the kernel {self.recipe.name} would not have what is asked for: {' '.join(missing)}"
            raise LabError(
                words, hint=f"what does it depend on? see its Kconfig, and {fragments.FOLDER}", log=self._log
            )

    def compile(self) -> None:
        """Build the kernel, and what modules are built by; say how far it is."""
        self._make("bzImage", "modules", progress=True)
        self._shrink()

    def pack(self, archive: Path) -> None:
        """Put into an archive what modules are built by, as a build root is to have it."""
        root = self.root.directory
        build = root / "usr/lib/modules" / self.version / "build"
        build.parent.mkdir(parents=True, exist_ok=True)
        build.unlink(missing_ok=True)
        build.symlink_to(f"{self._inside()}/build")
        run(["tar", "-cf", archive, "-C", root, self._inside().lstrip("/"), build.relative_to(root)])
        shutil.rmtree(build.parent)

    def _shrink(self) -> None:
        """Remove what no module is built with: most of it."""
        for name in _UNNEEDED:
            shutil.rmtree(self._place / name, ignore_errors=True)
        for path in self.built.rglob("*.[ao]"):
            if not {"scripts", "tools"} & set(path.relative_to(self.built).parts):
                path.unlink()
        for name in ("vmlinux", "vmlinux.unstripped", "arch/x86/boot/compressed/vmlinux"):
            (self.built / name).unlink(missing_ok=True)

    def _inside(self) -> str:
        return f"/usr/src/{self._place.name}"

    def _make(self, *targets: str, progress: bool = False) -> None:
        self._run("make", "-C", self._inside(), "O=build", f"-j{self._jobs}", *targets, progress=progress)

    def _run(self, *argv: str, progress: bool = False) -> None:
        watched = Progress(self._log, self.recipe.name) if progress else None
        status = self.root.run(argv, self._log, watch=watched)
        if status:
            error = LabError(
                f"building the sanitizer kernel {self.recipe.name} failed: {argv[0]} exited with {status}",
                exit_code=status,
                log=self._log,
                output="\n".join(self._log.read_text(errors="replace").splitlines()[-20:]),
            )
            raise error


class Progress:
    """Says once a minute how many files were compiled."""

    def __init__(self, log: Path, name: str) -> None:
        self._log, self._name = log, name
        self._next = time.monotonic() + _PROGRESS

    def __call__(self) -> None:
        """Look; it is called twice a second."""
        if time.monotonic() < self._next:
            return
        self._next += _PROGRESS
        compiled = len(re.findall(rb"^  (?:CC|AS) ", self._log.read_bytes(), re.MULTILINE))
        say(f"sanitizer kernel {self._name}: {compiled} of some 1,500 files are compiled")


def _publish(directory: Path, base: Image, tree: Tree, seconds: int) -> Image:
    incoming = directory.with_name(f".{directory.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir()
    for name in ("disk.raw", "host_key.pub", "packages"):
        os.link(base.directory / name, incoming / name)
    shutil.copy(tree.built / "arch/x86/boot/bzImage", incoming / "vmlinuz")
    shutil.copy(tree.built / ".config", incoming / "config")
    tree.pack(incoming / "tree.tar")
    (incoming / "kernel").write_text(f"{tree.version}\n")
    manifest = {
        "release": asdict(replace(base.release, name=f"sanitizer-{tree.recipe.name}")),
        "built": datetime.now(UTC).isoformat(timespec="microseconds"),
        "kernel_line": _KERNEL_LINE,
        "seconds": seconds,
    }
    (incoming / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    incoming.rename(directory)
    return Image(directory)

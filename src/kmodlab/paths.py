"""Where things are: what the project brings; images in the user's cache, guests in the user's state, by XDG's rules.

Source: XDG Base Directory Specification 0.8. `KMODLAB_CACHE_DIR` and `KMODLAB_STATE_DIR` override both.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

#: in a wheel: the folder of the package with what lies beside the package in a checkout, as pyproject.toml says
_INSIDE = "project"


def _directory(override: str, xdg: str, default: str) -> Path:
    if value := os.environ.get(override, ""):
        return Path(value).expanduser().absolute()
    base = os.environ.get(xdg, "")
    return (Path(base) if base.startswith("/") else Path.home() / default) / "kmodlab"


@contextlib.contextmanager
def socket_within_reach(directory: Path, name: str) -> Iterator[str]:
    """Yield a path for connecting to a socket: through /proc, for it may have 107 bytes, and a directory be deeper.

    Args:
        directory: where the socket is.
        name: of the socket.

    Raises:
        OSError: there is no such directory.
    """
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def cache_dir() -> Path:
    """Return the directory of everything that can be made again: images, snapshots, build roots."""
    return _directory("KMODLAB_CACHE_DIR", "XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """Return the directory of what belongs to running guests."""
    return _directory("KMODLAB_STATE_DIR", "XDG_STATE_HOME", ".local/state")


def key_dir() -> Path:
    """Return the directory of the user's lab key: one a user, whatever the state directory, as snapshots know it.

    Where the user's own place cannot be written, it is the state directory that was named instead.
    """
    own = _directory("", "XDG_STATE_HOME", ".local/state") / "ssh"
    return own if os.access(nearest(own), os.W_OK) else state_dir() / "ssh"


def nearest(directory: Path) -> Path:
    """Return a directory that is going to be made, or the one above it that is there already."""
    return next(parent for parent in (directory, *directory.parents) if parent.exists())


def package_dir() -> Path:
    """Return the folder of the package kmodlab."""
    return Path(str(resources.files("kmodlab"))).resolve()


def is_checkout() -> bool:
    """Return whether this is a checkout, and no package that pip has installed."""
    return not (package_dir() / _INSIDE).is_dir()


def project_dir() -> Path:
    """Return the directory that holds kernel/, labs/, playbooks/, inventory/ and what else the project brings.

    It is the checkout's root; where pip has installed the package, a folder of it that the wheel is built with.
    """
    return package_dir().parents[1] if is_checkout() else package_dir() / _INSIDE


def setup_hint() -> str:
    """Return what the user is told to do where Python packages are missing."""
    if is_checkout():
        return f"run `.config/setup` in {project_dir()}: it installs what is missing into .venv"
    return f"run `{sys.executable} -m pip check`: it names what is missing; `pip install kmodlab` brings it"

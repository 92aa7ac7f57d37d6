"""Where things are kept: images in the user's cache, guests in the user's state, by the XDG base directory rules.

Source: XDG Base Directory Specification 0.8. `KMODLAB_CACHE_DIR` and `KMODLAB_STATE_DIR` override both.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


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


def project_dir() -> Path:
    """Return the checkout's root: the directory that holds kernel/, playbooks/ and inventory/."""
    return Path(__file__).resolve().parents[2]

"""Files that are laid over a root file system, as one tar archive: what goes into an image, or into a box."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path


def packed(tree: Path) -> bytes:
    """Return the tree of files under a directory as a tar archive: root's, with modes that any checkout gives."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(tree.rglob("*")):
            info = tar.gettarinfo(path, str(path.relative_to(tree)))
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = "root"
            info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
            if path.parent.suffix == ".wants":
                _link(info)
            if info.isreg():
                with path.open("rb") as file:
                    tar.addfile(info, file)
            else:
                tar.addfile(info)
    return buffer.getvalue()


def _link(info: tarfile.TarInfo) -> None:
    """Make an entry a link to the unit of its name, as systemd takes nothing else there: a wheel has no links."""
    info.type, info.size, info.mode = tarfile.SYMTYPE, 0, 0o755
    info.linkname = f"../{Path(info.name).name}"

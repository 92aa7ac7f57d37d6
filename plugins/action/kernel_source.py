"""Ansible action: pack folders of sources and hand them to the module `kernel_source`, in one round trip."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

if TYPE_CHECKING:
    from collections.abc import Iterator

# The outputs of a build by hand in the controller's own checkout.
_OUTPUTS = ("*.mod.c",)


def sources(folder: Path, patterns: list[str]) -> Iterator[Path]:
    """Yield the sources in `folder`, sorted: files whose name matches one of `patterns`, nothing hidden."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file() or any(fnmatch(path.name, output) for output in _OUTPUTS):
            continue
        if any(fnmatch(path.name, pattern) for pattern in patterns):
            yield path


def pack(folders: list[Path], patterns: list[str], *, flat: bool = False) -> bytes:
    """Return a tar archive of the sources of `folders`, each under its own name; if `flat`, the first under none.

    The same contents give the same bytes: owner, time and the umask of the checkout are left out.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in folders:
            name = "" if flat and folder == folders[0] else folder.name
            for path in sources(folder, patterns):
                entry = tarfile.TarInfo(str(Path(name) / path.relative_to(folder)))
                content = path.read_bytes()
                entry.size = len(content)
                entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
                tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def compress(archive: bytes) -> str:
    """Return `archive` fit for a task's arguments: gzip in base 64."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as stream:
        stream.write(archive)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible has no types
    """Pack on the controller, compare and unpack on the target."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module of the same name returns."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = self._task.args
        folders = [Path(folder) for folder in given["src"]]
        archive = pack(folders, given.get("patterns", ["*"]), flat=boolean(given.get("flat", False)))
        if not archive.strip(b"\0"):
            raise AnsibleActionFail(f"no sources in {', '.join(map(str, folders))}")
        variant = "\n".join(given.get("variant", []))
        result.update(
            self._execute_module(
                module_name=self._task.action,
                module_args={
                    "dest": given["dest"],
                    "digest": hashlib.sha256(archive + variant.encode()).hexdigest(),
                    "archive": compress(archive),
                },
                task_vars=task_vars,
            )
        )
        result.pop("invocation", None)
        return result

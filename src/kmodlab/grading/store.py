"""Results on the disk, one file each, named by what was graded: there whole or not at all, whenever the power goes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from kmodlab.grading.result import GradingResult, Verdict
from kmodlab.process import say


class Store:
    """A folder of results.

    Args:
        folder: where they are; made when the first one comes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def get(self, key: str) -> GradingResult | None:
        """Return the result with a key; None where there is none that can be read."""
        try:
            result = GradingResult.from_json(self._file(key).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            say(f"{self._file(key)} is no result of this version ({error}): it is graded anew")
            return None
        return result if result.key == key else None

    def put(self, result: GradingResult) -> None:
        """Keep a result; one that the lab itself broke is not kept, for it is to be tried again."""
        if result.verdict is not Verdict.INFRA_ERROR:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._file(result.key), result.to_json().encode("ascii"))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that whoever reads it sees the old content or the new one, also after a power loss."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""Archives that Python cannot read, 7z and rar among them, as a tar stream: libarchive reads them, in a sandbox.

What it makes of them is no more trusted than they are: `unpack.py` reads the stream within its own bounds.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from kmodlab import namespaces
from kmodlab.errors import LabError

#: seconds of processor, bytes of memory, and bytes of complaints, that reading one archive may take
_SECONDS, _MEMORY, _SAID = 60, 1 << 30, 1 << 16
_DOCTOR = "kmodlab doctor says what is missing"
#: the programs of this host, and no file of anybody's
_SEEN = (
    *("--ro-bind", "/usr", "/usr"),
    *("--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
    *("--clearenv", "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LC_ALL", "C.UTF-8"),
)
_READS = (
    *("prlimit", f"--cpu={_SECONDS}", f"--as={_MEMORY}", f"--fsize={_SAID}", "--core=0"),
    *("bsdtar", "--create", "--format=pax", "--file=-", "@-"),
)


class Unreadable(Exception):
    """It cannot be read; the message says why."""


def there() -> bool:
    """Whether this host has what it takes."""
    return all(shutil.which(program) for program in ("bwrap", "prlimit", "bsdtar"))


@contextmanager
def as_tar(archive: BinaryIO) -> Iterator[IO[bytes]]:
    """Yield what is in an archive, as an uncompressed tar file that is read from its beginning to its end.

    Args:
        archive: a plain file, at its beginning.

    Raises:
        Unreadable: libarchive gave up, at the end of what it could read.
        LabError: the sandbox did not start: the archive is not to blame.
    """
    words = [*namespaces.BWRAP, *namespaces.isolated(), *_SEEN, *namespaces.as_nobody(), *_READS]
    # A file, for a pipe of complaints that nobody reads yet would stop it.
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            namespaces.with_root_mounted(words), stdin=archive, stdout=subprocess.PIPE, stderr=complaints
        ) as process,
    ):
        if process.stdout is None:
            raise AssertionError("it is a pipe")
        try:
            yield process.stdout
            # A reader of tar stops at its end mark; whoever writes it is not to be stopped by that.
            while process.stdout.read(1 << 16):
                pass
            if process.wait():
                raise Unreadable(_first_line(complaints).removeprefix("bsdtar: ") or "it cannot be read")
        except Exception as error:
            process.kill()
            process.wait()
            if (said := _first_line(complaints)).startswith(namespaces.OURS):
                raise LabError(f"the sandbox that reads archives did not start: {said}", hint=_DOCTOR) from error
            raise
        finally:
            process.kill()


def _first_line(complaints: BinaryIO) -> str:
    complaints.seek(0)
    return complaints.read(_SAID).decode(errors="replace").strip().partition("\n")[0]

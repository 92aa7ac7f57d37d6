"""Taking over what a stranger handed in: plain files of bounded number and size, in a folder of ours, nothing else.

Nothing here trusts a name, a size or a kind that an archive states. What has no business in a submission is left out
and named (links, devices, what a build left behind, documents); what looks like an attack, or is too much, refuses the
whole submission (`Refused`).
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol

from kmodlab.errors import LabError
from kmodlab.grading import repacked
from kmodlab.grading.names import clean


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


CHUNK = 1 << 16
DEPTH = 16
NAME_BYTES = 255
#: what a byte of an archive may become; source code is packed 10 to 1 at the best
RATIO = 100
#: below this nobody asks for the ratio
RATIO_FROM = 1 << 20

_MAGIC = (
    (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"), (b"\x1f\x8b", "gz"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "xz"),
    (b"Rar!", "rar"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"\x28\xb5\x2f\xfd", "zst"),
)  # fmt: skip
_ARCHIVE_SUFFIXES = (
    ".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz", ".tbz2", ".xz", ".txz", ".rar", ".7z", ".zst", ".tzst", ".lzma",
)  # fmt: skip
#: what Python has no reader of
_REPACKED = ("rar", "7z", "zst")
_DECOMPRESS: dict[str, Callable[[BinaryIO], _Readable]] = {
    "gz": lambda file: gzip.GzipFile(fileobj=file),
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "tar": lambda file: file,
}
#: what editors, systems and version control leave everywhere: nobody needs to be told
_JUNK = {
    ".git", ".github", ".gitattributes", ".gitignore", ".gitmodules", ".svn", ".hg", "__macosx", ".ds_store",
    "thumbs.db", "desktop.ini", ".vscode", ".idea", ".cache", ".clang-format", "compile_commands.json",
}  # fmt: skip
#: what a build makes: a stale one could keep `make` from building anew, and no stranger's machine code is graded
_BUILT = (".ko", ".o", ".mod", ".cmd", ".a", ".so", ".d", ".o_shipped", ".symvers", ".order", ".mod.c", ".swp")
#: what may come along, but is not to be compiled
_DOCUMENTS = (
    ".pdf", ".doc", ".docx", ".odt", ".rtf", ".ppt", ".pptx", ".xls", ".xlsx", ".png", ".jpg", ".jpeg", ".gif",
    ".bmp", ".svg", ".webp", ".heic", ".mp4", ".mov", ".mkv", ".avi", ".webm", ".mp3", ".wav", ".log",
)  # fmt: skip


#: of a file on Windows, as a zip has it
_FOLDER_ATTRIBUTE = 0x10
#: errors of our own disk, and not of an archive
_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


class Refused(Exception):
    """A submission that is not graded; the message tells the student why, and what to do."""


class Extraction:
    """A folder that takes files one by one, up to its limits.

    Args:
        root: the folder, which is made.
        megabytes: MiB of all files.
        files: how many files.
        whole: what a build makes and documents are taken, too: of a class, where they may be all that somebody has.
    """

    def __init__(self, root: Path, *, megabytes: int, files: int, whole: bool = False) -> None:
        self.root = root
        self.whole = whole
        self.limit = megabytes << 20
        self.files = files
        self.bytes = 0
        self.count = 0
        self.left_out: Counter[str] = Counter()
        self.built: list[str] = []
        self.notes: list[str] = []
        root.mkdir(parents=True)

    def wants(self, parts: tuple[str, ...]) -> bool:
        """Return whether a file of this name is to be taken; if not, it is noted."""
        name = parts[-1].lower()
        if any(part.lower() in _JUNK or part.startswith("._") or part.endswith("~") for part in parts):
            return False
        if self.whole:
            return True
        if is_built(name):
            self.built.append(parts[-1])
            return False
        if is_document(name):
            self.left_out["documents"] += 1
            return False
        return True

    def skip(self, name: str, what: str) -> None:
        """Note that something is left out.

        Args:
            name: its own, as it arrived.
            what: it is.
        """
        self.left_out["others"] += 1
        if self.left_out["others"] <= 10:
            self.notes.append(f"{shown(name)} was left out: it is {what}. Hand in the file itself.")

    def put(self, parts: tuple[str, ...], content: IO[bytes], *, allowed: Callable[[int], None] | None = None) -> None:
        """Take a file.

        Args:
            parts: of its path, checked by `parts_of`.
            content: from where it is read.
            allowed: called with the bytes so far, may refuse.

        Raises:
            Refused: it is one too many, or too large.
        """
        self.count += 1
        if self.count > self.files:
            raise Refused(f"It has more than {self.files} files. Hand in your own source files only.")
        target = self.root.joinpath(*parts)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                while chunk := content.read(CHUNK):
                    self.grow(len(chunk))
                    if allowed:
                        allowed(self.bytes)
                    file.write(chunk)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise Refused(f"{shown('/'.join(parts))} is a file and a folder at once. Pack it anew.") from error

    def grow(self, size: int) -> None:
        """Count bytes, before they are written.

        Raises:
            Refused: they are too many.
        """
        self.bytes += size
        if self.bytes > self.limit:
            megabytes = self.limit >> 20
            raise Refused(f"It is larger than {megabytes} MiB when unpacked. Hand in your own source files only.")

    def close(self) -> list[str]:
        """Return the notes on what was left out."""
        notes = self.notes
        if (more := self.left_out["others"] - 10) > 0:
            notes.append(f"{more} more links and special files were left out.")
        if built := len(self.built):
            notes.append(f"Left out, for everything is built anew: {built} file{'s'[: built > 1]} that a build makes.")
        return notes


def shown(name: str) -> str:
    """Return a stranger's name in quotes, fit for a sentence."""
    name = clean(name)
    return f"'{name if len(name) <= 80 else name[:77] + '...'}'"


def parts_of(name: str) -> tuple[str, ...]:
    """Return the parts of a member's path; none for the archive's own folder.

    Raises:
        Refused: it leads out of the folder, or is none that a file system takes.
    """
    name = name.replace("\\", "/")
    if name.startswith("/") or re.match(r"[A-Za-z]:/", name):
        raise Refused(f"{shown(name)} has an absolute path. Pack your folder with relative paths.")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise Refused(f"{shown(name)} leads out of its folder. Pack your folder from inside, without '..'.")
    if "\0" in name:
        raise Refused(f"{shown(name)} has a NUL byte in its name.")
    parts = tuple(clean(part) for part in parts)
    if len(parts) > DEPTH:
        raise Refused(f"{shown(name)} lies deeper than {DEPTH} folders.")
    if any(len(part.encode()) > NAME_BYTES for part in parts):
        raise Refused(f"{shown(name)} is longer than {NAME_BYTES} bytes.")
    return parts


def kind_of(path: Path) -> str:
    """Return what an archive is by its first bytes: `zip`, `tar`, `gz`, ...; empty where it is none."""
    with open_plain(path) as file:
        head = file.read(512)
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    return "tar" if head[257:262] == b"ustar" else ""


def looks_packed(name: str) -> bool:
    """Return whether a file's name is that of an archive."""
    return name.lower().endswith(_ARCHIVE_SUFFIXES)


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file, and nothing else: no link is followed, no pipe waited for.

    Raises:
        Refused: it is something else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(f"{shown(path.name)} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused(f"{shown(path.name)} is no plain file.")
    return os.fdopen(descriptor, "rb")


def take_folder(folder: Path, extraction: Extraction) -> None:
    """Take the plain files of a folder.

    Raises:
        Refused: they are too many or too large.
    """
    for path, parts, what in _walk(folder, ()):
        if not extraction.wants(parts):
            continue
        if what:
            extraction.skip("/".join(parts), what)
            continue
        with open_plain(path) as file:
            extraction.put(parts, file)


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[tuple[Path, tuple[str, ...], str]]:
    """Yield each entry that is no folder: path, parts, and what it is unless it is a plain file."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        parts = (*above, *parts_of(entry.name.replace("\\", "_").replace(":", "_")))
        if entry.is_dir(follow_symlinks=False):
            if len(parts) > DEPTH:
                raise Refused(f"{shown(entry.name)} lies deeper than {DEPTH} folders.")
            if parts[-1].lower() not in _JUNK:
                yield from _walk(Path(entry.path), parts)
        else:
            yield Path(entry.path), parts, _oddity(entry.stat(follow_symlinks=False))


def _oddity(status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "a symbolic link"
    if not stat.S_ISREG(status.st_mode):
        return "a device, a pipe or a socket"
    return "a hard link: it has another name elsewhere" if status.st_nlink > 1 else ""


def take_archive(archive: Path, extraction: Extraction) -> None:
    """Take the plain files of an archive.

    Args:
        archive: a zip or tar file, compressed or not, or what libarchive can read; its first bytes count, not its name.
        extraction: takes them.

    Raises:
        Refused: it is no archive that can be read, or breaks a rule.
    """
    kind = kind_of(archive)
    name = shown(archive.name)
    if not kind or (kind in _REPACKED and not repacked.there()):
        raise Refused(f"{name} is no zip or tar file. Hand in a .zip or a .tar.gz.")
    with open_plain(archive) as file:
        packed = os.fstat(file.fileno()).st_size
        if packed > extraction.limit:
            raise Refused(f"{name} is larger than {extraction.limit >> 20} MiB. Hand in your own source files only.")
        try:
            _TAKE.get(kind, _take_tar)(file, kind, extraction, _ratio(packed, name))
        except (Refused, LabError):
            raise
        except Exception as error:  # a broken archive has a hundred ways to say so, and none may end the grading
            if isinstance(error, OSError) and error.errno in _OURS:
                raise
            reason = str(error) or type(error).__name__
            raise Refused(f"{name} is damaged ({clean(reason)[:120]}). Pack it anew, and try to open it.") from error


def _ratio(packed: int, name: str) -> Callable[[int], None]:
    def allowed(unpacked: int) -> None:
        if unpacked > RATIO_FROM and unpacked > packed * RATIO:
            raise Refused(f"{name} unpacks to more than {RATIO} times its size. Hand in your own source files only.")

    return allowed


def _take_zip(file: BinaryIO, _kind: str, extraction: Extraction, allowed: Callable[[int], None]) -> None:
    with zipfile.ZipFile(file) as archive:
        members = [info for info in archive.infolist() if not _is_folder(info)]
        if len(members) > 20 * extraction.files:
            raise Refused(f"It has {len(members)} files. Hand in your own source files only.")
        for info in members:
            name = _zip_name(info)
            parts = parts_of(name)
            mode = info.external_attr >> 16
            if not parts or not extraction.wants(parts):
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                extraction.skip(name, "a symbolic link" if stat.S_ISLNK(mode) else "a device, a pipe or a socket")
                continue
            if info.flag_bits & 1:
                raise Refused(f"{shown(name)} is encrypted. Pack it without a password.")
            with archive.open(info) as content:
                extraction.put(parts, content, allowed=allowed)


def _is_folder(info: zipfile.ZipInfo) -> bool:
    """Whether a member is a folder: PowerShell ends its name with a backslash, others set the attribute alone."""
    attribute = info.create_system == 0 and info.external_attr & _FOLDER_ATTRIBUTE and not info.file_size
    return bool(info.orig_filename.endswith(("/", "\\")) or attribute)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name: without the flag for UTF-8 most packers still mean UTF-8, the rest code page 437."""
    name = info.orig_filename
    if info.flag_bits & 0x800:
        return name
    try:
        return name.encode("cp437").decode()
    except UnicodeError:
        return name


class _Bounded(io.RawIOBase):
    """A stream that ends the work when it has given too much: a header, too, can claim to be gigabytes."""

    def __init__(self, stream: _Readable, limit: int) -> None:
        self.stream = stream
        self.left = limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(min(size if size >= 0 else CHUNK, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise Refused("It unpacks to more than anybody writes. Hand in your own source files only.")
        return data


def _take_repacked(file: BinaryIO, _kind: str, extraction: Extraction, allowed: Callable[[int], None]) -> None:
    with repacked.as_tar(file) as stream:
        _take_stream(stream, extraction, allowed)


def _take_tar(file: BinaryIO, kind: str, extraction: Extraction, allowed: Callable[[int], None]) -> None:
    _take_stream(_DECOMPRESS[kind](file), extraction, allowed)


def _take_stream(packed: _Readable, extraction: Extraction, allowed: Callable[[int], None]) -> None:
    stream = _Bounded(packed, 8 * extraction.limit)
    members = 0
    with tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as archive:
        for member in archive:
            members += 1
            if members > 20 * extraction.files:
                raise Refused(f"It has more than {20 * extraction.files} entries. Hand in your own source files only.")
            _take_member(archive, member, extraction, allowed)


def _take_member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, extraction: Extraction, allowed: Callable[[int], None]
) -> None:
    parts = parts_of(member.name)
    if member.isdir() or not parts or not extraction.wants(parts):
        return
    if not member.isreg():
        kinds = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link"}
        extraction.skip(member.name, kinds.get(member.type, "a device, a pipe or a socket"))
        return
    content = archive.extractfile(member)
    if content:
        with content:
            extraction.put(parts, content, allowed=allowed)


_TAKE = {"zip": _take_zip} | dict.fromkeys(_REPACKED, _take_repacked)


def unpack_own(archive: tarfile.TarFile, folder: Path) -> None:
    """Write the files and folders of an archive of ours, which has nothing else in it, into a folder.

    `TarFile.extractall` has its filters from Python 3.11.4 on only, and older ones do without what keeps a file inside.

    Args:
        archive: as `tarfile.open` gives it.
        folder: that is made where it is not there. What is in it is never written over.

    Raises:
        ValueError: there is something else in it: a link, a device, a path that leads out, a file that is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for member in archive:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\0" in member.name:
            raise ValueError(f"{shown(member.name)} leads out of its folder")
        target = folder.joinpath(*path.parts)
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        content = archive.extractfile(member) if member.isreg() else None
        if content is None:
            raise ValueError(f"{shown(member.name)} is neither a file nor a folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with content, target.open("xb") as file:
                shutil.copyfileobj(content, file)
        except (FileExistsError, IsADirectoryError) as error:
            raise ValueError(f"{shown(member.name)} is there twice") from error
        target.chmod(0o755 if member.mode & stat.S_IXUSR else 0o644)


def is_built(name: str) -> bool:
    """Return whether a file's name is that of something that a build makes."""
    return name.lower().endswith(_BUILT) or name.lower() in ("module.symvers", "modules.order")


def is_document(name: str) -> bool:
    """Return whether a file's name is that of a document or a picture."""
    return name.lower().endswith(_DOCUMENTS)


def is_code(name: str) -> bool:
    """Return whether a file's name is that of a C source, `.c.txt` included: Windows hides the last part."""
    return bool(re.search(r"\.c(?:\.txt)?$", name, re.IGNORECASE))


def is_makefile(name: str) -> bool:
    """Return whether a name is that of a Makefile, however spelled: `MAKEFILE`, `Makefile.txt`, `makefile (1)`."""
    pattern = r"(?:gnu)?makefile(?: ?\([0-9]+\))?(?:\.(?:txt|mk|mak|make))?|kbuild(?:\.txt)?"
    return bool(re.fullmatch(pattern, name, re.IGNORECASE))


def is_source(path: PurePosixPath | Path) -> bool:
    """Return whether a file is something that a module is built from: C, or what says how."""
    return is_code(path.name) or is_makefile(path.name)

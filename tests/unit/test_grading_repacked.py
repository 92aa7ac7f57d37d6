"""Archives that libarchive reads for us: 7z, rar and zst, within the same bounds as every other."""

from __future__ import annotations

import subprocess
import zlib
from pathlib import Path

import pytest

from kmodlab.errors import LabError
from kmodlab.grading.unpack import Extraction, Refused, take_archive

from .conftest import FakeProgram

SOURCE = b'#include <linux/module.h>\nMODULE_LICENSE("GPL");\n'


def extraction(tmp_path: Path, megabytes: int = 1) -> Extraction:
    return Extraction(tmp_path / "extraction", megabytes=megabytes, files=100)


def number(value: int) -> bytes:
    """Return a number as rar writes it: seven bits a byte, the lowest first."""
    more, rest = value >> 7, value & 127
    return bytes([rest | 128]) + number(more) if more else bytes([rest])


def block(*fields: int, tail: bytes = b"", data: bytes = b"") -> bytes:
    """Return a block of a rar archive."""
    header = b"".join(map(number, fields)) + tail
    sized = number(len(header)) + header
    return zlib.crc32(sized).to_bytes(4, "little") + sized + data


def rar(name: str, content: bytes) -> bytes:
    """Return an archive of one file, stored. Source: rarlab.com/technote.htm, RAR 5.0 archive format."""
    check = zlib.crc32(content).to_bytes(4, "little")
    about = check + number(0) + number(1) + number(len(name)) + name.encode()
    return b"".join(
        [
            b"Rar!\x1a\x07\x01\x00",
            block(1, 0, 0),
            block(2, 2, len(content), 4, len(content), 0o100644, tail=about, data=content),
            block(5, 0, 0),
        ]
    )


def packed(folder: Path, name: str, *options: str) -> Path:
    """Pack a folder `lab` with one source, a link and a document in it."""
    (inside := folder / "lab").mkdir()
    (inside / "list ü.c").write_bytes(SOURCE)
    (inside / "link.c").symlink_to("/etc/passwd")
    (inside / "report.pdf").write_bytes(b"%PDF")
    argv = ["bsdtar", "--create", "--auto-compress", *options, f"--file={folder / name}", "-C", str(folder), "lab"]
    subprocess.run(argv, check=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
    return folder / name


@pytest.mark.parametrize("name", ["lab.7z", "lab.tar.zst"])
def test_what_libarchive_reads_is_taken_as_every_other(name: str, tmp_path: Path) -> None:
    taken = extraction(tmp_path)
    take_archive(packed(tmp_path, name), taken)
    (file,) = (path for path in taken.root.rglob("*") if path.is_file())
    assert file.relative_to(taken.root).as_posix() == "lab/list ü.c"
    assert file.read_bytes() == SOURCE
    assert taken.close() == ["'lab/link.c' was left out: it is a symbolic link. Hand in the file itself."]
    assert taken.left_out["documents"] == 1


def test_rar_is_read(tmp_path: Path) -> None:
    (tmp_path / "lab.rar").write_bytes(rar("lab/list.c", SOURCE))
    taken = extraction(tmp_path)
    take_archive(tmp_path / "lab.rar", taken)
    assert (taken.root / "lab" / "list.c").read_bytes() == SOURCE


def test_a_path_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lab.rar").write_bytes(rar("../list.c", SOURCE))
    with pytest.raises(Refused, match="leads out of its folder"):
        take_archive(tmp_path / "lab.rar", extraction(tmp_path))
    assert not (tmp_path / "list.c").exists()


def test_what_is_damaged_is_refused(tmp_path: Path) -> None:
    whole = rar("list.c", SOURCE)
    (tmp_path / "lab.rar").write_bytes(whole[:40] + b"?" + whole[41:])
    with pytest.raises(Refused, match=r"^'lab.rar' is damaged \("):
        take_archive(tmp_path / "lab.rar", extraction(tmp_path))


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(bytes(64 << 20))
    subprocess.run(["bsdtar", "-c", "-a", "-f", tmp_path / "lab.7z", "-C", tmp_path, "bomb"], check=True)
    assert (tmp_path / "lab.7z").stat().st_size < 1 << 20
    with pytest.raises(Refused, match=r"times its size|larger than"):
        take_archive(tmp_path / "lab.7z", extraction(tmp_path, megabytes=32))


def test_a_host_without_libarchive_says_what_to_hand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = packed(tmp_path, "lab.7z")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match=r"is no zip or tar file. Hand in a .zip or a .tar.gz."):
        take_archive(file, extraction(tmp_path))


def test_a_sandbox_that_does_not_start_blames_no_archive(tmp_path: Path, fake_program: FakeProgram) -> None:
    archive = packed(tmp_path, "lab.7z")
    fake_program("bwrap", "echo 'bwrap: No permissions' >&2; exit 1")
    with pytest.raises(LabError, match="sandbox that reads archives did not start: bwrap: No permissions"):
        take_archive(archive, extraction(tmp_path))

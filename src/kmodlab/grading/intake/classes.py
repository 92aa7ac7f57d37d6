"""What a download is: of which course system, a class that was packed by hand, or one submission."""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from kmodlab.errors import UsageError
from kmodlab.grading.intake.sources import starts_a_module
from kmodlab.grading.intake.submission import TITLES
from kmodlab.grading.lab import Lab
from kmodlab.grading.names import NAMED, Form, origin_of, recognised
from kmodlab.grading.unpack import (
    Extraction,
    Refused,
    is_built,
    is_code,
    is_document,
    is_makefile,
    looks_packed,
    shown,
    take_archive,
)

#: of a whole class's download: MiB, files
_LIMITS = (8192, 200_000)
_WRAPPERS = 4
#: from so many folders on, what is in them need not be alike to make one ask
_MANY = 3
#: names of what one person has several of
_PIECE = re.compile(
    r"part|task|exercise|aufgabe|uebung|teil|step|lab|hw|homework|problem|question|module|kernel|user|src|source|include|"
    r"doc|test|old|new|back-?up|copy|try|tries|attempt|version|final|solution|starter|screenshot|report|code|^v?[0-9._-]+$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Source:
    """Where submissions are, and what they are.

    Attributes:
        form: of what download.
        entries: of a class, each a student's or a part of it; the one thing, where it is one submission.
    """

    form: Form
    entries: Sequence[Path]


def understood(source: Path, lab: Lab, place: Path, form: str = "") -> Source:
    """Return what a download is.

    Args:
        source: a folder, an archive or a .c file.
        lab: what it asks for says whether a folder is one submission.
        place: where a packed class is unpacked; it is made.
        form: what it is, from who knows; empty: whatever it looks like.

    Raises:
        UsageError: it may be one submission or a class, is a download that cannot be unpacked, or is not what it is
            said to be.
    """
    if form == "one":
        return _one(source)
    folder = source if source.is_dir() else _unpacked(source, place, certain=bool(form))
    if folder is None:
        _require_named(form, source, [source])
        return _one(source)
    if form:
        return _of_form(form, source, folder, lab, place)
    if known := _known(folder):
        return known
    if source.is_dir():
        return _of_a_folder(source, lab, place)
    return _of_an_archive(source, folder, lab, place)


def _of_an_archive(source: Path, folder: Path, lab: Lab, place: Path) -> Source:
    """Return what an archive is that was unpacked to a folder: a class, wrapped or not, or one submission."""
    inner = _inside(folder, place / "inner")
    if known := _known(inner):
        return known
    return _folders(inner) if _is_class(source, inner, lab, packed=True) else _one(source)


def _of_form(form: str, source: Path, folder: Path, lab: Lab, place: Path) -> Source:
    inner = _inside(folder, place / "inner")
    if form not in ("folders", "classroom"):
        # What wraps a download is a folder, and none of a student's.
        while len(entries := _entries(folder)) == 1 and entries[0].is_dir() and not _origin(entries[0], form):
            folder = entries[0]
    elif not _is_one(_entries(inner), lab):
        folder = inner
    entries = _handed_in(folder, form)
    _require_named(form, source, entries)
    return Source(cast(Form, form), entries)


def _require_named(form: str, source: Path, entries: Sequence[Path]) -> None:
    """Refuse what is said to be a course system's, and has not one of its names: its late ones and tries are not read.

    Raises:
        UsageError: that is so.
    """
    if form not in NAMED or not entries or any(_origin(entry, form) for entry in entries):
        return
    title, names = TITLES[cast(Form, form)], _some(entries)
    hint = "leave --as out, and it is what it looks like; or say --as folders, where each entry is a student's"
    if looks := recognised((entry.name, entry.is_dir()) for entry in entries):
        hint = f"it looks like a {TITLES[looks]}: say --as {looks}, or leave --as out"
    raise UsageError(f"{shown(source.name)} is no {title}: nothing is called {NAMED[form]}, only {names}", hint=hint)


def _of_a_folder(source: Path, lab: Lab, place: Path) -> Source:
    """Return what a folder of no course system is: one submission, a class, or the one class that is in it."""
    entries = _entries(source)
    if _is_one(entries, lab):
        return _one(source.resolve())
    found = [entry for entry in entries if _is_submission(entry)]
    if len(found) == 1 and (inner := _opened(found[0], place)):
        inside = _inside(inner, place / "inner")
        if known := _known(inside):
            return known
        if _is_class(found[0], inside, lab, packed=found[0].is_file()):
            return _folders(inside)
    return Source("folders", found)


def _folders(folder: Path) -> Source:
    return Source("folders", _handed_in(folder, "folders"))


def _handed_in(folder: Path, form: str) -> list[Path]:
    return [entry for entry in _entries(folder) if _is_submission(entry) or _origin(entry, form)]


def _origin(entry: Path, form: str) -> str:
    return origin_of(entry.name, folder=entry.is_dir(), form=form).form


def _one(source: Path) -> Source:
    return Source(recognised([(source.name, source.is_dir())]) or "one", [source])


def _known(folder: Path) -> Source | None:
    """Return what a folder is, where it is a download of a course system, or has clones in it."""
    entries = _entries(folder)
    form = recognised((entry.name, entry.is_dir()) for entry in entries)
    if form or _are_clones([entry for entry in entries if entry.is_dir()]):
        return Source(form or "classroom", _handed_in(folder, form or "classroom"))
    return None


def _are_clones(entries: Sequence[Path]) -> bool:
    return len(entries) > 1 and all((entry / ".git").exists() for entry in entries)


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, without what systems and builds leave there, and what lies beside students."""
    with os.scandir(folder) as found:
        entries = [Path(entry.path) for entry in found if _counts(entry.name) and not _is_beside(Path(entry.path))]
    return sorted(entries, key=lambda path: os.fsencode(path.name))


def _counts(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in ("__macosx", "thumbs.db", "desktop.ini")


def _is_beside(entry: Path) -> bool:
    """Whether a file is no source and, by its name, no student's."""
    no_source = is_built(entry.name) or is_document(entry.name)
    return no_source and not entry.is_dir() and not origin_of(entry.name).form


def _is_submission(entry: Path) -> bool:
    if entry.is_symlink() or entry.is_dir() or not entry.is_file():
        return True
    return looks_packed(entry.name) or is_code(entry.name)


def _is_one(entries: Sequence[Path], lab: Lab) -> bool:
    """Whether a folder's entries are those of one submission, and not one a student."""
    plain = [entry.name for entry in entries if entry.is_file()]
    if any(is_makefile(name) for name in plain):
        return True
    expected = [pattern for pattern in lab.files if not pattern.startswith("*")]
    return any(fnmatch.fnmatch(name, pattern) for name in plain for pattern in expected)


def _opened(entry: Path, place: Path) -> Path | None:
    if entry.is_symlink():
        return None
    return entry if entry.is_dir() else _unpacked(entry, place, certain=False)


def _inside(folder: Path, place: Path) -> Path:
    """Return the folder in which there is more than one thing: people pack the folder around."""
    for number in range(_WRAPPERS):
        entries = _entries(folder)
        inner = _opened(entries[0], place / f"wrapper-{number}") if len(entries) == 1 else None
        if inner is None:
            break
        folder = inner
    return folder


def _unpacked(source: Path, place: Path, *, certain: bool) -> Path | None:
    """Return the folder that an archive was unpacked to; none where it is no archive, or one student's that is broken.

    Raises:
        UsageError: it is a class's, and cannot be unpacked.
    """
    if not looks_packed(source.name) or source.is_symlink() or not source.is_file():
        return None
    extraction = Extraction(place, megabytes=_LIMITS[0], files=_LIMITS[1], whole=True)
    try:
        take_archive(source, extraction)
    except Refused as refusal:
        if certain or _known(place):
            hint = "unpack it yourself, and name the folder"
            raise UsageError(f"the download cannot be unpacked: {refusal}", hint=hint) from refusal
        return None
    return place


def _is_class(source: Path, folder: Path, lab: Lab, *, packed: bool) -> bool:
    """Whether what was packed by hand is a class, one thing in it a student; the same code in several says so.

    Raises:
        UsageError: it may as well be one submission.
    """
    entries = _entries(folder)
    if any(is_makefile(entry.name) for entry in entries):
        return False
    files = [entry for entry in entries if entry.is_file() and is_code(entry.name)]
    if files:
        modules = [] if _is_one(entries, lab) else [file for file in files if starts_a_module(file)]
        return len(modules) >= (2 if packed else _MANY) and not _are_pieces(modules) and _asked(source, modules)
    units = [entry for entry in entries if _is_unit(entry)]
    if len(units) < 2 or _are_pieces(units):
        return False
    names = Counter(name for unit in units for name in _codes(unit))
    alike = any(count > 1 for count in names.values()) or all(looks_packed(unit.name) for unit in units)
    return alike or ((packed or len(units) >= _MANY) and _asked(source, units))


def _asked(source: Path, units: Sequence[Path]) -> bool:
    raise UsageError(
        f"{shown(source.name)} may be one submission, or a class of {len(units)}: {_some(units)}",
        hint="say which: --as one, or --as folders where each of them is a student's",
    )


def _some(entries: Sequence[Path]) -> str:
    return ", ".join([*(shown(entry.name) for entry in entries[:3]), *(["..."] if entries[3:] else [])])


def _is_unit(entry: Path) -> bool:
    """Whether an entry may be what one student handed in: a folder with a module in it, or an archive."""
    if not entry.is_dir():
        return looks_packed(entry.name)
    return any(looks_packed(file.name) or (is_code(file.name) and starts_a_module(file)) for file in _below(entry))


def _below(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]


def _codes(unit: Path) -> set[str]:
    return {file.name.lower() for file in _below(unit) if is_code(file.name)} if unit.is_dir() else set()


def _are_pieces(units: Sequence[Path]) -> bool:
    return all(_PIECE.search(unit.name) for unit in units)

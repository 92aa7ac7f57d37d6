"""From a folder as it arrived to submissions: one for each student, a clean copy each, refused by name where need be.

What is found: a folder, an archive or a .c file a student; downloads of Moodle and Canvas, unpacked or still the zip;
clones of GitHub Classroom; one submission alone. Nothing of it is run, and no git is asked: a clone's configuration can
name programs.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kmodlab.errors import UsageError
from kmodlab.grading import names
from kmodlab.grading.lab import Lab
from kmodlab.grading.names import Origin, origin_of
from kmodlab.grading.unpack import (
    Refused,
    Tray,
    is_source,
    kind_of,
    looks_packed,
    open_plain,
    parts_of,
    shown,
    take_archive,
    take_folder,
)

#: of a whole class's download: MiB, files
_CLASS_LIMITS = (8192, 200_000)
_WRAPPERS = 4


@dataclass(frozen=True)
class Submission:
    """What one student handed in.

    Attributes:
        student: for people.
        name: of the folder or file, as it arrived.
        files: a clean copy, in a folder of ours; where to build.
        late: it is marked late.
        problems: why it cannot be graded, each a sentence for the student; empty where it can.
        notes: what else the student should know.
        digest: of the files' names and content.
    """

    student: str
    name: str
    files: Path
    late: bool = False
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    digest: str = ""


@dataclass(frozen=True)
class _Arrival:
    """One try of one student, before it is opened."""

    origin: Origin
    name: str
    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    order: tuple[object, ...] = field(default=())


def collect(source: Path, lab: Lab, work: Path) -> list[Submission]:
    """Return the submissions of a folder, one for each student, sorted by student.

    Args:
        source: a folder, an archive or a .c file.
        lab: its rules say which of several submissions counts, and how large one may be.
        work: a folder for the copies; it is made anew.

    Raises:
        UsageError: there is nothing to grade.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    if not source.exists():
        raise UsageError(f"there is no {source}", hint="name a folder of submissions, or one submission")
    source = _opened(source, work / "download")
    arrivals = sorted(_choose(_find(source, lab), lab), key=lambda a: (names.natural(a.origin.student), a.name))
    if not arrivals:
        raise UsageError(
            f"there is nothing to grade in {source}", hint="expected is a folder, an archive or a .c file a student"
        )
    taken: set[str] = set()
    return [_take(arrival, lab, work / _unique(names.slug(arrival.origin.student), taken)) for arrival in arrivals]


def _unique(slug: str, taken: set[str]) -> str:
    number, name = 1, slug
    while name.casefold() in taken:
        number += 1
        name = f"{slug}-{number}"
    taken.add(name.casefold())
    return name


def _opened(source: Path, place: Path) -> Path:
    """Return the folder of a class's download that is still an archive; anything else as it is."""
    if not source.is_file() or not looks_packed(source.name):
        return source
    tray = Tray(place, megabytes=_CLASS_LIMITS[0], files=_CLASS_LIMITS[1])
    try:
        take_archive(source, tray)
    except Refused as refusal:
        if _is_download(source):
            hint = "unpack it yourself, and name the folder"
            raise UsageError(f"the download cannot be unpacked: {refusal}", hint=hint) from refusal
        return source
    entries = list(place.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and not origin_of(entries[0].name, folder=True).form:
        entries = list(entries[0].iterdir())
    known = [entry for entry in entries if origin_of(entry.name, folder=entry.is_dir()).form]
    return entries[0].parent if entries and len(known) * 2 > len(entries) else source


def _is_download(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as packed:
            tops = {name.partition("/")[0] for name in packed.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError):
        return False
    return any(origin_of(name, folder=True).form for name in tops)


def _find(source: Path, lab: Lab) -> list[_Arrival]:
    if not source.is_dir():
        return [_arrival(source, source.name)]
    entries = sorted((Path(entry) for entry in os.scandir(source) if _counts(entry)), key=lambda p: os.fsencode(p.name))
    if _is_one(entries, lab):
        return [_arrival(source.resolve(), source.resolve().name)]
    arrivals = [_arrival(entry, entry.name) for entry in entries if _is_submission(entry)]
    return _classroom(_together(arrivals, lab))


def _counts(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.name.lower() not in ("__macosx", "thumbs.db", "desktop.ini")


def _is_one(entries: Sequence[Path], lab: Lab) -> bool:
    """Whether a folder's entries are those of one submission, and not one a student."""
    if any(origin_of(entry.name, folder=entry.is_dir()).form for entry in entries):
        return False
    plain = [entry.name for entry in entries if entry.is_file()]
    if any(is_source(Path(name)) and not name.endswith(".c") for name in plain):
        return True
    expected = [pattern for pattern in lab.files if not pattern.startswith("*")]
    return any(fnmatch.fnmatch(name, pattern) for name in plain for pattern in expected)


def _is_submission(entry: Path) -> bool:
    if entry.is_symlink() or entry.is_dir() or not entry.is_file():
        return True
    return looks_packed(entry.name) or entry.suffix.lower() == ".c" or bool(origin_of(entry.name).form)


def _arrival(path: Path, name: str) -> _Arrival:
    origin = origin_of(name, folder=path.is_dir())
    return _Arrival(origin, names.clean(name), (path,), order=names.natural(origin.file or name))


def _together(arrivals: Sequence[_Arrival], lab: Lab) -> list[_Arrival]:
    """Put the loose files of one student together, as Canvas and Moodle without folders spread them."""
    alone: list[_Arrival] = []
    loose: dict[str, list[_Arrival]] = {}
    for arrival in arrivals:
        spread = arrival.origin.form and arrival.origin.file and not looks_packed(arrival.origin.file)
        if spread and not arrival.origin.text:
            loose.setdefault(arrival.origin.key, []).append(arrival)
        elif not arrival.origin.text:
            alone.append(arrival)
    typed = [arrival for arrival in arrivals if arrival.origin.text]
    packed = {arrival.origin.key for arrival in alone}
    for key, parts in loose.items():
        # Beside an archive, a report or a picture is no second submission; sources are.
        if key not in packed or any(is_source(Path(part.origin.file)) for part in parts):
            alone.append(_joined(parts, lab))
    handed = {arrival.origin.key for arrival in alone}
    return alone + [arrival for arrival in typed if arrival.origin.key not in handed]


def _joined(parts: list[_Arrival], lab: Lab) -> _Arrival:
    first = parts[0]
    paths = {}
    for part in sorted(parts, key=lambda part: part.order, reverse=lab.duplicates == "first"):
        paths[_original(part.origin, lab)] = part.paths[0]
    origin = replace(first.origin, late=any(part.origin.late for part in parts), file="")
    return replace(first, origin=origin, paths=tuple(paths[name] for name in sorted(paths)))


def _original(origin: Origin, lab: Lab) -> str:
    """Return what a student called a file: Canvas adds -1, -2 when it is handed in again."""
    plain = re.sub(r"-\d+(?=\.[^.]*$|$)", "", origin.file)
    known = plain in ("Makefile", "Kbuild") or any(fnmatch.fnmatch(plain, pattern) for pattern in lab.files)
    return plain if known else origin.file


def _classroom(arrivals: list[_Arrival]) -> list[_Arrival]:
    """Take the assignment's name off the names of clones: `lab1-alice` is alice's."""
    clones = [arrival for arrival in arrivals if arrival.paths[0].is_dir() and (arrival.paths[0] / ".git").exists()]
    if len(clones) < 2 or len(clones) != len(arrivals):
        return arrivals
    first, last = min(a.name for a in clones), max(a.name for a in clones)
    same = next((i for i, (x, y) in enumerate(zip(first, last, strict=False)) if x != y), min(len(first), len(last)))
    start = first.rfind("-", 0, same) + 1
    return [replace(a, origin=replace(a.origin, student=a.name[start:] or a.name)) for a in arrivals]


def _choose(arrivals: Iterable[_Arrival], lab: Lab) -> list[_Arrival]:
    """Return one submission for each student, by the lab's rules."""
    tries: dict[str, list[_Arrival]] = {}
    for arrival in arrivals:
        tries.setdefault(arrival.origin.key, []).append(arrival)
    return [_counting(sorted(several, key=lambda a: a.order), lab) for several in tries.values()]


def _counting(several: list[_Arrival], lab: Lab) -> _Arrival:
    if len(several) == 1:
        return several[0]
    in_time = [arrival for arrival in several if not arrival.origin.late]
    pool = in_time if in_time and lab.late.rule == "refuse" else several
    chosen = pool[-1 if lab.duplicates == "last" else 0]
    others = ", ".join(shown(arrival.name) for arrival in several if arrival is not chosen)
    note = f"Of {len(several)} submissions the {lab.duplicates} counts, {shown(chosen.name)}; not graded: {others}."
    return replace(chosen, notes=(*chosen.notes, note))


def _take(arrival: _Arrival, lab: Lab, place: Path) -> Submission:
    """Make the clean copy of one submission; whatever is wrong with it ends in a problem, never in an error."""
    tray = Tray(place, megabytes=lab.limits.upload, files=lab.limits.files)
    problems: list[str] = []
    origin = arrival.origin
    if origin.late and lab.late.rule == "refuse":
        problems.append("It is late, and this lab takes no late submissions.")
    files, notes = place, list(arrival.notes)
    try:
        if origin.text:
            raise Refused("A text was typed in, and no file handed in. Hand in your source files.")
        for path in arrival.paths:
            _fill(path, tray, lab)
        files = _unwrapped(place)
        files = _nested(files, tray)
        notes += _missing(files, lab)
    except (Refused, PermissionError) as refusal:
        refused = isinstance(refusal, Refused)
        problems.append(str(refusal) if refused else f"{shown(arrival.name)} cannot be read.")
        files = place
    notes += tray.close()
    return Submission(
        student=origin.student, name=arrival.name, files=files, late=origin.late,
        problems=tuple(problems), notes=tuple(notes), digest=digest_of(files),
    )  # fmt: skip


def _fill(path: Path, tray: Tray, lab: Lab) -> None:
    if path.is_symlink():
        raise Refused(f"{shown(path.name)} is a symbolic link, no submission.")
    if not path.is_dir():
        _fill_from_file(path, tray, lab)
        return
    archives = sorted(
        (file for file in path.iterdir() if file.is_file() and not file.is_symlink() and looks_packed(file.name)),
        key=lambda file: names.natural(file.name),
    )
    if not archives or _has_sources(path):
        take_folder(path, tray)
        return
    chosen = archives[-1 if lab.duplicates == "last" else 0]
    if len(archives) > 1:
        tray.notes.append(f"Of {len(archives)} archives the {lab.duplicates} counts, {shown(chosen.name)}.")
    take_archive(chosen, tray)


def _fill_from_file(path: Path, tray: Tray, lab: Lab) -> None:
    origin = origin_of(path.name)
    name = _original(origin, lab) if origin.form == "canvas" else origin.file
    if looks_packed(name) or kind_of(path):
        take_archive(path, tray)
        return
    parts = parts_of(name.replace("\\", "_").replace(":", "_") or path.name)
    if tray.wants(parts):
        with open_plain(path) as file:
            tray.put(parts, file)


def _unwrapped(folder: Path) -> Path:
    """Return the folder that has the sources: people pack the folder, or the folder around it."""
    for _ in range(_WRAPPERS):
        entries = list(folder.iterdir())
        folders = [entry for entry in entries if entry.is_dir()]
        if any(entry.is_file() and is_source(entry) for entry in entries):
            break
        with_sources = [f for f in folders if _has_sources(f)]
        candidates = with_sources or (folders if len(entries) == 1 else [])
        if len(candidates) != 1:
            break
        folder = candidates[0]
    return folder


def _nested(folder: Path, tray: Tray) -> Path:
    """Open the one archive within an archive that has all the sources; leave any other where it is.

    Raises:
        Refused: there is no source file anywhere.
    """
    if _has_sources(folder):
        return folder
    archives = sorted(file for file in folder.rglob("*") if file.is_file() and looks_packed(file.name))
    if len(archives) != 1:
        raise Refused("There is no C source file in it. Hand in your .c files, not what was built from them.")
    inner = Tray(folder / "unpacked", megabytes=max(1, (tray.limit - tray.bytes) >> 20), files=tray.files)
    take_archive(archives[0], inner)
    archives[0].unlink()
    tray.notes += [f"It was packed twice; {shown(archives[0].name)} was opened.", *inner.close()]
    found = _unwrapped(folder / "unpacked")
    if not _has_sources(found):
        raise Refused("There is no C source file in it. Archives are opened two deep, no deeper.")
    return found


def _has_sources(folder: Path) -> bool:
    return any(
        is_source(Path(name))
        for place, _, files in os.walk(folder)
        if ".git" not in Path(place).parts
        for name in files
    )


def _missing(folder: Path, lab: Lab) -> list[str]:
    present = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    names_alone = {name.rpartition("/")[2] for name in present} | set(present)
    missing = [pattern for pattern in lab.files if not fnmatch.filter(names_alone, pattern)]
    return [f"The lab asks for {pattern}, which is not there." for pattern in missing]


def digest_of(folder: Path) -> str:
    """Return a digest of a folder's files: names and content, nothing else."""
    digest = hashlib.sha256()
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    for name in sorted(files):
        content = files[name].read_bytes()
        digest.update(f"{len(name.encode())} {name} {len(content)}\n".encode() + content)
    return digest.hexdigest()

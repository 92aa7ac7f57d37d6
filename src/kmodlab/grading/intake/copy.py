"""The clean copy of one submission: whatever is wrong with it ends in a problem of its own, never in an error."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kmodlab.grading.intake.sources import make_fit, place_of
from kmodlab.grading.intake.submission import Submission
from kmodlab.grading.intake.tries import Arrival, Part
from kmodlab.grading.lab import Lab
from kmodlab.grading.names import natural
from kmodlab.grading.unpack import (
    Extraction,
    Refused,
    is_code,
    is_source,
    kind_of,
    looks_packed,
    open_plain,
    parts_of,
    shown,
    take_archive,
    take_folder,
)

_WRAPPERS = 4
_HAND_IN = "Hand in your .c files, not what was built from them."


def take(arrival: Arrival, lab: Lab, place: Path) -> Submission:
    """Return the submission of an arrival, copied into a folder that is made."""
    extraction = Extraction(place, megabytes=lab.limits.upload, files=lab.limits.files)
    problems: list[str] = []
    origin = arrival.origin
    if origin.late and lab.late.rule == "refuse":
        problems.append("It is late, and this lab takes no late submissions.")
    files, built, notes = place, "", list(arrival.notes)
    try:
        files = _sources(arrival, lab, extraction)
        notes += make_fit(files)
        built, said = place_of(files, lab)
        notes += [*said, *_missing(files, lab)]
    except (Refused, PermissionError) as refusal:
        refused = isinstance(refusal, Refused)
        problems.append(str(refusal) if refused else f"{shown(arrival.name)} cannot be read.")
    notes += extraction.close()
    return Submission(
        student=origin.student, name=arrival.name, files=files, late=origin.late, problems=tuple(problems),
        notes=tuple(notes), digest=digest_of(files), form=origin.form, place=built, tries=arrival.tries,
    )  # fmt: skip


def _sources(arrival: Arrival, lab: Lab, extraction: Extraction) -> Path:
    """Extract what was handed in, and return the folder in it that has the sources.

    Raises:
        Refused: there are none, or they cannot be taken.
    """
    if arrival.origin.text:
        raise Refused("A text was typed in, and no file handed in. Hand in your source files.")
    if len(arrival.parts) == 1 and arrival.parts[0].path.is_dir() and not arrival.parts[0].path.is_symlink():
        _take_folder(arrival.parts[0].path, extraction, lab)
    else:
        _take_files(arrival.parts, extraction, lab)
    return _nested(_unwrapped(extraction.root), extraction, lab)


def _take_folder(folder: Path, extraction: Extraction, lab: Lab) -> None:
    """Take a folder; or the archive in it, where that is all it has."""
    archives = [Part(file.name, file) for file in folder.iterdir() if looks_packed(file.name) and _is_plain(file)]
    if not archives or has_code(folder):
        take_folder(folder, extraction)
        return
    take_archive(_one_of(archives, extraction, lab).path, extraction)


def _is_plain(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()


def _take_files(parts: Sequence[Part], extraction: Extraction, lab: Lab) -> None:
    """Take loose files; or the archive among them, where no other file is a C source."""
    for part in parts:
        if part.path.is_symlink():
            raise Refused(f"{shown(part.path.name)} is a symbolic link, no submission.")
    archives = [part for part in parts if _is_archive(part)]
    loose = [part for part in parts if part not in archives]
    if archives and not any(is_code(part.name) for part in loose):
        take_archive(_one_of(archives, extraction, lab).path, extraction)
        return
    if archives:
        extraction.notes.append(
            f"Your loose files count; not opened: {', '.join(shown(part.name) for part in archives)}."
        )
    for part in loose:
        name = parts_of(part.name.replace("\\", "_").replace(":", "_") or part.path.name)
        if extraction.wants(name):
            with open_plain(part.path) as file:
                extraction.put(name, file)


def _is_archive(part: Part) -> bool:
    return looks_packed(part.name) or (not is_source(Path(part.name)) and bool(kind_of(part.path)))


def _one_of(archives: Sequence[Part], extraction: Extraction, lab: Lab) -> Part:
    """Return the archive that counts: of those with sources the last or the first, as the lab says."""
    ordered = sorted(archives, key=lambda part: natural(part.name), reverse=lab.duplicates == "last")
    if len(ordered) == 1:
        return ordered[0]
    full = [part for part in ordered if _has_code_packed(part.path, extraction)]
    chosen = (full or ordered)[0]
    others = ", ".join(shown(part.name) for part in ordered if part is not chosen)
    if len(full) == 1:
        extraction.notes.append(f"{shown(chosen.name)} counts; there are no sources in {others}.")
    else:
        words = f"Of {len(ordered)} archives the {lab.duplicates} counts, {shown(chosen.name)}"
        extraction.notes.append(f"{words}; not graded: {others}.")
    return chosen


def _has_code_packed(archive: Path, like: Extraction) -> bool:
    """Whether there is a source in an archive, or an archive that might have one; not where it cannot be opened."""
    with tempfile.TemporaryDirectory(prefix="kmodlab-intake-") as temporary:
        extraction = Extraction(Path(temporary) / "look", megabytes=like.limit >> 20, files=like.files)
        try:
            take_archive(archive, extraction)
        except Refused:
            return False
        return has_code(extraction.root) or any(looks_packed(file.name) for file in extraction.root.rglob("*"))


def _unwrapped(folder: Path) -> Path:
    """Return the folder that has the sources: people pack the folder, or the folder around it."""
    for _ in range(_WRAPPERS):
        entries = list(folder.iterdir())
        folders = [entry for entry in entries if entry.is_dir()]
        if any(entry.is_file() and is_source(entry) for entry in entries):
            break
        with_sources = [inner for inner in folders if _has_sources(inner)]
        candidates = with_sources or (folders if len(entries) == 1 else [])
        if len(candidates) != 1:
            break
        folder = candidates[0]
    return folder


def _nested(folder: Path, extraction: Extraction, lab: Lab) -> Path:
    """Open the archive within an archive that has the sources; leave any other where it is.

    Raises:
        Refused: there is no source file anywhere.
    """
    if has_code(folder):
        return folder
    archives = [Part(file.name, file) for file in folder.rglob("*") if file.is_file() and looks_packed(file.name)]
    if not archives:
        raise Refused(f"There is no C source file in it{_but(folder, extraction)}. {_HAND_IN}")
    chosen = _one_of(archives, extraction, lab)
    inner = Extraction(
        folder / "unpacked", megabytes=max(1, (extraction.limit - extraction.bytes) >> 20), files=extraction.files
    )
    take_archive(chosen.path, inner)
    chosen.path.unlink()
    extraction.notes += [f"It was packed twice; {shown(chosen.name)} was opened.", *inner.close()]
    found = _unwrapped(folder / "unpacked")
    if not has_code(found):
        raise Refused(f"There is no C source file in it{_but(found, inner)}. Archives are opened two deep, no deeper.")
    return found


def _but(folder: Path, extraction: Extraction) -> str:
    """Return what there is instead of sources, for the end of a sentence."""
    names = [*extraction.built, *sorted(file.name for file in folder.rglob("*") if file.is_file())]
    return (
        f", only {', '.join(shown(name) for name in names[:3])}{' and more' if len(names) > 3 else ''}" if names else ""
    )


def _has_sources(folder: Path) -> bool:
    return any(is_source(Path(name)) for name in _names(folder))


def has_code(folder: Path) -> bool:
    """Return whether there is a C file somewhere in a folder."""
    return any(is_code(name) for name in _names(folder))


def _names(folder: Path) -> list[str]:
    walk = os.walk(folder)
    return [name for place, _, names in walk if ".git" not in Path(place).parts for name in names if name[:2] != "._"]


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

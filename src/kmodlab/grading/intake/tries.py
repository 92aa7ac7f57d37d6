"""From a folder's entries to one arrival a student: which files belong together, and which of several tries counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kmodlab.grading.intake.sources import MODULE, is_ilias_late
from kmodlab.grading.lab import Lab
from kmodlab.grading.names import Form, Origin, clean, named_apart, natural, origin_of
from kmodlab.grading.unpack import is_source, looks_packed, shown

#: bytes of a receipt of Blackboard's that are read
_RECEIPT = 4096
#: bytes of a file that are searched for the name of another
_SEARCHED = 1 << 20
_AGAIN = re.compile(r"-([0-9]+)(?=\.[^.]*$|$)")


@dataclass(frozen=True)
class Part:
    """A file or folder of an arrival.

    Attributes:
        name: what the student called it.
        path: where it is.
    """

    name: str
    path: Path


@dataclass(frozen=True)
class Arrival:
    """One try of one student, before it is opened.

    Attributes:
        origin: whose it is.
        name: of what arrived, for people.
        parts: what belongs to it.
        order: sorts the tries of a student.
        notes: for the student.
        tries: of which it is the one that counts.
    """

    origin: Origin
    name: str
    parts: tuple[Part, ...]
    order: tuple[object, ...] = ()
    notes: tuple[str, ...] = ()
    tries: int = 1


def arrival(path: Path, form: str = "") -> Arrival:
    """Return the arrival that a file or folder is by itself."""
    origin = origin_of(path.name, folder=path.is_dir() and not path.is_symlink(), form=form)
    if form == "ilias" and path.is_dir() and any(is_ilias_late(file.name) for file in path.iterdir()):
        origin = replace(origin, late=True)
    order = (origin.date, origin.late, natural(origin.file or path.name))
    return Arrival(origin, clean(path.name), (Part(origin.file or path.name, path),), order)


def of_students(entries: Iterable[Path], form: Form, lab: Lab) -> list[Arrival]:
    """Return the arrival of each student that counts.

    Args:
        entries: of a class's folder.
        form: of what download they are.
        lab: its rules say which of several tries counts.
    """
    arrivals = [arrival(entry, form) for entry in entries]
    if form == "blackboard":
        arrivals = _with_names(arrivals)
    if form in ("moodle", "canvas", "blackboard"):
        arrivals = _together(arrivals, lab)
    if form == "classroom":
        arrivals = _without_assignment(arrivals)
    return _choose(arrivals, lab)


def _together(arrivals: Sequence[Arrival], lab: Lab) -> list[Arrival]:
    """Put the files of one try together, as Canvas, Blackboard, and Moodle without folders spread them."""
    alone: list[Arrival] = []
    spread: dict[tuple[object, ...], list[Arrival]] = {}
    for one in arrivals:
        origin = one.origin
        if origin.form and origin.file and not origin.text:
            spread.setdefault((origin.key, origin.date, origin.late), []).append(one)
        elif not origin.text:
            alone.append(one)
    alone += [_joined(parts, lab) for parts in spread.values()]
    handed = {one.origin.key for one in alone}
    return alone + [one for one in arrivals if one.origin.text and one.origin.key not in handed]


def _joined(pieces: list[Arrival], lab: Lab) -> Arrival:
    parts = [part for one in pieces for part in one.parts]
    first = next(
        (one for one in pieces if looks_packed(one.origin.file) or is_source(Path(one.origin.file))), pieces[0]
    )
    if first.origin.form != "canvas":
        return replace(first, parts=tuple(parts))
    named = _called_before(parts)
    kept: dict[str, Part] = {}
    for part in sorted(parts, key=lambda part: _number(part.name), reverse=lab.duplicates == "first"):
        kept[named[part]] = Part(named[part], part.path)
    again = len(kept) < len(parts)
    note = f"Of files that were handed in twice the {lab.duplicates} counts." if again else ""
    return replace(
        first, parts=tuple(kept[name] for name in sorted(kept)), notes=(note,) if note else (), tries=1 + again
    )


def _number(name: str) -> int:
    found = _AGAIN.search(name)
    return int(found[1]) if found else 0


def _called_before(parts: Sequence[Part]) -> dict[Part, str]:
    """Return what the student called each file: Canvas adds -1, -2 to one that is handed in again.

    A student may have called it so, too. It was Canvas where the name without the number is there as well, or where
    each of that name is a module by itself, and no other file speaks of it.
    """
    plain = {part: _AGAIN.sub("", part.name) for part in parts}
    names = {part.name for part in parts}
    found: dict[Part, str] = {}
    for part in parts:
        alike = [other for other in parts if other.name != plain[other] == plain[part]]
        again = plain[part] in names or len(alike) == 1 or all(_starts_a_module(other) for other in alike)
        found[part] = plain[part] if again and not _is_needed(part, parts) else part.name
    return found


def _starts_a_module(part: Part) -> bool:
    return bool(MODULE.search(_begin(part.path, _SEARCHED)))


def _is_needed(part: Part, parts: Sequence[Part]) -> bool:
    """Whether another file speaks of this one by the name that it has."""
    stem = part.name.rpartition(".")[0] if "." in part.name else part.name
    word = re.compile(rb"(?<![\w-])" + re.escape(stem.encode()) + rb"(?![\w-])")
    texts = (other.path for other in parts if other is not part and not looks_packed(other.name))
    return any(word.search(_begin(path, _SEARCHED)) for path in texts)


def _begin(path: Path, size: int) -> bytes:
    if path.is_symlink() or not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(size)


def _with_names(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Name students of Blackboard as their receipts do, else by what tells their files' names apart."""
    named = named_apart(one.origin for one in arrivals)
    for one in arrivals:
        if one.origin.text and (found := re.search(r"^Name: (.+?) \(", _receipt(one), re.MULTILINE)):
            named[one.origin.key] = clean(found[1].strip())
    return [replace(one, origin=replace(one.origin, student=named[one.origin.key])) for one in arrivals]


def _receipt(one: Arrival) -> str:
    return _begin(one.parts[0].path, _RECEIPT).decode("utf-8", "replace").lstrip("\ufeff")


def _without_assignment(arrivals: list[Arrival]) -> list[Arrival]:
    """Take the assignment's name off the names of clones: `lab1-alice` is alice's."""
    if len(arrivals) < 2:
        return arrivals
    first, last = min(one.name for one in arrivals), max(one.name for one in arrivals)
    same = next((i for i, (x, y) in enumerate(zip(first, last, strict=False)) if x != y), min(len(first), len(last)))
    start = first.rfind("-", 0, same) + 1
    return [
        replace(one, origin=replace(one.origin, student=one.origin.student[start:] or one.origin.student))
        for one in arrivals
    ]


def _choose(arrivals: Iterable[Arrival], lab: Lab) -> list[Arrival]:
    """Return one arrival for each student, by the lab's rules."""
    tries: dict[str, list[Arrival]] = {}
    for one in arrivals:
        tries.setdefault(one.origin.key, []).append(one)
    return [_counting(sorted(several, key=lambda one: one.order), lab) for several in tries.values()]


def _counting(several: list[Arrival], lab: Lab) -> Arrival:
    if len(several) == 1:
        return several[0]
    in_time = [one for one in several if not one.origin.late]
    pool = in_time if in_time and lab.late.rule == "refuse" else several
    chosen = pool[-1 if lab.duplicates == "last" else 0]
    others = ", ".join(shown(one.name) for one in several if one is not chosen)
    note = f"Of {len(several)} submissions the {lab.duplicates} counts, {shown(chosen.name)}; not graded: {others}."
    return replace(chosen, notes=(*chosen.notes, note), tries=len(several))

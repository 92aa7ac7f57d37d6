"""What was handed in, made fit for make: names, encodings, line ends; and which of several folders is built.

It works on our copy. What it changes is said in a note, for who looks at a build log has to recognise the files.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kmodlab.grading.lab import Lab
from kmodlab.grading.names import natural
from kmodlab.grading.unpack import is_code, is_makefile, shown

#: what kbuild and make take in a name; everything else they take for something else than a name
_FIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
#: bytes of a module's name that the kernel takes
_STEM = 50
#: what Windows, browsers and ILIAS put behind the name of a second file
_COPY = re.compile(r"(?: ?\([0-9]+\)| - Copy| - Kopie| copy)+(?=\.c$|$)", re.IGNORECASE)
_ILIAS_LATE = re.compile(r"(?:late[ _]submission|versp(?:ä|ae|a)tete[ _]abgabe)[ _]*-[ _]*", re.IGNORECASE)
#: what a module begins with
MODULE = re.compile(rb"\b(?:module_init|init_module|module_[a-z0-9_]+_driver|module_driver)\b")
_BUILDS = re.compile(rb"^\s*obj-[my$]|^\s*override\s+obj-m|\bobj-m\s*[:+]?=", re.MULTILINE)
#: folders that are not what is handed in
_OLD = re.compile(r"old|back-?up|bak\b|copy|kopie|tries|trash|archive|user|test|example|starter", re.IGNORECASE)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig", "has a byte order mark"), (codecs.BOM_UTF32_LE, "utf-32", "is in UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "is in UTF-32"), (codecs.BOM_UTF16_LE, "utf-16", "is in UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "is in UTF-16"),
)  # fmt: skip


def is_ilias_late(name: str) -> bool:
    """Return whether ILIAS has marked a file as late."""
    return bool(_ILIAS_LATE.match(name))


def starts_a_module(file: Path) -> bool:
    """Return whether a C file has what a module begins with."""
    return bool(MODULE.search(file.read_bytes()))


def make_fit(folder: Path) -> list[str]:
    """Convert and rename what make or the compiler would not take, and return notes on it."""
    notes: list[str] = []
    for file in _files(folder):
        renamed = _named(file)
        if is_code(renamed.name) or is_makefile(renamed.name) or renamed.suffix in (".h", ".S"):
            notes += _converted(renamed)
    return [*notes, *_fit_names(folder)]


def _files(folder: Path) -> list[Path]:
    return sorted(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda path: str(path.relative_to(folder))
    )


def _named(file: Path) -> Path:
    """Give a file the name that make looks for: without what Windows, a browser or ILIAS added to it."""
    name = _ILIAS_LATE.sub("", file.name, count=1)
    if is_makefile(name):
        name = "Kbuild" if name.lower().startswith("kbuild") else "Makefile"
    elif is_code(name):
        name = re.sub(r"\.c(?:\.txt)?$", ".c", name, flags=re.IGNORECASE)
        name = _COPY.sub("", name)
    return _moved(file, file.with_name(name))


def _moved(file: Path, target: Path) -> Path:
    """Rename a file where that takes the place of none."""
    if target == file or not target.stem or target.exists():
        return file
    return file.rename(target)


def _converted(file: Path) -> Iterator[str]:
    """Write a source anew as UTF-8 with plain line ends, if it is not; yield what it was."""
    content = file.read_bytes()
    text, what = _decoded(content)
    if is_makefile(file.name) and "\r" in text:
        what = what or "has line ends of Windows"
    fit = text.replace("\r\n", "\n").replace("\r", "\n").encode()
    if fit != content:
        file.write_bytes(fit)
    if what:
        yield f"{shown(file.name)} {what}; it was converted to plain UTF-8 for the build."


def _decoded(content: bytes) -> tuple[str, str]:
    """Return a source's text, and what is unusual about its encoding, if anything."""
    for mark, encoding, what in _BOMS:
        if content.startswith(mark):
            return content.decode(encoding, "replace"), what
    if encoding := _wide(content):
        return content.decode(encoding, "replace"), "is in UTF-16"
    try:
        return content.decode(), ""
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace") if not _undefined(content) else content.decode(
            "latin-1"
        ), "is in Latin-1"


def _undefined(content: bytes) -> bool:
    return any(byte in content for byte in b"\x81\x8d\x8f\x90\x9d")


def _wide(content: bytes) -> str:
    """Return which UTF-16 it is, without a mark: in C every second byte is zero then."""
    half = len(content) // 2
    if half < 4 or len(content) % 2:
        return ""
    if content[1::2].count(0) > half * 0.8 and content[::2].count(0) < half * 0.2:
        return "utf-16-le"
    return "utf-16-be" if content[::2].count(0) > half * 0.8 and content[1::2].count(0) < half * 0.2 else ""


def _fit_names(folder: Path) -> Iterator[str]:
    """Rename C files whose names make would take apart."""
    readable = [path for path in _files(folder) if is_makefile(path.name) or path.suffix in (".c", ".h")]
    texts = [path.read_bytes() for path in readable]
    for file in _files(folder):
        mentioned = any(word.encode() in text for word in (f'"{file.name}"', f" {file.stem}.o") for text in texts)
        if is_code(file.name) and not _is_fit(file.name) and not mentioned:
            renamed = _moved(file, _free(file, _fit(file.stem, "module"), ".c"))
            yield f"{shown(file.name)} was built as {renamed.name}: make takes no such name."


def _is_fit(name: str) -> bool:
    return bool(_FIT.fullmatch(name)) and len(name.removesuffix(".c")) <= _STEM


def _fit(name: str, otherwise: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_+-]+", "_", plain).strip("_+-")[:_STEM] or otherwise


def _free(path: Path, stem: str, suffix: str) -> Path:
    candidate, number = path.with_name(stem + suffix), 2
    while candidate.exists():
        candidate, number = path.with_name(f"{stem}_{number}{suffix}"), number + 1
    return candidate


# Which folder is built


@dataclass(frozen=True)
class _Candidate:
    """A folder that a module may be built in."""

    path: Path
    makefile: bool
    builds: bool
    score: int


def words_of(lab: Lab) -> tuple[str, ...]:
    """Return what the lab's own file is likely called: its modules' names, and the lab's, whole and its last word."""
    named = [module.name for module in lab.modules if module.name]
    asked = [pattern.rpartition(".")[0] for pattern in lab.files if not re.search(r"[*?\[]", pattern)]
    words = [*named, *asked, lab.name, re.split(r"[-_]", lab.name)[-1]]
    return tuple(dict.fromkeys(word.lower().replace("-", "_") for word in words if len(word) > 2))


def score_of(file: Path, words: tuple[str, ...]) -> int:
    """Return how much a C file looks like the lab's own: by its name, else by what it has in quotes."""
    stem = file.stem.lower().replace("-", "_")
    if stem in words:
        return 4
    if any(word in stem for word in words):
        return 3
    if not file.is_file():
        return 0
    text = file.read_bytes().decode("latin-1").lower()
    return int(any(re.search(rf'"(?:/proc/)?{re.escape(word)}"', text) for word in words))


def place_of(folder: Path, lab: Lab) -> tuple[str, list[str]]:
    """Return the folder that is built, relative, and a note where there were several.

    Args:
        folder: all that was handed in.
        lab: whose file it is looked for.
    """
    words = words_of(lab)
    places = {path.parent for path in _files(folder) if is_code(path.name) or path.name in ("Makefile", "Kbuild")}
    candidates = [_candidate(place, words) for place in places]
    if any(one.path == folder and one.builds and one.makefile for one in candidates):
        return "", []
    building = [one for one in candidates if one.builds] or candidates
    best = min(building, key=lambda one: _rank(one, folder), default=None)
    if best is None or best.path == folder:
        return "", []
    relative = best.path.relative_to(folder).as_posix()
    apart = [one for one in building if not one.path.is_relative_to(best.path)]
    note = f"Of {len(apart) + 1} folders with sources {shown(relative)} was built; the others do not count."
    return _fit_place(folder, best.path), [note] if apart else []


def _fit_place(folder: Path, place: Path) -> str:
    """Rename the folders down to one that make would take apart, and return where it is then."""
    here = folder
    for part in place.relative_to(folder).parts:
        target = here / part if _is_fit(part) else _free(here / part, _fit(part, "folder"), "")
        here = (here / part).rename(target)
    return here.relative_to(folder).as_posix()


def _candidate(place: Path, words: tuple[str, ...]) -> _Candidate:
    makefiles = [place / name for name in ("Makefile", "Kbuild") if (place / name).is_file()]
    below = place.rglob("*.c") if makefiles else place.glob("*.c")
    codes = [file for file in below if file.is_file()]
    builds = any(_BUILDS.search(file.read_bytes()) for file in makefiles)
    builds = builds or any(starts_a_module(file) for file in codes if file.parent == place)
    return _Candidate(place, bool(makefiles), builds, max((score_of(file, words) for file in codes), default=0))


def _rank(one: _Candidate, folder: Path) -> tuple[object, ...]:
    relative = one.path.relative_to(folder)
    old = any(_OLD.search(part) for part in relative.parts)
    return -one.score, old, not one.makefile, len(relative.parts), natural(relative.as_posix())

"""What names say: whose a file is, in downloads of Moodle and Canvas, and how a stranger's name is made fit to show.

Sources: Moodle's mod/assign (`fullname_id_assignsubmission_file_`, the id being the participant's in the grading
worksheet); Canvas's lib/content_zipper.rb (`sortablename[_LATE]_user_attachment_filename`).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_MOODLE = re.compile(r"(?P<name>[^_]+)_(?P<participant>\d+)_assignsubmission_(?P<kind>[a-z]+)_?(?P<file>.*)", re.DOTALL)
_CANVAS = re.compile(
    r"(?:(?P<name>.+?)_(?:(?P<late>LATE)_)?(?P<user>\d+)|(?:(?P<anonymous_late>LATE)_)?(?P<anonymous>anon_[^_]+))"
    r"_(?P<attachment>\d+)_(?P<file>.+)",
    re.DOTALL | re.IGNORECASE,
)
_LATE = re.compile(r"(?:^|[_\s(\[-])late(?:$|[_\s)\].-])", re.IGNORECASE)

#: what turns the direction of text around, and could show one name as another
_DIRECTIONS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C])


@dataclass(frozen=True)
class Origin:
    """Whose a file or folder is, as far as its name says.

    Attributes:
        student: for people.
        participant: Moodle's number of the student in this assignment.
        user: Canvas's number of the student.
        late: the name says so.
        file: what the student called it; empty for a folder.
        form: `moodle`, `canvas` or empty.
        text: it is a text that was typed in, no file.
    """

    student: str
    participant: str = ""
    user: str = ""
    late: bool = False
    file: str = ""
    form: str = ""
    text: bool = False

    @property
    def key(self) -> str:
        """The same for all that one student handed in."""
        return self.participant or self.user or self.student.casefold()


def origin_of(name: str, *, folder: bool = False) -> Origin:
    """Return what a name says.

    Args:
        name: of a file or a folder as it arrived.
        folder: it is a folder.
    """
    name = clean(name)
    if found := _MOODLE.fullmatch(name):
        student, kind = found["name"].strip(), found["kind"]
        if student.casefold() in ("", "participant"):  # marked blind
            student = f"Participant {found['participant']}"
        return Origin(
            student, found["participant"], late=is_late(name), file=found["file"], form="moodle", text=kind != "file"
        )
    if not folder and (found := _CANVAS.fullmatch(name)):
        late = bool(found["late"] or found["anonymous_late"])
        student, text = found["name"] or found["anonymous"], False
        return Origin(student, "", found["user"] or found["anonymous"], late, found["file"], "canvas", text)
    if not folder and (found := re.fullmatch(r"(.+?)_(LATE_)?(\d+)_(?:text|link)\.html", name)):
        return Origin(found[1], "", found[3], bool(found[2]), name, "canvas", text=True)
    student = name if folder else stem(name)
    return Origin(student.strip() or name, late=is_late(student), file="" if folder else name)


def is_late(name: str) -> bool:
    """Return whether a name has the word `late` in it."""
    return bool(_LATE.search(name))


def stem(name: str) -> str:
    """Return a file's name without what says its kind."""
    return re.sub(r"(?i)(?:\.tar)?\.[a-z0-9]{1,4}$", "", name) or name


def clean(name: str | bytes) -> str:
    """Return a name fit to show: UTF-8 where it can be, composed, one line, in the direction of its own letters."""
    raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape" if _escaped(name) else "replace")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    text = unicodedata.normalize("NFC", text).translate(_DIRECTIONS)
    return "".join("�" if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") else letter for letter in text)


def _escaped(name: str) -> bool:
    return any("\udc80" <= letter <= "\udcff" for letter in name) and not any(
        "\ud800" <= letter < "\udc80" or "\udcff" < letter <= "\udfff" for letter in name
    )


def slug(name: str) -> str:
    """Return a name for files that any system and any web server takes: letters, digits, - and _."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "-", ascii_only).strip("-")[:60] or "student"


def natural(name: str) -> tuple[object, ...]:
    """Return what sorts names as people do: `v10` after `v9`."""
    return tuple(int(part) if part.isdigit() else part.casefold() for part in re.split(r"([0-9]+)", name))

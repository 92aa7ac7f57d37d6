"""What names say: whose a file is, in the downloads of course systems, and how a stranger's name is made fit to show.

Sources: Moodle's mod/assign (`fullname_id_assignsubmission_file_`, the id being the participant's in the grading
worksheet); Canvas's lib/content_zipper.rb (`sortablename[_LATE]_user_attachment_filename`); Blackboard's help on
downloading assignments (`assignment_username_attempt_date_filename`, and a receipt beside, `..._date.txt`); ILIAS's
components/ILIAS/Exercise (a folder `lastname_firstname_login_id`; a file's name begins with `Late Submission - `).

Digits are those of ASCII in all patterns: what Python calls a digit is one of any script.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Form = Literal["moodle", "canvas", "blackboard", "ilias", "classroom", "folders", "one"]
FORMS: tuple[Form, ...] = get_args(Form)
#: what each course system calls what it hands out, for people
NAMED: dict[str, str] = {
    "moodle": "FULL NAME_NUMBER_assignsubmission_file_",
    "canvas": "NAME_USER_NUMBER_FILE",
    "blackboard": "ASSIGNMENT_USER_attempt_DATE_FILE",
    "ilias": "LASTNAME_FIRSTNAME_LOGIN_NUMBER",
}

_MOODLE = re.compile(
    r"(?P<name>[^_]+)_(?P<participant>[0-9]+)_assignsubmission_(?P<kind>[a-z]+)_?(?P<file>.*)", re.DOTALL
)
_CANVAS = re.compile(
    r"(?:(?P<name>.+?)_(?:(?P<late>LATE)_)?(?P<user>[0-9]+)|(?:(?P<anonymous_late>LATE)_)?(?P<anonymous>anon_[^_]+))"
    r"_(?P<attachment>[0-9]+)_(?P<file>.+)",
    re.DOTALL | re.IGNORECASE,
)
_CANVAS_TEXT = re.compile(r"(?P<name>.+?)_(?P<late>LATE_)?(?P<user>[0-9]+)_(?:text|link)\.html", re.DOTALL)
_BLACKBOARD = re.compile(
    r"(?P<head>.+)_attempt_(?P<date>[0-9]{4}(?:-[0-9]{2}){5})(?:_(?P<file>.+)|(?P<receipt>\.txt)|)", re.DOTALL
)
_ILIAS = re.compile(r"(?P<name>[^\W\d_]{2}.*)_(?P<login>[^_]+)_(?P<id>[0-9]+)", re.DOTALL)
#: smaller numbers count parts and exercises; Canvas gives a number to each file that anybody has ever handed in
_CANVAS_NUMBERS = 100
#: by hand; the bare word is a surname, too, and a part of many a file's name
_LATE = re.compile(r"\s*[(\[]late[)\]]", re.IGNORECASE)

#: what turns the direction of text around, and could show one name as another
_DIRECTIONS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C])


@dataclass(frozen=True)
class Origin:
    """Whose a file or folder is, as far as its name says.

    Attributes:
        student: for people.
        key: the same for all that one student handed in.
        participant: Moodle's number of the student in this assignment.
        user: Canvas's number of the student.
        attachment: Canvas's number of the file.
        date: of the try, where the name has it; it sorts.
        late: the name says so.
        file: what the student called it; empty for a folder.
        form: of what download; empty where it is no download's name.
        text: it is a text that was typed in, or a receipt, no file.
    """

    student: str
    key: str = ""
    participant: str = ""
    user: str = ""
    attachment: str = ""
    date: str = ""
    late: bool = False
    file: str = ""
    form: Form | Literal[""] = ""
    text: bool = False


def origin_of(name: str, *, folder: bool = False, form: str = "") -> Origin:
    """Return what a name says.

    Args:
        name: of a file or a folder as it arrived.
        folder: it is a folder.
        form: of what download it is; empty: whatever it looks like by itself.
    """
    shown = clean(name)
    readers = [_READERS[form]] if form in _READERS else [] if form else [_moodle, _blackboard, _canvas_by_itself]
    for reader in readers:
        if found := reader(shown, folder):
            return found
    student = _LATE.sub("", shown if folder else stem(shown)).strip() or shown
    # Letters are not folded: `Alice` and `alice` may be two, and to grade one of them twice is the smaller harm.
    key = unicodedata.normalize("NFC", _LATE.sub("", name if folder else stem(name)).strip())
    return Origin(student, key, late=is_late(shown), file="" if folder else shown)


def _moodle(name: str, folder: bool) -> Origin | None:
    del folder
    if not (found := _MOODLE.fullmatch(name)):
        return None
    number, kind, student = found["participant"], found["kind"], _LATE.sub("", found["name"]).strip()
    if student.casefold() in ("", "participant"):  # marked blind
        student = f"Participant {number}"
    return Origin(
        student, number, number, late=is_late(found["name"]), file=found["file"], form="moodle", text=kind != "file"
    )


def _canvas(name: str, folder: bool) -> Origin | None:
    if folder:
        return None
    if found := _CANVAS.fullmatch(name):
        user = found["user"] or found["anonymous"]
        late = bool(found["late"] or found["anonymous_late"])
        return Origin(
            found["name"] or user, user, user=user, attachment=found["attachment"], late=late, file=found["file"],
            form="canvas",
        )  # fmt: skip
    if found := _CANVAS_TEXT.fullmatch(name):
        late, user = bool(found["late"]), found["user"]
        return Origin(found["name"], user, user=user, late=late, file=name, form="canvas", text=True)
    return None


def _canvas_by_itself(name: str, folder: bool) -> Origin | None:
    """Return what Canvas's name says, unless it is one as `lab_1_2_alice.c`."""
    found = _canvas(name, folder)
    if not found or found.text or found.late or not found.user.isdecimal():
        return found
    return found if max(int(found.user), int(found.attachment)) >= _CANVAS_NUMBERS else None


def _blackboard(name: str, folder: bool) -> Origin | None:
    if not (found := _BLACKBOARD.fullmatch(name)) or not (folder or found["file"] or found["receipt"]):
        return None
    student = found["head"].rpartition("_")[2] or found["head"]
    receipt = bool(found["receipt"])
    file = name if receipt else found["file"] or ""
    return Origin(student, found["head"], date=found["date"], file=file, form="blackboard", text=receipt)


def _ilias(name: str, folder: bool) -> Origin | None:
    if not folder or not (found := _ILIAS.fullmatch(name)) or "_" not in found["name"]:
        return None
    return Origin(found["name"].replace("_", " "), found["id"], form="ilias")


_READERS: dict[str, Callable[[str, bool], Origin | None]] = {
    "moodle": _moodle, "canvas": _canvas, "blackboard": _blackboard, "ilias": _ilias,
}  # fmt: skip


def recognised(entries: Iterable[tuple[str, bool]]) -> Form | Literal[""]:
    """Return of what download a folder's entries are, taken together; empty where they are of none.

    Args:
        entries: names, and whether each is a folder.
    """
    entries = list(entries)
    for form in ("moodle", "blackboard"):  # whose names nobody makes up
        if any(_READERS[form](clean(name), folder) for name, folder in entries):
            return form
    found = [origin for name, folder in entries if (origin := _canvas_by_itself(clean(name), folder))]
    if found and len(found) * 2 > len(entries) and _are_canvas(found):
        return "canvas"
    folders = [_ilias(clean(name), folder) for name, folder in entries if folder]
    return "ilias" if folders and _are_ilias([clean(name) for name, folder in entries if folder]) else ""


def _are_canvas(found: list[Origin]) -> bool:
    """Whether numbers are Canvas's: each file has its own, each student one; they are not those of exercises."""
    files = [origin for origin in found if origin.attachment]
    numbers = [origin.attachment for origin in files]
    users = {(origin.user, origin.student) for origin in found}
    exercises = len(users) == 1 and len(files) > 1 and all(int(number) < 10 * _CANVAS_NUMBERS for number in numbers)
    codes = sum(origin.file.lower().endswith(".c") for origin in files)
    return (
        len(set(numbers)) == len(numbers)
        and len({user for user, _ in users}) == len(users)
        and not (exercises and codes == len(files))
    )


def _are_ilias(names: list[str]) -> bool:
    """Whether each folder's name has a login and a number of its own behind a name without digits."""
    found = [_ILIAS.fullmatch(name) for name in names]
    if not all(match and "_" in match["name"] and not re.search("[0-9]", match["name"]) for match in found):
        return False
    logins = {match["login"] for match in found if match}
    return len(logins) == len(names) == len({match["id"] for match in found if match})


def named_apart(origins: Iterable[Origin]) -> dict[str, str]:
    """Return how students of Blackboard are called, by their keys: without what all keys begin with."""
    keys = sorted({origin.key for origin in origins})
    if len(keys) < 2:
        return {key: key.rpartition("_")[2] or key for key in keys}
    same = next((i for i, (x, y) in enumerate(zip(keys[0], keys[-1], strict=False)) if x != y), 0)
    start = keys[0].rfind("_", 0, same) + 1
    return {key: key[start:] or key for key in keys}


def is_late(name: str) -> bool:
    """Return whether a name is marked `(late)`."""
    return bool(_LATE.search(name))


def stem(name: str) -> str:
    """Return a file's name without what says its kind."""
    return re.sub(r"(?i)(?:\.tar|\.c)?\.[a-z0-9]{1,4}$", "", name) or name


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
    parts = re.split(r"([0-9]+)", name)  # what is at the odd places is a number
    return tuple(int(part) if place % 2 else part.casefold() for place, part in enumerate(parts))

"""Tolerant reading: tables by the names of their columns, totals by their labels, keys by what they mean.

Nothing here cares for titles, rules, widths, alignment, letter case or further columns: that is for the layout tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .wording import wrong

_UNIT = re.compile(r"\s*[(\[][^)\]]*[)\]]|(?<=[\s_])(?:kib|kb|mb|bytes)\b", re.IGNORECASE)
_ESCAPED = re.compile(rb"\\([0-3][0-7]{2})")
Synonyms = Mapping[str, frozenset[str]]
"""What each name may be called, in small letters and without units."""


def synonyms(**names: str) -> Synonyms:
    """Return the table of names: `pid="pid, process id"`."""
    return {key: frozenset(word.strip() for word in words.split(",")) for key, words in names.items()}


def plain(label: str) -> str:
    """Return a label without its unit, its case and what is around it."""
    return " ".join(_UNIT.sub("", label.replace("_", " ")).lower().split()).strip(" .-*#")


def meaning(label: str, known: Synonyms) -> str:
    """Return what a label means, or the label itself."""
    word = plain(label)
    return next((key for key, words in known.items() if word in words), word)


def words_of(line: str) -> list[str]:
    """Return the words of a line; bytes that are no ASCII separate nothing."""
    return re.findall(r"[^ \t\r]+", line)


def raw_of(word: str) -> bytes:
    """Return the bytes of a word: the helper answers with a character a byte."""
    return word.encode("latin-1", "replace")


def unescaped(word: str) -> bytes:
    r"""Return the bytes that a word stands for: `\ooo` is a byte."""
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), raw_of(word)).rstrip(b"\0")


def means(word: str, name: bytes) -> bool:
    """Whether a word stands for a name, escaped or not."""
    return name in (unescaped(word), raw_of(word))


def number_in(text: str, what: str) -> int:
    """Return the number that a text begins with; its unit may follow.

    Raises:
        AssertionError: it begins with none.
    """
    match = re.match(r"\s*([-+]?\d+)", text)
    if not match:
        wrong(f"{what} is a number.", f"It was `{text}`.")
    return int(match[1])


@dataclass(frozen=True)
class Header:
    """The line with the names of a table's columns.

    Attributes:
        columns: what they mean, from left to right.
        text: the place of the one column whose cells may have blanks in them; none where it is not there.
        barred: columns are separated by bars.
    """

    columns: tuple[str, ...]
    text: int | None
    barred: bool

    def cells(self, line: str) -> dict[str, str] | None:
        """Return the cells of a row by their columns; None for a line with too few."""
        line = line.replace("|", " ") if self.barred else line
        words = words_of(line)
        extra = len(words) - len(self.columns)
        if self.text is not None and extra:
            words = _joined(line, words, self.text, extra)
        return dict(zip(self.columns, words, strict=False)) if len(words) >= len(self.columns) else None


def _joined(line: str, words: list[str], at: int, extra: int) -> list[str]:
    """Make one cell of the words that a name has, or put an empty one where it has none."""
    if extra == -1:
        return [*words[:at], "", *words[at:]]
    if extra < 0:
        return words
    before = re.match(rf"[ \t]*(?:[^ \t]+[ \t]+){{{at}}}", line)
    after = re.search(rf"(?:[ \t]+[^ \t]+){{{len(words) - at - extra - 1}}}[ \t\r]*$", line)
    text = line[before.end() : after.start()] if before and after else " ".join(words[at : at + extra + 1])
    return [*words[:at], text, *words[at + extra + 1 :]]


def header_of(line: str, known: Synonyms, needed: set[str], text: str) -> Header | None:
    """Return the header that a line is, or None.

    Args:
        line: of a page.
        known: names of columns.
        needed: columns without which it is no header.
        text: the column whose cells may have blanks in them.
    """
    words = _UNIT.sub("", line.replace("|", " ")).split()
    columns = tuple(meaning(word, known) for word in words)
    if not needed <= set(columns):
        return None
    return Header(columns, columns.index(text) if text in columns else None, "|" in line)


def total_in(line: str) -> int | None:
    """Return the number of a line that begins with `Total`, or None."""
    match = re.match(r"\W*total\b[^\d]*(\d+)[^\d]*$", line, re.IGNORECASE)
    return int(match[1]) if match else None

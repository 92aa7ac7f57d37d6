"""Tolerant reading: tables by the names of their columns, totals by their labels, keys by what they mean.

Nothing here cares for titles, rules, widths, alignment, letter case or further columns: that is for the layout tests.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .wording import wrong

_UNIT = re.compile(r"\s*[(\[][^)\]]*[)\]]|(?<=[\s_])(?:kib|kb|mb|bytes)\b", re.IGNORECASE)
_BEFORE_UNIT = re.compile(r"(?<=\d)[ \t]+(?=(?:kib|kb|mib|mb|bytes|jiffies|ticks)\b)", re.IGNORECASE)
"""Between a number and its unit, in a table whose cells lie between blanks."""
_BAR = re.compile("\\||\xe2\x94[\x82\x83]|\xe2\x95\x91")
"""Between the cells of a table: a bar, or a line of a box, whose bytes are a character each here."""
_SEPARATORS = (_BAR, re.compile("\t+"), re.compile(","), re.compile(";"))
_AROUND = " \t.-*#|`+>~[=" + "".join(map(chr, (0xE2, *range(0x80, 0xA0))))
"""What may stand around a label: dots, bullets, branches of a tree, lines of a box."""
FITTED = 200
"""Rows that a header is fitted to."""
_ESCAPED = re.compile(rb"\\([0-3][0-7]{2})")
Synonyms = Mapping[str, frozenset[str]]
"""What each name may be called, in small letters and without units."""


def synonyms(**names: str) -> Synonyms:
    """Return the table of names: `pid="pid, process id"`."""
    return {key: frozenset(word.strip() for word in words.split(",")) for key, words in names.items()}


def plain(label: str) -> str:
    """Return a label without its unit, its case and what is around it."""
    return " ".join(_UNIT.sub("", label.replace("_", " ")).lower().split()).strip(_AROUND)


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
    match = re.match(r"[\s(\[]*([-+]?\d+)", text)
    if not match:
        wrong(f"{what} is a number.", f"It was `{text}`.")
    return int(match[1])


@dataclass(frozen=True)
class Header:
    """The line with the names of a table's columns.

    Attributes:
        columns: what they mean, from left to right.
        text: the place of the one column whose cells may have blanks in them; none where it is not there.
        separator: what separates columns; blanks where it is none.
    """

    columns: tuple[str, ...]
    text: int | None
    separator: re.Pattern[str] | None = None

    def cells(self, line: str) -> dict[str, str] | None:
        """Return the cells of a row by their columns; None for a line with too few."""
        cells = _parts(line, self.separator) if self.separator and self.separator.search(line) else []
        if len(cells) != len(self.columns):
            cells = self._words(_BAR.sub(" ", line) if self.separator is _BAR else line)
        return dict(zip(self.columns, cells, strict=False)) if len(cells) >= len(self.columns) else None

    def names(self, known: Synonyms) -> int:
        """Return how many of the handout's columns it names: a title may name some, too."""
        return len(set(self.columns) & set(known))

    def _words(self, line: str) -> list[str]:
        words = words_of(line)
        if len(words) > len(self.columns):
            words = words_of(line := _BEFORE_UNIT.sub("", line))
        extra = len(words) - len(self.columns)
        return _joined(line, words, self.text, extra) if self.text is not None and extra else words


def _parts(line: str, separator: re.Pattern[str]) -> list[str]:
    """Return the cells of a line between separators; a bar may stand on either side of them all, too."""
    parts = [part.strip() for part in separator.split(line.strip("\r\n "))]
    if separator is _BAR:
        parts = parts[not parts[0] : len(parts) - (not parts[-1])]
    return parts


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


def _named(words: Iterable[str], known: Synonyms) -> tuple[str, ...]:
    """Return what the names of columns mean: of two with one meaning, the one with the handout's own name has it."""
    columns = [plain(word) for word in words]
    for key, others in known.items():
        own = [at for at, word in enumerate(columns) if word == plain(key)]
        if at := own or [at for at, word in enumerate(columns) if word in others]:
            columns[at[0]] = key
    return tuple(columns)


def _fitted(words: list[str], rows: Sequence[str], known: Synonyms) -> list[str]:
    """Join what may be one column's name of several words, where the rows have fewer words than the header."""
    counts = Counter(len(words_of(row)) for row in rows if len(re.findall(r"(?:^|\s)\d+\b", row)) > 1)
    short = len(words) - (counts.most_common(1)[0][0] if counts else len(words))
    strange = [column not in known for column in _named(words, known)]
    for at in range(len(words) - short if short > 0 else 0):
        if all(strange[at : at + short + 1]):
            return [*words[:at], " ".join(words[at : at + short + 1]), *words[at + short + 1 :]]
    return words


def header_of(line: str, known: Synonyms, needed: set[str], text: str, rows: Sequence[str] = ()) -> Header | None:
    """Return the header that a line is, or None.

    Args:
        line: of a page.
        known: names of columns.
        needed: columns without which it is no header.
        text: the column whose cells may have blanks in them.
        rows: lines below it.
    """
    words = _UNIT.sub("", _BAR.sub(" ", line)).split()
    # Most lines of a page are no header: its rows are looked at where one may be.
    if needed <= set(_named(words, known)):
        words = _fitted(words, rows, known)
    ways = [(_named(words, known), _BAR if _BAR.search(line) else None)]
    ways += [(_named(_parts(line, one), known), one) for one in _SEPARATORS if one.search(line)]
    # Of two ways that find as many columns, the one that need not guess where a cell ends.
    columns, separator = max(ways, key=lambda way: (len(set(way[0]) & set(known)), way is not ways[0]))
    if not needed <= set(columns):
        return None
    return Header(columns, columns.index(text) if text in columns else None, separator)


def total_of(lines: Iterable[str], what: str) -> int | None:
    """Return the number of the first line that begins with `Total`, of those that name `what` if there are any."""
    found = [(line, total) for line in lines if (total := total_in(line)) is not None]
    named = [total for line, total in found if re.search(what, line, re.IGNORECASE)]
    return next(iter([*named, *(total for _, total in found)]), None)


def total_in(line: str) -> int | None:
    """Return the first number of a line that begins with `Total`, or None."""
    match = re.match(r"\W*total\b[^\d:=]*[:=]?\W*(\d+)\b", line, re.IGNORECASE)
    return int(match[1]) if match else None

"""Prose of Markdown pages that are made, in lines as long as those of pages that are written."""

from __future__ import annotations

import re
import textwrap

WIDTH = 100
#: what begins a line that is no prose: of a table, a heading, a comment, a picture, code, a page's own lines of those
_OTHER = re.compile(r"[|#<]|!\[|```|    ")
_ITEM = "- "


def wrapped(text: str) -> str:
    """Return a page whose paragraphs and items of lists have lines of at most `WIDTH` letters.

    Tables, headings, comments, pictures and blocks of code stay as they are, and so does a word that is longer.
    """
    return "\n\n".join(map(_block, text.split("\n\n")))


def _block(block: str) -> str:
    lines = block.strip("\n").splitlines()
    if all(len(line) <= WIDTH for line in lines) or any(map(_OTHER.match, lines)):
        return block
    parts = re.split(rf"\n(?={_ITEM})", block.strip("\n"))
    ends = block[len(block.rstrip("\n")) :]
    begins = block[: len(block) - len(block.lstrip("\n"))]
    return begins + "\n".join(map(_filled, parts)) + ends


def _filled(paragraph: str) -> str:
    indent = "  " if paragraph.startswith(_ITEM) else ""
    return textwrap.fill(paragraph, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)

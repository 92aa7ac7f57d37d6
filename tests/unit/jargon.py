"""What no student should have to read: the test's language, its tools, and places in our own files."""

from __future__ import annotations

import re

from kmodlab.grading.result import GradingResult

JARGON = re.compile(
    r"\bassert\b|Use -v|Traceback|\w(?:Error|Exception)\b|CommandResult|testinfra|pytest|site-packages|\.py\b"
    r"|/work/|/lib/modules/|/dev/shm|/tmp/kmodlab|details: "
    r"|\b(?:None|True|False)\b|\bb['\"]|\[['\"]|\{['\"]|\('|frozenset|\bset\(|dict_|\\x[0-9a-f]{2}|<\w+ object"
    r"|\w+\(\w+=|!="
)


def told(result: GradingResult) -> list[str]:
    """Return all that a student reads of a result in our words."""
    tests = [(test.title, test.expected, test.seen, test.hint) for test in result.tests]
    return [result.reason, *result.notes, *(text for words in tests for text in words)]


def jargon_of(*texts: str) -> list[str]:
    """Return the texts that have jargon in them."""
    return [text for text in texts if JARGON.search(text)]

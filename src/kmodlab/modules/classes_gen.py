"""The calls that strace has in each class: `python -m kmodlab.modules.classes_gen STRACE` writes `classes.py` anew.

STRACE is a directory with strace's sources, https://github.com/strace/strace. Taken are the names of the calls and what
classes each is of, for the architectures that the tracer is for; strace(1) says what the classes mean.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

MADE = Path(__file__).with_name("classes.py")
SOURCES = ("src/linux/x86_64/syscallent.h", "src/linux/64/syscallent.h", "src/linux/generic/syscallent-common.h")
#: the letters of strace's tables, src/sysent_shorthand_defs.h -> what users call the class
LETTERS = {
    "TC": "creds",
    "TCL": "clock",
    "TD": "desc",
    "TF": "file",
    "TFSF": "fstatfs",
    "TFST": "fstat",
    "TI": "ipc",
    "TLST": "lstat",
    "TM": "memory",
    "TN": "network",
    "TP": "process",
    "PU": "pure",
    "TS": "signal",
    "TSF": "statfs",
    "TSFA": "%statfs",
    "TST": "stat",
    "TSTA": "%stat",
}
ALL = "all"
_ROW = re.compile(r'^\[[^\]]+\]\s*=\s*\{\s*\d+,\s*([\w|]+),\s*SEN\(\w+\),\s*"(\w+)"', re.MULTILINE)
_WIDTH = 112


def classes(texts: Iterable[str]) -> dict[str, set[str]]:
    """Return the calls of each class, and all of them.

    Args:
        texts: strace's tables of calls.
    """
    found: dict[str, set[str]] = {name: set() for name in (ALL, *LETTERS.values())}
    for letters, call in (row for text in texts for row in _ROW.findall(text)):
        for name in (ALL, *(LETTERS[letter] for letter in letters.split("|") if letter in LETTERS)):
            found[name].add(call)
    return found


def text(found: dict[str, set[str]]) -> str:
    """Return the module that has them."""
    parts = ['"""Classes of calls. Made by `python -m kmodlab.modules.classes_gen` of strace\'s tables."""', ""]
    parts.append("CLASSES = {")
    for name, calls in sorted(found.items()):
        lines = textwrap.wrap(" ".join(sorted(calls)), _WIDTH)
        parts += [f'    "{name}": """', *(f"        {line}" for line in lines), '    """,']
    return "\n".join([*parts, "}", ""])


if __name__ == "__main__":
    MADE.write_text(text(classes((Path(sys.argv[1]) / source).read_text() for source in SOURCES)))

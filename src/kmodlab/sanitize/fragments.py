"""What a kernel's configuration is asked for, and whether it has it: make drops what it cannot give, without a word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

FOLDER = Path(__file__).parent / "fragments"
_LINE = re.compile(r"^(?:(CONFIG_\w+)=(.+)|# (CONFIG_\w+) is not set)$", re.MULTILINE)


def options(text: str) -> dict[str, str]:
    """Return the options of a configuration, or of a fragment of one.

    Args:
        text: as the kernel's scripts/kconfig writes it.

    Returns:
        Name to value; `n` is what is not set.
    """
    return {name or unset: value or "n" for name, value, unset in _LINE.findall(text)}


def asked_for(names: Iterable[str]) -> dict[str, str]:
    """Return what these fragments ask for together; the last one has the last word."""
    found: dict[str, str] = {}
    for name in names:
        found |= options((FOLDER / f"{name}.config").read_text())
    return found


def refused(asked: dict[str, str], config: str) -> Iterator[str]:
    """Yield what was asked for and is not in a configuration, as a fragment would say it.

    Args:
        asked: name to value.
        config: what the kernel is built by.
    """
    has = options(config)
    for name, value in asked.items():
        if has.get(name, "n") != value:
            yield f"{name}={value}"

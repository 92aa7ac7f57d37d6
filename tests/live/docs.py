"""What docs/live.md tells users to write into files of other programs: the tests use exactly that."""

from __future__ import annotations

import re

from kmodlab.paths import project_dir

PAGE = project_dir() / "docs" / "live.md"


def snippet(kind: str) -> str:
    """The one block of code of that kind."""
    found = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"{PAGE.name} has {len(found)} blocks of {kind}"
    return str(found[0])

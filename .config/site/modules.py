"""The map of the modules: `python .config/site/modules.py` prints docs/modules.md anew, of their first lines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from kmodlab.prose import wrapped

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "kmodlab"
HEAD = """# The modules

What each module of the package is for, in its own first line. `make docs` makes this page.
"""


def first_line(file: Path) -> str:
    """Return the first line of a module's docstring; nothing where it has none."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def described(folder: Path) -> Iterator[tuple[str, str]]:
    """Give name and first line of each module of a package, but of those that are empty."""
    for file in sorted(folder.glob("*.py")):
        if file.name not in ("__init__.py", "__main__.py") and (line := first_line(file)):
            yield file.stem, line


def packages() -> Iterator[Path]:
    """Give the packages that have modules, the outer ones first."""
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    yield from sorted(folder for folder in folders if any(described(folder)) and (folder / "__init__.py").exists())


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for folder in packages():
        name = ".".join(folder.relative_to(PACKAGE.parent).parts)
        about = first_line(folder / "__init__.py")
        head = [f"## {name}", "", *([about, ""] if about else [])]
        parts.append("\n".join([*head, *(f"- `{stem}`: {line}" for stem, line in described(folder))]) + "\n")
    return wrapped("\n".join(parts))


if __name__ == "__main__":
    print(page(), end="")

"""The site of the documentation, by Sphinx: `make docs` builds it into build/site from README.md and docs/.

The pages are those that one reads in the checkout, as they are; what lies beside them stays where their links say.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
project = "kmodlab"
extensions = ["myst_parser"]
root_doc = "README"
source_suffix = {".md": "markdown"}
include_patterns = ["README.md", "docs/*.md", "roles/*/README.md", "labs/*/HANDOUT.md"]
exclude_patterns = [".*", "build", "src", "tests", "kernel"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "kmodlab"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}

TREE = {
    "I learn": ["docs/trace", "docs/tasks", "docs/abi", "docs/guests"],
    "I teach": ["docs/grading", "docs/benchmarks-grading", "labs/*"],
    "I run machines": ["docs/deploy", "docs/live", "docs/history", "docs/benchmarks-live", "roles/*"],
    "I change this": [
        "docs/architecture",
        "docs/modules",
        "docs/contributing",
        "docs/glossary",
        "docs/kernels",
        "docs/neighbours",
        "docs/benchmarks",
        "docs/acceptance",
    ],
}
"""Whom a page is for. A `*` is all that there are."""


def pages(pattern: str) -> list[str]:
    """Return the pages that a pattern names, without their ending."""
    root = HERE.parents[1]
    if "*" not in pattern:
        return [pattern]
    return [str(path.relative_to(root).with_suffix("")) for path in sorted(root.glob(f"{pattern}/*.md"))]


def with_tree(_app: Sphinx, name: str, source: list[str]) -> None:
    """Append the tree of pages to the first one, which has no need of it in a checkout."""
    if name != root_doc:
        return
    for caption, patterns in TREE.items():
        listed = "\n".join(page for pattern in patterns for page in pages(pattern))
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def with_index(app: Sphinx, error: Exception | None) -> None:
    """Have the first page at the name that servers look for, too."""
    if not error and app.builder.format == "html":
        shutil.copy(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> None:
    """Have Sphinx call what is above."""
    app.connect("source-read", with_tree)
    app.connect("build-finished", with_index)

"""The site of the documentation, as `make docs` makes it: every page, no broken link, a search that has the words."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kmodlab.paths import project_dir

SITE = project_dir() / ".config" / "site"


def built(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a checkout into a folder."""
    words = [
        "-q",
        "-n",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "-d",
        folder / "trees",
        "-c",
        SITE,
        source,
        folder / "site",
    ]
    argv = [sys.executable, "-m", "sphinx", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    done = built(project_dir(), folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder / "site"


def test_every_page_is_there_and_is_led_to(site: Path) -> None:
    pages = [*project_dir().glob("docs/*.md"), *project_dir().glob("roles/*/README.md")]
    names = [str(page.relative_to(project_dir()).with_suffix(".html")) for page in pages]
    assert len(names) > 20
    first = (site / "index.html").read_text()
    assert [name for name in names if not (site / name).exists()] == []
    assert [name for name in names if f'href="{name}"' not in first] == []


def test_words_are_found(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    assert "docs/grading" in index
    assert "netlink" in index


def test_a_link_that_leads_nowhere_is_no_site(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in ("docs", "roles", "labs"):
        shutil.copytree(project_dir() / name, copy / name, symlinks=True)
    for name in ("README.md", "LICENSE"):
        shutil.copy(project_dir() / name, copy)
    with (copy / "docs" / "glossary.md").open("a") as page:
        page.write("\n[there](abi.md#no-such-heading)\n")
    done = built(copy, tmp_path)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert "local id not found in doc 'docs/abi': 'no-such-heading'" in line


def test_the_map_of_the_modules_is_of_these() -> None:
    """`make docs` makes it anew."""
    made = runpy.run_path(str(SITE / "modules.py"))["page"]()
    assert (project_dir() / "docs" / "modules.md").read_text() == made

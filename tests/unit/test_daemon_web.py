"""The page's files: what comes from others, and what ours never do."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from kmodlab.daemon.api.resources.pages import Pages
from kmodlab.daemon.ledger import LOSSES, TERMS
from kmodlab.grading.live.server import Pages as Site
from kmodlab.paths import project_dir

ROOT = project_dir()
WEB = ROOT / "src/kmodlab/daemon/web"
VENDOR = WEB / "vendor"
BOARD = ROOT / "src/kmodlab/grading/live/web"
OURS = sorted(path for path in (*WEB.rglob("*.js"), *BOARD.rglob("*.js")) if VENDOR not in path.parents)
PAGES = [WEB / "index.html", BOARD / "index.html"]
STYLES = [WEB / "style.css", BOARD / "board.css"]
#: terms that are in no sum: `excluded` has a line of its own
UNSAID = ("excluded", "dropped_before")
MANIFEST = json.loads((VENDOR / "manifest.json").read_text())


def test_what_comes_from_others_is_what_was_taken() -> None:
    there = {path.name: path.read_bytes() for path in VENDOR.iterdir() if path.name != "manifest.json"}
    hashes = {name: base64.b64encode(hashlib.sha512(body).digest()).decode() for name, body in there.items()}
    assert hashes == {name: one["sha512"] for name, one in MANIFEST["files"].items()}, "`make vendor` remakes them"


def test_every_library_has_a_licence_and_the_locked_version() -> None:
    package = json.loads((ROOT / ".config/vendor/package.json").read_text())
    lock = json.loads((ROOT / ".config/vendor/package-lock.json").read_text())
    for name, library in MANIFEST["libraries"].items():
        assert library["licence"] in ("MIT", "BSD-3-Clause")
        assert f"{name}.LICENSE" in MANIFEST["files"]
        assert (
            library["version"] == package["dependencies"][name] == lock["packages"][f"node_modules/{name}"]["version"]
        )
    assert set(MANIFEST["libraries"]) == set(package["dependencies"])


def test_the_lock_names_no_registry_and_hashes_everything() -> None:
    lock = (ROOT / ".config/vendor/package-lock.json").read_text()
    packages = {name: one for name, one in json.loads(lock)["packages"].items() if name}
    assert "://" not in re.sub(r'"url": "[^"]*"', "", lock)
    assert all(one["integrity"].startswith("sha512-") for one in packages.values())


def test_every_term_of_the_ledger_has_words_and_every_loss_its_place() -> None:
    text = (WEB / "views/health.js").read_text()
    assert [term for term in TERMS if term not in UNSAID and not re.search(rf'\b{term}: "', text)] == []
    (shown,) = re.findall(r"^const LOSSES = (\[.*\]);$", text, re.MULTILINE)
    assert set(json.loads(shown)) == {*LOSSES, "overwritten"}


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_no_text_becomes_elements_or_code(path: Path) -> None:
    text = path.read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|unsafeHTML|unsafeSVG", text
    )
    assert not re.search(r"\bstyle=", text), "the policy lets no style be written into an element"


@pytest.mark.parametrize("path", [*OURS, *PAGES, *STYLES], ids=lambda path: path.name)
def test_the_page_needs_no_other_host(path: Path) -> None:
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", path.read_text())


@pytest.mark.parametrize("path", [*OURS, *PAGES], ids=lambda path: path.name)
def test_every_file_that_is_named_is_there(path: Path) -> None:
    names = re.findall(r'from "(\.[^"]+)"', path.read_text())
    names += re.findall(r'(?:src|href)="((?:web|board)/[^"]+)"', path.read_text())
    assert names or path.name in ("api.js", "format.js", "model.js", "chart.js")
    assert [name for name in names if not _lies(path, name).is_file()] == []


def _lies(path: Path, name: str) -> Path:
    """Return where a file is that another one names: `web/` are the dashboard's, `board/` the board's."""
    first, _, rest = name.removeprefix("../").partition("/")
    if path.suffix == ".html" or name.startswith("../web/"):
        return {"web": WEB, "board": BOARD}[first] / rest
    return path.parent / name


def test_the_board_has_of_the_dashboard_what_it_names_and_no_more() -> None:
    named = {
        name
        for path in (BOARD / "index.html", *BOARD.glob("*.js"))
        for name in re.findall(r'"(?:\.\./)?web/([^"]+)"', path.read_text())
    }
    needed = {name for name in named for name in (name, *_imports(WEB / name))}
    assert set(Site.SHARED) == {*needed, "vendor/lit.LICENSE"}


def _imports(path: Path) -> list[str]:
    return re.findall(r'from "\./([^"]+)"', path.read_text()) if path.suffix == ".js" else []


def test_every_file_is_served() -> None:
    there = {str(path.relative_to(WEB)) for path in WEB.rglob("*") if path.is_file()}
    assert set(Pages()._web) == there


def test_every_file_of_the_board_is_served() -> None:
    assert set(Site()._own) == {path.name for path in BOARD.iterdir()}

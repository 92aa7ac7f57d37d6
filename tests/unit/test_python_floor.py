"""The oldest Python that will do, Debian 12's own: stated once, and nothing newer is used.

ruff and mypy know what came with 3.12. What came with a later 3.11 they do not: that is named here.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmodlab.paths import project_dir

ROOT = project_dir()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FLOOR = "3.11.2"
#: function -> argument of it that 3.11.3 or a later one brought
ARGUMENTS = {
    "extractall": "filter",  # 3.11.4
    "extract": "filter",  # 3.11.4
    "unpack_archive": "filter",  # 3.11.4
    "getaddresses": "strict",  # 3.11.10
    "parseaddr": "strict",  # 3.11.10
}
#: names that they brought
NAMES = {
    *("data_filter", "tar_filter", "fully_trusted_filter", "extraction_filter", "FilterError"),  # 3.11.4
    *("SetReparseDeferralEnabled", "GetReparseDeferralEnabled"),  # 3.11.9
    "verify_generated_headers",  # 3.11.10
}


def _sources() -> list[Path]:
    found = (path for folder in ("src", "tests", "plugins", "labs") for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if "build" not in path.parts)


def _too_new(source: str) -> Iterator[str]:
    """Yield what a source has that the floor has not: line, and name."""
    if not any(name in source for name in (*NAMES, *ARGUMENTS)):
        return  # most sources; to take one apart takes longer
    for node in ast.walk(ast.parse(source)):
        name = getattr(node, "attr", getattr(node, "id", ""))
        if isinstance(node, (ast.Attribute, ast.Name)) and name in NAMES:
            yield f"{node.lineno}: {name}"
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if ARGUMENTS.get(called) in {keyword.arg for keyword in node.keywords if keyword.arg}:
                yield f"{node.lineno}: {called}({ARGUMENTS[called]}=)"


def test_nothing_newer_than_the_floor_is_used() -> None:
    sources = _sources()
    assert len(sources) > 100
    found = {path.relative_to(ROOT): [*_too_new(path.read_text(encoding="utf-8"))] for path in sources}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_what_this_takes_for_newer() -> None:
    source = "tar.extractall(place, filter='data')\ntar.extractall(place)\ntarfile.data_filter\n"
    assert list(_too_new(source)) == ["1: extractall(filter=)", "3: data_filter"]


def test_the_floor_is_the_one_that_the_tools_are_told() -> None:
    assert PROJECT["project"]["requires-python"] == f">={FLOOR}"
    major, minor, _ = FLOOR.split(".")
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{major}{minor}"
    assert PROJECT["tool"]["mypy"]["python_version"] == f"{major}.{minor}"


def test_the_lock_is_resolved_for_the_floor() -> None:
    done = subprocess.run(["make", "-n", "-C", ROOT, "lock"], capture_output=True, text=True, check=True)
    assert f"--python-version {FLOOR} " in done.stdout


def test_setup_refuses_what_is_older(tmp_path: Path) -> None:
    """With a floor that nobody has: it is read where it is stated, and before anything is installed."""
    (tmp_path / ".config").mkdir()
    shutil.copy(ROOT / ".config" / "setup", tmp_path / ".config")
    stated = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(stated.replace(f'">={FLOOR}"', '">=99.1.2"'))
    done = subprocess.run([tmp_path / ".config" / "setup"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert re.fullmatch(
        r"setup: Python 99\.1\.2 or newer is needed, and this is Python [\d.]+ \(/.*\): .*\n", done.stderr
    )
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("name", ["a:b", "a,b"])
def test_setup_refuses_a_path_that_ansible_takes_apart(tmp_path: Path, name: str) -> None:
    (place := tmp_path / name / ".config").mkdir(parents=True)
    shutil.copy(ROOT / ".config" / "setup", place)
    done = subprocess.run([place / "setup"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    sentence = "setup: Ansible cannot work in a folder whose path has a colon or a comma: move"
    assert done.stderr == f"{sentence} {place.parent}\n"


@pytest.mark.parametrize("version", ["3.11.1", "3.9.2"])
def test_the_check_of_setup_tells_versions_apart(version: str) -> None:
    """The words of setup's check, with another version in the place of this Python's."""
    words = re.search(r"\"\$python\" -c '(import sys; [^']*)' \"\$floor\"", (ROOT / ".config" / "setup").read_text())
    assert words
    faked = f"import sys; sys.version_info = {tuple(map(int, version.split('.')))}; {words[1]}"
    assert subprocess.run(["python3", "-c", faked, FLOOR], check=False).returncode == 1
    assert subprocess.run(["python3", "-c", words[1], FLOOR], check=False).returncode == 0


# -- programs ----------------------------------------------------------------------------------------------------

#: in the packages procps and psmisc, which a minimal Debian has not; guests' images have the first
_LUXURY = re.compile(r"(?:^|[;&|(`'\"\n]|\$\(| do | then )\s*(?:ps|pgrep|pkill|killall|pidof|lsof) -", re.M)
#: what a source has that has one of them in a text, in whatever pieces
_MAYBE = re.compile(r"(?:ps|pgrep|pkill|killall|pidof|lsof)(?: -|[\"'\\])")


def _commands(source: str) -> Iterator[str]:
    """Yield the texts in a source that may be shell words: all but docstrings; none, where no such program is named."""
    if not _MAYBE.search(source):
        return  # most sources, as above
    tree = ast.parse(source)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def test_no_program_is_used_that_a_minimal_debian_lacks() -> None:
    """On the controller, in the unit tests, and on machines that the contract tests look at, which may be anyone's."""
    sources = [path for path in _sources() if not {"labs", "guest", "bench"} & set(path.relative_to(ROOT).parts[:2])]
    sources += (ROOT / "src" / "kmodlab" / "guest").glob("*.py")
    assert len(sources) > 100
    sources.remove(Path(__file__))
    texts = ((path.relative_to(ROOT), text) for path in sources for text in _commands(path.read_text()))
    assert [(path, text) for path, text in texts if _LUXURY.search(text)] == []


def test_what_this_takes_for_a_program_too_many() -> None:
    for text in ("ps -o pgid= -p 1", "x=$(pgrep -P $a)", "pwd >where; ps -o pgid= -p $$", "a | pkill -x b"):
        assert _LUXURY.search(text), text
    assert not _LUXURY.search("loops - and maps - and cups -x")
    assert list(_commands('"""ps -e"""\nx = "a"')) == ["a"]
    assert list(_commands('x = "a;\\nps" " -e"')) == ["a;\nps -e"]

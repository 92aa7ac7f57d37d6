"""The page that says what proves each promise of the dashboard: what it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from kmodlab.paths import project_dir

ROOT = project_dir()
PAGE = (ROOT / "docs" / "acceptance.md").read_text()
_NAMED = re.compile(r"^- `(tests/\w+/\w+\.py)::(\w+)`( \(.+\))?$", re.MULTILINE)
SECTIONS = {
    int(number): text
    for number, text in zip(*[iter(re.split(r"^## (\d+)\. ", PAGE, flags=re.MULTILINE)[1:])] * 2, strict=True)
}


@cache
def functions(path: Path) -> dict[str, ast.FunctionDef]:
    """The tests of a file, by their names."""
    found = ast.parse(path.read_text()).body
    return {one.name: one for one in found if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")}


def is_long(test: ast.FunctionDef) -> bool:
    """Whether a test, or some of its runs, have the mark of those that take minutes."""
    return any("pytest.mark.long" in ast.unparse(one) for one in test.decorator_list)


def test_there_are_twenty() -> None:
    assert list(SECTIONS) == list(range(1, 21))


@pytest.mark.parametrize("number", SECTIONS)
def test_what_proves_a_promise_is_there(number: int) -> None:
    named = _NAMED.findall(SECTIONS[number])
    assert named, "a promise that nothing proves"
    assert len(named) == SECTIONS[number].count("\n- "), "a line that names no test"
    for file, name, _ in named:
        assert name in functions(ROOT / file), f"{file} has no {name}"
    assert len(set(named)) == len(named)


def test_who_takes_more_in_a_long_run_says_so() -> None:
    named = {(file, name): bool(size) for file, name, size in _NAMED.findall(PAGE)}
    wrong = [one for one, says in named.items() if says != is_long(functions(ROOT / one[0])[one[1]])]
    assert wrong == [], "the brackets on the page are those that have the mark `long`"

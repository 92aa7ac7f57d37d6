"""The documentation and the things it names: targets, files, commands."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from kmodlab.cli import app
from kmodlab.modules import cli as trace_cli
from kmodlab.modules import tasks
from kmodlab.paths import project_dir

ROOT = project_dir()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN = [
    *PAGES,
    *sorted(path for folder in ("labs", "roles", "src") for path in (ROOT / folder).rglob("*.md")),
]
WIDTH = 100
"""Letters of a line of prose."""
CELL = 100
"""Letters of a table's cell, links by what they show: more is a paragraph, and goes into a list."""
MADE = ("benchmarks", "kernels.md", "neighbours.md")
"""How the names of pages begin that programs write."""
REFERENCE = "abi.md"
"""States formats, one a row: its tables are the contract's."""
_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^#+\s+(.+?)\s*#*$", re.MULTILINE)

OWN_PARSERS = {"kmodlab trace": trace_cli.parser, "kmodlab tasks": tasks.parser}
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _prose(text: str) -> str:
    return _FENCE.sub("", text)


def _shown(text: str) -> Iterator[str]:
    """Every command that a page shows: lines of code blocks, without a prompt, and spans of code."""
    for block in _FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            yield re.sub(r"^\s*(?:[$#]\s+)?", "", line)
    yield from _SPAN.findall(_prose(text))


def _targets(text: str) -> set[str]:
    found: set[str] = set()
    for command in _shown(text):
        for call in re.findall(r"(?:^|&&\s*|;\s*|sudo )make((?:\s+[^\s;&|#>]+)*)", command):
            words = call.split()
            if not any(word in ("-C", "-f") or word.startswith("-C") for word in words):
                found.update(word for word in words if re.fullmatch(r"[a-z][a-z-]*", word))
    return found


def _rules() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _anchor(heading: str) -> str:
    """GitHub's name of a heading: lower case, no punctuation, dashes for blanks."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


def _broken(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    file = page.parent / name if name else page
    if not file.exists():
        return True
    headings = _HEADING.findall(_FENCE.sub("", file.read_text())) if anchor and file.suffix == ".md" else []
    return bool(anchor and file.suffix == ".md" and anchor not in map(_anchor, headings))


def _invocations(text: str) -> list[list[str]]:
    """The words of every `kmodlab ...` that a page shows, up to a pipe or a redirection."""
    found = []
    for command in _shown(text):
        match = re.match(r"(?:\w+=\S+ )*(?:\.venv/bin/)?kmodlab((?: .*)?)$", command)
        if match:
            lexer = shlex.shlex(match.group(1), posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = list(lexer)
            stop = next((i for i, word in enumerate(words) if set(word) <= set("|;&<>()")), len(words))
            found.append(words[:stop])
    return found


def _fault(words: list[str]) -> str | None:
    """Why the command line would refuse these words, or None. Words in capitals stand for a user's own."""
    command = typer.main.get_command(app)
    path, rest = "kmodlab", list(words)
    while (commands := getattr(command, "commands", {})) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name == "..." or "|" in name:
            return None
        if name not in commands:
            return f"there is no command {name!r} in {path}"
        command, path = commands[name], f"{path} {name}"
    if path in OWN_PARSERS:
        return _parser_fault(OWN_PARSERS[path](), path, rest)
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    options = [word.partition("=")[0] for word in rest[: rest.index("--") if "--" in rest else None]]
    unknown = [option for option in options if option.startswith("-") and option not in known]
    return f"{path} has no option {', '.join(unknown)}" if unknown else None


def _letters(word: str) -> list[str]:
    """The options that a word is: `-tt` is twice the same, `-ft` are two."""
    return [word] if word.startswith("--") else [f"-{letter}" for letter in word[1:]]


def _parser_fault(found: argparse.ArgumentParser, path: str, words: list[str]) -> str | None:
    """The same for what follows a command with a parser of its own."""
    while choices := [action.choices for action in found._actions if isinstance(action.choices, dict)]:
        name = words[0] if words else ""
        if name not in choices[0]:
            return None if not name or name == "--help" or "|" in name else f"there is no command {name!r} in {path}"
        found, path, words = choices[0][name], f"{path} {name}", words[1:]
    words = [word.partition("=")[0] for word in words[: words.index("--") if "--" in words else None]]
    options = [word for word in words if word.startswith("-")]
    unknown = [word for word in options if not set(_letters(word)) <= set(found._option_string_actions)]
    return f"{path} has no option {', '.join(unknown)}" if unknown else None


@pages
def test_the_page_is_there(page: Path) -> None:
    assert page.is_file(), f"{page.relative_to(ROOT)} is missing"
    assert page.read_text().startswith("# ")


@pages
def test_every_make_target_exists(page: Path) -> None:
    assert _targets(page.read_text()) - _rules() == set()


@pages
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(_prose(page.read_text())) if not re.match(r"[a-z]+:", link)]
    assert [link for link in links if _broken(page, link)] == []


def _too_long(text: str) -> list[str]:
    """Lines of prose that have too many letters, though a blank would let them be two: none of a table or of code."""
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", text)
    prose = (line.rstrip() for line in text.splitlines() if not re.match(r"\||    ", line))
    return [
        line
        for line in prose
        if len(line) > WIDTH and " " in _SPAN.sub("x", re.sub(r"^\s*(?:[-*>]|\d+\.|#+)?\s+", "", line))
    ]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_of_prose_fit(page: Path) -> None:
    assert _too_long(page.read_text()) == []


def test_what_a_line_that_does_not_fit_is() -> None:
    long = "word " * 20
    text = f"{long}x\n- {'x' * 101}\n| {long} |\n{long.strip()}\n```\n{long}x\n```\n1. {long}"
    assert _too_long(text) == [f"{long}x", f"1. {long}".rstrip()]


def _paragraphs(text: str) -> list[str]:
    """Cells of tables that have too many letters."""
    rows = (line.strip() for line in _prose(text).splitlines() if line.lstrip().startswith("|"))
    cells = (cell.strip() for row in rows for cell in re.split(r"(?<!\\)\|", row))
    return [cell for cell in cells if len(_LINK.sub("]", cell)) > CELL]


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if not page.name.startswith((*MADE, REFERENCE))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_cells_of_tables_are_no_paragraphs(page: Path) -> None:
    assert _paragraphs(page.read_text()) == []


def test_what_a_cell_that_is_a_paragraph_is() -> None:
    fits, long = "x" * CELL, "y" * (CELL + 1)
    link = f"[{'z' * (CELL - 2)}](abi.md#somewhere)"
    text = f"| {fits} | {link} |\n  | a \\| b | {long} |\n{long}\n```\n| {long} |\n```\n"
    assert _paragraphs(text) == [long]


_ENTRY = re.compile(r"^- \*\*([^*]+)\*\*: (.+?)(?=\n- |\n\n|\Z)", re.MULTILINE | re.DOTALL)


def test_the_glossary_explains_each_word_in_one_or_two_sentences() -> None:
    _, *sections = re.split(r"^## ", (ROOT / "docs/glossary.md").read_text(), flags=re.MULTILINE)
    for section in sections:
        words = [word for word, _ in _ENTRY.findall(section)]
        assert words == sorted(words, key=str.lower)
        assert len(words) == section.count("\n- **") > 0
        assert [word for word, told in _ENTRY.findall(section) if _sentences(told) > 2] == []


def _sentences(told: str) -> int:
    assert told.rstrip().endswith("."), told
    return len(re.findall(r"\.(?:\s|$)", _SPAN.sub("x", told)))


def test_the_glossary_is_found() -> None:
    pages = (
        "README.md",
        *(f"docs/{name}.md" for name in ("architecture", "contributing", "grading", "guests", "live")),
    )
    linked = {name: _LINK.findall((ROOT / name).read_text()) for name in pages}
    assert [name for name in pages if not any("glossary.md" in link for link in linked[name])] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pages
def test_every_kmodlab_command_exists(page: Path) -> None:
    faults = {shlex.join(words): fault for words in _invocations(page.read_text()) if (fault := _fault(words))}
    assert faults == {}


def test_the_readme_shows_the_two_commands_of_a_newcomer() -> None:
    text = (ROOT / "README.md").read_text()
    assert {"lab", "test", "down"} <= _targets(text)


def test_every_make_target_is_listed_by_help() -> None:
    listed = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"lab", "down", "check", "test", "clean"} <= listed


def test_what_these_tests_take_for_a_fault() -> None:
    page = ROOT / "docs" / "abi.md"
    text = "Run `make nonsense`, `make -C kernel/x foo`.\n```\n$ make lab && true\n$ kmodlab gust | less\n```\n"
    assert _targets(text) == {"nonsense", "lab"}
    assert [_fault(words) for words in _invocations(text)] == ["there is no command 'gust' in kmodlab"]
    assert _fault(["guest", "up", "web", "--colour"]) == "kmodlab guest up has no option --colour"
    assert _fault(["guest", "exec", "web", "--", "ls", "--all"]) is None
    assert _fault(["guest", "..."]) is None
    assert _fault(["trace", "rum"]) == "there is no command 'rum' in kmodlab trace"
    assert _fault(["trace", "filter", "list", "--xml"]) == "kmodlab trace filter list has no option --xml"
    assert _fault(["trace", "run", "-c", "--", "ls", "--all"]) is None
    assert _fault(["trace", "run", "-fttT", "--", "ls"]) is None
    assert _fault(["trace", "run", "-tty", "--", "ls"]) == "kmodlab trace run has no option -tty"
    assert [_broken(page, link) for link in ("no.md", "abi.md#no-such-heading", "../Makefile")] == [True, True, False]

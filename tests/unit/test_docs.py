"""The documentation and the things it names: targets, files, commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from kmodlab.cli import app
from kmodlab.modules import cli as trace_cli
from kmodlab.paths import project_dir

ROOT = project_dir()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^#+\s+(.+?)\s*#*$", re.MULTILINE)

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
    if path == "kmodlab trace":
        return _trace_fault(rest)
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    options = [word.partition("=")[0] for word in rest[: rest.index("--") if "--" in rest else None]]
    unknown = [option for option in options if option.startswith("-") and option not in known]
    return f"{path} has no option {', '.join(unknown)}" if unknown else None


def _trace_fault(words: list[str]) -> str | None:
    """The same for what follows `kmodlab trace`, which has a parser of its own."""
    found, path = trace_cli.parser(), "kmodlab trace"
    while choices := [action.choices for action in found._actions if isinstance(action.choices, dict)]:
        name = words[0] if words else ""
        if name not in choices[0]:
            return None if not name or name == "--help" or "|" in name else f"there is no command {name!r} in {path}"
        found, path, words = choices[0][name], f"{path} {name}", words[1:]
    options = [word for word in words[: words.index("--") if "--" in words else None] if word.startswith("-")]
    unknown = [word for word in options if word not in found._option_string_actions]
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
    assert [_broken(page, link) for link in ("no.md", "abi.md#no-such-heading", "../Makefile")] == [True, True, False]

"""Made pages: lines that fit, and nothing lost."""

from __future__ import annotations

from kmodlab.prose import WIDTH, wrapped

LONG = " ".join(f"word{number}" for number in range(40))


def test_a_paragraph_is_wrapped_and_keeps_its_words() -> None:
    found = wrapped(f"# Title\n\n{LONG}\n\nshort\n")
    assert all(len(line) <= WIDTH for line in found.splitlines())
    assert found.split() == ["#", "Title", *LONG.split(), "short"]
    assert found.startswith("# Title\n\nword0 ")
    assert found.endswith("\n\nshort\n")


def test_an_item_goes_on_below_its_first_word() -> None:
    lines = wrapped(f"- one\n- {LONG}\n- three\n").splitlines()
    assert lines[0] == "- one"
    assert lines[-1] == "- three"
    assert lines[1].startswith("- word0 ")
    assert {line[:2] for line in lines[2:-1]} == {"  "}


def test_what_is_no_prose_stays() -> None:
    for block in (f"| {LONG} |", f"# {LONG}", f"<!-- {LONG} -->", f"```\n{LONG}\n```", f"    {LONG}", f"![{LONG}](x)"):
        assert wrapped(f"{block}\n") == f"{block}\n"


def test_a_word_that_is_longer_than_a_line_stays_whole() -> None:
    word = "https://example.org/" + "x" * WIDTH
    assert wrapped(f"{LONG} {word} {LONG}").split() == [*LONG.split(), word, *LONG.split()]

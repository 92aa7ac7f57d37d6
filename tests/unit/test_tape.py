"""A console is kept within bounds, and what means trouble is kept wherever it is printed."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from kmodlab.vm.console import Tape

Print = Callable[[bytes], None]
LIMIT = 4096


@pytest.fixture
def console() -> tuple[Tape, Print]:
    """A tape, and what writes to it and ends."""
    ours, theirs = os.pipe()
    tape = Tape(os.fdopen(ours, "rb", buffering=0), LIMIT)

    def say(text: bytes) -> None:
        with os.fdopen(theirs, "wb") as sink:
            sink.write(text)
        tape.wait(10)

    return tape, say


def test_little_is_kept_whole(console: tuple[Tape, Print]) -> None:
    tape, say = console
    say(b"one\r\n\x1b[0mtwo\n\x00three \xff\n")
    assert tape.text == "one\ntwo\nthree \ufffd\n"
    assert not tape.troubled.is_set()


def test_a_flood_is_kept_within_bounds(console: tuple[Tape, Print]) -> None:
    tape, say = console
    say(b"first\n" + b"line\n" * 1_000_000 + b"last\n")
    assert tape.text.startswith("first\n")
    assert tape.text.endswith("last\n")
    assert len(tape.text) < 3 * LIMIT
    assert f"{tape.size - 2 * LIMIT} bytes are left out" in tape.text


def test_a_flood_does_not_wash_trouble_away(console: tuple[Tape, Print]) -> None:
    tape, say = console
    say(b"line\n" * 100_000 + b"[ 1.0] Oops: 0000 [#1] SMP\n[ 1.1] RIP: f+0x1/0x2 [m]\n" + b"line\n" * 100_000)
    assert "Oops: 0000 [#1] SMP\n[ 1.1] RIP: f+0x1/0x2 [m]\n" in tape.text
    assert tape.troubled.is_set()


def test_text_without_line_ends_is_kept_within_bounds(console: tuple[Tape, Print]) -> None:
    tape, say = console
    say(b"x" * 5_000_000)
    assert len(tape.text) < 3 * LIMIT
    assert not tape.troubled.is_set()

"""A console is kept within bounds, and what means trouble is kept wherever it is printed."""

from __future__ import annotations

import os
import threading
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


def test_what_is_new_is_told_and_given_from_where_one_was(console: tuple[Tape, Print]) -> None:
    tape, say = console
    news: list[int] = []
    tape.listen(lambda: news.append(tape.size))
    assert tape.since(0, LIMIT) == (0, b"")
    say(b"0123456789" * 100)
    assert news[-1] == tape.size == 1000
    assert tape.since(0, LIMIT) == (1000, b"0123456789" * 100)
    assert tape.since(995, LIMIT) == (1000, b"56789")
    assert tape.since(0, 3) == (1000, b"789"), "the newest"
    assert tape.since(1000, LIMIT) == (1000, b"")


def test_what_is_new_is_given_across_the_end_of_the_beginning(console: tuple[Tape, Print]) -> None:
    tape, say = console
    text = bytes(n % 251 for n in range(LIMIT + 100))
    say(text)
    assert tape.since(LIMIT - 50, LIMIT) == (LIMIT + 100, text[-150:])
    assert tape.since(0, LIMIT + 100) == (LIMIT + 100, text)


def test_what_is_forgotten_is_not_given_and_nothing_else_in_its_place(console: tuple[Tape, Print]) -> None:
    tape, say = console
    text = bytes(n % 251 for n in range(10 * LIMIT))
    say(text)
    size, given = tape.since(100, 10 * LIMIT)
    assert size == len(text)
    assert LIMIT <= len(given) <= 3 * LIMIT
    assert text.endswith(given)


def test_a_flood_is_read_while_nobody_looks_and_while_somebody_does(console: tuple[Tape, Print]) -> None:
    """Looking takes nothing away from what the grader reads."""
    tape, say = console
    over, looks = threading.Event(), 0

    def look() -> None:
        nonlocal looks
        offset = 0
        while not over.is_set():
            offset, _ = tape.since(offset, 1 << 14)
            looks += 1

    looking = threading.Thread(target=look)
    looking.start()
    say(b"line\n" * 1_000_000 + b"[ 1.0] Oops: 0000 [#1] SMP\n")
    over.set()
    looking.join()
    assert tape.size == 5_000_027
    assert tape.troubled.is_set()
    assert looks > 0

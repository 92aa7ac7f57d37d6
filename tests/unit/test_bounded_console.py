"""A console is kept within bounds, and what means trouble is kept wherever it is printed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from kmodlab.vm.console import BoundedConsole

Print = Callable[[bytes], None]
LIMIT = 4096


@pytest.fixture
def console() -> tuple[BoundedConsole, Print]:
    """A bounded console, and what writes to it and ends."""
    ours, theirs = os.pipe()
    recorded = BoundedConsole(os.fdopen(ours, "rb", buffering=0), LIMIT)

    def say(text: bytes) -> None:
        with os.fdopen(theirs, "wb") as sink:
            sink.write(text)
        recorded.wait(10)

    return recorded, say


def test_little_is_kept_whole(console: tuple[BoundedConsole, Print]) -> None:
    recorded, say = console
    say(b"one\r\n\x1b[0mtwo\n\x00three \xff\n")
    assert recorded.text == "one\ntwo\nthree \ufffd\n"
    assert not recorded.troubled.is_set()


def test_a_flood_is_kept_within_bounds(console: tuple[BoundedConsole, Print]) -> None:
    recorded, say = console
    say(b"first\n" + b"line\n" * 1_000_000 + b"last\n")
    assert recorded.text.startswith("first\n")
    assert recorded.text.endswith("last\n")
    assert len(recorded.text) < 3 * LIMIT
    assert f"{recorded.size - 2 * LIMIT} bytes are left out" in recorded.text


def test_a_flood_does_not_wash_trouble_away(console: tuple[BoundedConsole, Print]) -> None:
    recorded, say = console
    say(b"line\n" * 100_000 + b"[ 1.0] Oops: 0000 [#1] SMP\n[ 1.1] RIP: f+0x1/0x2 [m]\n" + b"line\n" * 100_000)
    assert "Oops: 0000 [#1] SMP\n[ 1.1] RIP: f+0x1/0x2 [m]\n" in recorded.text
    assert recorded.troubled.is_set()


def test_text_without_line_ends_is_kept_within_bounds(console: tuple[BoundedConsole, Print]) -> None:
    recorded, say = console
    say(b"x" * 5_000_000)
    assert len(recorded.text) < 3 * LIMIT
    assert not recorded.troubled.is_set()


def test_what_is_new_is_told_and_given_from_where_one_was(console: tuple[BoundedConsole, Print]) -> None:
    recorded, say = console
    news: list[int] = []
    recorded.listen(lambda: news.append(recorded.size))
    assert recorded.since(0, LIMIT) == (0, b"")
    say(b"0123456789" * 100)
    assert news[-1] == recorded.size == 1000
    assert recorded.since(0, LIMIT) == (1000, b"0123456789" * 100)
    assert recorded.since(995, LIMIT) == (1000, b"56789")
    assert recorded.since(0, 3) == (1000, b"789"), "the newest"
    assert recorded.since(1000, LIMIT) == (1000, b"")


def test_what_is_new_is_given_across_the_end_of_the_beginning(console: tuple[BoundedConsole, Print]) -> None:
    recorded, say = console
    text = bytes(n % 251 for n in range(LIMIT + 100))
    say(text)
    assert recorded.since(LIMIT - 50, LIMIT) == (LIMIT + 100, text[-150:])
    assert recorded.since(0, LIMIT + 100) == (LIMIT + 100, text)


def test_what_is_forgotten_is_not_given_and_nothing_else_in_its_place(console: tuple[BoundedConsole, Print]) -> None:
    recorded, say = console
    text = bytes(n % 251 for n in range(10 * LIMIT))
    say(text)
    size, given = recorded.since(100, 10 * LIMIT)
    assert size == len(text)
    assert LIMIT <= len(given) <= 3 * LIMIT
    assert text.endswith(given)


def test_a_flood_is_read_while_nobody_looks_and_while_somebody_does(console: tuple[BoundedConsole, Print]) -> None:
    """Looking takes nothing away from what the grader reads."""
    recorded, say = console
    over, looks = threading.Event(), 0

    def look() -> None:
        nonlocal looks
        offset = 0
        while not over.is_set():
            offset, _ = recorded.since(offset, 1 << 14)
            looks += 1

    looking = threading.Thread(target=look)
    looking.start()
    say(b"line\n" * 1_000_000 + b"[ 1.0] Oops: 0000 [#1] SMP\n")
    over.set()
    looking.join()
    assert recorded.size == 5_000_027
    assert recorded.troubled.is_set()
    assert looks > 0

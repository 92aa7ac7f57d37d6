"""The console's signs of trouble, in the kernel's own words, and what only looks like them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmodlab.errors import GuestCrashed
from kmodlab.kernel_report import Kind
from kmodlab.vm.console import Log

from .test_kernel_report import HARMLESS, REPORTS


def _printed(directory: Path, text: bytes) -> Log:
    log = directory / "console.log"
    log.write_bytes(text)
    return Log(log, 0)


@pytest.mark.parametrize("line", [line for line, kind in REPORTS if kind > Kind.WARNING])
def test_trouble_is_reported_with_its_line(tmp_path: Path, line: str) -> None:
    console = _printed(tmp_path, f"[    1.0] before\r\n[    2.5] {line}\r\n[    2.6] Call Trace:\r\n".encode())
    with pytest.raises(GuestCrashed) as caught:
        console.check("running `true`")
    assert caught.value.message == f"the guest's kernel broke while running `true`: [    2.5] {line}"
    assert caught.value.log == tmp_path / "console.log"
    assert (caught.value.output or "").splitlines()[-1] == "[    2.6] Call Trace:"


@pytest.mark.parametrize("line", [*HARMLESS, *(line for line, kind in REPORTS if kind is Kind.WARNING)])
def test_a_harmless_line_is_not_trouble(tmp_path: Path, line: str) -> None:
    console = _printed(tmp_path, f"[    2.5] {line}\r\n".encode())
    console.check("booting")
    assert console.unseen() == b""


@pytest.mark.parametrize("cut", [1, 14, 20, 40])
def test_a_line_that_arrives_in_two_parts_is_seen_whole(tmp_path: Path, cut: int) -> None:
    whole = b"[   12.5] Kernel panic - not syncing: Fatal exception\r\n"
    console = _printed(tmp_path, whole[:cut])
    console.check("booting")
    with console.log.open("ab") as log:
        log.write(whole[cut:])
    with pytest.raises(GuestCrashed, match=r"broke while booting: \[   12\.5\] Kernel panic - not syncing: Fatal"):
        console.check("booting")


def test_each_line_is_reported_once(tmp_path: Path) -> None:
    console = _printed(tmp_path, b"Kernel panic - not syncing: one\n")
    with pytest.raises(GuestCrashed, match="one"):
        console.check("booting")
    console.check("looking again")


def test_what_was_there_before_is_no_news(tmp_path: Path) -> None:
    log = _printed(tmp_path, b"Kernel panic - not syncing: old\n").log
    console = Log(log)
    console.check("running `true`")
    with log.open("ab") as file:
        file.write(b"quiet\nBUG: new\n")
    with pytest.raises(GuestCrashed, match="running `true`: BUG: new"):
        console.check("running `true`")


def test_an_offset_is_where_reading_starts(tmp_path: Path) -> None:
    log = _printed(tmp_path, b"first\nsecond\nthi").log
    assert Log(log, len("first\n")).unseen() == b"second\n"


def test_a_console_without_a_log_says_nothing(tmp_path: Path) -> None:
    console = Log(tmp_path / "console.log")
    assert console.unseen() == b""
    console.check("booting")
    assert console.tail() == ""
    console.log.write_bytes(b"first\n")
    assert console.unseen() == b"first\n"


def test_bytes_that_are_no_text_harm_nobody(tmp_path: Path) -> None:
    console = _printed(tmp_path, b"\xff\xfe\x00 BUG: \x80odd\n")
    with pytest.raises(GuestCrashed, match="BUG: \N{REPLACEMENT CHARACTER}odd"):
        console.check("booting")


def test_the_tail_is_free_of_terminal_sequences(tmp_path: Path) -> None:
    console = _printed(tmp_path, b"one\r\n\x1b[2J\x1b[1;32mtwo\x1b[0m\r\n\x1b(Bthree\x1bc\r\n")
    assert console.tail() == "one\ntwo\nthree"
    assert console.tail(2) == "two\nthree"

"""A class that is graded live: what its board keeps of it, within which bounds, and who is shown it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from patience import SECONDS

from kmodlab.errors import LabError, UsageError
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab
from kmodlab.grading.live.board import NAME_LETTERS, Board, Cursor
from kmodlab.grading.live.scroll import ANOTHER, BURST, LIMIT, Console, Scroll, written_out
from kmodlab.grading.live.server import MOST_OF_A_SESSION, OPERATIONS, showing
from kmodlab.grading.result import GradingResult, Verdict
from kmodlab.paths import project_dir
from kmodlab.vm.console import BoundedConsole as Recorded

from .grading_labs import load_lab, make_lab
from .grading_results import one_result, one_test
from .grading_work import lets_pass
from .live_class import Grading, Script, graded, hand_in
from .test_cli import Kmodlab, kmodlab

__all__ = ["kmodlab"]  # a fixture

BOARD, STREAM, SESSION = "/api/v1/board", "/api/v1/stream", "/api/v1/session"


# -- text ----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_seen_is_written_out_and_nothing_else() -> None:
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    hidden = {one for one in every if unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp", "Cs", "Co")} - {"\n", "\t"}
    # Later editions of Unicode may have more of these than this Python's.
    kept = {one for one in every if written_out(one) == one}
    assert kept & hidden == set()
    assert {one for one in every if one.isprintable()} <= kept
    assert written_out("a\x1b[31m\0\u202eb\n\tc") == r"a\u{1b}[31m\u{0}\u{202e}b" + "\n\tc"


def test_a_scroll_keeps_its_end() -> None:
    scroll = Scroll()
    scroll.add("one\n")
    place = scroll.written
    scroll.add("two\n")
    assert (scroll.text, scroll.since(place), scroll.since(0), scroll.since(scroll.written)) == (
        "one\ntwo\n",
        "two\n",
        "one\ntwo\n",
        "",
    )
    scroll.add("x" * 99 + "\n")
    scroll.add(("y" * 99 + "\n") * 1000)
    assert scroll.since(place) is None
    assert scroll.text.startswith("y" * 99 + "\n"), "it begins with a whole line"
    assert LIMIT - 200 < len(scroll.text) <= LIMIT
    assert scroll.since(scroll.written - 100) == "y" * 99 + "\n"


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\u5f20", "\U0001f600"], ids=["1 byte", "2", "3", "4"])
def test_a_scroll_is_bounded_in_bytes(letter: str) -> None:
    scroll = Scroll()
    for _ in range(50):
        scroll.add(letter * 5000)
        assert len(scroll.text.encode()) <= LIMIT
    scroll.add(letter * (1 << 20))
    assert LIMIT - 4 < len(scroll.text.encode()) <= LIMIT
    assert set(scroll.text) == {letter}
    assert scroll.written == 50 * 5000 + (1 << 20)


class BoundedConsole:
    """A recording in memory, of which the last `kept` bytes are there."""

    def __init__(self, kept: int = 1 << 20) -> None:
        self.raw, self.kept = b"", kept
        self.news: Callable[[], None] = lambda: None

    def listen(self, news: Callable[[], None]) -> None:
        self.news = news

    def since(self, offset: int, most: int) -> tuple[int, bytes]:
        there = self.raw[max(offset, len(self.raw) - self.kept) :]
        return len(self.raw), there[max(0, len(there) - most) :]

    def say(self, text: bytes) -> None:
        self.raw += text
        self.news()


@pytest.fixture
def recorded() -> BoundedConsole:
    return BoundedConsole()


@pytest.fixture
def console(recorded: BoundedConsole) -> Console:
    one = Console(lambda: None)
    one.attach(recorded)
    return one


def test_a_console_is_text_however_its_bytes_come(console: Console, recorded: BoundedConsole) -> None:
    raw = "caf\u00e9 \u5f20\r\nred \x1b[31m\x00 \u202eevil\r\r\nend\r".encode() + b"\xff\xfe\n"
    for byte in raw:
        recorded.say(bytes((byte,)))
        console.refresh()
    expected = "caf\u00e9 \u5f20\nred \\u{1b}[31m\\u{0} \\u{202e}evil\\u{d}\nend\\u{d}\\xff\\xfe\n"
    assert console.scroll.text == expected
    assert console.size == len(raw)


def test_a_console_is_read_when_somebody_looks_and_they_are_told_once() -> None:
    told: list[int] = []
    one, recorded = Console(lambda: told.append(1)), BoundedConsole()
    one.attach(recorded)
    for _ in range(1000):
        recorded.say(b"x")
    assert len(told) == 1, "who floods a console wakes nobody again"
    assert one.refresh()
    assert not one.refresh()
    recorded.say(b"y")
    assert len(told) == 2
    assert one.refresh()
    assert one.scroll.text == "x" * 1000 + "y"


@pytest.mark.parametrize("looks", [False, True], ids=["nobody looks", "somebody looks"])
def test_a_flood_of_100_mb_is_bounded_and_the_grader_reads_all_of_it(looks: bool) -> None:
    ours, theirs = os.pipe()
    recorded = Recorded(os.fdopen(ours, "rb", buffering=0), 256 << 10)
    one = Console(lambda: None)
    one.attach(recorded)
    # Lines of a megabyte: the recorder looks for trouble in every line, which is what takes its time otherwise.
    block = b"\x1b[31m\0\xff flood" * ((1 << 20) // 13 + 1) + b"\n"
    with os.fdopen(theirs, "wb", buffering=0) as sink:
        for number in range(100):
            sink.write(block)
            if looks:
                one.refresh()
                assert len(one.scroll.text.encode()) <= LIMIT
            if number == 50:
                sink.write(b"[ 1.0] Oops: 0000 [#1] SMP\n")
        sink.write(b"the end\n")
    recorded.wait(60)
    one.refresh()
    assert one.size == recorded.size == 100 * len(block) + 35
    assert recorded.troubled.is_set()
    assert "Oops: 0000 [#1] SMP" in recorded.text
    assert LIMIT // 2 < len(one.scroll.text.encode()) <= LIMIT
    assert one.scroll.text.endswith("\\u{1b}[31m\\u{0}\\xff flood\nthe end\n")


def test_what_is_left_out_is_said_where_it_was(console: Console, recorded: BoundedConsole) -> None:
    recorded.say(b"begin\n")
    console.refresh()
    recorded.say(b"a" * 5000 + b"b" * BURST)
    console.refresh()
    assert console.scroll.text == "begin\n\n[... 5000 bytes are left out ...]\n" + "b" * BURST


def test_half_a_letter_that_is_left_over_is_no_letter(console: Console, recorded: BoundedConsole) -> None:
    recorded.say(b".")
    console.refresh()
    recorded.say("\u5f20".encode() * BURST)
    console.refresh()
    assert "\\x" not in console.scroll.text
    assert console.scroll.text.endswith("\u5f20")


def test_lines_without_end_are_bounded(console: Console, recorded: BoundedConsole) -> None:
    for _ in range(10):
        recorded.say(b"z" * (1 << 20))
        console.refresh()
        assert len(console.scroll.text) <= LIMIT


def test_the_next_machine_goes_on_where_the_first_one_ended(console: Console, recorded: BoundedConsole) -> None:
    other = BoundedConsole()
    recorded.say(b"first\r")
    console.attach(other)
    other.say(b"second\n")
    console.refresh()
    assert console.scroll.text == f"first{ANOTHER}second\n"


# -- the board -----------------------------------------------------------------------------------------------------


class Hands:
    """A clock that is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return load_lab(tmp_path / "jiffies")


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def board(lab: Lab, clock: Hands) -> Board:
    one = Board(lab, clock)
    one.machines(2)
    return one


def submission(student: str) -> Submission:
    return Submission(student, f"{student}.zip", Path("/nowhere"), digest=student)


def result(student: str, verdict: Verdict = Verdict.FAIL, **changes: Any) -> GradingResult:
    """A result of two tests, of which a pass has the first alone."""
    tests = {"tests": (one_test(),)} if verdict is Verdict.PASS else {}
    plain: dict[str, Any] = {"verdict": verdict, "student": student, "submission": f"{student}.zip"}
    return one_result(**{**plain, **tests, **changes})


def test_a_slot_shows_what_it_does_and_since_when(board: Board, lab: Lab, clock: Hands) -> None:
    board.begins(3)
    board.starts(submission("ada"))
    follower = board.follow(submission("ada"))
    for phase, limit in (("build", 60), ("slot", None), ("load", 10), ("tests", None), ("unload", 10)):
        clock.now += 2
        follower.phase(phase)  # type: ignore[arg-type]
        clock.now += 3
        ada, free = board.frame(Cursor())["slots"]
        assert (ada["student"], ada["phase"], ada["seconds"], ada["limit"]) == ("ada", phase, 3, limit)
        assert (free["phase"], free["student"]) == ("free", "")
    follower.phase("tests")
    follower.test(lab.tests[0])
    follower.tested(lab.tests[0].result("passed", 2))
    follower.test(lab.tests[1])
    clock.now += 1.5
    ada = board.frame(Cursor())["slots"][0]
    assert (ada["test"], ada["title"], ada["seconds"], ada["limit"]) == ("moves", "The number moves", 1.5, 60)
    assert (ada["passed"], ada["done"], ada["tests"], ada["all"]) == (1, 1, 3, 26.5)


def test_a_result_stays_in_its_slot_until_another_one_comes(board: Board) -> None:
    board.begins(2)
    board.starts(submission("ada"))
    board.follow(submission("ada")).machine(recorded := BoundedConsole())
    recorded.say(b"Kernel panic\n")
    board.ends(result("ada", Verdict.PANIC, reason="It went down."), known=False)
    frame = board.frame(Cursor())
    ada = frame["slots"][0]
    assert (ada["phase"], ada["verdict"], ada["score"], ada["most"]) == ("done", "panic", 2.5, 5.0)
    assert ada["console"]["text"] == "Kernel panic\n"
    assert (frame["graded"], frame["running"], frame["waiting"], frame["counts"]) == (1, 0, 1, {"panic": 1})
    board.starts(submission("bob"))
    bob = board.frame(Cursor())["slots"][0]
    assert (bob["student"], bob["phase"], bob["verdict"], bob["console"]["text"]) == ("bob", "starts", None, "")


def test_results_that_were_there_have_no_slot_and_no_time(board: Board) -> None:
    board.begins(2)
    board.starts(submission("ada"))
    board.ends(result("twin", Verdict.PASS), known=True)
    board.ends(result("ungraded", Verdict.INFRA_ERROR), known=False)
    frame = board.frame(Cursor())
    assert [
        (one["student"], one["verdict"], one["score"], one["known"], one["seconds"]) for one in frame["results"]
    ] == [
        ("twin", "pass", 2.5, True, None),
        ("ungraded", "infra-error", None, False, None),
    ]
    assert frame["slots"][0]["phase"] == "starts"


def test_what_comes_too_late_changes_no_other_submission(board: Board) -> None:
    board.begins(2)
    board.starts(submission("ada"))
    late = board.follow(submission("ada"))
    board.ends(result("ada"), known=False)
    board.starts(submission("bob"))
    late.phase("unload")
    recorded = BoundedConsole()
    late.machine(recorded)
    recorded.say(b"ada's")
    bob = board.frame(Cursor())["slots"][0]
    assert (bob["student"], bob["phase"], bob["console"]["text"]) == ("bob", "starts", "")


def test_a_browser_is_told_what_it_does_not_know(board: Board, lab: Lab) -> None:
    seen = Cursor()
    board.begins(2)
    assert [one["slot"] for one in board.frame(seen)["slots"]] == [1, 2]
    assert board.frame(seen)["slots"] == []
    board.starts(submission("ada"))
    board.starts(submission("bob"))
    follower = board.follow(submission("bob"))
    follower.machine(recorded := BoundedConsole())
    recorded.say(b"one\n")
    assert [one["slot"] for one in board.frame(seen)["slots"]] == [1, 2]
    recorded.say(b"two\n")
    (bob,) = board.frame(seen)["slots"]
    assert (bob["slot"], bob["console"]) == (2, {"anew": False, "text": "two\n", "size": 8, "kept": 8})
    follower.test(lab.tests[0])
    (bob,) = board.frame(seen)["slots"]
    assert (bob["test"], bob["console"]["text"]) == ("there", "")
    board.ends(result("ada"), known=False)
    frame = board.frame(seen)
    assert [one["student"] for one in frame["results"]] == ["ada"]
    assert board.frame(seen)["results"] == []


def test_a_browser_that_comes_seldom_is_told_the_sum_and_no_more(board: Board) -> None:
    seen = Cursor()
    board.begins(1000)
    for number in range(1000):
        board.starts(submission(str(number)))
        board.follow(submission(str(number))).machine(recorded := BoundedConsole())
        recorded.say(b"\x1b" * 1000)
        board.ends(result(str(number)), known=False)
        if number == 500:
            board.frame(seen)
    frame = board.frame(seen)
    assert [one["number"] for one in frame["results"]] == list(range(502, 1001))
    assert len(frame["slots"]) == 1, "the second was never needed, and has not changed"
    assert len(json.dumps(frame)) < 499 * 400 + 2 * LIMIT


def test_two_browsers_know_each_what_they_were_told(board: Board) -> None:
    one, other = Cursor(), Cursor()
    board.begins(1)
    board.starts(submission("ada"))
    board.follow(submission("ada")).machine(recorded := BoundedConsole())
    texts = {"one": "", "other": ""}
    for number in range(50):
        recorded.say(b"%d\n" % number)
        for name, cursor in (("one", one), ("other", other)):
            if name == "other" and number % 7 != 6:
                continue
            for slot in board.frame(cursor)["slots"]:
                if slot["slot"] == 1:
                    texts[name] = (
                        slot["console"]["text"] if slot["console"]["anew"] else texts[name] + slot["console"]["text"]
                    )
    assert texts["one"] == "".join(f"{number}\n" for number in range(50))
    assert texts["other"] == "".join(f"{number}\n" for number in range(49))


def test_many_browsers_have_the_consoles_read_no_oftener_than_one(lab: Lab, clock: Hands) -> None:
    board = Board(lab, clock, pace=0.2)
    board.machines(1)
    board.begins(1)
    board.starts(submission("ada"))
    board.follow(submission("ada")).machine(recorded := BoundedConsole())
    one, other = Cursor(), Cursor()

    def text(cursor: Cursor) -> str:
        return "".join(slot["console"]["text"] for slot in board.frame(cursor)["slots"])

    recorded.say(b"one\n")
    assert text(one) == "one\n"
    recorded.say(b"two\n")
    clock.now += 0.1
    assert text(other) == "one\n", "it is not read again so soon"
    assert board.pending
    clock.now += 0.1
    assert (text(one), text(other)) == ("two\n", "two\n")
    assert not board.pending
    recorded.say(b"three\n")
    board.finish("finished")
    assert text(one) == "three\n", "at the end all is read"


def test_the_time_left_counts_what_is_under_way(board: Board, clock: Hands) -> None:
    def left() -> float | None:
        found: float | None = board.frame(Cursor())["left"]
        return found

    board.begins(6)
    board.starts(submission("a"))
    board.starts(submission("b"))
    clock.now += 10
    assert left() is None, "nothing is known yet"
    board.ends(result("a"), known=False)
    board.starts(submission("c"))
    # 10 s and 10 s so far for one result: 20 s each. b has 10 left, c 20, and three others wait: 90 s on two slots.
    assert left() == 45
    board.ends(result("b"), known=False)
    # Two in 20 s: 10 s each; c and three others.
    assert left() == 20
    board.ends(result("known"), known=True)
    assert left() == 15
    clock.now += 100
    # c hangs: 120 s for two results, so 60 s each, c's own as long as any; and two others.
    assert left() == 90
    board.finish("finished")
    assert left() is None


def test_names_and_reasons_are_bounded(board: Board) -> None:
    board.begins(1)
    long = "x" * 10_000
    board.starts(Submission(long, f"{long}.zip", Path("/nowhere")))
    board.ends(result(long, reason=long, submission=f"{long}.zip"), known=False)
    frame = board.frame(Cursor())
    assert len(frame["slots"][0]["student"]) == NAME_LETTERS
    assert len(json.dumps(frame)) < 3000


def test_the_board_stands_still_when_it_is_over(board: Board, clock: Hands) -> None:
    board.begins(2)
    board.starts(submission("ada"))
    clock.now += 5
    board.finish("broken off", "It was interrupted.")
    clock.now += 100
    frame = board.frame(Cursor())
    assert (frame["state"], frame["note"], frame["elapsed"]) == ("broken off", "It was interrupted.", 5)
    assert frame["slots"][0]["seconds"] == 5


def test_who_is_not_on_the_board_is_followed_by_nobody(board: Board) -> None:
    follower = board.follow(submission("nobody"))
    follower.phase("build")
    follower.machine(BoundedConsole())
    assert [one["phase"] for one in board.frame(Cursor())["slots"]] == ["free", "free"]


def test_other_hosts_tell_less_and_that_is_said(lab: Lab) -> None:
    board = Board(lab)
    board.machines(1, elsewhere=True)
    board.starts(submission("ada"))
    assert board.frame(Cursor())["slots"][0]["phase"] == "elsewhere"


# -- the server ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grading(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A class of one, who does not end, and whoever has the printed token."""
    with graded(tmp_path_factory.mktemp("grading"), ["ada"]) as one:
        yield one, one.log_in()


Asked = tuple[Grading, dict[str, str]]


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.role], ids=lambda one: one.id)
def test_student_data_takes_the_session_of_the_staff(grading: Asked, operation: Any) -> None:
    one, staff = grading
    for headers in ({}, {"cookie": staff["cookie"] + "x"}, {"cookie": "kmodlab-00000000=x"}):
        answer = one.ask(operation.path, {**headers, "origin": one.origin}, operation.method)
        assert (answer.status, answer.json["detail"]) == (401, "this takes a session")
        assert answer.json["hint"] == "`kmodlab grade --live` prints an address that opens one"


def test_the_token_opens_one_session(grading: Asked) -> None:
    one, _ = grading
    again = one.ask(SESSION, {"origin": one.origin}, "POST", {"token": one.token})
    assert (again.status, again.json["detail"]) == (401, "this token is none, or was used")


@pytest.mark.parametrize("path", ["/", "/web/vendor/lit.js", "/board/board.js", "/board/board.css"])
def test_the_page_has_no_data_in_it(grading: Asked, path: str) -> None:
    one, _ = grading
    answer = one.ask(path)
    assert answer.status == 200
    assert "require-trusted-types-for 'script'" in answer.headers["content-security-policy"]
    assert b"ada" not in answer.body.replace(b"adapt", b"").replace(b"metadata", b"") or path.startswith("/web/")


@pytest.mark.parametrize(
    "path", ["/web/app.js", "/board/../board.py", "/board/server.py", "/api/v1/events", "/metrics"]
)
def test_nothing_of_the_dashboard_or_the_grader_is_there(grading: Asked, path: str) -> None:
    one, staff = grading
    assert one.ask(path, staff).status == 404


def test_no_other_name_and_no_other_page_gets_anything(grading: Asked) -> None:
    one, staff = grading
    assert one.ask(BOARD, {**staff, "host": "evil.example"}).status == 421
    assert one.ask(BOARD, {**staff, "origin": "http://evil.example"}).status == 403
    assert one.ask(BOARD, {**staff, "sec-fetch-site": "cross-site"}).status == 403


def test_it_listens_on_the_loopback_alone(grading: Asked) -> None:
    one, _ = grading
    port = f":{int(one.origin.rpartition(':')[2]):04X}"
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    # In the kernel's table 0A is LISTEN, and addresses are little-endian.
    assert [row[1] for row in rows if row[1].endswith(port) and row[3] == "0A"] == [f"0100007F{port}"]


def test_a_browser_has_four_streams_and_no_fifth(grading: Asked) -> None:
    one, staff = grading
    streams = [one.stream(staff) for _ in range(MOST_OF_A_SESSION)]
    assert all(stream.next()[0] == "state" for stream in streams)
    with pytest.raises(AssertionError, match="too many streams are open"):
        one.stream(staff)
    for stream in streams:
        stream.close()


def _next(events: Any, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Read frames until one is as it should be."""
    end = time.monotonic() + SECONDS
    while True:
        kind, frame, _ = events.next()
        assert time.monotonic() < end, "it did not come"
        assert kind in ("state", "tick"), frame
        if wanted(frame):
            return dict(frame)


def _end(events: Any) -> dict[str, Any]:
    """Read the stream to its end; what it ends with."""
    while True:
        kind, frame, _ = events.next()
        if kind == "closed":
            return dict(frame)
        assert frame["state"] == "finished"


def test_a_class_is_shown_while_it_is_graded(tmp_path: Path) -> None:
    with graded(tmp_path, ["ada", "bob", "eve", "kim", "zoe"]) as one:
        events = one.stream(one.log_in())
        kind, first, _ = events.next()
        assert (kind, first["lab"], first["title"]) == ("state", "jiffies", "Jiffies")
        hangs, panics, floods, passes = (one.script.stage(name) for name in ("ada", "bob", "eve", "kim"))
        hangs.phase("build", "slot").machine().phase("load", "tests").test(0, "passed").test(1).prints(b"waiting\r\n")
        panics.phase("build", "slot").machine().phase("load").prints(b"Kernel panic - not syncing: no\r\n")
        floods.phase("build", "slot").machine().phase("tests").test(2).prints(b"\x1b[31m\0" * 200_000 + b"the end\r\n")
        passes.phase("build", "slot", "load", "tests", "unload")
        slots: dict[str, dict[str, Any]] = {}
        text: dict[str, str] = {}

        def all_there(frame: dict[str, Any]) -> bool:
            for slot in frame["slots"]:
                new, name = slot["console"], slot["student"]
                text[name] = new["text"] if new["anew"] else text[name] + new["text"]
                text[name] = text[name][-new["kept"] :] if new["kept"] else ""
                slots[name] = slot
            return (
                "waiting" in text.get("ada", "") and "panic" in text.get("bob", "") and "the end" in text.get("eve", "")
            )

        frame = first if all_there(first) else _next(events, all_there)
        assert (frame["total"], frame["running"], frame["waiting"], frame["graded"]) == (5, 4, 1, 0)
        assert (slots["ada"]["phase"], slots["ada"]["test"], slots["ada"]["passed"]) == ("tests", "moves", 1)
        assert (slots["bob"]["phase"], slots["bob"]["limit"]) == ("load", 10)
        assert (slots["eve"]["test"], slots["eve"]["console"]["size"]) == ("secret", 1_200_009)
        assert len(text["eve"].encode()) <= LIMIT
        assert "\x1b" not in text["eve"]
        assert text["eve"].endswith("\\u{1b}[31m\\u{0}the end\n")
        panics.ends(Verdict.PANIC, "The kernel panicked.")
        frame = _next(events, lambda frame: bool(frame["results"]))
        (row,) = frame["results"]
        assert (row["student"], row["verdict"], row["score"], row["most"]) == ("bob", "panic", 0, 10)
        one.script.stage("zoe").ends(Verdict.PASS)
        passes.ends(Verdict.PASS)
        hangs.ends(Verdict.HANG, passed=1)
        floods.ends(Verdict.FAIL)
        frame = _next(events, lambda frame: frame["state"] == "finished")
        assert (frame["graded"], frame["counts"]) == (5, {"panic": 1, "pass": 2, "hang": 1, "fail": 1})
        assert frame["note"] == f"The reports are in {one.out}."
        assert _end(events) == {"reason": "the grading has ended"}
        one.wait()
        assert one.errors == []
        assert (one.out / "gradebook.csv").exists()
        with pytest.raises(OSError, match="refused"):
            one.ask("/")


def test_a_browser_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    with graded(tmp_path, ["ada"]) as one:
        staff = one.log_in()
        _, fast = one.stream(staff), one.stream(staff)
        stage = one.script.stage("ada").machine()
        seen = 0
        for _ in range(12):
            stage.prints(b"x" * (8 << 20) + b"\n")
            seen = max(seen, _next(fast, lambda frame: bool(frame["slots"]))["slots"][0]["console"]["size"])
        stage.ends(Verdict.PASS)
        _next(fast, lambda frame: frame["state"] == "finished")
        one.wait()
        assert one.errors == [], "the grading ends, whoever has not read"
        assert seen > 8 << 20


def test_what_breaks_off_is_said(tmp_path: Path) -> None:
    with graded(tmp_path, ["ada"]) as one:
        events = one.stream(one.log_in())
        one.script.stage("ada").breaks()
        frame = _next(events, lambda frame: frame["state"] == "finished")
        assert frame["counts"] == {"infra-error": 1}
        one.wait()
        assert isinstance(one.errors[0], LabError)


@pytest.mark.parametrize(
    ("error", "note"),
    [(LabError("no room", hint="x"), "no room"), (SystemExit(130), "It was interrupted.")],
    ids=["an error", "Ctrl-C"],
)
def test_a_page_says_how_it_ended(lab: Lab, error: BaseException, note: str) -> None:
    boards: list[Board] = []
    before = threading.enumerate()

    def fails() -> None:
        with showing(lab, "All is done.", say=lambda _: None) as board:
            boards.append(board)
            raise error

    with pytest.raises(type(error)):
        fails()
    frame = boards[0].frame(Cursor())
    assert (frame["state"], frame["note"]) == ("broken off", note)
    assert threading.enumerate() == before, "its thread has ended"


def test_a_port_that_is_taken_is_said_before_anything_is_graded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 cannot be listened on"),
            graded(tmp_path, ["ada"], port=port),
        ):
            pass
    assert not (tmp_path / "out" / "gradebook.csv").exists()


# -- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--no-browser"], ["--port", "0"]])
def test_options_of_the_page_take_a_page(kmodlab: Kmodlab, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "jiffies.c").touch()
    done = kmodlab("grade", str(make_lab(tmp_path / "jiffies")), str(tmp_path), *words, make_grader=lets_pass)
    assert done.returncode == 2
    assert "--port and --no-browser are about the page of --live" in done.stderr


@pytest.mark.parametrize("live", [False, True])
def test_without_live_no_server_is_imported(tmp_path: Path, live: bool) -> None:
    (tmp_path / "class" / "ada").mkdir(parents=True)
    (tmp_path / "class" / "ada" / "jiffies.c").write_text("int n;\n")
    words = ["grade", str(make_lab(tmp_path / "jiffies")), str(tmp_path / "class"), "--out", str(tmp_path / "out")]
    words += ["--as", "folders", *(["--live", "--no-browser"] if live else [])]
    code = f"""
import sys
from kmodlab.cli import main
from unit.grading_work import lets_pass
try:
    main({words!r}, lets_pass)
except SystemExit as end:
    print("exit", end.code)
print("imported", *sorted(name for name in sys.modules if name in ("starlette", "uvicorn", "kmodlab.grading.live")))
"""
    argv = [sys.executable, "-c", code]
    path = f"{project_dir() / 'src'}:{project_dir() / 'tests'}"
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=SECONDS, env={"PYTHONPATH": path, "PATH": "/usr/bin"}, check=False
    )
    lines = done.stdout.splitlines()
    assert "exit 0" in lines, done.stderr
    assert lines[-1].split() == ["imported", *(["kmodlab.grading.live", "starlette", "uvicorn"] if live else [])]
    assert any("/#token=" in line for line in lines) is live


def test_an_interruption_is_told_to_who_looks(tmp_path: Path) -> None:
    words = ["grade", str(make_lab(tmp_path / "jiffies")), str(hand_in(tmp_path / "class", ["ada"]))]
    words += ["--out", str(tmp_path / "out"), "--as", "folders", "--live", "--no-browser"]
    code = f"from kmodlab.cli import main; from unit.grading_work import never_ends; main({words!r}, never_ends)"
    env = {"PYTHONPATH": f"{project_dir() / 'src'}:{project_dir() / 'tests'}", "PATH": "/usr/bin"}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            address = next(line.strip() for line in process.stdout if "/#token=" in line)
            one = Grading(Script(), address, tmp_path / "out", threading.current_thread(), [])
            events = one.stream(one.log_in())
            _next(events, lambda frame: any(slot["phase"] == "tests" for slot in frame["slots"]))
            process.send_signal(signal.SIGINT)
            frame = _next(events, lambda frame: frame["state"] != "grading")
            assert (frame["state"], frame["note"]) == ("broken off", "It was interrupted.")
            assert process.wait(SECONDS) == 130
            events.close()
        finally:
            process.kill()

"""The command itself in a terminal of 80x24: what it shows there, how it ends, and what it says where there is none."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import SECONDS

from unit.live_server import Live, running
from unit.live_source import row, tick
from unit.terminal import KMODLAB, Terminal


@pytest.fixture
def start() -> Iterator[Callable[..., Terminal]]:
    """Start the command; it is ended with the test."""
    with contextlib.ExitStack() as stack:

        def started(*words: str | Path, **how: object) -> Terminal:
            return stack.enter_context(contextlib.closing(Terminal(*words, **how)))  # type: ignore[arg-type]

        yield started


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with running(tmp_path) as one:
        yield one


def statuses(text: str) -> set[str]:
    """The statuses of the calls that are listed."""
    return set(re.findall(r"^\d\d:\d\d:\d\d \w+ +(ok|failed|blocked) ", text, re.MULTILINE))


def missed(text: str) -> int:
    """How many events came while the view was held."""
    found = re.search(r"Held\. ([\d,]+)", text)
    return int(found[1].replace(",", "")) if found else 0


def test_the_demo_from_its_beginning_to_its_end(start: Callable[..., Terminal]) -> None:
    one = start("--demo")
    one.until("✓ the books close")
    text = one.until(lambda: re.search(r"^openat +\d.* \d+\.\d %", one.text, re.MULTILINE) and one.text)
    assert re.search(r"^kmodlab  demo  6\.1\.0-demo  enforcing +live", text)
    assert re.search(r"^\d\d:\d\d:\d\d \w+ +(ok|failed)", text, re.MULTILINE)
    one.until(lambda: re.search(r"^openat .*[▁▂▃▄▅▆▇█]{10}", one.text, re.MULTILINE))

    one.type("/status=failed\r")
    one.until("Filter: status=failed")
    one.until(lambda: statuses(one.text) == {"failed"})

    one.type("p")
    # What was drawn with the first of these words may not have come whole.
    one.until(lambda: missed(one.text))
    before, first = one.screen.display[3:23], missed(one.text)
    one.until(lambda: missed(one.text) > first)
    assert "[2 Events held]" in one.text
    assert one.screen.display[3:23] == before, "it holds"
    assert before[1].split()[2] == "failed"

    one.type("q")
    assert one.end() == 0
    assert one.restored


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda one: one.type("q"), 0),
        (lambda one: one.type("\x03"), 0),
        (lambda one: one.process.send_signal(signal.SIGINT), 0),
        (lambda one: one.process.send_signal(signal.SIGTERM), 143),
        (lambda one: one.process.send_signal(signal.SIGHUP), 129),
    ],
    ids=["q", "Ctrl-C", "SIGINT", "SIGTERM", "SIGHUP"],
)
def test_the_terminal_is_as_it_was_however_it_ends(
    live: Live, start: Callable[..., Terminal], end: Callable[[Terminal], None], status: int
) -> None:
    one = start("--socket", live.path)
    one.until("permissive")
    end(one)
    assert one.end() == status
    assert one.restored


def test_no_colour_is_none(live: Live, start: Callable[..., Terminal]) -> None:
    one = start("--socket", live.path, NO_COLOR="1")
    one.until("permissive")
    live.tell(tick(1, [row(1, "unlink", "BLOCKED", enforced=True)], ledger={"rolled": 1, "received": 1}))
    one.until("received 1")
    one.type("q")
    assert one.end() == 0
    codes = {int(code) for codes in re.findall(rb"\x1b\[([\d;]*)m", one.raw) for code in codes.split(b";") if code}
    assert {1, 4} & codes, "styles there are"
    # 39 and 49 are the terminal's own.
    assert not [code for code in codes if (30 <= code <= 49 or code >= 90) and code not in (39, 49)]


def test_another_size_is_drawn(live: Live, start: Callable[..., Terminal]) -> None:
    one = start("--socket", live.path)
    one.until("waiting for the ledger")
    one.resize(50, 10)
    one.until("This terminal is 50x10: top takes 60x12")
    one.resize(132, 40)
    one.until(lambda: "waiting for the ledger" in one.screen.display[39])
    one.until("Latency")


def test_what_a_process_calls_itself_reaches_no_terminal(live: Live, start: Callable[..., Terminal]) -> None:
    one = start("--socket", live.path)
    one.until("permissive")
    name = "\x1b]0;pwned\x07\x9b31m\u202e"
    live.tell(tick(1, [row(1, comm=name, arguments=(name,))], ledger={"rolled": 1, "received": 1}))
    one.type("2")
    one.until(r"\u{1b}]0;pwned\u{7}")
    one.type("q")
    assert one.end() == 0
    assert b"\x1b]0;pwned" not in one.raw
    assert not any(letter in one.raw.decode() for letter in "\x9b\u202e")


def test_the_tasks_of_the_demo(start: Callable[..., Terminal]) -> None:
    one = start("--demo")
    one.until("✓ the books close")
    one.type("7")
    one.until(lambda: re.search(r"^\d+ tasks, \d+M of memory: \d+ running", one.text, re.MULTILINE))
    one.until(lambda: re.search(r"^as of \d\d:\d\d:\d\d, (now|\d s ago); by memory", one.text, re.MULTILINE))
    one.type("t")
    one.until(lambda: re.search(r" +1 +0 sleeping .* ▾ systemd", one.text, re.MULTILINE))
    one.type("/sshd\r")
    one.until("search: sshd, 2 found, below their parents")
    one.until(lambda: "postgres" not in one.text)
    one.type("q")
    assert one.end() == 0
    assert one.restored


def test_a_name_of_a_task_reaches_no_terminal(live: Live, start: Callable[..., Terminal]) -> None:
    live.source.task_rows = ["1 0 \x1b]0;own\x07\u202e SLEEPING 0 9 1 0 0", "2 1 統計 ZOMBIE 0 5 1 0 0"]
    one = start("--socket", live.path)
    one.until("permissive")
    one.type("7")
    one.until(r"\u{1b}]0;own\u{7}\u{202e}")
    # A letter that is two columns wide is followed by an empty one.
    assert "統計" in one.text.replace("統 計", "統計")
    one.type("q")
    assert one.end() == 0
    assert b"\x1b]0;own" not in one.raw
    assert "\u202e" not in one.raw.decode()


def test_a_fault_of_its_own_is_told_on_a_terminal_that_is_as_it_was(
    live: Live, start: Callable[..., Terminal], tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    broken = "import kmodlab.top.facts as facts\nfacts.tiles = lambda model: 1 / 0\n"
    (site / "sitecustomize.py").write_text(broken)
    one = start("--socket", live.path, PYTHONPATH=str(site))
    assert one.end() == 70
    assert one.restored
    assert b"division by zero" in one.raw
    assert b"Traceback" not in one.raw, "that is in the log"
    assert b"log" in one.raw.rpartition(b"division by zero")[2]


# -- where there is no terminal ------------------------------------------------------------------------------------


def run(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    argv = [str(KMODLAB), "top", *map(str, words)]
    env = {**os.environ, "TERM": "xterm-256color", **variables}
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, timeout=SECONDS, check=False
    )


@pytest.mark.parametrize("words", [("--demo",), ("--socket", "/run/none"), ("lab",)], ids=" ".join)
def test_without_a_terminal_it_says_what_else_there_is(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "top draws on a terminal, and this is none" in done.stderr
    assert "kmodlab history query" in done.stderr


@pytest.mark.parametrize("kind", ["dumb", ""])
def test_a_terminal_that_can_do_nothing(start: Callable[..., Terminal], kind: str) -> None:
    one = start("--demo", TERM=kind)
    assert one.end() == 2
    assert f"a terminal of the kind `{kind}` cannot be drawn on".encode() in one.raw
    assert b"\x1b" not in one.raw


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--demo", "--socket", "/run/none"), 2, "--demo and --socket are two machines"),
        (("--socket", "/run/none"), 2, "/run/none is no socket"),
        (("none",), 2, "none"),
    ],
)
def test_what_cannot_be_shown_is_said(
    start: Callable[..., Terminal], words: tuple[str, ...], status: int, said: str
) -> None:
    one = start(*words)
    assert one.end() == status
    assert said in " ".join(one.text.split())
    assert b"\x1b[?1049h" not in one.raw


def test_a_daemon_that_does_not_answer_is_said_before_anything_is_drawn(
    start: Callable[..., Terminal], tmp_path: Path
) -> None:
    with running(tmp_path):
        os.link(tmp_path / "s", tmp_path / "dead")
    one = start("--socket", tmp_path / "dead")
    assert one.end() == 3
    assert "the daemon does not answer: Connection refused" in one.text
    assert b"\x1b[?1049h" not in one.raw

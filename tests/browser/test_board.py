"""`kmodlab grade --live` in a browser: a class that is made up, graded by the grader itself."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from patience import SECONDS
from playwright.sync_api import Browser, BrowserContext, Locator, expect
from unit.live_class import Grading, Stage, graded

from browser.audit import is_clean
from browser.view import View
from kmodlab.grading.live.scroll import LIMIT
from kmodlab.grading.result import Verdict

WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 360, "height": 780}
LOOKS = {"dark": ("dark", WIDE), "light": ("light", WIDE), "phone": ("light", PHONE), "forced": ("dark", WIDE)}
#: what can be a folder's name: all but a slash and a NUL
HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\">",
    "<script>document.title='owned'",
    "javascript:document.title='owned'",
    "\u202egnp.exe\u2066",
    "bell\a escape\x1b[31m\nline",
    "=cmd|' C calc'!A0",
    "${document.title='owned'}`",
    "\U000e0041tag \u200b\ufeff",
    "x" * 200,
)
UNSEEN = set("\u202e\u2066\u200b\ufeff\0\a\x1b\U000e0041")


@dataclass
class Board:
    """A class that is graded, and a tab that shows it."""

    grading: Grading
    context: BrowserContext
    view: View

    def stage(self, student: str) -> Stage:
        return self.grading.script.stage(student)

    def card(self, student: str) -> Locator:
        return self.view.page.get_by_role("article").filter(has=self.view.page.get_by_text(student, exact=True))

    def rows(self) -> list[str]:
        return self.view.table("Results").locator("th").all_inner_texts()


Open = Callable[..., Board]


@pytest.fixture
def board(tmp_path: Path, chromium: Browser) -> Iterator[Open]:
    """Grade these students, and look; what the page complains of fails the test."""
    with ExitStack() as stack:

        def show(*students: str, jobs: int = 4) -> Board:
            grading = stack.enter_context(graded(tmp_path, students, jobs))
            context = stack.enter_context(chromium.new_context(viewport={"width": 1440, "height": 900}))
            context.set_default_timeout(SECONDS * 1000)
            view = View(context.new_page(), grading.origin)
            view.page.goto(grading.address)
            expect(view.page.get_by_role("status").filter(has_text="live")).to_be_visible()
            stack.callback(_is_clean, view)
            return Board(grading, context, view)

        yield show


def _is_clean(view: View) -> None:
    assert view.errors == []
    assert view.elsewhere == [], "the page asks nobody but its server"


def test_one_hangs_one_panics_one_floods(board: Open) -> None:
    one = board("ada", "bob", "eve", "kim", "zoe")
    one.stage("ada").phase("build", "slot").machine().phase("load", "tests").test(0, "passed").test(1)
    one.stage("ada").prints(b"[ 1.0] jiffies: waiting\r\n")
    one.stage("bob").phase("build", "slot").machine().phase("load")
    one.stage("bob").prints(b"[ 1.0] Kernel panic - not syncing: it does not like this machine\r\n")
    one.stage("eve").phase("build", "slot").machine().phase("load", "tests").test(2)
    one.stage("kim").phase("build")
    ada, bob, eve, kim = (one.card(name) for name in ("ada", "bob", "eve", "kim"))
    expect(ada.locator("[aria-current=step]")).to_have_text("tests")
    expect(ada.locator(".doing")).to_have_text("Test moves 1 of 1 passed, 3 in all")
    expect(ada.locator(".time")).to_have_text(re.compile(r"\d+ s of 60 s"))
    expect(ada.locator(".console")).to_have_text("[ 1.0] jiffies: waiting\n")
    expect(bob.locator("[aria-current=step]")).to_have_text("load")
    expect(bob.locator(".console")).to_contain_text("Kernel panic")
    expect(kim.locator("[aria-current=step]")).to_have_text("build")
    flooding = threading.Event()

    def flood() -> None:
        while not flooding.is_set():
            one.stage("eve").prints(b"\x1b[31m\x1b[2J\0\xff\xfe\xe2\x80\xae flood\r\n" * 4000)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        expect(eve.locator(".console")).to_contain_text("bytes are left out")
        for _ in range(5):
            text = eve.locator(".console").inner_text()
            assert len(text.encode()) <= LIMIT
            assert not UNSEEN & set(text)
            size = eve.locator(".printed").inner_text()
            expect(eve.locator(".printed")).not_to_have_text(size)
        expect(eve.locator(".console")).to_contain_text(r"\u{1b}[31m\u{1b}[2J\u{0}\xff\xfe\u{202e} flood")
        one.stage("bob").ends(Verdict.PANIC, "The kernel panicked.")
        expect(one.view.table("Results")).to_have_text(re.compile(r"bob\s*panic\s*0 of 10.*The kernel panicked\."))
        expect(one.card("zoe").locator(".doing")).to_have_text("It starts.")
    finally:
        flooding.set()
        thread.join()
    assert one.view.tile("Graded") == "1 of 5"
    assert [one.view.tile(name) for name in ("Passed", "Did not pass", "Running", "Waiting")] == ["0", "1", "4", "0"]
    expect(one.view.page).to_have_title("1 of 5 \u00b7 jiffies \u00b7 kmodlab")


def test_the_page_keeps_what_it_had_when_the_grading_is_over(board: Open) -> None:
    one = board("ada", "bob", jobs=1)
    for name, verdict in (("ada", Verdict.PASS), ("bob", Verdict.HANG)):
        one.stage(name).phase("build", "slot").machine().phase("load", "tests").prints(name.encode() + b" was here\r\n")
        one.stage(name).ends(verdict, f"{name}'s reason.")
    one.grading.wait()
    page = one.view.page
    expect(page.get_by_text("The grading has finished.")).to_be_visible()
    expect(page.locator("main")).to_contain_text(f"The reports are in {one.grading.out}.")
    expect(page.locator(".link")).to_have_text("not live any more")
    expect(one.card("bob").locator(".doing")).to_contain_text("bob's reason.")
    expect(one.card("bob").locator(".console")).to_have_text("bob was here\n")
    took = one.view.tile("Took")
    # Its server is gone, and everything else goes on to work.
    page.get_by_role("button", name="Failed first").click()
    assert one.rows() == ["bob", "ada"]
    page.get_by_label("Colours").select_option("dark")
    assert one.view.tile("Took") == took
    one.view.errors.clear()


def test_an_interruption_is_said(board: Open) -> None:
    one = board("ada")
    one.stage("ada").breaks()
    one.grading.wait()
    expect(one.view.table("Results")).to_contain_text("infra-error")
    assert one.view.tile("Not graded") == "1"


def test_results_are_sorted_by_keyboard(board: Open) -> None:
    one = board("ada", "bob", "eve", jobs=1)
    for name, verdict in (("ada", Verdict.FAIL), ("bob", Verdict.PASS), ("eve", Verdict.PANIC)):
        one.stage(name).ends(verdict)
    expect(one.view.table("Results")).to_have_count(3)
    assert one.rows() == ["eve", "bob", "ada"], "the newest first"
    page = one.view.page
    page.get_by_role("button", name="Newest first").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert one.rows() == ["eve", "ada", "bob"], "the worst first"
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("Verdict")
    for _ in range(3):  # the table itself, which scrolls, and the columns before
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Student")).to_be_focused()
    page.keyboard.press("Enter")
    assert one.rows() == ["ada", "bob", "eve"]
    page.keyboard.press("Enter")
    assert one.rows() == ["eve", "bob", "ada"]
    expect(page.get_by_role("button", name="Student")).to_be_focused()
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Student")


def test_a_console_that_was_scrolled_up_stays_and_one_at_its_end_goes_on(board: Open) -> None:
    one = board("ada", "bob")
    top = "one => one.scrollTop"
    for name in ("ada", "bob"):
        one.stage(name).machine().prints(b"".join(b"line %d\r\n" % number for number in range(200)))
        expect(one.card(name).locator(".console")).to_contain_text("line 199")
    ada, bob = (one.card(name).locator(".console") for name in ("ada", "bob"))
    ada.evaluate("one => { one.scrollTop = 100; }")
    before = bob.evaluate(top)
    for name in ("ada", "bob"):
        one.stage(name).prints(b"".join(b"more %d\r\n" % number for number in range(100)))
        expect(one.card(name).locator(".console")).to_contain_text("more 99")
    one.view.until(lambda: bob.evaluate(top) > before)
    assert ada.evaluate(top) == 100
    assert bob.evaluate("one => one.scrollHeight - one.scrollTop - one.clientHeight") < 8


def test_names_and_consoles_are_only_text(board: Open) -> None:
    one = board(*HOSTILE, jobs=len(HOSTILE))
    for number, name in enumerate(HOSTILE):
        # Intake makes names fit for people: whom a stage belongs to is told by its place.
        stage = one.stage(sorted_students(one)[number])
        stage.machine().phase("tests").prints(name.encode() + b"\0\xff\r\n")
        stage.test(0).ends(Verdict.FAIL, f"It said {name}.", passed=1)
    expect(one.view.table("Results")).to_have_count(len(HOSTILE))
    expect(one.view.page.get_by_role("article")).to_have_count(len(HOSTILE))
    for number in range(1, len(HOSTILE) + 1):
        expect(one.view.page.locator(f"#console-{number}")).to_contain_text(r"\u{0}\xff")
    shown = one.view.page.locator("body").inner_text()
    assert "onerror" in shown, "it is shown"
    assert "\\u{1b}[31m" in shown
    assert not UNSEEN & set(shown)
    assert one.view.page.title() == f"{len(HOSTILE)} of {len(HOSTILE)} \u00b7 jiffies \u00b7 kmodlab"
    assert one.view.page.locator("img, iframe, main script, a[href^='javascript']").count() == 0
    for size in (WIDE, PHONE):
        one.view.page.set_viewport_size(size)  # type: ignore[arg-type]
        assert one.view.wider() == []


def sorted_students(one: Board) -> list[str]:
    """The students as intake names them."""
    one.view.until(lambda: len(one.grading.script.students()) == len(HOSTILE))
    return one.grading.script.students()


def test_the_policy_is_kept_by_the_browser(board: Open) -> None:
    view = board("ada").view
    view.expected += ("TrustedHTML", "Content Security Policy", "This document requires")
    said = view.page.evaluate("try { document.body.innerHTML = '<b>x</b>'; 'let in' } catch (error) { error.name }")
    assert said == "TypeError"
    assert view.page.evaluate("fetch('https://example.org').then(() => 'let out', () => 'kept in')") == "kept in"
    view.elsewhere.clear()


def test_who_has_no_token_sees_no_student(board: Open, chromium: Browser) -> None:
    one = board("ada")
    with chromium.new_context() as context:
        other = View(context.new_page(), one.grading.origin)
        other.expected += ("401",)
        for address in (one.grading.origin, one.grading.address):
            other.page.goto(address)
            expect(other.page.get_by_text("it takes a session of the staff")).to_be_visible()
            expect(other.page.locator("html")).not_to_contain_text("ada")
        expect(other.page.get_by_role("alert")).to_contain_text("this token is none, or was used")
        assert "token=" not in other.page.url
        other.page.get_by_label("Address or token").fill("guess")
        other.page.get_by_role("button", name="Open").click()
        expect(other.page.get_by_role("alert")).to_contain_text("`kmodlab grade --live` prints a new one")


def test_a_session_ends_when_its_user_says_so(board: Open) -> None:
    one = board("ada")
    one.view.expected += ("401",)
    one.view.page.get_by_role("button", name="Sign out").click()
    expect(one.view.page.get_by_label("Address or token")).to_be_visible()


def test_a_fifth_tab_says_why_it_shows_nothing(board: Open) -> None:
    one = board("ada")
    tabs = [View(one.context.new_page(), one.grading.origin) for _ in range(4)]
    tabs[-1].expected += ("503",)
    for tab in tabs[:-1]:
        tab.page.goto(one.grading.origin)
        expect(tab.page.get_by_text("ada", exact=True)).to_be_visible()
    tabs[-1].page.goto(one.grading.origin)
    expect(tabs[-1].page.locator(".link")).to_have_text("open in too many tabs")
    tabs[0].page.close()
    expect(tabs[-1].page.locator(".link")).to_have_text("live")


@pytest.mark.parametrize("look", LOOKS)
def test_a_look(board: Open, look: str, shots: Path) -> None:
    theme, size = LOOKS[look]
    students = ["Ada Lovelace", "Bob", "Eve", "Grace Hopper", "Kim", "Linus", "Margaret Hamilton", "Zo\u00eb"]
    one = board(*students, jobs=4)
    page = one.view.page
    page.set_viewport_size(size)  # type: ignore[arg-type]
    page.emulate_media(forced_colors="active" if look == "forced" else "none")
    page.get_by_label("Colours").select_option(theme)
    one.stage("Ada Lovelace").phase("build", "slot").machine().phase("tests").test(0, "passed").test(1)
    one.stage("Ada Lovelace").prints(b"".join(b"[ %3d.1] jiffies: waiting for the lock\r\n" % n for n in range(40)))
    one.stage("Bob").phase("build", "slot").machine().phase("load")
    one.stage("Bob").prints(b"[ 5.1] Kernel panic - not syncing: Fatal exception\r\n")
    one.stage("Eve").phase("build", "slot").machine().phase("tests").test(2)
    one.stage("Eve").prints(b"\x1b[31mflood\x1b[0m \0 " * 9000)
    for name, verdict in (("Grace Hopper", Verdict.PASS), ("Kim", Verdict.LEAK), ("Linus", Verdict.PASS)):
        one.stage(name).phase("build")
        one.stage(name).ends(verdict, "As it is.", passed=2)
    expect(one.view.table("Results")).to_have_count(3)
    expect(one.card("Eve").locator(".console")).to_contain_text(r"flood\u{1b}")
    assert one.view.wider() == []
    _shot(one, shots, f"board-{look}", look)
    for name in ("Ada Lovelace", "Bob", "Eve", "Margaret Hamilton", "Zo\u00eb"):
        one.stage(name).ends(Verdict.PANIC if name == "Bob" else Verdict.PASS)
    one.grading.wait()
    expect(page.get_by_text("The grading has finished.")).to_be_visible()
    page.get_by_role("button", name="Failed first").click()
    assert one.view.wider() == []
    _shot(one, shots, f"board-end-{look}", look)
    one.view.errors.clear()


def _shot(one: Board, shots: Path, name: str, look: str) -> None:
    one.view.page.evaluate("scrollTo(0, 0)")
    one.view.page.screenshot(path=shots / f"{name}.png", full_page=True)
    if look != "forced":  # the colours are the user's, so there is nothing to find that dark and light have not
        is_clean(one.view.page, look)

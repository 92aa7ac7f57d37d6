"""The hub's page in a browser: the list of hosts, one of them alone in all views, and names that are code."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.audit import FEW_ROWS, is_clean
from browser.test_hostile import HOSTILE
from browser.test_looks import _show
from browser.view import VIEWS, View
from patience import SECONDS
from playwright.sync_api import Browser, expect

from kmodlab.daemon import postgres
from kmodlab.daemon.postgres import Address
from live.daemon import PROGRAM
from live.fleet import Shown, copied, heard, looked, showing
from live.postgres import Postgres

SILENT = 7_300.0


@pytest.fixture(scope="module")
def shots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures are kept: `-p browser.conftest --shots=DIR` names a folder."""
    folder: Path = request.config.getoption("--shots", None) or tmp_path_factory.mktemp("shots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def where(server: Postgres) -> Address:
    return server.address("fleet_of_the_page")


@pytest.fixture(scope="module")
def hub(where: Address, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A fleet of four hosts, one of which is silent, and one has lost calls."""
    folder = tmp_path_factory.mktemp("fleet")
    copied(folder / "web-1", where, "web-1.example", 2_000, kernel="6.1.0-31-amd64")
    copied(folder / "web-2", where, "web-2.example", 4_000, kernel="6.12.0-2-amd64", loads=2)
    copied(folder / "build", where, "build.example", 20_000, lossy=True, seed=3, kernel="6.8.0-49-generic")
    copied(folder / "db", where, "db.example", 1_000, kernel="5.15.0-126-generic")
    for name, rss in (("web-1", 1_000), ("web-2", 3_000)):
        looked(folder / name, where, f"{name}.example", rss)
    heard(where, "db.example", SILENT)
    for name in ("web-1", "web-2", "build"):
        heard(where, f"{name}.example", -3_600.0)
    with showing(folder, where) as one:
        yield one


def token(hub: Shown) -> str:
    argv = [sys.executable, "-c", PROGRAM, "invite", "--json", "--socket", str(hub.socket)]
    return str(json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)["token"])


@contextlib.contextmanager
def looking(hub: Shown, chromium: Browser, address: str = "") -> Iterator[View]:
    """A browser that has opened the hub's page by a token."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB", timezone_id="Asia/Kolkata")
    context.set_default_timeout(SECONDS * 1000)
    one = View(context.new_page(), hub.way.origin)
    one.page.goto(f"{hub.way.origin}/{address}#token={token(hub)}")
    expect(one.page.locator(".host")).to_be_visible()
    yield one
    assert one.errors == []
    assert one.elsewhere == []
    context.close()


@pytest.fixture
def view(hub: Shown, chromium: Browser) -> Iterator[View]:
    with looking(hub, chromium) as one:
        yield one


def hosts(view: View) -> list[str]:
    """The names in the list, from the top."""
    found: list[str] = view.table("Hosts").locator("th bdi").all_inner_texts()
    return found


def busiest(view: View) -> int:
    """The calls of the busiest of a time, which are all where these are few."""
    cells = view.table("Busiest of that time").locator("td:nth-child(2)").all_inner_texts()
    return sum(int(re.sub(r"\D", "", one)) for one in cells)


def test_each_host_is_in_the_list_and_what_is_wrong_is_on_top(view: View) -> None:
    view.page.keyboard.press("9")
    expect(view.table("Hosts")).to_have_count(4)
    assert hosts(view) == ["db.example", "build.example", "web-1.example", "web-2.example"]
    verdict = view.page.locator(".verdict")
    expect(verdict).to_have_text(
        re.compile(r"Something is wrong with 1 of 4 hosts\.\s+db\.example: not heard of for [23] h\.")
    )
    silent, lossy, _, two = (view.table("Hosts").nth(number) for number in range(4))
    expect(silent).to_contain_text(re.compile("silent for [23] h"))
    expect(silent.locator("td").nth(3)).to_have_text("\u2013")
    expect(lossy).to_contain_text("has lost calls")
    expect(lossy.locator(".losses")).to_contain_text("overwritten before sending")
    expect(lossy.locator(".losses")).to_contain_text("lost in the socket")
    cells = two.locator("td").all_inner_texts()
    assert cells[0] == "as it should be"
    assert cells[4:7] == ["4\u202f000", two.locator("td").nth(5).inner_text(), "nothing"]
    assert int(cells[5]) > 0
    assert cells[7:] == ["1", "2", "6.12.0-2-amd64", "1.0.0"]
    expect(view.page.locator("p.note")).to_have_count(0)


def test_a_host_is_shown_alone_in_all_views_and_all_again(view: View, shots: Path) -> None:
    page = view.page
    page.keyboard.press("9")
    view.table("Hosts").nth(3).click()
    expect(page.locator(".host")).to_have_text("web-2.example")
    assert page.url == f"{view.origin}/?host=web-2.example#live"
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    view.until(lambda: any("/api/v1/stream" in url for url in asked))
    for name in (*VIEWS, "hosts"):
        view.go(name)
        expect(page.locator("nav [aria-current]")).to_contain_text(name.title())
        assert page.url.partition("#")[0] == f"{view.origin}/?host=web-2.example"
        if name == "health":
            expect(view.table("Ledger").filter(has_text="calls in sums")).to_contain_text("4\u202f000")
        if name == "filters":
            expect(page.locator("p.note")).to_contain_text("This page is a copy")
            expect(page.locator("main form")).to_have_count(0)
        if name == "history":
            page.get_by_role("button", name="1 h", exact=True).click()
            view.until(lambda: busiest(view) == 4_000)
        page.screenshot(path=shots / f"alone-{name}.png")
    questions = [url for url in asked if "/api/v1/" in url and not re.search(r"/(session|hosts)\b", url)]
    assert len({url.partition("?")[0] for url in questions}) >= 8
    assert [url for url in questions if "host=web-2.example" not in url] == []
    expect(view.table("Hosts").locator("xpath=self::*[@aria-current='true']")).to_contain_text("web-2.example")
    assert page.title() == "Hosts \u00b7 web-2.example \u00b7 kmodlab"
    page.reload()
    expect(page.locator(".host")).to_have_text("web-2.example")
    page.locator(".brand").get_by_role("link", name="All hosts").click()
    expect(page.locator(".host")).to_have_text("4 hosts")
    assert page.url == f"{view.origin}/#hosts"
    page.go_back()
    expect(page.locator(".host")).to_have_text("web-2.example")
    page.get_by_role("link", name="Show all as one").click()
    expect(page.locator(".host")).to_have_text("4 hosts")


def test_tasks_of_all_are_added_up_and_of_one_there_are_snapshots(view: View, shots: Path) -> None:
    page = view.page
    view.go("tasks")
    memory = view.panel("Memory in use").locator(".legend-line")
    expect(memory).to_contain_text("most 3.91 GiB")
    expect(page.locator("p.note")).to_have_text(
        "Tasks are not seen: the tasks of now are on the host's own page alone. `as of` takes a snapshot of one host"
    )
    view.until(lambda: view.painted(view.panel("Tasks by state")) > 4)
    page.screenshot(path=shots / "tasks-of-all.png")
    page.goto(f"{view.origin}/?host=web-2.example#tasks")
    expect(memory).to_contain_text("most 2.93 GiB")
    then = page.evaluate("new Date(Date.now() - 90000 + 19800000).toISOString().slice(0, 19)")
    page.get_by_label("as of").fill(then)
    page.get_by_role("button", name="Show the tasks of then").click()
    expect(view.table("Tasks")).to_have_count(7)
    expect(page.locator(".tasks-panel .said")).to_contain_text("7 tasks by the snapshot of")
    expect(page.locator("p.note")).to_have_count(0)
    page.screenshot(path=shots / "tasks-of-one.png")


def test_it_is_walked_by_keys(view: View) -> None:
    page = view.page
    view.go("hosts")
    view.table("Hosts").first.get_by_role("link").focus()
    for key, name in (
        ("ArrowDown", "build"),
        ("End", "web-2"),
        ("ArrowDown", "web-2"),
        ("ArrowUp", "web-1"),
        ("Home", "db"),
    ):
        page.keyboard.press(key)
        expect(page.locator(":focus")).to_have_text(f"{name}.example")
    page.keyboard.press("Enter")
    expect(page.locator(".host")).to_have_text("db.example")
    page.keyboard.press("9")
    expect(page.locator("nav [aria-current]")).to_contain_text("Hosts")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("1 \u2013 9")


def test_a_link_to_a_host_opens_it_and_one_that_is_not_there_is_said(hub: Shown, chromium: Browser) -> None:
    with looking(hub, chromium, "?host=web-1.example") as view:
        expect(view.page.locator(".host")).to_have_text("web-1.example")
        assert view.page.url == f"{view.origin}/?host=web-1.example#live"
        view.expected += ("404",)
        view.page.goto(f"{view.origin}/?host=<b>nobody</b>#events")
        expect(view.page.get_by_role("alert")).to_have_text(
            "the fleet has no host of that name It is called <b>nobody</b> in this address."
        )
        view.page.get_by_role("link", name="All hosts").click()
        expect(view.table("Hosts")).to_have_count(4)


@pytest.mark.parametrize("look", ["dark", "light", "phone", "forced"])
def test_a_look(view: View, look: str, shots: Path) -> None:
    _show(view, look)
    view.page.goto(f"{view.origin}/?host=web-2.example#hosts")
    expect(view.table("Hosts")).to_have_count(4)
    view.page.screenshot(path=shots / f"hosts-one-{look}.png", full_page=look == "phone")
    view.page.goto(f"{view.origin}/#hosts")
    expect(view.table("Hosts")).to_have_count(4)
    expect(view.page.locator("footer")).to_contain_text("the books close")
    view.page.screenshot(path=shots / f"hosts-{look}.png", full_page=look == "phone")
    assert view.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert view.wider() == []
    if look == "forced":
        style = "one => getComputedStyle(one).outlineStyle"
        view.page.goto(f"{view.origin}/?host=web-2.example#hosts")
        assert view.page.locator("tr[aria-current]").evaluate(style) == "solid"
        return
    is_clean(view.page, look, FEW_ROWS)


def test_names_are_only_text(tmp_path: Path, database: Address, chromium: Browser) -> None:
    """Whoever may write into the database can call a host anything."""
    names = sorted({name.replace("\0", "")[:253] for name in HOSTILE})
    copied(tmp_path / "host", database, "plain")
    with contextlib.closing(postgres.connect(database)) as base:
        for number, name in enumerate(names):
            query = "insert into source (key, host, seen) values (%s, %s, now() - interval '1 hour')"
            base.execute(query, (str(number), name))
    with showing(tmp_path, database) as hub, looking(hub, chromium) as view:
        view.go("hosts")
        expect(view.table("Hosts")).to_have_count(len(names) + 1)
        shown = view.page.locator("body").inner_text()
        assert "onerror" in shown
        assert view.page.locator("img, iframe, main script, a[href^='javascript']").count() == 0
        assert not set("\u202e\u2066\u200b\ufeff\a\x1b\U000e0041") & set(shown)
        assert view.wider() == []
        for name in names:
            view.page.goto(f"{view.origin}/#hosts")
            expect(view.table("Hosts")).to_have_count(len(names) + 1)
            row = view.table("Hosts").nth(hosts(view).index(view.page.evaluate(PLAIN, name)))
            row.get_by_role("link").click()
            expect(view.page.locator(".host")).to_have_text(view.page.evaluate(PLAIN, name))
            assert view.page.evaluate("new URLSearchParams(location.search).get('host')") == name
            assert "owned" not in view.page.title().partition("\u00b7")[0]
            assert view.page.locator("img, iframe, main script").count() == 0


PLAIN = "async (text) => (await import('./web/format.js')).plain(text)"
"""What the page makes of a name."""


def test_a_page_of_one_host_says_why_it_has_no_list(tmp_path: Path, database: Address, chromium: Browser) -> None:
    copied(tmp_path / "one", database, "one")
    with showing(tmp_path, database, "--host", "one") as hub, looking(hub, chromium) as view:
        expect(view.page.locator(".host")).to_have_text("one")
        expect(view.page.get_by_role("navigation").get_by_role("link", name="Hosts")).to_have_count(0)
        view.page.keyboard.press("9")
        expect(view.page.locator("nav [aria-current]")).to_contain_text("Live")
        view.page.goto(f"{view.origin}/#hosts")
        expect(view.page.locator("p.note")).to_have_text(
            "This page shows one host alone. The page of a fleet, kmodlabd hub, lists all hosts of it."
        )

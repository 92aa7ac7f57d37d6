"""Behind Debian's nginx, below a path, without TLS and with it: everything works, and nobody's word is taken for it."""

from __future__ import annotations

import contextlib
import http.client
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.conftest import launched, one_playwright
from browser.view import VIEWS, View
from playwright.sync_api import expect
from unit.daemon_tape import Tape
from unit.test_daemon_station import Hand

from kmodlab.daemon.api.operations import OPERATIONS
from kmodlab.daemon.api.sessions import ATTEMPTS, Role
from kmodlab.daemon.demo import Demo
from live.daemon import Daemon, Way, serving, wait
from live.docs import PAGE, snippet
from live.nginx import HOST, OPTIONS, PATH, Nginx, proxying

SESSION = "/api/v1/session"
QUESTIONS = [
    one.path
    for one in OPERATIONS
    if (one.method, one.role) == ("GET", Role.READER) and one.id not in ("streamTicks", "describeApi", "listHosts")
]
"""All but what is a file, has no end, or is a fleet's alone."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with serving(tmp_path_factory.mktemp("daemon"), Demo(past=60), *OPTIONS) as one:
        yield one


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory, daemon: Daemon) -> Iterator[Nginx]:
    with proxying(tmp_path_factory.mktemp("nginx"), daemon, snippet("nginx")) as one:
        yield one


@pytest.fixture(params=["plain", "ciphered"])
def way(request: pytest.FixtureRequest, nginx: Nginx) -> Way:
    found: Way = getattr(nginx, request.param)
    return found


def log_in(way: Way, daemon: Daemon) -> dict[str, str]:
    """The headers of a session that a browser has there."""
    answer = way.ask("POST", SESSION, {"origin": way.origin}, {"token": daemon.token()})
    assert answer.status == 201, answer.body
    cookie = answer.headers["set-cookie"]
    assert f"Path={PATH}/;" in cookie
    assert ("Secure" in cookie) == (way.authority is not None), "the server knows what the browser speaks"
    return {"cookie": cookie.partition(";")[0], "origin": way.origin}


def test_the_options_are_those_of_the_documentation() -> None:
    assert f"`kmodlabd serve {' '.join(OPTIONS)}`" in PAGE.read_text()


def test_every_question_is_answered(way: Way, daemon: Daemon) -> None:
    headers = log_in(way, daemon)
    assert len(QUESTIONS) == 11
    for path in QUESTIONS:
        answer = way.ask("GET", path, headers)
        assert answer.status == 200, (path, answer.body)
    assert way.ask("GET", SESSION).status == 401
    assert b"openapi: 3.1.0" in way.ask("GET", "/api/v1/openapi.yaml", headers).body


def test_a_change_is_made_and_its_maker_known(way: Way, daemon: Daemon) -> None:
    headers = log_in(way, daemon)
    for command in ("unlink block path=/tmp/", "unlink delete"):
        answer = way.ask("POST", "/api/v1/control", headers, {"command": command})
        assert answer.status == 200, answer.body
    assert way.ask("POST", "/api/v1/control", {**headers, "origin": "https://evil.example"}, {}).status == 403
    made = ["unlink delete", "unlink block path=/tmp/"]
    wait(lambda: daemon.get("/api/v1/changes")["what"][:2] == made, "both are in the history")


def test_frames_come_while_the_stream_is_open(way: Way, daemon: Daemon) -> None:
    with contextlib.closing(way.send("GET", "/api/v1/stream", log_in(way, daemon))) as connection:
        response = connection.getresponse()
        assert response.status == 200
        assert kinds(response, 3) == ["state", "tick", "tick"]
        assert not response.isclosed()


def test_no_frame_waits_for_another(tmp_path: Path) -> None:
    """Of a machine on which nothing happens frames are small: a proxy that collects them would keep them."""
    for name in ("daemon", "nginx"):
        (tmp_path / name).mkdir()
    feed, tape = Hand(), Tape()
    with (
        serving(tmp_path / "daemon", feed, *OPTIONS) as daemon,
        proxying(tmp_path / "nginx", daemon, snippet("nginx")) as nginx,
    ):
        feed.give(*tape.begin(), tape.counters())
        wait(lambda: daemon.get("/api/v1/machine")["epoch"], "it is recorded")
        headers = log_in(nginx.plain, daemon)
        with contextlib.closing(nginx.plain.send("GET", "/api/v1/stream", headers)) as connection:
            wait(lambda: sent(daemon) >= 1, "a tick is sent")
            with daemon.stopped():
                assert kinds(connection.getresponse(), 2) == ["state", "tick"]


def kinds(response: http.client.HTTPResponse, number: int) -> list[str]:
    """The kinds of the next events of a stream."""
    found: list[str] = []
    while len(found) < number:
        line = response.readline().decode()
        assert line, "the stream has ended"
        if line.startswith("event: "):
            found.append(line.split()[1])
    return found


def sent(daemon: Daemon) -> float:
    """How many ticks the daemon has sent to streams."""
    page = daemon.way.ask("GET", "/metrics", {"authorization": f"Bearer {daemon.reader}"}).body.decode()
    (number,) = re.findall(r'^kmodlab_frames_total\{fate="sent"\} (\S+)$', page, re.MULTILINE)
    return float(number)


def test_a_name_that_is_not_ours_is_not_answered(way: Way, daemon: Daemon) -> None:
    headers = {**log_in(way, daemon), "host": f"evil.example:{way.port}"}
    assert way.ask("GET", "/api/v1/machine", headers).status == 421


def guesses(way: Way, source: str, number: int, **headers: str) -> list[int]:
    """What wrong tokens are answered with from an address, each with another forged one."""
    there = Way(way.port, way.path, way.host, source, way.authority)
    found = []
    for n in range(number):
        forged = {name.replace("_", "-"): value.format(n=n) for name, value in headers.items()}
        found.append(there.ask("POST", SESSION, forged, {"token": f"guess-{n}"}).status)
    return found


def test_each_client_has_its_own_address(nginx: Nginx, daemon: Daemon) -> None:
    """What one has tried is not counted as another's, whatever either says; through the proxy, and past it."""
    spent = guesses(nginx.plain, "127.0.0.7", 3 * ATTEMPTS, x_forwarded_for="10.0.0.{n}")
    assert spent[:ATTEMPTS] == [401] * ATTEMPTS
    assert 429 in spent, "a forged address is no other address"
    assert guesses(nginx.ciphered, "127.0.0.8", ATTEMPTS) == [401] * ATTEMPTS
    past = guesses(daemon.way, "127.0.0.9", 3 * ATTEMPTS, x_forwarded_for="10.0.1.{n}")
    assert 429 in past, "one that is no proxy says nothing of others"
    assert guesses(daemon.way, "127.0.0.10", ATTEMPTS) == [401] * ATTEMPTS


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.12"])
def test_what_a_client_says_of_tls_is_not_believed(nginx: Nginx, daemon: Daemon, source: str) -> None:
    """Through the proxy, which says what is so; and past it, from elsewhere."""
    forged = {"x-forwarded-proto": "https", "x-forwarded-host": "evil.example", "x-forwarded-prefix": "/evil"}
    ways = [Way(nginx.plain.port, PATH, HOST, source)]
    if source != "127.0.0.1":
        ways.append(Way(daemon.way.port, source=source))
    for way in ways:
        answer = way.ask("POST", SESSION, {**forged, "origin": way.origin}, {"token": daemon.token()})
        assert answer.status == 201, answer.body
        assert "Secure" not in answer.headers["set-cookie"]
        assert f"Path={PATH}/;" in answer.headers["set-cookie"]


def test_the_page_in_a_browser(way: Way, daemon: Daemon) -> None:
    """Each view, with all that it loads, and calls that come as they are made."""
    with (
        one_playwright() as playwright,
        contextlib.closing(launched(playwright, f"--host-resolver-rules=MAP {HOST} 127.0.0.1")) as chromium,
    ):
        context = chromium.new_context(ignore_https_errors=True)
        page = context.new_page()
        view = View(page, f"{way.origin}{PATH}")
        if not way.authority:
            # Chromium complains that it takes this header by TLS alone.
            view.expected += ("Cross-Origin-Opener-Policy header has been ignored",)
        page.goto(f"{way.origin}{PATH}/#token={daemon.token()}")
        expect(page.locator(".link")).to_have_text("live")
        expect(page.locator("footer")).to_contain_text("the books close")
        for name in VIEWS:
            view.go(name)
            expect(page).to_have_url(f"{way.origin}{PATH}/#{name}")
            expect(page.locator("section.panel").first).to_be_visible()
        expect(view.go("events").table("Newest calls").first).to_be_visible()
        assert (view.errors, view.elsewhere) == ([], [])
        (cookie,) = context.cookies()
        assert (cookie["path"], cookie["httpOnly"], cookie["sameSite"]) == (f"{PATH}/", True, "Strict")
        assert cookie["secure"] == (way.authority is not None)

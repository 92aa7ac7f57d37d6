"""How the terminal asks: over the daemon's socket and over TCP, through restarts, ends of sessions and slow changes."""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import SECONDS

from kmodlab import dashboard
from kmodlab.daemon.api.sessions import Caller, Role
from kmodlab.errors import KmodlabError
from kmodlab.top.client import Client, Problem, TcpWay, UnixWay
from kmodlab.top.command import GuestWay
from kmodlab.top.feed import Feed, Link
from kmodlab.top.model import Model
from unit.live_server import Live, running
from unit.live_source import row, tick


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("top")) as live:
        yield live


@pytest.fixture
def live(server: Live) -> Live:
    return server.fresh()


class Heard:
    """What a feed has told, one after the other."""

    def __init__(self) -> None:
        self.queue: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.model = Model()

    def __call__(self, kind: str, what: Any) -> None:
        self.queue.put((kind, what))

    def until(self, kind: str, what: Any = None) -> Any:
        """Take what comes until that comes; it is merged as the program does."""
        while True:
            found, data = self.queue.get(timeout=SECONDS)
            if found == "state":
                self.model.begin(data)
            elif found == "tick":
                self.model.apply(data)
            if found == kind and what in (None, data[0] if found == "link" else data.get("number")):
                return data


@contextlib.contextmanager
def fed(client: Client) -> Iterator[tuple[Feed, Heard]]:
    """A feed for as long as the block runs."""
    heard = Heard()
    feed = Feed(client, heard, retry=0.05)
    feed.start()
    try:
        yield feed, heard
    finally:
        feed.stop()
        assert not feed._thread.is_alive()


# -- questions -----------------------------------------------------------------------------------------------------


def test_the_socket_asks_who_it_is_and_answers(live: Live) -> None:
    client = Client(UnixWay(live.path))
    assert client.get("session")["role"] == "admin", "its own user"
    live.source.rows = [row(1), row(2, call="unlink")]
    found = client.get("events", filter="call=unlink", begin=0, end=None)
    assert found["rows"]["seq"] == [2]


def test_a_session_of_a_token_reads_and_changes(live: Live) -> None:
    way = TcpWay(live.port)
    way.enter(live.sessions.invite(Caller("ada", Role.ADMIN)))
    client = Client(way)
    assert client.get("session")["who"] == "ada"
    assert client.post("control", {"command": "open block"})["filters"] == ["unlink block", "open block"]
    assert live.source.changed[0].who == "ada"


def test_a_refusal_is_the_kernels_sentence_with_its_hint(live: Live) -> None:
    client = Client(UnixWay(live.path))
    with pytest.raises(Problem, match="syscall_tracer: no such system call: nonsense") as raised:
        client.post("control", {"command": "nonsense block"})
    assert (raised.value.code, raised.value.hint) == (409, "see /proc/kallsyms")


def test_a_reader_may_not_change(live: Live) -> None:
    way = TcpWay(live.port)
    way.enter(live.sessions.invite(Caller("eve", Role.READER)))
    with pytest.raises(Problem, match="this takes the role admin"):
        Client(way).post("control", {"command": "clear"})


def test_a_token_is_good_once(live: Live) -> None:
    token = live.sessions.invite(Caller("ada", Role.ADMIN))
    TcpWay(live.port).enter(token)
    with pytest.raises(Problem, match="this token is none, or was used"):
        TcpWay(live.port).enter(token)


def test_without_a_session_it_is_over(live: Live) -> None:
    with pytest.raises(Problem, match="this takes a session") as raised:
        Client(TcpWay(live.port)).get("machine")
    assert raised.value.over


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="the daemon does not answer: No such file") as raised:
        Client(UnixWay(tmp_path / "none")).get("session")
    assert (raised.value.code, raised.value.status) == (0, 3)


def test_who_answers_nonsense(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.create_server(str(path), family=socket.AF_UNIX) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\xff<>")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Problem, match="answers what is no JSON"):
            Client(UnixWay(path)).get("session")
        thread.join()


# -- the stream ----------------------------------------------------------------------------------------------------


def test_a_state_then_ticks(live: Live) -> None:
    live.tell(tick(1, more=10))
    with fed(Client(UnixWay(live.path))) as (_, heard):
        heard.until("state")
        live.tell(tick(2, [row(1)], ledger={"rolled": 11}))
        heard.until("tick", 2)
        assert [one["seq"] for one in heard.model.views[""].rows] == [1]
        assert heard.model.sums.closes


def test_another_filter_misses_no_tick_and_counts_none_twice(live: Live) -> None:
    live.tell(tick(1, more=10))
    with fed(Client(UnixWay(live.path))) as (feed, heard):
        heard.until("state")
        rolled = 10
        for number in range(2, 42):
            rolled += number
            live.tell(tick(number, more=number, ledger={"rolled": rolled}))
            if number % 5 == 0:
                feed.want(f"pid={number}")
        heard.until("tick", 41)
        assert heard.model.events == sum(range(2, 42))
        assert heard.model.sums.closes
        live.tell(tick(42, [row(7, pid=40)], ledger={"rolled": rolled + 1}))
        heard.until("tick", 42)
        assert [one["pid"] for one in heard.model.views["pid=40"].rows] == [40]


def test_a_daemon_that_goes_and_comes_back(tmp_path: Path) -> None:
    client = Client(UnixWay(tmp_path / "s"))
    with contextlib.ExitStack() as stack:
        with running(tmp_path) as first:
            first.tell(tick(1, more=10))
            _, heard = stack.enter_context(fed(client))
            heard.until("state")
        why = heard.until("link", Link.RECONNECTING)[1]
        assert why == "the daemon has ended the stream: the server ends"
        why = heard.until("link", Link.RECONNECTING)[1]
        # As far as the end of the other one is.
        assert why.startswith(("the daemon does not answer: No such file", "the daemon does not answer: Connection"))
        with running(tmp_path) as second:
            second.tell(tick(1, more=500, ledger={"rolled": 500}))
            heard.until("state")
            second.tell(tick(2, more=3, ledger={"rolled": 503}))
            heard.until("tick", 2)
            # The first tick may be in the state that a client begins with, or come after it.
            sums = heard.model.sums
            assert (sums.base + sums.events, sums.events in (3, 503), sums.closes) == (503, True, True)


def test_a_session_that_ends_is_said_and_not_asked_for_again(live: Live) -> None:
    way = TcpWay(live.port)
    way.enter(live.sessions.invite(Caller("ada", Role.ADMIN)))
    live.tell(tick(1, more=10))
    with fed(Client(way)) as (feed, heard):
        heard.until("state")
        live.run(live.sessions._sessions.clear)
        live.tell(tick(2, more=1, ledger={"rolled": 11}))
        heard.until("link", Link.ENDED)
        feed._thread.join(SECONDS)
        assert not feed._thread.is_alive()


class Guest:
    """A guest, as far as a way asks it."""

    name = "lab"


@pytest.fixture
def ways(live: Live, monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[str]]:
    """Each tunnel that was made: the test's own server is at its other end."""
    made: list[subprocess.Popen[str]] = []

    def invite(guest: Any, say: Any, seconds: float = 0) -> dashboard.Invitation:
        del guest, say, seconds
        return dashboard.Invitation(live.sessions.invite(Caller("root", Role.ADMIN)), 8480)

    @contextlib.contextmanager
    def tunnel(guest: Any, local: int, remote: int) -> Iterator[tuple[int, subprocess.Popen[str]]]:
        assert (guest.name, remote, local > 0) == ("lab", 8480, True)
        made.append(subprocess.Popen(["sleep", "600"], text=True))
        try:
            yield live.port, made[-1]
        finally:
            made[-1].kill()
            made[-1].wait()

    monkeypatch.setattr(dashboard, "invite", invite)
    monkeypatch.setattr(dashboard, "tunnel", tunnel)
    return made


def test_a_guests_session_is_opened_anew_when_it_ends(live: Live, ways: list[subprocess.Popen[str]]) -> None:
    live.tell(tick(1, more=10))
    with contextlib.closing(GuestWay(Guest())) as way:  # type: ignore[arg-type]
        way.begin()
        with fed(Client(way)) as (_, heard):
            heard.until("state")
            live.run(live.sessions._sessions.clear)
            live.tell(tick(2, more=1, ledger={"rolled": 11}))
            heard.until("link", Link.RENEWING)
            heard.until("link", Link.OPEN)
            live.tell(tick(3, more=1, ledger={"rolled": 12}))
            heard.until("tick", 3)
            assert heard.model.sums.closes
    assert len(ways) == 1, "the tunnel was good"
    assert ways[0].returncode is not None, "nothing is left behind"


def test_a_guests_tunnel_is_made_anew_when_it_ends(ways: list[subprocess.Popen[str]]) -> None:
    with contextlib.closing(GuestWay(Guest())) as way:  # type: ignore[arg-type]
        way.begin()
        client = Client(way)
        assert client.get("session")["who"] == "root"
        ways[0].kill()
        ways[0].wait()
        with pytest.raises(Problem, match="the connection to the guest lab has ended") as raised:
            client.get("session")
        assert raised.value.over
        with fed(client) as (_, heard):
            heard.until("link", Link.RENEWING)
            heard.until("state")
        assert len(ways) == 2


def test_an_invitation_that_fails_is_said_and_tried_again(
    live: Live, ways: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(GuestWay(Guest())) as way:  # type: ignore[arg-type]
        way.begin()
        given, left = dashboard.invite, [KmodlabError("the guest lab does not answer")] * 2

        def invite(*words: Any) -> dashboard.Invitation:
            if left:
                raise left.pop()
            return given(*words)

        monkeypatch.setattr(dashboard, "invite", invite)
        live.run(live.sessions._sessions.clear)
        with fed(Client(way)) as (_, heard):
            assert heard.until("link", Link.RECONNECTING)[1] == "the guest lab does not answer"
            heard.until("state")
    assert (left, len(ways)) == ([], 1)


def test_a_stream_that_is_quiet_ends_at_once_when_the_program_does(live: Live) -> None:
    with fed(Client(UnixWay(live.path))) as (feed, heard):
        heard.until("state")
        feed.stop()
        assert not feed._thread.is_alive()
    with pytest.raises(Problem, match="the program ends"):
        feed._client.get("session")

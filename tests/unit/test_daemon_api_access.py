"""Who gets in to the daemon's server, and what nobody gets."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from kmodlab.daemon.api import server
from kmodlab.daemon.api.access import POLICY
from kmodlab.daemon.api.operations import OPERATIONS
from kmodlab.daemon.api.peer import Peer
from kmodlab.daemon.api.sessions import ATTEMPTS, IDLE_SECONDS, LIFE_SECONDS, Caller, Role, Sessions, hashed
from kmodlab.errors import UsageError
from unit.live_server import Live, running

MACHINE = "/api/v1/machine"
SESSION = "/api/v1/session"
CONTROL = "/api/v1/control"
COMMAND = {"command": "chmod block"}


# -- sessions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.role], ids=lambda one: one.id)
def test_everything_takes_a_session(live: Live, operation: object) -> None:
    method, path = getattr(operation, "method"), getattr(operation, "path")  # noqa: B009
    answer = live.ask(method, path, body={} if method == "POST" else None)
    assert (answer.status, answer.json["detail"]) == (401, "this takes a session")


def test_a_token_opens_one_session(live: Live) -> None:
    token = live.sessions.invite(Caller("anna", Role.READER))
    first, second = (live.ask("POST", SESSION, body={"token": token}) for _ in range(2))
    assert (first.status, first.json["who"], first.json["role"]) == (201, "anna", "reader")
    assert (second.status, second.json["detail"]) == (401, "this token is none, or was used")


def test_the_cookie_is_for_this_server_and_no_script(live: Live) -> None:
    token = live.sessions.invite(Caller("anna", Role.READER))
    cookie = live.ask("POST", SESSION, body={"token": token}).headers["set-cookie"]
    assert cookie.startswith(f"{live.sessions.cookie}=")
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip().lower() for part in cookie.split(";")}


def test_two_servers_of_a_host_have_cookies_of_their_own() -> None:
    assert Sessions().cookie != Sessions().cookie


def test_a_session_ends_when_its_user_says_so(live: Live) -> None:
    headers = live.log_in()
    assert live.ask("GET", MACHINE, headers).status == 200
    assert live.ask("DELETE", SESSION, headers).status == 204
    assert live.ask("GET", MACHINE, headers).status == 401


class Hands:
    """A clock that is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_that_asks_for_nothing_ends() -> None:
    clock = Hands()
    sessions = Sessions(clock=clock)
    opened = sessions.open(sessions.invite(Caller("anna", Role.READER)))
    assert opened
    for _ in range(3):
        clock.now += IDLE_SECONDS - 1
        assert sessions.caller(opened[0]), "it was used"
    clock.now += IDLE_SECONDS + 1
    assert sessions.caller(opened[0]) is None


def test_no_session_lives_longer_than_a_day() -> None:
    clock = Hands()
    sessions = Sessions(clock=clock)
    opened = sessions.open(sessions.invite(Caller("anna", Role.READER)))
    assert opened
    alive = 0.0
    while alive < 3 * LIFE_SECONDS and sessions.caller(opened[0]):
        clock.now += IDLE_SECONDS / 2
        alive += IDLE_SECONDS / 2
    assert LIFE_SECONDS < alive <= LIFE_SECONDS + IDLE_SECONDS


def test_a_token_that_nobody_used_runs_out() -> None:
    clock = Hands()
    sessions = Sessions(clock=clock)
    token = sessions.invite(Caller("anna", Role.READER))
    clock.now += 601
    assert sessions.open(token) is None


def test_tokens_and_sessions_are_bounded() -> None:
    sessions = Sessions()
    tokens = [sessions.invite(Caller("anna", Role.READER)) for _ in range(100)]
    assert sessions.open(tokens[0]) is None
    for _ in range(300):
        assert sessions.open(sessions.invite(Caller("anna", Role.READER)))
    assert sessions.count() == 256


def test_no_secret_is_kept() -> None:
    sessions = Sessions()
    token = sessions.invite(Caller("anna", Role.READER))
    assert token not in repr(sessions)
    opened = sessions.open(token)
    assert opened
    assert opened[0] not in repr(sessions)


def test_tokens_cannot_be_tried_for_ever(live: Live) -> None:
    answers = [live.ask("POST", SESSION, body={"token": f"guess-{n}"}).status for n in range(ATTEMPTS + 3)]
    assert answers[:ATTEMPTS] == [401] * ATTEMPTS
    assert answers[-1] == 429
    token = live.sessions.invite(Caller("anna", Role.READER))
    assert live.ask("POST", SESSION, body={"token": token}).status in (201, 429)


def test_no_secret_is_logged(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = live.sessions.invite(Caller("anna", Role.READER))
    cookie = live.ask("POST", f"{SESSION}?token={token}", body={"token": token}).headers["set-cookie"]
    live.ask("GET", MACHINE, {"cookie": cookie})
    secret = cookie.partition("=")[2].partition(";")[0]
    assert token not in caplog.text
    assert secret not in caplog.text


def test_a_key_is_for_programs(tmp_path: Path) -> None:
    sessions = Sessions(keys={hashed("s3cret"): Caller("prometheus", Role.READER)})
    with running(tmp_path, sessions) as live:
        good, bad = {"authorization": "Bearer s3cret"}, {"authorization": "Bearer secret"}
        assert live.ask("GET", "/metrics", good).status == 200
        assert live.ask("POST", CONTROL, good, COMMAND).status == 403
        assert (live.ask("GET", "/metrics", bad).status, live.ask("GET", "/metrics").status) == (401, 401)
        assert live.ask("GET", "/metrics", {**bad, **live.log_in()}).status == 401
        assert live.ask("GET", "/metrics", {"authorization": "Basic s3cret"}).status == 401


# -- roles ---------------------------------------------------------------------------------------------------------


def test_a_reader_changes_nothing(live: Live) -> None:
    headers = live.log_in(Role.READER)
    answer = live.ask("POST", CONTROL, headers, COMMAND)
    assert (answer.status, answer.json["detail"]) == (403, "this takes the role admin")
    assert live.ask("POST", "/api/v1/invitations", headers, {"role": "admin"}).status == 403
    assert live.source.filters == ("unlink block",)


def test_an_admin_changes_filters_and_it_is_known_who(live: Live) -> None:
    headers = live.log_in(Role.ADMIN)
    answer = live.ask("POST", CONTROL, headers, COMMAND)
    assert (answer.status, answer.json["filters"]) == (200, ["unlink block", "chmod block"])
    changes = live.ask("GET", "/api/v1/changes", headers).json
    assert (changes["who"], changes["what"]) == (["admin"], ["chmod block"])


def test_what_the_kernel_refuses_is_said_in_its_words(live: Live) -> None:
    answer = live.ask("POST", CONTROL, live.log_in(Role.ADMIN), {"command": "nonsense block"})
    assert (answer.status, answer.json["detail"]) == (409, "syscall_tracer: no such system call: nonsense")
    assert answer.json["hint"] == "see /proc/kallsyms"
    assert answer.headers["content-type"] == "application/problem+json"


def test_changes_are_limited(live: Live) -> None:
    headers = live.log_in(Role.ADMIN)
    answers = [live.ask("POST", CONTROL, headers, COMMAND).status for _ in range(40)]
    assert answers[:20] == [200] * 20
    assert 429 in answers[20:]


def test_an_admin_invites_and_gives_no_more_than_was_asked(live: Live) -> None:
    invited = live.ask("POST", "/api/v1/invitations", live.log_in(Role.ADMIN), {"role": "reader"})
    opened = live.ask("POST", SESSION, body={"token": invited.json["token"]})
    assert (invited.status, opened.json["role"]) == (201, "reader")


def test_what_a_path_allows_is_said_of_all_its_operations(live: Live) -> None:
    headers = live.log_in()
    for path in dict.fromkeys(one.path for one in OPERATIONS):
        methods = {one.method for one in OPERATIONS if one.path == path}
        answer = live.ask("PUT", path, headers)
        assert answer.status == 405
        assert set(answer.headers["allow"].split(", ")) - {"HEAD"} == methods


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_only_a_post_changes_something(live: Live, method: str) -> None:
    answer = live.ask(method, f"{CONTROL}?command=chmod+block", live.log_in(Role.ADMIN), COMMAND)
    assert answer.status == 405
    assert live.source.filters == ("unlink block",)


# -- other pages, other names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "", "127.0.0.1.evil.example:{port}"])
def test_a_name_that_is_not_ours_is_not_answered(live: Live, host: str) -> None:
    headers = {**live.log_in(), "host": host.format(port=live.port)}
    assert live.ask("GET", MACHINE, headers).status == 421
    assert live.ask("GET", "/", headers).status == 421


def test_the_names_that_are_ours_are(live: Live) -> None:
    cookie = live.log_in()["cookie"]
    for host in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        assert live.ask("GET", MACHINE, {"cookie": cookie, "host": f"{host}:{live.port}"}).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1:{port}"])
def test_a_page_of_another_origin_gets_nothing(live: Live, origin: str) -> None:
    headers = {**live.log_in(Role.ADMIN), "origin": origin.format(port=live.port)}
    assert live.ask("POST", CONTROL, headers, COMMAND).status == 403
    assert live.ask("GET", MACHINE, headers).status == 403
    assert live.source.filters == ("unlink block",)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_site_gets_nothing(live: Live, site: str) -> None:
    headers = {
        **live.log_in(Role.ADMIN),
        "sec-fetch-site": site,
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    assert live.ask("POST", CONTROL, headers, COMMAND).status == 403
    assert live.ask("GET", MACHINE, headers).status == 403
    assert live.ask("GET", "/", {**headers, "sec-fetch-dest": "iframe"}).status == 403
    assert live.ask("GET", "/", {**headers, "origin": live.origin}).status == 200, "a link to the page may be followed"


def test_a_change_with_a_cookie_says_where_it_comes_from(live: Live) -> None:
    cookie = {"cookie": live.log_in(Role.ADMIN)["cookie"]}
    assert live.ask("POST", CONTROL, cookie, COMMAND).status == 403
    assert live.ask("POST", CONTROL, {**cookie, "sec-fetch-site": "none"}, COMMAND).status == 403
    assert live.ask("POST", CONTROL, {**cookie, "sec-fetch-site": "same-origin"}, COMMAND).status == 200


@pytest.mark.parametrize("path", ["/", "/web/app.js", MACHINE, "/nowhere", "/metrics"])
def test_every_answer_is_hardened(live: Live, path: str) -> None:
    headers = live.ask("GET", path, live.log_in()).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers
    assert headers["cache-control"] == ("no-cache" if path in ("/", "/web/app.js") else "no-store")


def test_the_policy_lets_no_text_become_script() -> None:
    rules = dict(rule.split(" ", 1) for rule in POLICY.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert (rules["require-trusted-types-for"], rules["trusted-types"]) == ("'script'", "lit-html")
    assert rules["frame-ancestors"] == "'none'"


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../api/openapi.yaml", "..%2fapi%2fopenapi.yaml", "/etc/passwd", "nothing.js", ""])
def test_only_the_files_of_the_page_are_there(live: Live, name: str) -> None:
    assert live.ask("GET", f"/web/{name}").status == 404


def test_a_file_is_sent_once(live: Live) -> None:
    first = live.ask("GET", "/web/app.js")
    second = live.ask("GET", "/web/app.js", {"if-none-match": first.headers["etag"]})
    assert (first.status, second.status, second.body) == (200, 304, b"")


# -- the Unix socket -----------------------------------------------------------------------------------------------


def test_the_servers_own_user_is_an_admin_by_the_socket(live: Live) -> None:
    answer = live.ask("POST", CONTROL, body=COMMAND, unix=True)
    assert answer.status == 200
    assert live.ask("GET", SESSION, unix=True).json["role"] == "admin"
    assert live.path.stat().st_mode & 0o777 == 0o600


def test_another_user_gets_nothing_by_the_socket(tmp_path: Path) -> None:
    with running(tmp_path, authorize=lambda _: None) as live:
        answer = live.ask("GET", MACHINE, unix=True)
    assert (answer.status, answer.json["hint"]) == (403, "be root, or a member of the group kmodlab")


def test_a_peer_is_who_the_kernel_says(tmp_path: Path) -> None:
    seen: list[Peer] = []

    def authorize(peer: Peer) -> Caller:
        seen.append(peer)
        return Caller("somebody", Role.READER)

    with running(tmp_path, authorize=authorize) as live:
        assert live.ask("POST", CONTROL, body=COMMAND, unix=True).status == 403
    assert seen[0].uid == os.geteuid()
    assert {os.getegid(), *os.getgroups()} == seen[0].groups


def test_what_a_peer_may_do() -> None:
    stranger = os.geteuid() + 12345
    assert Peer(0, frozenset()).caller() == Caller("root", Role.ADMIN)
    assert Peer(stranger, frozenset({1})).caller(group="root") is None
    member = Peer(stranger, frozenset({0})).caller(group="root")
    assert member == Caller(f"uid {stranger}", Role.READER)
    assert Peer(stranger, frozenset({0})).caller(group="there-is-no-such-group") is None


def test_the_socket_takes_the_place_of_no_file(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(UsageError, match="is there already, and is no socket"), server.unix(tmp_path / "precious"):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_port_that_is_taken_is_said(live: Live) -> None:
    with pytest.raises(
        UsageError, match=f"port {live.port} of 127.0.0.1 cannot be listened on: Address already in use"
    ):
        server.tcp(live.port)


# -- behind a proxy ------------------------------------------------------------------------------------------------


def test_behind_a_path(tmp_path: Path) -> None:
    with running(tmp_path, root_path="/lab/x") as live:
        token = live.sessions.invite(Caller("anna", Role.READER))
        opened = live.ask("POST", SESSION, {"origin": live.origin}, {"token": token})
        assert "path=/lab/x/" in opened.headers["set-cookie"].lower()
        assert live.ask("GET", MACHINE, {"cookie": opened.headers["set-cookie"].partition(";")[0]}).status == 200
        assert b'src="web/app.js"' in live.ask("GET", "/").body, "addresses are relative"


def test_what_a_proxy_says_is_believed_of_that_proxy_alone(tmp_path: Path) -> None:
    forged = {"x-forwarded-proto": "https", "x-forwarded-for": "1.2.3.4"}
    for proxies, secure in (("", False), ("10.0.0.1", False), ("127.0.0.1", True)):
        with running(tmp_path, proxies=proxies) as live:
            token = live.sessions.invite(Caller("anna", Role.READER))
            cookie = live.ask("POST", SESSION, forged, {"token": token}).headers["set-cookie"]
            assert ("secure" in cookie.lower()) == secure

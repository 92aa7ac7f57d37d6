"""The gate: which requests come through at all, as whose, and what every answer says to a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .peer import Peer
from .problem import Denied
from .sessions import Caller, Sessions

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types lit-html",
    )
)
"""No script, no style but our own files; text cannot become either: Lit's templates alone are made into elements."""
_HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_SAFE = ("GET", "HEAD")


@dataclass(frozen=True)
class Gate:
    """What stands before the application.

    Args:
        app: the application.
        sessions: of this server.
        hosts: what browsers may call this server, with the port, `*` for any: anything else is DNS rebinding.
        authorize: what a peer of the Unix socket may do.
    """

    app: ASGIApp
    sessions: Sessions
    hosts: frozenset[str]
    authorize: Callable[[Peer], Caller | None] = Peer.caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sending = _hardened(send)
        try:
            scope.setdefault("state", {})["caller"] = self._caller(scope)
        except Denied as denial:
            await denial.response()(scope, receive, sending)
            return
        await self.app(scope, receive, sending)

    def _caller(self, scope: Scope) -> Caller | None:
        """Return who asks, if anybody that we know.

        Raises:
            Denied: no such request is answered, whoever asks.
        """
        headers = Headers(scope=scope)
        if peer := scope["state"].get("peer"):
            return self._peer(peer)
        self._check_host(headers)
        self._check_site(scope, headers)
        if caller := self._key(headers):
            return caller
        return self._session(scope, headers)

    def _peer(self, peer: Peer) -> Caller:
        if caller := self.authorize(peer):
            return caller
        raise Denied(403, "this user may not ask here", hint="be root, or a member of the group kmodlab")

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._goes_by(hosts[0].lower()):
            hint = f"it goes by {', '.join(sorted(self.hosts))}"
            raise Denied(421, "this server does not go by that name", hint=hint)

    def _goes_by(self, host: str) -> bool:
        return host in self.hosts or f"{host.rpartition(':')[0]}:*" in self.hosts

    def _check_site(self, scope: Scope, headers: Headers) -> None:
        """Refuse what a page of another origin makes a browser send, but following a link to the page."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        own = f"{scope['scheme']}://{headers['host']}".lower()
        if origin is not None and origin.lower() != own:
            raise Denied(403, "pages of another origin may not ask here")
        allowed = ("same-origin", "none") if scope["method"] in _SAFE else ("same-origin",)
        if site is not None and site not in allowed and not _is_link(scope, headers):
            raise Denied(403, "pages of another site may not ask here")

    def _key(self, headers: Headers) -> Caller | None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if not scheme:
            return None
        if scheme.lower() == "bearer" and (caller := self.sessions.key(key.strip())):
            return caller
        raise Denied(401, "this key is none", headers={"www-authenticate": "Bearer"})

    def _session(self, scope: Scope, headers: Headers) -> Caller | None:
        cookies = cookie_parser(headers.get("cookie", ""))
        caller = self.sessions.caller(cookies.get(self.sessions.cookie, ""))
        vouched = scope["method"] in _SAFE or "origin" in headers or "sec-fetch-site" in headers
        if caller and not vouched:
            raise Denied(403, "a change with a cookie takes the header Origin", hint="programs use a key")
        return caller


def _is_link(scope: Scope, headers: Headers) -> bool:
    """Return whether somebody followed a link to the page itself, which has no data in it."""
    to_page = scope["method"] in _SAFE and scope["path"] == scope.get("root_path", "") + "/"
    return to_page and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _hardened(send: Send) -> Send:
    """Return a `send` that adds what every answer says to a browser."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(_HEADERS)
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sending


def names(port: int | str, others: Iterable[str] = ()) -> frozenset[str]:
    """Return what browsers may call a server that listens on this port of the loopback, and by these names.

    The port `*` is any: whoever comes through a tunnel names the port that the tunnel has. A page that has bound a name
    of its own to this address is refused by that name.
    """
    local = (f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]"))
    return frozenset(name.lower() for name in (*local, *others))

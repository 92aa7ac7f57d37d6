"""Sessions, and invitations to them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .... import __version__
from .. import query
from ..problem import Denied
from ..sessions import INVITATION_SECONDS, LIFE_SECONDS, Caller, Role, Sessions

_TOKEN_LETTERS = 128


def _shown(caller: Caller) -> dict[str, str | int]:
    offset = time.localtime().tm_gmtoff
    return {"who": caller.who, "role": caller.role.word, "version": __version__, "utc_offset": offset}


@dataclass(frozen=True)
class Session:
    """`/api/v1/session`."""

    sessions: Sessions
    command: str = "kmodlab dashboard"
    """That prints an address with a token."""

    async def read(self, request: Request) -> Response:
        """Tell who asks."""
        return JSONResponse(_shown(request.state.caller))

    async def open(self, request: Request) -> Response:
        """Exchange a token for a session."""
        address = request.client.host if request.client else "socket"
        if not self.sessions.may_try(address):
            raise Denied(429, "too many tokens were tried", headers={"retry-after": "1"})
        opened = self.sessions.open(await query.body(request, "token", _TOKEN_LETTERS))
        if opened is None:
            hint = f"each opens one session, and in its time: `{self.command}` prints a new one"
            raise Denied(401, "this token is none, or was used", hint=hint)
        secret, caller = opened
        response = JSONResponse(_shown(caller), 201)
        self._set_cookie(request, response, secret)
        return response

    def _set_cookie(self, request: Request, response: Response, secret: str) -> None:
        response.set_cookie(
            self.sessions.cookie,
            secret,
            max_age=int(LIFE_SECONDS),
            path=request.scope.get("root_path", "") + "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )

    async def close(self, request: Request) -> Response:
        """End the session; a key, or a peer, has none."""
        caller: Caller = request.state.caller
        if caller.session:
            self.sessions.close(caller.session)
        response = Response(status_code=204)
        response.delete_cookie(self.sessions.cookie, path=request.scope.get("root_path", "") + "/")
        return response


@dataclass(frozen=True)
class Invitations:
    """`/api/v1/invitations`."""

    sessions: Sessions

    async def create(self, request: Request) -> Response:
        """Make a token for somebody else, who then acts in the name of who asked."""
        word = await query.body(request, "role", 16)
        role = next((one for one in Role if one.word == word), None)
        if role is None:
            raise Denied(400, "role has to be reader or admin")
        token = self.sessions.invite(Caller(request.state.caller.who, role))
        return JSONResponse({"token": token, "role": role.word, "seconds": INVITATION_SECONDS}, 201)

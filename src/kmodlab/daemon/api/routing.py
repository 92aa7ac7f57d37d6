"""Operations bound to what answers them, and what is answered where that breaks off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ...errors import KmodlabError
from .operations import Operation
from .problem import Denied, denied
from .sessions import Caller, Role

Handler = Callable[[Request], Awaitable[Response]]


def routes(operations: Iterable[Operation], handlers: Mapping[str, Handler], hint: str) -> Iterator[Route]:
    """Yield a route for each path, whose handlers are asked where the caller's role allows that.

    Args:
        operations: of an interface.
        handlers: by the operation's id.
        hint: where a session comes from, for who has none.
    """
    kept = list(operations)
    for path in dict.fromkeys(operation.path for operation in kept):
        found = {one.method: _allowed(one, handlers[one.id], hint) for one in kept if one.path == path}
        yield Route(path, _by_method(found), methods=list(found))


def _by_method(handlers: Mapping[str, Handler]) -> Handler:
    """Return a handler for all methods of a path: to any other Starlette answers with those of one route."""

    async def handle(request: Request) -> Response:
        if request.method != "HEAD":
            return await handlers[request.method](request)
        answer = await handlers["GET"](request)
        # A stream would be made without an end, for nobody.
        return Response(headers=answer.headers) if isinstance(answer, StreamingResponse) else answer

    return handle


def _allowed(operation: Operation, handler: Handler, hint: str) -> Handler:
    """Return a handler that asks first who asks."""

    async def handle(request: Request) -> Response:
        if operation.role is not None:
            _check(request.state.caller, operation.role, hint)
        return await handler(request)

    return handle


def _check(caller: Caller | None, role: Role, hint: str) -> None:
    if caller is None:
        raise Denied(401, "this takes a session", hint=hint)
    if caller.role < role:
        raise Denied(403, f"this takes the role {role.word}", hint="ask who runs this server for another token")


async def _on_denied(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, Denied)  # noqa: S101  # for the types
    return error.response()


async def _on_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, KmodlabError)  # noqa: S101  # for the types
    return denied(error).response()


async def _on_http(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)  # noqa: S101  # for the types
    return Denied(error.status_code, error.detail, headers=error.headers).response()


async def _on_fault(request: Request, error: Exception) -> Response:
    del request, error
    return Denied(500, "the server has a fault; its log tells more").response()


PROBLEMS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    Denied: _on_denied,
    KmodlabError: _on_error,
    HTTPException: _on_http,
    500: _on_fault,
}
"""What is answered instead, by what was raised."""

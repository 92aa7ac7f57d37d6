"""What is answered when something is not done: problem details, by RFC 9457."""

from __future__ import annotations

import http
from collections.abc import Mapping

from starlette.responses import JSONResponse

from ...errors import KmodlabError, Refused, UsageError

_STATUS = {UsageError: 400, Refused: 409}
"""Of what the collector raises; any other is the machine's own trouble: 503."""


class Denied(Exception):
    """A request is not answered as it was meant.

    Args:
        status: of HTTP.
        detail: why, one sentence.
        hint: what can be done about it.
        headers: that go with it.
    """

    def __init__(
        self, status: int, detail: str, *, hint: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.hint = status, detail, hint
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """Return what the client gets."""
        body = {"title": http.HTTPStatus(self.status).phrase, "status": self.status, "detail": self.detail}
        hint = {"hint": self.hint} if self.hint else {}
        return JSONResponse({**body, **hint}, self.status, self.headers, media_type="application/problem+json")


def denied(error: KmodlabError) -> Denied:
    """Return the answer to a request that ended in an error of the project."""
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 503)
    return Denied(status, error.message, hint=error.hint)

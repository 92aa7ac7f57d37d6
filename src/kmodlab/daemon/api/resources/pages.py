"""The page itself, and this interface's description: files that come with the package, read once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response

from ..problem import Denied

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "LICENSE": "text/plain; charset=utf-8",
    "yaml": "application/yaml",
}


@dataclass(frozen=True)
class _File:
    body: bytes
    kind: str
    tag: str

    @classmethod
    def of(cls, path: Traversable) -> _File:
        body = path.read_bytes()
        kind = _TYPES[path.name.rpartition(".")[2]]
        return cls(body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')

    def response(self, request: Request) -> Response:
        headers = {"etag": self.tag, "cache-control": "no-cache"}
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers={**headers, "content-type": self.kind})


def _walk(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _walk(path, f"{prefix}{path.name}/")
        elif path.name.rpartition(".")[2] in _TYPES:
            yield prefix + path.name, path


class Pages:
    """`/`, `/web/...` and the description: nothing here is of the machine, so nobody has to say who they are."""

    def __init__(self) -> None:
        package = files("kmodlab.daemon")
        self._web = {name: _File.of(path) for name, path in _walk(package / "web")}
        self._description = _File.of(package / "api" / "openapi.yaml")

    async def page(self, request: Request) -> Response:
        """Answer with the page."""
        return self._web["index.html"].response(request)

    async def file(self, request: Request) -> Response:
        """Answer with one of the page's files."""
        found = self._web.get(request.path_params["name"])
        if found is None:
            raise Denied(404, "there is no such file")
        return found.response(request)

    async def description(self, request: Request) -> Response:
        """Answer with the description of this interface."""
        return self._description.response(request)

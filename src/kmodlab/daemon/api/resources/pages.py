"""The page itself, and this interface's description: files that come with the package, read once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
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
class File:
    """A file as it is answered."""

    body: bytes
    kind: str
    tag: str

    @classmethod
    def of(cls, path: Traversable) -> File:
        """Read it."""
        body = path.read_bytes()
        kind = _TYPES[path.name.rpartition(".")[2]]
        return cls(body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')

    def response(self, request: Request) -> Response:
        """Return it, or that who asks has it already."""
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


def read(folder: Traversable) -> dict[str, File]:
    """Return the files of a folder, and of those in it, by their paths."""
    return {name: File.of(path) for name, path in _walk(folder)}


def one(files: Mapping[str, File], request: Request) -> Response:
    """Answer with the file that is asked for.

    Raises:
        Denied: there is none.
    """
    found = files.get(request.path_params["name"])
    if found is None:
        raise Denied(404, "there is no such file")
    return found.response(request)


class Pages:
    """`/`, `/web/...` and the description: nothing here is of the machine, so nobody has to say who they are."""

    def __init__(self) -> None:
        package = files("kmodlab.daemon")
        self._web = read(package / "web")
        self._description = File.of(package / "api" / "openapi.yaml")

    async def page(self, request: Request) -> Response:
        """Answer with the page."""
        return self._web["index.html"].response(request)

    async def file(self, request: Request) -> Response:
        """Answer with one of the page's files."""
        return one(self._web, request)

    async def description(self, request: Request) -> Response:
        """Answer with the description of this interface."""
        return self._description.response(request)

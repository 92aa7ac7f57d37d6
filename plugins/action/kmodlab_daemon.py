"""Ansible action: pack the daemon on the controller, offline, and hand it to the module `kmodlab_daemon`.

It is one zip of Python sources with their byte code: the daemon of this package, and of the controller's installed
distributions those that it imports. The same sources make the same file, byte for byte.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import marshal
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from packaging.requirements import Requirement

MAIN = '''"""The program kmodlabd."""

from kmodlab.daemon.program import program

program()
'''
NEEDED = ("prometheus_client", "starlette", "uvicorn")
"""What the daemon imports of others; what these need in turn comes along."""
EXTRAS = {"psycopg": "postgresql"}
"""What it imports where it is told to, and the extra of the package that brings it."""
FLOOR = {"python_version": "3.11", "python_full_version": "3.11.2", "extra": ""}
"""The oldest Python that it runs on, which needs the most."""
SHEBANG = b"#!/usr/bin/python3 -IS\n"
MARK = b"kmodlabd "
_DATE = (2020, 1, 1, 0, 0, 0)
_COMPILED = {".so", ".pyd", ".dll", ".dylib", ".a", ".o"}
_OF_A_CHECKOUT = ("spec_c.py",)
_WITHOUT_REFERENCES = 2
"""The format of `marshal` that does not tell how often something is used elsewhere in the process that writes."""


class Unpackable(Exception):
    """The daemon cannot be packed here, and why."""


def distributions(needed: Sequence[str] = NEEDED) -> dict[str, importlib.metadata.Distribution]:
    """Return what is needed by name, with what that needs.

    Raises:
        Unpackable: the controller has not got it.
    """
    found: dict[str, importlib.metadata.Distribution] = {}
    left = list(needed)
    while left:
        name = left.pop().lower().replace("-", "_")
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            how = f": pip install 'kmodlab[{EXTRAS[name]}]'" if name in EXTRAS else ""
            raise Unpackable(f"the Python package {name} is not installed where Ansible runs{how}") from error
        wanted = (Requirement(text) for text in found[name].requires or ())
        left += [one.name for one in wanted if one.marker is None or one.marker.evaluate(FLOOR)]
    return dict(sorted(found.items()))


def of_distribution(one: importlib.metadata.Distribution) -> Iterator[tuple[str, bytes]]:
    """Yield the sources of a distribution, and what says whose they are.

    Raises:
        Unpackable: it has parts that are compiled for one machine, or cannot be read.
    """
    for path in one.files or ():
        if path.suffix in _COMPILED:
            raise Unpackable(f"{one.name} has {path}, which is compiled, and only pure Python runs on every machine")
        about = path.parent.parts and path.parts[0].endswith(".dist-info") and _is_told(path.parts)
        if ".." in path.parts or "__pycache__" in path.parts or not (path.suffix == ".py" or about):
            continue
        try:
            yield path.as_posix(), Path(str(path.locate())).read_bytes()
        except OSError as error:
            raise Unpackable(f"{one.name} is not whole on the controller: {error}") from error


def _is_told(parts: tuple[str, ...]) -> bool:
    return parts[1] in ("METADATA", "licenses", "LICENSE", "LICENSE.txt", "LICENSE.md")


def of_package(package: Path, spec: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what the daemon consists of: it and its page, the client, the errors, the specification as JSON."""
    for path in (package / "__init__.py", package / "errors.py", *sorted((package / "modules").glob("*.py"))):
        if path.name not in _OF_A_CHECKOUT:
            yield f"kmodlab/{path.relative_to(package).as_posix()}", path.read_bytes()
    for path in sorted((package / "daemon").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"kmodlab/{path.relative_to(package).as_posix()}", path.read_bytes()
    tree = yaml.safe_load(spec.read_text(encoding="utf-8"))
    yield f"kmodlab/modules/{spec.stem}.json", json.dumps(tree, separators=(",", ":")).encode()


def files(package: Path, spec: Path, also: Sequence[str] = ()) -> dict[str, bytes]:
    """Return all that the daemon is made of.

    Args:
        package: the folder of kmodlab.
        spec: the netlink specification.
        also: distributions that it needs besides, see `EXTRAS`.

    Raises:
        Unpackable: some of it cannot be had.
    """
    try:
        found = {"__main__.py": MAIN.encode(), **dict(of_package(package, spec))}
    except OSError as error:
        raise Unpackable(f"the sources of the daemon are not on the controller: {error}") from error
    for one in distributions([*NEEDED, *also]).values():
        found.update(of_distribution(one))
    return found


def digest(found: dict[str, bytes]) -> str:
    """Return what tells one set of sources from another."""
    total = hashlib.sha256(SHEBANG)
    for name, content in sorted(found.items()):
        total.update(f"{name} {len(content)}\n".encode() + content)
    return total.hexdigest()


def compiled(name: str, source: bytes) -> bytes:
    """Return the byte code of a source for this Python, which does not look at the source again."""
    code = marshal.dumps(compile(source, name, "exec", dont_inherit=True), _WITHOUT_REFERENCES)
    flags = (1).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + flags + importlib.util.source_hash(source) + code


def build(found: dict[str, bytes]) -> bytes:
    """Return the program."""
    buffer = io.BytesIO()
    buffer.write(SHEBANG)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = MARK + f"{digest(found)} {sys.implementation.cache_tag}".encode()
        for name, content in sorted(found.items()):
            archive.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)
            if name.endswith(".py"):
                archive.writestr(zipfile.ZipInfo(f"{name}c", _DATE), compiled(name, content), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible has no types
    """Ask what is there; pack and send only where that is something else."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module of the same name returns."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = self._task.args
        arguments = {"dest": given.get("dest", "/usr/local/sbin/kmodlabd"), "state": given.get("state", "present")}
        if arguments["state"] == "absent":
            return {**result, **self._module(arguments, task_vars)}
        try:
            found = files(Path(given["src"]), Path(given["spec"]), given.get("also", ()))
        except Unpackable as error:
            raise AnsibleActionFail(f"{error}. `lab_dashboard_state: absent` does without the dashboard.") from error
        arguments["digest"] = digest(found)
        answer = self._module(arguments, task_vars)
        if answer.get("wanted") and not self._task.check_mode:
            arguments["content"] = base64.b64encode(build(found)).decode("ascii")
            answer = self._module(arguments, task_vars)
        return {**result, **answer}

    def _module(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        name = self._task.action
        answer: dict[str, Any] = self._execute_module(module_name=name, module_args=arguments, task_vars=task_vars)
        answer.pop("invocation", None)
        return answer

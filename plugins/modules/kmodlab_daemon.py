#!/usr/bin/python
"""Ansible module: the program `kmodlabd` of a machine with the tracer (the action plugin of the same name packs it)."""

from __future__ import annotations

import base64
import importlib.util
import io
import marshal
import os
import sys
import zipfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: kmodlab_daemon
short_description: Install the daemon of the dashboard, a program of one file, or remove it
description:
  - The program needs Python 3.11 or newer and systemd on the target, and nothing besides.
  - Where these are not, nothing is done, and C(reason) says why.
  - It is a zip archive that Python runs, made on the controller of what is installed there.
  - Where the target's Python is another one, it is compiled anew.
  - A file of the same name that is something else is neither replaced nor removed.
options:
  dest:
    description: The program's path on the target.
    type: path
    default: /usr/local/sbin/kmodlabd
  src:
    description: The folder of the package C(kmodlab) on the controller.
    type: path
    required: true
  spec:
    description: The netlink specification on the controller.
    type: path
    required: true
  also:
    description: Python packages of the controller that are packed besides; C(psycopg) is what a fleet's database takes.
    type: list
    elements: str
    default: []
  state:
    description: Whether the program is there.
    type: str
    choices: [present, absent]
    default: present
version_added: 1.0.0
author: kmodlab
"""

EXAMPLES = r"""
- name: Install the daemon
  kmodlab.lab.kmodlab_daemon:
    src: src/kmodlab
    spec: kernel/specs/syscall_tracer.yaml
"""

RETURN = r"""
digest: {description: SHA-256 of the sources., type: str, returned: always}
reason: {description: Why the daemon cannot run on this machine; empty where it can., type: str, returned: always}
wanted: {description: Whether the program has to be sent., type: bool, returned: always}
"""

MARK = b"kmodlabd "
FLOOR = (3, 11)
SYSTEMD = "/run/systemd/system"
_DATE = (2020, 1, 1, 0, 0, 0)
_UNCHECKED_HASH = (1).to_bytes(4, "little")


def reason() -> str:
    """Return why the daemon cannot run here, or nothing where it can."""
    if sys.version_info < FLOOR:
        found = ".".join(map(str, sys.version_info[:2]))
        return f"it has Python {found}, and the dashboard takes 3.11"
    if not Path(SYSTEMD).exists():
        return "it does not run systemd, which starts the dashboard"
    return ""


def compiled(name: str, source: bytes) -> bytes:
    """Return the byte code file of a source for this Python, which does not look at the source's time again."""
    code = marshal.dumps(compile(source, name, "exec", dont_inherit=True))
    return importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(source) + code


def for_this_python(program: bytes, comment: bytes) -> bytes:
    """Return a program with byte code for the Python that is here."""
    with zipfile.ZipFile(io.BytesIO(program)) as given:
        if given.comment == comment:
            return program
        sources = {name: given.read(name) for name in given.namelist() if not name.endswith(".pyc")}
    buffer = io.BytesIO()
    buffer.write(program[: program.index(b"\n") + 1])
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = comment
        for name, source in sources.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), source, zipfile.ZIP_DEFLATED)
            if name.endswith(".py"):
                archive.writestr(zipfile.ZipInfo(f"{name}c", _DATE), compiled(name, source), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def comment_of(path: Path) -> bytes | None:
    """Return the comment of the program that is there: None without a file, nothing if it is another program."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment if archive.comment.startswith(MARK) else b""
    except FileNotFoundError:
        return None
    except (zipfile.BadZipFile, OSError):
        return b""


def write(path: Path, content: bytes) -> None:
    """Replace a program; it is never seen half-written."""
    fresh = path.with_name(f".{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    os.replace(fresh, path)  # noqa: PTH105


def install(module: AnsibleModule, dest: Path) -> dict[str, object]:
    """Install the program, or say that it has to be sent."""
    if text := reason():
        return {"changed": False, "wanted": False, "reason": text}
    found = comment_of(dest)
    if found == b"":
        module.fail_json(
            msg=f"{dest} is there and is another program, which is left alone. "
            "Set `lab_dashboard_state: absent`, or move it away."
        )
    wanted = MARK + f"{module.params['digest']} {sys.implementation.cache_tag}".encode()
    content = module.params["content"]
    if found != wanted and content:
        write(dest, for_this_python(base64.b64decode(content), wanted))
    return {"changed": found != wanted, "wanted": found != wanted and not content, "reason": ""}


def remove(module: AnsibleModule, dest: Path) -> dict[str, object]:
    """Remove the program, if it is this one."""
    found = comment_of(dest)
    if found and not module.check_mode:
        dest.unlink()
    return {"changed": bool(found), "wanted": False, "reason": ""}


def main() -> None:
    """Answer Ansible."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "state": {"type": "str", "default": "present"},
            "digest": {"type": "str", "default": ""},
            "content": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    work = install if module.params["state"] == "present" else remove
    module.exit_json(digest=module.params["digest"], **work(module, Path(module.params["dest"])))


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Ansible module: the program `kmodlab` of a machine with the tracer (the action plugin of the same name packs it)."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import marshal
import os
import sys
import zipfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: kmodlab_client
short_description: Install the client of the tracer, a program of one file, or remove it
description:
  - The program needs Python 3.9 or newer on the target, and nothing besides.
  - It is a zip archive that Python runs. It is put together on the target, with byte code for the Python that is there.
  - A file of the same name that is something else is neither replaced nor removed.
options:
  dest:
    description: The program's path on the target.
    type: path
    default: /usr/local/bin/kmodlab
  src:
    description: The folder of the package C(kmodlab) on the controller.
    type: path
    required: true
  spec:
    description: The netlink specification on the controller.
    type: path
    required: true
  state:
    description: Whether the program is there.
    type: str
    choices: [present, absent]
    default: present
version_added: 1.0.0
author: kmodlab
"""

EXAMPLES = r"""
- name: Install the client
  kmodlab.lab.kmodlab_client:
    src: src/kmodlab
    spec: kernel/specs/syscall_tracer.yaml
"""

RETURN = r"""
digest: {description: SHA-256 of the sources, and the Python they are compiled for., type: str, returned: when present}
"""

SHEBANG = b"#!/usr/bin/python3 -I\n"
MARK = b"kmodlab client "
_DATE = (2020, 1, 1, 0, 0, 0)
_UNCHECKED_HASH = (1).to_bytes(4, "little")


def compiled(name: str, source: bytes) -> bytes:
    """Return the byte code file of a source for this Python, which does not look at the source's time again."""
    code = marshal.dumps(compile(source, name, "exec", dont_inherit=True))
    return importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(source) + code


def build(files: dict[str, str], comment: bytes) -> bytes:
    """Return the program: sources, and beside each its byte code. Another Python takes the source."""
    buffer = io.BytesIO()
    buffer.write(SHEBANG)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = comment
        for name, text in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _DATE), text.encode())
            if name.endswith(".py"):
                archive.writestr(zipfile.ZipInfo(f"{name}c", _DATE), compiled(name, text.encode()))
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


def main() -> None:
    """Answer Ansible."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "state": {"type": "str", "default": "present"},
            "digest": {"type": "str", "default": ""},
            "files": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    dest, present = Path(module.params["dest"]), module.params["state"] == "present"
    found = comment_of(dest)
    wanted = MARK + f"{module.params['digest']} {sys.implementation.cache_tag}".encode() if present else None
    if found == b"" and present:
        module.fail_json(
            msg=f"{dest} is there and is another program, which is left alone. "
            "Set `syscall_tracer_client: false`, or move it away."
        )
    changed = found not in (wanted, b"")
    if changed and not module.check_mode:
        if wanted:
            write(dest, build(json.loads(base64.b64decode(module.params["files"])), wanted))
        else:
            dest.unlink()
    module.exit_json(changed=changed, digest=module.params["digest"])


if __name__ == "__main__":
    main()

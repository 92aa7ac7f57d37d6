#!/usr/bin/python
"""Ansible module: keep a tree of sources as the controller has it (the action plugin of the same name packs it)."""

from __future__ import annotations

import base64
import io
import os
import shutil
import tarfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: kernel_source
short_description: Keep a folder of sources as the controller has it, in one step
description:
  - Copies folders whole, where M(ansible.builtin.copy) takes a round trip for each file.
  - When anything differs the tree is replaced; nothing of an earlier version or build stays.
options:
  dest:
    description: The tree on the target. Each folder of O(src) becomes a folder in it.
    type: path
    required: true
  src:
    description: Folders on the controller.
    type: list
    elements: path
    required: true
  patterns:
    description: Names of the files that are sources.
    type: list
    elements: str
    default: ['*']
  flat:
    description: Whether the first folder becomes O(dest) itself, with the others in it, as dkms has it.
    type: bool
    default: false
  variant:
    description: What else the tree depends on; when it changes the tree is replaced too.
    type: list
    elements: str
    default: []
version_added: 1.0.0
author: kmodlab
"""

EXAMPLES = r"""
- name: Copy a module and the headers it shares with others
  kmodlab.lab.kernel_source:
    src: [kernel/task_lister, kernel/compat]
    dest: /usr/src/kmodlab-task_lister
    patterns: [Makefile, Kbuild, "*.c", "*.h"]
"""

RETURN = r"""
digest: {description: SHA-256 of the sources and the variant., type: str, returned: always}
"""


def unpack(archive: bytes, digest: str, dest: Path) -> None:
    """Replace `dest` by the files of a tar archive; `dest` is never seen half-written."""
    fresh = dest.with_name(dest.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True, mode=0o755)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(fresh)  # noqa: S202 (packed by our own action plugin)
    (fresh / ".digest").write_text(digest, encoding="ascii")
    shutil.rmtree(dest, ignore_errors=True)
    os.rename(fresh, dest)  # noqa: PTH104


def main() -> None:
    """Answer Ansible."""
    required = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "digest": required,
            "archive": required,
        },
        supports_check_mode=True,
    )
    dest, digest = Path(module.params["dest"]), module.params["digest"]
    record = dest / ".digest"
    changed = not record.exists() or record.read_text(encoding="ascii") != digest
    if changed and not module.check_mode:
        unpack(base64.b64decode(module.params["archive"]), digest, dest)
    module.exit_json(changed=changed, digest=digest)


if __name__ == "__main__":
    main()

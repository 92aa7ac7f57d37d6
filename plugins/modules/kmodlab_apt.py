#!/usr/bin/python
"""Ansible module: who holds apt's locks (the action plugin of the same name waits for them, and then runs apt)."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: kmodlab_apt
short_description: M(ansible.builtin.apt), once nobody else installs packages
description:
  - Waits while another program, such as unattended-upgrades, holds one of apt's locks, and says which one it is.
  - Then M(ansible.builtin.apt) runs with the same options. A check does not wait.
options:
  name:
    description: The packages, and every further option of M(ansible.builtin.apt).
    type: raw
  lock_timeout:
    description: How many seconds to wait. What still holds apt then is named, with its process id.
    type: int
    default: 300
  locks:
    description: The files that apt and dpkg lock.
    type: list
    elements: path
    default:
      - /var/lib/dpkg/lock-frontend
      - /var/lib/dpkg/lock
      - /var/lib/apt/lists/lock
      - /var/cache/apt/archives/lock
version_added: 1.0.0
author: kmodlab
"""

EXAMPLES = r"""
- name: Install make
  kmodlab.lab.kmodlab_apt:
    name: make
    lock_timeout: 600
"""

RETURN = r"""
holders: {description: "Who holds a lock: name, process id and command.", type: list, returned: where apt has not run}
"""

LOCKS = [
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
]
# struct flock of a 64-bit Linux: type, whence, start, length, process.
_FLOCK = "hhqqi"
_COMMAND = 80


def holder(path: str) -> int:
    """Return the process that has locked a file, 0 if none has."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, question))
    finally:
        os.close(descriptor)
    return 0 if kind == fcntl.F_UNLCK else int(pid)


def described(pid: int) -> str:
    """Return what a person calls a process: `apt-get (process 71: apt-get install make)`."""
    about = Path("/proc", str(pid))
    try:
        name = (about / "comm").read_text(encoding="utf-8", errors="replace").strip()
        command = (about / "cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ").strip()
    except OSError:
        return f"process {pid}"
    return f"{name} (process {pid}: {command[:_COMMAND] or name})"


def main() -> None:
    """Answer Ansible."""
    locks = {"type": "list", "elements": "path", "default": LOCKS}
    module = AnsibleModule(argument_spec={"locks": locks}, supports_check_mode=True)
    try:
        pids = {holder(path) for path in module.params["locks"]} - {0}
    except OSError as error:
        module.fail_json(msg=f"{error.filename} cannot be looked at: {error.strerror}; installing packages takes root")
    module.exit_json(changed=False, holders=[described(pid) for pid in sorted(pids)])


if __name__ == "__main__":
    main()

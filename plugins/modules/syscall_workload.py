#!/usr/bin/python
"""Ansible module: make known system calls from a process of its own, and record them."""

from __future__ import annotations

import ctypes
import json
import os
from collections import Counter
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: syscall_workload
short_description: Make known system calls and record them
description:
  - A child process named C(kmw-NONCE) makes the calls, so that nothing but they carries its PID and its name.
options:
  nonce:
    description: Names the process and its files.
    type: str
    required: true
  rounds:
    description: How many times each call is made.
    type: int
    default: 3
  directory:
    description: Where the files are made, and removed again.
    type: path
    default: /var/tmp
  record:
    description: The JSON file that tells what was done.
    type: path
    required: true
version_added: 1.0.0
author: kmodlab
"""

EXAMPLES = r"""
- name: Make each call three times
  kmodlab.lab.syscall_workload:
    nonce: x2k9q0ab
    record: /var/lib/kmodlab/workload.json
"""

RETURN = r"""
result: {description: "What was done: nonce, comm, pid, calls (name to number).", type: dict, returned: always}
"""

_PR_SET_NAME = 15


def one_round(directory: int, name: str, calls: Counter[str]) -> None:
    """Make each call once on a file of that name, and count it under the name it has in the kernel.

    The C library makes the same of these functions on every architecture: it calls the member of the family
    that takes a directory.
    """
    handle = os.open(name, os.O_RDWR | os.O_CREAT, 0o600, dir_fd=directory)
    os.write(handle, name.encode())
    os.pwrite(handle, b"kmodlab", 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.read(handle, 64)
    os.pread(handle, 64, 0)
    os.close(handle)
    os.unlink(name, dir_fd=directory)
    calls.update(["openat", "write", "pwrite64", "read", "pread64", "close", "unlinkat"])


def in_child(comm: str, directory: str, rounds: int, answer: int) -> None:
    """Be the process that makes the calls; tell through `answer` what was made."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, comm.encode(), 0, 0, 0)
    calls: Counter[str] = Counter()
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for number in range(rounds):
        one_round(handle, f"{comm}-{number}", calls)
    os.close(handle)
    calls.update(["openat", "close"])
    os.write(answer, json.dumps(calls).encode())
    calls.update(["write"])


def run(comm: str, directory: str, rounds: int) -> dict[str, object]:
    """Start the child, wait for it and return what it did.

    Raises:
        ChildProcessError: it failed; its own error is on standard error.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            in_child(comm, directory, rounds, writer)
        except OSError as error:
            os.write(writer, str(error).encode())
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read()
    if os.waitpid(pid, 0)[1] != 0:
        raise ChildProcessError(said)
    return {"comm": comm, "pid": pid, "calls": json.loads(said)}


def main() -> None:
    """Answer Ansible."""
    module = AnsibleModule(
        argument_spec={
            "nonce": {"type": "str", "required": True},
            "rounds": {"type": "int", "default": 3},
            "directory": {"type": "path", "default": "/var/tmp"},  # noqa: S108
            "record": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    if module.check_mode:
        module.exit_json(changed=True, result={})
    try:
        result = {"nonce": given["nonce"], **run(f"kmw-{given['nonce']}", given["directory"], given["rounds"])}
        record = Path(given["record"])
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(result) + "\n", encoding="utf-8")
    except OSError as error:
        module.fail_json(msg=f"the calls could not be made in {given['directory']}: {error}")
    module.exit_json(changed=True, result=result)


if __name__ == "__main__":
    main()

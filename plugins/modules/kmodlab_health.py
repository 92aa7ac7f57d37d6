#!/usr/bin/python
"""Ansible module: what a machine has of the lab's two modules, and whether they do their work."""

from __future__ import annotations

import ctypes
import os
import random
import string
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: kmodlab_health
short_description: What a machine has of the lab's modules, and whether they work
description:
  - One round trip, a fraction of a second. What the modules promise in full is for the contract tests.
  - Present means that both modules are live, that their files under /proc can be read, and that the tracer records a
    call that is made now.
  - Fails where it is not as O(expect) says, and names everything that is not.
options:
  expect:
    description: What must be so; V(any) only looks.
    type: str
    choices: [present, absent, any]
    default: present
version_added: 1.0.0
author: kmodlab
"""

EXAMPLES = r"""
- name: Check that the modules work
  kmodlab.lab.kmodlab_health:
    expect: present
"""

RETURN = r"""
machine:
  description: What is there now; also when it is not as expected.
  type: dict
  returned: always
  contains:
    kernel: {description: The running kernel., type: str}
    hook: {description: How the tracer is hooked into system calls; empty where it is not loaded., type: str}
    modules: {description: "The loaded ones: name to version, srcversion and state.", type: dict}
"""

MODULES = ("syscall_tracer", "task_lister")
TRACER = Path("/proc/syscall_tracer")
TASK_FILES = tuple(Path("/proc", name) for name in ("task_lister", "task_detail", "task_stats", "task_tree"))

_PR_SET_NAME = 15


def read(path: Path) -> str:
    """Return the text of a small file of the kernel's without its line's end, empty if there is none."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def look() -> dict[str, object]:
    """Return what is loaded, as the kernel shows it."""
    modules = {}
    for name in MODULES:
        about = Path("/sys/module", name)
        if about.exists():
            modules[name] = {"version": read(about / "version"), "srcversion": read(about / "srcversion")}
            modules[name]["state"] = read(about / "initstate")
    # A tracer with more than one way to hook itself in says which one it took.
    hook = read(Path("/sys/module/syscall_tracer/parameters/hook")) or "kprobe"
    return {"kernel": os.uname().release, "hook": hook if "syscall_tracer" in modules else "", "modules": modules}


def unreadable(path: Path) -> str:
    """Return what is wrong with one of the files under /proc, nothing if it shows its page to the end."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return "" if len(lines) > 2 else f"{path} shows no page"


def sees_itself(comm: str) -> bool:
    """Return whether the tracer's page shows the process that opens it; that process changes its name, and is lost."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, comm.encode(), 0, 0, 0)
    os.close(os.open(os.devnull, os.O_RDONLY))
    return f" {comm} " in TRACER.read_text(encoding="utf-8", errors="replace")


def records_calls() -> bool:
    """Return whether a call that is made now, by a process of a name of its own, is in the log.

    The process reads the log right after the call: others cannot push it out meanwhile, however busy the machine is.
    """
    comm = "kmh-" + "".join(random.choices(string.ascii_lowercase, k=8))  # noqa: S311 (a name, not a secret)
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            status = 0 if sees_itself(comm) else 1
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def problems(modules: dict[str, dict[str, str]], expect: str) -> list[str]:
    """Return everything that is not as it shall be."""
    if expect == "absent":
        return [f"{name} is loaded" for name in modules]
    found = [f"{name} is not loaded" for name in MODULES if name not in modules]
    found += [f"{name} is {about['state']}" for name, about in modules.items() if about["state"] != "live"]
    broken = [text for text in map(unreadable, (TRACER, *TASK_FILES)) if text]
    if not broken and not records_calls():
        broken = [f"{TRACER} does not record the calls that are made"]
    return found + broken


def main() -> None:
    """Answer Ansible."""
    expect = {"type": "str", "choices": ["present", "absent", "any"], "default": "present"}
    module = AnsibleModule(argument_spec={"expect": expect}, supports_check_mode=True)
    machine = look()
    if module.params["expect"] != "any":
        found = problems(machine["modules"], module.params["expect"])  # type: ignore[arg-type]
        if found:
            module.fail_json(msg="; ".join(found) + ". dmesg may say why.", machine=machine)
    module.exit_json(changed=False, machine=machine)


if __name__ == "__main__":
    main()

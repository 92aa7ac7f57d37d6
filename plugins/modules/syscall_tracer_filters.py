#!/usr/bin/python
"""Ansible module: keep the filters of /proc/syscall_tracer as they are listed."""

from __future__ import annotations

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: syscall_tracer_filters
short_description: Keep the filters of the system-call tracer as they are listed
description:
  - Reads the filters that are set and, where they differ in kind or order, replaces them in one transaction.
options:
  filters:
    description: The commands that set them, such as C(unlink block), in the order they are tried.
    type: list
    elements: str
    required: true
  path:
    description: The tracer's file.
    type: path
    default: /proc/syscall_tracer
version_added: 1.0.0
author: kmodlab
"""

EXAMPLES = r"""
- name: Mark every unlinking
  kmodlab.lab.syscall_tracer_filters:
    filters: [unlink block]
"""

RETURN = r"""
before: {description: The filters that were set., type: list, returned: always}
"""

_SECTION = "Active Filters:"


def active(text: str) -> list[str]:
    """Return the filters that the tracer's text shows, each as the command that sets it."""
    lines = text[text.rindex(_SECTION) :].splitlines()[2:]
    shown = [line.split() for line in lines if ":" in line]
    return [" ".join([name.rstrip(":"), action.lower(), *rest]) for name, action, *rest in shown]


def replace(path: Path, filters: list[str]) -> None:
    """Set `filters` and no others; the tracer takes a single write as one transaction."""
    commands = "\n".join(["clear", *filters]) + "\n"
    handle = os.open(path, os.O_WRONLY)
    try:
        os.write(handle, commands.encode())
    finally:
        os.close(handle)


def main() -> None:
    """Answer Ansible."""
    module = AnsibleModule(
        argument_spec={
            "filters": {"type": "list", "elements": "str", "required": True},
            "path": {"type": "path", "default": "/proc/syscall_tracer"},
        },
        supports_check_mode=True,
    )
    path, wanted = Path(module.params["path"]), module.params["filters"]
    if module.check_mode and not path.exists():
        module.exit_json(changed=bool(wanted), before=[])
    try:
        before = active(path.read_text(encoding="utf-8"))
        if before != wanted and not module.check_mode:
            replace(path, wanted)
    except OSError as error:
        hint = "dmesg names the filter and the reason"
        module.fail_json(msg=f"the tracer refused the filters {wanted}: {error.strerror}; {hint}")
    diff = {"before": "\n".join([*before, ""]), "after": "\n".join([*wanted, ""])}
    module.exit_json(changed=before != wanted, before=before, diff=diff)


if __name__ == "__main__":
    main()

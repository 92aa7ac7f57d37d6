#!/usr/bin/python
"""Ansible module: keep the filters of /proc/syscall_tracer, and the module's mode, as they are wanted."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: syscall_tracer_filters
short_description: Keep the filters of the system-call tracer as they are listed
description:
  - Reads the filters that are set and, where they differ in kind or order, replaces them in one transaction.
  - Reads parameters of the module and writes those that differ.
options:
  filters:
    description: The commands that set them, such as C(unlink block), in the order they are tried.
    type: list
    elements: str
    required: true
  parameters:
    description: Parameters that can be changed while it runs, each with its value as the kernel shows it; set last.
    type: dict
    default: {}
  path:
    description: The tracer's file.
    type: path
    default: /proc/syscall_tracer
  parameters_path:
    description: Where the module's parameters are.
    type: path
    default: /sys/module/syscall_tracer/parameters
version_added: 1.0.0
author: kmodlab
"""

EXAMPLES = r"""
- name: Mark every unlinking
  kmodlab.lab.syscall_tracer_filters:
    filters: [unlink block]

- name: Let nobody unlink for an hour
  kmodlab.lab.syscall_tracer_filters:
    filters: [unlink block errno=EROFS]
    parameters: {enforce_timeout: "3600", enforce: "Y"}
"""

RETURN = r"""
before: {description: The filters that were set., type: list, returned: always}
parameters: {description: The parameters that had another value, with that value., type: dict, returned: always}
"""

_SECTION = "Active Filters:"
_ORDER = ("errno", "pid", "uid", "comm", "path")
"""In which the tracer shows the words of a filter."""
_SHOWN = {"EWOULDBLOCK": "EAGAIN", "EDEADLOCK": "EDEADLK", "ENOTSUP": "EOPNOTSUPP", "133": "EHWPOISON"}
"""Of an errno with two names the one that the tracer shows; and the one that Python does not know."""


def _rank(word: str) -> int:
    field = word.partition("=")[0]
    return _ORDER.index(field) if field in _ORDER else len(_ORDER)


def _error_name(word: str) -> str:
    field, _, value = word.partition("=")
    if field != "errno":
        return word
    name = errno.errorcode.get(int(value), value) if value.isdecimal() else value
    return f"errno={_SHOWN.get(name, name)}"


def canonical(command: str) -> str:
    """Return a filter's command as the tracer shows it: the errno by its name, the predicates in order."""
    name, verb, *words = command.split()
    return " ".join([name, verb, *sorted(map(_error_name, words), key=_rank)])


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


def other_values(folder: Path, wanted: dict[str, str]) -> dict[str, str]:
    """Return the parameters that have another value than wanted, with that value."""
    values = {name: (folder / name).read_text(encoding="utf-8").strip() for name in wanted}
    return {name: value for name, value in values.items() if value != str(wanted[name])}


def text(filters: list[str], parameters: dict[str, str]) -> str:
    """Return one side of a difference, for people."""
    return "".join(f"{line}\n" for line in [*filters, *(f"{name}={value}" for name, value in parameters.items())])


def main() -> None:
    """Answer Ansible."""
    module = AnsibleModule(
        argument_spec={
            "filters": {"type": "list", "elements": "str", "required": True},
            "parameters": {"type": "dict", "default": {}},
            "path": {"type": "path", "default": "/proc/syscall_tracer"},
            "parameters_path": {"type": "path", "default": "/sys/module/syscall_tracer/parameters"},
        },
        supports_check_mode=True,
    )
    path, filters = Path(module.params["path"]), module.params["filters"]
    folder, parameters = Path(module.params["parameters_path"]), module.params["parameters"]
    if module.check_mode and not path.exists():
        module.exit_json(changed=bool(filters), before=[], parameters={})
    what = f"the filters {filters}"
    try:
        before = active(path.read_text(encoding="utf-8"))
        differ = before != [canonical(command) for command in filters]
        if differ and not module.check_mode:
            replace(path, filters)
        what = "its parameters"
        others = other_values(folder, parameters)
        for name in () if module.check_mode else others:
            what = f"{name}={parameters[name]}"
            (folder / name).write_text(f"{parameters[name]}\n", encoding="utf-8")
    except OSError as error:
        hint = "dmesg names the filter and the reason"
        module.fail_json(msg=f"the tracer refused {what}: {error.strerror}; {hint}")
    diff = {"before": text(before, others), "after": text(filters, {name: parameters[name] for name in others})}
    module.exit_json(changed=differ or bool(others), before=before, parameters=others, diff=diff)


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Ansible module: what a machine has of one kernel module, and what it could build it with."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: kernel_module_info
short_description: What a machine has of one out-of-tree kernel module
description:
  - One look for all that the role kernel_module decides on, because a look costs seconds on an emulated machine.
options:
  name:
    description: The module.
    type: str
    required: true
  tree:
    description: Where its sources are built; C(.installed) in it holds the digest of what was installed.
    type: path
    required: true
  options_file:
    description: Its file in /etc/modprobe.d.
    type: path
    required: true
  boot_file:
    description: Its file in /etc/modules-load.d.
    type: path
    required: true
  proc_entries:
    description: The files below /proc that it shows when it is loaded.
    type: list
    elements: str
    default: []
version_added: 1.0.0
author: kmodlab
"""

EXAMPLES = r"""
- name: Look at the module
  kmodlab.lab.kernel_module_info:
    name: task_lister
    tree: /usr/src/kmodlab-task_lister
    options_file: /etc/modprobe.d/kmodlab-task_lister.conf
    boot_file: /etc/modules-load.d/kmodlab-task_lister.conf
    proc_entries: [task_lister, task_stats]
  register: module
"""

RETURN = r"""
release: {description: The running kernel., type: str, returned: always}
processors: {description: Number of processors that may be used., type: int, returned: always}
buildable: {description: Whether the headers of the running kernel are there., type: bool, returned: always}
compiler: {description: The full version of the compiler that built the kernel., type: str, returned: always}
cc: {description: That compiler's program where it is installed., type: str, returned: always}
loaded: {description: Whether the module is loaded., type: bool, returned: always}
installed: {description: Whether it is installed for the running kernel., type: bool, returned: always}
current: {description: False if other code is loaded than is installed., type: bool, returned: always}
stamp: {description: Digest of the sources that were installed., type: str, returned: always}
options: {description: Text of the options file., type: str, returned: always}
boot: {description: Text of the boot file., type: str, returned: always}
proc_missing: {description: Those of the proc entries that are not there., type: list, returned: always}
files: {description: Every file and folder that belongs to the module., type: list, returned: always}
"""


def read(path: Path) -> str:
    """Return the text of a file, empty if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def toolchain(release: str) -> dict[str, object]:
    """Return what the running kernel can be built for with: `buildable`, `compiler` and `cc`."""
    build = Path("/lib/modules", release, "build")
    found = re.search(r'^CONFIG_CC_VERSION_TEXT="(.*)"', read(build / ".config"), re.MULTILINE)
    compiler = found.group(1) if found else read(Path("/proc/version")).strip()
    program = compiler.split(" ")[0]
    usable = re.search(r"(gcc|clang)(-\d+)?$", program) and shutil.which(program)
    return {
        "buildable": (build / "Makefile").exists(),
        "compiler": compiler,
        "cc": program if usable else "",
    }


def runs_installed(name: str, installed: Path) -> bool:
    """Return False if the loaded module's build id is not in the installed file; True if it has none."""
    note = Path("/sys/module", name, "notes/.note.gnu.build-id")
    try:
        return note.read_bytes() in installed.read_bytes()
    except OSError:
        return not note.exists()


def belongings(name: str, paths: list[Path]) -> list[str]:
    """Return those of `paths` that exist, and the module's files of every kernel.

    A folder `extra` that holds nothing else goes whole.
    """
    found = [path for path in paths if path.exists()]
    for file in Path("/lib/modules").glob(f"*/extra/{name}.ko"):
        found.append(file.parent if len(list(file.parent.iterdir())) == 1 else file)
    return [str(path) for path in found]


def look(name: str, tree: Path, options: Path, boot: Path, proc: list[str]) -> dict[str, object]:
    """Return everything the role decides on."""
    release = os.uname().release
    installed = Path("/lib/modules", release, "extra", f"{name}.ko")
    loaded = Path("/sys/module", name, "initstate").exists()
    return {
        "release": release,
        "processors": len(os.sched_getaffinity(0)),
        "loaded": loaded,
        "installed": installed.exists(),
        "current": not loaded or runs_installed(name, installed),
        "stamp": read(tree / ".installed").strip(),
        "options": read(options),
        "boot": read(boot),
        "proc_missing": [entry for entry in proc if not Path("/proc", entry).exists()],
        "files": belongings(name, [tree, options, boot]),
        **toolchain(release),
    }


def main() -> None:
    """Answer Ansible."""
    path = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "tree": path,
            "options_file": path,
            "boot_file": path,
            "proc_entries": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    tree, options, boot = (Path(given[key]) for key in ("tree", "options_file", "boot_file"))
    module.exit_json(changed=False, **look(given["name"], tree, options, boot, given["proc_entries"]))


if __name__ == "__main__":
    main()

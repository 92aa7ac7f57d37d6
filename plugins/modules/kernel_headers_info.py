#!/usr/bin/python
"""Ansible module: what this machine lacks to build modules for its running kernel."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: kernel_headers_info
short_description: What a machine lacks to build modules for its running kernel
description:
  - Looks at files only. No package manager is asked, so that it costs next to nothing.
options:
  commands:
    description: Programs that a build needs besides the compiler.
    type: list
    elements: str
    default: [make, depmod, modprobe]
version_added: 1.0.0
author: kmodlab
"""

EXAMPLES = r"""
- name: Look at the running kernel and its headers
  kmodlab.lab.kernel_headers_info:
  register: headers
"""

RETURN = r"""
release:
  description: The running kernel, as uname -r says it.
  type: str
  returned: always
compiler:
  description: The package, and the program, of the compiler that built it.
  type: str
  returned: always
flavour:
  description:
    - How the metapackages of the running kernel end, C(cloud-amd64) or C(generic-hwe-24.04) for instance.
    - That of the installed one, which on Ubuntu the kernel's own name does not tell; else what that name says.
  type: str
  returned: always
metapackages:
  description: The installed metapackages of kernels, by their flavour, and the kernel that each brings.
  type: dict
  returned: always
held:
  description: Packages that are held back, installed or not.
  type: list
  returned: always
unfollowed:
  description: Metapackages of headers that are not installed, where that of the kernel is.
  type: list
  returned: always
missing:
  description: What is not there, empty if a module can be built.
  type: list
  returned: always
"""


def compiler_of(version: str) -> str:
    """Return the program that built a kernel (`gcc-12`), from /proc/version or CONFIG_CC_VERSION_TEXT.

    The plain `gcc` if the text names none with its version. A target prefix (`x86_64-linux-gnu-`) is dropped.
    """
    found = re.search(r"\b(gcc-\d+|clang-\d+)\b", version)
    return found.group(1) if found else "gcc"


def own_flavour(release: str) -> str:
    """Return what a kernel's own name says of its flavour: 6.1.0-56-cloud-amd64 and 6.12.9+deb13-cloud-amd64 alike."""
    return re.sub(r"^\d[^-]*-(?:\d[^-]*-)?", "", release)


def metapackages(status: str) -> dict[str, str]:
    """Return the flavours of the kernels' metapackages that are installed, and the kernel that each brings.

    Args:
        status: the text of dpkg's status file, deb-status(5) in all but name: a paragraph for each package.
    """
    found: dict[str, str] = {}
    for paragraph in status.split("\n\n"):
        name = re.match(r"Package: linux-image-([a-z]\S*)\n", paragraph)
        kernel = re.search(r"^Depends:.*?\blinux-image-(\d[^\s,]*)", paragraph, re.MULTILINE)
        installed = "\nStatus: install ok installed\n" in paragraph or "\nStatus: hold ok installed\n" in paragraph
        if name and kernel and installed:
            found[name.group(1)] = kernel.group(1)
    return found


def held(status: str) -> list[str]:
    """Return the packages that are held back, by dpkg's status file."""
    return sorted(set(re.findall(r"^Package: (\S+)\nStatus: hold ", status, re.MULTILINE)))


def flavour_of(release: str, status: str) -> str:
    """Return the flavour of the metapackage that keeps a kernel up to date.

    Args:
        release: the kernel, as uname -r says it.
        status: the text of dpkg's status file.
    """
    own = own_flavour(release)
    series = ".".join(re.findall(r"\d+", release)[:2])
    found: dict[str, int] = {}
    for flavour, kernel in metapackages(status).items():
        if own_flavour(kernel) == own:
            same_series = kernel.startswith((f"{series}.", f"{series}+"))
            # Of several the one whose kernel runs; else one of the running series: Ubuntu has two in a release.
            found[flavour] = 2 if kernel == release else int(same_series)
    return max(found, key=lambda flavour: found[flavour], default=own)


def unfollowed(packages: Path) -> list[str]:
    """Return the headers' metapackages that are not installed beside the kernel's.

    `linux-image-cloud-amd64` is one, and so is `linux-image-6.12-amd64`, which follows a series; a name with a whole
    version (`linux-image-6.1.0-56-cloud-amd64`) is that of a kernel.

    Args:
        packages: where dpkg has a list of files for each package; one look there costs less than asking dpkg.
    """
    names = [file.stem.partition(":")[0].removeprefix("linux-image-") for file in packages.glob("linux-image-*.list")]
    metas = [name for name in names if not re.match(r"unsigned-|\d+\.\d+\.\d+|.*-(dbg|unsigned)$", name)]
    wanted = [f"linux-headers-{name}" for name in sorted(metas)]
    return [name for name in wanted if not list(packages.glob(f"{name}.list")) + list(packages.glob(f"{name}:*.list"))]


def missing(build: Path, compiler: str, commands: list[str]) -> list[str]:
    """Return what is not there of the headers in `build`, the compiler, the C library's headers and `commands`."""
    lacks = [] if (build / "Makefile").exists() else [str(build / "Makefile")]
    lacks += [] if Path("/usr/include/stdio.h").exists() else ["/usr/include/stdio.h"]
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return lacks + [name for name in [compiler, *commands] if shutil.which(name, path=path) is None]


def main() -> None:
    """Answer Ansible."""
    commands = {"type": "list", "elements": "str", "default": ["make", "depmod", "modprobe"]}
    module = AnsibleModule(argument_spec={"commands": commands}, supports_check_mode=True)
    release = os.uname().release
    compiler = compiler_of(Path("/proc/version").read_text(encoding="utf-8"))
    lacks = missing(Path("/lib/modules", release, "build"), compiler, module.params["commands"])
    file = Path("/var/lib/dpkg/status")
    status = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    known = {
        "release": release,
        "compiler": compiler,
        "flavour": flavour_of(release, status),
        "metapackages": metapackages(status),
        "held": held(status),
        "unfollowed": unfollowed(Path("/var/lib/dpkg/info")),
    }
    module.exit_json(changed=False, missing=lacks, **known)


if __name__ == "__main__":
    main()

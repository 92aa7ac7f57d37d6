#!/usr/bin/python
"""Ansible module: what a machine has of one kernel module, and what it could build it with."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
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
    description: Where its sources are; C(.installed) in it holds the digest of what was installed.
    type: path
    required: true
  dkms:
    description: Whether dkms builds and installs it.
    type: bool
    default: false
  options_file:
    description: Its file in /etc/modprobe.d.
    type: path
    required: true
  boot_file:
    description: Its file in /etc/modules-load.d.
    type: path
    required: true
  key_file:
    description: Its file in /etc/dkms/framework.conf.d, which names the key that dkms signs with.
    type: path
    required: true
  key_folder:
    description: Where the signing key of all modules is kept that was made for them or given.
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
    key_file: /etc/dkms/framework.conf.d/kmodlab-task_lister.conf
    key_folder: /var/lib/kmodlab/mok
    proc_entries: [task_lister, task_stats]
  register: module
"""

RETURN = r"""
release: {description: The running kernel., type: str, returned: always}
kernels: {description: The kernels whose headers are there., type: list, returned: always}
processors: {description: Number of processors that may be used., type: int, returned: always}
buildable: {description: Whether the headers of the running kernel are there., type: bool, returned: always}
compiler: {description: The full version of the compiler that built the kernel., type: str, returned: always}
cc: {description: That compiler's program where it is installed., type: str, returned: always}
hash: {description: The digest that its signatures have to have., type: str, returned: always}
secure_boot: {description: Whether the firmware lets only signed code start., type: bool, returned: always}
signed_only: {description: Whether the kernel refuses unsigned modules., type: bool, returned: always}
loaded: {description: Whether the module is loaded., type: bool, returned: always}
installed: {description: Whether it is installed for the running kernel., type: bool, returned: always}
current: {description: False if other code is loaded than is installed., type: bool, returned: always}
stamp: {description: Digest of the sources that were installed., type: str, returned: always}
dkms_installed: {description: Whether dkms itself is installed., type: bool, returned: always}
dkms_versions: {description: The versions of the module that dkms knows., type: list, returned: always}
options: {description: Text of the options file., type: str, returned: always}
boot: {description: Text of the boot file., type: str, returned: always}
key: {description: Text of the key file., type: str, returned: always}
proc_missing: {description: Those of the proc entries that are not there., type: list, returned: always}
files: {description: Every file and folder that belongs to the module., type: list, returned: always}
leftovers: {description: Those of another version or another way to install it., type: list, returned: always}
"""


def read(path: Path) -> str:
    """Return the text of a file, empty if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def unpacked(file: Path) -> bytes:
    """Return the contents of a module's file, which dkms compresses as the kernel's own are."""
    if file.suffix == ".xz":
        return lzma.decompress(file.read_bytes())
    if file.suffix in (".gz", ".zst"):
        program = "gzip" if file.suffix == ".gz" else "zstd"
        return subprocess.run([program, "-dc", file], stdout=subprocess.PIPE, check=False).stdout
    return file.read_bytes()


def with_empty_folders(files: list[Path]) -> list[str]:
    """Return `files`, each replaced by its folder where that holds nothing else."""
    return [str(file.parent if len(list(file.parent.iterdir())) == 1 else file) for file in files]


class Machine:
    """A machine, by its files.

    Args:
        root: of its file system.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.proc = root / "proc"
        self.sources = root / "usr/src"
        self.modules = root / "lib/modules"
        self.dkms = root / "var/lib/dkms"
        self.loaded = root / "sys/module"
        self.lockdown = root / "sys/kernel/security/lockdown"
        # The UEFI specification, 3.3 "Globally Defined Variables"; four bytes of attributes stand before the value.
        variables = root / "sys/firmware/efi/efivars"
        self.secure_boot = variables / "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

    def toolchain(self, release: str) -> dict[str, object]:
        """Return what the running kernel can be built for with: `buildable`, `compiler`, `cc` and `hash`."""
        build = self.modules / release / "build"
        config = read(build / ".config")
        found = re.search(r'^CONFIG_CC_VERSION_TEXT="(.*)"', config, re.MULTILINE)
        digest = re.search(r'^CONFIG_MODULE_SIG_HASH="(.*)"', config, re.MULTILINE)
        compiler = found.group(1) if found else read(self.proc / "version").strip()
        program = compiler.split(" ")[0]
        usable = re.search(r"(gcc|clang)(-\d+)?$", program) and shutil.which(program)
        return {
            "buildable": (build / "Makefile").exists(),
            "compiler": compiler,
            "cc": program if usable else "",
            "hash": digest.group(1) if digest else "sha512",
        }

    def trust(self) -> dict[str, object]:
        """Return whom the machine trusts: `secure_boot` and `signed_only`."""
        secure_boot = self.secure_boot.exists() and self.secure_boot.read_bytes()[-1:] == b"\1"
        locked = re.search(r"\[(integrity|confidentiality)\]", read(self.lockdown))
        enforced = read(self.loaded / "module/parameters/sig_enforce").startswith("Y")
        return {"secure_boot": secure_boot, "signed_only": secure_boot or enforced or locked is not None}

    def runs_installed(self, name: str, installed: list[Path]) -> bool:
        """Return False if the loaded module's build id is in none of the installed files; True if it has none."""
        note = self.loaded / name / "notes/.note.gnu.build-id"
        try:
            return any(note.read_bytes() in unpacked(file) for file in installed)
        except OSError:
            return not note.exists()

    def objects(self, name: str, release: str, *, dkms: bool) -> list[Path]:
        """Return the module's installed files of a kernel, or of those that a pattern matches."""
        return sorted(self.modules.glob(f"{release}/{'updates/dkms' if dkms else 'extra'}/{name}.ko*"))

    def traces(self, name: str) -> dict[bool, list[str]]:
        """Return what each way of installing leaves on the machine: that of dkms (True), and the plain one (False)."""
        trees = [file.parent for file in self.sources.glob(f"{name}-*/.digest")]
        registered = [str(path) for path in (*trees, self.dkms / name) if path.exists()]
        plain = [str(path) for path in [self.sources / f"kmodlab-{name}"] if path.exists()]
        return {
            True: registered + with_empty_folders(self.objects(name, "*", dkms=True)),
            False: plain + with_empty_folders(self.objects(name, "*", dkms=False)),
        }

    def leftovers(self, name: str, tree: Path, key_file: Path, *, dkms: bool) -> list[str]:
        """Return the traces of the other way to install the module, and the trees of its other versions."""
        found = self.traces(name)
        if dkms:
            others = (file.parent for file in self.sources.glob(f"{name}-*/.digest"))
            return found[False] + [str(folder) for folder in others if folder != tree]
        return found[True] + ([str(key_file)] if key_file.exists() else [])

    def last_user(self, name: str, folder: Path) -> list[Path]:
        """Return the folder of the signing key if no other module is installed that may need it."""
        mine = {self.sources / f"kmodlab-{name}", *self.sources.glob(f"{name}-*")}
        others = [file for file in self.sources.glob("*/.digest") if file.parent not in mine]
        if others or not folder.exists():
            return []
        return [folder.parent if len(list(folder.parent.iterdir())) == 1 else folder]

    def look(self, name: str, tree: Path, settings: dict[str, Path], folder: Path, *, dkms: bool) -> dict[str, object]:
        """Return everything the role decides on but what is below /proc."""
        release = os.uname().release
        installed = self.objects(name, release, dkms=dkms)
        loaded = (self.loaded / name / "initstate").exists()
        found = self.traces(name)
        own = [path for path in (*settings.values(), *self.last_user(name, folder)) if path.exists()]
        return {
            "release": release,
            "kernels": sorted(path.parents[1].name for path in self.modules.glob("*/build/Makefile")),
            "processors": len(os.sched_getaffinity(0)),
            "loaded": loaded,
            "installed": bool(installed),
            "current": not loaded or self.runs_installed(name, installed),
            "stamp": read(tree / ".installed").strip(),
            "dkms_installed": shutil.which("dkms", path=os.environ.get("PATH", "") + ":/usr/sbin") is not None,
            "dkms_versions": sorted(path.parent.name for path in (self.dkms / name).glob("*/source")),
            **{key: read(path) for key, path in settings.items()},
            "leftovers": self.leftovers(name, tree, settings["key"], dkms=dkms),
            "files": [str(path) for path in own] + found[True] + found[False],
            **self.toolchain(release),
            **self.trust(),
        }


def main() -> None:
    """Answer Ansible."""
    path = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "tree": path,
            "options_file": path,
            "dkms": {"type": "bool", "default": False},
            "boot_file": path,
            "key_file": path,
            "key_folder": path,
            "proc_entries": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    settings = {key: Path(given[f"{key}_file"]) for key in ("options", "boot", "key")}
    machine, folder = Machine(), Path(given["key_folder"])
    found = machine.look(given["name"], Path(given["tree"]), settings, folder, dkms=given["dkms"])
    missing = [entry for entry in given["proc_entries"] if not (machine.proc / entry).exists()]
    module.exit_json(changed=False, proc_missing=missing, **found)


if __name__ == "__main__":
    main()

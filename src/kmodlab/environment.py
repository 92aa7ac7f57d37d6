"""The environment that the lab's programs run in: what a user's own may hold that breaks them, and what they need.

Ansible stops in a locale that is not UTF-8 or not there; a setting of the user's for Ansible, Python or pytest may
hide this project's, or change which tests run; what a program says is read here, so it has to say it in English.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from kmodlab import paths

#: in every Debian and Ubuntu, whatever else was generated, and with messages in English
LOCALE = "C.UTF-8"

#: what the user may decide about Ansible's runs here: how much it says, and where that goes
_ANSIBLES_OWN = (
    "ANSIBLE_CALLBACKS_ENABLED",
    "ANSIBLE_DEBUG",
    "ANSIBLE_FORCE_COLOR",
    "ANSIBLE_FORKS",
    "ANSIBLE_HOME",
    "ANSIBLE_LOG_PATH",
    "ANSIBLE_NOCOLOR",
    "ANSIBLE_STRATEGY",
    "ANSIBLE_TIMEOUT",
    "ANSIBLE_VERBOSITY",
)
#: what changes which code runs (another module of the same name, no assertions) or which tests
_FOREIGN = (
    *("PYTHONHOME", "PYTHONINSPECT", "PYTHONOPTIMIZE", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONWARNINGS"),
    *("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "CDPATH", "BASH_ENV", "ENV", "TAR_OPTIONS", "GREP_OPTIONS"),
)
#: the folders of programs that Debian leaves out of an ordinary user's search path
_SYSTEM = ("/usr/sbin", "/sbin")
#: bytes: the path of a socket may have 107, of which multiprocessing takes 32 (`/pymp-12345678/listener-12345678`)
_LONGEST_TEMPORARY = 107 - 32


def _breaks(name: str) -> bool:
    if name.startswith("ANSIBLE_"):
        return name not in _ANSIBLES_OWN and not name.startswith("ANSIBLE_DISPLAY_")
    return name in _FOREIGN or name in ("LANG", "LANGUAGE") or name.startswith("LC_")


def settled(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what would break the lab's programs, and with what they need.

    Args:
        environment: the user's.
    """
    kept = {name: value for name, value in environment.items() if not _breaks(name)}
    if not _usable(kept.get("TMPDIR", "")):
        kept.pop("TMPDIR", None)
    kept["PATH"] = search_path(kept.get("PATH", os.defpath))
    kept.setdefault("ANSIBLE_HOME", str(paths.state_dir() / "ansible"))
    # Named, it is taken wherever Ansible is started, and from a checkout that everybody may write, too.
    config = str(paths.project_dir() / "ansible.cfg")
    # Ansible leaves it to Python when to show what it has done, which in a pipe is at the end.
    return {**kept, "LC_ALL": LOCALE, "ANSIBLE_CONFIG": config, "PYTHONUNBUFFERED": "1"}


def search_path(path: str) -> str:
    """Return a search path that has mke2fs and debugfs in it, as that of an ordinary user on Debian has not.

    Args:
        path: folders, with a colon between two.
    """
    there = path.split(os.pathsep)
    return os.pathsep.join([*there, *(folder for folder in _SYSTEM if folder not in there)])


def _usable(directory: str) -> bool:
    """Return whether programs can have their temporary files there, sockets included: mitogen hangs where it cannot."""
    near = Path(directory).is_absolute() and len(os.fsencode(directory)) <= _LONGEST_TEMPORARY
    return near and Path(directory).is_dir() and os.access(directory, os.W_OK | os.X_OK)


def settle(environment: MutableMapping[str, str] = os.environ) -> None:
    """Turn this process's environment, which its children get, into a `settled` one.

    What it makes is for others to read as far as the user's umask has it, and for nobody else to write.
    """
    fresh = settled(environment)
    for name in [name for name in environment if name not in fresh]:
        del environment[name]
    environment.update(fresh)
    os.umask(os.umask(0o022) | 0o022)

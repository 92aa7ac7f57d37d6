"""Unloading the modules of the machine, loading them with other parameters, and putting them back as they were."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest

from .machine import HelperError, Machine
from .readers.wording import listed, wrong
from .script import Answer, step

FILES = {
    "syscall_tracer": ("syscall_tracer", "syscall_tracer_stats"),
    "task_lister": ("task_lister", "task_detail", "task_stats", "task_tree"),
}
"""The files under /proc that each module makes."""
SHOW = "cd /sys/module/{0}/parameters 2>/dev/null && grep -H . * || true"
"""Shows a module's parameters."""
_OTHERS = """
for file in /lib/modules/$(uname -r)/updates/*.ko; do
    [ ! -d /sys/module/$(basename "$file" .ko | tr - _) ] || echo "$file"
done
"""
"""Shows the files of modules that are loaded and were put there by hand."""


@dataclass(frozen=True)
class Module:
    """A loaded module, the file it can be loaded from again, and its parameters as they were found."""

    name: str
    file: str
    parameters: tuple[str, ...]

    @property
    def called(self) -> str:
        """What the kernel calls it: whoever wrote it may have named its file otherwise."""
        return self.file.rpartition("/")[2].partition(".ko")[0].replace("-", "_") or self.name

    def unload(self) -> str:
        """Return the step that removes the module."""
        return step("sh", f"rmmod {self.called}")

    def load(self, *parameters: str) -> str:
        """Return the step that loads the module."""
        return step("sh", " ".join(["insmod", self.file, *parameters]))

    def show(self) -> str:
        """Return the step that shows the parameters."""
        return step("sh", SHOW.format(self.called))

    def look(self) -> str:
        """Return the step that shows what is there: the module, its files, its parameters."""
        files = " ".join(f"/proc/{name}" for name in FILES[self.name])
        return step("sh", f"ls -d /sys/module/{self.called} {files} 2>/dev/null; true")

    def everything(self) -> list[str]:
        """Return what `look` shows while the module is loaded, sorted."""
        return sorted([f"/sys/module/{self.called}", *(f"/proc/{name}" for name in FILES[self.name])])


def _parameters(shown: str) -> tuple[str, ...]:
    """Return what can be given to insmod; `hook` tells what is armed, which may be more than one, or none."""
    given = (line.replace(":", "=", 1) for line in sorted(shown.splitlines()))
    return tuple(one for one in given if not one.startswith("hook=") or one in ("hook=ftrace", "hook=kprobe"))


def find_module(machine: Machine, name: str) -> Module:
    """Return a module of the machine; the test is skipped, with the reason, where it cannot be loaded again."""
    search = f"modinfo -n {name} 2>/dev/null || find /lib/modules/$(uname -r) -name {name}.ko | head -n 1"
    file = machine.once(f"{name}.ko", lambda: machine.sh(search).strip() or _named_otherwise(machine))
    if not file.startswith("/"):
        pytest.skip(f"no {name}.ko under /lib/modules to load again")
    module = Module(name, file, ())
    return replace(module, parameters=_parameters(machine.sh(SHOW.format(module.called))))


def _named_otherwise(machine: Machine) -> str:
    """Return the file of the one loaded module that was put there by hand and is none of ours; or nothing."""
    files = [file for file in machine.sh(_OTHERS).split() if Module("", file, ()).called not in FILES]
    return files[0] if len(files) == 1 else ""


def put_back(machine: Machine, module: Module) -> None:
    """Load the module with the parameters it was found with.

    Raises:
        HelperError: it is not what it was.
    """
    remove = step("sh", f"rmmod {module.called} 2>/dev/null; true")
    _, loaded, shown = machine.play(remove, module.load(), module.show())
    require(loaded)
    if changed := set(module.parameters) - set(_parameters(shown["text"])):
        *_, shown = machine.play(module.unload(), module.load(*sorted(changed)), module.show())
    if _parameters(shown["text"]) != module.parameters:
        raise HelperError(f"{module.name} could not be put back with its parameters {listed(module.parameters)}")


def require(*answers: Answer) -> None:
    """The shell commands of these answers have all succeeded."""
    for answer in answers:
        if answer["rc"]:
            said = re.sub(r"/lib/modules/\S*/", "", answer["text"].strip())
            wrong("The module can be unloaded, and loaded again.", f"It failed: {said}")

"""The module under test: found by its name, or, where a student named it otherwise, as the one that is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from kmodlab.contract.machine import Machine
from kmodlab.contract.modules import Module, find_module

UPDATES = "/lib/modules/6.1.0/updates/"


class Shell:
    """A machine that finds this by name, and these among what was put there by hand."""

    def __init__(self, named: str, *others: str) -> None:
        self._named, self._others = named, others

    def once(self, _key: str, make: Callable[[], str]) -> str:
        """Return what is made."""
        return make()

    def sh(self, command: str) -> str:
        """Return what a command prints."""
        if "modinfo" in command:
            return self._named
        return "\n".join(self._others) if "updates" in command else ""


def found(name: str, *shown: str) -> Module:
    return find_module(cast(Machine, Shell(*shown)), name)


def test_a_module_is_found_by_its_name() -> None:
    module = found("task_lister", f"{UPDATES}dkms/task_lister.ko.xz\n", f"{UPDATES}lister.ko")
    assert (module.file, module.called) == (f"{UPDATES}dkms/task_lister.ko.xz", "task_lister")


def test_a_module_of_another_name_is_the_one_that_is_loaded() -> None:
    module = found("task_lister", "", f"{UPDATES}my-lister.ko")
    assert (module.name, module.called) == ("task_lister", "my_lister")
    assert "rmmod my_lister" in module.unload().replace("%20", " ")
    assert "/sys/module/my_lister" in module.everything()
    assert "/proc/task_stats" in module.everything()


@pytest.mark.parametrize("others", [(), (f"{UPDATES}syscall_tracer.ko",), (f"{UPDATES}a.ko", f"{UPDATES}b.ko")])
def test_no_other_module_is_taken_for_it(others: tuple[str, ...]) -> None:
    with pytest.raises(pytest.skip.Exception, match=r"no task_lister\.ko"):
        found("task_lister", "", *others)

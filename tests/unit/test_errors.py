"""What an error tells, and with which status it ends the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmodlab.errors import (
    CommandFailed,
    DeadlineExpired,
    Fault,
    GuestCrashed,
    KmodlabError,
    LabError,
    ModuleUnavailable,
    Refused,
    UsageError,
)

STATUS = {
    KmodlabError: 1,
    CommandFailed: 1,
    Refused: 1,
    UsageError: 2,
    LabError: 3,
    DeadlineExpired: 3,
    ModuleUnavailable: 3,
    GuestCrashed: 4,
    Fault: 70,
}


@pytest.mark.parametrize(("kind", "status"), STATUS.items())
def test_each_kind_has_its_exit_status(kind: type[KmodlabError], status: int) -> None:
    error = Refused("no", errno=1) if kind is Refused else kind("no")
    assert error.status == status


def test_every_kind_is_listed_here() -> None:
    """Those of errors.py: what else is imported by now has kinds of its own."""

    def kinds(root: type[KmodlabError]) -> set[type[KmodlabError]]:
        return {root}.union(*(kinds(kind) for kind in root.__subclasses__()))

    assert {kind for kind in kinds(KmodlabError) if kind.__module__ == KmodlabError.__module__} == set(STATUS)


def test_a_failed_test_a_crashed_guest_and_a_broken_lab_are_apart() -> None:
    branches = (CommandFailed, GuestCrashed, LabError)
    assert [kind for kind in branches if issubclass(kind, tuple(other for other in branches if other != kind))] == []


def test_a_bare_error_is_its_message() -> None:
    assert str(LabError("it broke")) == "it broke"
    assert LabError("it broke").details() == []


def test_an_error_shows_all_it_knows_in_order() -> None:
    error = LabError(
        "it broke",
        hint="mend it",
        command="make it",
        exit_code=0,
        log=Path("/var/log/it"),
        output="one\ntwo\n",
    )
    assert str(error).splitlines() == [
        "it broke",
        "  command: make it",
        "  exit status: 0",
        "  last output: one",
        "two",
        "  log: /var/log/it",
        "  hint: mend it",
    ]

"""The mark `any_kernel`: contract tests that `make test` leaves out on further kernels, and that no kernel decides."""

from __future__ import annotations

import importlib
from collections import Counter
from types import FunctionType

from guest.test_kernels import SELECTION

from kmodlab import contract

#: what every kernel is asked: how modules come and go, the hooks, what is enforced, netlink, what tasks are and weigh
EVERYWHERE = {
    "test_access", "test_concurrency", "test_descriptors", "test_lifecycle", "test_task_detail",
    "test_task_ended", "test_task_list", "test_task_print", "test_task_select", "test_task_since", "test_task_stats",
    "test_tracer_abuse", "test_tracer_blocked", "test_tracer_compat",
    "test_tracer_conservation", "test_tracer_delivery", "test_tracer_enforcing", "test_tracer_event",
    "test_tracer_leaving_out", "test_tracer_neighbours", "test_tracer_netlink", "test_tracer_promise",
    "test_tracer_returns",
}  # fmt: skip
#: of the other files, how many tests every kernel is asked at least
LEAST = {
    "test_drop_in": 0, "test_layout_tasks": 9, "test_task_tree": 8, "test_task_tree_bounds": 3, "test_tracer_args": 3,
    "test_tracer_bad_input": 0, "test_tracer_core": 0, "test_tracer_filters": 7, "test_tracer_log": 13,
    "test_tracer_parameters": 2, "test_tracer_predicates": 4,
}  # fmt: skip


def _marks(holder: object) -> set[str]:
    """Return the names of the marks on a module or a function."""
    marks = getattr(holder, "pytestmark", [])
    return {mark.name for mark in (marks if isinstance(marks, list) else [marks])}


def _tests() -> list[tuple[str, str, bool]]:
    """Return file, name and whether it has the mark, of each contract test."""
    found = []
    for stem in sorted(path.stem for path in contract.FOLDER.glob("test_*.py")):
        module = importlib.import_module(f"kmodlab.contract.{stem}")
        own = [
            each
            for each in vars(module).values()
            if isinstance(each, FunctionType) and each.__module__ == module.__name__
        ]
        names = {each.__name__: each for each in own if each.__name__.startswith("test_")}
        found += [(stem, name, "any_kernel" in _marks(module) | _marks(each)) for name, each in names.items()]
    return found


TESTS = _tests()


def test_what_a_kernel_decides_is_asked_of_every_kernel() -> None:
    """Of each file of contract tests it is said, and a new one is asked of every kernel until somebody says so."""
    marked = [f"{file}::{name}" for file, name, has_mark in TESTS if has_mark and file in EVERYWHERE]
    assert marked == []
    assert {file for file, _, _ in TESTS} == EVERYWHERE | set(LEAST)


def test_of_each_subject_enough_is_asked_of_every_kernel() -> None:
    left = Counter(file for file, _, has_mark in TESTS if not has_mark)
    assert {file: left[file] for file in LEAST if left[file] < LEAST[file]} == {}
    assert len([1 for _, _, has_mark in TESTS if has_mark]) < len(TESTS) / 3


def test_memory_is_asked_of_every_kernel() -> None:
    """How a kernel counts it has changed twice."""
    about = [(name, has_mark) for _, name, has_mark in TESTS if "memory" in name]
    assert len(about) > 5
    assert not any(has_mark for _, has_mark in about)


def test_make_test_leaves_out_what_has_the_mark_and_nothing_else() -> None:
    assert SELECTION == "not any_kernel"

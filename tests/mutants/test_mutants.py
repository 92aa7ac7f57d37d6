"""Each mutant is caught: the contract test that its patch names fails by an assertion, and passes without the patch."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kmodlab import contract

from .bench import Bench
from .mutant import KERNEL, MUTANTS, Mutant

pytestmark = pytest.mark.mutant
NAME = "mutants"
UNSEEN = {
    "test_the_control_file_stays_writable": "its mutants keep the helper from saying what it saw",
    "test_unloading_under_load_is_clean": "its mutants bring the guest down",
    "test_a_reader_that_is_open_survives_the_unloading": "its mutants bring the guest down",
    "test_unloading_while_everything_happens": "its mutants bring the guest down",
    "test_loading_and_unloading_under_full_load": "its mutants bring the guest down",
    "test_a_page_that_another_thread_takes_away": "its mutants bring the guest down",
    "test_the_module_is_loaded_and_has_its_files": "fails wherever a module is not loaded",
    "test_the_files_that_are_asked_for_first_are_there": "fails wherever a module is not loaded",
    "test_the_list_works_after_a_reload": "fails wherever a module does not load",
    "test_root_cannot_write_the_task_files": "nothing in the modules could make it fail by a small patch",
    "test_orphans_are_shown_under_who_took_them_in": "the kernel keeps parents; a patch would have to cache them",
    "test_a_process_that_ended_is_gone": "the kernel forgets processes; a patch would have to remember them",
}
"""Tests that no mutant is made for, and why."""


@pytest.fixture(scope="module")
def bench_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Bench]]:
    """Gives a guest of an image ("": the default one) with the good modules; there is one at a time."""
    there: dict[str, Bench] = {}

    def bench_of(image: str) -> Bench:
        if image not in there:
            taken_down.close()
            there[image] = bench = Bench(NAME, tmp_path_factory.mktemp("bench"), image)
            taken_down.callback(there.clear)
            taken_down.callback(bench.down)
            good = Mutant(Path(os.devnull), "syscall_tracer", False, image, (), ()).sources(bench.directory / "good")
            bench.begin(good.parent)
        return there[image]

    with ExitStack() as taken_down:
        yield bench_of


def _contract_tests() -> set[str]:
    found = set()
    for file in contract.FOLDER.glob("test_*.py"):
        functions = [node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
        found |= {f"contract/{file.name}::{name}" for name in functions if name.startswith("test_")}
    return found


@pytest.mark.core
def test_there_are_mutants() -> None:
    """There are patches, each names a test that exists, and each test has a patch or a reason why not."""
    assert len(MUTANTS) >= 12
    assert KERNEL.is_dir()
    named = {node for mutant in MUTANTS.values() for node in (*mutant.caught_by, *mutant.caught_by_guard_of)}
    assert all(mutant.caught_by or mutant.caught_by_guard_of for mutant in MUTANTS.values())
    assert named <= _contract_tests(), "these tests do not exist"
    missing = {node for node in _contract_tests() - named if node.split("::")[1] not in UNSEEN}
    assert not missing, "no mutant shows that these tests can fail"


@pytest.mark.parametrize("name", list(MUTANTS))
def test_the_patch_applies(name: str, tmp_path: Path) -> None:
    """The patch still applies to the sources."""
    assert (MUTANTS[name].sources(tmp_path) / "Kbuild").exists()


@pytest.mark.parametrize("image", sorted({mutant.image for mutant in MUTANTS.values()}))
def test_the_good_modules_pass(image: str, bench_of: Callable[[str], Bench]) -> None:
    """Without any patch all the tests that mutants name pass.

    Not among the core: `make test` has Molecule run the whole contract on the good modules, on the same image.
    """
    ours = [mutant for mutant in MUTANTS.values() if mutant.image == image]
    nodes = sorted({node for one in ours for node in (*one.caught_by, *one.caught_by_guard_of)})
    outcome = bench_of(image).run(*nodes)
    assert outcome.passed == set(nodes), outcome.output


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.core] if mutant.core else []) for name, mutant in MUTANTS.items()]
)
def test_the_mutant_is_caught(name: str, bench_of: Callable[[str], Bench], tmp_path: Path) -> None:
    """The tests that the patch names fail, each by an assertion of its own."""
    mutant = MUTANTS[name]
    bench = bench_of(mutant.image)
    broken = bench.build(mutant.sources(tmp_path))
    bench.try_out(mutant.module, broken)
    outcome = bench.run(*mutant.caught_by, *mutant.caught_by_guard_of)
    assert set(mutant.caught_by) <= outcome.failed, outcome.output
    assert set(mutant.caught_by_guard_of) <= outcome.guarded, outcome.output

"""lab.yml: what it says, and what is said where it makes no sense."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmodlab.errors import UsageError
from kmodlab.grading.lab import Lab, Limits, check_name, find, labs_dir
from kmodlab.grading.self_check import mutants
from kmodlab.paths import project_dir

from .grading_labs import TEXT, load_lab, make_lab


def test_a_lab_is_read(tmp_path: Path) -> None:
    lab = load_lab(
        tmp_path / "jiffies", modules=[{"name": "jiffies", "parameters": {"log_entries": 4, "proc_gid": "7"}}]
    )
    assert (lab.name, lab.title, lab.max_score) == ("jiffies", "Jiffies", 10.0)
    assert lab.modules[0].parameters == {"log_entries": "4", "proc_gid": "7"}
    assert [test.nodes for test in lab.tests] == [
        ("test_lab.py::test_there",), ("test_lab.py::test_moves",), ("test_lab.py::test_survives",),
    ]  # fmt: skip
    assert lab.limits.build == 60
    assert (lab.build, lab.duplicates, lab.late.rule, lab.fresh_vm_after_crash) == ("makefile", "last", "accept", True)


def test_a_test_makes_its_results(tmp_path: Path) -> None:
    lab = load_lab(tmp_path / "jiffies")
    result = lab.tests[2].result("failed", seen="nothing")
    assert (result.id, result.points, result.earned, result.visibility) == ("secret", 5, 0, "hidden")
    assert {test.outcome for test in lab.nothing_ran()} == {"not-run"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": None}, "title: Field required"),
        ({"modules": []}, "modules: .*at least 1"),
        ({"modules": [{"name": "../x"}]}, r"modules\[0\]"),
        ({"tests": []}, "tests: .*at least 1"),
        ({"tests": [{**TEXT["tests"][0], "points": -1}]}, r"tests\[0\].points: .*greater than or equal to 0"),
        ({"tests": [{**TEXT["tests"][0], "points": float("nan")}]}, r"tests\[0\].points: .*finite"),
        ({"tests": [{**TEXT["tests"][0], "points": 0}]}, "no test gives a point"),
        ({"tests": [TEXT["tests"][0]] * 2}, "the id 'there' is there twice"),
        ({"tests": [TEXT["tests"][0], {**TEXT["tests"][0], "id": "again"}]}, "'.*' belongs to two of them"),
        ({"tests": [{**TEXT["tests"][0], "bonus": True}]}, "no test gives a point that is no bonus"),
        ({"tests": [{**TEXT["tests"][0], "bonus": "some"}]}, r"tests\[0\].bonus: .*boolean"),
        ({"tests": [{**TEXT["tests"][0], "visibility": "all"}]}, r"tests\[0\].visibility: .*'visible'"),
        ({"tests": [{**TEXT["tests"][0], "node": "../x.py::y"}]}, r"tests\[0\].node: .*no test file"),
        ({"tests": [{**TEXT["tests"][0], "node": "/etc/x.py"}]}, r"tests\[0\].node: .*no test file"),
        ({"limits": {"build": 0}}, "limits.build: .*greater than 0"),
        ({"limits": {"total": 0}}, "limits.total: .*greater than 0"),
        ({"limits": {"bild": 1}}, "limits.bild: Extra inputs"),
        ({"late": {"rule": "maybe"}}, "late.rule"),
        ({"late": {"rule": "penalty", "percent": 101}}, "late.percent"),
        ({"due": "2030-01-31 23:59:00"}, "due: a time zone is missing"),
        ({"duplicates": "best"}, "duplicates: .*'last'"),
        ({"colour": "red"}, "colour: Extra inputs"),
    ],
)
def test_nonsense_is_said_where_it_is(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_lab(tmp_path / "jiffies", **changes)


@pytest.mark.parametrize(("text", "message"), [("- a", "no keys and values"), ("a: [", "no YAML"), ("", "no keys")])
def test_a_file_that_is_no_lab(tmp_path: Path, text: str, message: str) -> None:
    folder = make_lab(tmp_path / "jiffies")
    (folder / "lab.yml").write_text(text)
    with pytest.raises(UsageError, match=message):
        Lab.load(folder)


def test_a_test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"test there: no file .*test_other\.py"):
        load_lab(tmp_path / "jiffies", tests=[{**TEXT["tests"][0], "node": "test_other.py::x"}])


def test_no_such_lab(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no lab") as caught:
        find(tmp_path / "nothing")
    assert "task_lister" in (caught.value.hint or "")


def test_the_digest_is_of_what_decides(tmp_path: Path) -> None:
    before = load_lab(tmp_path / "a").digest
    assert load_lab(tmp_path / "b", title="Other", late={"rule": "refuse"}).digest == before
    assert load_lab(tmp_path / "c", limits={"test": 5}).digest != before
    assert load_lab(tmp_path / "e", limits={"total": 5}).digest != before
    folder = make_lab(tmp_path / "d")
    (folder / "tests" / "helper.py").write_text("x = 1\n")
    assert Lab.load(folder).digest != before


@pytest.mark.parametrize("folder", sorted(labs_dir().glob("*/lab.yml")), ids=lambda file: file.parent.name)
def test_the_projects_own_labs_are_good(folder: Path) -> None:
    lab = Lab.load(folder.parent)
    assert (lab.folder / "HANDOUT.md").is_file()
    assert (lab.folder / "starter").is_dir()
    assert lab.place(lab.solution.folder).is_dir()


@pytest.mark.parametrize("folder", sorted(labs_dir().glob("*/lab.yml")), ids=lambda file: file.parent.name)
def test_a_copy_of_a_lab_with_one_of_its_tests_is_a_lab(folder: Path, tmp_path: Path) -> None:
    """As docs/grading.md has it for an appeal: without `bonus` and `visibility`."""
    copy = shutil.copytree(folder.parent, tmp_path / "one")
    known = yaml.safe_load((copy / "lab.yml").read_text())
    test = {key: value for key, value in known["tests"][-1].items() if key not in ("bonus", "visibility")}
    (copy / "lab.yml").write_text(yaml.safe_dump({**known, "tests": [test]}))
    lab, whole = Lab.load(copy), Lab.load(folder.parent)
    assert (lab.max_score, [one.nodes for one in lab.tests]) == (whole.tests[-1].points, [whole.tests[-1].nodes])
    assert lab.place(lab.solution.folder).is_dir()
    assert lab.digest != whole.digest


@pytest.mark.parametrize("name", ["", "A", "../x", "a b", "x" * 64])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(UsageError, match="no name for a lab"):
        check_name(name)


@pytest.mark.parametrize("name", ["task_lister", "syscall_tracer"])
def test_every_mutant_of_our_own_modules_is_caught_by_a_test_of_the_lab(name: str) -> None:
    """As the contract's own mutants name the tests that catch them."""
    lab = Lab.load(name)
    assert lab.max_score == 100
    nodes = {node for test in lab.tests for node in test.nodes}
    found = mutants(lab)
    assert len(found) >= 30
    for patch in found:
        caught_by = set(re.findall(r"^Caught-by(?:-guard-of)?: (\S+)", patch.read_text(), re.MULTILINE))
        assert caught_by & nodes, f"{patch.name} is caught by {caught_by}, which is not in {name}"


@pytest.mark.parametrize("name", ["task_lister", "syscall_tracer"])
def test_every_node_of_our_own_labs_is_there(name: str) -> None:
    lab = Lab.load(name)
    for test in lab.tests:
        for node in test.nodes:
            functions = re.findall(r"^def (test_\w+)", lab.node_file(node).read_text(), re.MULTILINE)
            assert node.partition("::")[2] in functions, node


def test_the_handbook_has_every_limit_with_its_default() -> None:
    page = (project_dir() / "docs" / "grading.md").read_text(encoding="utf-8")
    told = page.partition("\n`limits` are, with their defaults:\n\n")[2].partition("\n\n")[0]
    shown = {name: float(value) for name, value in re.findall(r"`(\w+)` (\d+)", told)}
    assert shown == Limits().model_dump()

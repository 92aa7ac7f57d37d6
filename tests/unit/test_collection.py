"""The Ansible collection that the repository is: what is in it, and what it says of itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmodlab import __version__
from kmodlab.modules import VERSION as CLIENT_VERSION

from .test_lint import TRACKED
from .test_roles import PLAYBOOKS, ROLES

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
# Of the checkout, what a controller needs: everything else stays behind.
CARRIED = re.compile(
    r"(docs|kernel|meta|playbooks|plugins|roles|src/kmodlab/(contract|daemon|modules))/|(LICENSE|README\.md)$"
    r"|src/kmodlab/(__init__|errors|kernel_report)\.py$"
)
HIDDEN = ".*"
#: what builds make
MADE = {"__pycache__", "build", "dist", "modules.order"}
LITTER = (".venv/bin/python", "kernel/task_lister/list.o", "kernel/task_lister/task_lister.ko", "build/x", "x.tar.gz")


def ansible(program: str, *arguments: str | Path, cwd: Path, **env: str) -> str:
    """Run one of Ansible's programs, which must succeed; return what it printed."""
    argv = [Path(sys.executable).with_name(program), *arguments]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", **env}
    # That of the checkout, which a collection has to do without.
    del environment["ANSIBLE_CONFIG"]
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection, built from a copy of the checkout in which somebody has worked."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("artifact")
    for path in TRACKED:
        (copy / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy / path.relative_to(ROOT))
    for name in LITTER:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    ansible("ansible-galaxy", "collection", "build", "--output-path", out, cwd=copy)
    return out / f"kmodlab-lab-{__version__}.tar.gz"


@pytest.fixture(scope="module")
def installed(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of collections in which it is installed, alone."""
    home = tmp_path_factory.mktemp("collections")
    words = ("collection", "install", "--offline", "--no-deps", "-p", home, artifact)
    ansible("ansible-galaxy", *words, cwd=home, ANSIBLE_COLLECTIONS_PATH=str(home))
    return home


def documented(installed: Path, kind: str, *names: str) -> dict[str, Any]:
    """Return what ansible-doc knows of these of the collection's plugins or roles."""
    words = ["ansible-doc", "--json", "-t", kind, *(f"kmodlab.lab.{name}" for name in names)]
    found: dict[str, Any] = json.loads(ansible(*words, cwd=installed, ANSIBLE_COLLECTIONS_PATH=str(installed)))
    return {name.rpartition(".")[2]: about for name, about in found.items()}


def test_the_artifact_carries_what_a_controller_needs_and_nothing_else(artifact: Path) -> None:
    with tarfile.open(artifact) as tar:
        inside = {entry.name for entry in tar if entry.isfile()} - {"MANIFEST.json", "FILES.json"}
    names = {str(path.relative_to(ROOT)) for path in TRACKED}
    assert inside == {name for name in names if CARRIED.match(name)}


def test_what_stays_behind_is_named_whole() -> None:
    """A pattern is for litter, by how its name ends; by how it begins it would take what comes to be called alike."""
    names: list[str] = yaml.safe_load((ROOT / "galaxy.yml").read_text())["build_ignore"]
    patterns = [name for name in names if re.search(r"[*?[]", name)]
    assert [one for one in patterns if not re.fullmatch(r"(src/)?\*\.[a-z.-]+", one)] == [HIDDEN]
    known = {name for path in TRACKED for name in _above(path.relative_to(ROOT))}
    assert set(names) - set(patterns) - known == MADE


def _above(path: Path) -> set[str]:
    return {str(path), *(str(folder) for folder in path.parents)}


def test_one_version_for_the_package_the_collection_and_the_modules() -> None:
    given = {"galaxy.yml": yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]}
    for path in (ROOT / "kernel").glob("*/main.c"):
        given[path.parent.name] = "".join(re.findall(r'MODULE_VERSION\("(.*)"\)', path.read_text()))
    given["client"] = CLIENT_VERSION
    assert given == dict.fromkeys(("galaxy.yml", "syscall_tracer", "task_lister", "client"), __version__)
    assert f'\nversion = "{__version__}"\n' in (ROOT / "pyproject.toml").read_text()


def test_every_collection_that_is_used_is_a_dependency() -> None:
    used: set[str] = set()
    for path in [*ROOT.glob("roles/**/*.yml"), *ROOT.glob("playbooks/**/*.yml")]:
        used.update(re.findall(r"^ *(?:- )?([a-z_]+\.[a-z_]+)\.[a-z_]+:", path.read_text(), re.MULTILINE))
    used -= {"ansible.builtin"}
    assert used == set(yaml.safe_load((ROOT / "galaxy.yml").read_text())["dependencies"])


def test_ansible_doc_shows_every_role(installed: Path) -> None:
    roles = documented(installed, "role", *ROLES)
    assert sorted(roles) == ROLES
    for name, role in roles.items():
        main = role["entry_points"]["main"]
        assert main["short_description"], name
        assert main["description"], name
        assert [option for option, about in main["options"].items() if not about.get("description")] == []


def test_ansible_doc_shows_every_module_whole(installed: Path) -> None:
    modules = documented(installed, "module", *MODULES)
    assert sorted(modules) == MODULES
    for name, module in modules.items():
        assert module["doc"]["short_description"], name
        assert module["return"], name
        for task in yaml.safe_load(module["examples"]):
            used = task[f"kmodlab.lab.{name}"] or {}
            required = {option for option, about in module["doc"]["options"].items() if about.get("required")}
            assert required <= set(used) <= set(module["doc"]["options"]), name
    assert "kmodlab_linear" in documented(installed, "strategy", "kmodlab_linear")


def test_the_playbooks_run_by_the_collections_name(installed: Path) -> None:
    names = [f"kmodlab.lab.{Path(name).stem}" for name in PLAYBOOKS if name.startswith("playbooks/")]
    words = ("--syntax-check", "-i", "localhost,", *names)
    shown = ansible("ansible-playbook", *words, cwd=installed, ANSIBLE_COLLECTIONS_PATH=str(installed))
    folder = installed / "ansible_collections/kmodlab/lab/playbooks"
    assert {f"playbook: {folder / name.rpartition('.')[2]}.yml" for name in names} <= set(shown.splitlines())

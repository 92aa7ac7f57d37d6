"""The linters, as ordinary tests: what a tool prints is what a failure shows."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from kmodlab.paths import project_dir

from . import warm

BIN = Path(sys.executable).parent
ROOT = project_dir()


def _tracked() -> list[Path]:
    """The files of the checkout that git knows or would take, as far as they are there."""
    argv = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return sorted(path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file())


def _is_shell(path: Path) -> bool:
    with path.open("rb") as file:
        shebang = file.readline(80)
    return shebang.startswith(b"#!") and shebang.split()[-1].rpartition(b"/")[2] in (b"sh", b"bash", b"dash")


TRACKED = _tracked()
SHELL = [path for path in TRACKED if _is_shell(path)]
YAML = [path for path in TRACKED if path.suffix in (".yml", ".yaml")]


def _start(*words: str | Path, **variables: str) -> subprocess.Popen[str]:
    """Start a tool in the checkout; the tool must be there."""
    program = shutil.which(words[0], path=os.pathsep.join([str(BIN), os.environ["PATH"]]))
    assert program, f"{words[0]} is not installed: `make check` installs what the tests need"
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    env.update(variables)
    argv = [program, *map(str, words[1:])]
    return subprocess.Popen(
        argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _end(process: subprocess.Popen[str]) -> None:
    """Wait for a tool, which must have nothing to say against anything."""
    output, _ = process.communicate()
    if process.returncode:
        assert isinstance(process.args, list)
        command = " ".join(map(str, process.args[:8]))
        pytest.fail(f"{command} exited with {process.returncode}:\n{output}", pytrace=False)


def _silent(*words: str | Path) -> None:
    _end(_start(*words))


def test_ruff_check() -> None:
    _silent("ruff", "check", "--output-format=concise", "src", "tests", "plugins", "labs")


def test_ruff_on_what_runs_on_python_3_9() -> None:
    """The tracer's client, on the machine under test: nothing in it is newer than that."""
    _silent(
        "ruff",
        "check",
        "--isolated",
        "--target-version=py39",
        "--select=F",
        "src/kmodlab/modules",
        "src/kmodlab/errors.py",
    )


def test_ruff_format() -> None:
    _silent("ruff", "format", "--check", "--diff", "src", "tests", "plugins", "labs")


def test_mypy() -> None:
    _silent("mypy")


def test_mypy_on_the_tests() -> None:
    _silent("mypy", "--explicit-package-bases", "tests")


def test_mypy_on_what_the_contract_tests_run_on_the_machine() -> None:
    helpers = sorted((ROOT / "src/kmodlab/contract/helpers").glob("*.py"))
    assert helpers
    _silent("mypy", "--explicit-package-bases", *helpers)


def test_mypy_on_the_plugins() -> None:
    _silent("mypy", "--explicit-package-bases", "plugins")


# -- who imports whom: the contracts in pyproject.toml -------------------------------------------------------------

CONTRACTS = {
    each["name"]: each
    for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
#: contract -> a file of the package, an import that breaks this contract alone, and what is said of it
BREAKS = {
    "The package has layers": (
        "modules/tree.py",
        "from kmodlab import paths",
        "kmodlab.modules is not allowed to import kmodlab.paths: - kmodlab.modules.tree -> kmodlab.paths (l.",
    ),
    "Images have layers": (
        "image/release.py",
        "from kmodlab.image import archive",
        "kmodlab.image.release is not allowed to import kmodlab.image.archive: "
        "- kmodlab.image.release -> kmodlab.image.archive (l.",
    ),
    "The daemon needs no lab": (
        "daemon/tick.py",
        "from kmodlab import namespaces",
        "kmodlab.daemon is not allowed to import kmodlab.namespaces: - kmodlab.daemon.tick -> kmodlab.namespaces (l.",
    ),
    "The server knows no collector": (
        "daemon/api/frames.py",
        "from kmodlab.daemon import store",
        "kmodlab.daemon.api is not allowed to import kmodlab.daemon.store: "
        "- kmodlab.daemon.api.frames -> kmodlab.daemon.store (l.",
    ),
    "The daemon has layers": (
        "daemon/histogram.py",
        "from kmodlab.daemon import epochs",
        "kmodlab.daemon.histogram is not allowed to import kmodlab.daemon.epochs: "
        "- kmodlab.daemon.histogram -> kmodlab.daemon.epochs (l.",
    ),
    "The terminal's view has layers": (
        "top/words.py",
        "from kmodlab.top import model",
        "kmodlab.top.words is not allowed to import kmodlab.top.model: - kmodlab.top.words -> kmodlab.top.model (l.",
    ),
    "The model draws nothing": (
        "top/model.py",
        "import textual",
        "kmodlab.top.model is not allowed to import textual: - kmodlab.top.model -> textual (l.",
    ),
    "Who records knows nothing of who counts": (
        "daemon/recorder.py",
        "from kmodlab.daemon import store",
        "kmodlab.daemon.recorder is not allowed to import kmodlab.daemon.store: "
        "- kmodlab.daemon.recorder -> kmodlab.daemon.store (l.",
    ),
    "The ground knows no client": (
        "process.py",
        "from kmodlab.modules import tree",
        "kmodlab.process is not allowed to import kmodlab.modules: - kmodlab.process -> kmodlab.modules.tree (l.",
    ),
    "Reports know no machine": (
        "grading/report/plots.py",
        "from kmodlab.grading import machines",
        "kmodlab.grading.report is not allowed to import kmodlab.grading.machines: "
        "- kmodlab.grading.report.plots -> kmodlab.grading.machines (l.",
    ),
    "The live board knows no machine": (
        "grading/live/scroll.py",
        "from kmodlab.vm import console",
        "kmodlab.grading.live is not allowed to import kmodlab.vm: "
        "- kmodlab.grading.live.scroll -> kmodlab.vm.console (l.",
    ),
    "Of grading, the live board alone serves a page": (
        "grading/store.py",
        "from kmodlab.daemon import opening",
        "kmodlab.grading is not allowed to import kmodlab.daemon: "
        "- kmodlab.grading.store -> kmodlab.daemon.opening (l.",
    ),
    "The live board knows no record": (
        "grading/live/server.py",
        "from kmodlab.daemon import store",
        "kmodlab.grading.live is not allowed to import kmodlab.daemon.store: "
        "- kmodlab.grading.live.server -> kmodlab.daemon.store (l.",
    ),
    "Grading knows no guest": (
        "grading/store.py",
        "from kmodlab.guest import Guest",
        "kmodlab.grading is not allowed to import kmodlab.guest: - kmodlab.grading.store -> kmodlab.guest (l.",
    ),
    "The contract tests need no lab": (
        "contract/channel.py",
        "from kmodlab import vm",
        "kmodlab.contract is not allowed to import kmodlab.vm: - kmodlab.contract.channel -> kmodlab.vm (l.",
    ),
    "No imports in a circle": (
        "modules/record.py",
        "from kmodlab.modules import tracer",
        "No cycles are allowed in kmodlab.modules. It could be made acyclic by removing 1 dependency: "
        "- .record -> .tracer (1 import)",
    ),
    "Nobody imports tests": (
        "host.py",
        "import bench.lab",
        "kmodlab is not allowed to import bench: - kmodlab.host -> bench (l.",
    ),
}


#: begins to judge the package in a checkout, or in a copy of one
Judge = Callable[[Path], subprocess.Popen[str]]
_JUDGE = """import sys
sys.path.insert(0, "src")
from importlinter.cli import lint_imports_command
lint_imports_command()"""


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """import-linter, which is asked some twenty times: it has begun, and has read what is as it was the time before."""
    words = ["-c", _JUDGE, "--no-logo", "--cache-dir", str(tmp_path_factory.mktemp("imports"))]
    with warm.python("importlinter.cli", NO_COLOR="1") as python:
        yield lambda root: subprocess.Popen(
            [*python, *words], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


@pytest.fixture(scope="module")
def copy_of_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and the contracts."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture
def copy(copy_of_all: Path) -> Iterator[Path]:
    """A copy of the package and the contracts, to be broken: it is put right afterwards."""
    yield copy_of_all
    package = copy_of_all / "src/kmodlab"
    (package / "new.py").unlink(missing_ok=True)
    for name, _, _ in BREAKS.values():
        shutil.copy2(ROOT / "src/kmodlab" / name, package / name)


def test_imports(judge: Judge) -> None:
    _end(judge(ROOT))


@pytest.mark.parametrize("contract", CONTRACTS)
def test_an_import_that_breaks_a_contract_is_reported(judge: Judge, copy: Path, contract: str) -> None:
    name, line, words = BREAKS[contract]
    with (copy / "src/kmodlab" / name).open("a") as file:
        file.write(f"{line}\n")
    process = judge(copy)
    said = " ".join(process.communicate()[0].split())
    assert process.returncode == 1
    assert f"{contract} BROKEN" in said
    assert f"Contracts: {len(CONTRACTS) - 1} kept, 1 broken." in said
    assert words in said


def test_a_new_module_is_reported_until_it_has_a_layer(judge: Judge, copy: Path) -> None:
    (copy / "src/kmodlab/new.py").touch()
    process = judge(copy)
    said = " ".join(process.communicate()[0].split())
    assert process.returncode == 1
    assert "The following modules are not listed as layers: - kmodlab.new " in said


def test_whatever_is_in_tests_is_what_nobody_imports() -> None:
    inside = [path.relative_to(ROOT / "tests") for path in TRACKED if path.is_relative_to(ROOT / "tests")]
    names = {path.parts[0].removesuffix(".py") for path in inside}
    assert set(CONTRACTS["Nobody imports tests"]["forbidden_modules"]) == {"tests", *names}


def _packages(source: str) -> set[str]:
    """The packages that a source imports from outside of its own."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_the_client_imports_the_standard_library_alone() -> None:
    """import-linter can say what is forbidden, and not that all but something is."""
    sources = [ROOT / "src/kmodlab/errors.py", *sorted((ROOT / "src/kmodlab/modules").glob("*.py"))]
    found = {path.name: _packages(path.read_text()) - sys.stdlib_module_names for path in sources}
    # A checkout has the specification as YAML; the program for guests has it as JSON.
    assert {name: packages for name, packages in found.items() if packages} == {"spec.py": {"yaml"}}


def test_what_is_taken_for_a_package_from_outside() -> None:
    source = (
        "import os.path, rich.table\ndef f():\n    from typer import Typer\nfrom . import spec\nfrom .show import note"
    )
    assert _packages(source) == {"os", "rich", "typer"}


# -- all the other languages ---------------------------------------------------------------------------------------


def test_yamllint() -> None:
    assert YAML
    _silent("yamllint", "--strict", "-c", ".config/yamllint.yml", *YAML)


@pytest.mark.parametrize("script", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in SHELL])
def test_shellcheck(script: Path) -> None:
    _silent("shellcheck", script)


def test_shell_scripts_are_found_by_their_shebang() -> None:
    found = {str(path.relative_to(ROOT)) for path in SHELL}
    assert {".ci/run", ".config/setup", "src/kmodlab/image/customize.sh"} <= found


#: takes a playbook that is to be looked at for later, and is Ansible in all else
PUT_OFF = f"""#!/bin/sh
[ "$1" = --syntax-check ] || exec {BIN}/ansible-playbook "$@"
for file; do :; done
place=${{0%/*}}
# Of a role ansible-lint makes a playbook, which is soon gone.
case $file in
/*) cp "$file" "$place" && file=$place/${{file##*/}} ;;
esac
echo "$file" >>"$place/asked"
"""


@pytest.fixture
def put_off(tmp_path: Path) -> Path:
    """A folder for the front of PATH, in which is PUT_OFF."""
    program = tmp_path / "bin" / "ansible-playbook"
    program.parent.mkdir()
    program.write_text(PUT_OFF)
    program.chmod(0o755)
    return program.parent


#: folders that ansible-lint leaves out
NO_ANSIBLE = ("docs/", "kernel/", "labs/", "src/", "tests/")


def _what_ansible_lint_goes_by() -> str:
    """Return a hash of all that decides what it says: its version and Ansible's, what it reads, and this file."""
    versions = " ".join(metadata.version(name) for name in ("ansible-core", "ansible-lint", "yamllint"))
    digest = hashlib.sha256(f"{versions} {sys.version}".encode())
    read = [path for path in TRACKED if not str(path.relative_to(ROOT)).startswith(NO_ANSIBLE)]
    for path in (*read, Path(__file__)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def test_what_ansible_lint_has_nothing_to_do_with_is_what_it_leaves_out() -> None:
    settings = yaml.safe_load((ROOT / ".config/ansible-lint.yml").read_text())
    assert set(NO_ANSIBLE) <= set(settings["exclude_paths"])
    assert {ROOT / "roles/kernel_module/tasks/main.yml", ROOT / "ansible.cfg"} <= set(TRACKED)


def test_ansible_lint(put_off: Path) -> None:
    """Of its twenty-five seconds of processor it spends twenty on having Ansible read each playbook: one run does.

    Of what it had nothing to say against it is not asked again, as mypy and ruff are not.
    """
    silent = ROOT / ".ansible" / f"silent-{_what_ansible_lint_goes_by()}"
    if not silent.exists():
        _lint_ansible(put_off)
        silent.parent.mkdir(exist_ok=True)
        for old in silent.parent.glob("silent-*"):
            old.unlink()
        silent.touch()


def _lint_ansible(put_off: Path) -> None:
    path = os.pathsep.join([str(put_off), str(BIN), os.environ["PATH"]])
    _end(_start("ansible-lint", "--offline", "--strict", "--profile", "production", "-q", PATH=path))
    asked = sorted(set((put_off / "asked").read_text().splitlines()))
    reading = _start("ansible-playbook", "--syntax-check", *asked)
    said, _ = reading.communicate()
    assert reading.returncode == 0, said
    assert [f"playbook: {name}" for name in asked] == said.split("\n")[1:-1:2], "a warning, say"
    assert set(asked) >= {"deploy.yml", *(str(path.relative_to(ROOT)) for path in ROOT.glob("playbooks/*.yml"))}
    plays = "".join(Path(name).read_text() for name in asked if name.startswith(str(put_off)))
    assert {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()} == set(re.findall(r"roles/(\w+)", plays))

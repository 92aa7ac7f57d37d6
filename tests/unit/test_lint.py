"""The linters, as ordinary tests: what a tool prints is what a failure shows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmodlab.paths import project_dir

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


def _start(*words: str | Path) -> subprocess.Popen[str]:
    """Start a tool in the checkout; it must be there."""
    program = shutil.which(words[0], path=os.pathsep.join([str(BIN), os.environ["PATH"]]))
    assert program, f"{words[0]} is not installed: `make check` installs what the tests need"
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
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


@pytest.fixture(scope="module", autouse=True)
def ansible_lint(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str] | None]:
    """ansible-lint, which takes as long as all other tools together: it runs beside them."""
    if test_ansible_lint not in [getattr(item, "function", None) for item in request.session.items]:
        yield None
        return
    process = _start("ansible-lint", "--offline", "--strict", "--profile", "production", "-q")
    yield process
    process.kill()
    process.wait()


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


def test_mypy_on_the_plugins() -> None:
    _silent("mypy", "--explicit-package-bases", "plugins")


def test_yamllint() -> None:
    assert YAML
    _silent("yamllint", "--strict", "-c", ".config/yamllint.yml", *YAML)


@pytest.mark.parametrize("script", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in SHELL])
def test_shellcheck(script: Path) -> None:
    _silent("shellcheck", script)


def test_shell_scripts_are_found_by_their_shebang() -> None:
    found = {str(path.relative_to(ROOT)) for path in SHELL}
    assert {".ci/run", ".config/setup", "src/kmodlab/guest/customize.sh"} <= found


def test_ansible_lint(ansible_lint: subprocess.Popen[str]) -> None:
    _end(ansible_lint)
